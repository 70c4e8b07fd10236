# SPDX-License-Identifier: GPL-2.0-or-later
# What a reboot, a full disk or a broken file must not undo; and repeat offenders.

load helpers

teardown() {
	mountpoint -q "$LAB/full" || return 0
	! daemon_runs || daemon_dies
	umount -l "$LAB/full"
}

database() { sqlite3 -cmd '.timeout 20000' "$LAB/state/smtpwall.db" "$1"; }
held() { database "SELECT count(*) FROM held WHERE subject = 'uid:$1'"; }
is_held() { [ "$(held "$1")" -gt 0 ]; }
block_of() { smtpwall -j blocks | jq -e --arg s "uid:$1" 'first(.blocks[] | select(.subject == $s))'; }
# left_is UID FROM TO: seconds of its block that are left
left_is() {
	local left
	left=$(block_of "$1" | jq "$SECONDS_OF (.until | seconds) - now | round") || return
	echo "left: $left" >&2
	[ "$left" -ge "$2" ] && [ "$left" -le "$3" ]
}
# shellcheck disable=SC2016 # jq's
SECONDS_OF='def seconds: sub("\\.[0-9]+"; "") | fromdateiso8601;'

# Under sanitizers, on a busy machine, ten thousand sentences take a while.
patiently() { WITHIN=60 eventually "$@"; }
comes_back() { daemon_starts; }

# What is left of the kernel's side after the power was cut; `another` boot than that of the file.
lose_kernel() {
	daemon_dies
	smtpwall detach >/dev/null
}
another_boot() { database "UPDATE clock SET boot = 'another', wall_ns = wall_ns + ($1) * 1000000000"; }

is_saved() { [ "$(database 'SELECT boot FROM clock')" != another ]; }

# offend UID N: goes over the policy of the test, for the Nth time. Written down before its block
# runs out, or it was none.
offend() {
	eventually is_refused "$1" "$WORLD" 2>/dev/null && eventually has_offended "$1" "$2"
}
has_offended() { [ "$(database "SELECT count(*) FROM offence WHERE subject = 'uid:$1'")" -eq "$2" ]; }
# The seconds of the block, to a few.
lasts() {
	local seconds
	seconds=$(block_of "$1" | jq "$SECONDS_OF (.until | seconds) - (.since | seconds)") || return
	[ "$seconds" -ge $(($2 - 1)) ] && [ "$seconds" -le $(($2 + 1)) ]
}
is_permanent() { block_of "$1" | jq -e .permanent >/dev/null; }
# The block ends without being forgiven: by its own time.
runs_out() {
	database "UPDATE offence SET time_ms = time_ms - 1000"
	bpftool map delete pinned "$LAB/bpf/smtpwall/uid_blocks" key $(le32 "$1") 0 0 0 0
}
le32() { printf '%d %d %d %d' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24)); }
is_free() { ! block_of "$1" >/dev/null; }

@test "blocks and allowances are there again after a reboot, with the time that was left" {
	smtpwall block "uid:$U" --for 1h --reason 'a "reason" of mine' --roads direct,submission
	smtpwall block "uid:$V"
	smtpwall block "uid:$W" --for 2s
	smtpwall allow "uid:$X" --for 1h
	eventually is_held "$U"
	eventually is_held "$X"
	since=$(block_of "$U" | jq -r .since)
	sleep 2 # for W's block to be over
	lose_kernel
	comes_back
	block_of "$U" | jq -e '.restored and .by == "manual" and .reason == "a \"reason\" of mine" and
		.roads == ["direct", "submission"]'
	left_is "$U" 3500 3600
	[ "$(block_of "$U" | jq -r .since)" = "$since" ]
	is_permanent "$V"
	is_free "$W"
	smtpwall -j allowed | jq -e --arg s "uid:$X" 'any(.allowed[]; .subject == $s)'
	is_refused "$U" "$WORLD"
	eventually told restore
}

told_are() { # SUBJECT EVENT TIMES
	[ "$(events "$1" "$2")" = "$3" ]
}

@test "what changed by hand with the daemon dead is told when it is back, and once" {
	smtpwall block "uid:$U"
	smtpwall block "uid:$((U + 4))" --for 6s
	smtpwall allow "uid:$X"
	eventually is_told "uid:$X" allow
	eventually is_told "uid:$((U + 4))" block
	eventually is_told "uid:$U" block
	daemon_dies
	smtpwall unblock "uid:$U"
	smtpwall block "uid:$V" --for 1h
	smtpwall disallow "uid:$X"
	smtpwall allow "uid:$W" --for 1h
	smtpwall mode observe >/dev/null
	eventually ends_by_itself "$((U + 4))"
	for _ in 1 2; do
		comes_back
		eventually told_are "uid:$U" unblock 1
		eventually told_are "uid:$((U + 4))" unblock 1
		eventually told_are "uid:$V" block 1
		eventually told_are "uid:$X" disallow 1
		eventually told_are "uid:$W" allow 1
		eventually told_are "uid:$W" allow 1
		told_are "uid:$U" block 1
		told_are "uid:$X" allow 1
		[ "$(smtpwall -j events | jq -rs 'map(select(.event == "mode")) | last | .text')" = 'mode is observe' ]
		daemon_dies
	done
	smtpwall -j events | jq -se --arg s "uid:$U" 'any(.event == "unblock" and .subject == $s and .reason == "manual")'
	smtpwall -j events | jq -se --arg s "uid:$((U + 4))" 'any(.event == "unblock" and .subject == $s and .reason == "its time ran out")'
}
ends_by_itself() { ! smtpwall -j blocks | jq -e --arg s "uid:$1" 'any(.blocks[]; .subject == $s)' >/dev/null; }

@test "half an hour off counts; a clock that was set back or forward makes no block longer" {
	for user in "$U" "$V" "$W"; do smtpwall block "uid:$user" --for 1h; done
	eventually is_held "$W"
	lose_kernel
	another_boot -1800
	comes_back
	left_is "$U" 1700 1801
	eventually is_saved
	lose_kernel
	another_boot 86400
	comes_back
	left_is "$U" 1600 1801
	eventually is_saved
	lose_kernel
	another_boot -86400
	comes_back
	[ "$(adjtimex_says)" = unset ] || is_free "$U"
}
adjtimex_says() {
	python3 -c 'import ctypes; b = (ctypes.c_long * 64)(); ctypes.CDLL(None).adjtimex(b)
print("unset" if b[5] & 0x40 else "set")'
}

# as_if_killed_early: the map `control` is as a first start leaves it that is killed before it saved
as_if_killed_early() {
	control_is started_ns 0 8
	bpftool map delete pinned "$LAB/bpf/smtpwall/uid_blocks" key $(le32 "$1") 0 0 0 0
}

@test "a first start that is killed before it has saved loses no block" {
	smtpwall block "uid:$U" --for 1h --roads direct
	eventually is_held "$U"
	lose_kernel
	comes_back
	eventually is_held "$U"
	daemon_dies
	as_if_killed_early "$U"
	comes_back
	is_refused "$U" "$WORLD"
	block_of "$U" | jq -e .restored
	[ "$(smtpwall -j status | jq -r .daemon.started)" != null ]
}

@test "restore-only puts the gate and the blocks up and ends" {
	smtpwall block "uid:$U" --for 1h
	eventually is_held "$U"
	lose_kernel
	in_box "$LAB_BUILD/smtpwalld" --restore-only -c "$LAB/etc/smtpwall.conf"
	daemon_is_gone
	is_refused "$U" "$WORLD"
	is_admitted "$V" "$WORLD"
	comes_back
	is_refused "$U" "$WORLD"
	block_of "$U" | jq -e .restored
}

@test "the mode that a command has set stands after a reboot, as long as the file has the old one" {
	smtpwall mode observe >/dev/null
	eventually saved_mode 0
	lose_kernel
	comes_back
	[ "$(smtpwall -j mode | jq -r .mode)" = observe ]
}
saved_mode() { [ "$(database 'SELECT mode FROM clock')" = "$1" ]; }

@test "the second block is longer, the third longer still, the last for good; unblock forgives" {
	policy only "users = {$U}  limits = {\"1 connections per 1s\"}  action = block  block_for = 10m
		escalate = {2h, 24h, permanent}  escalate_within = 7d"
	reload
	local offences=0
	for seconds in 600 7200 86400; do
		is_admitted "$U" "$WORLD"
		offend "$U" $((++offences))
		eventually lasts "$U" $seconds
		runs_out "$U"
		eventually is_free "$U"
		sleep 1.2 # the window of the limit: who tries before it is over is blocked again
	done
	is_admitted "$U" "$WORLD"
	offend "$U" 4
	eventually is_permanent "$U"
	smtpwall unblock "uid:$U"
	eventually has_offended "$U" 0
	is_admitted "$U" "$WORLD"
	offend "$U" 1
	block_of "$U"
	block_of "$U" | jq -e ".permanent == false"
	eventually lasts "$U" 600
}

# hold_history: as a backup may, until $LAB/let_go is there
hold_history() {
	rm -f "$LAB/let_go"
	python3 - "$LAB/state/smtpwall.db" "$LAB/let_go" "$LAB/held" <<-'END' 3>&- 4>&- &
		import os, sqlite3, sys, time
		database = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
		database.execute("BEGIN IMMEDIATE")
		open(sys.argv[3], "w")
		end = time.monotonic() + 60
		while not os.path.exists(sys.argv[2]) and time.monotonic() < end:
		    time.sleep(0.05)
		database.execute("COMMIT")
	END
	eventually [ -e "$LAB/held" ]
}

@test "while somebody else holds the history what happens waits for it, and blocks for their length" {
	policy only "users = {$U}  limits = {\"1 connections per 1s\"}  action = block  block_for = 10m
		escalate = {2h}"
	reload
	is_admitted "$U" "$WORLD"
	offend "$U" 1
	eventually lasts "$U" 600
	runs_out "$U"
	eventually is_free "$U"
	sleep 1.2 # the window
	hold_history
	is_admitted "$U" "$WORLD"
	eventually is_refused "$U" "$WORLD" 2>/dev/null
	smtpwall block "uid:$V" --for 1h >/dev/null
	smtpwall block "uid:$W" --for 1h >/dev/null
	sleep 2.5 # some sweeps
	touch "$LAB/let_go"
	eventually has_offended "$U" 2
	eventually lasts "$U" 7200
	for user in "$U" "$V" "$W"; do eventually is_told "uid:$user" block; done
	told_are "uid:$V" block 1
	told_are "uid:$U" block 2
	! log_since_start | grep 'cannot write the history' || false
}

@test "observed blocks and those on trial do not count" {
	policy only "users = {$U}  limits = {\"1 connections per 1h\"}  action = block  block_for = 10m
		escalate = {2h}"
	reload
	smtpwall mode observe >/dev/null
	knock "$U" -n 3 "$WORLD"
	eventually block_of "$U"
	smtpwall mode enforce --for 1h >/dev/null
	smtpwall unblock --all
	knock "$U" -n 3 "$WORLD"
	eventually block_of "$U"
	sleep 1.2
	[ "$(database "SELECT count(*) FROM offence WHERE subject = 'uid:$U'")" = 0 ]
}

@test "too many blocks within an hour are warnings, and said loudly" {
	config 'mode = enforce' 'max_blocks_per_hour = 1'
	policy only "users = {$U, $V}  limits = {\"1 connections per 1h\"}  action = block"
	smtpwall reload
	knock "$U" -n 2 "$WORLD"
	expect 'admitted 3 refused 0' knock "$V" -n 3 "$WORLD"
	eventually told guard
	is_free "$V"
}
told() { smtpwall -j events | jq -se --arg event "$1" 'any(.event == $event)' >/dev/null; }

@test "a database that is broken is set aside, and blocks go on" {
	smtpwall block "uid:$U" --for 1h
	eventually is_held "$U"
	daemon_dies
	rm -f "$LAB"/state/smtpwall.db-*
	echo 'no database' >"$LAB/state/smtpwall.db"
	comes_back
	ls "$LAB"/state/smtpwall.db.unreadable-*
	is_refused "$U" "$WORLD"
	eventually is_held "$U"
}

@test "a full disk is one warning; blocks work, and are saved when there is room again" {
	mkdir -p "$LAB/full"
	mount -t tmpfs -o size=256k tmpfs "$LAB/full"
	daemon_ends
	config 'mode = enforce' "state_dir = \"$LAB/full\""
	sed -i "0,/^state_dir/{/^state_dir/d}" "$LAB/etc/smtpwall.conf"
	comes_back
	head -c 1M /dev/zero >"$LAB/full/filler" || true
	for i in {0..40}; do smtpwall block "uid:$((50000 + i))" --for 1h --reason "$(printf 'x%.0s' {1..70})" >/dev/null; done
	smtpwall block "uid:$U" --for 1h
	is_refused "$U" "$WORLD"
	eventually warned_of_disk
	warned_once_each_time
	daemon_ends
	rm "$LAB/full/filler"
	comes_back
	eventually full_disk_holds "$U"
	is_refused "$U" "$WORLD"
	daemon_ends
	umount -l "$LAB/full"
}
full_disk_holds() { [ "$(sqlite3 "$LAB/full/smtpwall.db" "SELECT count(*) FROM held WHERE subject = 'uid:$1'")" = 1 ]; }
log_since_start() { tail -c "+$((LAB_LOG_START + 1))" "$LAB/daemon.log"; }
warned_of_disk() { log_since_start | grep -q 'cannot write the history'; }
# A little room may be found in between.
warned_once_each_time() {
	log_since_start >"$LAB/since"
	[ "$(grep -c 'cannot write the history' "$LAB/since")" -le \
		$((1 + $(grep -c 'is written again' "$LAB/since"))) ]
}

# blocks_of_10000 SECONDS: pins them; a command each would take minutes
blocks_of_10000() {
	python3 - "$1" <<-'END' >"$LAB/batch"
		import struct, sys, time
		now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
		until = now + int(float(sys.argv[1]) * 1e9)
		value = struct.pack("<QQQQQQIBBH80x", until, now, 0, 0, 0, 0, 0, 1, 0, 0)
		hexed = lambda b: " ".join("%d" % x for x in b)
		for uid in range(100000, 110000):
		    print("map update pinned PIN key %s value %s" % (hexed(struct.pack("<II", uid, 0)), hexed(value)))
	END
	sed -i "s|PIN|$LAB/bpf/smtpwall/uid_blocks|" "$LAB/batch"
	bpftool batch file "$LAB/batch" >/dev/null
}
n_blocks() { smtpwall -j blocks | jq '.blocks | length'; }
n_held() { database "SELECT count(*) FROM held WHERE road <> 'allowed'"; }
are_held() { [ "$(n_held)" = "$1" ]; }
nobody_is_blocked() { [ "$(n_blocks)" = 0 ]; }

# The machine may stand still for more than that; hardly three times in a row.
are_lifted_within_a_second() {
	local begin took
	[ "$(n_blocks)" = 10000 ] || blocks_of_10000 3600
	begin=${EPOCHREALTIME/./}
	smtpwall unblock --all >/dev/null
	took=$((${EPOCHREALTIME/./} - begin))
	echo "# unblock --all of 10000 took $((took / 1000)) ms" >&3
	[ $took -lt 1000000 ]
}

@test "10000 blocks: listed, kept, restored, lifted in under a second, expired; nothing is left" {
	blocks_of_10000 3600
	[ "$(n_blocks)" = 10000 ]
	patiently are_held 10000
	lose_kernel
	comes_back
	[ "$(n_blocks)" = 10000 ]
	are_lifted_within_a_second || are_lifted_within_a_second || are_lifted_within_a_second
	nobody_is_blocked
	patiently are_held 0
	blocks_of_10000 25
	[ "$(n_blocks)" = 10000 ]
	is_refused 100000 "$WORLD"
	patiently nobody_is_blocked
	patiently are_held 0
	[ "$(bpftool -j map dump pinned "$LAB/bpf/smtpwall/uid_blocks" | jq length)" = 0 ]
	is_admitted 100000 "$WORLD"
}

# kept UID N: so many of its attempts, after the one that it is blocked for, are in the history
kept() {
	[ "$(database "SELECT count(*) FROM evidence WHERE uid = $1 AND attempt > $(of_block "$1")")" -ge "$2" ]
}
of_block() { block_of "$1" | jq -er .evidence; }
saves_of_block() { [ "$(database "SELECT evidence FROM held WHERE subject = 'uid:$1'")" = "$(of_block "$1")" ]; }
has_evidence_of_block() {
	smtpwall -j show "uid:$1" | jq -e --arg trips "$2" '.block.evidence as $id |
		any(.evidence[]; .id == $id and (.why | index("over_the_limit"))) and $id == $trips'
}

@test "what a block was made for is found by it, also after a reboot" {
	enforce "users = {$U}  limits = {\"1 connections per 1h\"}  action = block  block_for = 1h"
	smtpwall block "uid:$V"
	block_of "$V" | jq -e '.evidence == null'
	is_admitted "$U" "$WORLD"
	is_refused "$U" "$WORLD"
	trips=$(of_block "$U")
	has_evidence_of_block "$U" "$trips"
	eventually saves_of_block "$U"
	# What comes later does not push it out.
	repeat 7 is_refused "$U" "$WORLD"
	eventually kept "$U" 7
	repeat 7 is_refused "$U" "$WORLD"
	eventually kept "$U" 12
	lose_kernel
	another_boot -1
	comes_back
	eventually block_of "$U"
	block_of "$U" | jq -e .restored
	has_evidence_of_block "$U" "$trips"
	eventually is_saved
	saves_of_block "$U"
}
