# SPDX-License-Identifier: GPL-2.0-or-later
# Bad input: one clear line that says where it is, what is wrong and what to write; nothing changes.

# shellcheck disable=SC2016,SC2086 # "${HOME}" is for the file; words on purpose

load helpers

# A gate with something in each map; no test of this file may change it.
setup_file() {
	lab_up && sink || return
	config 'mode = enforce'
	policy standing 'users = {"2000-2999"}  limits = {"2 connections per 1h"}  action = block'
	daemon_starts || return
	as_user 2001 "$LAB/bin/knock" -n 3 "$WORLD" >/dev/null
	smtpwall block uid:2002 >/dev/null
	smtpwall allow uid:2003 >/dev/null
	cp -r "$LAB/etc" "$LAB/good"
}

setup() {
	as_it_was
	conf=$LAB/etc/smtpwall.conf policies=$LAB/etc/conf.d/50-bad.conf
	before=$(maps)
}

maps() {
	local pin
	for pin in "$LAB"/bpf/smtpwall/*; do
		# a block that is lifted again stays counted
		[ -d "$pin" ] || [ "${pin##*/}" = block_epoch ] || bpftool -j map dump pinned "$pin" 2>/dev/null
	done | cksum
}

teardown() { [ "$(maps)" = "$before" ] || { echo "maps were changed"; return 1; }; }

# fails STATUS REGEX COMMAND…: in one line without control characters
fails() {
	run timeout 120 "${@:3}"
	[ "$status" -eq "$1" ] || { echo "status $status, not $1: $output"; return 1; }
	[[ $output =~ $2 ]] || { echo "not '$2': $output"; return 1; }
	[ ${#lines[@]} -eq 1 ] || { echo "${#lines[@]} lines: $output"; return 1; }
	! grep -qP '[\x00-\x09\x0b-\x1f\x7f]' <<<"$output" || { cat -v <<<"$output"; return 1; }
}

SMTPWALL() { fails "$1" "$2" nsenter --net="$LAB_BOX" "$LAB_BUILD/smtpwall" -c "$conf" "${@:3}"; }

# refused REGEX: the configuration as it is now, by whoever reads it
refused() {
	fails 1 "$1" "$LAB_BUILD/smtpwalld" -c "$conf" --check
	SMTPWALL 1 "$1" check-config
	SMTPWALL 1 "$1" reload
	sed -i 's|/bpf/smtpwall"|/bpf/other"|' "$conf"
	fails 1 "$1" nsenter --net="$LAB_BOX" "$LAB_BUILD/smtpwalld" -c "$conf" --foreground
	[ ! -e "$LAB/bpf/other" ]
}

as_it_was() { rm -rf "${LAB:?}/etc" && cp -r "$LAB/good" "$LAB/etc"; }

# bad_line LINE REGEX: at the end of smtpwall.conf (which has four lines)
bad_line() { as_it_was; echo "$1" >>"$conf"; refused "$conf:5: $2"; }

# bad_policy KEYS REGEX: a policy of three lines, whose second is bad
bad_policy() { as_it_was; printf 'policy "bad" {\n%s\n}\n' "$1" >"$policies"; refused "$policies:2: $2"; }

# ---- the configuration ----

@test "keys that are none, or twice" {
	bad_line 'modus = enforce' ".*'?modus"
	bad_line 'inside_hook = auto' '.*inside_hook.*not built'
	bad_line 'mode = observe' '.*mode.*twice'
	bad_line '"" = 1' '.*no key: write key = value'
	as_it_was
	echo 'ipv6_prefix =' >>"$conf"
	refused "$conf:6: premature end of file"
}

@test "settings that are none" {
	sed -i 's/^mode.*/mode = strict/' "$conf"
	refused "$conf:4: 'strict'.*write observe or enforce"
	as_it_was
	sed -i 's/^state_dir.*/state_dir = tmp/' "$conf"
	refused "$conf:2: .*relative path: write"
	bad_line 'ports = {25, 0}' "'0' is no port: write a number from 1 to 65535"
	bad_line 'ports = {70000}' "'70000' is no port: write"
	bad_line 'ports = {-25}' "'-25' is no port: write"
	bad_line 'ports = {25x}' "'25x' is no port: write"
	as_it_was
	echo 'ports = {}' >>"$conf"
	refused "$conf: .ports. is empty: write"
	bad_line 'ipv6_prefix = 129' '.*129.*write a number from 1 to 128'
	as_it_was
	echo 'interfaces = {}' >>"$conf"
	refused "$conf: .interfaces. is empty: write"
	bad_line 'relays = {192.0.2.0/99}' '.*192.0.2.0/99'
}

@test "sections, lists, strings and comments that are none, or not closed" {
	bad_line 'limits { users = {root} }' '.*limits'
	bad_line 'policy "x" { users = {root} }' 'policies are read from conf.d/NN-name.conf.*move it there'
	bad_line 'exempt {' '.*not closed: write }'
	bad_line 'ports = {25, 465' '.*not closed: write }'
	bad_line '}' 'unexpected closing brace'
	bad_line 'relays = {"192.0.2.1}' '.*string.*no end'
	bad_line '/* later' '.*comment.*no end'
}

@test "what is no text" {
	bad_line $'mode = "enf\e[31morce"' '.*no text'
	bad_line $'relays = {"\xff"}' '.*no text'
	as_it_was
	printf 'relays = {"a\0b"}\n' >>"$conf"
	refused "$conf:5: .*no text"
	bad_line 'relays = {"${HOME}"}' '.*variables are not known'
}

@test "limits that are none" {
	bad_policy 'limits = {"100 bananas per 1h"}' '"100 bananas per 1h" is no limit: write'
	bad_policy 'limits = {"100 connections"}' '.*is no limit: write'
	bad_policy 'limits = {"100 connections per 1 fortnight"}' '.*is no limit: write'
	bad_policy 'limits = {"-1 connections per 1h"}' '.*is no limit: write'
	bad_policy 'limits = {"1 connections per -1h"}' '.*is no limit: write'
	bad_policy 'limits = {"1 connections per 0s"}' '.*out of range: write'
	bad_policy 'limits = {"0x10 connections per 1h"}' '.*is no limit: write'
	bad_policy 'limits = {"1.5MB per 1h"}' '.*is no limit: write'
	bad_policy 'limits = {"18446744073709551617 connections per 1h"}' '.*out of range: write'
	bad_policy 'limits = {"9223372036854775807TB per 1h"}' '.*out of range: write'
	bad_policy 'limits = {"30% rejects per 1h"}' '.*of at least 20 messages'
	bad_policy 'limits = {"5 connections per 1h", "6 connections per 60m"}' '.*second of connections.*remove one'
	bad_policy "limits = {$(printf '"1 connections per %ds", ' {1..8}) \"1 connections per 9s\"}" '.*one too many'
}

@test "other keys of a policy" {
	bad_policy 'limits = {"5 connections per 1h"} action = block block_for = -5m' '.*block_for.*write a time'
	bad_policy 'limits = {"5 connections per 1h"} action = block block_for = 0s' '.*block_for.*write a time'
	bad_policy 'limits = {"5 connections per 1h"} action = block block_for = 9999999w' '.*block_for.*write a time'
	bad_policy 'action = frown' "'frown'.*write deny, block or redirect"
	bad_policy 'roads = {highway}' "'highway'.*write direct"
	bad_policy 'user = {root}' '.*user'
	bad_policy 'users = {"2000-1000"}' '.*2000-1000'
	bad_policy "users = {\"@$LAB/etc/none\"}" ".*$LAB/etc/none"
}

@test "a policy that is not closed" {
	printf 'policy "bad" {\nusers = {root}\n' >"$policies"
	refused "$policies:1: .*not closed: write }"
}

@test "a policy without a name" {
	printf '\npolicy {\nusers = {root}\n}\n' >"$policies"
	refused "$policies:2: "
}

@test "two policies of one name" {
	printf 'policy "standing" {\nusers = {root}\n}\n' >"$policies"
	refused "$policies:1: .*standing"
}

@test "a policy with a name that is too long" {
	printf 'policy "%0100d" {\nusers = {root}\n}\n' 7 >"$policies"
	refused "$policies:1: "
}

@test "64 policies" {
	for i in {1..63}; do printf 'policy "p%d" { users = {"%d"} }\n' "$i" "$i"; done >"$policies"
	refused "$policies:63: "
}

@test "settings in a policy file" {
	echo 'mode = enforce' >"$policies"
	refused "$policies:1: .*mode"
}

@test "10 MB of random bytes" {
	head -c 10M /dev/urandom >"$conf"
	fails 1 "$conf:[0-9]+: " "$LAB_BUILD/smtpwalld" -c "$conf" --check
	fails 1 "$conf:[0-9]+: " "$LAB_BUILD/smtpwalld" -c "$conf" --foreground
	SMTPWALL 1 "$conf:[0-9]+: " check-config
	SMTPWALL 1 'nothing is loaded' --pin-dir "$LAB/bpf/none" reload
	SMTPWALL 1 "$conf:[0-9]+: " --pin-dir "$LAB/bpf/smtpwall" reload
	cp "$LAB/good/smtpwall.conf" "$conf"
	head -c 10M /dev/urandom >"$policies"
	refused "$policies:[0-9]+: "
}

@test "2 MB of one word, of braces, of a comment, of quotes" {
	for text in a '{' '/*' '"' 'a=' '=' ','; do
		cp "$LAB/good/smtpwall.conf" "$conf"
		yes "$text" | tr -d '\n' | head -c 2M >>"$conf"
		fails 1 "$conf:5: " "$LAB_BUILD/smtpwalld" -c "$conf" --check
		SMTPWALL 1 "$conf:5: " reload
	done
}

@test "a configuration that is not there, a directory, a device, a pipe" {
	mkfifo "$LAB/etc/pipe"
	for path in "$LAB/etc/none" "$LAB/etc" /dev/zero "$LAB/etc/pipe"; do
		fails 1 "$path: cannot be read: " "$LAB_BUILD/smtpwalld" -c "$path" --check
		fails 1 "$path: cannot be read: " "$LAB_BUILD/smtpwalld" -c "$path" --foreground
		fails 1 "$path: cannot be read: " "$LAB_BUILD/smtpwall" -c "$path" check-config
	done
}

# warned REGEX: in one line, and it is no error
warned() {
	fails 0 "$1" bash -c "'$LAB_BUILD/smtpwalld' -c '$conf' --check 2>&1 >/dev/null"
	fails 0 "warning: .*$1" bash -c "'$LAB_BUILD/smtpwall' -c '$conf' check-config 2>&1 >/dev/null"
}

@test "a user, a group that does not exist: a warning" {
	printf 'policy "guests" {\nusers = {nobody-has-this-name, 1000}\n}\n' >"$policies"
	warned "$policies:2: .*nobody-has-this-name"
	printf 'policy "guests" {\nusers = {1000}\ngroups = {nobody-has-this-name}\n}\n' >"$policies"
	warned "$policies:3: .*nobody-has-this-name"
	rm "$policies"
	echo 'exempt { users = {root, nobody-has-this-name} }' >>"$conf"
	warned "$conf:5: .*nobody-has-this-name"
}

@test "a policy that another shadows: a warning" {
	printf 'policy "late" {\nusers = {2500}\n}\n' >"$policies"
	warned "$policies:[12]: .*standing"
}

@test "a file in conf.d that is not read: a warning" {
	cp "$LAB/good/conf.d/10-standing.conf" "$LAB/etc/conf.d/standing.conf"
	warned "conf.d/standing.conf: not read: the name of a policy file is NN-name.conf"
}

# ---- the daemon's options ----

@test "options of the daemon that are none" {
	run "$LAB_BUILD/smtpwalld" --frobnicate
	[[ $status -eq 2 && $output == *'usage: smtpwalld'* ]]
	run "$LAB_BUILD/smtpwalld" --check also
	[[ $status -eq 2 && $output == *"unexpected 'also'"* ]]
	run "$LAB_BUILD/smtpwalld" -c
	[ "$status" -eq 2 ]
}

# ---- subjects, spans, roads ----

@test "subjects that do not parse" {
	for subject in alice uid: uid:-1 uid:+1 'uid: 1' uid:1x uid:0x1 uid:4294967296 uid:99999999999999999999 \
		user: ip: ip:1.2.3 ip:1.2.3.4/8 ip:1.2.3.4.5 ip:::1::2 ip:2001:db8::/999 ip:host.example \
		unit: unit:relative unit:/../etc 'unit:#' 'unit:#0' unit:#x unit:/./a dir: dir:relative dir:~ dir:#1 dir:#8:1/0 account:a@b UID:1 : '' \
		$'uid:1\n' $'\e[31m' %n%s%n "$(printf '%0100000d' 1)"; do
		for verb in show block unblock allow disallow; do
			SMTPWALL 2 'is not a subject: ' $verb -- "$subject"
		done
	done
}

@test "subjects that are not there" {
	SMTPWALL 3 'nothing is known of' show unit:/no/such/unit
	for subject in user:nobody-has-this-name dir:/no/such/folder dir:~nobody-has-this-name $'user:a\e[31mb' "user:$(printf '%0100000d' 1)"; do
		for verb in show block unblock allow disallow; do
			SMTPWALL 3 'there is no ' $verb "$subject"
		done
	done
}

@test "spans, roads and modes that are none" {
	for span in -5m 0s 5 m 99999999999999999999s '' $'5m\n'; do
		SMTPWALL 2 'no span|out of range' block uid:2009 --for "$span"
		SMTPWALL 2 'no span|out of range' allow uid:2009 --for "$span"
		SMTPWALL 2 'no span|out of range' mode observe --for "$span"
	done
	for roads in '' ',' 'direct,' highway account 'direct,,relay' $'\e'; do
		SMTPWALL 2 'no road' block uid:2009 --roads "$roads"
	done
	SMTPWALL 2 'no mode' mode ''
	SMTPWALL 2 'no mode' mode OBSERVE
}

@test "a reason of any length and form is kept as far as it is harmless" {
	for reason in "$(printf '%0100000d' 7)" $'\e]0;x\a' "$(printf '\xc3\xa4%.0s' {1..100})" $'\xff\xfe' '%s%n' '' '"; rm'; do
		smtpwall block uid:2500 --reason "$reason"
		smtpwall -j blocks | jq -e '.blocks[] | select(.subject == "uid:2500") | .reason | . == null or length < 80'
		[ "$(smtpwall blocks | grep -cP '[\x00-\x09\x0b-\x1f\x7f]')" = 0 ]
	done
	smtpwall unblock uid:2500
}

# ---- pins ----

@test "a pin_dir where there is nothing, or nothing of ours" {
	for directory in "$LAB/bpf/none" "$LAB/etc" /dev/null "$(printf '/%0300d' 1)" "/$(printf 'd/%.0s' {1..5000})"; do
		for verb in status list blocks 'block uid:2009' 'unblock --all' mode reload; do
			SMTPWALL 1 "nothing is loaded|cannot open" --pin-dir "$directory" $verb
		done
	done
}
