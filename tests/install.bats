# SPDX-License-Identifier: GPL-2.0-or-later
# Installing touches what it should and nothing else; the scripts are clean.

setup() {
	cd "$BATS_TEST_DIRNAME/.." || return
	root=$(mktemp -d "/tmp/swl-$$.XXXXXX")
}

teardown() { rm -rf "$root"; }

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

@test "setup has nothing to do where all is there, and does it without a network" {
	timeout 10 unshare --net tools/setup --test
}

@test "the scripts are clean" {
	shellcheck tools/setup tools/service tools/demo tools/lab tests/run .ci/run
}
