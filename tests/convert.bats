# SPDX-License-Identifier: GPL-2.0-or-later
# Another version takes over: nothing is lost, nobody slips through, nobody is refused for it.

# shellcheck disable=SC2030,SC2031,SC2086 # each test is a subshell; words on purpose
load dialogue

PLAIN=203.0.113.7
NEXT_BUILD=$BATS_TEST_DIRNAME/../build/next/build/asan

# Each test has a world of its own.
setup_file() { make -C "$BATS_TEST_DIRNAME/.." next >/dev/null; }
teardown_file() { :; }

setup() {
	lab_up && cp "$BATS_TEST_DIRNAME"/clients/smtp_*.py "$LAB" && chmod 0755 "$LAB"/smtp_*.py
	mkdir "$LAB/$BATS_TEST_NUMBER" # for start_as
	THIS_BUILD=$LAB_BUILD
	sink 25 $WORLD $WORLD6
	config 'mode = enforce' 'exempt { users = {root, 2009} }'
	policy counted 'users = {2001}  limits = {"1000000 connections per 1h"}'
	policy exact 'users = {2003}  limits = {"600 connections per 1h"}'
	policy blocks 'users = {2002}  limits = {"2 connections per 1h"}  action = block'
	policy messages 'users = {2006}  limits = {"100000 messages per 1h"}'
	daemon_starts
}

teardown() {
	local found=0
	! grep -E 'Sanitizer|runtime error' "$LAB/daemon.log" >&2 || found=1
	lab_down
	return $found
}

# next_version, this_version: takes over from the daemon that runs, or died
next_version() { takes_over "$NEXT_BUILD"; }
this_version() { takes_over "$THIS_BUILD"; }
takes_over() {
	if daemon_runs; then daemon_dies; fi
	LAB_BUILD=$1
	daemon_starts
}

pins() { echo "$LAB/bpf/smtpwall"; }
not() { ! "$@"; }
logged() { grep -qE -- "$1" "$LAB/daemon.log"; }
link_ids() {
	local pin
	for pin in "$(pins)"/links/*; do
		echo "${pin##*/} $(bpftool -j link show pinned "$pin" | jq .id)"
	done
}
programs() { bpftool -j cgroup show "$LAB_CGROUP" | jq -c 'map(.id) | sort'; }
used_of() { smtpwall -j show "uid:$1" | jq '.limits[0].used'; }
admitted_by() { sed -n 's/^admitted \([0-9]*\) .*/\1/p' "$LAB/$1"; }

# Who is blocked, allowed, and over.
story() {
	expect 'admitted 2 refused 2' knock 2002 -n 4 "$WORLD"
	smtpwall block uid:2004 --for 1h --reason 'by hand' >/dev/null
	smtpwall allow uid:2005 --reason 'a newsletter' >/dev/null
}
story_stands() {
	block_is uid:2002 '.by == "limit" and .policy == "blocks" and .enforced and .reason == "over 2 connections per 1h"'
	block_is uid:2004 '.by == "manual" and .reason == "by hand" and (.permanent | not)'
	is_refused 2002 "$WORLD"
	is_refused 2004 "$WORLD"
	[ "$(smtpwall -j allowed | jq -r '.allowed[] | .subject + " " + .reason')" = 'uid:2005 a newsletter' ]
	[ "$(ledger uid:2002 direct.connections)" = 2 ]
}

# tries NAME UID OPTION…: knocks until it is told to stop
tries() {
	lab_start "$1" "$LAB_BOX" "$LAB_CGROUP" setpriv --reuid "$2" --regid "$2" --clear-groups -- \
		"$LAB/bin/knock" "${@:3}" -s 600 "$WORLD"
}

# ten_by_ten: of user 2003, slowly, so that the limit lasts; how many were admitted
ten_by_ten() {
	while [ ! -e "$LAB/enough" ]; do
		knock 2003 -p 2 -n 5 "$WORLD"
		sleep 0.05
	done >"$LAB/ten"
}
sum_admitted() { awk '{ n += $2; failed += $6 } END { print n + 0, failed + 0 }' "$1"; }

@test "under traffic: counts, windows and blocks go on, live sessions keep their sender" {
	story
	serve "$LAB_WORLD" $PLAIN
	export ENOUGH=$LAB/enough
	start_as live 2006 "$PYTHON" "$LAB/smtp_client.py" endless $PLAIN 20
	tries counted 2001 -p 2
	counted=$!
	tries exempt 2009 -p 2
	exempt=$!
	ten_by_ten 3>&- 4>&- &
	slow=$!
	eventually has_taken 2006 5
	before=$(link_ids)

	next_version
	logged 'of the maps held was carried over into version 99; mail waited for [0-9]+ ms'
	not logged 'cannot ask the kernel'
	grep -o 'mail waited for [0-9]* ms' "$LAB/daemon.log" | sed 's/^/# /' >&3
	[ "$(link_ids)" = "$before" ]
	[ ! -e "$(pins)/next" ]
	[ "$(bpftool -j map dump pinned "$(pins)/control" | jq '.[0].formatted.value.abi')" = 99 ]
	story_stands
	eventually has_taken 2006 $(($(taken 2006 | cut -d ' ' -f 1) + 5))

	kill -TERM $counted $exempt
	wait $counted
	wait $exempt
	for name in counted exempt; do echo "# $name: $(cat "$LAB/$name")" >&3; done
	[[ $(cat "$LAB/counted") == *' refused 0 failed 0 '* ]]
	[[ $(cat "$LAB/exempt") == *' refused 0 failed 0 '* ]]
	[ "$(ledger uid:2001 direct.connections) $(used_of 2001)" = "$(admitted_by counted) $(admitted_by counted)" ]
	[ "$(ledger uid:2009 direct.connections)" = "$(admitted_by exempt)" ]
	touch "$LAB/enough"
	wait $slow
	knock 2003 -p 4 -n 200 "$WORLD" >>"$LAB/ten"
	[ "$(sum_admitted "$LAB/ten")" = '600 0' ]
	[ "$(ledger uid:2003 direct.connections)" = 600 ]
	exact 2006
	[ "$(ledger uid:2006 direct.connections)" = 1 ]
}

@test "a session of before ends when its sender is blocked after" {
	session old 2007
	say old NOOP
	eventually heard old 250 1
	bytes=$(ledger uid:2007 direct.bytes)
	next_version
	say old NOOP
	eventually heard old 250 2
	[ "$(ledger uid:2007 direct.bytes)" -gt "$bytes" ]
	[ "$(ledger uid:2007 direct.connections)" = 1 ]
	smtpwall block uid:2007
	eventually no_session
}
no_session() { [ -z "$(in_box ss -Htn state established 'dport = :25')" ]; }

@test "a session of before ends, too, if it is in another network namespace" {
	lab_start server "$LAB_WORLD" "$LAB_WORLD_CGROUP" "$LAB/bin/crowd" -l 587
	eventually listening "$LAB_WORLD" 'sport = :587'
	inner_up
	inner_crowd old 2007 "$WORLD" 587
	next_version
	[ "$(abroad)" = 1 ]
	inner_crowd new 2007 "$WORLD" 587
	[ "$(abroad)" = 1 ]
	smtpwall block uid:2007 --roads submission
	for name in old new; do
		eventually grep -q 'ended 1 aborted 1' "$LAB/$name"
	done
}

@test "there and back again" {
	story
	next_version
	story_stands
	expect 'admitted 3 refused 0' knock 2003 -n 3 "$WORLD"
	this_version
	logged 'was carried over into version [0-9];'
	story_stands
	[ "$(ledger uid:2003 direct.connections) $(used_of 2003)" = '3 3' ]
	daemon_ends
}

@test "with another size, another hook, and policies that changed meanwhile" {
	story
	smtpwall block uid:2008 --roads submission >/dev/null
	daemon_dies
	config 'mode = enforce' 'max_users = 4000' 'outside_hook = clsact'
	no_policies
	policy blocks 'users = {2002}  limits = {"9 connections per 1h"}  action = block'
	next_version
	eventually not blocked uid:2002 # its limit was raised
	blocked uid:2004
	block_is uid:2008 '.roads == ["submission"]'
	[ "$(used_of 2002)" -ge 2 ]
	smtpwall -j status | jq -e '.maps[] | select(.name == "uid_ledger") | .max == 4000'
	smtpwall -j status | jq -e '[.hooks[] | select(.hook == "egress").kind] == ["clsact"]'
	[ "$(ledger uid:2002 direct.connections)" = 2 ]
	this_version
	[ "$(ledger uid:2002 direct.connections)" = 2 ]
	blocked uid:2004
	smtpwall detach
	[ ! -e "$(pins)" ]
}

# Not one of its programs is under a licence that the kernel takes for them.
@test "one that the kernel does not take leaves the old gate standing" {
	story
	daemon_dies
	before="$(link_ids) $(programs)"
	mkdir "$LAB/build"
	sed 's/GPL/BSD/g' "$NEXT_BUILD/smtpwalld" >"$LAB/build/smtpwalld"
	chmod 0755 "$LAB/build/smtpwalld"
	run in_box timeout 60 "$LAB/build/smtpwalld" --foreground -c "$LAB/etc/smtpwall.conf"
	[[ $status -eq 1 && $output == *'the kernel does not take the programs'* ]]
	[ "$(link_ids) $(programs)" = "$before" ]
	[ ! -e "$(pins)/next" ]
	story_stands
	daemon_starts
	story_stands
}

@test "one that cannot attach gives the hooks back, and the next try succeeds" {
	story
	daemon_dies
	rm "$(pins)/links/peername6"
	mkdir "$(pins)/links/peername6" # the last of them
	before=$(programs)
	LAB_BUILD=$NEXT_BUILD
	run in_box timeout 60 "$LAB_BUILD/smtpwalld" --foreground -c "$LAB/etc/smtpwall.conf"
	[[ $status -eq 1 && $output == *"cannot attach 'peername6'"* ]]
	[ "$(programs)" = "$before" ]
	[ ! -e "$(pins)/next" ]
	LAB_BUILD=$THIS_BUILD
	story_stands
	rmdir "$(pins)/links/peername6"
	next_version
	story_stands
}

# another_tag: sockets carry 96 bytes of who knows what; what they did carry is in $LAB/bpf/tags
another_tag() {
	PYTHONPATH="$BATS_TEST_DIRNAME/clients" python3 -B - "$(pins)/tags" "$LAB/bpf/tags" <<-'END'
		import os, sys
		from raw_bpf import address, call, pack
		names = b"\0int\0"
		types = pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32) + pack("<IIIIII", 0, 3 << 24, 0, 1, 1, 24)
		btf = pack("<HBBIIIII", 0xeb9f, 1, 0, 24, 0, len(types), len(types), len(names)) + types + names
		described = call(18, pack("<QQII", address(btf), 0, len(btf), 0))
		tags = call(0, pack("<IIIII", 24, 4, 96, 0, 1), b"\0" * 8, b"tags".ljust(16, b"\0"),
		            pack("<IIII", 0, described, 1, 2))
		os.rename(sys.argv[1], sys.argv[2])
		call(6, pack("<QI", address(sys.argv[1].encode()), tags))
	END
}

@test "what live sessions carry must be the same: else it is told what to do" {
	story
	daemon_dies
	another_tag
	before="$(link_ids) $(programs)"
	run in_box timeout 60 "$NEXT_BUILD/smtpwalld" --foreground -c "$LAB/etc/smtpwall.conf"
	[[ $status -eq 1 && ${#lines[@]} -eq 1 && $output == *"whose 'tags' cannot be taken over: "*'`smtpwall detach` removes it'* ]]
	[ "$(link_ids) $(programs)" = "$before" ]
	[ ! -e "$(pins)/next" ]
	mv "$(pins)/tags" "$LAB/bpf/another" && mv "$LAB/bpf/tags" "$(pins)/tags"
	story_stands
	mv "$LAB/bpf/another" "$(pins)/tags"
	smtpwall detach
	next_version
}

@test "a version that tells no folder from the one before it is not taken over, and stands" {
	story
	daemon_dies
	control_is abi 1 4
	before="$(link_ids) $(programs)"
	run in_box timeout 60 "$THIS_BUILD/smtpwalld" --foreground -c "$LAB/etc/smtpwall.conf"
	[[ $status -eq 1 && ${#lines[@]} -eq 1 && $output == *"(ABI 1, this is "*"'dir_ledger' cannot be taken over"* ]]
	[ "$(link_ids) $(programs)" = "$before" ]
	is_refused 2002 "$WORLD"
	smtpwall detach
	this_version
}

@test "one that is killed as it ends leaves mail waiting no longer than until the next start" {
	story
	daemon_dies
	control_is held_until_s $(($(cut -d . -f 1 /proc/uptime) + 1000)) 4 # dead after its last step
	mkdir "$(pins)/next" && ln -s ../links "$(pins)/next/links"
	bpftool map pin pinned "$(pins)/uid_ledger" "$(pins)/next/uid_ledger"
	[[ $(knock 2003 "$WORLD") == 'admitted 0 refused 0 failed 1 '* ]]
	daemon_starts
	[ ! -e "$(pins)/next" ]
	story_stands
	is_admitted 2003 "$WORLD"
}

@test "one that is killed half-way hinders neither the next nor detach" {
	story
	expect 'admitted 7 refused 0' knock 2003 -n 7 "$WORLD"
	daemon_dies
	LAB_BUILD=$NEXT_BUILD
	for pause in 0.{2..9} 1.{0..9}; do
		lab_start daemon.log "$LAB_BOX" "$LAB_CGROUP" \
			"$LAB_BUILD/smtpwalld" --foreground -c "$LAB/etc/smtpwall.conf"
		sleep "$pause"
		kill -KILL $! && wait $! || true
	done
	next_version
	story_stands
	[ "$(ledger uid:2003 direct.connections) $(used_of 2003)" = '7 7' ]
	[ ! -e "$(pins)/next" ]
	smtpwall detach
	[ ! -e "$(pins)" ]
}
