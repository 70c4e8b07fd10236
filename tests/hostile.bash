# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What the hostile tests share, over tools/lab.

# shellcheck source=../tools/lab
. "$BATS_TEST_DIRNAME/../tools/lab"

export DIAL=${LAB-}/bin/dial # of a world that an earlier process has made

# ---- the world ----

# More addresses, servers that greet, and a counter of the SYNs that arrive at mail ports.
hostile_world() {
	local port
	in_box sysctl -eqw net.ipv4.tcp_fastopen=0x5 net.mptcp.enabled=1 net.ipv4.ip_forward=1 \
		net.ipv4.ip_unprivileged_port_start=0
	in_world sysctl -eqw net.ipv4.tcp_fastopen=0x602 net.mptcp.enabled=1 \
		net.ipv6.conf.all.seg6_enabled=1 net.ipv6.conf.eth0.seg6_enabled=1
	in_box ip addr add 198.51.100.11/24 dev eth0
	in_box ip addr add 198.51.100.12/24 dev eth0
	in_box ip route add 203.0.113.1 via "$WORLD" src 198.51.100.12
	in_world ip route add 192.0.2.0/28 via "$BOX"
	in_box ip mptcp limits set subflow 2 add_addr_accepted 2 || :
	in_world ip mptcp limits set subflow 2 add_addr_accepted 2 || :
	in_world nft -f - <<-END
		table inet w {
			counter syns { }
			chain in {
				type filter hook prerouting priority 0
				tcp dport { 25, 465, 587 } tcp flags & (syn|ack) == syn counter name syns
			}
		}
	END
	for port in 25 587 8025; do
		lab_start serve.log "$LAB_WORLD" "$LAB_WORLD_CGROUP" "$LAB/bin/serve" "$port"
		eventually listening "$LAB_WORLD" "sport = :$port"
	done
	lab_start serve.log "$LAB_BOX" "$LAB_CGROUP" "$LAB/bin/serve" 25
	eventually listening "$LAB_BOX" "sport = :25"
}

# world_counter NAME: packets
world_counter() { in_world nft -j list counter inet w "$1" | jq '.nftables[].counter.packets // empty'; }

# SYNs to mail ports that reached the world
syns() { world_counter syns; }

# wired INTERFACE PEER: two interfaces that are there already, of the box and of the world
wired() {
	in_box ip addr add 192.0.2.17/28 dev "$1"
	in_world ip addr add 192.0.2.18/28 dev "$2"
	in_box ip link set "$1" up
	in_world ip link set "$2" up
	in_box ip route add 203.0.113.64/28 via 192.0.2.18
	eventually hooked "$1"
}

# Both the bridge and its port are outside.
bridge() {
	in_box ip link add wire0 type veth peer name wire1
	in_box ip link set wire1 netns "${LAB_WORLD##*/}"
	in_box ip link add br0 type bridge
	in_box ip link set wire0 master br0
	in_box ip link set wire0 up
	wired br0 wire1
	eventually hooked wire0
}

tunnel() {
	in_box ip link add vx0 type vxlan id 7 local "$BOX" remote "$WORLD" dstport 4789 || return
	in_world ip link add vx0 type vxlan id 7 local "$WORLD" remote "$BOX" dstport 4789
	in_box ip addr add 192.0.2.129/28 dev vx0
	in_world ip addr add 192.0.2.130/28 dev vx0
	in_box ip link set vx0 up
	in_world ip link set vx0 up
}

# private_network UID: a user and network namespace of a user, which root has wired to the box
private_network() {
	lab_start private.log "$LAB_BOX" "$LAB_CGROUP" setpriv --reuid "$1" --regid "$1" \
		--clear-groups -- unshare --user --map-root-user --net -- sleep 100
	PRIVATE=$!
	disown "$PRIVATE"
	eventually is_private "$PRIVATE"
	in_box ip link add priv0 type veth peer name priv1 netns "$PRIVATE"
	in_box ip addr add 192.0.2.1/28 dev priv0
	in_box ip link set priv0 up
	nsenter --target "$PRIVATE" --net -- ip -batch - <<-END
		addr add 192.0.2.2/28 dev priv1
		link set priv1 up
		route add default via 192.0.2.1
	END
}

is_private() { [ "$(readlink "/proc/$1/ns/net")" != "$(readlink /proc/self/ns/net)" ] &&
	[ "$(cat "/proc/$1/comm")" = sleep ]; }

inside_private() {
	in_box nsenter --target "$PRIVATE" --user --net --preserve-credentials -- "$@"
}

# ---- who ----

needs_user_namespaces() {
	as_user 2999 unshare --user true || skip "kernel lacks user namespaces for users"
}

# with_subuids UID COMMAND…: root in a user namespace of its own, with a thousand subordinate uids
with_subuids() {
	local uid=$1
	shift
	mkdir -p "$LAB/people"
	echo "owner:x:$uid:$uid::/:/bin/sh" >"$LAB/people/passwd"
	echo "owner:x:$uid:" >"$LAB/people/group"
	echo "owner:100000:1000" | tee "$LAB/people/subuid" >"$LAB/people/subgid"
	# shellcheck disable=SC2016 # for the shell that is run
	in_box unshare --mount -- bash -c '
		people=$1 uid=$2
		shift 2
		mount --bind "$people" /etc
		exec setpriv --reuid "$uid" --regid "$uid" --clear-groups -- \
			unshare --user --map-root-user --map-users=100000,1,1000 -- "$@"
	' - "$LAB/people" "$uid" "$@"
}

# with_capability NAME UID COMMAND…
with_capability() {
	local capability=$1 uid=$2
	shift 2
	in_box setpriv --reuid "$uid" --regid "$uid" --clear-groups --inh-caps "+$capability" \
		--ambient-caps "+$capability" -- "$@"
}

# forge_packets UID N: SYNs by AF_PACKET
forge_packets() {
	local mac
	mac=$(in_world ip -j link show eth0 | jq -r '.[].address')
	with_capability net_raw "$1" "$LAB/bin/forge" packet "$BOX" "$WORLD" 25 "$2" eth0 "$mac"
}

# ---- a session in the background, of which there is one in a test ----

# hold UID COMMAND…: in the box; its first line is in REPLY
hold() {
	local uid=$1
	shift
	coproc SESSION {
		lab_enter "$LAB_BOX" "$LAB_CGROUP" setpriv --reuid "$uid" --regid "$uid" \
			--clear-groups -- "$@" 2>&1 3>&-
	}
	read -r -t 30 -u "${SESSION[0]}" REPLY
}

# ask LINE: and prints what it answers
ask() {
	local reply
	echo "$*" >&"${SESSION[1]}"
	read -r -t 30 -u "${SESSION[0]}" reply
	echo "$reply"
}

# says N LINE: by itself, N times
says() {
	local n=$1 line
	while [ $((n--)) -gt 0 ]; do
		read -r -t 30 -u "${SESSION[0]}" line
		[ "$line" = "$2" ] || return
	done
}

# Nothing that it has said by itself is unheard.
says_no_more() { ! read -r -t 1 -u "${SESSION[0]}"; }

let_go() {
	[ -n "${SESSION_PID-}" ] || return 0
	kill "$SESSION_PID"
	wait "$SESSION_PID" 2>/dev/null || true
}

# ---- the daemon, which another process has started ----

daemon_pid() { smtpwall -j status | jq .daemon.pid; }

is_dead() { ! kill -0 "$1" 2>/dev/null; }

end_daemon() {
	local pid
	pid=$(daemon_pid)
	kill -TERM "$pid"
	eventually is_dead "$pid"
}

restart_hard() {
	local pid
	pid=$(daemon_pid)
	kill -KILL "$pid"
	eventually is_dead "$pid"
	start_daemon
}

sanitizers_are_silent() { ! grep -E 'Sanitizer|runtime error' "$LAB/daemon.log"; }

# ---- questions ----

# status [OPTION] PATH: e.g. status .unattributed.connections
status() { smtpwall -j status | jq "$@"; }

# count UID FIELD: as ledger, 0 if there is no such row
count() { smtpwall -j list uid | jq --arg s "uid:$1" "[.subjects[] | select(.subject == \$s).roads.$2] | add // 0"; }

counted() { [ "$(count "$1" "$2")" = "$3" ]; }

# At least: what TCP sends again is counted again.
has_counted() { [ "$(count "$1" "$2")" -ge "$3" ]; }

# wire SUBJECT FIELD
wire() { smtpwall -j show "$1" | jq ".wire.$2"; }

# on_wire_as_sent UID: the interface has seen each packet of the sender once. What ends a session may
# leave while one reads.
on_wire_as_sent() { eventually is_on_wire_as_sent "$1"; }
is_on_wire_as_sent() { [ "$(wire "uid:$1" packets)" = "$(ledger "uid:$1" direct.packets)" ]; }

# Every counter of everybody.
counters() { smtpwall -j list | jq -c '[.subjects[] | {subject, roads, wire}] | sort_by(.subject)'; }

# uncounted COMMAND…: it changes no counter. What is left of earlier tests may, hence three times.
uncounted() {
	local before i
	for i in 1 2 3; do
		before=$(counters)
		"$@"
		[ "$(counters)" != "$before" ] || return 0
	done
	diff <(jq -c '.[]' <<<"$before") <(counters | jq -c '.[]') >&2
	return 1
}

# hook_of INTERFACE: its kind
hook_of() { smtpwall -j status | jq -r --arg n "$1" '.hooks[] | select(.where == $n).kind // empty'; }

hooked() { [ -n "$(hook_of "$1")" ]; }
unhooked() { [ -z "$(hook_of "$1")" ]; }

filtered() { in_box tc filter show dev "$1" egress | grep -q bpf; }

told() { smtpwall events -j | jq -se --arg s "$1" 'any(.[]; .subject == $s and .event == "refuse")' >/dev/null; }

logged() { grep -q -- "$1" "$LAB/daemon.log"; }
