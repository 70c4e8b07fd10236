# SPDX-License-Identifier: GPL-2.0-or-later
# Who is over a limit reaches the relay instead, and believes otherwise.

load helpers

RELAY='redirect_to = "127.0.0.1:25"'

setup_file() {
	lab_up && sink 25 && config 'mode = enforce' && daemon_starts &&
		relay 127.0.0.1 && relay '[::1]'
}

# relay ADDRESS: a mail server of this machine, which greets as relay.example
relay() {
	lab_start relay.log "$LAB_BOX" "$LAB_CGROUP" \
		smtp-sink -u nobody -h relay.example "inet:$1:25" 64
	disown $!
	eventually listening "$LAB_BOX" "src $1 and sport = :25"
}

peer() { as_user "$U" "$LAB/bin/peer" "$@"; }

@test "what is over the limit reaches the relay, and is told the address that it asked for" {
	enforce "action = redirect $RELAY limits = {\"1 connections per 1h\"}"
	[[ $(peer "$WORLD" 25) == "peer $WORLD 25 says 220 smtp-sink"* ]]
	[[ $(peer "$WORLD" 25) == "peer $WORLD 25 says 220 relay.example"* ]]
	[[ $(peer "::ffff:$WORLD" 25) == "peer ::ffff:$WORLD 25 says 220 relay.example"* ]]
	[[ $(peer "$WORLD6" 25) == "peer $WORLD6 25 says 220 relay.example"* ]]
	[ "$(ledger uid:"$U" direct.connections) $(ledger uid:"$U" relay.connections)" = '1 3' ]
}

@test "evidence of what was redirected names where it wanted to go" {
	enforce "action = redirect $RELAY limits = {\"1 connections per 1h\"}"
	peer "$WORLD" 25 && peer "$WORLD6" 25
	smtpwall -j show uid:"$U" | jq -e --arg to "$WORLD6" '.evidence[0] | .verdict == "redirected" and
		.destination == $to and .port == 25 and .road == "direct" and (.why | index("over_the_limit"))'
	smtpwall -j who | jq -e 'all(.top.destination[]; .subject != "127.0.0.1")'
}

@test "a policy without limits redirects everything that leaves, and nothing else" {
	enforce "action = redirect $RELAY redirect_to6 = \"[::1]:25\""
	[[ $(peer "$WORLD" 25) == *relay.example* ]]
	[[ $(peer "$WORLD6" 25) == "peer $WORLD6 25 says 220 relay.example"* ]]
	[[ $(peer -6 "$WORLD6" 25) == *relay.example* ]]
	[[ $(peer 127.0.0.1 25) == 'peer 127.0.0.1 25 says 220 relay.example'* ]]
	[ "$(ledger uid:"$U" direct.connections) $(ledger uid:"$U" relay.connections)" = '0 4' ]
}

@test "a socket that would not arrive at the relay is refused instead" {
	enforce "action = redirect $RELAY"
	[ "$(peer -6 "$WORLD6" 25)" = 'error EPERM' ]
	[ "$(peer -b "$BOX" "$WORLD" 25)" = 'error EPERM' ]
	[ "$(peer -d eth0 "$WORLD" 25)" = 'error EPERM' ]
	[ "$(ledger uid:"$U" direct.refused)" = 3 ]
}

@test "the exempt and observe mode are not redirected" {
	config 'mode = enforce' "exempt { users = {root, $X} }"
	enforce "action = redirect $RELAY"
	[[ $(as_user "$X" "$LAB/bin/peer" "$WORLD" 25) == *smtp-sink* ]]
	smtpwall mode observe
	[[ $(peer "$WORLD" 25) == *smtp-sink* ]]
	[ "$(ledger uid:"$U" direct.would_refuse)" = 1 ]
}

@test "messages by the relay are the sender's, on the road relay" {
	enforce "action = redirect $RELAY"
	as_user "$U" smtp-source -m 3 -r 2 -f a@b.example -t c@d.example "inet:$WORLD:25"
	[ "$(ledger uid:"$U" relay.messages) $(ledger uid:"$U" relay.recipients)" = '3 6' ]
}

# Sessions are led to one that does not greet: what comes then is their end.
SILENT='redirect_to = "127.0.0.1:587"  redirect_to6 = "[::1]:587"'
silent_relay() {
	lab_start silent.log "$LAB_BOX" "$LAB_CGROUP" "$LAB/bin/crowd" -l 587
	eventually listening "$LAB_BOX" 'sport = :587'
}
# crowd NAME OPTION…: as U, in the background
crowd() {
	start_as "$1" "$U" "$LAB/bin/crowd" "${@:2}"
	eventually tells "$1" open
}
tells() { said "$1" | grep -q "$2"; } # NAME WORDS

@test "redirected sessions are cut when a block is made by hand on the road relay, and by no other" {
	silent_relay
	enforce "action = redirect $SILENT"
	crowd four -n 5 "$WORLD" 25
	crowd six -n 5 "$WORLD6" 25
	smtpwall block "uid:$U" --for 1m # on direct, where they are not
	[ "$(in_box ss -Htn state established 'dport = :587' | wc -l)" = 10 ]
	smtpwall block "uid:$U" --for 1m --roads relay
	for name in four six; do
		eventually tells $name ended
		tells $name 'ended 5 aborted 5'
	done
	[ "$(peer "$WORLD" 25)" = 'error EPERM' ]
}

@test "redirected sessions are cut by the block of a policy about the road relay" {
	silent_relay
	policy away "roads = {direct}  action = redirect  $SILENT"
	policy within 'roads = {relay}  limits = {"5 connections per 1h"}  action = block  block_for = 1m'
	reload
	crowd four -n 5 -k "$WORLD" 25
	eventually tells four ended
	tells four 'refused 1'
	tells four 'ended 5 aborted 5'
	eventually block_is "uid:$U" '.roads == ["relay"]'
}

@test "a relay that is none, or on another road, is refused with what to write" {
	local bad
	for bad in 'action = redirect' 'action = redirect redirect_to = "localhost:25"' \
		'action = redirect redirect_to = "127.0.0.1"' "$RELAY" \
		"action = redirect $RELAY roads = {submission}" \
		'action = redirect redirect_to = "127.0.0.1:2525"'; do
		no_policies && policy only "$bad"
		run smtpwall check-config
		[ "$status" = 1 ]
		[[ $output == *only.conf:*write* ]]
	done
}
