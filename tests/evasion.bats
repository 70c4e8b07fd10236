# SPDX-License-Identifier: GPL-2.0-or-later
# Ways around the gate, and attacks on it: each is charged to, or refused for, the person behind it.
# One world and one daemon serve most tests, so each test has a user of its own; those at the end
# start a daemon of their own.

# shellcheck disable=SC2086 # addresses

load hostile

setup_file() {
	lab_up
	hostile_world
	config 'mode = enforce' 'interfaces = {auto, "wire*"}'
	policy people 'users = {"2000-2999"}
		limits = {"3 connections per 1h"}'
	policy loopback 'users = {"2000-2999"}
		roads = {relay}
		limits = {"1 connections per 1h"}'
	policy strangers 'limits = {"4 connections per 1h"}'
	start_daemon
}

teardown_file() {
	lab_down
}

teardown() { let_go; }

# judged UID COMMAND…: the first time it gets through and is charged to the user; when the user is
# blocked it is refused at once, and not even a SYN reaches the world.
judged() {
	local uid=$1 before
	shift
	run "$@"
	[[ $output != lacking* ]] || skip "kernel lacks it (${output#lacking: })"
	[ "$output" = answered ] || return
	[ "$(ledger "uid:$uid" direct.connections)" = 1 ] || return
	smtpwall block "uid:$uid"
	before=$(syns)
	run "$@"
	[ "$output" = refused ] || return
	[ "$(ledger "uid:$uid" direct.refused)" = 1 ]
	[ "$(syns)" = "$before" ]
}

# ---- ways to connect ----

@test "L1: fast open by sendto() is an attempt like connect()" {
	judged 2001 as_user 2001 "$DIAL" fastopen $WORLD 25
	judged 2002 as_user 2002 "$DIAL" fastopen $WORLD6 25
}

@test "L2: a deferred fast open that a block overtakes sends neither SYN nor data" {
	local before
	ANSWER_MS=1500 hold 2003 "$DIAL" deferred $WORLD 25
	[ "$REPLY" = connected ]
	smtpwall block uid:2003
	before=$(syns)
	sleep 1.1 # for as long the SYN of an attempt that was admitted is spared
	[ "$(ask go)" != answered ]
	[ "$(syns)" = "$before" ]
}

@test "L3: a session that is older than the block ends, and its bytes are not counted on" {
	local bytes
	hold 2004 "$LAB/bin/hold" $WORLD 25
	[ "$(ask send 1000)" = sent ]
	[ "$(ask ask)" = answered ]
	smtpwall block uid:2004
	bytes=$(ledger uid:2004 direct.bytes)
	[ "$bytes" -ge 1006 ]
	[ "$(ask ask)" != answered ]
	[ "$(ledger uid:2004 direct.bytes)" = "$bytes" ]
}

@test "L4: an IPv4 address in an IPv6 socket is the same subject and the same limit" {
	as_user 2005 "$DIAL" plain ::ffff:$WORLD 25
	as_user 2005 "$DIAL" plain $WORLD 25
	as_user 2005 "$DIAL" plain $WORLD6 25
	run as_user 2005 "$DIAL" plain ::ffff:$WORLD 25
	[ "$output" = refused ]
	[ "$(ledger uid:2005 direct.connections)" = 3 ]
}

@test "L5: an MPTCP connection is an attempt" {
	judged 2006 as_user 2006 "$DIAL" mptcp $WORLD 25
}

@test "L6: MPTCP with fast open is an attempt" {
	judged 2007 as_user 2007 "$DIAL" mptcp-fastopen $WORLD 25
}

@test "L7: a subflow that the kernel's path manager opens belongs to who opened the connection" {
	hold 2008 "$LAB/bin/hold" $WORLD 25 mptcp
	[[ $REPLY != lacking* ]] || skip "kernel lacks MPTCP"
	in_box ip mptcp endpoint add 198.51.100.11 dev eth0 subflow
	eventually counted 2008 direct.connections 2
	in_box ip mptcp endpoint flush
	[ "$(count 0 direct.connections)" = 0 ]
	[ "$(count overflow direct.connections)" = 0 ]
}

@test "L7: a subflow of a blocked user's connection is not opened" {
	local before
	hold 2009 "$LAB/bin/hold" $WORLD 25 mptcp
	[[ $REPLY != lacking* ]] || skip "kernel lacks MPTCP"
	smtpwall block uid:2009
	before=$(syns)
	in_box ip mptcp endpoint add 198.51.100.11 dev eth0 subflow
	eventually counted 2009 direct.refused 1
	in_box ip mptcp endpoint flush
	[ "$(syns)" = "$before" ]
}

@test "L8: a worker thread of io_uring connects for its user" {
	judged 2010 as_user 2010 "$DIAL" io_uring $WORLD 25
}

@test "L9: an SMC socket that falls back to TCP is an attempt" {
	judged 2011 as_user 2011 "$DIAL" smc $WORLD 25
}

@test "L10: IP options do not hide the port, before or after the block" {
	judged 2012 as_user 2012 "$DIAL" ip-options $WORLD 25
	[ "$(wire uid:2012 connections)" = 1 ]
}

@test "L11: an IPv6 routing header hides nothing, at the socket or on the wire" {
	judged 2013 as_user 2013 "$DIAL" routing-header $WORLD6 25
	[ "$(wire uid:2013 connections)" = 1 ]
	on_wire_as_sent 2013
}

# ---- whose socket? ----

@test "L13: a socket that root made and a user inherited is the user's" {
	judged 2014 in_box "$LAB/bin/pass" inherited 2014 $WORLD 25
}

@test "L13: a socket that another process handed over is its who connects it" {
	judged 2015 in_box "$LAB/bin/pass" handed 2015 $WORLD 25
	[ "$(count 0 direct.connections)" = 0 ]
}

@test "L14: a socket given away by fchown in a user namespace stays its maker's" {
	needs_user_namespaces
	judged 2016 with_subuids 2016 "$DIAL" fchown $WORLD 25
	[ "$(count 100001 direct.connections)" = 0 ]
}

@test "L15: two subordinate uids are one person with one limit" {
	needs_user_namespaces
	with_subuids 2017 setpriv --reuid 1 "$DIAL" plain $WORLD 25
	with_subuids 2017 setpriv --reuid 2 "$DIAL" plain $WORLD 25
	as_user 2017 "$DIAL" plain $WORLD 25
	run with_subuids 2017 setpriv --reuid 3 "$DIAL" plain $WORLD 25
	[ "$output" = refused ]
	[ "$(ledger uid:2017 direct.connections)" = 3 ]
	[ "$(ledger uid:2017 direct.refused)" = 1 ]
}

@test "L16: a user who is root in a user namespace of his own is himself" {
	needs_user_namespaces
	judged 2018 as_user 2018 unshare --user --map-root-user -- "$DIAL" plain $WORLD 25
}

@test "L16: a user namespace in a user namespace is still its outermost owner's" {
	needs_user_namespaces
	judged 2019 as_user 2019 unshare --user --map-root-user -- \
		unshare --user --map-root-user -- "$DIAL" plain $WORLD 25
}

@test "L17: a user in a network namespace that root has wired is charged, and seen by source" {
	local pid before
	needs_user_namespaces
	before=$(status .unattributed.connections)
	private_network 2020
	judged 2020 inside_private "$DIAL" plain $WORLD 25
	[ "$(count 0 direct.connections)" = 0 ]
	[ "$(ledger ip:192.0.2.2 direct.connections)" = 1 ]
	[ "$(status .unattributed.connections)" = $((before + 1)) ]
}

@test "L19: another source address of the machine is the same user, and a row of its own" {
	judged 2021 as_user 2021 "$DIAL" device $WORLD 25
	as_user 2022 "$DIAL" plain 203.0.113.1 25
	[ "$(ledger uid:2022 direct.connections)" = 1 ]
	[ "$(ledger ip:198.51.100.12 direct.connections)" = 1 ]
}

@test "L20: what a process leaves in its socket when it ends is still its user's" {
	as_user 2023 bash -c 'exec 9<>/dev/tcp/198.51.100.2/25; head -c 30000 /dev/zero >&9'
	eventually has_counted 2023 direct.bytes 30000
}

# ---- the port is changed behind us ----

@test "L21: a NAT rule that turns 2500 into 25 helps nobody past a limit or a block" {
	local before
	in_box nft -f - <<-END
		table ip shift {
			chain output {
				type nat hook output priority -100
				tcp dport 2500 dnat to :25
			}
		}
	END
	as_user 2024 "$DIAL" plain $WORLD 2500
	[ "$(ledger uid:2024 direct.connections)" = 1 ]
	smtpwall block uid:2024
	before=$(syns)
	ANSWER_MS=1500 run as_user 2024 "$DIAL" plain $WORLD 2500
	[ "$output" = silent ]
	[ "$(ledger uid:2024 direct.refused)" -ge 1 ]
	as_user 2025 "$DIAL" plain $WORLD 2500
	as_user 2025 "$DIAL" plain $WORLD 2500
	as_user 2025 "$DIAL" plain $WORLD 2500
	ANSWER_MS=1500 run as_user 2025 "$DIAL" plain $WORLD 2500
	[ "$output" = silent ]
	[ "$(ledger uid:2025 direct.connections)" = 3 ]
	[ "$(syns)" = $((before + 3)) ]
}

@test "L21: nor does it help with a socket whose memory is exhausted" {
	local before
	before=$(syns)
	ANSWER_MS=1500 run as_user 2026 "$DIAL" exhausted $WORLD 2500
	[[ $output == *silent ]]
	[ "$(syns)" = "$before" ]
	in_box nft delete table ip shift
}

@test "L22: a program behind ours that turns 2501 into 25 helps nobody either" {
	local before
	hold 0 "$LAB/bin/intrude" port "$LAB_CGROUP" 2501 25
	[ "$REPLY" = there ]
	as_user 2027 "$DIAL" plain $WORLD 2501
	[ "$(ledger uid:2027 direct.connections)" = 1 ]
	smtpwall block uid:2027
	before=$(syns)
	ANSWER_MS=1500 run as_user 2027 "$DIAL" plain $WORLD 2501
	[ "$output" = silent ]
	[ "$(syns)" = "$before" ]
}

@test "L23: a socket from outside the machine's cgroup is at least seen to be nobody's" {
	local before
	before=$(status .unattributed.connections)
	(lab_enter "$LAB_BOX" "$LAB_WORLD_CGROUP" "$DIAL" plain $WORLD 25)
	[ "$(status .unattributed.connections)" = $((before + 1)) ]
}

# ---- the gate itself ----

@test "L25: no user can take a program off its hook" {
	run as_user 65534 "$LAB/bin/intrude" detach "$LAB_CGROUP" eth0
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -eq 4 ]
	[[ $output != *detached* ]]
	smtpwall status
}

@test "L26: exhausted socket memory is refused on SMTP ports only" {
	run as_user 2028 "$DIAL" exhausted $WORLD 25
	[[ $output == *refused ]]
	[ "$(ledger uid:2028 direct.refused)" = 1 ]
	[ "$(status .health.no_storage)" -ge 1 ]
	run as_user 2028 "$DIAL" exhausted $WORLD 8025
	[[ $output == *answered ]]
}

@test "L27: a relay on the loopback is counted as relay, by its own limit" {
	as_user 2029 "$DIAL" plain 127.0.0.1 25
	run as_user 2029 "$DIAL" plain $BOX 25
	[ "$output" = refused ]
	as_user 2029 "$DIAL" plain $WORLD 25
	[ "$(ledger uid:2029 relay.connections)" = 1 ]
	[ "$(ledger uid:2029 relay.refused)" = 1 ]
	[ "$(ledger uid:2029 direct.connections)" = 1 ]
}

# ---- devices ----

@test "L28: in a tunnel the session is judged, and counted once" {
	tunnel || skip "kernel lacks VXLAN"
	judged 2030 as_user 2030 "$DIAL" plain 192.0.2.130 25
	in_box ip route add 203.0.113.64/28 via 192.0.2.130
	eventually hooked vx0
	as_user 2031 "$DIAL" plain 192.0.2.130 25
	[ "$(wire uid:2031 connections)" = 1 ]
	on_wire_as_sent 2031
	in_box ip link del vx0
	in_world ip link del vx0
}

@test "L29: a device without Ethernet is counted and closed like any other" {
	hold 0 "$LAB/bin/tun" tun0
	[[ $REPLY != *"/dev/net/tun"* ]] || skip "kernel lacks TUN"
	[ "$REPLY" = up ]
	in_box ip link set tun0 up
	in_box ip route add 203.0.113.128/25 via inet 198.51.100.2 dev tun0 onlink
	eventually hooked tun0
	ANSWER_MS=1500 run as_user 2032 "$DIAL" plain 203.0.113.129 25
	[ "$output" = silent ]
	[ "$(wire uid:2032 connections)" = 1 ]
	says "$(wire uid:2032 packets)" 'SYN to 25'
	smtpwall block uid:2032
	run as_user 2032 "$DIAL" plain 203.0.113.129 25
	[ "$output" = refused ]
	says_no_more
}

@test "L30: a VLAN interface on an outside one is counted once" {
	in_box ip link add link eth0 name eth0.7 type vlan id 7 || skip "kernel lacks VLANs"
	in_world ip link add link eth0 name eth0.7 type vlan id 7
	wired eth0.7 eth0.7
	as_user 2033 "$DIAL" plain 192.0.2.18 25
	[ "$(wire uid:2033 connections)" = 1 ]
	on_wire_as_sent 2033
	in_box ip link del eth0.7
}

@test "R11: a bridge and its port, both outside, count each packet once" {
	bridge
	as_user 2034 "$DIAL" plain 192.0.2.18 25
	[ "$(wire uid:2034 connections)" = 1 ]
	on_wire_as_sent 2034
	eventually address_as_user ip:192.0.2.17 uid:2034
	in_box ip link del br0
	in_box ip link del wire0
}

address_as_user() { [ "$(ledger "$1" direct.packets)" = "$(wire "$2" packets)" ]; }

@test "L31: an interface that gets a default route is attached by itself" {
	in_box ip link add late0 type veth peer name late1
	in_box ip link set late0 up
	in_box ip addr add 192.0.2.33/28 dev late0
	in_box ip route add default via 192.0.2.34 dev late0 metric 900
	eventually hooked late0
	in_box ip link del late0
	eventually unhooked late0
}

syns_are() { [ "$(syns)" = "$1" ]; }

@test "L32: SYNs by AF_PACKET are counted, limited, and stopped by a block" {
	local before
	before=$(syns)
	forge_packets 2035 2
	[ "$(ledger uid:2035 direct.connections)" = 2 ]
	eventually syns_are $((before + 2))
	forge_packets 2035 5
	[ "$(ledger uid:2035 direct.connections)" = 3 ]
	[ "$(ledger uid:2035 direct.refused)" = 4 ]
	eventually syns_are $((before + 3))
	smtpwall block uid:2036
	forge_packets 2036 2
	[ "$(ledger uid:2036 direct.refused)" = 2 ]
	eventually syns_are $((before + 3))
}

@test "L34: what a raw socket sends is nobody's, and limited as that" {
	local before
	before=$(syns)
	with_capability net_raw 2037 "$LAB/bin/forge" raw $BOX $WORLD 25 2
	[ "$(count overflow direct.connections)" = 2 ]
	[ "$(count 2037 direct.connections)" = 0 ]
	with_capability net_raw 2037 "$LAB/bin/forge" raw $BOX $WORLD 25 6
	[ "$(count overflow direct.connections)" = 4 ]
	eventually syns_are $((before + 4))
}

@test "L35: a program put before ours on the wire does not stay before it" {
	hold 0 "$LAB/bin/intrude" pass eth0
	[[ $REPLY != *Invalid* ]] || skip "kernel lacks TCX"
	[ "$REPLY" = there ]
	as_user 2038 "$DIAL" plain $WORLD 25
	eventually logged "'eth0': ours goes first again"
	as_user 2038 "$DIAL" plain $WORLD 25
	[ "$(wire uid:2038 connections)" -ge 1 ]
	[ "$(ledger uid:2038 direct.connections)" = 2 ]
}

@test "L37: a mark, a device or a connection to oneself exempts nobody" {
	judged 2039 as_user 2039 "$DIAL" device $WORLD 25
	judged 2040 with_capability net_admin 2040 "$DIAL" mark $WORLD 25
	run as_user 2041 "$DIAL" plain 127.0.0.2 587 587
	[ "$(ledger uid:2041 relay.connections)" = 1 ]
	run as_user 2041 "$DIAL" plain 127.0.0.2 587 587
	[ "$output" = refused ]
}

# ---- attacks ----

@test "A3: forged packets in a private network namespace change nobody's counters" {
	needs_user_namespaces
	uncounted as_user 2042 unshare --user --map-root-user --net -- bash -c "
		ip link set lo up &&
		'$LAB/bin/forge' raw 10.1.0.0 127.0.0.1 25 300"
}

@test "A4: a remote that comes from an SMTP port meets no limit and counts for nobody" {
	as_user 2043 "$LAB/bin/serve" 8080 </dev/null >/dev/null 2>&1 3>&- &
	eventually listening "$LAB_BOX" "sport = :8080"
	smtpwall block uid:2043
	uncounted in_world "$DIAL" plain $BOX 8080 465
	uncounted in_world "$DIAL" plain $BOX6 8080 465
	smtpwall unblock uid:2043
}

@test "A5: resets and last acknowledgements to an SMTP port count for nobody" {
	uncounted run in_world "$DIAL" plain $BOX 9 465
	[[ $output == *"Connection refused"* ]]
}

@test "A6: SYNs that are sent again are one connection" {
	in_world nft add rule inet w in ip daddr 203.0.113.9 drop
	ANSWER_MS=2500 run as_user 2044 "$DIAL" plain 203.0.113.9 25
	[ "$output" = silent ]
	[ "$(ledger uid:2044 direct.connections)" = 1 ]
	[ "$(wire uid:2044 connections)" = 1 ]
	[ "$(wire uid:2044 packets)" -ge 2 ]
}

@test "A9: a hostile process name is one line a record, and no escape reaches the terminal" {
	local name=$'a\nb\e[31m"\\\''
	cp "$DIAL" "$LAB/$name"
	smtpwall block uid:2045
	run as_user 2045 "$LAB/$name" plain $WORLD 25
	[ "$output" = refused ]
	eventually told uid:2045
	[ "$(smtpwall events -j | jq -c 'select(.subject == "uid:2045" and .event == "refuse").comm' | wc -l)" = 1 ]
	[ "$(smtpwall events | grep -c 'refused.* 2045')" = 1 ]
	[ "$(smtpwall events | grep -c $'\e')" = 0 ]
	[ "$(grep -c $'\e' "$LAB/daemon.log")" = 0 ]
	eventually logged 'refused.*2045'
	[ "$(grep -c 'refused.*2045' "$LAB/daemon.log")" = 1 ]
}

@test "A10: a sender that is gone at once has been named" {
	smtpwall block uid:2046
	run as_user 2046 "$DIAL" plain $WORLD 25
	eventually told uid:2046
	smtpwall events -j | jq -se 'any(.[]; .subject == "uid:2046" and .event == "refuse" and
		.comm == "dial" and .uid == 2046 and .pid > 1)' >/dev/null
}

# ---- with a daemon of their own ----

@test "L3: a session older than the gate is its user's: counted from then on, and stopped" {
	local bytes
	end_daemon
	smtpwall detach
	hold 2050 "$LAB/bin/hold" $WORLD 25
	[ "$(ask ask)" = answered ]
	config 'mode = enforce' 'outside_hook = clsact'
	start_daemon
	[ "$(ask send 1000)" = sent ]
	[ "$(ask ask)" = answered ]
	eventually has_counted 2050 direct.bytes 1006
	smtpwall block uid:2050
	bytes=$(ledger uid:2050 direct.bytes)
	[ "$(ask ask)" != answered ]
	[ "$(ledger uid:2050 direct.bytes)" = "$bytes" ]
}

# The machine may stand still for more than that; hardly three times in a row.
back_within_a_second() {
	local start
	in_box tc qdisc del dev eth0 clsact
	start=${EPOCHREALTIME/./}
	eventually filtered eth0 && [ $((${EPOCHREALTIME/./} - start)) -lt 1000000 ]
}

@test "L36: a clsact qdisc that another tool deletes is put back within a second" {
	[ "$(hook_of eth0)" = clsact ]
	back_within_a_second || back_within_a_second || back_within_a_second
	as_user 2051 "$DIAL" plain $WORLD 25
	[ "$(wire uid:2051 connections)" = 1 ]
}

@test "kill -9 of the daemon under load lets nobody through and loses no count" {
	local pid admitted refused before
	before=$(syns)
	lab_start storm "$LAB_BOX" "$LAB_CGROUP" setpriv --reuid 2052 --regid 2052 --clear-groups -- \
		"$LAB/bin/storm" $WORLD 25
	pid=$!
	repeat 5 restart_hard
	kill -TERM "$pid"
	wait "$pid"
	read -r admitted refused <"$LAB/storm"
	[ "$admitted" = 3 ]
	[ "$refused" -gt 100 ]
	[ "$(ledger uid:2052 direct.connections)" = 3 ]
	[ "$(ledger uid:2052 direct.refused)" = "$refused" ]
	[ "$(syns)" = $((before + 3)) ]
}

@test "A1: when the ledger is full the newcomers share a row, which is limited and counted" {
	local uid admitted=0
	end_daemon
	smtpwall detach
	config 'mode = enforce' 'max_users = 4'
	start_daemon
	for uid in {2101..2116}; do
		as_user "$uid" "$DIAL" plain $WORLD 25
	done
	[ "$(count overflow direct.connections)" -ge 3 ]
	[ "$(status .health.ledger_overflow)" -ge 3 ]
	for uid in {2117..2124}; do
		! as_user "$uid" "$DIAL" plain $WORLD 25 || admitted=$((admitted + 1))
	done
	[ "$admitted" -le 3 ]
	[ "$(count overflow direct.refused)" -ge 5 ]
	run as_user 2101 "$DIAL" plain $WORLD 25
	[ "$output" = answered ]
}

@test "what the tests attached is gone when they detach" {
	end_daemon
	smtpwall detach
	[ ! -e "$LAB/bpf/smtpwall" ]
	[ -z "$(in_box tc filter show dev eth0 egress)" ]
	[ -z "$(bpftool cgroup show "$LAB_CGROUP")" ]
	sanitizers_are_silent
}
