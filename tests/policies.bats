# SPDX-License-Identifier: GPL-2.0-or-later
# Which policy decides for whom, and what a reload changes and what it does not.

load helpers

# The daemon and the command see these users and groups, whoever lives on this machine.
setup_file() {
	lab_up && sink 25 && people && config 'mode = enforce' && daemon_starts
}

people() {
	local program
	cat >"$LAB/passwd" <<-END
		root:x:0:0::/:/bin/sh
		alice:x:3001:3001::/:/bin/sh
		bob:x:3002:3002::/:/bin/sh
		carol:x:3003:4000::/:/bin/sh
		dave:x:3004:3004::/:/bin/sh
		cust1:x:3011:3011::/:/bin/sh
		cust22:x:3012:3012::/:/bin/sh
		custodian:x:3013:3013::/:/bin/sh
		postfix:x:103:103::/:/bin/sh
	END
	cat >"$LAB/group" <<-END
		root:x:0:
		staff:x:4000:
		web:x:4001:dave,nobody-of-this-name
	END
	mkdir "$LAB/build"
	for program in smtpwall smtpwalld; do
		cat >"$LAB/build/$program" <<-END
			#!/bin/sh
			exec unshare --mount sh -c 'mount --bind $LAB/passwd /etc/passwd &&
				mount --bind $LAB/group /etc/group && exec "\$0" "\$@"' $(realpath "$LAB_BUILD")/$program "\$@"
		END
		chmod +x "$LAB/build/$program"
	done
	export SMTPWALL_BUILD=$LAB/build LAB_BUILD=$LAB/build
}

# shellcheck disable=SC2034 # named indirectly
alice=3001 bob=3002 carol=3003 dave=3004 cust1=3011 cust22=3012 custodian=3013

# closed_to WHOM: the way out, by a policy without limits, and to nobody else
closed_to() { enforce "$1  action = deny"; }

# refuses NAME…: these, and admits all others
refuses() {
	local name
	for name in alice bob carol dave cust1 cust22 custodian; do
		if [[ " $* " == *" $name "* ]]; then
			is_refused "${!name}" "$WORLD"
		else
			is_admitted "${!name}" "$WORLD"
		fi || { echo "it was $name" >&2; return 1; }
	done
}

@test "a policy names its users by name, uid, range and glob" {
	closed_to 'users = {alice}'
	refuses alice
	closed_to 'users = {3002}'
	refuses bob
	closed_to 'users = {"3004-3011"}'
	refuses dave cust1
	closed_to 'users = {"cust?*"}'
	refuses cust1 cust22 custodian
	closed_to 'users = {"cust[0-9]*", bob}'
	refuses bob cust1 cust22
}

@test "a policy names its users by a list file" {
	cat >"$LAB/etc/closed.users" <<-END
		# who was noticed

		alice
		3004-3010
		cust*
	END
	closed_to "users = {\"@$LAB/etc/closed.users\"}"
	refuses alice dave cust1 cust22 custodian
}

@test "a policy names groups: who has it as primary, who is its member, and who takes it on" {
	closed_to 'groups = {staff}'
	refuses carol
	closed_to 'groups = {web}'
	refuses dave
	closed_to 'groups = {"4000-4001"}'
	refuses carol dave
	expect 'admitted 0 refused 1' in_box setpriv --reuid $bob --regid 4001 --clear-groups \
		"$LAB/bin/knock" "$WORLD"
	closed_to 'groups = {staff}  users = {alice}'
	refuses alice carol
}

@test "a policy whose users do not exist is about nobody, and check-config says so" {
	closed_to 'users = {nosuchuser}'
	refuses
	run smtpwall check-config
	[[ $output == *"10-only.conf:2: "*nosuchuser* ]]
}

@test "a policy that names nobody is about everyone" {
	closed_to ''
	refuses alice bob carol dave cust1 cust22 custodian
	is_refused 65000 "$WORLD"
	is_admitted 0 "$WORLD"
}

@test "the first policy that matches decides, in the order of the files' names" {
	policy few 'users = {alice}  limits = {"2 connections per 1h"}'
	policy closed 'users = {alice, bob}'
	policy many 'limits = {"5 connections per 1h"}'
	reload
	expect 'admitted 2 refused 4' knock $alice -n 6 "$WORLD"
	expect 'admitted 0 refused 6' knock $bob -n 6 "$WORLD"
	expect 'admitted 5 refused 1' knock $carol -n 6 "$WORLD"
	mv "$LAB/etc/conf.d/12-many.conf" "$LAB/etc/conf.d/09-many.conf"
	reload
	expect 'admitted 5 refused 1' knock $alice -n 6 "$WORLD"
	expect 'admitted 5 refused 1' knock $bob -n 6 "$WORLD"
	expect 'admitted 0 refused 6' knock $carol -n 6 "$WORLD"
}

@test "a policy about another road leaves the decision to the next" {
	policy submission 'users = {alice}  roads = {submission}'
	policy direct 'users = {alice}  limits = {"2 connections per 1h"}'
	reload
	expect 'admitted 2 refused 1' knock $alice -n 3 "$WORLD"
}

@test "exempt users and groups are above every policy" {
	config 'mode = enforce' 'exempt { users = {alice}  groups = {web} }'
	closed_to ''
	refuses bob carol cust1 cust22 custodian
	is_admitted 103 "$WORLD" # postfix, of mail_servers = auto
	config 'mode = enforce' 'exempt { users = {alice}  groups = {web}  mail_servers = none }'
	reload
	is_refused 103 "$WORLD"
}

@test "of 62 policies each decides for its user" {
	local i
	for i in {10..71}; do policy "p$i" "users = {50$i}  limits = {\"$i connections per 1h\"}"; done
	reload
	for i in 10 41 42 71; do
		expect "admitted $i refused 3" knock "50$i" -n $((i + 3)) "$WORLD"
	done
}

# ---- reload ----

# Each set closes the way to 6000, leaves it to 6001 and lets 6002 connect 20 times, by other tables
# than the other set does: half of one and half of the other would say something else.
one_set() {
	policy closed 'users = {6000}'
	policy open 'users = {6001}  limits = {"1000000 connections per 1h"}'
	policy twenty 'users = {6002}  limits = {"20 connections per 1h"}'
}
other_set() {
	local i
	for i in {1..20}; do
		policy "open $i" "users = {6001, 70$i}  warn = {\"1 connections per 1h\"}"
	done
	policy twenty 'users = {"6002-6009"}
		warn = {"9 connections per 1d"}  limits = {"1MB per 1h", "20 connections per 1h"}'
	policy closed 'users = {"6000-6001"}'
}

swap_sets() {
	mv "$LAB/etc/conf.d" "$LAB/etc/aside" && mv "$LAB/etc/other" "$LAB/etc/conf.d" &&
		mv "$LAB/etc/aside" "$LAB/etc/other"
}

@test "a reload is atomic: no attempt meets half of the old and half of the new rules" {
	local user i started=()
	mkdir "$LAB/etc/other"
	other_set
	swap_sets
	one_set
	reload
	for user in 6000 6001 6002; do
		start_as $user $user "$LAB/bin/knock" -s 600 "$WORLD"
		started+=($!)
	done
	for i in {1..50}; do
		swap_sets
		reload
	done
	kill -TERM "${started[@]}"
	wait "${started[@]}"
	rm -r "$LAB/etc/other"
	for user in 6000 6001 6002; do echo "# $user: $(said $user)" >&3; done
	[[ $(said 6000) =~ ^'admitted 0 refused '[0-9]{4,}' failed 0 ' ]]
	[[ $(said 6001) =~ ^'admitted '[0-9]{3,}' refused 0 failed 0 ' ]]
	[[ $(said 6002) =~ ^'admitted 20 refused '[0-9]{4,}' failed 0 ' ]]
}

@test "what was used of a limit outlives a reload, a restart and a raised limit" {
	policy kept 'users = {6100}  limits = {"5 connections per 1h"}'
	reload
	expect 'admitted 2 refused 0' knock 6100 -n 2 "$WORLD"
	no_policies
	policy first 'users = {6101}  limits = {"1 connections per 1h"}'
	policy kept 'users = {6100}  warn = {"1 connections per 1d"}
		limits = {"9 connections per 1m", "5 connections per 1h"}'
	reload
	expect 'admitted 1 refused 0' knock 6100 "$WORLD"
	daemon_dies
	daemon_starts
	expect 'admitted 1 refused 0' knock 6100 "$WORLD"
	daemon_ends
	daemon_starts
	expect 'admitted 1 refused 4' knock 6100 -n 5 "$WORLD"
	no_policies
	enforce_kept 7
	expect 'admitted 2 refused 4' knock 6100 -n 6 "$WORLD"
}
enforce_kept() { policy kept "users = {6100}  limits = {\"$1 connections per 1h\"}" && reload; }

@test "a limit of another span or policy begins anew" {
	enforce 'users = {6200}  limits = {"2 connections per 1h"}'
	expect 'admitted 2 refused 1' knock 6200 -n 3 "$WORLD"
	enforce 'users = {6200}  limits = {"2 connections per 2h"}'
	expect 'admitted 2 refused 1' knock 6200 -n 3 "$WORLD"
	no_policies
	policy another 'users = {6200}  limits = {"2 connections per 1h"}'
	reload
	expect 'admitted 2 refused 1' knock 6200 -n 3 "$WORLD"
}

@test "a reload that is refused changes nothing" {
	enforce 'users = {6300}  limits = {"2 connections per 1h"}'
	policy broken 'users = {6300}  limits = {"many connections per 1h"}'
	run smtpwall reload
	[ "$status" -eq 1 ]
	[[ $output == *"11-broken.conf:2: "* ]]
	kill -HUP "$(daemon_pid)"
	eventually grep -q "the old configuration goes on" "$LAB/daemon.log"
	expect 'admitted 2 refused 1' knock 6300 -n 3 "$WORLD"
}

# Under sanitizers; what goes through the list for each user takes minutes. The machine may stand
# still for more than that, but hardly three times in a row.
loads_within_seconds() {
	local start took
	start=${EPOCHREALTIME/./}
	reload
	took=$(((${EPOCHREALTIME/./} - start) / 1000))
	echo "# loaded in $took ms" >&3
	[ "$took" -lt 5000 ]
}

@test "a list of 100 000 users is loaded within seconds" {
	seq 100000 2 299998 >"$LAB/etc/many.users"
	policy many "users = {\"@$LAB/etc/many.users\"}"
	loads_within_seconds || loads_within_seconds || loads_within_seconds
	is_refused 100000 "$WORLD"
	is_refused 299998 "$WORLD"
	is_admitted 100001 "$WORLD"
	is_admitted 299999 "$WORLD"
	is_admitted 99999 "$WORLD"
}
