# SPDX-License-Identifier: GPL-2.0-or-later
# Whom an attempt answers for: its user, its folder and its unit, each with limits and blocks.

load helpers

setup() {
	new_test
	WWW=$LAB/$BATS_TEST_NUMBER/www
	mkdir -p "$WWW/shop" "$WWW/blog"
}

# What this file mounts and makes.
teardown() {
	local at
	grep -o "$LAB/$BATS_TEST_NUMBER/[^ ]*" /proc/self/mounts | sort -r | while read -r at; do
		umount -l "$at"
	done
	disown -a
}

# in_folder FOLDER COMMAND…
in_folder() (cd "$1" && "${@:2}")
# in_unit NAME COMMAND…
in_unit() { mkdir -p "$LAB_CGROUP/$1" && LAB_CGROUP=$LAB_CGROUP/$1 "${@:2}"; }
unit() { echo "unit:${LAB_CGROUP#"$(lab_cgroup2)"}/$1"; }

# with_sites: the folders in $WWW are sites, as soon as smtpwalld has found them
with_sites() {
	config 'mode = enforce' "site_roots = {\"$WWW/*\"}"
	reload
	eventually is_a_site "$WWW/shop"
}
is_a_site() { mkdir -p "$1/part" && smtpwall show "dir:$1/part" 2>&1 | grep -qF "a part of 'dir:$1'"; }

# row SUBJECT FILTER: a value (in jq) of its row
row() {
	smtpwall -j list | jq -r --arg s "$1" "first(.subjects[] | select(.subject == \$s)) | $2"
}
direct() { row "$1" '.roads.direct | "\(.connections) \(.refused)"'; }
# used SUBJECT: of its first limit
used() { row "$1" '.limits[0].used'; }

@test "an attempt counts once for its user, its folder and its unit" {
	in_folder "$WWW/shop" in_unit one.service expect 'admitted 3 refused 0' knock "$U" -n 3 "$WORLD"
	in_folder "$WWW/blog" in_unit one.service expect 'admitted 2 refused 0' knock "$U" -n 2 "$WORLD"
	in_folder "$WWW/blog" in_unit two.service expect 'admitted 1 refused 0' knock "$V" "$WORLD"
	[ "$(direct "uid:$U")" = '5 0' ]
	[ "$(direct "dir:$WWW/shop")" = '3 0' ]
	[ "$(direct "dir:$WWW/blog")" = '3 0' ]
	[ "$(direct "$(unit one.service)")" = '5 0' ]
	[ "$(direct "$(unit two.service)")" = '1 0' ]
	[ "$(row "dir:$WWW/shop" .name)" = "$WWW/shop" ]
	[ "$(row "$(unit one.service)" .name)" = one.service ]
	[ "$(row "$(unit one.service)" .container)" = null ]
	smtpwall -j list dir | jq -e 'all(.subjects[]; .subject | startswith("dir:"))'
	smtpwall -j show "dir:$WWW/shop" | jq -e '.roads.direct.connections == 3'
	[ "$(smtpwall show "dir:$WWW/shop" | head -1)" = "dir:$WWW/shop" ]
	eventually sent "dir:$WWW/shop"
	eventually sent "$(unit one.service)"
}
sent() { [ "$(row "$1" .roads.direct.packets)" -gt 0 ]; }

@test "a blocked folder is refused, its parts too, and the neighbour's of the same user go on" {
	with_sites
	in_folder "$WWW/shop/part" is_admitted "$U" "$WORLD"
	smtpwall block "dir:$WWW/shop" --reason hacked
	in_folder "$WWW/shop" is_refused "$U" "$WORLD"
	in_folder "$WWW/shop/part" is_refused "$U" "$WORLD"
	in_folder "$WWW/blog" is_admitted "$U" "$WORLD"
	is_admitted "$U" "$WORLD"
	eventually is_told "dir:$WWW/shop" block
	block_is "dir:$WWW/shop" '.hits == 2 and .reason == "hacked" and .enforced'
	run smtpwall block "dir:$WWW/shop/part"
	[ "$status" = 3 ]
	[[ $output == *"a part of 'dir:$WWW/shop'"* ]]
	smtpwall unblock "dir:$WWW/shop"
	in_folder "$WWW/shop" is_admitted "$U" "$WORLD"
	eventually is_told "dir:$WWW/shop" unblock
}

@test "a blocked unit is refused, in its inner cgroups too, and others of the same user go on" {
	in_unit shop.service is_admitted "$U" "$WORLD"
	smtpwall block "$(unit shop.service)"
	in_unit shop.service is_refused "$U" "$WORLD"
	in_unit blog.service is_admitted "$U" "$WORLD"
	mkdir "$LAB_CGROUP/shop.service/worker"
	eventually in_unit shop.service/worker is_refused "$U" "$WORLD"
	is_admitted "$U" "$WORLD"
	smtpwall block "$(unit never.service)" | grep -q 'Note: nobody'
	smtpwall unblock "$(unit shop.service)"
	in_unit shop.service is_admitted "$U" "$WORLD"
	rmdir "$LAB_CGROUP/shop.service/worker" "$LAB_CGROUP/shop.service"
	read -r admitted refused <<<"$(direct "$(unit shop.service)")"
	[ "$admitted" -ge 2 ] && [ "$refused" -ge 2 ] # it outlives its cgroup, by name
	smtpwall unblock "$(unit shop.service)"
}

@test "a folder's limit is its own; the user's above it holds; who is refused is charged nowhere" {
	policy folders "users = {$U}  subject = dir  limits = {\"3 connections per 1h\"}"
	policy users "users = {$U}  limits = {\"5 connections per 1h\"}"
	policy units "subject = unit  units = {\"six.service\"}  limits = {\"1 connections per 1h\"}"
	reload
	in_folder "$WWW/shop" expect 'admitted 3 refused 2' knock "$U" -n 5 "$WORLD"
	[ "$(used "dir:$WWW/shop") $(used "uid:$U")" = '3 3' ]
	in_folder "$WWW/blog" expect 'admitted 2 refused 3' knock "$U" -n 5 "$WORLD"
	[ "$(used "dir:$WWW/blog") $(used "uid:$U")" = '2 5' ]
	[ "$(row "dir:$WWW/shop" .policy) $(row "uid:$U" .policy)" = 'folders users' ]
	in_folder "$WWW/blog" expect 'admitted 5 refused 0' knock "$V" -n 5 "$WORLD"
	eventually in_unit six.service expect 'admitted 0 refused 1' knock "$W" "$WORLD"
	[ "$(used "$(unit six.service)")" = 1 ]
	smtpwall show "dir:$WWW/shop" | grep -F "judged as a part of its user ('users')"
	smtpwall allow "dir:$WWW/shop"
	in_folder "$WWW/shop" is_refused "$U" "$WORLD" # the user's limit stands
	smtpwall unblock "uid:$U"
	in_folder "$WWW/shop" expect 'admitted 5 refused 1' knock "$U" -n 6 "$WORLD"
	smtpwall -j allowed | jq -e --arg s "dir:$WWW/shop" 'any(.allowed[]; .subject == $s)'
	smtpwall disallow "dir:$WWW/shop"
}

# race LIMIT-OF-FOLDER LIMIT-OF-USER: 64 processes in two folders, 128 attempts; all that were admitted
race() {
	no_policies
	policy folders "users = {$U}  subject = dir  limits = {\"$1 connections per 1h\"}"
	policy users "users = {$U}  limits = {\"$2 connections per 1h\"}"
	reload
	smtpwall unblock --all >/dev/null
	in_folder "$WWW/shop" knock "$U" -p 32 -n 2 "$WORLD" >"$WWW/shop.told" &
	in_folder "$WWW/blog" knock "$U" -p 32 -n 2 "$WORLD" >"$WWW/blog.told"
	wait %%
	cat "$WWW/shop.told" "$WWW/blog.told" >&2
	sed -n 's/^admitted \([0-9]*\) .* failed 0 .*/\1/p' "$WWW/shop.told" "$WWW/blog.told" |
		paste -sd+ | bc
}

@test "64 processes in two folders of one user get exactly what the limits leave" {
	[ "$(race 30 40)" = 40 ]
	[ "$(used "uid:$U")" = 40 ]
	[ $(($(used "dir:$WWW/shop") + $(used "dir:$WWW/blog"))) = 40 ]
	[ "$(used "dir:$WWW/shop")" -le 30 ] && [ "$(used "dir:$WWW/blog")" -le 30 ]
	[ "$(race 15 40)" = 30 ]
	[ "$(used "dir:$WWW/shop") $(used "dir:$WWW/blog") $(used "uid:$U")" = '15 15 30' ]
}

@test "a folder that is moved stays blocked, and one made anew in its place is another" {
	in_folder "$WWW/shop" is_admitted "$U" "$WORLD"
	smtpwall block "dir:$WWW/shop"
	mv "$WWW/shop" "$WWW/moved"
	mkdir "$WWW/shop"
	in_folder "$WWW/shop" is_admitted "$U" "$WORLD"
	! smtpwall blocks | grep -F "dir:$WWW/shop " || false # the block is not that of the new one
	in_folder "$WWW/moved" is_refused "$U" "$WORLD"
	block_is "dir:$WWW/moved" '.hits == 1'
	# and one that is deleted, while a process is still in it
	(cd "$WWW/moved" && rmdir "$WWW/moved" && is_refused "$U" "$WORLD")
	smtpwall -j blocks | jq -e --arg n "$WWW/moved" \
		'any(.blocks[]; (.subject | startswith("dir:#")) and (.name | startswith($n)) and .hits == 2)'
	smtpwall unblock "dir:$WWW/moved"
	smtpwall -j blocks | jq -e '.blocks == []'
}

@test "a folder deleted and made again is another, though it gets the same inode number" {
	local removed
	own_disk "$WWW"
	mkdir "$WWW/shop"
	in_folder "$WWW/shop" is_admitted "$U" "$WORLD"
	smtpwall block "dir:$WWW/shop"
	in_folder "$WWW/shop" is_refused "$U" "$WORLD"
	made_anew "$WWW/shop"
	in_folder "$WWW/shop" is_admitted "$U" "$WORLD"
	[ "$(direct "dir:$WWW/shop")" = '1 0' ]
	removed=$(smtpwall -j list dir | jq -r --arg n "$WWW/shop" '.subjects[] |
		select((.subject | startswith("dir:#")) and .name == $n).subject')
	[ "$(direct "$removed")" = '1 1' ]
	block_is "$removed" '.hits == 1'
	# its path means the one that is there now
	smtpwall block "dir:$WWW/shop"
	in_folder "$WWW/shop" is_refused "$U" "$WORLD"
	smtpwall unblock "dir:$WWW/shop"
	in_folder "$WWW/shop" is_admitted "$U" "$WORLD"
	block_is "$removed" .
	smtpwall unblock "$removed"
	smtpwall -j blocks | jq -e '.blocks == []'
}

@test "a bind mount of a folder is the folder; of a site's part it is not the site" {
	with_sites
	mkdir "$WWW.bound" "$WWW.part"
	mount --bind "$WWW/shop" "$WWW.bound"
	mount --bind "$WWW/shop/part" "$WWW.part"
	smtpwall block "dir:$WWW.bound"
	in_folder "$WWW/shop" is_refused "$U" "$WORLD"
	in_folder "$WWW.bound" is_refused "$U" "$WORLD"
	in_folder "$WWW.bound/part" is_refused "$U" "$WORLD"
	in_folder "$WWW.part" is_admitted "$U" "$WORLD"
	in_folder "$WWW/blog" is_admitted "$U" "$WORLD"
	smtpwall -j blocks | jq -e '.blocks | length == 1'
}

@test "folders on an overlay are told apart, and have their path" {
	mkdir -p "$WWW.upper" "$WWW.work" "$WWW.merged"
	mount -t overlay overlay -o "lowerdir=$WWW,upperdir=$WWW.upper,workdir=$WWW.work" "$WWW.merged"
	in_folder "$WWW.merged/shop" is_admitted "$U" "$WORLD"
	[ "$(direct "dir:$WWW.merged/shop")" = '1 0' ]
	smtpwall block "dir:$WWW.merged/shop"
	in_folder "$WWW.merged/shop" is_refused "$U" "$WORLD"
	in_folder "$WWW.merged/blog" is_admitted "$U" "$WORLD"
	in_folder "$WWW/shop" is_admitted "$U" "$WORLD" # the folder below is another
}

# tour UID FIRST LAST: one attempt in each of these folders of $WWW; those that are refused
tour() {
	as_user "$1" /usr/bin/python3 - "$WWW" "$2" "$3" "$WORLD" <<-'END'
		import os, socket, sys
		refused = 0
		for i in range(int(sys.argv[2]), int(sys.argv[3])):
		    os.chdir("%s/d%d" % (sys.argv[1], i))
		    with socket.socket() as s:
		        try:
		            s.connect((sys.argv[4], 25))
		        except PermissionError:
		            refused += 1
		print(refused)
	END
}

@test "a user has 256 folders of his own, then one row for all others; sites cost nobody's quota" {
	for ((i = 0; i < 300; i++)); do echo "$WWW/d$i"; done | xargs mkdir
	[ "$(tour "$U" 0 260)" = 0 ]
	[ "$(smtpwall -j list dir | jq --arg w "$WWW/d" '[.subjects[] | select(.subject | startswith("dir:" + $w))] | length')" = 256 ]
	[ "$(direct "dir:~$U")" = '4 0' ]
	[ "$(row "dir:~$U" .name)" = "other folders of uid $U" ]
	[ "$(tour "$V" 0 1)" = 0 ] # the neighbour has his own quota
	[ "$(direct "dir:$WWW/d0")" = '2 0' ]
	smtpwall block "dir:~$U"
	[ "$(tour "$U" 0 260)" = 4 ]
	[ "$(tour "$V" 256 260)" = 0 ]
	smtpwall unblock "dir:~$U"
	chown "$V" "$WWW"/d2[6-9]*
	config 'mode = enforce' "site_roots = {\"$WWW/d2[6-9]*\"}"
	reload
	eventually is_a_site "$WWW/d299"
	[ "$(tour "$U" 260 300)" = 0 ]
	[ "$(direct "dir:~$U")" = '4 4' ]
	[ "$(direct "dir:$WWW/d270")" = '1 0' ]
}

@test "deep below its site a script still is the site's" {
	with_sites
	local deep=$WWW/shop
	for depth in 40 300; do
		until [ "$(tr -dc / <<<"${deep#"$WWW/shop"}" | wc -c)" -ge $depth ]; do deep+=/d; done
		mkdir -p "$deep"
		in_folder "$deep" is_admitted "$U" "$WORLD"
	done
	[ "$(direct "dir:$WWW/shop")" = '2 0' ]
	smtpwall block "dir:$WWW/shop"
	in_folder "$deep" is_refused "$U" "$WORLD"
}

@test "a new site is known when it is made, and a folder that became one is counted as one" {
	with_sites
	is_a_site "$WWW/blog"
	mkdir -p "$WWW/new/inner"
	eventually is_a_site "$WWW/new"
	in_folder "$WWW/new/inner" is_admitted "$U" "$WORLD"
	[ "$(direct "dir:$WWW/new")" = '1 0' ]
}

# session_in FOLDER NAME UID…: as session
session_in() {
	pushd "$1" >/dev/null || return
	session "${@:2}"
	popd >/dev/null || return
}

@test "a live session ends when its folder or its unit is blocked; the neighbour's lives" {
	session_in "$WWW/shop" shop "$U"
	session_in "$WWW/blog" blog "$U"
	live 2
	smtpwall block "dir:$WWW/shop"
	eventually live 1
	say blog NOOP
	eventually heard blog 250 1
	smtpwall unblock --all
	in_unit cut.service session unit "$V"
	live 2
	smtpwall block "$(unit cut.service)"
	eventually live 1
	say blog NOOP
	eventually heard blog 250 2
}
# live N: so many sessions
live() { [ "$(in_box ss -Htn state established 'dport = :25' | wc -l)" = "$1" ]; }

@test "a policy blocks a folder, longer the second time; observed blocks of folders are made real" {
	policy folders "users = {$U}  subject = dir  limits = {\"1 connections per 1s\"}  action = block
		block_for = 10m  escalate = {2h}  escalate_within = 1d"
	reload
	in_folder "$WWW/shop" expect 'admitted 1 refused 1' knock "$U" -n 2 "$WORLD"
	in_folder "$WWW/blog" is_admitted "$U" "$WORLD"
	block_is "dir:$WWW/shop" '.by == "limit" and .policy == "folders"'
	eventually is_told "dir:$WWW/shop" block
	sqlite3 -cmd '.timeout 2000' "$LAB/state/smtpwall.db" 'UPDATE offence SET time_ms = time_ms - 5000'
	bpftool -j map dump pinned "$LAB/bpf/smtpwall/dir_blocks" | jq -r '.[0].key | join(" ")' |
		xargs bpftool map delete pinned "$LAB/bpf/smtpwall/dir_blocks" key
	sleep 1.2 # the window of the limit
	in_folder "$WWW/shop" expect 'admitted 1 refused 1' knock "$U" -n 2 "$WORLD"
	eventually lasts_two_hours "dir:$WWW/shop"
	smtpwall unblock "dir:$WWW/shop"
	smtpwall mode observe >/dev/null
	sleep 1.2
	in_folder "$WWW/blog" expect 'admitted 2 refused 0' knock "$U" -n 2 "$WORLD"
	block_is "dir:$WWW/blog" '.enforced | not'
	smtpwall mode enforce --apply >/dev/null
	in_folder "$WWW/blog" is_refused "$U" "$WORLD"
	in_folder "$WWW/shop" is_admitted "$U" "$WORLD"
}
lasts_two_hours() {
	block_is "$1" 'def s: sub("\\.[0-9]+"; "") | fromdateiso8601; (.until | s) - (.since | s) | . > 7190 and . < 7210'
}

is_held() {
	[ "$(sqlite3 -cmd '.timeout 2000' "$LAB/state/smtpwall.db" \
		"SELECT count(*) FROM held WHERE subject LIKE '%$1'")" -gt 0 ]
}
lose_kernel() {
	kill -KILL "$(daemon_pid)" && eventually daemon_is_gone
	smtpwall detach >/dev/null
}

@test "blocks of folders and units are there after a reboot; of a folder that is another now they are told" {
	own_disk "$WWW"
	mkdir "$WWW"/{shop,blog,gone,anew}
	for folder in shop gone anew; do smtpwall block "dir:$WWW/$folder" --for 1h; done
	smtpwall block "$(unit kept.service)" --for 1h
	smtpwall allow "dir:$WWW/blog" --for 1h
	smtpwall block "dir:~$V" --for 1h
	eventually is_held "$WWW/anew"
	eventually is_held "$WWW/blog"
	eventually is_held kept.service
	eventually is_held "~$V"
	lose_kernel
	sqlite3 "$LAB/state/smtpwall.db" "UPDATE clock SET boot = 'another'"
	sqlite3 "$LAB/state/smtpwall.db" "UPDATE held SET subject = replace(subject, 'dir:=', 'dir:=1')" # another disk
	made_anew "$WWW/anew"
	rmdir "$WWW/gone"
	daemon_starts
	in_folder "$WWW/shop" is_refused "$U" "$WORLD"
	block_is "dir:$WWW/shop" '.restored'
	block_is "$(unit kept.service)" '.restored'
	block_is "dir:~$V" '.restored'
	in_unit kept.service is_refused "$U" "$WORLD"
	in_folder "$WWW/anew" is_admitted "$U" "$WORLD"
	smtpwall -j allowed | jq -e --arg s "dir:$WWW/blog" 'any(.allowed[]; .subject == $s)'
	is_told "dir:$WWW/gone" restore
	is_told "dir:$WWW/anew" restore
	# and in the same boot by number, also where it was moved
	eventually is_held "$WWW/shop"
	lose_kernel
	mv "$WWW/shop" "$WWW/elsewhere"
	daemon_starts
	in_folder "$WWW/elsewhere" is_refused "$U" "$WORLD"
}

@test "names of folders and units move no cursor and break no line" {
	local evil=$'e\e[31mvil"\u202e' folder=$WWW/$'e\e[31mvil\nline"\u202e'
	mkdir "$folder"
	in_folder "$folder" in_unit "$evil.service" is_admitted "$U" "$WORLD"
	smtpwall list >"$LAB/list"
	smtpwall -j list >"$LAB/json"
	! grep -P '\e|\x{202e}' "$LAB/list" "$LAB/json" || false
	grep 'vil?line' "$LAB/list"
	[ "$(grep -c 'line' "$LAB/list")" = 1 ]
	jq -e --arg f "$folder" 'any(.subjects[]; (.subject | startswith("dir:#")) and .name == $f)' "$LAB/json"
	jq -e --arg u "$evil.service" 'any(.subjects[]; (.subject | startswith("unit:#")) and .name == $u)' "$LAB/json"
	# by number, and by its path all the same
	smtpwall -j show "$(jq -r --arg f "$folder" '.subjects[] | select(.name == $f).subject' "$LAB/json")" |
		jq -e --arg f "$folder" '.name == $f and .evidence[0].cwd == $f'
	smtpwall block "dir:$folder"
	in_folder "$folder" is_refused "$U" "$WORLD"
	smtpwall unblock "$(smtpwall -j blocks | jq -r '.blocks[0].subject')"
	in_folder "$folder" is_admitted "$U" "$WORLD"
	rmdir "$LAB_CGROUP/$evil.service"
}

@test "a container is its unit, and its folders are no folders of this machine's paths" {
	local root=$LAB/$BATS_TEST_NUMBER/root
	mkdir -p "$root/bin" "$root/www/shop" "$root/proc" "$root/old"
	cp "$LAB/bin/knock" "$root/bin/"
	in_unit docker-abc.scope in_box unshare --pid --fork --mount bash -c "
		mount --bind '$root' '$root' && cd '$root' && pivot_root . old && cd /www/shop &&
		exec /bin/knock -n 2 $WORLD"
	[ "$(direct "$(unit docker-abc.scope)")" = '2 0' ]
	[ "$(row "$(unit docker-abc.scope)" .container)" = abc ]
	smtpwall -j list dir | jq -e 'any(.subjects[]; (.subject | startswith("dir:#") or startswith("dir:/tmp")) and .roads.direct.connections == 2)'
	! smtpwall -j list dir | jq -e 'any(.subjects[]; .subject == "dir:/www/shop")' || false
	smtpwall block "$(unit docker-abc.scope)"
	in_unit docker-abc.scope is_refused "$U" "$WORLD"
}

booted_long_ago() {
	local up
	read -r up _ </proc/uptime
	[ "${up%.*}" -ge 600 ]
}

@test "what is no folder or unit is refused, and what is not there is said" {
	for subject in dir: dir:relative dir:~ dir:#1 'dir:#8:1/0' unit: unit:relative unit:#xyz unit:/a/../b; do
		run smtpwall show "$subject"
		[ "$status" = 2 ] || { echo "$subject: $status" >&2; return 1; }
	done
	for subject in dir:/no/such/folder dir:/etc/passwd 'dir:~nobody-has-this-name' \
		unit:/no/such/unit unit:#1234; do
		run smtpwall show "$subject"
		[ "$status" = 3 ] || { echo "$subject: $status" >&2; return 1; }
	done
	if booted_long_ago; then # before that its file system may yet be mounted
		run smtpwall show 'dir:#8:1/9999999'
		[ "$status" = 3 ]
	fi
	smtpwall show "dir:$WWW/shop" | grep -q 'never seen'
}
