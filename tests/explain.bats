# SPDX-License-Identifier: GPL-2.0-or-later
# What a user can really reach, who else has a say, and what observe mode has found.

load helpers

tried() { smtpwall -j test --as games | jq -c "[.tests[] | select(.road == \"$1\") | [.allowed, .by]]"; }

@test "test --as tells what a user reaches, and which hook refuses it" {
	enforce 'users = {games} limits = {"3 connections per 1h"}'
	[ "$(tried direct)" = '[[true,null],[true,null],[true,null]]' ]
	[ "$(tried direct)" = '[[false,"smtpwall (connect4)"],[false,"smtpwall (connect6)"],[false,"smtpwall (connect6)"]]' ]
	[ "$(tried submission)" = '[[true,null]]' ]
	[ "$(smtpwall -j test --as games | jq -c '[.tests[] | select(.road == null).allowed]')" = '[true]' ]
	smtpwall test --as games | grep -q 'Operation not permitted *smtpwall (connect4)'
	run in_box ip link show smtpwall-test
	[ "$status" -ne 0 ]
}

@test "test --as needs a user that exists" {
	run smtpwall test --as no-such-user
	[ "$status" = 3 ]
	run smtpwall test
	[ "$status" = 2 ]
}

@test "status tells which firewall rules have a say on the SMTP ports" {
	in_box nft add table ip whm '{ chain out { type nat hook output priority -100; tcp dport { 25, 465 } meta skuid != 0 redirect to :25; }; }'
	in_box iptables -A OUTPUT -p tcp -m multiport --dports 25,587 -m owner --uid-owner 12345 -j DROP
	smtpwall -j status >"$LAB/status"
	in_box nft delete table ip whm
	in_box iptables -F OUTPUT
	jq -e '.conflicts | any(.where == "nftables ip whm out" and .what == "redirects tcp port 25")' "$LAB/status"
	jq -e '.conflicts | any(.where == "iptables-save OUTPUT" and (.what | contains("-j DROP")))' "$LAB/status"
	[ "$(smtpwall -j status | jq '.conflicts | length')" = 0 ]
}

@test "blocks that observe mode computed are real only with --apply" {
	config 'mode = observe'
	enforce 'limits = {"1 connections per 1h"} action = block'
	smtpwall mode observe
	expect 'admitted 3 refused 0' knock "$U" -n 3 "$WORLD"
	blocked uid:"$U"
	smtpwall mode enforce
	[ "$(smtpwall -j blocks | jq -c "[.blocks[] | select(.subject == \"uid:$U\").enforced]")" = '[false]' ]
	smtpwall mode observe
	smtpwall mode enforce --apply
	[ "$(smtpwall -j blocks | jq -c "[.blocks[] | select(.subject == \"uid:$U\").enforced]")" = '[true]' ]
	is_refused "$U" "$WORLD"
	run smtpwall mode observe --apply
	[ "$status" = 2 ]
}

@test "max_blocks_per_hour turns further blocks into warnings, loudly" {
	config 'mode = enforce' 'max_blocks_per_hour = 2'
	enforce 'limits = {"1 connections per 1h"} action = block'
	for user in 1 2; do
		expect 'admitted 1 refused 2' knock $((U + user)) -n 3 "$WORLD"
	done
	expect 'admitted 3 refused 0' knock $((U + 3)) -n 3 "$WORLD"
	eventually grep -q 'max_blocks_per_hour' "$LAB/daemon.log"
}
