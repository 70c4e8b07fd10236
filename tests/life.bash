# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Each test has a gate of its own, to be started by itself. To be loaded by a bats file.

# shellcheck disable=SC2034,SC2086 # for the tests; words on purpose, users are numbers

load helpers

U=2001 V=2002 W=2003

setup_file() { :; }
teardown_file() { :; }

setup() { lab_up && touch "$LAB/daemon.log" && sink; }

# What the tests mount beside the lab, too.
teardown() {
	local found=0
	[ -z "${BACKGROUND-}" ] || kill -9 $BACKGROUND 2>/dev/null || true
	! grep -E 'Sanitizer|runtime error' "$LAB/daemon.log" >&2 || found=1
	umount -l "$LAB/state" 2>/dev/null || true
	lab_down
	return $found
}

# limited ['key = value'…]: users 2000 to 2999 may connect twice in an hour
limited() {
	config 'mode = enforce' "$@"
	policy customers 'users = {"2000-2999"}  limits = {"2 connections per 1h"}'
}

use_up() { expect 'admitted 2 refused 1' knock "$1" -n 3 "$WORLD"; }

not() { ! "$@"; } # bash lets a plain `! command` fail
pins() { echo "$LAB/bpf/smtpwall"; }
pinned() { [ -e "$(pins)/$1" ]; }
link_ids() {
	local pin
	for pin in "$(pins)"/links/*; do
		echo "${pin##*/} $(bpftool -j link show pinned "$pin" 2>/dev/null | jq .id)"
	done
}
attached() { bpftool cgroup show "$LAB_CGROUP" | awk 'NR > 1' | wc -l; }
rules_generation() { bpftool -j map dump pinned "$(pins)/control" | jq '.[0].formatted.value.generation'; }

logged() { grep -qE -- "$1" "$LAB/daemon.log"; }
times_logged() { grep -cE -- "$1" "$LAB/daemon.log"; }
logged_times() { [ "$(times_logged "$2")" -eq "$1" ]; }
event_told() { smtpwall -j events | jq -se "any(.[]; $1)" >/dev/null; }
stands() { smtpwall status >/dev/null; }
hooked() { smtpwall -j status | jq -e --arg where "$1" --arg kind "${2-tcx}" \
	'any(.hooks[]; .hook == "egress" and .where == $where and .kind == $kind)' >/dev/null; }
unhooked() { not hooked "$@"; }
