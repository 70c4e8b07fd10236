# SPDX-License-Identifier: GPL-2.0-or-later
# What the command prints is what was promised: for people, and as JSON for programs.

# shellcheck disable=SC2016,SC2086 # $u is jq's; words on purpose

load helpers

# One story for all that only look: U is blocked by its policy, V is within its limits, W blocked
# by hand, X allowed.
story() {
	policy web "users = {$U}  limits = {\"2 connections per 1h\", \"1MB per 1d\"}  warn = {\"1 connections per 1h\"}
		action = block  block_for = 30m"
	policy others "users = {$V, $W, $X}  limits = {\"5 connections per 1h\"}  roads = {direct, submission}"
	reload
	expect 'admitted 2 refused 2' knock "$U" -n 4 "$WORLD"
	is_admitted "$V" "$WORLD"
	is_admitted "$V" "$WORLD" 587
	is_admitted "$X" "$WORLD"
	smtpwall block "uid:$W" --for 2h --reason 'asked for it' >/dev/null
	smtpwall allow "uid:$X" --for 1d --reason 'newsletter' >/dev/null
}

# json VERB…: what it prints, if it is one document of schema 1; told to jq
json() {
	smtpwall -j "$@" >"$LAB/json" || return
	jq -es 'length == 1 and .[0].schema == 1' "$LAB/json" >/dev/null || { cat "$LAB/json"; return 1; }
}
# holds EXPRESSION: of the last document
holds() {
	jq -e --arg u "uid:$U" --arg v "uid:$V" --arg w "uid:$W" --arg x "uid:$X" "
		def moment: test(\"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?Z\$\");
		def within(s): sub(\"[.][0-9]+\"; \"\") | fromdate | . - now | fabs | . < s;
		def has_all(\$keys): (\$keys - keys) == [];
		def count: type == \"number\" and . >= 0 and . == floor;
		$1" "$LAB/json" >/dev/null && return
	echo "not so: $1" >&2
	jq . "$LAB/json" >&2
	return 1
}

# fails STATUS REGEX ARGUMENT…: and tells it in one line
fails() {
	run smtpwall "${@:3}"
	[ "$status" -eq "$1" ] || { echo "status $status, not $1: $output"; return 1; }
	[[ $output =~ $2 ]] || { echo "not '$2': $output"; return 1; }
	[ ${#lines[@]} -eq 1 ] || { echo "several lines: $output"; return 1; }
}

# ---- status ----

@test "status as JSON" {
	story
	json status
	holds 'has_all(["mode", "version", "kernel", "daemon", "hooks", "exempt", "policies", "maps", "lost_events"])'
	holds '.mode == "enforce" and (.version | test("^[0-9]+[.][0-9]+")) and .lost_events == 0'
	[ "$(jq -r .kernel "$LAB/json")" = "$(uname -r)" ]
	holds '.daemon | .running == true and (.pid | count)'
	holds '.hooks | length == 7 and all(has_all(["hook", "where", "kind"]))'
	holds '[.hooks[] | select(.hook == "egress")] == [{hook: "egress", where: "eth0", kind: "tcx"}]'
	holds '.exempt | type == "array" and any(test("root"))'
	holds '[.policies[].name] == ["web", "others"]'
	holds '.policies[0] | .action == "block" and .limits == ["2 connections per 1h", "1MB per 1d"]'
	holds '.maps | all(has_all(["name", "entries", "max"]) and (.entries | count) and .max >= .entries)'
	holds '[.maps[].name] | contains(["uid_ledger", "windows", "uid_blocks"])'
}

@test "status for people, and for monitoring" {
	story
	run smtpwall status
	[ "$status" -eq 0 ]
	grep -qE '^mode +enforce$' <<<"$output"
	grep -qE '^daemon +running .pid [0-9]+.$' <<<"$output"
	grep -qE '^connect4 +link +/' <<<"$output"
	grep -qE '^egress +tcx +eth0$' <<<"$output"
	grep -qE '^web +uid +block +enforce +direct +2 connections per 1h, 1MB per 1d +1 connections per 1h$' <<<"$output"
	run smtpwall status --nagios
	[[ $status -eq 0 && ${#lines[@]} -eq 1 && $output == 'SMTPWALL OK - mode enforce, 7 hooks, '* ]]
}

@test "status fails while a hook is missing; so does monitoring" {
	pid=$(daemon_pid)
	kill -STOP "$pid"
	bpftool link detach pinned "$LAB/bpf/smtpwall/links/connect6"
	run smtpwall status
	[[ $status -eq 1 && $output == *'connect6'*'MISSING'* ]]
	run smtpwall -j status
	[ "$status" -eq 1 ]
	jq -e '.hooks[] | select(.hook == "connect6") | .kind == null' <<<"$output"
	run smtpwall status --nagios
	[[ $status -eq 2 && $output == 'SMTPWALL CRITICAL - hook connect6 is missing'* ]]
	kill -CONT "$pid"
	eventually smtpwall status >/dev/null

	daemon_dies
	run smtpwall status --nagios
	[[ $status -eq 1 && $output == 'SMTPWALL WARNING - smtpwalld is not running'* ]]
	run smtpwall --pin-dir "$LAB/bpf/none" status --nagios
	[[ $status -eq 2 && ${lines[-1]} == 'SMTPWALL CRITICAL - nothing is loaded'* ]]
	daemon_starts
}

# ---- the ledger ----

@test "list as JSON" {
	story
	json list
	holds '.subjects | all(has_all(["subject", "name", "container", "policy", "roads", "first_seen", "last_seen", "limits", "block"]))'
	holds '.subjects[] | select(.subject == $v) | .name == null and .container == null and .policy == "others" and .block == null'
	holds '.subjects | all(.roads | has_all(["direct", "submission", "relay", "sendmail"]))'
	holds '.subjects | all(.roads[] | has_all(["connections", "messages", "messages_tls_estimated", "recipients", "bytes", "packets", "rejects", "deferrals", "destinations", "refused"]))'
	holds '.subjects[] | select(.subject == $u) | .roads.direct | .connections == 2 and .refused == 2 and (.bytes | count) and .packets > 0'
	holds '.subjects[] | select(.subject == $v) | .roads.direct.connections == 1 and .roads.submission.connections == 1'
	holds '.subjects[] | select(.subject == $u) | (.first_seen, .last_seen) | moment and within(60)'
	holds '.subjects[] | select(.subject == $u) | .limits | length == 3
		and all(has_all(["limit", "policy", "road", "metric", "window_seconds", "used", "max", "frees_at"]))'
	holds '.subjects[] | select(.subject == $u) | .limits[] | select(.limit == "2 connections per 1h" and (.warn | not))
		| .policy == "web" and .road == "direct" and .metric == "connections" and .window_seconds == 3600
		and .used == 2 and .max == 2 and (.frees_at | moment and within(4000))'
	holds '.subjects[] | select(.subject == $u) | .block | .by == "limit" and .roads == ["direct"]'
	holds 'any(.subjects[]; .subject == "ip:198.51.100.1" and .roads.direct.connections >= 4)'
}

@test "list: by kind, sorted, cut" {
	story
	json list uid
	holds '.subjects | length > 2 and all(.subject | startswith("uid:"))'
	json list ip
	holds '.subjects | length > 0 and all(.subject | startswith("ip:"))'
	json list uid --sort refused -n 2
	holds '.subjects | length == 2 and all(.roads.direct.refused == 2)'
	json list uid --sort connections
	holds '[.subjects[] | [.roads[].connections | numbers] | add] | . == (sort | reverse)'
	run smtpwall list uid
	[ "$status" -eq 0 ]
	[[ ${lines[0]} == 'SUBJECT '*' LIMIT' ]]
	grep -qE "^uid:$U .* 2 .* blocked (30|29)m +100% of 2 connections per 1h$" <<<"$output"
	fails 2 'is no kind of sender' list host
	fails 2 'nothing to sort by' list --sort size
	fails 2 'no number of rows' list -n 0
}

@test "show: all that is known of one" {
	story
	json show "uid:$U"
	holds '.subject == $u and .roads.direct.refused == 2 and (.why | type == "array" and all(type == "string"))'
	holds 'has_all(["subject", "name", "roads", "limits", "block", "why", "evidence"])'
	holds 'any(.why[]; test("blocked on direct for another .*policy .web"))'
	json show "uid:$X"
	holds 'any(.why[]; test("limits are lifted .*newsletter"))'
	json show user:root
	holds '.subject == "uid:0" and .name == "root" and any(.why[]; test("exempt"))'
	run smtpwall show "uid:$U"
	[[ $status -eq 0 && ${lines[0]} == "uid:$U" && $output == *'WHY'*'It is blocked on direct'* ]]
	fails 3 'nothing is known of' show "uid:$((U + 9))"
	fails 3 'there is no' show user:nobody-has-this-name
	fails 3 'nothing is known of' show unit:/no/such/unit
}

# ---- blocks and allowances ----

@test "blocks as JSON and as a table" {
	story
	json blocks
	holds '.blocks | length == 2 and all(has_all(["subject", "name", "roads", "policy", "reason", "by", "restored", "since", "until", "permanent", "hits", "enforced"]))'
	holds '.blocks[] | select(.subject == $u) | .by == "limit" and .policy == "web" and .reason == "over 2 connections per 1h" and .permanent == false and .enforced == true and .hits == 1'
	holds '.blocks[] | select(.subject == $w) | .by == "manual" and .policy == null and .reason == "asked for it" and .restored == false'
	holds '.blocks | all((.since | moment and within(60)) and (.until | moment and within(8000)))'
	run smtpwall blocks
	grep -qE "^uid:$U +- +direct +limit .* web +over 2 connections per 1h$" <<<"$output"
	grep -qE "^uid:$W +- +direct +manual .* asked for it$" <<<"$output"
	smtpwall unblock --all
	json blocks
	holds '.blocks == []'
	[ "$(smtpwall blocks)" = 'Nobody is blocked.' ]
}

@test "block and unblock: at once, on roads, for a time, twice" {
	smtpwall block "uid:$U" --roads direct,submission
	is_refused "$U" "$WORLD"
	is_refused "$U" "$WORLD" 587
	json blocks
	holds '.blocks | length == 1 and (.[0] | .roads == ["direct", "submission"] and .permanent == true and .until == null)'
	smtpwall unblock "uid:$U"
	is_admitted "$U" "$WORLD"
	is_admitted "$U" "$WORLD" 587
	smtpwall unblock "uid:$U"
	smtpwall unblock "uid:$((U + 9))"
	smtpwall block "uid:$U" --for 6s
	is_refused "$U" "$WORLD"
	eventually is_admitted "$U" "$WORLD"
	smtpwall block user:nobody
	blocked uid:65534
	smtpwall -j block "uid:$U" >"$LAB/json"
	[ ! -s "$LAB/json" ] || json blocks
	fails 2 'no road' block "uid:$U" --roads direct,everywhere
	fails 3 'there is no' block user:nobody-has-this-name
	fails 3 'there is no' unblock user:nobody-has-this-name
}

@test "an exempt user is blocked with --force only" {
	fails 1 'is exempt' block user:root
	is_admitted 0 "$WORLD"
	smtpwall block user:root --force
	is_refused 0 "$WORLD"
	smtpwall unblock user:root
	is_admitted 0 "$WORLD"
}

@test "unblock clears the windows, too" {
	enforce "users = {$U}  limits = {\"2 connections per 1h\"}  action = block"
	expect 'admitted 2 refused 1' knock "$U" -n 3 "$WORLD"
	smtpwall unblock "uid:$U"
	expect 'admitted 2 refused 1' knock "$U" -n 3 "$WORLD"
}

@test "allow lifts limits and the block of a limit for a time; disallow takes it back" {
	enforce "users = {$U}  limits = {\"2 connections per 1h\"}  action = block"
	expect 'admitted 2 refused 1' knock "$U" -n 3 "$WORLD"
	smtpwall allow "uid:$U" --for 1h --reason 'known sender'
	expect 'admitted 5 refused 0' knock "$U" -n 5 "$WORLD"
	json allowed
	holds '.allowed | all(has_all(["subject", "name", "reason", "since", "until"]))'
	holds '[.allowed[] | select(.subject == $u)] | length == 1 and (.[0] | .reason == "known sender" and (.until | moment and within(3700)))'
	smtpwall allowed | grep -qE "^uid:$U .*known sender$"
	smtpwall disallow "uid:$U"
	is_refused "$U" "$WORLD"
	smtpwall disallow "uid:$U"
	json allowed
	holds 'all(.allowed[]; .subject != $u)'
	smtpwall unblock "uid:$U"
	smtpwall allow "uid:$U" --for 6s
	expect 'admitted 4 refused 0' knock "$U" -n 4 "$WORLD"
	eventually is_refused "$U" "$WORLD"
}

@test "who holds the editors' lock for good is told of, and nothing hangs" {
	(flock 9 && exec sleep 600) 9<"$LAB/bpf/smtpwall/links" 3>&- 4>&- &
	taken() { ! flock -n "$LAB/bpf/smtpwall/links" true; }
	eventually taken
	fails 1 'cannot lock the maps' block "uid:$U"
	json blocks
	holds '.blocks == []'
}

# ---- mode ----

@test "mode: shown, set, tried" {
	enforce "users = {$U}  limits = {\"1 connections per 1h\"}"
	expect 'admitted 1 refused 1' knock "$U" -n 2 "$WORLD"
	[ "$(smtpwall mode)" = enforce ]
	smtpwall mode observe
	json mode
	holds '.mode == "observe" and .trial_until == null'
	is_admitted "$U" "$WORLD"
	json show "uid:$U"
	holds '.roads.direct.would_refuse == 1'
	smtpwall mode enforce --for 8s
	json mode
	holds '.mode == "enforce" and (.trial_until | moment and within(9)) and .then == "observe"'
	is_refused "$U" "$WORLD"
	eventually is_admitted "$U" "$WORLD"
	[ "$(smtpwall mode)" = observe ]
	fails 2 'is no mode: write observe or enforce' mode maybe
}

@test "with a configuration that is broken what is urgent works, by the pin_dir that it names" {
	enforce "users = {$U}  limits = {\"1 connections per 1h\"}  action = block"
	expect 'admitted 1 refused 1' knock "$U" -n 2 "$WORLD"
	{ echo 'mode = = {{{'; echo 'nonsense'; cat "$LAB/etc/smtpwall.conf"; echo 'exempt {'; } >"$LAB/etc/broken"
	mv "$LAB/etc/broken" "$LAB/etc/smtpwall.conf"
	run smtpwall check-config
	[ "$status" -eq 1 ]
	json status
	holds '.mode == "enforce" and .exempt == null'
	smtpwall status | grep -q "CANNOT BE READ: see 'smtpwall check-config'"
	json blocks
	holds '.blocks | length == 1'
	smtpwall unblock "uid:$U"
	is_admitted "$U" "$WORLD"
	smtpwall mode observe
	is_admitted "$U" "$WORLD"
	smtpwall block "uid:$V"
	smtpwall mode enforce
	is_refused "$V" "$WORLD"
	smtpwall list | grep -q "uid:$U"
}

# ---- events ----

@test "events: a line each, since a span or a moment" {
	before=$(date -u +%FT%TZ -d '1 second ago')
	story
	told() { smtpwall -j events --since "$before" | jq -se --arg s "uid:$1" --arg e "$2" 'any(.[]; .subject == $s and .event == $e)' >/dev/null; }
	eventually told "$U" block
	eventually told "$U" warn
	eventually told "$W" block
	smtpwall -j events --since "$before" >"$LAB/json"
	while read -r line; do
		jq -e '.schema == 1 and (.time | test("^[0-9-]{10}T[0-9:]{8}([.][0-9]+)?Z$")) and (.event | type == "string")
			and ((["time", "event", "subject", "name", "policy", "limit", "used"] - keys) == [])' <<<"$line" >/dev/null
	done <"$LAB/json"
	jq -se --arg u "uid:$U" 'any(.[]; .subject == $u and .event == "block" and .policy == "web" and .limit == "2 connections per 1h"
		and .comm == "knock" and (.destination | startswith("198.51.100.2")) and .pid > 1)' "$LAB/json"
	smtpwall events --since "$before" | grep -qE "^[0-9-]{10} [0-9:]{8}  block +blocked: uid $U on direct for 30m"
	[ -z "$(smtpwall events --since "$(date -u +%FT%TZ -d '1 hour')")" ]
	fails 2 'is no time' events --since yesterday
	fails 2 'is no time' events --since -5m
}

@test "events -f: as they happen" {
	smtpwall -j events -f >"$LAB/followed" 3>&- 4>&- &
	heard() { jq -se --arg s "uid:$1" --arg e "$2" 'any(.[]; .subject == $s and .event == $e)' "$LAB/followed" >/dev/null 2>&1; }
	follows() { smtpwall mode observe >/dev/null; sleep 0.7; smtpwall mode enforce >/dev/null; [ -s "$LAB/followed" ]; }
	eventually follows
	smtpwall block "uid:$U"
	eventually heard "$U" block
	smtpwall unblock "uid:$U"
	eventually heard "$U" unblock
	[ "$(grep -c . "$LAB/followed")" -eq "$(jq -s length "$LAB/followed")" ]
}

# ---- top ----

# screen: what tmux shows
screen() { tmux -L "$LAB_ID" capture-pane -p; }
shows() { screen | grep -qE -- "$1"; }

@test "top: a live table on a terminal; keys sort and quit" {
	story
	in_box env TERM=xterm tmux -L "$LAB_ID" -f /dev/null new-session -d -x 120 -y 80 \
		"'$LAB_BUILD/smtpwall' -c '$LAB/etc/smtpwall.conf' top; echo over \$?; exec sleep 600" 3>&- 4>&-
	eventually shows '^smtpwall: mode enforce, by connections'
	eventually shows '^SUBJECT +NAME +DIRECT'
	eventually shows "^uid:$U "
	tmux -L "$LAB_ID" send-keys b
	eventually shows 'by bytes'
	tmux -L "$LAB_ID" send-keys r
	eventually shows 'by refused'
	eventually shows '^uid:[0-9]+ .* blocked'
	knock "$V" -n 4 "$WORLD" >/dev/null
	eventually shows "^uid:$V +- +5 "
	tmux -L "$LAB_ID" send-keys q
	eventually shows '^over 0'
	tmux -L "$LAB_ID" kill-server
}

@test "top: not on a terminal it prints once" {
	story
	run smtpwall top
	[[ $status -eq 0 && ${lines[0]} == 'SUBJECT '* && $output == *"uid:$U "* && $output != *$'\e'* ]]
	fails 2 "'smtpwall -j list'" -j top
}

# ---- reload, check-config ----

@test "check-config and reload say how many policies there are" {
	story
	run smtpwall check-config
	[[ $status -eq 0 && ${#lines[@]} -eq 1 && $output == *'2 policies'* ]]
	run smtpwall reload
	[[ $status -eq 0 && $output == 'reloaded: 2 policies' ]]
}

# ---- usage ----

@test "usage: what is no verb, no option, or too much is 2" {
	fails 2 'a verb is missing'
	fails 2 "there is no verb 'bock'" bock "uid:$U"
	for verb in 'show' 'block' 'unblock' 'allow' 'disallow' 'list uid ip' 'mode enforce now' 'mode --for 1h' 'blocks all' \
		'unblock --all uid:1' 'events all' 'status all' 'detach all' 'reload now'; do
		fails 2 "^usage: smtpwall ${verb%% *}" $verb
	done
	run smtpwall block --until 5m "uid:$U"
	[ "$status" -eq 2 ]
	run smtpwall --frobnicate
	[ "$status" -eq 2 ]
	run smtpwall --help
	[[ $status -eq 0 && $output == *'block SUBJECT'* ]]
	run smtpwall --version
	[[ $status -eq 0 && $output =~ ^smtpwall\ [0-9.]+$ ]]
}

@test "spans that are none are 2, and nothing is done" {
	for span in -5m 0s 5 m 5y 1.5h 99999w 18446744073709551616s '' '5m ' ' 5m'; do
		for verb in block allow; do
			fails 2 'span|out of range' $verb "uid:$U" --for "$span"
		done
	done
	json blocks
	holds '.blocks == []'
}

@test "an output that cannot be written is a failure" {
	run bash -c ". '$LAB_TREE/tools/lab'; smtpwall list >/dev/full"
	[[ $status -eq 1 && $output == *'No space left'* ]]
}

# ---- text of strangers ----

harmless() { ! grep -qP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]' "$1"; }

@test "names and reasons with control characters reach no terminal" {
	cat /etc/passwd >"$LAB/passwd"
	printf 'e\e[31mvil\e]0;owned\a\302\2332J:x:%d:%d::/:/bin/sh\n' "$U" "$U" >>"$LAB/passwd"
	as_evil() { in_box unshare --mount --propagation private -- bash -c 'mount --bind "$0" /etc/passwd; exec "$@"' "$LAB/passwd" "$@"; }
	enforce "users = {$U}  limits = {\"1 connections per 1h\"}  action = block"
	cp "$LAB/bin/knock" "$LAB/"$'k\e[1mn"k'
	as_user "$U" "$LAB/"$'k\e[1mn"k' -n 3 "$WORLD"
	smtpwall block "uid:$V" --reason $'a\e[2Jb\nc\td\302\233e\rf%n%s'
	smtpwall allow "uid:$W" --reason $'\e]2;title\a'
	for verb in 'list' 'blocks' "show uid:$U" "show uid:$V" "show uid:$W" 'allowed' 'top' 'events' 'status'; do
		for form in '' -j; do
			[ "$form $verb" != '-j top' ] || continue
			as_evil "$LAB_BUILD/smtpwall" -c "$LAB/etc/smtpwall.conf" $form $verb >"$LAB/out" 2>&1
			harmless "$LAB/out" || { cat -v "$LAB/out"; false; }
			[ -z "$form" ] || jq . "$LAB/out" >/dev/null
		done
	done
	as_evil "$LAB_BUILD/smtpwall" -c "$LAB/etc/smtpwall.conf" -j list |
		jq -e --arg u "uid:$U" '.subjects[] | select(.subject == $u) | .name | startswith("e\u001b[31mvil")'
	told() { smtpwall -j events | jq -se --arg u "uid:$U" 'any(.[]; .subject == $u and .comm == "k?[1mn'"'"'k")'; }
	eventually told
	harmless "$LAB/daemon.log"
}

@test "a unit with a hostile name is shown by its number, and can be named by both" {
	enforce "limits = {\"1 connections per 1h\"}"
	unit=$LAB_CGROUP/$'e\e[31mvil\a"'
	mkdir "$unit"
	name=unit:${unit#"$(lab_cgroup2)"}
	LAB_CGROUP=$unit in_box unshare --pid --fork "$LAB/bin/knock" -n 2 "$WORLD"
	json list unit
	holds '[.subjects[] | select(.name == "e\u001b[31mvil\u0007\"") | .roads.direct.refused] == [1]'
	number=$(smtpwall -j list unit | jq -r '.subjects[] | select(.name == "e\u001b[31mvil\u0007\"").subject')
	[[ $number =~ ^unit:#[0-9a-f]{16}$ ]]
	for subject in "$number" "$name"; do
		smtpwall show "$subject" >"$LAB/out"
		harmless "$LAB/out"
		smtpwall block "$subject" >"$LAB/out"
		harmless "$LAB/out"
		json blocks
		holds "[.blocks[].subject] == [\"$number\"]"
		smtpwall unblock "$subject"
	done
	eventually rmdir "$unit"
	json show "$number"
	smtpwall show "$name" >"$LAB/out"
	harmless "$LAB/out"
}

# ---- by bpftool alone ----

@test "bpftool map dump shows the ledger: names of fields, a row a user" {
	story
	bpftool map dump pinned "$LAB/bpf/smtpwall/uid_ledger" >"$LAB/json"
	jq -e --argjson u "$U" '[.[] | select(.key.uid == $u)] | length == 1 and (.[0].value
		| .direct.connections == 2 and .direct.refused == 2 and .direct.packets > 0 and .submission.connections == 0
		and .first_seen_ns > 0 and .wire.connections == 2)' "$LAB/json"
	bpftool map dump pinned "$LAB/bpf/smtpwall/uid_blocks" >"$LAB/json"
	jq -e --argjson w "$W" 'any(.[]; .key == {uid: $w, road: 0} and .value.by == 1 and .value.until_ns > 0)' "$LAB/json"
	bpftool map dump pinned "$LAB/bpf/smtpwall/ip_ledger" | jq -e 'any(.[]; .value.direct.connections > 3)'
	bpftool map dump pinned "$LAB/bpf/smtpwall/control" | jq -e '.[0].value.mode == 1'
	[ "$(bpftool -j map show pinned "$LAB/bpf/smtpwall/uid_ledger" | jq -r .name)" = uid_ledger ]
}
