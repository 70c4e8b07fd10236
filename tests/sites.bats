# SPDX-License-Identifier: GPL-2.0-or-later
# Policies about folders: which are sites, as they come and go, and what is judged by its folder.

load helpers

# Below the lab's directory, which the tests may fill; a test's user may enter all of it.
setup() {
	new_test
	WWW=$LAB/$BATS_TEST_NUMBER/www HOMES=$LAB/$BATS_TEST_NUMBER/home
	mkdir -p "$WWW" "$HOMES"
}

teardown() {
	umount -l "$LAB"/overlay/www "$LAB"/overlay "$WWW" 2>/dev/null || :
}

# site FOLDER…: made, with a folder in it
site() { mkdir -p "${@/%//wp-content/mail}"; }

# at FOLDER UID [OPTION…] ADDRESS: knocks with that as its working directory
at() (cd "$1" && as_user "$2" "$LAB/bin/knock" "${@:3}")
at_is_refused() { expect 'admitted 0 refused 1' at "$1" "$U" "$WORLD" 2>/dev/null; }

known() { smtpwall -j status | jq ".$1"; }
knows() { [ "$(known "$1")" -eq "$2" ]; }

# roots GLOB… are the sites
roots() { config 'mode = enforce' "site_roots = {$(printf '"%s",' "$@")}"; }

@test "each site of one user is judged by itself, with all that is below it" {
	site "$WWW"/{one,two}
	roots "$WWW/*"
	enforce 'subject = dir  limits = {"3 connections per 1h"}'
	expect 'admitted 2 refused 0' at "$WWW/one/wp-content/mail" "$U" -n 2 "$WORLD"
	expect 'admitted 1 refused 1' at "$WWW/one" "$U" -n 2 "$WORLD"
	mkdir "$WWW/one/fresh"
	at_is_refused "$WWW/one/fresh"
	expect 'admitted 3 refused 1' at "$WWW/two/wp-content" "$U" -n 4 "$WORLD"
	[ "$(ledger "dir:$WWW/one" direct.connections) $(ledger "dir:$WWW/one" direct.refused)" = '3 2' ]
}

@test "a destination is new to each site, and once to their user" {
	site "$WWW"/{one,two}
	roots "$WWW/*"
	reload
	for site in one two one/wp-content; do
		expect 'admitted 2 refused 0' at "$WWW/$site" "$U" -n 2 "$WORLD"
	done
	for subject in "dir:$WWW/one" "dir:$WWW/two" uid:$U; do
		[ "$(ledger "$subject" direct.destinations)" = 1 ]
	done
}

@test "a site's limit and its user's hold both, and each is charged once" {
	site "$WWW"/{one,two}
	roots "$WWW/*"
	policy sites 'subject = dir  limits = {"3 connections per 1h"}'
	policy users "users = {$U}  limits = {\"5 connections per 1h\"}"
	reload
	expect 'admitted 3 refused 2' at "$WWW/one" "$U" -n 5 "$WORLD"
	expect 'admitted 2 refused 1' at "$WWW/two" "$U" -n 3 "$WORLD"
	expect 'admitted 1 refused 0' at "$WWW/two" "$V" "$WORLD"
	at_is_refused "$WWW/two"
}

# The machine may stand still for more than that; hardly three times in a row.
is_soon_known() {
	local start took
	start=${EPOCHREALTIME/./}
	site "$1"
	eventually at_is_refused "$1/wp-content"
	took=$(((${EPOCHREALTIME/./} - start) / 1000))
	echo "# known after $took ms" >&3
	[ "$took" -lt 1500 ] # a knock takes some of it
}

@test "a new site is known within a second" {
	local n
	site "$WWW/one"
	roots "$WWW/*" "$HOMES/*/public_html"
	policy sites "dirs = {\"$WWW/new*\", \"$HOMES/*/public_html\"}"
	reload
	knows sites 1
	expect 'admitted 1 refused 0' at "$WWW/one" "$U" "$WORLD"
	is_soon_known "$WWW/new" || is_soon_known "$WWW/new2" || is_soon_known "$WWW/new3"
	n=$(known sites)
	mkdir -p "$HOMES/alice"
	sleep 0.1
	mkdir "$HOMES/alice/public_html"
	eventually at_is_refused "$HOMES/alice/public_html"
	eventually knows sites $((n + 1))
	rm -r "$WWW/new"
	eventually knows sites "$n"
}

@test "a policy names folders by globs, for all that is below them" {
	site "$WWW"/{one,two}
	mkdir -p "$WWW"/{one,two}/uploads/deep
	roots "$WWW/*"
	enforce "dirs = {\"$WWW/*/uploads\"}"
	at_is_refused "$WWW/one/uploads/deep"
	at_is_refused "$WWW/two/uploads"
	expect 'admitted 1 refused 0' at "$WWW/one" "$U" "$WORLD"
	expect 'admitted 1 refused 0' at "$WWW/two/wp-content" "$U" "$WORLD"
	enforce "dirs = {\"$WWW/one\"}"
	at_is_refused "$WWW/one/uploads"
	at_is_refused "$WWW/one/wp-content/mail"
	expect 'admitted 1 refused 0' at "$WWW/two/uploads" "$U" "$WORLD"
}

@test "a folder that is moved stays the site it was, and one made anew is another" {
	site "$WWW/one"
	roots "$WWW/*"
	enforce 'subject = dir  limits = {"2 connections per 1h"}'
	expect 'admitted 2 refused 1' at "$WWW/one" "$U" -n 3 "$WORLD"
	mv "$WWW/one" "$WWW/renamed"
	at_is_refused "$WWW/renamed/wp-content"
	site "$WWW/one"
	expect 'admitted 2 refused 1' at "$WWW/one" "$U" -n 3 "$WORLD"
}

@test "a site that is removed and made again starts at nothing, though it gets the same inode number" {
	own_disk "$WWW"
	site "$WWW/one"
	roots "$WWW/*"
	enforce 'subject = dir  limits = {"2 connections per 1h"}'
	expect 'admitted 2 refused 1' at "$WWW/one/wp-content" "$U" -n 3 "$WORLD"
	made_anew "$WWW/one"
	site "$WWW/one"
	expect 'admitted 1 refused 0' at "$WWW/one" "$U" "$WORLD"
	eventually is_judged_as "$WWW/one" "$WWW/one/wp-content"
	expect 'admitted 1 refused 1' at "$WWW/one/wp-content/mail" "$U" -n 2 "$WORLD"
	[ "$(ledger "dir:$WWW/one" direct.connections) $(ledger "dir:$WWW/one" direct.refused)" = '2 1' ]
}
is_judged_as() { smtpwall show "dir:$2" 2>&1 | grep -qF "a part of 'dir:$1'"; }

@test "a link of root's leads to the site, a user's to nowhere" {
	mkdir -p "$LAB/$BATS_TEST_NUMBER/srv"
	site "$LAB/$BATS_TEST_NUMBER"/srv/{one,two} "$HOMES/alice"
	chown "$U" "$HOMES/alice"
	ln -s ../srv/one "$WWW/one"
	ln -s "$LAB/$BATS_TEST_NUMBER/srv/two" "$HOMES/alice/public_html"
	roots "$WWW/*" "$HOMES/*/public_html"
	enforce "dirs = {\"$WWW/*\", \"$HOMES/*/public_html\"}"
	knows sites 1
	at_is_refused "$LAB/$BATS_TEST_NUMBER/srv/one/wp-content"
	at_is_refused "$WWW/one"
	expect 'admitted 1 refused 0' at "$HOMES/alice/public_html" "$U" "$WORLD"
}

@test "a bind mount of a site is the site" {
	site "$WWW/one"
	mkdir "$LAB/$BATS_TEST_NUMBER/elsewhere"
	roots "$WWW/*"
	enforce 'subject = dir  limits = {"2 connections per 1h"}'
	expect 'admitted 2 refused 0' at "$WWW/one" "$U" -n 2 "$WORLD"
	# shellcheck disable=SC2016 # for the inner shell
	expect 'admitted 0 refused 1' in_box unshare --mount sh -c \
		'mount --bind "$1" "$2" && cd "$2/wp-content" && exec setpriv --reuid "$3" --clear-groups "$4" "$5"' \
		- "$WWW/one" "$LAB/$BATS_TEST_NUMBER/elsewhere" "$U" "$LAB/bin/knock" "$WORLD"
}

@test "a site on an overlay filesystem is known by what the kernel calls it" {
	local o=$LAB/overlay
	mkdir -p "$o" && mount -t tmpfs tmpfs "$o"
	mkdir -p "$o"/{lower/one/deep,upper,work,www}
	mount -t overlay -o "lowerdir=$o/lower,upperdir=$o/upper,workdir=$o/work" overlay "$o/www"
	roots "$o/www/*"
	enforce 'subject = dir  limits = {"2 connections per 1h"}'
	expect 'admitted 1 refused 0' at "$o/www/one/deep" "$U" "$WORLD"
	expect 'admitted 1 refused 1' at "$o/www/one" "$U" -n 2 "$WORLD"
	[ "$(ledger "dir:$o/www/one" direct.refused)" = 1 ]
}

@test "sites outlive a restart of the daemon, and what they have used" {
	site "$WWW"/{one,two}
	roots "$WWW/*"
	enforce 'subject = dir  limits = {"2 connections per 1h"}'
	expect 'admitted 1 refused 0' at "$WWW/one" "$U" "$WORLD"
	daemon_dies
	expect 'admitted 1 refused 1' at "$WWW/one/wp-content" "$U" -n 2 "$WORLD"
	daemon_starts
	at_is_refused "$WWW/one/wp-content"
	expect 'admitted 2 refused 1' at "$WWW/two/wp-content" "$U" -n 3 "$WORLD"
}

@test "a thousand sites are there when the rules are" {
	local i
	for i in {1..1000}; do echo "$WWW/$i/deep"; done | xargs mkdir -p
	roots "$WWW/*"
	enforce 'subject = dir  limits = {"1 connections per 1h"}'
	knows sites 1000
	for i in 1 500 1000; do
		expect 'admitted 1 refused 1' at "$WWW/$i/deep" "$U" -n 2 "$WORLD"
	done
}

@test "to block a folder is warned of, with its line" {
	policy hard 'subject = dir  action = block  limits = {"1 connections per 1h"}'
	run smtpwall check-config
	[ "$status" -eq 0 ]
	[[ $output == *"10-hard.conf:1: "*'write `action = deny`'* ]]
}
