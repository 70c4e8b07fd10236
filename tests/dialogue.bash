# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What messages.bats and dialogue.bats share, over helpers.bash: what the gate has counted, and
# clients and servers with bad manners.

# shellcheck source=helpers.bash
. "$BATS_TEST_DIRNAME/helpers.bash"

PYTHON=/usr/bin/python3 # not whatever stands first in PATH: any user must be able to run it

gate_up() {
	lab_up && cp "$BATS_TEST_DIRNAME"/clients/smtp_*.py "$LAB" && chmod 0755 "$LAB"/smtp_*.py &&
		config 'mode = enforce' && daemon_starts
}

# counted UID [ROAD]: "MESSAGES RECIPIENTS REJECTS DEFERRALS"
counted() {
	smtpwall -j show "uid:$1" 2>/dev/null | jq -r --arg road "${2:-direct}" \
		'.roads[$road] | "\(.messages) \(.recipients) \(.rejects) \(.deferrals)"'
}

counts() { [ "$(counted "$1" "${3-}")" = "$2" ]; }

# expect_counted UID 'MESSAGES RECIPIENTS REJECTS DEFERRALS' [ROAD]
expect_counted() {
	eventually counts "$@" && return
	echo "of uid $1 expected $2, counted are $(counted "$1" "${3-}")" >&2
	return 1
}

# used UID METRIC: what the limits on it count
used() { smtpwall -j show "uid:$1" | jq --arg m "$2" '[.limits[] | select(.metric == $m).used] | max'; }

# client UID MANNER ADDRESS [N]: of smtp_client.py, which says how many messages were taken
client() {
	local uid=$1
	shift
	as_user "$uid" "$PYTHON" "$LAB/smtp_client.py" "$@"
}

# ---- servers with bad manners ----

# serve NETNS ADDRESS[=MANNERS]…: smtp_server.py, which logs all into $LAB/taken
serve() {
	local netns=$1 address=${2%%=*}
	touch "$LAB/taken"
	lab_start server.log "$netns" "$LAB_WORLD_CGROUP" \
		"$PYTHON" "$LAB/smtp_server.py" "$LAB/taken" "${@:2}"
	disown $!
	eventually listening "$netns" "src $address and sport = :25"
}

# taken UID: how many messages of it the servers took, and of how many recipients
taken() {
	jq -s --arg sender "u$1@box.example" -r \
		'map(select(.sender == $sender)) | "\(length) \(map(.recipients) | add // 0)"' "$LAB/taken"
}

# takes UID 'MESSAGES RECIPIENTS' [BEGUN]: the servers do, sooner or later, and no more
takes() {
	eventually has_taken_all "$@" && return
	echo "of uid $1 expected $2 ${3-}, taken $(taken "$1"), begun $(begun "$1")" >&2
	return 1
}
has_taken_all() { [ "$(taken "$1")" = "$2" ] && [ "${3:-$(begun "$1")}" = "$(begun "$1")" ]; }

# has_taken UID N: messages, at least
has_taken() { [ "$(taken "$1" | cut -d ' ' -f 1)" -ge "$2" ]; }

# begun UID: how many contents began to arrive
begun() { jq -s --arg sender "u$1@box.example" 'map(select(.begins == $sender)) | length' "$LAB/taken"; }

# charged UID: how many messages its limit has counted; what is counted, if it has none
charged() {
	local used
	used=$(used "$1" messages)
	[ "$used" != null ] || read -r used _ < <(counted "$1")
	echo "$used"
}

# exact UID: what the servers took is counted and charged, no more and no less
exact() {
	eventually is_exact "$1" && return
	echo "of uid $1 the servers took $(taken "$1"), charged are $(charged "$1")," \
		"counted $(counted "$1")" >&2
	return 1
}
is_exact() {
	local taken
	taken=$(taken "$1")
	[ "$(counted "$1")" = "$taken 0 0" ] && [ "$(charged "$1")" = "${taken% *}" ]
}

# high UID [UNHEARD]: counted and charged are at least as many as the servers took, less those that
# could not be heard
is_high() {
	local counted taken
	read -r counted _ < <(counted "$1")
	read -r taken _ < <(taken "$1")
	[ $((counted + ${2:-0})) -ge "$taken" ] && [ $(($(charged "$1") + ${2:-0})) -ge "$taken" ]
}
high() {
	eventually is_high "$@" && return
	echo "of uid $1 the servers took $(taken "$1"), charged are $(charged "$1")," \
		"counted $(counted "$1")" >&2
	return 1
}
