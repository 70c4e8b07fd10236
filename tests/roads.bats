# SPDX-License-Identifier: GPL-2.0-or-later
# Each way out is a road of its own: what closes one leaves the others open.

load helpers

# The box has a mail server, too.
local_sink() {
	lab_start sink.log "$LAB_BOX" "$LAB_CGROUP" smtp-sink -u nobody inet:0.0.0.0:25 256
	lab_start sink.log "$LAB_BOX" "$LAB_CGROUP" smtp-sink -u nobody 'inet:[::]:25' 256
	eventually listening "$LAB_BOX" 'src 0.0.0.0 and sport = :25'
	eventually listening "$LAB_BOX" 'src [::] and sport = :25'
}

setup() {
	new_test
	config 'mode = enforce' 'relays = {"203.0.113.7", "2001:db8:2::7"}'
	[ -n "$(in_box ss -Hltn 'sport = :25')" ] || local_sink
}

counted() {
	smtpwall -j show uid:"$U" |
		jq -c '[.roads | .direct, .submission, .relay | .connections]'
}

@test "25 of the world is direct, 587 is submission, this machine and relays are relay" {
	reload
	expect 'admitted 2 refused 0' knock "$U" -n 2 "$WORLD"
	expect 'admitted 3 refused 0' knock "$U" -n 3 "$WORLD" 587
	is_admitted "$U" 127.0.0.1
	is_admitted "$U" ::1
	is_admitted "$U" ::ffff:127.0.0.1
	is_admitted "$U" 0.0.0.0
	is_admitted "$U" "$BOX"
	is_admitted "$U" "$BOX6"
	is_admitted "$U" 203.0.113.7
	is_admitted "$U" 2001:db8:2::7 587
	is_admitted "$U" ::ffff:203.0.113.7
	[ "$(counted)" = '[2,3,9]' ]
}

@test "connections to other ports are no mail" {
	lab_start sink.log "$LAB_WORLD" "$LAB_WORLD_CGROUP" smtp-sink -u nobody inet:0.0.0.0:2525 9
	eventually listening "$LAB_WORLD" 'sport = :2525'
	enforce 'action = deny'
	expect 'admitted 5 refused 0' knock "$U" -n 5 "$WORLD" 2525
	is_refused "$U" "$WORLD"
	[ "$(counted)" = '[0,0,0]' ]
}

@test "ports are as configured" {
	config 'mode = enforce' 'ports = {25, 2526}'
	lab_start sink.log "$LAB_WORLD" "$LAB_WORLD_CGROUP" smtp-sink -u nobody inet:0.0.0.0:2526 9
	eventually listening "$LAB_WORLD" 'sport = :2526'
	enforce 'roads = {submission}'
	is_refused "$U" "$WORLD" 2526
	is_admitted "$U" "$WORLD" 587
}

@test "a user blocked on direct still reaches this machine, a relay and submission" {
	enforce 'limits = {"1 connections per 1h"}  action = block'
	expect 'admitted 1 refused 4' knock "$U" -n 5 "$WORLD"
	for address in 127.0.0.1 ::1 "$BOX" "$BOX6" 203.0.113.7 2001:db8:2::7; do
		expect 'admitted 3 refused 0' knock "$U" -n 3 "$address"
	done
	is_admitted "$U" "$WORLD" 587
	as_user "$U" smtp-source -m 2 inet:127.0.0.1:25
	is_refused "$U" "$WORLD6"
}

@test "an address that the machine gets later is relay from then on, and no longer when it goes" {
	enforce 'action = deny'
	is_refused "$U" 203.0.113.9
	ip -n "$LAB_ID-box" addr add 203.0.113.9/32 dev lo
	eventually is_admitted "$U" 203.0.113.9 2>/dev/null
	ip -n "$LAB_ID-box" addr del 203.0.113.9/32 dev lo
	eventually is_refused "$U" 203.0.113.9 2>/dev/null
}

@test "a policy limits the roads that it names, each by a window of its own" {
	enforce 'roads = {submission, relay}  limits = {"2 connections per 1h"}'
	expect 'admitted 5 refused 0' knock "$U" -n 5 "$WORLD"
	expect 'admitted 2 refused 1' knock "$U" -n 3 "$WORLD" 587
	expect 'admitted 2 refused 1' knock "$U" -n 3 127.0.0.1
}

@test "a block by a policy closes all roads of the policy" {
	enforce 'roads = {direct, submission}  limits = {"2 connections per 1h"}  action = block'
	expect 'admitted 2 refused 1' knock "$U" -n 3 "$WORLD" 587
	is_refused "$U" "$WORLD"
	is_admitted "$U" 127.0.0.1
	block_is uid:"$U" '.roads == ["direct", "submission"] and .policy == "only" and .by == "limit"'
}

# ---- by hand ----

@test "a block by hand is on direct, or on the roads that it names, and lasts until it is lifted" {
	reload
	smtpwall block uid:"$U"
	is_refused "$U" "$WORLD"
	is_admitted "$U" "$WORLD" 587
	smtpwall block uid:"$V" --roads submission,relay --reason 'a test'
	is_admitted "$V" "$WORLD"
	is_refused "$V" "$WORLD" 587
	is_refused "$V" 127.0.0.1
	block_is uid:"$V" '.roads == ["submission", "relay"] and .by == "manual" and .hits == 2'
	block_is uid:"$V" '.reason == "a test" and .permanent'
	smtpwall unblock uid:"$U"
	is_admitted "$U" "$WORLD"
	is_refused "$V" 127.0.0.1
}

@test "a block by hand ends by its own time with the daemon killed" {
	local start=${EPOCHREALTIME/./}
	reload
	daemon_dies
	smtpwall block uid:"$U" --for 6s
	is_refused "$U" "$WORLD"
	eventually is_admitted "$U" "$WORLD" 2>/dev/null
	[ $((${EPOCHREALTIME/./} - start)) -gt 6000000 ]
	[ "$(smtpwall -j blocks | jq '.blocks | length')" -eq 0 ]
}

@test "unblock clears the windows: the whole limit is there again" {
	enforce 'limits = {"5 connections per 1h"}  action = block'
	expect 'admitted 5 refused 3' knock "$U" -n 8 "$WORLD"
	expect 'admitted 5 refused 3' knock "$V" -n 8 "$WORLD"
	smtpwall unblock uid:"$U"
	expect 'admitted 5 refused 3' knock "$U" -n 8 "$WORLD"
	is_refused "$V" "$WORLD"
	smtpwall unblock --all
	expect 'admitted 5 refused 3' knock "$V" -n 8 "$WORLD"
	smtpwall unblock uid:"$W" # the unblocked
}

@test "unblock in the middle of a race gives the limit anew, once each time" {
	local race
	enforce 'limits = {"20 connections per 1h"}'
	start_as race "$U" "$LAB/bin/knock" -p 8 -s 600 "$WORLD"
	race=$!
	eventually is_refused "$U" "$WORLD" 2>/dev/null
	for _ in {1..10}; do
		smtpwall unblock uid:"$U"
		eventually is_refused "$U" "$WORLD" 2>/dev/null
	done
	kill -TERM $race
	wait $race
	# is_refused may have been admitted instead of one of them
	[ "$(ledger uid:"$U" direct.connections)" -eq 220 ]
}

@test "allow lifts limits and their blocks until disallow, or for a time with the daemon killed" {
	enforce 'limits = {"2 connections per 1h"}  action = block'
	expect 'admitted 2 refused 1' knock "$U" -n 3 "$WORLD"
	smtpwall allow uid:"$U" --reason 'a newsletter'
	expect 'admitted 9 refused 0' knock "$U" -n 9 "$WORLD"
	[ "$(smtpwall -j allowed | jq -r '.allowed[].subject')" = uid:"$U" ]
	smtpwall disallow uid:"$U"
	is_refused "$U" "$WORLD"

	expect 'admitted 2 refused 1' knock "$V" -n 3 "$WORLD"
	daemon_dies
	smtpwall allow uid:"$V" --for 6s
	expect 'admitted 9 refused 0' knock "$V" -n 9 "$WORLD"
	eventually is_refused "$V" "$WORLD" 2>/dev/null
}

@test "a block by hand holds for the allowed and, with force, for the exempt" {
	config 'mode = enforce' "exempt { users = {$V} }"
	reload
	smtpwall allow uid:"$U"
	smtpwall block uid:"$U"
	is_refused "$U" "$WORLD"
	smtpwall disallow uid:"$U"
	run smtpwall block uid:"$V"
	[ "$status" -eq 1 ]
	is_admitted "$V" "$WORLD"
	smtpwall block uid:"$V" --force
	is_refused "$V" "$WORLD"
}

@test "a user can be named instead of numbered" {
	reload
	smtpwall block user:games
	is_refused "$(id -u games)" "$WORLD"
	smtpwall unblock user:games
	is_admitted "$(id -u games)" "$WORLD"
}

@test "a policy's block takes the place of no block that lasts longer, on none of its roads" {
	enforce 'roads = {direct, submission}  limits = {"1 connections per 5s"}
		action = block  block_for = 5s'
	smtpwall block uid:"$U" --roads submission
	expect 'admitted 1 refused 1' knock "$U" -n 2 "$WORLD"
	eventually is_admitted "$U" "$WORLD" 2>/dev/null
	is_refused "$U" "$WORLD" 587
}
