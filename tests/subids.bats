# SPDX-License-Identifier: GPL-2.0-or-later
# A set-uid program of a subordinate uid runs as that uid, outside of any user namespace.

load helpers

# The daemon, with an /etc/subuid of its own.
setup_file() {
	lab_up && sink 25 && config 'mode = enforce' &&
		policy only 'limits = {"2 connections per 1h"}' || return
	echo 2017:100000:65536 >"$LAB/subuid"
	# shellcheck disable=SC2016 # for the inner shell
	lab_start daemon.log "$LAB_BOX" "$LAB_CGROUP" unshare --mount -- bash -c '
		mount --bind "$1" /etc/subuid && exec "$2" --foreground -c "$3"' - \
		"$LAB/subuid" "$LAB_BUILD/smtpwalld" "$LAB/etc/smtpwall.conf"
	LAB_DAEMON=$!
	disown $LAB_DAEMON
	export LAB_DAEMON
	WITHIN=60 eventually lab_daemon_ready_or_dead
}
setup() { :; }

@test "65 536 subordinate uids are one person with one limit, and blocks hold for all" {
	is_admitted 100000 "$WORLD"
	is_admitted 165535 "$WORLD"
	is_refused 2017 "$WORLD"
	is_refused 100001 "$WORLD"
	[ "$(ledger uid:2017 direct.connections) $(ledger uid:2017 direct.refused)" = '2 2' ]
	is_admitted 165536 "$WORLD"
	smtpwall unblock uid:2017
	smtpwall block uid:2017
	is_refused 100002 "$WORLD"
}
