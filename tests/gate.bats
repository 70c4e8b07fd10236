# SPDX-License-Identifier: GPL-2.0-or-later
# What is over a limit is refused, at once and to the connection; nobody else is.

load helpers

# race_ten_times ACTION: 64 processes of one user; at the same time a neighbour and an exempt user
race_ten_times() {
	local round racer neighbour exempt
	config 'mode = enforce' "exempt { users = {root, $X} }"
	enforce "limits = {\"20 connections per 1h\"}  action = $1"
	for round in {0..9}; do
		racer=$((30000 + 100 * BATS_TEST_NUMBER + round))
		expect 'admitted 10 refused 0' knock $((racer + 50)) -p 5 -n 2 "$WORLD" &
		neighbour=$!
		expect 'admitted 40 refused 0' knock "$X" -p 4 -n 10 "$WORLD" &
		exempt=$!
		expect 'admitted 20 refused 44' knock $racer -p 64 "$WORLD"
		wait $neighbour
		wait $exempt
		[ "$(ledger uid:$racer direct.connections) $(ledger uid:$racer direct.refused)" = '20 44' ]
	done
	expect 'admitted 30 refused 0' knock 0 -n 30 "$WORLD"
}

@test "of 64 processes that race for 20 connections 20 are admitted, ten times in a row: deny" {
	race_ten_times deny
}

@test "of 64 processes that race for 20 connections 20 are admitted, ten times in a row: block" {
	race_ten_times block
}

@test "of 8 processes that race through a large limit exactly as many are admitted" {
	enforce 'limits = {"5000 connections per 1h"}'
	expect 'admitted 5000 refused 11000' knock "$U" -p 8 -n 2000 "$WORLD"
	[ "$(ledger uid:"$U" direct.connections) $(ledger uid:"$U" direct.refused)" = '5000 11000' ]
}

# One of them may have to wait while the machine stands still, but not of each five hundred.
is_immediate() {
	local took slowest
	[[ $(knock "$1" -n 500 "$WORLD") =~ ^'admitted 0 refused 500 failed 0 refusal_us '(.*)' slowest_us '(.*) ]] || return
	took=${BASH_REMATCH[1]} slowest=${BASH_REMATCH[2]}
	echo "# 500 refusals took $took us each, the slowest $slowest us" >&3
	[ "$took" -lt 1000 ] && [ "$slowest" -lt 1000000 ]
}

@test "a refusal is immediate, and nothing of it is on the wire" {
	local user
	policy deny "users = {$U}  limits = {\"2 connections per 1h\"}"
	policy block "users = {$V}  limits = {\"2 connections per 1h\"}  action = block"
	reload
	syns_count
	for user in $U $V; do
		expect 'admitted 2 refused 1' knock "$user" -n 3 "$WORLD"
		is_immediate "$user" || is_immediate "$user" || is_immediate "$user"
	done
	is_admitted "$W" "$WORLD"
	[ "$(syns)" -eq 5 ]
}

@test "IPv4, IPv6 and IPv4-mapped sockets are one subject and one limit" {
	local address
	enforce 'limits = {"3 connections per 1h"}'
	for address in "$WORLD" "$WORLD6" "::ffff:$WORLD"; do is_admitted "$U" "$address"; done
	for address in "$WORLD" "$WORLD6" "::ffff:$WORLD"; do is_refused "$U" "$address"; done
	[ "$(ledger uid:"$U" direct.connections) $(ledger uid:"$U" direct.refused)" = '3 3' ]
}

@test "a denied user is admitted again as the window moves, and never above the limit" {
	enforce 'limits = {"3 connections per 2s"}'
	knock "$U" -p 2 -s 9 -v "$WORLD" | grep '^[0-9]' | sort -n >"$LAB/$BATS_TEST_NUMBER/admitted"
	# In 9 s are four windows of 16/15 of it, of which two may pass while the machine stands still:
	# six connections. Whoever called first may have been admitted last.
	awk '{ start[NR] = $1; end[NR] = $2 }
		END {
			for (i = 1; i + 3 <= NR; i++) {
				last = 0
				for (j = i; j <= i + 3; j++)
					if (end[j] > last)
						last = end[j]
				if (last - start[i] < 2e9)
					exit 1
			}
			exit NR < 6
		}' "$LAB/$BATS_TEST_NUMBER/admitted"
}

@test "of several limits each one holds" {
	enforce 'limits = {"2 connections per 8s", "3 connections per 1h"}'
	expect 'admitted 2 refused 2' knock "$U" -n 4 "$WORLD"
	eventually is_admitted "$U" "$WORLD"
	expect 'admitted 0 refused 1' knock "$U" "$WORLD"
	[ "$(smtpwall -j show uid:"$U" | jq -c '[.limits[].used]')" = '[1,3]' ]
	expect 'admitted 0 refused 500' knock "$U" -n 500 "$WORLD"
}

bytes_as_used() { smtpwall -j show uid:"$1" | jq -e '.limits[0].used == .roads.direct.bytes' >/dev/null; }

@test "a transfer stops at its byte limit, and other users' transfers do not" {
	local used
	enforce "users = {$U, $V}  limits = {\"64kB per 1h\"}"
	start_as transfer "$U" smtp-source -s 4 -m 4 -l 200000 "inet:$WORLD:25"
	eventually stalls
	as_user "$V" smtp-source -l 30000 "inet:$WORLD:25"
	as_user "$W" smtp-source -s 4 -m 4 -l 200000 "inet:$WORLD:25"
	used=$(ledger uid:"$U" direct.bytes)
	echo "# of 64000 bytes $used were used" >&3
	[ "$used" -gt 1000 ]
	[ "$used" -le 64000 ]
	[ "$(ledger uid:"$W" direct.bytes)" -gt 800000 ]
	eventually bytes_as_used "$U" # it may still try with less
	[ "$(ledger uid:"$U" direct.bytes)" -le 64000 ]
}

@test "a transfer above its byte limit goes on as the window moves" {
	enforce 'limits = {"20kB per 2s"}'
	as_user "$U" smtp-source -l 30000 "inet:$WORLD:25" # held in the middle, and goes through
	[ "$(ledger uid:"$U" direct.bytes)" -gt 30000 ]
}

@test "a byte limit with a block cuts off, and holds for a session that is older than it" {
	reload
	session old "$U"
	say old NOOP
	eventually heard old 250 1
	enforce 'limits = {"15B per 1h"}  action = block'
	say old NOOP
	eventually heard old 250 2
	say old NOOP
	eventually heard old 250 3
	say old NOOP
	eventually blocked uid:"$U"
	is_refused "$U" "$WORLD"
	heard old 250 3
}

@test "no limit admits none, and so does a policy without limits" {
	enforce 'limits = {"0 connections per 1h"}'
	is_refused "$U" "$WORLD"
	enforce 'action = deny'
	is_refused "$U" "$WORLD"
}

@test "a warning is told once and refuses nothing" {
	enforce 'warn = {"2 connections per 1h"}'
	expect 'admitted 10 refused 0' knock "$U" -n 10 "$WORLD"
	eventually is_told uid:"$U" warn
	[ "$(events uid:"$U" warn)" -eq 1 ]
}

@test "a refusal and a block are told, with the culprit" {
	enforce 'limits = {"1 connections per 1h"}  action = block'
	expect 'admitted 1 refused 1' knock "$U" -n 2 "$WORLD"
	eventually is_told uid:"$U" block
	smtpwall -j events | jq -es --arg s uid:"$U" 'any(.[]; .subject == $s and .event == "block" and
		.policy == "only" and .limit == "1 connections per 1h" and .comm == "knock")' >/dev/null
}

world_has_session() { [ -n "$(in_world ss -Htn state established 'src 203.0.113.9')" ]; }
world_has_no_session() { ! world_has_session; }

@test "a block ends the session that is older than it, and not the neighbour's" {
	session old "$U" 203.0.113.9
	session neighbour "$V"
	world_has_session
	smtpwall block uid:"$U"
	eventually world_has_no_session
	say neighbour NOOP
	eventually heard neighbour 250 1
}

@test "a block by a limit ends the sessions that the limit had admitted" {
	enforce 'limits = {"1 connections per 1h"}  action = block'
	session old "$U" 203.0.113.9
	world_has_session
	is_refused "$U" "$WORLD"
	eventually world_has_no_session
}

@test "RST passes a block: the remote learns of a session that was cut" {
	session cut "$U" 203.0.113.9
	world_has_session
	smtpwall block uid:"$U"
	in_box ss -KHtn dst 203.0.113.9 >/dev/null
	eventually world_has_no_session
}

@test "a policy's block ends by its own time with the daemon killed" {
	local start took
	enforce 'limits = {"2 connections per 5s"}  action = block  block_for = 7s'
	daemon_dies
	start=${EPOCHREALTIME/./}
	expect 'admitted 2 refused 2' knock "$U" -n 4 "$WORLD"
	eventually is_admitted "$U" "$WORLD" 2>/dev/null
	took=$(((${EPOCHREALTIME/./} - start) / 1000))
	echo "# admitted again after $took ms" >&3
	[ "$took" -ge 7000 ]
}

@test "the limit holds with the daemon killed in the middle of it" {
	enforce 'limits = {"20 connections per 1h"}  action = block'
	expect 'admitted 12 refused 0' knock "$U" -n 12 "$WORLD"
	daemon_dies
	expect 'admitted 8 refused 56' knock "$U" -p 64 "$WORLD"
	daemon_starts
	is_refused "$U" "$WORLD"
	[ "$(ledger uid:"$U" direct.connections) $(ledger uid:"$U" direct.refused)" = '20 57' ]
}

# ---- who is behind a connection ----

@test "exempt users are counted and never limited" {
	config 'mode = enforce' "exempt { users = {$U} }"
	enforce 'limits = {"1 connections per 1h"}  action = block'
	expect 'admitted 30 refused 0' knock "$U" -n 30 "$WORLD"
	[ "$(ledger uid:"$U" direct.connections)" -eq 30 ]
}

@test "root is limited where it is not exempt" {
	config 'mode = enforce' 'exempt { users = {} }'
	enforce 'limits = {"3 connections per 1h"}'
	expect 'admitted 3 refused 1' in_box "$LAB/bin/knock" -n 4 "$WORLD"
}

@test "an exempt destination is never limited, and others are" {
	config 'mode = enforce' 'exempt { destinations = {"203.0.113.4", "2001:db8:2::/64"} }'
	enforce 'limits = {"1 connections per 1h"}  action = block'
	expect 'admitted 1 refused 1' knock "$U" -n 2 203.0.113.5
	expect 'admitted 5 refused 0' knock "$U" -n 5 203.0.113.4
	expect 'admitted 5 refused 0' knock "$U" -n 5 ::ffff:203.0.113.4
	expect 'admitted 5 refused 0' knock "$U" -n 5 2001:db8:2::3
	is_refused "$U" "$WORLD6"
}

# A network namespace beside the box, with a way of its own into the world
other_network() {
	local other=$LAB_ID-other
	[ ! -e "/run/netns/$other" ] || return 0
	ip netns add "$other"
	ip -n "$other" link add eth0 type veth peer name eth1 netns "$LAB_ID-world"
	ip -n "$other" addr add 192.0.2.1/24 dev eth0
	ip -n "$other" link set eth0 up
	ip -n "$LAB_ID-world" addr add 192.0.2.2/24 dev eth1
	ip -n "$LAB_ID-world" link set eth1 up
}

@test "root and exempt users of another network namespace are not exempt" {
	other_network
	config 'mode = enforce' "exempt { users = {root, $U} }"
	enforce 'limits = {"3 connections per 1h"}'
	other=$LAB_ID-other
	as_root() (lab_enter "/run/netns/$other" "$LAB_CGROUP" "$@")
	expect 'admitted 3 refused 2' as_root "$LAB/bin/knock" -n 5 192.0.2.2
	expect 'admitted 3 refused 2' as_root setpriv --reuid "$U" --regid "$U" --clear-groups \
		"$LAB/bin/knock" -n 5 192.0.2.2
	expect 'admitted 9 refused 0' in_box "$LAB/bin/knock" -n 9 "$WORLD"
}

@test "a container, by its pid namespace, is one unit and no user of this machine" {
	local unit
	mkdir -p "$LAB_CGROUP/container"
	contained() (lab_enter "$LAB_BOX" "$LAB_CGROUP/container" unshare --pid --fork --kill-child \
		setpriv --reuid "$1" --clear-groups -- "$LAB/bin/knock" "${@:2}")
	config 'mode = enforce' "exempt { users = {root, $U} }"
	enforce 'limits = {"4 connections per 1h"}'
	expect 'admitted 2 refused 0' contained 0 -n 2 "$WORLD"
	expect 'admitted 2 refused 1' contained "$U" -n 3 "$WORLD"
	expect 'admitted 0 refused 1' contained "$V" "$WORLD"
	is_admitted "$V" "$WORLD"
	unit=$(smtpwall -j list unit | jq -r '.subjects[].subject | select(endswith("/container"))')
	[ "$(ledger "$unit" direct.connections) $(ledger "$unit" direct.refused)" = '4 2' ]
}
