# SPDX-License-Identifier: GPL-2.0-or-later
# Who did it is known of a process that hides, and telling it harms nobody.

# shellcheck disable=SC2086 # users are numbers

load helpers

setup() {
	new_test
	F=$LAB/$BATS_TEST_NUMBER
	chmod 1777 "$F"
}

# newest SUBJECT FILTER: of its latest evidence
newest() { smtpwall -j show "$1" | jq -r ".evidence[0]$2"; }
newest_is() {
	smtpwall -j show "$1" >"$F/shown" && jq -e ".evidence[0] | $2" "$F/shown" >/dev/null
}

# own NAME: a copy of the client, which its user may do with as he likes
own() { install -o $U "$LAB_TREE/build/clients/shady" "$F/$1" && echo "$F/$1"; }

in_folder() { cd "$1" && shift && exec "$@"; } # FOLDER COMMAND…
shady() { as_user $U in_folder "$F" "$LAB/bin/shady" "$@"; }

# stays FOLDER [OPTION…]: sends from there and stays, as $!, until it is killed or the test is over
stays() {
	# shellcheck disable=SC2016 # for the inner shell
	start_as stays $U bash -c 'cd "$1" && exec "${@:2}"' - "$1" "$LAB/bin/shady" "${@:2}" \
		-w 20000 "$WORLD"
}

# harmless COMMAND…: nothing of what it prints moves a cursor or turns the writing
harmless() {
	local told=$F/told
	"$@" >"$told" || return
	! LC_ALL=C grep -qP '[\x00-\x08\x0b-\x1f\x7f]' "$told" || { cat -v "$told"; return 1; }
	! LC_ALL=C grep -qP '\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xaf]' "$told"
}

@test "of a process that exits at once all is known" {
	shady "$WORLD" 25 | grep -qx admitted
	newest_is uid:$U ".uid == $U and .gid == $U and .pid > 0 and .ppid > 0
		and .comm == \"shady\" and .exe == \"$LAB/bin/shady\" and .cwd == \"$F\"
		and .argv == [\"$LAB/bin/shady\", \"$WORLD\", \"25\"]
		and .destination == \"$WORLD\" and .port == 25 and .road == \"direct\"
		and .verdict == \"admitted\" and .truncated == [] and .deleted == []
		and (.unit | startswith(\"/swl-\")) and (.time | startswith(\"20\"))"
	smtpwall show uid:$U | grep -q "    in $F\$"
}

@test "who is refused leaves evidence too, and what went over the limit is marked" {
	enforce "users = {$U}  limits = {\"2 connections per 1h\"}  action = block  block_for = 1h"
	shady "$WORLD" && shady "$WORLD"
	shady "$WORLD" | grep -qx refused
	newest_is uid:$U '.verdict == "refused" and (.why | index("over_the_limit"))'
	smtpwall -j show uid:$U | jq -e '.evidence | any(.why | index("first_of_window"))'
}

# why SUBJECT: how many of its evidence went over, and how many were first
why() {
	smtpwall -j show "$1" | jq -r '[.evidence[].why] |
		"\(map(select(index("over_the_limit"))) | length) \(map(select(index("first_of_window"))) | length)"'
}

@test "the first of its window stays what it is while others are refused, and there is none without a limit" {
	shady "$WORLD" && shady "$WORLD"
	[ "$(why uid:$U)" = '0 0' ]
	enforce "users = {$U}  limits = {\"2 connections per 1h\"}  action = block  block_for = 1h"
	shady "$WORLD" 25 the first one
	repeat 10 shady "$WORLD" >/dev/null
	[ "$(why uid:$U)" = '1 1' ]
	smtpwall -j show uid:$U | jq -e \
		'.evidence[] | select(.why | index("first_of_window")) | .argv[3:] == ["the", "first", "one"]'
}

@test "each subject that is judged keeps what was first, and what went over" {
	mkdir -m 0777 "$F"/{one,two}
	no_policies
	policy folders 'subject = dir  limits = {"2 connections per 1h"}'
	policy users "users = {$U}  limits = {\"100 connections per 1h\"}"
	reload
	for folder in one two; do
		as_user $U in_folder "$F/$folder" "$LAB/bin/shady" "$WORLD" 25 first
		repeat 2 as_user $U in_folder "$F/$folder" "$LAB/bin/shady" "$WORLD" >/dev/null
	done
	knock $U -n 20 "$WORLD" # now the last ones are none of theirs
	for folder in one two; do
		[ "$(why "dir:$F/$folder")" = '1 1' ]
		smtpwall -j show "dir:$F/$folder" | jq -e --arg cwd "$F/$folder" '.evidence |
			all(.[]; .cwd == $cwd) and any(.[]; .argv[3] == "first" and (.why | index("first_of_window")))'
	done
	# Each attempt is counted once, whoever keeps it.
	eventually counts uid:$U 26
	daemon_dies
	[ "$(counted uid:$U)" = 26 ]
	daemon_starts
}

@test "of many sessions at once the one that goes over is known, though others came after it" {
	enforce "users = {$U}  limits = {\"1 messages per 1h\"}"
	for i in {1..12}; do session talk$i $U; done
	for i in 1 2; do
		say talk$i 'HELO x' && eventually heard talk$i 250 1
		say talk$i 'MAIL FROM:<a@b.example>' && eventually heard talk$i 250 2
		say talk$i 'RCPT TO:<c@d.example>' && eventually heard talk$i 250 3
		say talk$i DATA
	done
	eventually heard talk1 354 1
	over() {
		smtpwall -j show uid:$U | jq -e --argjson uid $U '.evidence[] |
			select(.why | index("over_the_limit")) |
			.verdict == "refused" and .uid == $uid and .pid > 0 and .comm == "bash"
			and .exe == null and .destination == "'"$WORLD"'" and .port == 25'
	}
	eventually over
	kept_over() { [ "$(sqlite3 "$LAB/state/smtpwall.db" "SELECT count(*) FROM evidence WHERE uid = $U AND why & 4")" = 1 ]; }
	eventually kept_over
	smtpwall show uid:$U | grep -q 'refused: .* (it went over the limit)'
	[ "$(counted uid:$U)" = 12 ]
}

@test "an executable that is removed has its name" {
	program=$(own gone)
	as_user $U in_folder "$F" "$program" -u "$WORLD" | grep -qx admitted
	[ ! -e "$program" ]
	newest_is uid:$U "(.exe | startswith(\"$program\")) and .deleted == [\"exe\"]"
	smtpwall show uid:$U | grep -q "$program (removed)"
}

@test "a working directory that is removed has its name" {
	install -d -o $U "$F/short-lived"
	chmod 0777 "$F"
	as_user $U bash -c "cd $F/short-lived && rmdir $F/short-lived && exec $LAB/bin/shady $WORLD"
	newest_is uid:$U "(.cwd | startswith(\"$F/short-lived\")) and .deleted == [\"cwd\"]"
}

@test "300 folders deep: where it is is known exactly, and the daemon completes the path" {
	mkdir -m 0777 "$F/deep"
	stays "$F/deep" -d 300
	eventually newest_is uid:$U '.truncated == ["cwd"]'
	eventually newest_is uid:$U \
		".cwd == \"$F/deep$(printf '/d%.0s' {1..300})\" and (.added_by_daemon | index(\"cwd\"))"
	kill $!
	# Unfinished without it, but never wrong.
	as_user $U in_folder "$F/deep" "$LAB/bin/shady" -d 300 "$WORLD"
	newest_is uid:$U '.cwd | test("^\\.\\.\\.(/d){10,}$|(/d){300}$")'
}

@test "a path of 4000 letters is known by its end, and whole while the process lives" {
	mkdir -m 0777 "$F/long"
	as_user $U in_folder "$F/long" "$LAB/bin/shady" -d 19 -l 199 "$WORLD"
	newest_is uid:$U '.truncated == ["cwd"] and (.cwd | test("^\\.\\.\\./?.*d{100}$"))'
	as_user $U in_folder "$F/long" "$LAB/bin/shady" -d 19 -l 199 -w 3000 "$WORLD" &
	eventually newest_is uid:$U ".cwd == \"$F/long$(long_path 19)\" and .truncated == [\"cwd\"]
		and (.added_by_daemon | index(\"cwd\"))"
	wait $!
	find "$F/long" -delete
}
long_path() { # NAMES of 199 letters
	local n
	for ((n = 0; n < $1; n++)); do printf '/%0199d' 0 | tr 0 d; done
}

@test "an executable with a path of 4000 letters likewise, removed or not" {
	mkdir -m 0777 "$F/long"
	as_user $U in_folder "$F/long" "$LAB/bin/shady" -d 19 -l 199 "$WORLD"
	for option in '' -u; do
		as_user $U bash -c 'cd "$1" && for ((n = 0; n < 19; n++)); do cd d*; done &&
			cp "$2" program && cd /tmp && exec "$1$3/program" $5 -w 3000 "$4"' - \
			"$F/long" "$LAB/bin/shady" "$(long_path 19)" "$WORLD" $option >"$F/out" &
		eventually newest_is uid:$U ".exe == \"$F/long$(long_path 19)/program\" and
			.truncated == [\"exe\"] and (.added_by_daemon | index(\"exe\"))
			and .deleted == [\"exe\"][:${#option} / 2]"
		wait $!
	done
	smtpwall show uid:$U | grep -F "$(long_path 19)/program (removed): "
	find "$F/long" -delete
}

@test "names are whole whether they lie within their dentry or not" {
	path=$F
	for n in 1 7 8 31 32 38 39 40 41 64; do path+=/$(printf "%0${n}d" 0); done
	install -d -m 0755 "$path" && cp "$LAB/bin/shady" "$path/program"
	as_user $U in_folder "$path" "$path/program" "$WORLD"
	newest_is uid:$U ".cwd == \"$path\" and .exe == \"$path/program\" and .truncated == []"
}

@test "control characters and newlines in name, arguments and folder stay out of the terminal" {
	evil=$'a\e[2J\nb\r\tc\x9b\xe2\x80\xae"]},{"x\x7f'
	mkdir -m 0777 "$F/$evil"
	as_user $U in_folder "$F/$evil" "$LAB/bin/shady" -n "$evil" "$WORLD" 25 "$evil"
	as_user $U in_folder "$F/$evil" bash -c 'exec -a "$0" "$@"' "$evil" "$LAB/bin/shady" "$WORLD"
	smtpwall block uid:$U
	as_user $U in_folder "$F/$evil" "$LAB/bin/shady" -n "$evil" "$WORLD"
	eventually is_told uid:$U refuse

	for command in "show uid:$U" who list blocks events; do
		# shellcheck disable=SC2086
		LC_ALL=C harmless smtpwall $command
		# shellcheck disable=SC2086
		LC_ALL=C.UTF-8 harmless smtpwall $command
		# shellcheck disable=SC2086
		harmless smtpwall -j $command
	done
	LC_ALL=C.UTF-8 smtpwall show uid:$U | grep -F "in $F/a?[2J?b??c??\"]},{\"x?"
	# In JSON all is exact but the bytes that are no text.
	newest_is uid:$U ".cwd == \"$F/a\u001b[2J\nb\r\tc\ufffd\u202e\\\"]},{\\\"x\u007f\""
	smtpwall -j show uid:$U | jq -e '.evidence | length == 3 and .[2].argv[5] == .[1].argv[0]'
	# One event is one line.
	smtpwall -j events | while IFS= read -r line; do jq -e .event >/dev/null <<<"$line" || exit; done
	[ "$(smtpwall -j events | wc -l)" = "$(smtpwall -j events | jq -s length)" ]
	! grep -q $'\e' "$LAB/daemon.log"
}

@test "in JSON a folder is its path, exactly, and can be shown by what is told" {
	enforce "users = {$U}  subject = dir  limits = {\"1 connections per 1h\"}"
	local name folder subject
	for name in $'a\nb\e[31m"\\' 'two "quotes"'; do
		folder=$F/$name
		mkdir -m 0777 "$folder"
		as_user $U in_folder "$folder" "$LAB/bin/shady" "$WORLD" | grep -qx admitted
		as_user $U in_folder "$folder" "$LAB/bin/shady" "$WORLD" | grep -qx refused
		[ "$(newest uid:$U .cwd)" = "$folder" ]
		subject=$(smtpwall -j list dir | jq -r --arg f "$folder" '.subjects[] | select(.name == $f).subject')
		smtpwall -j show "$subject" | jq -e --arg f "$folder" '.name == $f and .evidence[0].cwd == $f'
		eventually is_told "$subject" refuse
		smtpwall -j show "dir:$folder" | jq -e --arg s "$subject" '.subject == $s'
	done
}

@test "what a folder is called is no command when its name is completed" {
	mkdir -m 0777 "$F/"{'$(touch pwned)','`touch pwned`',plain}
	for folder in '$(touch pwned)' '`touch pwned`' plain; do
		as_user $U in_folder "$F/$folder" "$LAB/bin/shady" "$WORLD"
		smtpwall block "dir:$F/$folder"
	done
	completed() (
		cd "$F" && . "$LAB_TREE/user/completion/smtpwall"
		# shellcheck disable=SC2034 # as bash sets them
		COMP_WORDS=(smtpwall "$1" '') COMP_CWORD=2
		_smtpwall && printf '%s\n' "${COMPREPLY[@]}"
	)
	for verb in show unblock; do
		completed $verb >"$F/words"
		grep -qxF "dir:$F/plain" "$F/words"
		! grep -q pwned "$F/words" || false
	done
	[ ! -e "$F/pwned" ]
}

@test "in a mount and pid namespace of its own it is its unit, and its paths are told" {
	mkdir -p "$LAB_CGROUP/box-$U.scope" "$F/root/srv/app"
	cp "$LAB_TREE/build/clients/shady" "$F/root/srv/app/init"
	# shellcheck disable=SC2016 # for the inner shell
	in_box bash -c 'echo $$ >"$1/cgroup.procs" && exec unshare --mount --pid --fork bash -c "
			mount --rbind $2/root $2/root && cd $2/root && mkdir -p old &&
			pivot_root . old && cd /srv/app && exec ./init '"$WORLD"'"' \
		- "$LAB_CGROUP/box-$U.scope" "$F" | grep -qx admitted
	unit=unit:${LAB_CGROUP#"$(lab_cgroup2)"}/box-$U.scope
	newest_is "$unit" '(.cwd | endswith("/srv/app")) and (.exe | endswith("/srv/app/init"))
		and .comm == "init" and .argv[0] == "./init"'
	newest_is "$unit" ".systemd_unit == \"box-$U.scope\" and .uid == null and .gid == null"
	smtpwall show "$unit" | grep -F ' "init", uid ?, '
	smtpwall -j show uid:0 | jq -e '.evidence | all(.comm != "init")'
	rmdir "$LAB_CGROUP/box-$U.scope"
}

@test "who made a user namespace for himself is known, his group there is not" {
	as_user $U unshare --user --map-root-user -- "$LAB/bin/shady" "$WORLD" | grep -qx admitted
	newest_is uid:$U ".uid == $U and .gid == null"
}

@test "HELO and MAIL FROM are kept when they are seen in clear" {
	as_user $U send_mail 1 "$WORLD"
	eventually newest_is uid:$U '(.helo | test("^(HELO|EHLO) ")) and .mail_from == "MAIL FROM:<sender@box.example>"'
	session talk $V
	say talk $'EHLO \e[31mred'
	eventually heard talk 250 1 || heard talk 250- 1 || :
	eventually newest_is uid:$V '.helo != null'
	harmless smtpwall show uid:$V
}

@test "the evidence of a block outlives the attempts that come after it" {
	enforce "users = {$U}  limits = {\"1 connections per 1h\"}  action = block  block_for = 1h"
	program=$(own guilty)
	as_user $U in_folder "$F" "$program" "$WORLD"
	as_user $U in_folder "$F" "$program" -w 300 "$WORLD" | grep -qx refused
	eventually kept uid:$U 1
	repeat 30 shady "$WORLD" >/dev/null
	smtpwall -j show uid:$U | jq -e --arg exe "$program" \
		'.evidence | any(.exe == $exe and (.why | index("over_the_limit")))'
	eventually tells_of_block uid:$U "$program"
	smtpwall events | grep -q "blocked: uid $U .*; in $F\$"
	daemon_dies
	smtpwall -j show uid:$U | jq -e --arg exe "$program" '.evidence | any(.exe == $exe)'
	daemon_starts
}
tells_of_block() { # SUBJECT EXE
	smtpwall -j events | jq -se --arg s "$1" --arg exe "$2" \
		'any(.[]; .event == "block" and .subject == $s and .evidence.exe == $exe)' >/dev/null
}
# kept SUBJECT N: so many are in the history
kept() { # of a uid
	[ "$(sqlite3 "$LAB/state/smtpwall.db" "SELECT count(*) FROM evidence WHERE uid = ${1#uid:}")" -ge "$2" ]
}

@test "evidence in the history outlives the kernel's" {
	shady "$WORLD"
	eventually kept uid:$U 1
	smtpwall detach >/dev/null
	eventually daemon_is_gone
	daemon_starts
	smtpwall -j show uid:$U | jq -e \
		".evidence | length == 1 and .[0].in_kernel == false and .[0].cwd == \"$F\""
	[ "$(counted uid:$U)" = 1 ]
}

@test "who counts every attempt, with the daemon and without" {
	knock $U -n 300 "$WORLD"
	eventually kept uid:$U 1
	knock $U -n 50 "$WORLD"
	[ "$(counted uid:$U)" = 350 ]
	daemon_dies
	knock $U -n 25 "$WORLD"
	[ "$(counted uid:$U)" = 375 ]
	daemon_starts
	eventually counts uid:$U 375
	smtpwall -j who -n 1 | jq -e '.top | all(.[]; length <= 1)'
	run smtpwall who -n 0
	[ "$status" = 2 ]
	run smtpwall who --since yesterday
	[ "$status" = 2 ]
}
counts() { [ "$(counted "$1")" = "$2" ]; }
counted() { smtpwall -j who -n 1000 | jq --arg s "$1" '.top.uid[] | select(.subject == $s).count'; }

@test "what who only estimates is marked" {
	knock $U "$WORLD"
	daemon_dies
	knock $U -n 100 "$WORLD"
	smtpwall -j who -n 1000 >"$F/who"
	jq -e --arg s uid:$U '.top.uid[] | select(.subject == $s) | .count == 101 and (.estimated | not)' "$F/who"
	jq -e '.top.destination[0] | .count >= 101 and .estimated' "$F/who"
	smtpwall who | grep -qE "^$WORLD .* ~ +[0-9]+ "
	daemon_starts
}

@test "who floods does not fill the history" {
	knock $U -p 8 -n 500 "$WORLD"
	eventually kept uid:$U 8
	knock $U -p 8 -n 500 "$WORLD"
	sleep 2.5 # two sweeps more
	rows=$(sqlite3 "$LAB/state/smtpwall.db" "SELECT count(*) FROM evidence WHERE uid = $U")
	[ "$rows" -le 20 ]
	[ "$(counted uid:$U)" = 8000 ]
}

@test "a folder that does not answer delays nobody" {
	mkdir -m 0777 "$F/many"
	as_user $U in_folder "$F/many" bash -c 'for i in {1..6000}; do echo "mail(" >$i.php; done
		mkfifo fifo.php; ln -s /dev/zero zero.php'
	stays "$F/many"
	eventually newest_is uid:$U '.candidates | length == 5'
	daemon_runs
}
