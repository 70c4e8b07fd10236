# SPDX-License-Identifier: GPL-2.0-or-later
# Installing touches what it should and nothing else; the scripts are clean.

setup() {
	cd "$BATS_TEST_DIRNAME/.." || return
	. tools/lab
	root=$(mktemp -d "/tmp/swl-$$.XXXXXX")
}

teardown() {
	lab_down
	rm -rf "$root"
}

installed() { make install DESTDIR="$root" PREFIX=/usr >/dev/null; }

@test "install puts both programs, the unit, the manual and the configuration in place" {
	installed
	[ -x "$root/usr/sbin/smtpwalld" ]
	[ -x "$root/usr/sbin/smtpwall" ]
	[ -f "$root/usr/share/man/man8/smtpwall.8" ]
	[ -f "$root/etc/smtpwall/smtpwall.conf" ]
	[ -f "$root/etc/smtpwall/conf.d/20-web.conf" ]
	grep -qx 'ExecStart=/usr/sbin/smtpwalld --foreground' "$root/usr/lib/systemd/system/smtpwalld.service"
}

@test "installing again leaves the administrator's files, and a deleted policy deleted" {
	installed
	echo 'mode = enforce' >"$root/etc/smtpwall/smtpwall.conf"
	rm "$root/etc/smtpwall/conf.d/20-web.conf"
	installed
	[ "$(cat "$root/etc/smtpwall/smtpwall.conf")" = 'mode = enforce' ]
	[ ! -e "$root/etc/smtpwall/conf.d/20-web.conf" ]
}

@test "uninstall leaves the configuration and nothing else, and says so" {
	installed
	run make uninstall DESTDIR="$root" PREFIX=/usr
	[ "$status" -eq 0 ]
	[[ $output == *"Kept"*"$root/etc/smtpwall"* ]]
	[ -z "$(find "$root" -type f ! -path "$root/etc/smtpwall/*")" ]
	[ -f "$root/etc/smtpwall/smtpwall.conf" ]
}

@test "the configuration that is shipped is accepted" {
	installed
	"$SMTPWALL_BUILD/smtpwall" -c "$root/etc/smtpwall/smtpwall.conf" check-config
}

# A machine of its own for `make up`: /etc, /var/lib, /sys/fs/bpf, a cgroup2 root, the box's
# network, and no systemd.
own_machine() {
	in_box unshare --mount --cgroup bash -euc '
		root=$1
		shift
		for directory in /etc /var/lib; do
			mkdir -p "$root$directory"
			[ -e "$root$directory/.copied" ] || cp -a "$directory/." "$root$directory"
			touch "$root$directory/.copied"
			mount --bind "$root$directory" "$directory"
		done
		[ ! -d /run/systemd ] || mount -t tmpfs none /run/systemd
		mount --bind "$LAB/bpf" /sys/fs/bpf
		cgroup2=$(findmnt -nro TARGET -t cgroup2 | tail -1)
		umount "$cgroup2"
		mount -t cgroup2 none "$cgroup2"
		exec "$@" 3>&- 4>&-' - "$root" "$@"
}

@test "make up starts the gate, again is an upgrade, and uninstall takes all of it away" {
	lab_up
	own_machine make up PREFIX="$root/usr"
	own_machine "$root/usr/sbin/smtpwall" -j status | tee "$root/first" | jq -e .daemon.running
	run own_machine make up PREFIX="$root/usr"
	[ "$status" -eq 0 ]
	own_machine "$root/usr/sbin/smtpwall" -j status | tee "$root/second" | jq -e .daemon.running
	[ "$(jq .mode "$root/second")" = '"observe"' ]
	[ "$(jq .daemon.pid "$root/first")" != "$(jq .daemon.pid "$root/second")" ]
	own_machine make uninstall PREFIX="$root/usr"
	[ ! -e "$LAB/bpf/smtpwall" ]
	[ ! -e "$root/usr/sbin/smtpwall" ]
}

@test "setup has nothing to do where all is there, and does it without a network" {
	timeout 60 unshare --net tools/setup --test
}

@test "the scripts are clean" {
	shellcheck tools/setup tools/service tools/demo tools/lab tests/run .ci/run
}
