# SPDX-License-Identifier: GPL-2.0-or-later
# Policies about cgroups: which of them a glob means, as they come and go, and what is one unit.

load helpers

setup() { new_test && T=$BATS_TEST_NUMBER; }

# unit NAME: a cgroup, which a test's end does not remove
unit() { mkdir -p "$LAB_CGROUP/$1"; }
no_unit() { find "$LAB_CGROUP/$1" -depth -type d -exec rmdir {} +; }

# from NAME UID [OPTION…] ADDRESS: knocks from there
from() (lab_enter "$LAB_BOX" "$LAB_CGROUP/$1" setpriv --reuid "$2" --regid "$2" --clear-groups -- \
	"$LAB/bin/knock" "${@:3}")

known() { smtpwall -j status | jq ".$1"; }
knows() { [ "$(known "$1")" -eq "$2" ]; }

# Which cgroups are known takes a moment; the last one that was made says that all are.
unit_is_refused() { expect 'admitted 0 refused 1' from "$1" "$U" "$WORLD" 2>/dev/null; }

@test "a policy names units by a name of their path, and counts each by itself" {
	unit "job$T-1.scope"
	unit "job$T-2.scope"
	unit "other$T.scope"
	enforce "units = {\"job$T-*.scope\"}  subject = unit  limits = {\"3 connections per 1h\"}"
	expect 'admitted 2 refused 0' from "job$T-1.scope" "$U" -n 2 "$WORLD"
	expect 'admitted 1 refused 1' from "job$T-1.scope" "$V" -n 2 "$WORLD"
	expect 'admitted 3 refused 1' from "job$T-2.scope" "$U" -n 4 "$WORLD"
	expect 'admitted 4 refused 0' from "other$T.scope" "$U" -n 4 "$WORLD"
	expect 'admitted 4 refused 0' knock "$U" -n 4 "$WORLD"
	[ "$(ledger "unit:/$LAB_ID/machine/job$T-1.scope" direct.connections)" = 3 ]
	[ "$(ledger "unit:/$LAB_ID/machine/job$T-1.scope" direct.refused)" = 1 ]
}

@test "a glob with a slash is about the whole path, and what is below is the same unit" {
	unit "jobs$T/one/inner/most"
	unit "jobs$T/two"
	enforce "units = {\"/swl-*/machine/jobs$T/*\"}  subject = unit
		limits = {\"3 connections per 1h\"}"
	expect 'admitted 2 refused 0' from "jobs$T/one/inner/most" "$U" -n 2 "$WORLD"
	expect 'admitted 1 refused 1' from "jobs$T/one" "$V" -n 2 "$WORLD"
	expect 'admitted 3 refused 1' from "jobs$T/two" "$U" -n 4 "$WORLD"
	expect 'admitted 4 refused 0' from "jobs$T" "$U" -n 4 "$WORLD"
}

@test "a unit that matches within one that does is the outermost" {
	unit "pod$T/job$T-1.scope"
	unit "pod$T/job$T-2.scope"
	enforce "units = {\"pod$T\", \"job$T-*.scope\"}  subject = unit
		limits = {\"2 connections per 1h\"}"
	expect 'admitted 2 refused 0' from "pod$T/job$T-1.scope" "$U" -n 2 "$WORLD"
	is_admitted "$U" "$WORLD"
	unit_is_refused "pod$T/job$T-2.scope"
	unit_is_refused "pod$T"
}

@test "a service is one unit, whatever it makes below itself" {
	unit "web$T.service/worker.scope"
	unit "web$T.service/other"
	enforce "subject = unit  limits = {\"2 connections per 1h\"}"
	expect 'admitted 2 refused 0' from "web$T.service/worker.scope" "$U" -n 2 "$WORLD"
	unit_is_refused "web$T.service/other"
	unit_is_refused "web$T.service"
	[ "$(ledger "unit:/$LAB_ID/machine/web$T.service" direct.refused)" = 2 ]
}

# The machine may stand still for more than that; hardly three times in a row.
starts_refused() {
	local start took
	start=${EPOCHREALTIME/./}
	unit "$1"
	eventually unit_is_refused "$1"
	took=$(((${EPOCHREALTIME/./} - start) / 1000))
	echo "# refused after $took ms" >&3
	[ "$took" -lt 1000 ]
}

@test "a unit that starts is matched at once" {
	enforce "units = {\"late$T-*\"}"
	is_admitted "$U" "$WORLD"
	starts_refused "late$T-1" || starts_refused "late$T-3" || starts_refused "late$T-4"
	unit "late$T-2/a/b/c"
	eventually unit_is_refused "late$T-2/a/b/c"
}

@test "a unit that starts anew is the same one, also with another daemon" {
	unit "again$T"
	enforce "units = {\"again$T\"}  subject = unit  limits = {\"3 connections per 1h\"}"
	expect 'admitted 2 refused 0' from "again$T" "$U" -n 2 "$WORLD"
	no_unit "again$T"
	daemon_dies
	unit "again$T"
	daemon_starts
	expect 'admitted 1 refused 1' from "again$T" "$U" -n 2 "$WORLD"
	no_unit "again$T"
	unit "again$T"
	eventually unit_is_refused "again$T"
}

@test "units come and go in crowds, and each is known" {
	local before i
	enforce "units = {\"crowd$T-*\"}"
	before=$(known units)
	for i in {1..300}; do mkdir "$LAB_CGROUP/crowd$T-$i"; done
	eventually knows units $((before + 300))
	unit_is_refused "crowd$T-1" && unit_is_refused "crowd$T-300"
	for i in {1..300}; do rmdir "$LAB_CGROUP/crowd$T-$i"; done
	eventually knows units "$before"
}

@test "a unit and a user together are about that user there" {
	unit "both$T"
	enforce "units = {\"both$T\"}  users = {$U}"
	unit_is_refused "both$T"
	expect 'admitted 1 refused 0' from "both$T" "$V" "$WORLD"
	is_admitted "$U" "$WORLD"
}

@test "the unit's limit and the user's hold both, and each is charged once" {
	unit "two$T"
	policy unit "units = {\"two$T\"}  subject = unit  limits = {\"5 connections per 1h\"}"
	policy user "users = {$U, $V}  limits = {\"3 connections per 1h\"}"
	reload
	expect 'admitted 3 refused 1' from "two$T" "$U" -n 4 "$WORLD"
	expect 'admitted 2 refused 1' from "two$T" "$V" -n 3 "$WORLD"
	is_admitted "$V" "$WORLD"
	is_refused "$V" "$WORLD"
}

@test "exempt.units is above every policy" {
	unit "mail$T"
	unit "not$T"
	config 'mode = enforce' "exempt { units = {\"mail$T\"} }"
	enforce 'limits = {"1 connections per 1h"}'
	expect 'admitted 5 refused 0' from "mail$T" "$U" -n 5 "$WORLD"
	expect 'admitted 1 refused 1' from "not$T" "$U" -n 2 "$WORLD"
	smtpwall -j status | jq -e --arg u "unit mail$T" '.exempt | index($u)' >/dev/null
}

@test "a container is freed by its cgroup, not by its users" {
	unit "box$T-mail"
	unit "box$T-web"
	contained() (lab_enter "$LAB_BOX" "$LAB_CGROUP/$1" unshare --pid --fork --kill-child \
		"$LAB/bin/knock" "${@:2}")
	config 'mode = enforce' "exempt { units = {\"box$T-mail\"} }"
	enforce "units = {\"box$T-*\"}  subject = unit  limits = {\"2 connections per 1h\"}"
	expect 'admitted 5 refused 0' contained "box$T-mail" -n 5 "$WORLD"
	expect 'admitted 2 refused 1' contained "box$T-web" -n 3 "$WORLD"
}

@test "what a user calls a cgroup of his own makes it nothing" {
	unit "user$T"
	unit "user$T/mail$T"
	chown "$U" "$LAB_CGROUP/user$T" "$LAB_CGROUP/user$T/mail$T"
	config 'mode = enforce' "exempt { units = {\"mail$T\"} }"
	enforce 'limits = {"2 connections per 1h"}'
	expect 'admitted 2 refused 1' from "user$T/mail$T" "$U" -n 3 "$WORLD"
	unit "user$T/later"
	mkdir "$LAB_CGROUP/user$T/later/mail$T"
	is_refused "$U" "$WORLD"
	expect 'admitted 0 refused 1' from "user$T/later/mail$T" "$U" "$WORLD"
}

@test "a blocked unit leaves the others sending" {
	unit "job$T-1.scope"
	unit "job$T-2.scope"
	enforce "units = {\"job$T-*.scope\"}  subject = unit  action = block
		limits = {\"1 connections per 1h\"}"
	expect 'admitted 1 refused 1' from "job$T-1.scope" "$U" -n 2 "$WORLD"
	eventually blocked "unit:/$LAB_ID/machine/job$T-1.scope"
	expect 'admitted 1 refused 0' from "job$T-2.scope" "$U" "$WORLD"
	is_admitted "$U" "$WORLD"
	smtpwall unblock "unit:/$LAB_ID/machine/job$T-1.scope" >/dev/null
	expect 'admitted 1 refused 0' from "job$T-1.scope" "$U" "$WORLD"
}

@test "a policy that comes to judge another kind of subject takes its blocks back" {
	unit "kind$T"
	policy turns "units = {\"kind$T\"}  action = block  limits = {\"1 connections per 1h\"}"
	reload
	expect 'admitted 1 refused 1' from "kind$T" "$U" -n 2 "$WORLD"
	eventually blocked "uid:$U"
	no_policies
	policy turns "units = {\"kind$T\"}  action = block  limits = {\"1 connections per 1h\"}
		subject = unit"
	reload
	! blocked "uid:$U" || false
	expect 'admitted 1 refused 1' from "kind$T" "$U" -n 2 "$WORLD"
}

@test "globs that mean nothing are refused with their line" {
	policy bad "units = {\"/sys/fs/cgroup/x\"}"
	run smtpwall check-config
	[ "$status" -eq 1 ]
	[[ $output == *"bad.conf:2: '/sys/fs/cgroup/x'"*"write that below the mount"* ]]
}
