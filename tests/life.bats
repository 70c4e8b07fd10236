# SPDX-License-Identifier: GPL-2.0-or-later
# The gate stands whatever becomes of the daemon, its pins and its hooks; and goes when it is told.

# shellcheck disable=SC2086 # words on purpose; users are numbers

load life

# One that is to end by itself.
run_daemon() { in_box timeout 60 "$LAB_BUILD/smtpwalld" --foreground -c "$LAB/etc/smtpwall.conf"; }

# refuses_to_start REGEX: in one line
refuses_to_start() {
	run run_daemon
	[ "$status" -eq 1 ] || { echo "status $status: $output"; return 1; }
	[[ $output =~ $1 ]] || { echo "not '$1': $output"; return 1; }
	[ ${#lines[@]} -eq 1 ] || { echo "several lines: $output"; return 1; }
}

# ---- the daemon ends, limits do not ----

@test "killed -9: limits and blocks go on, the command works, and the next daemon takes over" {
	limited
	start_daemon
	expect 'admitted 1 refused 0' knock $U "$WORLD"
	smtpwall block uid:$V
	before=$(link_ids) hooks=$(attached)
	daemon_dies

	expect 'admitted 1 refused 1' knock $U -n 2 "$WORLD"
	is_refused $V "$WORLD"
	run smtpwall status
	[[ $status -eq 0 && $output == *'NOT RUNNING'* ]]
	smtpwall -j status | jq -e '.daemon.running == false and .daemon.pid == null'
	[ "$(ledger uid:$U direct.refused)" = 1 ]
	smtpwall list | grep -q "uid:$U "
	smtpwall blocks | grep -q "uid:$V "
	smtpwall show uid:$U | grep -q 'more is refused'
	smtpwall unblock uid:$V
	is_admitted $V "$WORLD"
	smtpwall block uid:$W --for 1h
	is_refused $W "$WORLD"
	smtpwall mode observe
	is_admitted $U "$WORLD"
	smtpwall mode enforce --for 6s
	is_refused $U "$WORLD"
	eventually is_admitted $U "$WORLD"
	smtpwall mode enforce

	refused=$(ledger uid:$U direct.refused) connections=$(ledger uid:$U direct.connections)
	start_daemon
	logged 'has taken over the standing gate'
	[ "$(link_ids)" = "$before" ]
	[ "$(attached)" = "$hooks" ]
	[ "$(ledger uid:$U direct.connections)" = "$connections" ]
	[ "$(ledger uid:$U direct.refused)" = "$refused" ]
	is_refused $U "$WORLD"
	blocked uid:$W
	is_refused $W "$WORLD"
}

@test "twenty restarts in a storm: never one more than the limit, and the neighbour is never refused" {
	config 'mode = enforce' 'exempt { users = {root, 2009} }'
	policy storm 'users = {2001}  limits = {"25 connections per 1h"}'
	start_daemon
	for user in $U 2009; do # the daemon starts no slower for them
		as_user $user nice -n 19 "$LAB/bin/knock" -p 2 -s 600 "$WORLD" >/dev/null 3>&- &
	done
	eventually logged 'refused: uid 2001'
	before=$(link_ids)
	for _ in {1..20}; do
		daemon_dies
		start_daemon
		[ "$(link_ids)" = "$before" ]
	done
	eventually has_tried 2009 100
	eventually has_tried $U 1000
	[ "$(ledger uid:$U direct.connections)" = 25 ]
	[ "$(ledger uid:2009 direct.refused)" = 0 ]
}
has_tried() { [ "$(smtpwall -j show "uid:$1" | jq '.roads.direct | .connections + .refused')" -gt "$2" ]; }

@test "SIGSTOP: limits, blocks and their ends go on; SIGCONT: so does the daemon" {
	limited
	start_daemon
	kill -STOP "$LAB_DAEMON"
	use_up $U
	smtpwall block uid:$V --for 6s
	is_refused $V "$WORLD"
	eventually is_admitted $V "$WORLD"
	kill -CONT "$LAB_DAEMON"
	eventually logged "refused: uid $U"
}

@test "SIGTERM leaves the gate standing, and says so" {
	limited
	start_daemon
	before=$(link_ids)
	stop_daemon
	logged 'stopped by SIGTERM; the gate stands on.*smtpwall detach'
	[ "$(link_ids)" = "$before" ]
	use_up $U
}

@test "a second daemon is refused, and the first goes on" {
	limited
	start_daemon
	before=$(link_ids)
	refuses_to_start 'is held by another smtpwalld: stop it first'
	[ "$(link_ids)" = "$before" ]
	[ "$(daemon_pid)" = "$LAB_DAEMON" ]
	use_up $U
}

@test "the idle windows of a user are taken away, those in use stay" {
	config 'mode = enforce'
	policy short 'users = {2001}  limits = {"5 connections per 1s"}'
	policy long 'users = {2002}  limits = {"5 connections per 1h"}'
	start_daemon
	stop_daemon
	is_admitted $U "$WORLD"
	is_admitted $V "$WORLD"
	windows() { bpftool -j map dump pinned "$(pins)/windows" | jq -c "[.[].formatted.key | select(.kind == 0).id] | sort"; }
	windows_are() { [ "$(windows)" = "$1" ]; }
	windows_are '[2001,2002]'
	sleep 1.1 # two windows of a second, which begin at the connection
	start_daemon # each looks at once
	eventually windows_are '[2002]'
	is_admitted $U "$WORLD"
}

# ---- starting ----

@test "a configuration that is wrong is told with its line, and nothing is changed" {
	limited
	config 'mode = maybe'
	refuses_to_start "smtpwall.conf:4: 'maybe'.*write observe or enforce"
	not pinned .
	[ "$(attached)" -eq 0 ]

	config 'mode = enforce'
	start_daemon
	before=$(link_ids) generation=$(rules_generation)
	daemon_dies
	echo 'limit = {"1 connections per 1h"}' >>"$LAB/etc/smtpwall.conf"
	refuses_to_start 'smtpwall.conf:5: '
	[ "$(link_ids)" = "$before" ]
	[ "$(rules_generation)" = "$generation" ]
	use_up $U
}

@test "into the background: the parent returns when the gate stands" {
	limited
	(cd "$LAB/etc" && in_box "$LAB_BUILD/smtpwalld" -c smtpwall.conf </dev/null >"$LAB/daemon.log" 2>&1 3>&- 4>&-)
	stands
	use_up $U
	smtpwall reload
	smtpwall detach
	not pinned .
}

@test "into the background without any standard stream" {
	limited
	in_box "$LAB_BUILD/smtpwalld" -c "$LAB/etc/smtpwall.conf" <&- >&- 2>&- 3>&- 4>&-
	stands
	pid=$(daemon_pid)
	[ "$(readlink "/proc/$pid/fd/0" "/proc/$pid/fd/1" "/proc/$pid/fd/2" | sort -u)" = /dev/null ]
	use_up $U
	smtpwall detach
	not pinned .
}

@test "into the background: what fails is told by the parent, which fails" {
	limited 'ports = {0}'
	run in_box "$LAB_BUILD/smtpwalld" -c "$LAB/etc/smtpwall.conf"
	[ "$status" -eq 1 ]
	[[ ${#lines[@]} -eq 1 && $output == *smtpwall.conf:5:*'no port'* ]]
}

@test "a start that is killed half-way hinders neither the next nor detach" {
	limited
	for pause in 0.0{1..9} 0.{1..6}; do
		lab_start daemon.log "$LAB_BOX" "$LAB_CGROUP" \
			"$LAB_BUILD/smtpwalld" --foreground -c "$LAB/etc/smtpwall.conf"
		sleep "$pause"
		kill -KILL $! && wait $! || true
	done
	start_daemon
	use_up $U
	smtpwall detach
	for pause in 0.0{1..9} 0.{1..6}; do
		lab_start daemon.log "$LAB_BOX" "$LAB_CGROUP" \
			"$LAB_BUILD/smtpwalld" --foreground -c "$LAB/etc/smtpwall.conf"
		sleep "$pause"
		kill -KILL $! && wait $! || true
		smtpwall detach
		not pinned .
		[ "$(attached)" -eq 0 ]
	done
}

@test "nobody but root: told clearly" {
	limited
	cp "$LAB_BUILD/smtpwalld" "$LAB_BUILD/smtpwall" "$LAB/state"
	run as_user $U "$LAB/state/smtpwalld" --foreground -c "$LAB/etc/smtpwall.conf"
	[[ $status -eq 1 && $output == 'smtpwalld: must run as root' ]]
	run as_user $U "$LAB/state/smtpwall" -c "$LAB/etc/smtpwall.conf" status
	[[ $status -eq 1 && ${#lines[@]} -eq 1 && $output == *'are you root?'* ]]
	run in_box setpriv --bounding-set=-all --inh-caps=-all -- \
		"$LAB/state/smtpwalld" --foreground -c "$LAB/etc/smtpwall.conf"
	[[ $status -eq 1 && ${#lines[@]} -eq 1 && $output == *'not permitted'* ]]
}

@test "a cgroup that is none, or not there: told, and nothing is left" {
	cgroup_is() { sed -i "s|^cgroup = .*|cgroup = \"$1\"|" "$LAB/etc/smtpwall.conf"; }
	limited
	cgroup_is "$LAB/etc"
	refuses_to_start 'is no cgroup v2 directory'
	cgroup_is "$LAB_CGROUP/none"
	refuses_to_start "cannot use the cgroup '.*/none': No such file"
	not pinned .
}

# Somebody's directory is where a link is to be pinned.
@test "a first start that fails half-way leaves nothing, a later one the gate that stood" {
	programs() { bpftool -j cgroup show "$LAB_CGROUP" | jq -c 'map(.id) | sort'; }
	limited
	mkdir -p "$(pins)/links/socket_in"
	refuses_to_start "cannot attach 'socket_in'"
	[ "$(attached)" -eq 0 ]
	[ "$(find "$(pins)" -mindepth 1 | wc -l)" -eq 2 ] # the directories
	rmdir "$(pins)/links/socket_in"

	start_daemon
	stop_daemon
	rm "$(pins)/links/socket_in"
	mkdir "$(pins)/links/socket_in"
	before=$(programs)
	refuses_to_start "cannot attach 'socket_in'"
	[ "$(programs)" = "$before" ]
	use_up $U
	rmdir "$(pins)/links/socket_in"
	start_daemon
	[ "$(attached)" -eq 6 ]
}

@test "a pin_dir that is on no bpffs: the error names the mount command" {
	limited
	sed -i "s|^pin_dir = .*|pin_dir = \"$LAB/etc/pins\"|" "$LAB/etc/smtpwall.conf"
	refuses_to_start "mount -t bpf bpf $LAB/etc"
	[ ! -e "$LAB/etc/pins" ]
}

@test "a pin_dir that is not smtpwall's own is refused, and detach removes nothing there" {
	limited
	touch "$LAB/etc/precious"
	mkdir "$LAB/bpf/others"
	for directory in "$LAB/etc" "$LAB/bpf" /dev; do
		sed -i "s|^pin_dir = .*|pin_dir = \"$directory\"|" "$LAB/etc/smtpwall.conf"
		refuses_to_start "'$directory' is "
		run smtpwall detach
		[[ $status -eq 1 && ${#lines[@]} -eq 1 && $output == *"'$directory' is no pin_dir of smtpwall"* ]]
	done
	[ -e "$LAB/etc/precious" ]
	[ -d "$LAB/bpf/others" ]
}

# service_manager SOCKET FILE: which writes down what it is told
service_manager() {
	python3 - "$1" >"$2" 3>&- <<-'END' &
		import socket, sys
		s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		s.bind(sys.argv[1])
		while True:
		    print(s.recv(4096).decode(), flush=True)
	END
	BACKGROUND=$!
	eventually test -S "$1"
}

@test "the service manager is told when the gate stands, when it reloads and stops, and that it lives" {
	limited
	service_manager "$LAB/notify" "$LAB/notified"
	heard() { grep -qE -- "$1" "$LAB/notified"; }
	heard_ready() { [ "$(grep -cx READY=1 "$LAB/notified")" -ge "$1" ]; }
	export NOTIFY_SOCKET=$LAB/notify WATCHDOG_USEC=600000
	unset WATCHDOG_PID
	start_daemon
	unset NOTIFY_SOCKET WATCHDOG_USEC
	eventually heard_ready 1
	eventually heard '^STATUS=enforce, 1 policy, outside: eth0$'
	eventually heard '^WATCHDOG=1$'
	smtpwall reload
	eventually heard '^RELOADING=1$'
	eventually heard_ready 2
	stop_daemon
	eventually heard '^STOPPING=1$'
}

# ---- reload ----

@test "a reload that is wrong keeps the old policy, and is told with file and line" {
	limited
	start_daemon
	file=$LAB/etc/conf.d/10-customers.conf
	echo 'policy "worse" { users = {nobody}  limits = {"1 connection an hour"} }' >>"$file"
	run smtpwall reload
	[[ $status -eq 1 && ${#lines[@]} -eq 1 && $output == *"$file:4: "*'is no limit: write'* ]]
	smtpwall -j status | jq -e '[.policies[].name] == ["customers"]'
	kill -HUP "$LAB_DAEMON"
	eventually logged 'was not loaded, the old configuration goes on'
	eventually logged "$file:4: .*is no limit: write"
	use_up $U
	eventually event_told '.event == "reload" and .reason != null'
}

@test "a reload changes the policies at once, and the windows of those that stay go on" {
	limited
	policy others 'users = {3001}  limits = {"1 connections per 1h"}'
	start_daemon
	expect 'admitted 1 refused 0' knock $U "$WORLD"
	expect 'admitted 1 refused 1' knock 3001 -n 2 "$WORLD"
	no_policies
	policy first 'users = {3002}  limits = {"1 connections per 1h"}'
	policy customers 'users = {"2000-2999"}  limits = {"2 connections per 1h"}'
	run smtpwall reload
	[[ $status -eq 0 && $output == 'reloaded: 2 policies' ]]
	is_admitted 3001 "$WORLD"
	expect 'admitted 1 refused 1' knock $U -n 2 "$WORLD"
}

@test "what the gate is made with cannot change while it stands" {
	limited
	start_daemon
	for line in 'max_users = 1000' 'outside_hook = clsact' "state_dir = \"$LAB/etc\"" 'cgroup = auto' \
		"pin_dir = \"$LAB/bpf/other\""; do
		config
		sed -i "/^${line%% *} =/d" "$LAB/etc/smtpwall.conf"
		echo "$line" >>"$LAB/etc/smtpwall.conf"
		run smtpwall --pin-dir "$(pins)" reload
		[ "$status" -eq 1 ]
		eventually logged "'${line%% *}' cannot change while the gate stands"
	done
	use_up $U
}

@test "a reload without a daemon says so" {
	limited
	start_daemon
	stop_daemon
	run smtpwall reload
	[[ $status -eq 1 && ${#lines[@]} -eq 1 && $output == *'not running'* ]]
}

# ---- detach ----

@test "detach stops the daemon and removes everything; once more is no error" {
	limited
	programs() { bpftool -j prog show | jq '[.[].id]'; }
	start_daemon
	use_up $U
	mapfile -t ours < <(bpftool -j cgroup show "$LAB_CGROUP" | jq '.[].id')
	[ ${#ours[@]} -eq 6 ]
	links=$(link_ids | awk '{ print $2 }')
	run smtpwall detach
	[ "$status" -eq 0 ]
	wait "$LAB_DAEMON"
	not pinned .
	[ "$(attached)" -eq 0 ]
	gone() { not bpftool "$1" show id "$2" >/dev/null 2>&1; }
	for id in "${ours[@]}"; do eventually gone prog "$id"; done
	for id in $links; do eventually gone link "$id"; done
	is_admitted $U "$WORLD"
	run smtpwall detach
	[ "$status" -eq 0 ]
	run smtpwall status
	[[ $status -eq 1 && ${#lines[@]} -eq 1 && $output == *'nothing is loaded'* ]]
}

@test "detach ends a daemon that is stopped" {
	limited
	start_daemon
	kill -STOP "$LAB_DAEMON"
	smtpwall detach
	not pinned .
	eventually logged 'stopped by SIGTERM'
}

@test "detach after kill -9" {
	limited
	start_daemon
	daemon_dies
	smtpwall detach
	not pinned .
	[ "$(attached)" -eq 0 ]
	is_admitted $U "$WORLD"
}

clsact() { in_box tc qdisc show dev eth0 | grep -q 'qdisc clsact'; }
filters() { in_box tc filter show dev eth0 egress; }
filtered() { filters | grep -q "$1"; }

@test "clsact: counted, found again by the next daemon, and detach takes filter and qdisc" {
	limited 'outside_hook = clsact'
	start_daemon
	hooked eth0 clsact
	use_up $U
	[ "$(ledger uid:$U direct.connections)" = 2 ]
	[ "$(smtpwall -j status | jq .wire.connections)" = 2 ]
	daemon_dies
	start_daemon
	[ "$(filters | grep -c 'handle 0x25 egress')" -eq 1 ]
	smtpwall detach
	not clsact
}

@test "clsact: somebody else's qdisc and filters stay, older than ours or younger" {
	limited 'outside_hook = clsact'
	in_box tc qdisc add dev eth0 clsact
	in_box tc filter add dev eth0 egress prio 77 protocol ip u32 match u32 0 0 flowid 1:1
	start_daemon
	hooked eth0 clsact
	smtpwall detach
	clsact
	filtered 'pref 77'
	not filtered 'pref 25 '
	in_box tc qdisc del dev eth0 clsact

	start_daemon
	in_box tc filter add dev eth0 ingress prio 78 protocol ip u32 match u32 0 0 flowid 1:1
	smtpwall detach
	in_box tc filter show dev eth0 ingress | grep -q 'pref 78'
	not filtered 'pref 25 '
}

# In a mount namespace that lacks both; its cgroup namespace keeps the lab's cgroup the root.
without_mounts() {
	umount -l /sys/fs/bpf 2>/dev/null
	while cgroup2=$(awk '$9 == "cgroup2" || $10 == "cgroup2" { print $5; exit }' /proc/self/mountinfo) &&
		[ -n "$cgroup2" ]; do
		umount -l "$cgroup2" || return 99
	done
	mounted() { awk '$5 == "/sys/fs/bpf" || $5 == "/run/smtpwall-cgroup2"' /proc/self/mountinfo | wc -l; }
	smtpwalld=$1 smtpwall=$2 config=$3
	"$smtpwalld" -c "$config" || return 11
	echo "up: $(mounted)"
	"$smtpwall" -c "$config" status || return 12
	umount -l /sys/fs/bpf
	for _ in {1..400}; do
		"$smtpwall" -c "$config" status >/dev/null 2>&1 && break
		sleep 0.05
	done
	echo "again: $(mounted)"
	"$smtpwall" -c "$config" detach || return 13
	echo "down: $(mounted)"
	[ ! -e /run/smtpwall-cgroup2 ] || return 14
}

@test "bpffs and cgroup2 are mounted where they are missing, bpffs again, and detach unmounts them" {
	limited
	printf 'state_dir = "%s"\nmode = enforce\n' "$LAB/state" >"$LAB/etc/smtpwall.conf"
	umount -l "$LAB/bpf"
	run in_box unshare --mount --cgroup --propagation private -- bash -c \
		"$(declare -f without_mounts); without_mounts \"\$@\" 2>&1 3>&- 4>&-" - \
		"$LAB_BUILD/smtpwalld" "$LAB_BUILD/smtpwall" "$LAB/etc/smtpwall.conf"
	echo "$output"
	[ "$status" -eq 0 ]
	[[ $output == *'up: 2'*'again: 2'*'down: 0'* ]]
}

# ---- others meddle ----

stand_again() { pinned links/connect4 && pinned uid_ledger && stands; }

@test "pins removed under the daemon are put back within a second, with all they hold" {
	limited
	start_daemon
	use_up $U
	smtpwall block uid:$V
	before=$(link_ids)
	mv "$(pins)" "$LAB/bpf/away" && rm -r "$LAB/bpf/away" # or they are put back into what goes
	is_refused $U "$WORLD"
	eventually logged 'took pins .* away: they are put back'
	eventually stand_again
	[ "$(link_ids)" = "$before" ]
	[ "$(ledger uid:$U direct.connections)" = 2 ]
	blocked uid:$V
	is_refused $V "$WORLD"
	smtpwall unblock uid:$V
	is_admitted $V "$WORLD"
	smtpwall reload
	eventually event_told '.event == "repair"'
	refuses_to_start 'is held by another smtpwalld'
	smtpwall detach
	not pinned .
}

@test "one pin removed is put back" {
	limited
	start_daemon
	rm "$(pins)/links/socket_out" "$(pins)/uid_blocks" "$(pins)/retire" "$(pins)"/links/egress_*
	eventually logged 'took pins .* away: they are put back'
	eventually stand_again
	eventually pinned retire
	eventually hooked eth0
	smtpwall block uid:$V
	is_refused $V "$WORLD"
}

@test "bpffs unmounted where the daemon may not mount it: told once, and pinned again when it is there" {
	limited
	start_daemon
	use_up $U
	before=$(link_ids)
	umount -l "$LAB/bpf"
	eventually logged 'is not on a bpffs'
	eventually logged 'took pins'
	sleep 1.2 # two more looks
	[ "$(times_logged 'took pins')" -eq 1 ]
	[ "$(times_logged 'is not on a bpffs')" -eq 1 ]
	is_refused $U "$WORLD"
	mount -t bpf -o mode=0700 bpf "$LAB/bpf"
	eventually logged 'took pins .* away: they are put back'
	stand_again
	[ "$(link_ids)" = "$before" ]
	is_refused $U "$WORLD"
}

@test "clsact deleted, or our filter in it: put back and told" {
	limited 'outside_hook = clsact'
	start_daemon
	in_box tc qdisc del dev eth0 clsact
	eventually logged_times 1 "our program was taken off the egress of 'eth0'"
	hooked eth0 clsact
	in_box tc filter del dev eth0 egress prio 25
	eventually logged_times 2 "our program was taken off the egress of 'eth0'"
	hooked eth0 clsact
	use_up $U
	[ "$(smtpwall -j status | jq .wire.connections)" = 2 ]
	smtpwall detach
	not clsact
}

@test "clsact: a filter before ours is told of, once" {
	limited 'outside_hook = clsact'
	start_daemon
	in_box tc filter add dev eth0 egress prio 7 protocol ip u32 match u32 0 0 flowid 1:1
	eventually logged "another filter stands before ours on the egress of 'eth0'"
	sleep 1.2 # two more looks
	[ "$(times_logged 'stands before ours')" -eq 1 ]
	use_up $U
}

@test "our links detached: put back and told, again and again" {
	limited
	start_daemon
	for time in 1 2 3; do
		bpftool link detach pinned "$(echo "$(pins)"/links/egress_*)"
		eventually logged_times $time "was taken off .*'eth0'"
		hooked eth0
	done
	bpftool link detach pinned "$(pins)/links/connect4"
	bpftool link detach pinned "$(pins)/links/socket_out"
	eventually stands
	[ "$(attached)" -eq 6 ]
	eventually logged "'connect4' was taken off the cgroup"
	use_up $U
}

# first_on_egress IFINDEX: a TCX link of somebody else, before all that are there; bpftool cannot
first_on_egress() {
	PYTHONPATH="$BATS_TEST_DIRNAME/clients" in_box python3 -B - "$1" 3>&- <<-'END' &
		import sys, time
		from raw_bpf import address, call, pack
		# r0 = TCX_NEXT; exit
		code = pack("<BBhi", 0xb7, 0, 0, -1) + pack("<BBhi", 0x95, 0, 0, 0)
		program = call(5, pack("<IIQQ", 3, 2, address(code), address(b"GPL")))
		call(28, pack("<IIII", program, int(sys.argv[1]), 47, 1 << 3))
		print("first", flush=True)
		time.sleep(600)
	END
	BACKGROUND=$!
}

@test "another program before ours on the egress: ours goes first again, and it is told" {
	limited
	start_daemon
	lab_start storm "$LAB_BOX" "$LAB_CGROUP" "$LAB/bin/knock" -p 2 -s 600 "$WORLD"
	storm=$!
	first_on_egress "$(in_box ip -j link show eth0 | jq ".[].ifindex")" >"$LAB/other" 2>&1
	eventually grep -q first "$LAB/other" || { cat "$LAB/other"; false; }
	eventually logged "another program was put before ours on the egress of 'eth0': ours goes first again"
	hooked eth0
	use_up $U
	kill -TERM $storm
	wait $storm
	# Not one has passed while ours went: all are counted on the wire, and once.
	eventually smtpwall_counts_all
	smtpwall detach
	kill -0 $BACKGROUND
}

smtpwall_counts_all() {
	smtpwall -j list uid | jq -e '[.subjects[] | .roads.direct.connections, -.wire.connections] | add == 0'
}

# ---- interfaces ----

wires_are() { [ "$(find "$(pins)/links" -name 'egress_*' | wc -l)" -eq "$1" ]; }

@test "an interface that appears is counted, one that goes is let go, and comes again" {
	limited
	start_daemon
	for _ in 1 2; do
		in_box ip link add late0 type veth peer name late1
		in_box ip link set late0 up
		in_box ip addr add 192.0.2.1/24 dev late0
		in_box ip route add default via 192.0.2.2 dev late0 metric 500
		eventually hooked late0
		in_box ip link del late0
		eventually unhooked late0
	done
	eventually logged_times 2 "leaves by 'late0'.* is counted"
	eventually logged_times 2 "'late0'.* is no longer counted: it is gone"
	eventually wires_are 1
	eventually event_told '.event == "attach"'
	stands
}

@test "an interface that a route leaves no more is let go" {
	limited
	start_daemon
	hooked eth0
	in_box ip route del default
	in_box ip -6 route del default
	eventually unhooked eth0
	eventually logged 'is not outside any more'
	stands
	in_box ip route add default via "$WORLD"
	eventually hooked eth0
}

@test "a start without an outside interface: users are judged, and it is attached when it comes" {
	limited
	in_box ip route del default
	in_box ip -6 route del default
	start_daemon
	eventually logged 'no interface is outside yet'
	stands
	in_box ip route add 203.0.113.0/24 via "$WORLD"
	eventually hooked eth0
	use_up $U
}

@test "interfaces by name and glob" {
	limited 'interfaces = {"late*", eth0}'
	in_box ip route del default
	start_daemon
	in_box ip link add late7 type veth peer name other7
	eventually hooked late7
	hooked eth0
	unhooked other7
}

@test "interfaces that came, went or were left while no daemon ran are put right by the next" {
	limited
	in_box ip link add gone type veth peer name gone-peer
	in_box ip link set gone up
	in_box ip route add 203.0.113.1 dev gone
	in_box ip route add default dev gone metric 77
	in_box ip link add left type veth peer name left-peer
	in_box ip link set left up
	in_box ip route add default dev left metric 78
	start_daemon
	hooked gone
	hooked left
	daemon_dies
	in_box ip link del gone
	in_box ip route del default dev left
	in_box ip link add came type veth peer name came-peer
	in_box ip link set came up
	in_box ip route add default dev came metric 79
	run smtpwall status
	[[ $status -eq 1 && $output == *'MISSING  came'* ]]
	start_daemon
	hooked came
	unhooked left
	hooked eth0
	wires_are 2
}

@test "another kind of hook, chosen while no daemon runs, takes the place of the first" {
	limited
	start_daemon
	daemon_dies
	limited_by() { sed -i '/outside_hook/d' "$LAB/etc/smtpwall.conf"; echo "outside_hook = $1" >>"$LAB/etc/smtpwall.conf"; }
	limited_by clsact
	start_daemon
	hooked eth0 clsact
	daemon_dies
	limited_by tcx
	start_daemon
	hooked eth0 tcx
	not clsact
	use_up $U
	[ "$(smtpwall -j status | jq .wire.connections)" = 2 ]
}

@test "another size of the maps, chosen while no daemon runs, waits for detach" {
	limited
	start_daemon
	daemon_dies
	echo 'max_users = 100' >>"$LAB/etc/smtpwall.conf"
	start_daemon
	logged "the map 'uid_ledger' keeps its 65536 rows"
	smtpwall detach
	start_daemon
	smtpwall -j status | jq -e '.maps[] | select(.name == "uid_ledger") | .max == 100'
}

# ---- another version ----

# As hexadecimal bytes, with another number at the head.
make_abi() {
	local value
	read -ra value < <(bpftool -j map lookup pinned "$(pins)/control" key 0 0 0 0 | jq -r '.value | join(" ")')
	bpftool map update pinned "$(pins)/control" key 0 0 0 0 value "$1" 0 0 0 "${value[@]:4}"
}

@test "pins of another version: the command tells, the daemon takes them over, and detach removes them" {
	limited
	start_daemon
	use_up $U
	stop_daemon
	make_abi 250
	before=$(link_ids)
	for verb in status list blocks "block uid:$U" 'unblock --all' 'mode enforce' reload; do
		run smtpwall $verb
		[[ $status -eq 1 && ${#lines[@]} -eq 1 && $output == *'another version of smtpwall (ABI 250'* ]]
	done
	start_daemon
	logged 'version 250 of the maps held was carried over'
	[ "$(link_ids)" = "$before" ]
	is_refused $U "$WORLD"
	[ "$(ledger uid:$U direct.connections)" = 2 ]
	stop_daemon
	make_abi 250
	smtpwall detach
	not pinned .
	[ "$(attached)" -eq 0 ]
	start_daemon
	use_up $U
}

@test "pins of another layout: told clearly, and detach removes them" {
	limited
	start_daemon
	stop_daemon
	rm "$(pins)/control"
	bpftool map create "$(pins)/control" type array key 4 value 64 entries 1 name control
	mapfile -t zeros < <(printf '0\n%.0s' {1..63})
	bpftool map update pinned "$(pins)/control" key 0 0 0 0 value 251 "${zeros[@]}"
	refuses_to_start 'made by another version of smtpwall .ABI 251'
	smtpwall detach
	not pinned .
	[ "$(attached)" -eq 0 ]
}
