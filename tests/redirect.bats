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
