# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# One gate stands through all tests of a file; each test writes policies of its own and has users
# of its own: U, V, W and X, whom nobody counted yet. To be loaded by a bats file.

# shellcheck source=tools/lab
. "$BATS_TEST_DIRNAME/../tools/lab"

setup_file() { gate_up; }
gate_up() { lab_up && sink 25 && sink 587 && config 'mode = enforce' && daemon_starts; }

setup() { new_test; }

# No policies, no blocks, mode enforce.
# shellcheck disable=SC2034 # for the tests
new_test() {
	U=$((20000 + 10 * BATS_TEST_NUMBER)) V=$((U + 1)) W=$((U + 2)) X=$((U + 3))
	mkdir -p "$LAB/$BATS_TEST_NUMBER"
	no_policies
	config 'mode = enforce'
	if daemon_runs; then reload; else daemon_starts; fi
	smtpwall unblock --all >/dev/null && smtpwall mode enforce >/dev/null
}

teardown() {
	local pid started
	started=$(jobs -p)
	disown -a # bash would tell of each death
	for pid in $started; do
		kill -KILL -- "-$pid" || kill -KILL "$pid" || :
	done 2>/dev/null
}

teardown_file() { gate_down; }
gate_down() {
	local status=0
	daemon_ends || status=$?
	lab_down
	return $status
}

# reload: the policies and the configuration as they are now decide from here on
reload() { smtpwall reload >/dev/null || { tail -n 20 "$LAB/daemon.log" >&2; return 1; }; }

# enforce 'key = value …': the one policy that decides from here on
enforce() { no_policies && policy only "$1" && reload; }

# ---- the daemon, which an earlier test may have started ----

daemon_starts() { start_daemon && disown "$LAB_DAEMON"; }
daemon_pid() { smtpwall -j status 2>/dev/null | jq -r '.daemon | select(.running).pid'; }
daemon_runs() { [ -n "$(daemon_pid)" ]; }
daemon_is_gone() { ! daemon_runs; }
daemon_dies() { kill -KILL "$(daemon_pid)" && eventually daemon_is_gone; }

# control_is MEMBER NUMBER OCTETS: put into the map `control`
control_is() {
	local map=$LAB/bpf/smtpwall/control at value i
	at=$(bpftool btf dump map pinned "$map" value |
		sed -n "s/.*'$1' .*bits_offset=\([0-9]*\).*/\1/p")
	mapfile -t value < <(bpftool -j map lookup pinned "$map" key 0 0 0 0 | jq -r '.value[]')
	for ((i = 0; i < $3; i++)); do
		value[at / 8 + i]=$(($2 >> 8 * i & 255))
	done
	bpftool map update pinned "$map" key 0 0 0 0 value "${value[@]}"
}

# False if a sanitizer found something.
daemon_ends() {
	kill -TERM "$(daemon_pid)" && eventually daemon_is_gone || return
	! grep -E 'Sanitizer|runtime error' "$LAB/daemon.log" >&2
}

# ---- connections ----

# knock UID [OPTION…] ADDRESS [PORT]: "admitted 1 refused 0 failed 0 …" (see tests/clients/knock.c)
knock() {
	local uid=$1
	shift
	as_user "$uid" "$LAB/bin/knock" "$@"
}

# expect 'admitted 3 refused 1' COMMAND…: of a knock, none of which may fail otherwise
expect() {
	local wanted=$1 told
	shift
	told=$("$@") || return
	[[ $told == "$wanted failed 0 "* ]] && return
	echo "expected $wanted, but: $told" >&2
	return 1
}

# is_refused UID [ADDRESS [PORT]]
is_refused() { expect 'admitted 0 refused 1' knock "$1" "${@:2}"; }
is_admitted() { expect 'admitted 1 refused 0' knock "$1" "${@:2}"; }

# start_as NAME UID COMMAND…: in the background as $!; `said NAME` is what it says
start_as() {
	lab_start "$BATS_TEST_NUMBER/$1" "$LAB_BOX" "$LAB_CGROUP" \
		setsid setpriv --reuid "$2" --regid "$2" --clear-groups -- "${@:3}"
}
said() { cat "$LAB/$BATS_TEST_NUMBER/$1"; }

# session NAME UID [ADDRESS [PORT]]: opens an SMTP session; `say` gives it commands
session() {
	local commands=$LAB/$BATS_TEST_NUMBER/$1.commands
	mkfifo -m 0666 "$commands"
	# shellcheck disable=SC2016 # for the inner shell
	start_as "$1" "$2" bash -c 'exec 9<>"/dev/tcp/$1/$2"; cat <&9 & exec cat <>"$3" >&9' - \
		"${3:-$WORLD}" "${4:-25}" "$commands"
	eventually heard "$1" 220 1
}
say() { printf '%s\r\n' "$2" >"$LAB/$BATS_TEST_NUMBER/$1.commands"; }
heard() { [ "$(said "$1" | grep -c "^$2")" -eq "$3" ]; } # NAME CODE TIMES

# Does a sender to port 25 wait in vain for the acknowledgement of what it sent?
stalls() { in_box ss -Htni state established 'dport = :25' | grep -Eq 'backoff:[0-9]'; }

# inner_up: another network namespace behind the box, at 192.0.2.2, with a way to the world
inner_up() {
	ip netns add "$LAB_ID-inner"
	ip -n "$LAB_ID-inner" link add eth0 type veth peer name inner netns "$LAB_ID-box"
	ip -n "$LAB_ID-inner" addr add 192.0.2.2/24 dev eth0
	ip -n "$LAB_ID-inner" link set lo up
	ip -n "$LAB_ID-inner" link set eth0 up
	ip -n "$LAB_ID-inner" route add default via 192.0.2.1
	ip -n "$LAB_ID-box" addr add 192.0.2.1/24 dev inner
	ip -n "$LAB_ID-box" link set inner up
	in_box sysctl -qw net.ipv4.ip_forward=1
	in_world ip route replace 192.0.2.0/24 via "$BOX"
}
# The kernel takes a namespace down when it finds the time, and the name is wanted again.
inner_down() {
	ip -n "$LAB_ID-box" link del inner
	ip netns del "$LAB_ID-inner"
}
abroad() { bpftool -j map dump pinned "$LAB/bpf/smtpwall/abroad" | jq length; } # rows
in_inner() (lab_enter "/run/netns/$LAB_ID-inner" "$LAB_CGROUP" "$@")

# inner_crowd NAME UID OPTION…: crowd (see tests/clients) in there; what it says is in $LAB/NAME
inner_crowd() {
	: >"$LAB/$1"
	lab_start "$1" "/run/netns/$LAB_ID-inner" "$LAB_CGROUP" setpriv --reuid "$2" --regid "$2" \
		--clear-groups -- "$LAB/bin/crowd" "${@:3}"
	eventually grep -q open "$LAB/$1"
}

# ---- what the world sees ----

# SYNs that came to port 25 of the world since syns_count
syns_count() {
	in_world nft 'add table inet test
		add chain inet test in { type filter hook input priority 0; }
		flush chain inet test in
		add rule inet test in tcp dport 25 tcp flags & (syn | ack) == syn counter'
}
syns() {
	in_world nft -j list chain inet test in |
		jq '.nftables[].rule.expr[]?.counter.packets | values'
}

# own_disk FOLDER: a file system there, where nobody else is given the number of an inode
own_disk() {
	truncate -s 16M "$1.disk"
	mkfs.ext4 -q -b 4096 "$1.disk" && mount -o loop "$1.disk" "$1"
}

# made_anew FOLDER: another one in its place, with the same inode number; on a disk of its own
made_anew() {
	local inode i
	inode=$(stat -c %i "$1")
	for i in {1..100}; do
		rm -r "$1" && mkdir "$1" || return
		[ "$(stat -c %i "$1")" != "$inode" ] || return 0
	done
	echo "$1 does not get the inode number $inode again" >&2
	return 1
}

# events SUBJECT TYPE: how many the history has
events() {
	smtpwall -j events | jq -s --arg s "$1" --arg e "$2" \
		'map(select(.subject == $s and .event == $e)) | length'
}
is_told() { [ "$(events "$@")" -gt 0 ]; }

# block_is SUBJECT FILTER: does this hold (in jq) for a block of the subject, as `blocks` shows it?
block_is() {
	smtpwall -j blocks | jq -e --arg s "$1" "any(.blocks[]; .subject == \$s and ($2))" >/dev/null
}
