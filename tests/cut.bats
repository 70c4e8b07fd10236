# SPDX-License-Identifier: GPL-2.0-or-later
# Who is blocked loses the sessions that are open, at once; nobody and nothing else does.

load helpers

setup_file() {
	lab_up && server 25 && server 587 && server 443 && config 'mode = enforce' && daemon_starts
}

# server PORT: in the world; what it sees is in $LAB/server.PORT
server() {
	lab_start "server.$1" "$LAB_WORLD" "$LAB_WORLD_CGROUP" "$LAB/bin/crowd" -l "$1"
	disown $!
	eventually listening "$LAB_WORLD" "sport = :$1"
}
seen() { tail -n 1 "$LAB/server.$1" | grep -o "$2 [0-9]*" | cut -d ' ' -f 2; }
resets() { echo $(($(seen "$1" reset) + 0)); }
reset_by() { [ "$(resets "$1")" -ge "$2" ]; } # PORT COUNT

# crowd NAME UID OPTION…: in the background; what it says is in $LAB/NAME
crowd() {
	: >"$LAB/$1"
	lab_start "$1" "$LAB_BOX" "$LAB_CGROUP" setpriv --reuid "$2" --regid "$2" --clear-groups -- \
		"$LAB/bin/crowd" "${@:3}"
	eventually says "$1" open
}
says() { grep -q "$2" "$LAB/$1"; }
slowest_ms() { sed -n 's/.*slowest_ms //p' "$LAB/$1"; }

@test "1000 live sessions are cut when the block is made, on v4 and v6; the rest lives" {
	policy only "users = {$U, $V}  limits = {\"1000 connections per 1h\"}  action = block"
	reload
	for place in "$U $WORLD" "$V $WORLD6"; do
		read -r user address <<<"$place"
		crowd neighbour $W -n 20 -o 443 -t 8 "$WORLD" 25
		for times in 1 2 3; do # the machine may stand still once, or twice
			a_thousand_are_cut "$user" "$address"
			[ "$(slowest_ms spammer)" -ge 500 ] || break
			smtpwall unblock "uid:$user"
		done
		[ "$(slowest_ms spammer)" -lt 500 ]
		WITHIN=60 eventually says neighbour 'other '
		says neighbour 'ended 0 '
		says neighbour 'other lives'
	done
	eventually has_cut 2000
}
a_thousand_are_cut() {
	local before
	before=$(resets 25)
	crowd spammer "$1" -n 1000 -k -o 443 "$2" 25
	WITHIN=90 eventually says spammer 'other '
	cat "$LAB/spammer"
	says spammer 'refused 1'
	says spammer 'ended 1000 aborted 1000 reset 0 closed 0'
	says spammer 'other lives'
	eventually reset_by 25 $((before + 1000))
	echo "# 1000 sessions to $2 were gone $(slowest_ms spammer) ms after the block" >&3
}
has_cut() { smtpwall -j events | jq -se "map(select(.event == \"cut\").count) | add >= $1" >/dev/null; }

@test "a block by hand cuts, too, on its roads only" {
	crowd direct "$U" -n 10 "$WORLD" 25
	crowd submission "$U" -n 10 -t 10 "$WORLD" 587
	smtpwall block "uid:$U" --for 5m
	eventually says direct ended
	says direct 'ended 10 aborted 10'
	eventually says submission ended
	says submission 'ended 0 '
}

@test "a block by hand cuts with the daemon dead" {
	crowd sessions "$U" -n 10 "$WORLD" 25
	daemon_dies
	smtpwall block "uid:$U"
	eventually says sessions ended
	says sessions 'ended 10 aborted 10'
}

@test "a socket that its owner gave to another uid, or another user's process holds, is cut with its sender" {
	# the socket is created by root, and connected by the user
	in_box python3 - "$U" "$WORLD" >"$LAB/inherited" <<-'END' 3>&- 4>&- &
		import os, socket, sys
		made_by_root = socket.socket()
		os.setgid(int(sys.argv[1])); os.setgroups([]); os.setuid(int(sys.argv[1]))
		made_by_root.connect((sys.argv[2], 25))
		print("open", flush=True)
		made_by_root.settimeout(60)
		try:
		    made_by_root.recv(1)
		except OSError as error:
		    print(os.strerror(error.errno or 0), flush=True)
	END
	eventually says inherited open
	smtpwall block "uid:$U"
	eventually says inherited 'connection abort'
}

@test "observe mode cuts nothing, until it is enforce" {
	smtpwall mode observe >/dev/null
	crowd sessions "$U" -n 5 "$WORLD" 25
	smtpwall block "uid:$U"
	crowd later "$U" -n 5 -t 1 "$WORLD" 25
	eventually says later ended
	says later 'ended 0 '
	smtpwall mode enforce >/dev/null
	eventually says sessions ended
	says sessions 'ended 5 aborted 5'
}

@test "sessions to exempt destinations survive a policy's block" {
	config 'mode = enforce' 'exempt { destinations = {203.0.113.9} }'
	policy only "users = {$U}  limits = {\"3 connections per 1h\"}  action = block"
	reload
	crowd exempt "$U" -n 5 -t 10 203.0.113.9 25
	crowd direct "$U" -n 3 -k "$WORLD" 25
	eventually says direct ended
	says direct 'ended 3 aborted 3'
	eventually says exempt ended
	says exempt 'ended 0 '
}

@test "sessions in another network namespace are cut there, and only they are noted" {
	crowd here "$V" -n 10 -t 10 "$WORLD" 25
	[ "$(abroad)" = 0 ]
	inner_up
	inner_crowd inner "$U" -n 10 "$WORLD" 25
	[ "$(abroad)" = 1 ]
	smtpwall block "uid:$U"
	eventually says inner ended
	inner_down
	says inner 'ended 10 aborted 10'
	eventually says here ended
	says here 'ended 0 '
}

@test "who is blocked from within another network namespace loses the machine's sessions" {
	inner_up
	crowd sessions "$U" -n 10 "$WORLD" 25
	daemon_dies
	in_inner "$LAB_BUILD/smtpwall" -c "$LAB/etc/smtpwall.conf" block "uid:$U"
	eventually says sessions ended
	inner_down
	says sessions 'ended 10 aborted 10'
}

@test "sessions older than the gate are cut, though they have not sent since" {
	daemon_dies
	smtpwall detach
	crowd elders "$U" -n 10 "$WORLD" 25
	daemon_starts
	smtpwall block "uid:$U"
	eventually says elders ended
	says elders 'ended 10 aborted 10'
}

@test "sessions that are not judged yet, for their port was no mail port, are not cut" {
	config 'mode = enforce' 'ports = {25}'
	reload
	crowd later "$U" -n 10 -t 4 "$WORLD" 587
	config 'mode = enforce' 'ports = {25, 587}'
	reload
	smtpwall block "uid:$U" --roads submission
	is_refused "$U" "$WORLD" 587
	eventually says later ended
	says later 'ended 0 '
}

@test "with more ports than fit in a page" {
	local ports
	ports=$(seq -s ', ' 3001 3400)
	config 'mode = enforce' "ports = {25, $ports}"
	reload
	crowd sessions "$U" -n 10 -o 443 "$WORLD" 25
	smtpwall block "uid:$U"
	eventually says sessions other
	says sessions 'ended 10 aborted 10'
	says sessions 'other lives'
}

@test "a connect that hangs when its user is blocked ends soon after" {
	knock "$U" 203.0.113.77 25 >"$LAB/hanging" 2>&1 &
	eventually opening
	smtpwall block "uid:$U"
	eventually says hanging 'connection abort'
}
opening() { [ -n "$(in_box ss -Htn state syn-sent 'dport = :25')" ]; }
