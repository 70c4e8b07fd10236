# SPDX-License-Identifier: GPL-2.0-or-later
# Which site and which script: PHP as it is really run, from the distribution's packages.

# shellcheck disable=SC2086 # users are numbers

load helpers
load web

setup_file() { lab_up && sink && configured && daemon_starts && web_up; }
configured() { config 'mode = enforce' "site_roots = {\"$LAB/www/*\"}"; }

setup() {
	new_test && configured && reload || return
	local site
	for site in "${WEB_SITES[@]}"; do rm -f "$(web_folder $site)/hold"; done
}

# Held scripts would outlive their test.
teardown() { rm -f "$LAB"/www/*/public/deep/down/hold; }

dir_of() { echo "dir:$LAB/www/$1"; }

# newest SUBJECT FILTER: of its latest evidence
newest() { smtpwall -j show "$1" | jq -r ".evidence[0]$2"; }
newest_is() { smtpwall -j show "$1" | jq -e ".evidence[0] | $2" >/dev/null; }

# sends SITE PAGE and does_not
sends() { [ "$(get "$1" "deep/down/$2.php")" = sent ]; }
does_not() { [[ $(get "$1" "deep/down/$2.php") == *'not sent'* ]]; }

# A site's own folder answers for what it sends from folders below it, whoever runs the script.
named() { # SITE UID
	local page
	for page in fsock mailer; do
		sends $1 $page || return
		[ "$(newest "$(dir_of $1)" .cwd)" = "$(web_folder $1)" ] || return
		[ "$(newest "$(dir_of $1)" .dir)" = "$LAB/www/$1" ] || return
		newest_is "$(dir_of $1)" ".uid == $2 and .verdict == \"admitted\" and .port == 25" ||
			return
		eventually newest_is "$(dir_of $1)" ".mail_from | test(\"$page@example.org\")"
	done
	[ "$(ledger "$(dir_of $1)" direct.connections)" -ge 2 ] &&
		[ "$(ledger "$(dir_of $1)" direct.messages)" -ge 2 ]
}

@test "mod_php: both sites of one uid are told apart, by their folders" {
	named shop $WEB_UID
	named blog $WEB_UID
	[[ $(newest "$(dir_of shop)" .exe) == */sbin/* ]]
}

@test "php-fpm: each pool's site, and its user" {
	named gold $GOLD_UID
	named silver $SILVER_UID
	[[ $(newest "$(dir_of gold)" '.argv[0]') == 'php-fpm: pool gold'* ]]
	newest_is uid:$GOLD_UID ".dir == \"$LAB/www/gold\""
}

@test "php-cgi: the site, and the script by its environment while it runs" {
	named old $WEB_UID
	touch "$(web_folder old)/hold"
	get old deep/down/fsock.php >"$LAB/$BATS_TEST_NUMBER/answer" &
	eventually newest_is "$(dir_of old)" ".script == \"$(web_folder old)/fsock.php\"
		and (.added_by_daemon | index(\"script\"))"
	newest_is "$(dir_of old)" 'any(.parents[]; .comm | test("apache2|httpd"))'
	rm "$(web_folder old)/hold"
	wait $!
	[ "$(cat "$LAB/$BATS_TEST_NUMBER/answer")" = sent ]
	# It is known when the process is gone.
	newest_is "$(dir_of old)" ".script == \"$(web_folder old)/fsock.php\""
}

@test "php from cron: the folder it was called in, and the script by its arguments" {
	folder=$(web_folder shop)
	as_user $U sh -c "cd / && php $folder/fsock.php" | grep -qx sent
	newest_is uid:$U ".cwd == \"/\" and .script == \"$folder/fsock.php\""

	as_user $U sh -c "cd $folder && php -d memory_limit=64M fsock.php" | grep -qx sent
	newest_is uid:$U ".cwd == \"$folder\" and .script == \"$folder/fsock.php\""
	newest_is "$(dir_of shop)" ".uid == $U and .argv == [\"php\", \"-d\", \"memory_limit=64M\", \"fsock.php\"]"
}

@test "who names the script that is known, and does not call it a guess" {
	folder=$LAB/$BATS_TEST_NUMBER/cron
	mkdir -p "$folder" && web_scripts "$folder"
	as_user $U php "$folder/fsock.php" | grep -qx sent
	names_script "$folder/fsock.php" # by the map, at once
	eventually is_kept "$folder/fsock.php"
	names_script "$folder/fsock.php"
	smtpwall who | grep "^$folder/fsock.php " | grep -vq perhaps
}
is_kept() {
	[ "$(sqlite3 "$LAB/state/smtpwall.db" "SELECT count(*) FROM evidence WHERE script = '$1'")" = 1 ]
}
names_script() {
	smtpwall -j who -n 100 | jq -e --arg s "$1" \
		'.top.script[] | select(.subject == $s) | .count == 1 and .guessed == false'
}

@test "of a worker that tells nothing the scripts that could have done it are named" {
	sends gold mailer
	eventually newest_is "$(dir_of gold)" '.candidates | length > 0'
	newest_is "$(dir_of gold)" ".candidates | any(.path == \"$(web_folder gold)/lib/class.smtp.php\"
		and (.calls | index(\"stream_socket_client\")))"
	newest_is "$(dir_of gold)" ".candidates | any(.path == \"$(web_folder gold)/fsock.php\")"
}

@test "a blocked folder sends no more, its neighbour under the same uid does" {
	sends shop fsock && sends blog fsock
	smtpwall block "$(dir_of shop)" --reason 'hacked plugin'
	does_not shop fsock
	does_not shop mailer
	sends blog fsock
	sends blog mailer
	newest_is "$(dir_of shop)" '.verdict == "refused"'
	[ "$(newest "$(dir_of blog)" .verdict)" = admitted ]
	smtpwall -j who | jq -e --arg s "$(dir_of shop)" '.top.dir[] | select(.subject == $s).blocked'
	smtpwall unblock "$(dir_of shop)"
	sends shop fsock
}

@test "a limit for each site: one goes over, the other is not touched" {
	enforce "users = {\"$(id -un $WEB_UID)\"}  subject = dir  limits = {\"2 connections per 1h\"}"
	sends shop fsock && sends shop mailer
	does_not shop fsock
	sends blog fsock && sends blog mailer
	newest_is "$(dir_of shop)" '.verdict == "refused" and (.why | index("over_the_limit"))'
	eventually is_told "$(dir_of shop)" refuse
}

@test "who: users, folders, scripts, units and destinations of the last hour" {
	sends silver fsock && sends silver fsock && sends silver mailer
	eventually names_silver
	smtpwall who | grep -q "^dir:$LAB/www/silver "
	smtpwall who --since 1s | grep -q 'attempts'
}
names_silver() {
	smtpwall -j who | jq -e --arg dir "$(dir_of silver)" --arg uid uid:$SILVER_UID \
		--arg script "$(web_folder silver)/" --arg world "$WORLD" '
		.schema == 1 and .since != null and
		any(.top.uid[]; .subject == $uid and .count >= 3 and .percent > 0) and
		any(.top.dir[]; .subject == $dir and .count >= 3 and .blocked == false) and
		any(.top.script[]; .guessed and (.subject | startswith($script))) and
		any(.top.unit[]; .subject | startswith("unit:/")) and
		any(.top.destination[]; .subject == $world and .blocked == null)' >/dev/null
}
