# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Real mail servers in the world, and what their own logs say of a sender: over dialogue.bash.
#
#	smtp-sink	203.0.113.1, 2001:db8:2::1, ports 25 and 587
#	Postfix		203.0.113.2, 2001:db8:2::2: its log is $LAB/postfix-world/log
#	Exim		203.0.113.3, 2001:db8:2::3: its log is $LAB/exim-world/main
#
# Postfix and Exim refuse the recipient "no", defer "grey", refuse senders "nodata..." at DATA and a
# subject with "spam" at the final dot.

SINK=203.0.113.1 SINK6=2001:db8:2::1
POSTFIX=203.0.113.2 POSTFIX6=2001:db8:2::2
EXIM=203.0.113.3 EXIM6=2001:db8:2::3
EXIM_UID=29999

servers_up() { sinks && postfix_world && exim_world; }

# sink_into NETNS ADDRESS PORT: keeps each message in a file, in a directory of its own, for two of
# them in one take each other's names
sink_into() {
	local directory=$LAB/sink/$2-$3 address=$2
	[[ $address != *:* ]] || address=[$address]
	mkdir -p "$LAB/sink" && install -d -o nobody "$directory" || return
	lab_start sink.log "$1" "$LAB_WORLD_CGROUP" \
		smtp-sink -u nobody -d "$directory/." "inet:$address:$3" 256
	disown $!
	eventually listening "$1" "src $address and sport = :$3"
}

sinks() {
	local port
	for port in 25 587; do
		sink_into "$LAB_WORLD" $SINK $port && sink_into "$LAB_WORLD" $SINK6 $port || return
	done
}

# ---- Postfix ----

# postfix_instance NAME LINES: a Postfix of our own in $LAB/NAME
postfix_instance() {
	local directory=$LAB/$1 queue
	mkdir -p "$directory/queue/pid" && install -d -o postfix "$directory/data" || return
	for queue in active bounce corrupt defer deferred flush hold incoming private saved trace; do
		install -d -o postfix -m 0700 "$directory/queue/$queue" || return
	done
	install -d -o postfix -g postdrop -m 0730 "$directory/queue/maildrop" &&
		install -d -o postfix -g postdrop -m 0710 "$directory/queue/public" || return
	cat >"$directory/main.cf" <<-END
		compatibility_level = 3.6
		queue_directory = $directory/queue
		data_directory = $directory/data
		maillog_file = $directory/log
		maillog_file_prefixes = $LAB
		myhostname = ${1#postfix-}.example
		mydestination =
		alias_maps =
		local_recipient_maps =
		local_transport = discard:
		${2//$'\n\t\t'/$'\n'}
	END
	cat >"$directory/master.cf" <<-END
		smtp      inet  n - n - - smtpd
		pickup    unix  n - n 60 1 pickup
		cleanup   unix  n - n - 0 cleanup
		qmgr      unix  n - n 300 1 qmgr
		rewrite   unix  - - n - - trivial-rewrite
		bounce    unix  - - n - 0 bounce
		defer     unix  - - n - 0 bounce
		trace     unix  - - n - 0 bounce
		verify    unix  - - n - 1 verify
		proxymap  unix  - - n - - proxymap
		smtp      unix  - - n - - smtp
		error     unix  - - n - - error
		retry     unix  - - n - - error
		discard   unix  - - n - - discard
		anvil     unix  - - n - 1 anvil
		scache    unix  - - n - 1 scache
		showq     unix  n - n - - showq
		postlog   unix-dgram n - n - 1 postlogd
	END
}

# postfix_starts NAME NETNS CGROUP: without `postfix start`, which looks at everything first
postfix_starts() {
	local directory=$LAB/$1
	shift
	lab_start postfix.log "$@" "$(postconf -c "$directory" -h daemon_directory)/master" \
		-c "$directory" -d
	disown $!
}

postfix_world() {
	postfix_instance postfix-world "
		inet_interfaces = $POSTFIX, [$POSTFIX6]
		mynetworks = 0.0.0.0/0 [::]/0
		default_transport = discard:
		smtpd_client_connection_rate_limit = 0
		smtpd_recipient_restrictions = check_recipient_access
			regexp:$LAB/postfix-world/recipients, permit
		smtpd_data_restrictions = check_sender_access regexp:$LAB/postfix-world/senders
		header_checks = regexp:$LAB/postfix-world/headers" || return
	printf '/^no@/ REJECT nobody\n/^grey@/ 450 4.2.0 later\n' >"$LAB/postfix-world/recipients"
	echo '/^nodata/ REJECT not you' >"$LAB/postfix-world/senders"
	echo '/^Subject:.*spam/ REJECT no spam' >"$LAB/postfix-world/headers"
	postfix_starts postfix-world "$LAB_WORLD" "$LAB_WORLD_CGROUP" || return
	eventually listening "$LAB_WORLD" "src $POSTFIX and sport = :25" &&
		eventually listening "$LAB_WORLD" "src [$POSTFIX6] and sport = :25"
}

# ---- Exim ----

# Debian's Exim excludes Postfix: tools/setup unpacks it for us, and its user is in no passwd.
exim_program() {
	command -v exim4 || command -v exim || echo "$LAB_TREE/build/exim4-daemon-light/usr/sbin/exim4"
}

# exim_instance NAME LINES: its configuration is $LAB/NAME/conf
exim_instance() {
	install -d -o $EXIM_UID -g $EXIM_UID "$LAB/$1" "$LAB/$1/spool" || return
	{ cat /etc/passwd && echo "Debian-exim:x:$EXIM_UID:$EXIM_UID::/:/bin/false"; } >"$LAB/passwd"
	{ cat /etc/group && echo "Debian-exim:x:$EXIM_UID:"; } >"$LAB/group"
	cat >"$LAB/$1/conf" <<-END
		primary_hostname = ${1#exim-}.example
		exim_path = $(exim_program)
		exim_user = $EXIM_UID
		exim_group = $EXIM_UID
		never_users =
		spool_directory = $LAB/$1/spool
		log_file_path = $LAB/$1/%s
		log_selector = +received_recipients
		keep_environment =
		tls_advertise_hosts =
		$2
	END
}

# exim_as IN NAME ARGUMENT…: IN is in_box or in_world
exim_as() {
	local in=$1 name=$2
	shift 2
	# shellcheck disable=SC2016 # for the inner shell
	"$in" unshare --mount bash -c '
		mount --bind "$1/passwd" /etc/passwd && mount --bind "$1/group" /etc/group || exit
		shift
		exec "$@"' - "$LAB" "$(exim_program)" -C "$LAB/$name/conf" "$@"
}

exim_world() {
	exim_instance exim-world "
		local_interfaces = <; $EXIM ; $EXIM6
		daemon_smtp_ports = 25
		allow_domain_literals = true
		smtp_accept_max = 100
		smtp_accept_queue_per_connection = 0
		chunking_advertise_hosts = *
		acl_smtp_rcpt = rcpt
		acl_smtp_predata = predata
		acl_smtp_data = data
		begin acl
		rcpt:
		  deny local_parts = no
		  defer local_parts = grey
		  accept
		predata:
		  deny senders = ^nodata
		       log_message = F=<\$sender_address>
		  accept
		data:
		  deny condition = \${if match{\$h_subject:}{spam}}
		  accept
		begin routers
		nowhere:
		  driver = redirect
		  data = :blackhole:" || return
	exim_as in_world exim-world -bd </dev/null >"$LAB/exim.log" 2>&1 3>&- 4>&- &&
		eventually listening "$LAB_WORLD" "src $EXIM and sport = :25" &&
		eventually listening "$LAB_WORLD" "src [$EXIM6] and sport = :25"
}

# ---- what they logged of SENDER: "MESSAGES RECIPIENTS" ----

logged_sink() {
	local files
	files=$(grep -rlE "^X-Mail-Args: <$1>" "$LAB/sink")
	[ -n "$files" ] || { echo 0 0; return; }
	# shellcheck disable=SC2086 # a list of files
	echo "$(wc -w <<<"$files") $(cat $files | grep -c '^X-Rcpt-Args:')"
}

logged_postfix() {
	sed -n "s/.*qmgr.* from=<$1>,.* nrcpt=\([0-9]*\) (queue active)/\1/p" "$LAB/postfix-world/log" |
		awk '{ r += $1 } END { print NR, r + 0 }'
}

logged_exim() {
	sed -n "s/.* <= $1 .* for //p" "$LAB/exim-world/main" | awk '{ r += NF } END { print NR, r + 0 }'
}

# logged SENDER: by all of them
logged() {
	{ logged_sink "$1"; logged_postfix "$1"; logged_exim "$1"; } |
		awk '{ m += $1; r += $2 } END { print m, r }'
}

# ---- and refused: "REJECTS DEFERRALS" ----

refusals_postfix() {
	grep -E "reject: .*from=<$1>" "$LAB/postfix-world/log" |
		awk '/: 4[0-9][0-9] 4\./ { d++; next } { r++ } END { print r + 0, d + 0 }'
}

refusals_exim() {
	grep -E "F=<$1> (temporarily )?rejected|rejected DATA: F=<$1>" "$LAB/exim-world/main" |
		awk '/ temporarily / { d++; next } { r++ } END { print r + 0, d + 0 }'
}

refusals() {
	{ refusals_postfix "$1"; refusals_exim "$1"; } | awk '{ r += $1; d += $2 } END { print r, d }'
}
