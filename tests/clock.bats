# SPDX-License-Identifier: GPL-2.0-or-later
# The wall clock is set forward and back by a day: no block is longer or shorter for it. Only the
# daemon and the command see another time; the machine's clock is left alone.

load helpers

setup_file() {
	lab_up && sink && config 'mode = enforce' && fake_programs &&
		LAB_BUILD=$LAB/fake && daemon_starts
}
# shellcheck disable=SC2034 # the lab does
setup() { LAB_BUILD=$LAB/fake && clock_is 0 && new_test; }

# Not those under sanitizers, which want to be the first library themselves.
fake_programs() {
	local program
	mkdir "$LAB/fake" && clock_is 0
	for program in smtpwall smtpwalld; do
		cat >"$LAB/fake/$program" <<-END_OF_PROGRAM
			#!/bin/sh
			export LD_PRELOAD=$LAB/bin/clock.so CLOCK_OFFSET_FILE=$LAB/clock
			exec "$LAB_TREE/build/$program" "\$@"
		END_OF_PROGRAM
	done
	chmod 0755 "$LAB/fake"/*
}
# clock_is DAYS: so many ahead
clock_is() {
	OFFSET_S=$(($1 * 86400))
	echo "$OFFSET_S" >"$LAB/clock.next" && mv "$LAB/clock.next" "$LAB/clock"
}

database() { sqlite3 -cmd '.timeout 2000' "$LAB/state/smtpwall.db" "$1"; }
# Is the time of the file that of the clock as it is now?
clock_is_saved() {
	local wall=$(($(database 'SELECT wall_ns FROM clock') / 1000000000)) now
	now=$(($(date +%s) + OFFSET_S))
	[ $wall -ge $((now - 90)) ] && [ $wall -le $((now + 1)) ]
}
# shellcheck disable=SC2016 # jq's
BLOCK='def seconds: sub("\\.[0-9]+"; "") | fromdateiso8601; first(.blocks[] | select(.subject == $s))'
# left UID: seconds of its block, as the clock goes
left() {
	smtpwall -j blocks | jq --arg s "uid:$1" --argjson off "$OFFSET_S" "$BLOCK | (.until | seconds) - now - \$off | round"
}
boot_ms() { awk '{ printf "%d\n", $1 * 1000 }' /proc/uptime; }

# Each command takes its time: it happened somewhere between BEGUN and DONE, by the clock that goes on.
timed() {
	BEGUN=$(boot_ms)
	"$@" || return
	DONE=$(boot_ms)
}

# left_is UID SECONDS [SLACK]: of what timed() began so many seconds are left, less those that have
# passed since; to a second, or SLACK seconds more
left_is() {
	local before left after
	before=$(boot_ms)
	left=$(left "$1") || return
	after=$(boot_ms)
	echo "left: $left of $2, $(((before - BEGUN) / 1000)) s after" >&2
	[ "$left" -ge $(($2 - 1 - (after - BEGUN + 999) / 1000)) ] &&
		[ "$left" -le $(($2 + 1 + ${3-0} - (before - DONE) / 1000)) ]
}

# ends_after UID MS: of what timed() began; nobody is refused later or admitted sooner, to a second
ends_after() {
	local refused=$BEGUN asked
	while asked=$(boot_ms) && [ "$asked" -lt $((BEGUN + 60000)) ] && ! is_admitted "$1" "$WORLD" 2>/dev/null; do
		refused=$asked
	done
	echo "# still refused after $((refused - DONE)) ms, admitted after $(($(boot_ms) - BEGUN)) ms" >&3
	[ "$refused" -le $((DONE + $2 + 1000)) ] && [ "$(boot_ms)" -ge $((BEGUN + $2 - 1000)) ]
}

# sees_it_through DAYS: a block by hand and one of a policy, while the clock is set
sees_it_through() {
	policy only "users = {$V}  limits = {\"1 connections per 1s\"}  action = block  block_for = 20s"
	reload
	timed smtpwall block "uid:$U" --for 10s
	left_is "$U" 10
	clock_is "$1"
	is_refused "$U" "$WORLD"
	left_is "$U" 10
	ends_after "$U" 10000
	clock_is 0
	timed knock "$V" -n 2 "$WORLD"
	left_is "$V" 20
	clock_is "$1"
	eventually clock_is_saved
	is_refused "$V" "$WORLD"
	left_is "$V" 20
	ends_after "$V" 20000
	eventually told_once "uid:$U" unblock
	told_once "uid:$U" block
	told_once "uid:$V" block
}
told_once() { [ "$(events "$@")" = 1 ]; }

@test "set forward by a day: a block ends when it would have" { sees_it_through +1; }

@test "set back by a day: a block ends when it would have" { sees_it_through -1; }

@test "a daemon that starts after the clock was set tells nothing twice, and blocks go on" {
	timed smtpwall block "uid:$U" --for 1h
	eventually is_told "uid:$U" block
	for days in +1 -1 0; do
		daemon_dies
		clock_is $days
		daemon_starts
		eventually clock_is_saved
		left_is "$U" 3600
		told_once "uid:$U" block
	done
	daemon_dies
	smtpwall block "uid:$V" --for 1h
	daemon_starts
	eventually told_once "uid:$V" block
}

# reboots DAYS: with the clock so when it is up again
reboots() {
	daemon_dies
	smtpwall detach >/dev/null
	database "UPDATE clock SET boot = 'another'"
	clock_is "$1"
	daemon_starts
}

@test "a reboot after the clock was set takes what was left; one with a wrong clock never more" {
	local day=86400 off
	timed smtpwall block "uid:$U" --for 1h
	smtpwall block "uid:$V" --for 3d
	eventually is_told "uid:$V" block
	clock_is +1 # while it runs: the time is saved with the new clock
	eventually clock_is_saved
	reboots +1
	left_is "$U" 3600
	eventually clock_is_saved
	off=$(boot_ms)
	reboots 0 # back: no time has passed since it was saved, a minute ago at most
	off=$((60 + ($(boot_ms) - off) / 1000))
	left_is "$U" 3600 $off
	left_is "$V" $((3 * day)) $off
	is_refused "$U" "$WORLD"
	eventually clock_is_saved
	reboots +1 # forward: a day has passed
	is_admitted "$U" "$WORLD"
	left_is "$V" $((2 * day)) $off
	is_refused "$V" "$WORLD"
}
