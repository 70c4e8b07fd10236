# SPDX-License-Identifier: GPL-2.0-or-later
# What observing counts and tells, and how one gets from there to enforcing and back.

load helpers

observe() { config 'mode = observe' && reload; }
would_refuse() { ledger "$1" direct.would_refuse; }
mode_is() { [ "$(smtpwall -j mode | jq -r .mode)" = "$1" ]; }

@test "observe counts and tells what would be refused, and refuses nothing" {
	policy only 'limits = {"3 connections per 1h"}'
	observe
	expect 'admitted 10 refused 0' knock "$U" -n 10 "$WORLD"
	[ "$(ledger uid:"$U" direct.connections) $(ledger uid:"$U" direct.refused)" = '10 0' ]
	[ "$(would_refuse uid:"$U")" -eq 7 ]
	eventually is_told uid:"$U" would_refuse
	[ "$(events uid:"$U" refuse)" -eq 0 ]
}

@test "observe shows the blocks that there would be, and enforcing starts without them" {
	policy only 'limits = {"3 connections per 1h"}  action = block'
	observe
	expect 'admitted 10 refused 0' knock "$U" -n 10 "$WORLD"
	block_is uid:"$U" '.by == "limit" and (.enforced | not)'
	[ "$(would_refuse uid:"$U")" -eq 7 ]
	eventually is_told uid:"$U" would_block
	[ "$(events uid:"$U" block)" -eq 0 ]
	session open "$U"
	say open NOOP
	eventually heard open 250 1
}

@test "observe would close a road, and lets pass" {
	policy only ''
	observe
	expect 'admitted 4 refused 0' knock "$U" -n 4 "$WORLD"
	[ "$(would_refuse uid:"$U")" -eq 4 ]
}

@test "observe lets bytes above a limit pass, and counts them" {
	policy only 'limits = {"20kB per 1h"}'
	observe
	as_user "$U" smtp-source -l 100000 "inet:$WORLD:25"
	[ "$(ledger uid:"$U" direct.bytes)" -gt 100000 ]
	eventually is_told uid:"$U" would_refuse
}

@test "a policy that observes refuses nothing while others enforce" {
	policy milder "users = {$U}  limits = {\"2 connections per 1h\"}  action = block  mode = observe"
	policy strict 'limits = {"2 connections per 1h"}  action = block'
	reload
	expect 'admitted 9 refused 0' knock "$U" -n 9 "$WORLD"
	expect 'admitted 2 refused 7' knock "$V" -n 9 "$WORLD"
	[ "$(would_refuse uid:"$U")" -eq 7 ]
	block_is uid:"$U" '.enforced | not'
}

@test "a policy that observes from now on refuses nothing, its standing blocks neither" {
	enforce 'limits = {"1 connections per 1h"}  action = block'
	expect 'admitted 1 refused 1' knock "$U" -n 2 "$WORLD"
	enforce 'limits = {"1 connections per 1h"}  action = block  mode = observe'
	block_is uid:"$U" '.enforced | not'
	is_admitted "$U" "$WORLD"
	enforce 'limits = {"1 connections per 1h"}  action = block'
	is_refused "$U" "$WORLD"
}

@test "a policy that enforces refuses nothing while the mode is observe" {
	policy strict 'limits = {"2 connections per 1h"}  mode = enforce'
	observe
	expect 'admitted 9 refused 0' knock "$U" -n 9 "$WORLD"
}

@test "a block by hand refuses nothing in observe mode" {
	observe
	smtpwall block uid:"$U"
	is_admitted "$U" "$WORLD"
	[ "$(would_refuse uid:"$U")" -eq 1 ]
}

# ---- the command ----

@test "mode observe is the emergency brake, with the daemon dead and the file broken" {
	enforce 'limits = {"1 connections per 1h"}  action = block'
	expect 'admitted 1 refused 4' knock "$U" -n 5 "$WORLD"
	daemon_dies
	config 'mode = enforce' 'nosuchkey = 1'
	smtpwall mode observe
	mode_is observe
	expect 'admitted 5 refused 0' knock "$U" -n 5 "$WORLD"
	expect 'admitted 5 refused 0' knock "$V" -n 5 "$WORLD"
	smtpwall mode enforce
	is_refused "$U" "$WORLD"
	config 'mode = enforce'
}

@test "a mode set by command outlives a restart and a reload, until the file's mode changes" {
	enforce 'limits = {"1 connections per 1h"}'
	smtpwall mode observe
	reload
	expect 'admitted 3 refused 0' knock "$U" -n 3 "$WORLD"
	daemon_dies
	daemon_starts
	mode_is observe
	observe
	smtpwall mode enforce
	is_refused "$U" "$WORLD"
	config 'mode = enforce'
	reload
	observe
	mode_is observe
}

@test "a trial of enforcing ends by itself with the daemon dead, and its blocks with it" {
	local start
	policy only 'limits = {"2 connections per 1h"}  action = block'
	observe
	daemon_dies
	start=${EPOCHREALTIME/./}
	smtpwall mode enforce --for 8s
	mode_is enforce
	expect 'admitted 2 refused 3' knock "$U" -n 5 "$WORLD"
	eventually is_admitted "$U" "$WORLD" 2>/dev/null
	[ $((${EPOCHREALTIME/./} - start)) -gt 8000000 ]
	mode_is observe
	expect 'admitted 5 refused 0' knock "$U" -n 5 "$WORLD"
	smtpwall mode enforce
	smtpwall -j blocks | jq -e 'all(.blocks[]; .enforced == false)'
}

@test "a trial of observing ends by itself, and what was refused is refused again" {
	enforce 'limits = {"2 connections per 1h"}  action = block'
	expect 'admitted 2 refused 1' knock "$U" -n 3 "$WORLD"
	smtpwall mode observe --for 6s
	expect 'admitted 3 refused 0' knock "$U" -n 3 "$WORLD"
	eventually is_refused "$U" "$WORLD" 2>/dev/null
	mode_is enforce
}

@test "observing does not use up what enforcing will allow" {
	policy only 'limits = {"3 connections per 1h"}'
	observe
	expect 'admitted 2 refused 0' knock "$U" -n 2 "$WORLD"
	smtpwall mode enforce
	expect 'admitted 1 refused 1' knock "$U" -n 2 "$WORLD"
}
