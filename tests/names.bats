# SPDX-License-Identifier: GPL-2.0-or-later
# Names of relays, when the resolver does not answer, or not yet.

load helpers

# The programs get an /etc/hosts and a resolver of their own.
setup_file() {
	lab_up && sink && own_resolver && LAB_BUILD=$LAB/own &&
		config 'mode = enforce' && daemon_starts
}
# shellcheck disable=SC2034 # the lab does
setup() { LAB_BUILD=$LAB/own && new_test; }

own_resolver() {
	local program
	mkdir "$LAB/own"
	echo '127.0.0.1 localhost' >"$LAB/hosts"
	printf 'nameserver %s\noptions timeout:3 attempts:1\n' "$WORLD" >"$LAB/resolv.conf"
	echo 'hosts: files dns' | cat - <(grep -v ^hosts: /etc/nsswitch.conf) >"$LAB/nsswitch.conf"
	for program in smtpwall smtpwalld; do
		cat >"$LAB/own/$program" <<-END_OF_PROGRAM
			#!/bin/sh
			exec unshare --mount --propagation private sh -c '
				for file in hosts resolv.conf nsswitch.conf; do
					mount --bind "$LAB/\$file" "/etc/\$file" || exit
				done
				exec "$LAB_BUILD/$program" "\$@"' - "\$@"
		END_OF_PROGRAM
	done
	chmod 0755 "$LAB/own"/*
	in_world nft 'add table inet names
		add chain inet names in { type filter hook input priority 0; }
		add rule inet names in udp dport 53 counter drop'
}
was_asked() { [ "$(in_world nft -j list chain inet names in | jq '[.nftables[].rule.expr[]?.counter.packets | values] | add')" -gt 0 ]; }
logged() { grep -qE -- "$1" "$LAB/daemon.log"; }
on_road() { # ROAD ADDRESS: is that where a connection counts?
	local before
	before=$(ledger "uid:$U" "$1".connections)
	is_admitted "$U" "$2" && [ "$(ledger "uid:$U" "$1".connections)" -gt "${before:-0}" ]
}

@test "a resolver that hangs delays no start and no reload for long, nor what the daemon does" {
	daemon_dies
	config 'mode = enforce' 'relays = {"mx.relay.example"}' 'exempt { destinations = {"mx.exempt.example"} }'
	daemon_starts
	logged "'mx.relay.example' has no address now .the resolver has not answered yet"
	was_asked
	on_road direct 203.0.113.5
	smtpwall block "uid:$V"
	eventually is_told "uid:$V" block
	run smtpwall reload
	[ "$status" = 0 ]
	[[ $output == *'has not answered yet'* ]]
}

@test "a name that has an address later is taken then, without a reload" {
	config 'mode = enforce' 'relays = {"mx.relay.example"}' 'exempt { destinations = {"mx.exempt.example"} }'
	policy closed 'action = deny'
	reload
	is_refused "$U" 203.0.113.5
	is_refused "$U" 203.0.113.6
	echo '203.0.113.5 mx.relay.example' >>"$LAB/hosts"
	WITHIN=30 eventually on_road relay 203.0.113.5
	is_refused "$U" 203.0.113.6
	echo '203.0.113.6 MX.Exempt.Example' >>"$LAB/hosts"
	WITHIN=30 eventually is_admitted "$U" 203.0.113.6
	is_refused "$U" 203.0.113.7
	logged 'names of relays or exempt destinations have other addresses'
	# A resolver that fails later takes nothing away.
	echo '127.0.0.1 localhost' >"$LAB/hosts"
	reload
	on_road relay 203.0.113.5
}
