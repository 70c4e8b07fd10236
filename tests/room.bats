# SPDX-License-Identifier: GPL-2.0-or-later
# What becomes of those for whom there is no room: in a ledger, in the ring, on the disk.

# shellcheck disable=SC2086 # words on purpose; users are numbers

load life

# each_uid FIRST LAST TIMES: each connects, and tells how often it was admitted
each_uid() {
	in_box python3 - "$@" "$WORLD" <<-'END'
		import os, socket, struct, sys
		first, last, times = map(int, sys.argv[1:4])
		os.setgroups([])
		for uid in range(first, last + 1):
		    os.setresuid(uid, 0, 0)
		    admitted = 0
		    for _ in range(times):
		        s = socket.socket()
		        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
		        try:
		            s.connect((sys.argv[4], 25))
		            admitted += 1
		        except PermissionError:
		            pass
		        s.close()
		    print(uid, admitted)
	END
}

@test "a full ledger: newcomers share a row, are limited all the same, and it is counted and shown" {
	limited 'max_users = 4'
	start_daemon
	each_uid 2001 2030 4 >"$LAB/admitted"
	[ "$(wc -l <"$LAB/admitted")" -eq 30 ]
	[ "$(awk '$2 > 2' "$LAB/admitted" | wc -l)" -eq 0 ]
	admitted=$(awk '{ n += $2 } END { print n }' "$LAB/admitted")
	smtpwall -j list uid >"$LAB/list"
	[ "$(jq '[.subjects[].roads.direct.connections] | add' "$LAB/list")" -eq "$admitted" ]
	[ "$(jq '[.subjects[].roads.direct.refused] | add' "$LAB/list")" -eq $((120 - admitted)) ]
	jq -e 'any(.subjects[]; .subject == "uid:overflow")' "$LAB/list"
	smtpwall list | grep -q '^uid:overflow '
	smtpwall -j status | jq -e '.health.ledger_overflow > 0 and .health.window_overflow > 0'
	smtpwall status | grep -q '^! .*the overflow row'
	eventually logged 'the ledger is full; raise max_users'
	is_admitted 0 "$WORLD"
}

@test "a full ledger of units: the same for containers" {
	config 'mode = enforce' 'max_users = 4'
	policy all 'limits = {"2 connections per 1h"}'
	start_daemon
	contained() (lab_enter "$LAB_BOX" "$LAB_CGROUP/$1" unshare --pid --fork --kill-child "$LAB/bin/knock" -n 4 "$WORLD")
	for i in {1..20}; do
		mkdir "$LAB_CGROUP/container$i"
		contained "container$i" >>"$LAB/admitted"
	done
	[ "$(awk '$2 > 2' "$LAB/admitted" | wc -l)" -eq 0 ]
	admitted=$(awk '{ n += $2 } END { print n }' "$LAB/admitted")
	[ "$admitted" -ge 4 ]
	smtpwall -j list >"$LAB/list"
	jq -e '[.subjects[] | select(.subject | startswith("unit:"))] | length == 2' "$LAB/list"
	[ "$(jq '[.subjects[] | select(.subject | test("^(uid|unit):")).roads.direct.connections] | add' "$LAB/list")" -eq "$admitted" ]
	[ "$(jq '[.subjects[] | select(.subject | test("^(uid|unit):")).roads.direct.refused] | add' "$LAB/list")" -eq $((80 - admitted)) ]
	smtpwall -j status | jq -e '.health.ledger_overflow > 0 and .health.window_overflow > 0'
}

# wire_rows FILTER: of the ledger of addresses, in jq
wire_rows() { smtpwall -j list ip | jq "$1"; }
connections_are() { [ "$(wire_rows '[.subjects[].roads.direct.connections] | add')" = "$1" ]; }
# age_sources: as if they had not been seen for two hours
age_sources() {
	python3 - "$(pins)/ip_ledger" <<-'END' >"$LAB/batch"
		import json, struct, subprocess, sys, time
		rows = json.loads(subprocess.check_output(["bpftool", "-j", "map", "dump", "pinned", sys.argv[1]]))
		then = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 7200 * 10**9
		for row in rows:
		    seen = list("%#04x" % b for b in struct.pack("<qq", then, then))
		    value = row["value"][:-32] + seen + row["value"][-16:]
		    print("map update pinned", sys.argv[1], "key", *row["key"], "value", *value)
	END
	bpftool batch file "$LAB/batch" >/dev/null
}

@test "a full ledger of addresses: newcomers share their network's row, nobody is pushed out, the idle make room" {
	limited 'max_users = 8'
	start_daemon
	expect 'admitted 1 refused 0' knock $U "$WORLD"
	for source in 10.1.0.1 10.2.0.1; do in_box "$LAB/bin/forge" raw $source "$WORLD" 25 500; done
	connections_are 1001
	[ "$(wire_rows '.subjects | length')" = 11 ] # 8 of its own, 3 shared
	wire_rows '[.subjects[].subject]' | jq -e 'contains(["ip:10.1.0.0/24", "ip:10.1.1.0/24", "ip:10.2.0.0/24", "ip:overflow"])'
	[ "$(smtpwall -j show ip:10.1.1.0/24 | jq .roads.direct.connections)" = 245 ]
	smtpwall -j status | jq -e '.health.ledger_overflow >= 990 and .wire.connections == 1001'
	expect 'admitted 1 refused 1' knock $U -n 2 "$WORLD"
	[ "$(ledger ip:$BOX direct.connections)" = 2 ]
	run smtpwall block ip:10.1.1.0/24
	[ "$status" = 2 ]

	all_is_said() { [ -z "$(in_box ss -Htn exclude listening exclude time-wait dport = :25)" ]; }
	eventually all_is_said # or a last packet makes the row young again
	age_sources
	stop_daemon
	start_daemon # each looks at once
	has_no_row() { wire_rows '.subjects[].subject' | jq -se --arg s "$1" 'all(.[]; . != $s)' >/dev/null; }
	eventually has_no_row ip:$BOX
	eventually connections_are 1002
	is_admitted 3001 "$WORLD"
	[ "$(ledger ip:$BOX direct.connections)" = 1 ]
	eventually connections_are 1003
}

@test "a full ring changes no verdict; what was not told is counted and shown" {
	config 'mode = enforce'
	policy many 'users = {"10000-19999"}  limits = {"1 connections per 1h"}'
	start_daemon
	kill -STOP "$LAB_DAEMON"
	each_uid 10000 12399 2 >"$LAB/admitted"
	[ "$(awk '$2 == 1' "$LAB/admitted" | wc -l)" -eq 2400 ]
	lost=$(smtpwall -j status | jq .lost_events)
	[ "$lost" -gt 0 ]
	smtpwall status | grep -q "^! $lost events lost"
	kill -CONT "$LAB_DAEMON"
	eventually logged "$lost events were not told, the ring was full"
	smtpwall -j list uid | jq -e '.subjects | length == 2400 and all(.roads.direct | .connections == 1 and .refused == 1)'
}

@test "a state directory that cannot be written: one warning, and nothing else" {
	limited
	mount -t tmpfs -o ro none "$LAB/state"
	start_daemon
	use_up $U
	smtpwall block uid:$V
	is_refused $V "$WORLD"
	smtpwall unblock uid:$V
	eventually logged "refused: uid $U"
	eventually logged 'cannot write the history'
	[ "$(times_logged 'cannot write the history')" -eq 1 ]
	stop_daemon
}

@test "a state directory that fills up: one warning, and nothing else" {
	limited
	mount -t tmpfs -o size=128k none "$LAB/state"
	start_daemon
	head -c 1M /dev/zero >"$LAB/state/ballast" || true
	each_uid 2001 2300 3 >/dev/null
	eventually logged 'cannot write the history'
	use_up 2301
	smtpwall block uid:2302
	is_refused 2302 "$WORLD"
	# a little room may be found in between
	[ "$(times_logged 'cannot write the history')" -le $((1 + $(times_logged 'is written again'))) ]
	smtpwall -j events >/dev/null
	stop_daemon
}
