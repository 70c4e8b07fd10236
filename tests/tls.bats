# SPDX-License-Identifier: GPL-2.0-or-later
# Inside TLS messages are estimated by rhythm: shown apart, and limited only where a policy says so.

# shellcheck disable=SC2030,SC2031 # each test is a subshell
load dialogue
load servers

setup_file() {
	lab_up && world_addresses && config 'mode = enforce' && daemon_starts && postfix_with_tls
}

# The servers' addresses, without the servers.
world_addresses() { in_world ip address show | grep -qF "$POSTFIX/" || in_world ip address add "$POSTFIX/32" dev lo; }

postfix_with_tls() {
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=postfix.example \
		-keyout "$LAB/key.pem" -out "$LAB/cert.pem" 2>/dev/null || return
	postfix_instance postfix-tls "
		inet_interfaces = $POSTFIX
		inet_protocols = ipv4
		mynetworks = 0.0.0.0/0
		default_transport = discard:
		smtpd_client_connection_rate_limit = 0
		smtpd_tls_security_level = may
		smtpd_tls_cert_file = $LAB/cert.pem
		smtpd_tls_key_file = $LAB/key.pem" || return
	cat >>"$LAB/postfix-tls/master.cf" <<-END
		465    inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
		tlsmgr unix - - n 1000? 1 tlsmgr
	END
	postfix_starts postfix-tls "$LAB_WORLD" "$LAB_WORLD_CGROUP"
	eventually listening "$LAB_WORLD" "src $POSTFIX and sport = :465"
}

has_accepted() { [ "$(accepted)" = "$1" ]; }
accepted() { grep -c ': client=' "$LAB/postfix-tls/log"; } # messages that Postfix took, of all
# is_estimated UID N [ROAD]: as N at least
is_estimated() { [ "$(estimated "$1" "${3-}")" -ge "$2" ]; }
estimated() { ledger uid:"$1" "${2:-direct}.messages_tls_estimated"; }

# many UID PORT N: N messages in one session, by Python's smtplib; gives up after PATIENCE seconds
many() {
	as_user "$1" /usr/bin/python3 - "$POSTFIX" "$2" "$3" "${PATIENCE:-60}" <<-'END'
		import smtplib, ssl, sys
		host, port, n, patience = sys.argv[1], *map(int, sys.argv[2:])
		trusting = ssl._create_unverified_context()
		if port == 465:
		    mail = smtplib.SMTP_SSL(host, port, "box.example", context=trusting, timeout=patience)
		else:
		    mail = smtplib.SMTP(host, port, "box.example", timeout=patience)
		    mail.starttls(context=trusting)
		try:
		    for i in range(n):
		        mail.sendmail("a@box.example", ["b@world.example", "c@world.example"], "Subject: %d\r\n\r\n%s\r\n" % (i, "text " * 200))
		    mail.quit()
		except (smtplib.SMTPServerDisconnected, OSError):
		    sys.exit(1)
	END
}

@test "sessions of 20 messages after STARTTLS and on port 465 are estimated within a tenth" {
	many "$U" 25 20
	many "$V" 465 20
	eventually has_accepted 40
	eventually is_estimated "$U" 18
	eventually is_estimated "$V" 18 submission
	echo "# of 20 messages: after STARTTLS $(estimated "$U"), on port 465 $(estimated "$V" submission)" >&3
	[ "$(estimated "$U")" -ge 18 ] && [ "$(estimated "$U")" -le 22 ]
	[ "$(estimated "$V" submission)" -ge 18 ] && [ "$(estimated "$V" submission)" -le 22 ]
	[ "$(ledger uid:"$U" direct.messages)" = 0 ]
}

@test "one message is never counted as none: swaks, curl, msmtp" {
	as_user "$U" swaks --tls --server "$POSTFIX" --from a@box.example --to b@world.example >/dev/null
	eventually is_estimated "$U" 1
	printf 'Subject: x\r\n\r\nx\r\n' >"$LAB/mail" && chmod 0644 "$LAB/mail"
	as_user "$V" curl -sk --ssl-reqd --mail-from a@box.example --mail-rcpt b@world.example \
		-T "$LAB/mail" "smtp://$POSTFIX/box.example"
	eventually is_estimated "$V" 1
	as_user "$W" msmtp --host="$POSTFIX" --from=a@box.example --tls=on --tls-certcheck=off \
		--domain=box.example b@world.example <"$LAB/mail"
	eventually is_estimated "$W" 1
}

@test "estimates warn, and refuse only where a policy says count_tls_estimate = true" {
	enforce 'warn = {"2 messages per 1h"} limits = {"5 messages per 1h"}'
	many "$U" 25 10
	eventually is_told uid:"$U" warn
	[ "$(ledger uid:"$U" direct.refused)" = 0 ]
	enforce 'limits = {"5 messages per 1h"} count_tls_estimate = true'
	PATIENCE=5 run many "$V" 25 10
	[ "$status" = 1 ]
	is_refused "$V" "$POSTFIX"
}
