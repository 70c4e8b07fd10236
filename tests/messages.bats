# SPDX-License-Identifier: GPL-2.0-or-later
# What real clients send to real servers is counted as the servers' own logs have it, and limited.

# shellcheck disable=SC2030,SC2031,SC2086,SC2153 # addresses; each test is a subshell
load dialogue
load servers

PLAIN=203.0.113.7 REFUSE=203.0.113.8 BULK=203.0.113.9 # smtp_server.py's

setup_file() {
	gate_up && servers_up && serve "$LAB_WORLD" $PLAIN $REFUSE=refuse $BULK=bulk &&
		sink_into "$LAB_BOX" 127.0.0.2 25 && postfix_box && exim_box
}

SERVERS4="$SINK $POSTFIX $EXIM"
SERVERS6="$SINK6 $POSTFIX6 $EXIM6"

# sender UID: everybody sends as himself
sender() { echo "u$1@box.example"; }

# as_logged UID 'MESSAGES RECIPIENTS' [ROAD]: the servers logged that, and it is counted
as_logged() {
	WITHIN=60 eventually logs "$(sender "$1")" "$2" || {
		echo "expected $2, logged $(logged "$(sender "$1")")" >&2
		return 1
	}
	expect_counted "$1" "$2 0 0" "${3-}"
}
logs() { [ "$(logged "$1")" = "$2" ]; }

logs_recipients() { [[ $(logged "$1") == *" $2" ]]; }

in_brackets() { [[ $1 != *:* ]] && echo "$1" || echo "[$1]"; }

# ---- our own machine's mail servers ----

postfix_box() {
	postfix_instance postfix-box '
		inet_interfaces = 127.0.0.1
		mynetworks = 127.0.0.0/8' &&
		postfix_starts postfix-box "$LAB_BOX" "$LAB_CGROUP" &&
		eventually listening "$LAB_BOX" "src 127.0.0.1 and sport = :25"
}

exim_box() {
	exim_instance exim-box '
		allow_domain_literals = true
		begin routers
		away:
		  driver = ipliteral
		  transport = smtp
		begin transports
		smtp:
		  driver = smtp
		  hosts_avoid_tls = *'
}

# literal ADDRESS: the domain of a recipient there
literal() { [[ $1 != *:* ]] && echo "[$1]" || echo "[IPv6:$1]"; }

# ---- clients ----

@test "smtp-source: sessions, messages and recipients, one connection each or many in one" {
	for server in $SERVERS4 $SERVERS6; do
		to=inet:$(in_brackets "$server"):25
		as_user "$U" smtp-source -s 5 -m 10 -r 3 -f "$(sender "$U")" -t to@world.example "$to"
		as_user "$U" smtp-source -d -s 2 -m 10 -l 20000 -f "$(sender "$U")" -t to@world.example "$to"
	done
	as_logged "$U" '120 240'
}

@test "swaks, with and without pipelining" {
	for server in $SERVERS4 $SERVERS6; do
		as_user "$U" swaks --server "$(in_brackets "$server")" --from "$(sender "$U")" \
			--to a@world.example,b@world.example --suppress-data >"$LAB/swaks.log"
		as_user "$U" swaks --server "$(in_brackets "$server")" --from "$(sender "$U")" \
			--to a@world.example,b@world.example --pipeline >"$LAB/swaks.log"
	done
	as_logged "$U" '12 24'
}

@test "curl, with two messages in a session" {
	printf 'Subject: hello\r\n\r\n.hello\r\n.\r\n' >"$LAB/mail"
	for server in $SERVERS4 $SERVERS6; do
		url=smtp://$(in_brackets "$server")/box.example
		as_user "$U" curl -sS -T "$LAB/mail" --mail-from "$(sender "$U")" \
			--mail-rcpt a@world.example --mail-rcpt b@world.example "$url" \
			--next -sS -T "$LAB/mail" --mail-from "$(sender "$U")" \
			--mail-rcpt a@world.example "$url"
	done
	as_logged "$U" '12 18'
	[ "$(smtpwall -j show "uid:$U" | jq .roads.direct.connections)" -eq 6 ]
}

@test "msmtp" {
	printf 'Subject: hello\n\nhello\n' >"$LAB/mail"
	for server in $SERVERS4 $SERVERS6; do
		as_user "$U" msmtp --host="$server" --from="$(sender "$U")" --domain=box.example \
			a@world.example b@world.example c@world.example <"$LAB/mail"
	done
	as_logged "$U" '6 18'
}

several_transactions() {
	/usr/bin/python3 - "$@" <<-'END'
		import smtplib, sys
		sender = sys.argv[1]
		for server in sys.argv[2:]:
		    smtp = smtplib.SMTP(server, 25, "box.example")
		    for n in range(1, 6):
		        to = [f"to{i}@world.example" for i in range(n)]
		        smtp.sendmail(sender, to, "Subject: hello\r\n\r\nhello\r\n.dot\r\n")
		    smtp.mail(sender)
		    smtp.rcpt("never@world.example")
		    smtp.rset()
		    smtp.sendmail(sender, "to@world.example", b"Subject: long\r\n\r\n" + 3000 * b"line\r\n")
		    smtp.quit()
	END
}

@test "smtplib: several recipients, several transactions a session, one of them given up" {
	# shellcheck disable=SC2086 # a list
	as_user "$U" several_transactions "$(sender "$U")" $SERVERS4 $SERVERS6
	WITHIN=60 eventually logs "$(sender "$U")" '36 96'
	expect_counted "$U" '36 102 0 0' # the six that were given up had a recipient each
}

@test "Postfix: what is handed to it, and what it delivers" {
	postfix=$(id -u postfix)
	for server in $SERVERS4 $SERVERS6; do
		as_user "$U" smtp-source -s 3 -m 10 -r 5 -f "$(sender "$U")" -t "to@$(literal "$server")" \
			inet:127.0.0.1:25
	done
	WITHIN=60 eventually logs "$(sender "$U")" '60 300'
	expect_counted "$U" '60 300 0 0' relay
	expect_counted "$U" '0 0 0 0'
	expect_counted "$postfix" '60 300 0 0'
}

@test "Exim delivers, by BDAT where it can" {
	for server in $SERVERS4 $SERVERS6; do
		for message in {1..5}; do
			printf 'Subject: %s\n\nhello\n.hello\n' "$message" |
				exim_as in_box exim-box -odq -f "$(sender "$U")" \
					"a@$(literal "$server")" "b@$(literal "$server")"
		done
	done
	exim_as in_box exim-box -qf
	WITHIN=60 eventually logs_recipients "$(sender "$U")" 60
	expect_counted $EXIM_UID "$(logged "$(sender "$U")") 0 0" # it may send each recipient a copy
	eventually came_in_chunks 40 # Postfix and Exim offer CHUNKING
}
came_in_chunks() { [ "$(grep -c ' K C="250' "$LAB/exim-box/main")" -eq "$1" ]; }

@test "BDAT in several chunks, to Postfix and to Exim" {
	for server in $POSTFIX $POSTFIX6 $EXIM $EXIM6; do
		[ "$(client "$U" chunks "$server" 5)" -eq 5 ]
	done
	as_logged "$U" '20 20'
}

@test "the next transaction behind the final dot, to Postfix and to Exim" {
	for server in $POSTFIX $POSTFIX6 $EXIM $EXIM6; do
		[ "$(client "$U" behind_dot "$server" 5)" -eq 5 ]
	done
	as_logged "$U" '20 20'
}

# ---- refusals ----

refused_in_all_ways() {
	/usr/bin/python3 - "$@" <<-'END'
		import smtplib, sys
		sender = sys.argv[1]
		for server in sys.argv[2:]:
		    smtp = smtplib.SMTP(server, 25, "box.example")
		    for to in ("ok", "no"), ("grey", "ok", "no", "fine"), ("no", "grey"):
		        try:
		            smtp.sendmail(sender, [f"{name}@world.example" for name in to], "Subject: hello\r\n\r\nhello\r\n")
		        except smtplib.SMTPRecipientsRefused:
		            pass
		    for refused in (("nodata-" + sender, "hello"), (sender, "spam")):
		        try:
		            smtp.sendmail(refused[0], ["to@world.example"], f"Subject: {refused[1]}\r\n\r\nhello\r\n")
		            sys.exit(f"{refused} was taken")
		        except smtplib.SMTPDataError:
		            smtp.rset()
		    smtp.quit()
	END
}
refuses() { [ "$(refusals "(nodata-)?$1")" = "$2" ]; }

@test "rejects and deferrals: of a recipient, of DATA, of the content" {
	as_user "$U" refused_in_all_ways "$(sender "$U")" $POSTFIX $EXIM $POSTFIX6 $EXIM6
	eventually logs "$(sender "$U")" '8 12'
	eventually refuses "$(sender "$U")" '20 8'
	expect_counted "$U" '8 20 20 8' # two recipients a session were taken for nothing
}

@test "rejects of smtp-sink, hard and soft, in its own words" {
	local sinks=(203.0.113.4 203.0.113.5 203.0.113.6 2001:db8:2::4 2001:db8:2::5 2001:db8:2::6)
	local manners=("-f RCPT" "-f DATA" "-f ." "-r RCPT" "-r DATA" "-r .") i
	for i in {0..5}; do
		# shellcheck disable=SC2086 # options
		lab_start sink.log "$LAB_WORLD" "$LAB_WORLD_CGROUP" smtp-sink -u nobody ${manners[i]} \
			-B '554 no' -b '451 4.3.2 not now' "inet:$(in_brackets "${sinks[i]}"):25" 256
		disown $!
		eventually listening "$LAB_WORLD" "src $(in_brackets "${sinks[i]}") and sport = :25"
		as_user "$U" swaks --server "$(in_brackets "${sinks[i]}")" --from "$(sender "$U")" \
			--to a@world.example,b@world.example >"$LAB/swaks.log" || :
	done
	# Both recipients are refused, or none and then DATA, or the content.
	expect_counted "$U" '0 8 4 4'
}

# ---- limits ----

# connections UID [ROAD], refused UID [ROAD]: of the ledger
field() { smtpwall -j show "uid:$1" | jq ".roads.${3:-direct}.$2"; }

@test "of 20 messages in one session five pass, the sixth stops before its content" {
	enforce 'limits = {"5 messages per 1h"}'
	[ "$(client "$U" honest $PLAIN 20)" -eq 5 ]
	takes "$U" '5 5' 5
	[ "$(client "$V" honest $SINK 20)" -eq 5 ]
	[ "$(client "$W" honest $SINK6 20)" -eq 5 ]
	for user in $V $W; do
		eventually logs "$(sender "$user")" '5 5'
	done
	for user in $U $V $W; do
		[ "$(used "$user" messages)" -eq 5 ]
		expect_counted "$user" '5 6 0 0'
		is_refused "$user" $SINK
	done
	[ "$(client "$X" honest $PLAIN 5)" -eq 5 ]
}

@test "ten sessions at once that share 20 messages take 20" {
	enforce 'limits = {"20 messages per 1h"}'
	clients=()
	for _ in {1..10}; do
		client "$U" honest $PLAIN 10 &
		clients+=($!)
	done
	client "$V" honest $PLAIN 20
	wait "${clients[@]}" || :
	takes "$U" '20 20' 20
	takes "$V" '20 20'
	[ "$(used "$U" messages)" -eq 20 ]
}

@test "a session that goes over is blocked, and so are its sisters, until it is unblocked" {
	local before
	export ENOUGH=$LAB/enough$BATS_TEST_NUMBER
	enforce 'limits = {"30 messages per 1h"}  action = block'
	start_as sister "$U" "$PYTHON" "$LAB/smtp_client.py" endless $PLAIN 10
	eventually has_taken "$U" 1
	[ "$(client "$U" honest $PLAIN 40)" -lt 30 ]
	eventually blocked "uid:$U"
	is_refused "$U" $PLAIN
	eventually grep -qE "TimeoutError|Connection(Aborted|Reset)Error" "$LAB/$BATS_TEST_NUMBER/sister" # it is cut
	eventually has_taken "$U" 29 # the sister's last may be cut between its 354 and its content
	[ "$(begun "$U")" -le 30 ]
	[ "$(client "$V" honest $PLAIN 30)" -eq 30 ]
	before=$(taken "$U" | cut -d ' ' -f 1)
	smtpwall unblock "uid:$U"
	[ "$(client "$U" honest $PLAIN 20)" -eq 20 ]
	eventually has_taken "$U" $((before + 20))
	[ "$(begun "$U")" -le 50 ]
}

# Sends by one connection, as a well-behaved client does, until it ends: "its port, how many, why, when"
queue_of_1000() {
	python3 - "$@" <<-'END'
		import socket, sys, time
		s = socket.create_connection((sys.argv[1], 25))
		port = s.getsockname()[1]
		replies = s.makefile("rb")
		def say(line, code):
		    s.sendall(line.encode() + b"\r\n")
		    while not (reply := replies.readline()).startswith(b"%d " % code):
		        if not reply:
		            raise EOFError
		sent = 0
		try:
		    replies.readline()
		    say("HELO box.example", 250)
		    for sent in range(1000):
		        say("MAIL FROM:<%s>" % sys.argv[2], 250)
		        say("RCPT TO:<r@world.example>", 250)
		        say("DATA", 354)
		        say("Subject: x\r\n\r\ny\r\n.", 250)
		except Exception as error:
		    print(port, sent, type(error).__name__, time.clock_gettime_ns(time.CLOCK_BOOTTIME))
	END
}

@test "one connection with 1000 messages queued is cut when its limit makes a block" {
	enforce 'limits = {"200 messages per 1h"}  action = block'
	for user in "$U" "$V" "$W"; do # the machine may stand still once, or twice
		queue_is_cut "$user"
		[ "$took_ns" -ge 500000000 ] || break
	done
	[ "$took_ns" -lt 500000000 ]
}
queue_is_cut() {
	local port sent why ended_ns since_ns
	read -r port sent why ended_ns <<<"$(as_user "$1" queue_of_1000 $PLAIN "$(sender "$1")")"
	[ "$sent $why" = '200 ConnectionAbortedError' ]
	since_ns=$(bpftool -j map dump pinned "$LAB/bpf/smtpwall/uid_blocks" | jq --argjson u "$1" \
		'.[].formatted | select(.key.uid == $u and .key.road == 0).value.since_ns')
	took_ns=$((ended_ns - since_ns))
	echo "# the session was cut $((took_ns / 1000)) us after the block" >&3
	eventually remote_has_not "$port"
	[ "$(taken "$1")" = '200 200' ]
}

remote_has_not() { [ -z "$(in_world ss -Htn "src $PLAIN and dport = :$1")" ]; }

@test "a session that a limit has stopped is cut when its sender is blocked" {
	export PATIENCE=60 # it stays
	enforce 'limits = {"3 messages per 1h"}'
	start_as stopped "$U" "$PYTHON" "$LAB/smtp_client.py" honest $PLAIN 5
	eventually refuses_more "$U"
	port=$(in_box ss -Htn state established "dst $PLAIN" | sed -E 's/.*:([0-9]+) +[^ ]+:25.*/\1/')
	! remote_has_not "$port" || false
	smtpwall block "uid:$U"
	eventually remote_has_not "$port"
}

@test "the remote learns of it when a refused session is cut" {
	export PATIENCE=60 # it stays
	enforce 'limits = {"3 messages per 1h"}'
	start_as cut "$U" "$PYTHON" "$LAB/smtp_client.py" honest $PLAIN 5
	eventually refuses_more "$U"
	[ "$(in_world ss -Htn state established "src $PLAIN" | wc -l)" -gt 0 ]
	in_box ss -K "dst $PLAIN" >"$LAB/cut"
	eventually remote_has_none
}
refuses_more() { [ "$(taken "$1")" = '3 3' ] && is_refused "$1" $PLAIN; }
remote_has_none() { [ "$(in_world ss -Htn "src $PLAIN and sport = :25" | grep -vc TIME-WAIT)" -eq 0 ]; }

@test "recipients: what the server took is charged, and the message of the one too many does not leave" {
	enforce 'limits = {"10 recipients per 1h"}'
	[ "$(client "$U" recipients $PLAIN 4)" -eq 1 ]
	# It is not over the limit for one recipient, so that connect() does not tell.
	[ "$(PATIENCE=5 client "$U" recipients $PLAIN 7)" -eq 0 ]
	takes "$U" '1 4' 1
	[ "$(client "$V" recipients $PLAIN 10)" -eq 1 ]
	is_refused "$V" $PLAIN
}

@test "rejects are limited, deferrals are no rejects" {
	enforce 'limits = {"3 rejects per 10m"}'
	client "$U" grey $PLAIN 20
	client "$U" unknown $PLAIN 3
	is_admitted "$U" $PLAIN
	client "$U" unknown $PLAIN 2 || :
	expect_counted "$U" '0 0 4 20'
	is_refused "$U" $PLAIN
	[ "$(client "$V" honest $PLAIN 1)" -eq 1 ]
}

@test "three destinations, as often as one likes, and no fourth" {
	enforce 'limits = {"3 destinations per 10m"}'
	for _ in 1 2 3; do
		for server in $PLAIN $SINK6 $POSTFIX; do
			is_admitted "$U" $server
		done
	done
	for server in $EXIM $EXIM6 $POSTFIX6; do
		is_refused "$U" $server
	done
	is_admitted "$U" $PLAIN
	is_admitted "$V" $EXIM
	[ "$(field "$U" destinations)" -eq 3 ]
}

@test "a share of rejects, as soon as enough was tried" {
	enforce 'limits = {"30% rejects per 1h of at least 10 messages"}'
	client "$U" honest $PLAIN 6
	client "$U" unknown $PLAIN 3
	is_admitted "$U" $PLAIN # 3 of 9: too few to tell
	client "$U" unknown $PLAIN 1 || :
	is_refused "$U" $PLAIN # 4 of 10
	client "$V" honest $PLAIN 20
	client "$V" unknown $PLAIN 8
	is_admitted "$V" $PLAIN # 8 of 28
	client "$V" unknown $PLAIN 1 || :
	is_refused "$V" $PLAIN # 9 of 29
	client "$W" unknown $PLAIN 20 || :
	expect_counted "$W" '0 0 10 0' # it never sent a message
}

@test "observing counts what would be refused, and changes nothing on the wire" {
	config 'mode = observe'
	enforce 'limits = {"5 messages per 1h", "3 rejects per 1h"}  action = block'
	export CLEAN=5 # or the client fails: each message would be held for a moment
	[ "$(client "$U" honest $PLAIN 20)" -eq 20 ]
	[ "$(client "$U" impatient $PLAIN 20)" -eq 20 ]
	client "$U" unknown $PLAIN 5
	takes "$U" '40 40'
	expect_counted "$U" '40 40 5 0'
	eventually is_told "uid:$U" would_refuse
}

@test "content that does not wait for the 354 waits here, and does not leave where it is one too many" {
	enforce 'limits = {"3 messages per 1h"}'
	[ "$(client "$U" impatient $PLAIN 5)" -eq 3 ]
	takes "$U" '3 3' 3
}

@test "what leaves before it can be known for too much is one burst, and all of it is counted" {
	enforce 'limits = {"3 messages per 1h"}'
	client "$U" pipelined $BULK 50 || : # 50 messages without waiting for one reply, in one packet
	takes "$U" '50 50'
	expect_counted "$U" '50 50 0 0'
	is_refused "$U" $PLAIN
	client "$V" behind_dot $PLAIN 50 || : # each content goes only when the one before was heard of
	echo "# with the next DATA behind each final dot 3 were allowed, $(taken "$V" | cut -d ' ' -f 1) taken" >&3
	[ "$(begun "$V")" -le 4 ]
	is_refused "$V" $PLAIN
}

@test "what the server refuses is not charged" {
	enforce 'limits = {"5 messages per 1h"}'
	client "$U" honest $REFUSE 10
	client "$U" honest $REFUSE 10 "grey$U@box.example"
	[ "$(used "$U" messages)" -eq 0 ]
	expect_counted "$U" '0 20 10 10'
	[ "$(client "$U" honest $PLAIN 5)" -eq 5 ]
	is_refused "$U" $PLAIN
}

@test "the roads are counted apart, and a limit is on direct unless it names others" {
	enforce 'limits = {"3 messages per 1h"}'
	[ "$(client "$U" honest 127.0.0.2 5)" -eq 5 ]
	[ "$(client "$U" honest $SINK=587 7)" -eq 7 ]
	[ "$(client "$U" honest $PLAIN 5)" -eq 3 ]
	expect_counted "$U" '5 5 0 0' relay
	expect_counted "$U" '7 7 0 0' submission
	expect_counted "$U" '3 4 0 0'
	enforce 'roads = {relay, submission}  limits = {"4 messages per 1h"}'
	[ "$(client "$V" honest 127.0.0.2 6)" -eq 4 ]
	[ "$(client "$V" honest $SINK=587 6)" -eq 4 ]
	[ "$(client "$V" honest $PLAIN 6)" -eq 6 ]
}

@test "who is exempt is counted, and neither held nor refused" {
	config 'mode = enforce' "exempt { users = {$U} }"
	enforce 'limits = {"3 messages per 1h", "3 recipients per 1h", "1 rejects per 1h", "1 destinations per 1h"}'
	[ "$(client "$U" honest $PLAIN 20)" -eq 20 ]
	[ "$(client "$U" impatient $PLAIN 5)" -eq 5 ]
	[ "$(client "$U" recipients $SINK 20)" -eq 1 ]
	client "$U" unknown $PLAIN 5
	is_admitted "$U" $EXIM
	expect_counted "$U" '26 45 5 0'
}
