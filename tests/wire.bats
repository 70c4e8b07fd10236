# SPDX-License-Identifier: GPL-2.0-or-later
# The figures: those of a sender against the kernel's own counters of the same sockets, those of the
# wire against a capture. What is counted is said at struct sw_tally in abi.h.

# shellcheck disable=SC2086 # addresses

load hostile

setup_file() {
	lab_up
	hostile_world
	config 'mode = enforce'
	start_daemon
}

teardown_file() { lab_down; }

teardown() {
	in_box "$LAB/bin/tso" eth0 on
	let_go
}

# session UID HOST BYTES [PORT]: sends, ends, and leaves the kernel's counters in sent and segments
session() {
	hold "$1" "$LAB/bin/hold" "$2" "${4-25}"
	[ "$REPLY" = answered ] || return
	[ "$(ask send "$3")" = sent ]
	read -r sent segments <<<"$(ask end)"
	let_go
}

# agree SUBJECT ROAD BYTES SEGMENTS: the sender's own row
agree() {
	[ "$(ledger "$1" "$2.bytes")" = "$3" ]
	[ "$(ledger "$1" "$2.packets")" = "$4" ]
}

# agree_on_wire SUBJECT BYTES SEGMENTS: what is said of it at the interface
agree_on_wire() {
	[ "$(wire "$1" bytes)" = "$2" ]
	[ "$(wire "$1" packets)" = "$3" ]
}

# capture FILTER: of what arrives in the world
capture() {
	rm -f "$LAB/wire.log"
	lab_start wire.log "$LAB_WORLD" "$LAB_WORLD_CGROUP" tcpdump -i eth0 -Z root --immediate-mode \
		-U -s 128 -w "$LAB/wire.pcap" "$1"
	CAPTURE=$!
	eventually grep -q 'listening on' "$LAB/wire.log"
}

# captured BYTES SEGMENTS: that, and no more. What has arrived may not be written yet.
captured() {
	eventually has_captured "$@"
	kill -INT "$CAPTURE"
	wait "$CAPTURE"
	grep -qx '0 packets dropped by kernel' "$LAB/wire.log"
	has_captured "$@"
}
has_captured() {
	[ "$(tcpdump -nn -r "$LAB/wire.pcap" 2>/dev/null | awk '
		match($0, /length [0-9]+/) { bytes += substr($0, RSTART + 7, RLENGTH - 7) }
		END { print bytes, NR }')" = "$1 $2" ]
}

@test "bytes and packets of a user are the kernel's own counters, and a capture's" {
	in_box "$LAB/bin/tso" eth0 off
	capture "tcp dst port 25 and src host $BOX"
	session 2001 $WORLD 3000000
	[ "$sent" -ge 3000000 ]
	agree uid:2001 direct "$sent" "$segments"
	agree_on_wire uid:2001 "$sent" "$segments"
	captured "$sent" "$segments"
}

@test "the same by IPv6, and by IPv4 in an IPv6 socket, is the same user's" {
	local bytes=0 packets=0 host
	for host in $WORLD6 ::ffff:$WORLD; do
		session 2002 "$host" 500001
		bytes=$((bytes + sent)) packets=$((packets + segments))
		agree uid:2002 direct $bytes $packets
		agree_on_wire uid:2002 $bytes $packets
	done
	in_box "$LAB/bin/tso" eth0 off
	capture "ip6 dst host $WORLD6 and tcp dst port 25"
	session 2003 $WORLD6 100000
	captured "$sent" "$segments"
}

@test "what is lost and sent again is counted again, as the kernel does" {
	local handle
	handle=$(in_world nft -e -a add rule inet w in tcp dport 25 meta length gt 1000 \
		numgen inc mod 5 4 drop | sed -n 's/.*# handle //p')
	session 2004 $WORLD 400000
	in_world nft delete rule inet w in handle "$handle"
	[ "$sent" -gt 400000 ]
	agree uid:2004 direct "$sent" "$segments"
	agree_on_wire uid:2004 "$sent" "$segments"
	[ "$(wire uid:2004 connections)" = 1 ]
}

@test "packets of more than 64 KiB are counted like the segments that they become" {
	in_box ip link set eth0 gso_max_size 180000 || skip "kernel lacks BIG TCP"
	in_world nft add counter inet w big
	in_world nft add rule inet w in meta length gt 65576 counter name big
	session 2005 $WORLD6 20000000
	in_box ip link set eth0 gso_max_size 65536
	[ "$(world_counter big)" -gt 0 ]
	agree uid:2005 direct "$sent" "$segments"
	agree_on_wire uid:2005 "$sent" "$segments"
}

@test "each road is counted by itself" {
	local outside
	session 2006 $WORLD 1000
	agree uid:2006 direct "$sent" "$segments"
	outside=$sent
	session 2006 $WORLD 2000 587
	agree uid:2006 submission "$sent" "$segments"
	outside=$((outside + sent))
	session 2006 127.0.0.1 3000
	agree uid:2006 relay "$sent" "$segments"
	[ "$(wire uid:2006 bytes)" = $outside ] # the loopback is not
}

@test "each source address has its row, of IPv6 its network" {
	local subject
	for subject in ip:$BOX ip:2001:db8:1::/64; do
		before=$(count_ip "$subject")
		case $subject in
		*db8*) session 2007 $WORLD6 5000 ;;
		*) session 2007 $WORLD 5000 ;;
		esac
		[ "$(count_ip "$subject")" = "$(added "$before" 1 "$sent" "$segments")" ]
	done
	before=$(count_ip ip:198.51.100.12)
	session 2007 203.0.113.1 6000
	[ "$(count_ip ip:198.51.100.12)" = "$(added "$before" 1 "$sent" "$segments")" ]
}

# count_ip SUBJECT: "CONNECTIONS BYTES PACKETS"
count_ip() {
	smtpwall -j list ip | jq -r --arg s "$1" '[.subjects[] | select(.subject == $s).roads.direct] |
		"\(map(.connections) | add // 0) \(map(.bytes) | add // 0) \(map(.packets) | add // 0)"'
}

added() {
	# shellcheck disable=SC2086 # three words
	set -- $1 "${@:2}"
	echo "$(($1 + $4)) $(($2 + $5)) $(($3 + $6))"
}

is_up() { in_box ip -j link show "$1" | jq -e '.[].operstate == "UP"' >/dev/null; }
unattributed_are() { [ "$(status -c .unattributed)" = "$1" ]; }
counts_ip() { [ "$(count_ip "$1")" = "$2" ]; }

@test "what leaves without a sender is charged to its address and shown as unattributed" {
	[ "$(status -c .unattributed)" = '{"connections":0,"packets":0,"bytes":0}' ]
	private_network 2008
	eventually is_up priv0
	(lab_enter "/proc/$PRIVATE/ns/net" "$LAB_CGROUP" "$LAB/bin/forge" packet 192.0.2.3 $WORLD 25 3 \
		priv1 "$(in_box ip -j link show priv0 | jq -r '.[].address')")
	eventually unattributed_are '{"connections":3,"packets":3,"bytes":0}'
	smtpwall status | grep -q '3 connections on the wire that no sender answers for'
	eventually counts_ip ip:192.0.2.3 '1 0 1'
	eventually counts_ip ip:192.0.2.5 '1 0 1'
	[ "$(smtpwall -j list uid | jq '[.subjects[].wire.packets] | add')" = "$(status '.wire.packets - 3')" ]
	end_daemon
	sanitizers_are_silent
}
