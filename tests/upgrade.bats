# SPDX-License-Identifier: GPL-2.0-or-later
# Programs are replaced under traffic: none leaks, none is counted twice.

load helpers

setup_file() { lab_up && server && config 'mode = enforce' && daemon_starts; }

server() {
	lab_start server "$LAB_WORLD" "$LAB_WORLD_CGROUP" "$LAB/bin/crowd" -l 25
	disown $!
	eventually listening "$LAB_WORLD" 'sport = :25'
}
accepted() { tail -n 1 "$LAB/server" | sed -n 's/accepted \([0-9]*\) .*/\1/p'; }
accepted_are() { [ "$(accepted)" = "$1" ]; }

# changed_programs: built anew from sources that are not quite the same
changed_programs() {
	mkdir "$LAB/changed"
	cp -r "$LAB_TREE"/{Makefile,bpf,include,user} "$LAB/changed"
	sed -i 's/\(#define TOLD_EVERY_NS\) .*/\1 1500000000ULL/' "$LAB/changed/bpf/lib/event.h"
	make -s -C "$LAB/changed" build/smtpwall.bpf.o
}
tag_of() { bpftool -j prog show pinned "$1" | jq -r .tag; }

# another_version DIRECTORY OBJECT: the programs, on the maps of the gate that stands
another_version() {
	local pin maps=()
	for pin in "$LAB/bpf/smtpwall"/*; do
		[[ ! -d $pin && $pin != */retire && $pin != */where ]] || continue
		maps+=(map name "${pin##*/}" pinned "$pin")
	done
	bpftool prog loadall "$2" "$1" "${maps[@]}"
}

# counted UID ADMITTED ATTEMPTS BEFORE: by the kernel's ledger, on the wire, and by the server
counted() {
	[ "$(ledger "uid:$1" direct.connections)" = "$2" ]
	[ "$(ledger "uid:$1" direct.refused)" = $(($3 - $2)) ]
	[ "$(bpftool -j map dump pinned "$LAB/bpf/smtpwall/uid_ledger" | jq --argjson u "$1" \
		'.[].formatted | select(.key.uid == $u).value.wire.connections')" = "$2" ]
	eventually accepted_are $(($4 + $2))
}

@test "1000 program updates under 20000 connects: none leaks, none is counted twice" {
	policy only "users = {$U}  limits = {\"12000 connections per 1h\"}"
	reload
	daemon_dies
	before=$(accepted)
	changed_programs
	another_version "$LAB/bpf/a" "$LAB_TREE/build/smtpwall.bpf.o"
	another_version "$LAB/bpf/b" "$LAB/changed/build/smtpwall.bpf.o"
	[ "$(tag_of "$LAB/bpf/a/connect4")" != "$(tag_of "$LAB/bpf/b/connect4")" ]
	python3 "$BATS_TEST_DIRNAME/clients/swap.py" "$LAB/bpf/smtpwall/links" "$LAB/bpf/a" "$LAB/bpf/b" \
		>"$LAB/swaps" 2>&1 3>&- &
	eventually grep -q swapping "$LAB/swaps"
	expect 'admitted 12000 refused 8000' knock "$U" -p 4 -n 5000 "$WORLD"
	kill -TERM $!
	wait $! || { cat "$LAB/swaps"; false; }
	echo "# $(tail -n 1 "$LAB/swaps") updates of each hook" >&3
	[ "$(tail -n 1 "$LAB/swaps")" -ge 1000 ]
	counted "$U" 12000 20000 $((before))
	daemon_starts
	is_refused "$U" "$WORLD"
}

@test "daemons that take over, one after the other, under 20000 connects: none leaks, none is counted twice" {
	local attempts times=0
	# shellcheck disable=SC2034 # the lab does
	LAB_BUILD=$LAB_TREE/build # what is installed is quicker than what is tested elsewhere
	policy only "users = {$U}  limits = {\"12000 connections per 1h\"}"
	reload
	before=$(accepted)
	knock "$U" -p 4 -n 5000 -w 4000 "$WORLD" >"$LAB/knocked" 2>&1 3>&- 4>&- &
	attempts=$!
	while kill -0 $attempts 2>/dev/null; do
		daemon_dies
		daemon_starts
		times=$((times + 1))
	done
	echo "# $times daemons took over" >&3
	expect 'admitted 12000 refused 8000' cat "$LAB/knocked"
	[ $times -ge 3 ] # as many as a busy machine can
	counted "$U" 12000 20000 $((before))
}
