// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/bpf.h>

#include "maps.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>

#include <smtpwall/names.h>
#include <smtpwall/window.h>

#include "cleanup.h"
#include "pinned.h"

#define NS_PER_SECOND 1000000000ULL
#define LOCK_PATIENCE_NS (5 * NS_PER_SECOND)
#define BATCH 1024	  /* rows read at a time */
#define READ_ATTEMPTS 100 /* of a rule set, while generations change under us */

enum map {
	MAP_CONTROL,
	MAP_HEALTH,
	MAP_RULES,
	MAP_USERS,
	MAP_OWN_ADDRESSES,
	MAP_UID_LEDGER,
	MAP_UNIT_LEDGER,
	MAP_DIR_LEDGER,
	MAP_DIR_QUOTAS,
	MAP_IP_LEDGER,
	MAP_NET_LEDGER,
	MAP_WINDOWS,
	MAP_UID_BLOCKS,
	MAP_UNIT_BLOCKS,
	MAP_DIR_BLOCKS,
	MAP_IP_BLOCKS,
	MAP_BLOCK_EPOCH,
	MAP_UID_ALLOWED,
	MAP_UNIT_ALLOWED,
	MAP_DIR_ALLOWED,
	MAP_EVIDENCE,
	MAP_UNIT_NAMES,
	MAP_DIR_NAMES,
	MAP_ELDERS,
	MAP_TAGS,
	MAP_ABROAD,
	MAP_PORTS,
	MAP_NETWORKS,
	MAP_UNITS,
	MAP_PLACES,
	MAPS
};

/* As bpf/lib/maps.h pins them. A map of other sizes is another version's. */
static const struct {
	const char *name;
	__u32 key_size;
	__u32 value_size;
	bool fills; /* its rows come and go: `status` says how full it is */
} kinds_of_map[MAPS] = {
	[MAP_CONTROL] = { "control", 4, sizeof(struct sw_control), false },
	[MAP_HEALTH] = { "health", 4, sizeof(struct sw_health), false },
	[MAP_RULES] = { "rules", 4, 4, false },
	[MAP_USERS] = { "users", 4, 4, false },
	[MAP_OWN_ADDRESSES] = { "own_addresses", sizeof(struct sw_ip), 4, true },
	[MAP_UID_LEDGER] = { "uid_ledger", sizeof(struct sw_uid), sizeof(struct sw_ledger), true },
	[MAP_UNIT_LEDGER] = { "unit_ledger", sizeof(struct sw_unit), sizeof(struct sw_ledger),
			      true },
	[MAP_DIR_LEDGER] = { "dir_ledger", sizeof(struct sw_dir), sizeof(struct sw_ledger), true },
	[MAP_DIR_QUOTAS] = { "dir_quotas", sizeof(struct sw_uid), 8, true },
	[MAP_IP_LEDGER] = { "ip_ledger", sizeof(struct sw_ip), sizeof(struct sw_ledger), true },
	[MAP_NET_LEDGER] = { "net_ledger", sizeof(struct sw_network), sizeof(struct sw_ledger),
			     true },
	[MAP_WINDOWS] = { "windows", sizeof(struct sw_windows_key), sizeof(struct sw_windows),
			  true },
	[MAP_UID_BLOCKS] = { "uid_blocks", sizeof(struct sw_uid_road), sizeof(struct sw_block),
			     true },
	[MAP_UNIT_BLOCKS] = { "unit_blocks", sizeof(struct sw_unit_road), sizeof(struct sw_block),
			      true },
	[MAP_DIR_BLOCKS] = { "dir_blocks", sizeof(struct sw_dir_road), sizeof(struct sw_block),
			     true },
	[MAP_IP_BLOCKS] = { "ip_blocks", sizeof(struct sw_ip_road), sizeof(struct sw_block), true },
	[MAP_BLOCK_EPOCH] = { "block_epoch", 4, 4, false },
	[MAP_UID_ALLOWED] = { "uid_allowed", sizeof(struct sw_uid), sizeof(struct sw_allowance),
			      true },
	[MAP_UNIT_ALLOWED] = { "unit_allowed", sizeof(struct sw_unit), sizeof(struct sw_allowance),
			       true },
	[MAP_DIR_ALLOWED] = { "dir_allowed", sizeof(struct sw_dir), sizeof(struct sw_allowance),
			      true },
	[MAP_EVIDENCE] = { "evidence", sizeof(struct sw_evidence_key), sizeof(struct sw_evidence),
			   true },
	[MAP_UNIT_NAMES] = { "unit_names", sizeof(struct sw_unit), sizeof(struct sw_name), true },
	[MAP_DIR_NAMES] = { "dir_names", sizeof(struct sw_dir), sizeof(struct sw_name), true },
	[MAP_ELDERS] = { "elders", 8, sizeof(struct sw_tag), true },
	[MAP_TAGS] = { "tags", 4, sizeof(struct sw_tag), false },
	[MAP_ABROAD] = { "abroad", sizeof(struct sw_abroad), 1, false },
	[MAP_PORTS] = { "ports", 4, sizeof(struct sw_ports), false },
	[MAP_NETWORKS] = { "networks", 4, 4, false },
	[MAP_UNITS] = { "units", 4, 4, false },
	[MAP_PLACES] = { "places", 4, 4, false },
};

#define WHOM(member) offsetof(struct sw_subject, member), SIZE_OF(struct sw_subject, member)
#define ROAD(type) offsetof(type, road), SIZE_OF(type, road)
#define SIZE_OF(type, member) sizeof(((type *)NULL)->member)

enum what { LEDGER, BLOCKS, ALLOWED, NAMES, WHATS };

/*
 * Which maps hold what of a kind of subject (MAPS: none does), and how their keys are made: each
 * begins with whom it is about; those of blocks go on with a road.
 */
static const struct {
	enum map map[WHATS];
	size_t at, size; /* whom, in sw_subject */
	size_t road_at, road_size;
} kinds[SW_KINDS] = {
	[SW_KIND_UID] = { { MAP_UID_LEDGER, MAP_UID_BLOCKS, MAP_UID_ALLOWED, MAPS },
			  WHOM(uid),
			  ROAD(struct sw_uid_road) },
	[SW_KIND_UNIT] = { { MAP_UNIT_LEDGER, MAP_UNIT_BLOCKS, MAP_UNIT_ALLOWED, MAP_UNIT_NAMES },
			   WHOM(unit),
			   ROAD(struct sw_unit_road) },
	[SW_KIND_DIR] = { { MAP_DIR_LEDGER, MAP_DIR_BLOCKS, MAP_DIR_ALLOWED, MAP_DIR_NAMES },
			  WHOM(dir),
			  ROAD(struct sw_dir_road) },
	[SW_KIND_IP] = { { MAP_IP_LEDGER, MAP_IP_BLOCKS, MAPS, MAPS },
			 WHOM(addr),
			 ROAD(struct sw_ip_road) },
};

struct maps {
	int dir;	   /* pin_dir: its lock is the daemon's life */
	int links;	   /* its lock is the editor's */
	int retire, where; /* programs */
	int fd[MAPS];
};

/* ---- keys ---- */

union key {
	__u64 number; /* of maps that are about no subject */
	struct sw_network network;
	struct sw_uid_road uid_road;
	struct sw_unit_road unit_road;
	struct sw_dir_road dir_road;
	struct sw_ip_road ip_road;
	struct sw_windows_key windows;
	struct sw_evidence_key evidence;
	struct sw_abroad abroad;
};

static union key subject_key(const struct sw_subject *subject)
{
	union key key = {};

	memcpy(&key, (const char *)subject + kinds[subject->kind].at, kinds[subject->kind].size);
	return key;
}

static struct sw_subject key_subject(enum sw_kind kind, const union key *key)
{
	struct sw_subject subject = { .kind = kind };

	memcpy((char *)&subject + kinds[kind].at, key, kinds[kind].size);
	return subject;
}

static union key road_key(const struct sw_subject *subject, __u32 road)
{
	union key key = subject_key(subject);
	char *at = (char *)&key + kinds[subject->kind].road_at;
	__u64 wide = road;

	if (kinds[subject->kind].road_size == sizeof(wide))
		memcpy(at, &wide, sizeof(wide));
	else
		memcpy(at, &road, sizeof(road));
	return key;
}

static __u32 key_road(enum sw_kind kind, const union key *key)
{
	const char *at = (const char *)key + kinds[kind].road_at;
	__u64 wide;
	__u32 road;

	memcpy(&road, at, sizeof(road));
	if (kinds[kind].road_size == sizeof(road))
		return road;
	memcpy(&wide, at, sizeof(wide));
	return wide < SW_ROADS ? wide : SW_ROADS;
}

/* Of windows and evidence: a number, and what else a dir has. */
static __u64 subject_id(const struct sw_subject *subject)
{
	switch ((enum sw_kind)subject->kind) {
	case SW_KIND_UID:
		return subject->uid;
	case SW_KIND_UNIT:
		return subject->unit;
	case SW_KIND_DIR:
		return subject->dir.inode;
	case SW_KIND_IP:
	case SW_KINDS:
		break;
	}
	return 0;
}

static struct sw_subject id_subject(__u32 kind, __u64 id, __u32 device, __u32 rest)
{
	struct sw_subject subject = { .kind = kind };

	switch ((enum sw_kind)kind) {
	case SW_KIND_UID:
		subject.uid = id;
		break;
	case SW_KIND_UNIT:
		subject.unit = id;
		break;
	case SW_KIND_DIR:
		subject.dir = (struct sw_dir){ id, device, { rest } };
		break;
	case SW_KIND_IP:
	case SW_KINDS:
		break;
	}
	return subject;
}

static struct sw_windows_key windows_key(const struct sw_subject *subject, __u32 policy, __u16 road)
{
	return (struct sw_windows_key){
		.id = subject_id(subject),
		.device = subject->dir.device,
		.rest = subject->dir.generation,
		.policy = policy,
		.road = road,
		.kind = subject->kind,
	};
}

/* ---- opening ---- */

int maps_abi(const char *pin_dir, uint32_t *ret)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info), zero = 0;
	_cleanup_close_ int fd = -1;
	_cleanup_free_ void *value = NULL;
	int r;

	r = pinned_map(pin_dir, kinds_of_map[MAP_CONTROL].name, sizeof(zero), 0, &fd);
	if (r < 0)
		return r;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	if (info.value_size < sizeof(*ret))
		return -EPROTO;
	value = calloc(1, info.value_size);
	if (!value)
		return -ENOMEM;
	if (bpf_map_lookup_elem(fd, &zero, value) < 0)
		return -errno;

	memcpy(ret, value, sizeof(*ret)); /* the first member, in every version */
	return 0;
}

static int open_pins(struct maps *maps, const char *pin_dir)
{
	size_t i;
	int r;

	maps->dir = open(pin_dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (maps->dir < 0)
		return -errno;
	maps->links = openat(maps->dir, SW_PIN_LINKS, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (maps->links < 0)
		return -errno;
	for (i = 0; i < MAPS; i++) {
		r = pinned_map(pin_dir, kinds_of_map[i].name, kinds_of_map[i].key_size,
			       kinds_of_map[i].value_size, &maps->fd[i]);
		if (r < 0)
			return r;
	}
	r = pinned_open(pin_dir, SW_PIN_RETIRE, &maps->retire);
	return r < 0 ? r : pinned_open(pin_dir, SW_PIN_WHERE, &maps->where);
}

int maps_open(const char *pin_dir, struct maps **ret)
{
	struct maps *maps;
	uint32_t abi;
	size_t i;
	int r;

	r = maps_abi(pin_dir, &abi);
	if (r < 0)
		return r;
	if (abi == 0) /* pinned a moment ago, and not begun yet */
		return -ENOENT;
	if (abi != SW_ABI_VERSION)
		return -EPROTO;
	maps = malloc(sizeof(*maps));
	if (!maps)
		return -ENOMEM;
	maps->dir = maps->links = maps->retire = maps->where = -1;
	for (i = 0; i < MAPS; i++)
		maps->fd[i] = -1;
	r = open_pins(maps, pin_dir);
	if (r < 0) {
		maps_close(maps);
		return r;
	}

	*ret = maps;
	return 0;
}

void maps_close(struct maps *maps)
{
	size_t i;

	if (!maps)
		return;
	for (i = 0; i < MAPS; i++)
		closep(&maps->fd[i]);
	closep(&maps->where);
	closep(&maps->retire);
	closep(&maps->links);
	closep(&maps->dir);
	free(maps);
}

/* ---- locks ---- */

static uint32_t map_id(int fd)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &size) < 0 ? 0 : info.id;
}

/* Has another version taken over since we opened? What we wrote would be lost. */
static bool are_replaced(struct maps *maps)
{
	_cleanup_close_ int fd = -1;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", maps->dir,
		 kinds_of_map[MAP_CONTROL].name);
	fd = bpf_obj_get(path);
	return fd >= 0 && map_id(fd) != map_id(maps->fd[MAP_CONTROL]);
}

/* Waits, but not for ever: an editor may have been stopped while it held the lock. */
int maps_lock(struct maps *maps)
{
	const struct timespec pause = { .tv_nsec = 5000000 };
	uint64_t deadline = boot_ns() + LOCK_PATIENCE_NS;

	while (flock(maps->links, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (boot_ns() > deadline)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	if (are_replaced(maps)) {
		maps_unlock(maps);
		return -ESTALE;
	}
	return 0;
}

void maps_unlock(struct maps *maps)
{
	flock(maps->links, LOCK_UN);
}

bool maps_daemon_runs(struct maps *maps)
{
	if (flock(maps->dir, LOCK_SH | LOCK_NB) < 0)
		return errno == EWOULDBLOCK;
	flock(maps->dir, LOCK_UN);
	return false;
}

/* ---- the single entries ---- */

static int lookup(struct maps *maps, enum map map, const void *key, void *ret)
{
	if (bpf_map_lookup_elem(maps->fd[map], key, ret) < 0)
		return -errno;
	return 0;
}

int maps_control(struct maps *maps, struct sw_control *ret)
{
	__u32 zero = 0;

	return lookup(maps, MAP_CONTROL, &zero, ret);
}

int maps_control_write(struct maps *maps, const struct sw_control *control)
{
	__u32 zero = 0;

	if (bpf_map_update_elem(maps->fd[MAP_CONTROL], &zero, control, BPF_ANY) < 0)
		return -errno;
	return 0;
}

int maps_health(struct maps *maps, struct sw_health *ret)
{
	__u32 zero = 0;

	return lookup(maps, MAP_HEALTH, &zero, ret);
}

enum sw_mode control_mode(const struct sw_control *control, uint64_t now_ns)
{
	return now_ns < control->trial_until_ns ? control->trial_mode : control->mode;
}

/* ---- rules ---- */

/* The one entry of the map in a slot of an array of maps. */
static int read_inner(int outer, __u32 slot, size_t value_size, void *ret)
{
	struct bpf_map_info info = {};
	__u32 id, size = sizeof(info), zero = 0;
	_cleanup_close_ int inner = -1;

	if (bpf_map_lookup_elem(outer, &slot, &id) < 0)
		return -errno;
	inner = bpf_map_get_fd_by_id(id);
	if (inner < 0)
		return -errno;
	if (bpf_obj_get_info_by_fd(inner, &info, &size) < 0)
		return -errno;
	if (info.value_size != value_size)
		return -EPROTO;
	return bpf_map_lookup_elem(inner, &zero, ret) < 0 ? -errno : 0;
}

/* A generation's slot is reused four generations later: what was read counts only if it was
 * live before and after. */
static int read_live(struct maps *maps, enum map map, size_t value_size, void *ret)
{
	struct sw_control before, after;
	int r, attempt;

	for (attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
		r = maps_control(maps, &before);
		if (r < 0)
			return r;
		r = read_inner(maps->fd[map], before.generation % SW_GENERATIONS, value_size, ret);
		if (maps_control(maps, &after) == 0 && after.generation == before.generation)
			return r;
	}
	return -EAGAIN;
}

int maps_rules(struct maps *maps, struct sw_rules *ret)
{
	_cleanup_free_ struct sw_rules *rules = malloc(sizeof(*rules));
	size_t i;
	int r;

	if (!rules)
		return -ENOMEM;
	r = read_live(maps, MAP_RULES, sizeof(*rules), rules);
	if (r < 0)
		return r;
	if (rules->n_policies > SW_POLICIES)
		return -EPROTO;
	for (i = 0; i < rules->n_policies; i++)
		if (rules->policy[i].n_limits > SW_LIMITS)
			return -EPROTO;

	*ret = *rules;
	return 0;
}

int maps_users(struct maps *maps, struct sw_intervals *ret)
{
	return read_live(maps, MAP_USERS, sizeof(*ret), ret);
}

int maps_ports(struct maps *maps, struct sw_ports *ret)
{
	struct sw_control control;
	__u32 slot;
	int r = maps_control(maps, &control);

	slot = control.generation % SW_GENERATIONS;
	return r < 0 ? r : lookup(maps, MAP_PORTS, &slot, ret);
}

static int live_inner(struct maps *maps, enum map map, int *ret_fd)
{
	struct sw_control control;
	__u32 slot, id;
	int fd, r = maps_control(maps, &control);

	slot = control.generation % SW_GENERATIONS;
	r = r < 0 ? r : lookup(maps, map, &slot, &id);
	if (r < 0)
		return r;
	fd = bpf_map_get_fd_by_id(id);
	if (fd < 0)
		return -errno;

	*ret_fd = fd;
	return 0;
}

int maps_networks(struct maps *maps, int *ret_fd)
{
	return live_inner(maps, MAP_NETWORKS, ret_fd);
}

int maps_places(struct maps *maps, int *ret_fd)
{
	return live_inner(maps, MAP_PLACES, ret_fd);
}

int maps_units(struct maps *maps, int *ret_fd)
{
	return live_inner(maps, MAP_UNITS, ret_fd);
}

int maps_place(struct maps *maps, const struct sw_dir *dir, struct sw_place *ret)
{
	_cleanup_close_ int places = -1;
	int r = live_inner(maps, MAP_PLACES, &places);

	if (r < 0)
		return r;
	return bpf_map_lookup_elem(places, dir, ret) < 0 ? -errno : 0;
}

int maps_unit_match(struct maps *maps, __u64 cgroup, struct sw_unit_match *ret)
{
	const struct sw_cgroup key = { .id = cgroup };
	_cleanup_close_ int units = -1;
	int r = live_inner(maps, MAP_UNITS, &units);

	if (r < 0)
		return r;
	return bpf_map_lookup_elem(units, &key, ret) < 0 ? -errno : 0;
}

/* ---- walking a map ---- */

typedef int (*each_fn)(const union key *key, const void *value, void *userdata);

static int each_by_key(struct maps *maps, enum map map, each_fn each, void *userdata)
{
	_cleanup_free_ void *value = malloc(kinds_of_map[map].value_size);
	union key key, *last = NULL;
	int r;

	if (!value)
		return -ENOMEM;
	while (bpf_map_get_next_key(maps->fd[map], last, &key) == 0) {
		last = &key;
		r = lookup(maps, map, &key, value);
		if (r == -ENOENT)
			continue; /* it went away meanwhile */
		if (r == 0)
			r = each(&key, value, userdata);
		if (r < 0)
			return r;
	}
	return errno == ENOENT ? 0 : -errno;
}

static int batch_hand_out(const struct pinned_batch *b, __u32 n, each_fn each, void *userdata)
{
	union key key;
	__u32 i;
	int r;

	for (i = 0; i < n; i++) {
		memcpy(&key, b->keys + (size_t)i * b->key_size, b->key_size);
		r = each(&key, b->values + (size_t)i * b->value_size, userdata);
		if (r < 0)
			return r;
	}
	return 0;
}

/* -EOPNOTSUPP: nothing was handed out and this map cannot be read in batches. */
static int each_by_batch(struct maps *maps, enum map map, each_fn each, void *userdata)
{
	_cleanup_(pinned_batch_clear) struct pinned_batch b = {};
	struct pinned_walk walk = {};
	bool last = false;
	__u32 n;
	int r;

	r = pinned_batch_new(kinds_of_map[map].key_size, kinds_of_map[map].value_size, BATCH, &b);
	while (r == 0 && !last) {
		r = pinned_read(maps->fd[map], &walk, &b, &n);
		if (r < 0)
			return walk.begun || r == -ENOMEM ? r : -EOPNOTSUPP;
		last = r > 0;
		r = batch_hand_out(&b, n, each, userdata);
	}
	return r;
}

static int each_row(struct maps *maps, enum map map, each_fn each, void *userdata)
{
	int r;

	if (map == MAPS)
		return 0;
	r = each_by_batch(maps, map, each, userdata);
	return r == -EOPNOTSUPP ? each_by_key(maps, map, each, userdata) : r;
}

/* ---- rows ---- */

struct rows {
	enum sw_kind kind;
	uint64_t now_ns;
	size_t row_size;
	char *row;
	size_t n, room;
};

/* A new zeroed row at the end, or NULL. */
static void *rows_add(struct rows *rows)
{
	size_t room;
	char *grown;

	if (rows->n == rows->room) {
		room = rows->room ? rows->room * 2 : 64;
		grown = reallocarray(rows->row, room, rows->row_size);
		if (!grown)
			return NULL;
		rows->row = grown;
		rows->room = room;
	}
	return memset(rows->row + rows->n++ * rows->row_size, 0, rows->row_size);
}

static int add_ledger(const union key *key, const void *value, void *userdata)
{
	struct rows *rows = userdata;
	struct ledger_row *row = rows_add(rows);

	if (!row)
		return -ENOMEM;
	row->subject = key_subject(rows->kind, key);
	memcpy(&row->ledger, value, sizeof(row->ledger));
	return 0;
}

static int add_windows(const union key *key, const void *value, void *userdata)
{
	const struct sw_windows_key *k = &key->windows;
	struct rows *rows = userdata;
	struct windows_row *row;
	struct sw_windows windows;

	if (k->kind >= SW_LOCAL_KINDS) /* that of those who found no room */
		return 0;
	row = rows_add(rows);
	if (!row)
		return -ENOMEM;
	memcpy(&windows, value, sizeof(windows));
	row->subject = id_subject(k->kind, k->id, k->device, k->rest);
	row->policy = k->policy;
	row->road = k->road;
	row->idle = windows_idle(&windows, rows->now_ns);
	return 0;
}

static int add_block(const union key *key, const void *value, void *userdata)
{
	const struct sw_block *block = value;
	struct rows *rows = userdata;
	struct block_row *row;

	if (!block->since_ns) /* the kernel is about to fill it */
		return 0;
	row = rows_add(rows);
	if (!row)
		return -ENOMEM;
	row->subject = key_subject(rows->kind, key);
	row->road = key_road(rows->kind, key);
	memcpy(&row->block, value, sizeof(row->block));
	row->block.note[SW_NOTE_LEN - 1] = '\0';
	return 0;
}

static int add_allowance(const union key *key, const void *value, void *userdata)
{
	struct rows *rows = userdata;
	struct allowance_row *row = rows_add(rows);

	if (!row)
		return -ENOMEM;
	row->subject = key_subject(rows->kind, key);
	memcpy(&row->allowance, value, sizeof(row->allowance));
	row->allowance.note[SW_NOTE_LEN - 1] = '\0';
	return 0;
}

/* The rows of one kind, added to `rows`; on failure those are freed. */
static int collect(struct maps *maps, enum map map, enum sw_kind kind, each_fn add,
		   struct rows *rows)
{
	int r;

	rows->kind = kind;
	r = each_row(maps, map, add, rows);
	if (r < 0)
		free(rows->row);
	return r;
}

static int collect_every_kind(struct maps *maps, enum what what, each_fn add, struct rows *rows)
{
	enum sw_kind kind;
	int r;

	for (kind = 0; kind < SW_KINDS; kind++) {
		r = collect(maps, kinds[kind].map[what], kind, add, rows);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The row that addresses of a network share. */
static int add_shared(const union key *key, const void *value, void *userdata)
{
	struct rows *rows = userdata;
	struct ledger_row *row = rows_add(rows);

	if (!row)
		return -ENOMEM;
	row->subject = (struct sw_subject){ .kind = SW_KIND_IP, .uid = key->network.prefix_len };
	memcpy(row->subject.addr, key->network.addr, sizeof(row->subject.addr));
	memcpy(&row->ledger, value, sizeof(row->ledger));
	return 0;
}

int maps_ledger(struct maps *maps, enum sw_kind kind, struct ledger_row **ret, size_t *ret_n)
{
	struct rows rows = { .row_size = sizeof(**ret) };
	int r = collect(maps, kinds[kind].map[LEDGER], kind, add_ledger, &rows);

	if (r == 0 && kind == SW_KIND_IP)
		r = collect(maps, MAP_NET_LEDGER, kind, add_shared, &rows);
	if (r < 0)
		return r;
	*ret = (struct ledger_row *)rows.row;
	*ret_n = rows.n;
	return 0;
}

int maps_windows(struct maps *maps, uint64_t now_ns, struct windows_row **ret, size_t *ret_n)
{
	struct rows rows = { .row_size = sizeof(**ret), .now_ns = now_ns };
	int r = collect(maps, MAP_WINDOWS, SW_KINDS, add_windows, &rows);

	if (r < 0)
		return r;
	*ret = (struct windows_row *)rows.row;
	*ret_n = rows.n;
	return 0;
}

int maps_blocks(struct maps *maps, struct block_row **ret, size_t *ret_n)
{
	struct rows rows = { .row_size = sizeof(**ret) };
	int r = collect_every_kind(maps, BLOCKS, add_block, &rows);

	if (r < 0)
		return r;
	*ret = (struct block_row *)rows.row;
	*ret_n = rows.n;
	return 0;
}

int maps_allowances(struct maps *maps, struct allowance_row **ret, size_t *ret_n)
{
	struct rows rows = { .row_size = sizeof(**ret) };
	int r = collect_every_kind(maps, ALLOWED, add_allowance, &rows);

	if (r < 0)
		return r;
	*ret = (struct allowance_row *)rows.row;
	*ret_n = rows.n;
	return 0;
}

static int add_name(const union key *key, const void *value, void *userdata)
{
	struct rows *rows = userdata;
	struct name_row *row = rows_add(rows);

	if (!row)
		return -ENOMEM;
	row->subject = key_subject(rows->kind, key);
	memcpy(&row->name, value, sizeof(row->name));
	return 0;
}

int maps_names(struct maps *maps, enum sw_kind kind, struct name_row **ret, size_t *ret_n)
{
	struct rows rows = { .row_size = sizeof(**ret) };
	int r = collect(maps, kinds[kind].map[NAMES], kind, add_name, &rows);

	if (r < 0)
		return r;
	*ret = (struct name_row *)rows.row;
	*ret_n = rows.n;
	return 0;
}

int maps_name(struct maps *maps, const struct sw_subject *subject, struct sw_name *ret)
{
	enum map map = kinds[subject->kind].map[NAMES];
	union key key = subject_key(subject);

	return map == MAPS ? -ENOENT : lookup(maps, map, &key, ret);
}

int maps_ledger_get(struct maps *maps, const struct sw_subject *subject, struct sw_ledger *ret)
{
	struct sw_network shared = { .prefix_len = subject->uid };
	union key key = subject_key(subject);

	if (subject->kind != SW_KIND_IP || !subject->uid)
		return lookup(maps, kinds[subject->kind].map[LEDGER], &key, ret);
	memcpy(shared.addr, subject->addr, sizeof(shared.addr));
	return lookup(maps, MAP_NET_LEDGER, &shared, ret);
}

int maps_windows_get(struct maps *maps, const struct sw_subject *subject, __u32 policy, __u32 road,
		     struct sw_windows *ret)
{
	struct sw_windows_key key = windows_key(subject, policy, road);

	return lookup(maps, MAP_WINDOWS, &key, ret);
}

int maps_block_get(struct maps *maps, const struct sw_subject *subject, __u32 road,
		   struct sw_block *ret)
{
	union key key = road_key(subject, road);

	return lookup(maps, kinds[subject->kind].map[BLOCKS], &key, ret);
}

/* ---- sessions ---- */

int maps_tags(struct maps *maps)
{
	return maps->fd[MAP_TAGS];
}

int maps_elder(struct maps *maps, uint64_t cookie, struct sw_tag *ret)
{
	return lookup(maps, MAP_ELDERS, &cookie, ret);
}

static int add_abroad(const union key *key, const void *value, void *userdata)
{
	struct sw_abroad *row = rows_add(userdata);

	(void)value;
	if (!row)
		return -ENOMEM;
	*row = key->abroad;
	return 0;
}

int maps_abroad(struct maps *maps, struct sw_abroad **ret, size_t *ret_n)
{
	struct rows rows = { .row_size = sizeof(**ret) };
	int r = collect(maps, MAP_ABROAD, SW_KIND_UID, add_abroad, &rows);

	if (r < 0)
		return r;
	*ret = (struct sw_abroad *)rows.row;
	*ret_n = rows.n;
	return 0;
}

/* ---- folders ---- */

static int where(struct maps *maps, struct sw_dir *ret)
{
	struct sw_where answer = {}; /* written in place */
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = &answer, .ctx_size_in = sizeof(answer));

	if (bpf_prog_test_run_opts(maps->where, &opts) < 0)
		return -errno;
	if (!answer.cwd.inode)
		return -ENOENT;
	*ret = answer.cwd;
	return 0;
}

int maps_where(struct maps *maps, int fd, struct sw_dir *ret)
{
	_cleanup_close_ int back = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct sw_dir dir = {};
	int r;

	if (fchdir(fd) < 0)
		return -errno;
	r = where(maps, &dir);
	/* Not to hold a mount that others want to remove; where we were may be gone. */
	if ((back < 0 || fchdir(back) < 0) && chdir("/") < 0)
		return -errno;
	if (r >= 0)
		*ret = dir;
	return r;
}

/* ---- edits ---- */

static int update(struct maps *maps, enum map map, const void *key, const void *value)
{
	if (map == MAPS)
		return -EOPNOTSUPP;
	if (bpf_map_update_elem(maps->fd[map], key, value, BPF_ANY) < 0)
		return errno == E2BIG ? -ENOSPC : -errno;
	return 0;
}

static int remove_row(struct maps *maps, enum map map, const void *key)
{
	if (map == MAPS || bpf_map_delete_elem(maps->fd[map], key) == 0 || errno == ENOENT)
		return 0;
	return -errno;
}

/* Sessions that had no block look again when this has changed. */
static int count_epoch(struct maps *maps)
{
	__u32 hand = SW_EPOCH_HAND, epoch;
	int r = lookup(maps, MAP_BLOCK_EPOCH, &hand, &epoch);

	epoch++;
	return r < 0 ? r : update(maps, MAP_BLOCK_EPOCH, &hand, &epoch);
}

int maps_block_set(struct maps *maps, const struct sw_subject *subject, enum sw_road road,
		   const struct sw_block *block)
{
	union key key = road_key(subject, road);
	int r = update(maps, kinds[subject->kind].map[BLOCKS], &key, block);

	return r < 0 ? r : count_epoch(maps);
}

int maps_block_remove(struct maps *maps, const struct sw_subject *subject, enum sw_road road)
{
	union key key = road_key(subject, road);

	return remove_row(maps, kinds[subject->kind].map[BLOCKS], &key);
}

int maps_name_set(struct maps *maps, const struct sw_subject *subject, const struct sw_name *name)
{
	enum map map = kinds[subject->kind].map[NAMES];
	union key key = subject_key(subject);

	if (map == MAPS || bpf_map_update_elem(maps->fd[map], &key, name, BPF_NOEXIST) == 0 ||
	    errno == EEXIST)
		return 0;
	return -errno;
}

int maps_name_remove(struct maps *maps, const struct sw_subject *subject)
{
	union key key = subject_key(subject);

	return remove_row(maps, kinds[subject->kind].map[NAMES], &key);
}

int maps_ledger_remove(struct maps *maps, const struct sw_subject *subject)
{
	union key key = subject_key(subject);

	return remove_row(maps, kinds[subject->kind].map[LEDGER], &key);
}

int maps_allowance_set(struct maps *maps, const struct sw_subject *subject,
		       const struct sw_allowance *allowance)
{
	union key key = subject_key(subject);

	return update(maps, kinds[subject->kind].map[ALLOWED], &key, allowance);
}

int maps_allowance_remove(struct maps *maps, const struct sw_subject *subject)
{
	union key key = subject_key(subject);

	return remove_row(maps, kinds[subject->kind].map[ALLOWED], &key);
}

/*
 * The program takes a row out under the kernel's lock: whoever has just looked it up looks again,
 * so no attempt is lost as it would be by deleting from here. 1: it did, 0: no such row, or in use.
 */
static int retire(struct maps *maps, const struct sw_retire *order)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = order, .data_size_in = sizeof(*order));

	if (bpf_prog_test_run_opts(maps->retire, &opts) < 0)
		return -errno;
	return opts.retval == 1;
}

static int retire_windows(struct maps *maps, const struct sw_windows_key *key, bool only_idle,
			  uint64_t now_ns)
{
	const struct sw_retire order = { .now_ns = now_ns, .only_idle = only_idle, .key = *key };

	return retire(maps, &order);
}

/* The row of those who found no room is always there: a new one takes its place at once. */
static int renew_shared(struct maps *maps, __u32 order, __u16 road)
{
	const struct sw_windows_key key = { .policy = order, .road = road, .kind = SW_KINDS };
	const struct sw_windows empty = {};

	return update(maps, MAP_WINDOWS, &key, &empty);
}

static int clear_windows_of(struct maps *maps, const struct sw_subject *subject, __u32 policy,
			    __u32 order)
{
	bool overflow = subject->kind == SW_KIND_UID && subject->uid == SW_UID_OVERFLOW;
	struct sw_windows_key key;
	int r = 0;

	for (__u16 road = 0; road < SW_ROADS && r >= 0; road++) {
		key = windows_key(subject, policy, road);
		r = retire_windows(maps, &key, false, 0);
		if (r >= 0 && overflow)
			r = renew_shared(maps, order, road);
	}
	return r < 0 ? r : 0;
}

int maps_windows_clear(struct maps *maps, const struct sw_subject *subject)
{
	_cleanup_free_ struct sw_rules *rules = malloc(sizeof(*rules));
	__u32 i;
	int r;

	if (!rules)
		return -ENOMEM;
	if (subject->kind >= SW_LOCAL_KINDS)
		return 0;
	r = maps_rules(maps, rules);
	if (r == -ENOENT)
		return 0; /* no rules yet, so no windows either */
	for (i = 0; r == 0 && i < rules->n_policies; i++)
		r = clear_windows_of(maps, subject, rules->policy[i].id, i);
	return r;
}

int maps_windows_clear_all(struct maps *maps)
{
	_cleanup_free_ struct windows_row *row = NULL;
	struct sw_windows_key key;
	size_t n = 0;
	int r = maps_windows(maps, 0, &row, &n);

	for (size_t i = 0; i < n && r >= 0; i++) {
		key = windows_key(&row[i].subject, row[i].policy, row[i].road);
		r = retire_windows(maps, &key, false, 0);
	}
	for (__u32 order = 0; order < SW_POLICIES && r >= 0; order++)
		for (__u16 road = 0; road < SW_ROADS && r >= 0; road++)
			r = renew_shared(maps, order, road);
	return r < 0 ? r : 0;
}

int maps_windows_retire(struct maps *maps, const struct windows_row *row, uint64_t now_ns)
{
	const struct sw_windows_key key = windows_key(&row->subject, row->policy, row->road);

	return retire_windows(maps, &key, true, now_ns);
}

/* ---- quotas and evidence ---- */

static int add_quota(const union key *key, const void *value, void *userdata)
{
	struct quota_row *row = rows_add(userdata);

	if (!row)
		return -ENOMEM;
	row->uid = key->uid_road.uid;
	memcpy(&row->dirs, value, sizeof(row->dirs));
	return 0;
}

int maps_quotas(struct maps *maps, struct quota_row **ret, size_t *ret_n)
{
	struct rows rows = { .row_size = sizeof(**ret) };
	int r = collect(maps, MAP_DIR_QUOTAS, SW_KIND_UID, add_quota, &rows);

	if (r < 0)
		return r;
	*ret = (struct quota_row *)rows.row;
	*ret_n = rows.n;
	return 0;
}

int maps_quota_set(struct maps *maps, const struct quota_row *row)
{
	const struct sw_uid key = { row->uid };

	return row->dirs ? update(maps, MAP_DIR_QUOTAS, &key, &row->dirs)
			 : remove_row(maps, MAP_DIR_QUOTAS, &key);
}

struct forgetting {
	unsigned int kinds;
	bool (*is_kept)(const struct sw_subject *subject, void *userdata);
	void *userdata;
	struct rows keys;
};

static int add_forgotten(const union key *key, const void *value, void *userdata)
{
	const struct sw_evidence_key *k = &key->evidence;
	struct sw_subject subject = id_subject(k->kind, k->id, k->device, k->rest);
	struct forgetting *f = userdata;
	struct sw_evidence_key *forgotten;

	(void)value;
	if (k->kind >= SW_LOCAL_KINDS || !(f->kinds >> k->kind & 1) ||
	    f->is_kept(&subject, f->userdata))
		return 0;
	forgotten = rows_add(&f->keys);
	if (!forgotten)
		return -ENOMEM;
	*forgotten = *k;
	return 0;
}

int maps_evidence_forget(struct maps *maps, unsigned int kinds,
			 bool (*is_kept)(const struct sw_subject *subject, void *userdata),
			 void *userdata)
{
	struct forgetting f = {
		kinds, is_kept, userdata, { .row_size = sizeof(struct sw_evidence_key) }
	};
	const struct sw_evidence_key *key;
	int r = each_row(maps, MAP_EVIDENCE, add_forgotten, &f);

	key = (const struct sw_evidence_key *)f.keys.row;
	for (size_t i = 0; i < f.keys.n && r >= 0; i++)
		r = remove_row(maps, MAP_EVIDENCE, &key[i]);
	free(f.keys.row);
	return r;
}

int maps_address_retire(struct maps *maps, const struct sw_subject *subject, uint64_t since_ns)
{
	struct sw_retire order = { .now_ns = since_ns, .only_idle = 1, .key.kind = SW_KIND_IP };

	memcpy(order.addr, subject->addr, sizeof(order.addr));
	return retire(maps, &order);
}

/* ---- fill ---- */

static int map_room(struct maps *maps, enum map map, uint32_t *ret)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(maps->fd[map], &info, &size) < 0)
		return -errno;
	*ret = info.max_entries;
	return 0;
}

int maps_ledger_room(struct maps *maps, enum sw_kind kind, uint32_t *ret)
{
	return map_room(maps, kinds[kind].map[LEDGER], ret);
}

static int count_row(const union key *key, const void *value, void *userdata)
{
	(void)key;
	(void)value;
	++*(uint32_t *)userdata;
	return 0;
}

static int fill_of(struct maps *maps, enum map map, struct map_fill *fill)
{
	int r = map_room(maps, map, &fill->max);

	if (r < 0)
		return r;
	snprintf(fill->name, sizeof(fill->name), "%s", kinds_of_map[map].name);
	return each_row(maps, map, count_row, &fill->entries);
}

int maps_fill(struct maps *maps, struct map_fill **ret, size_t *ret_n)
{
	_cleanup_free_ struct map_fill *fill = calloc(MAPS, sizeof(*fill));
	size_t i, n = 0;
	int r;

	if (!fill)
		return -ENOMEM;
	for (i = 0; i < MAPS; i++) {
		if (!kinds_of_map[i].fills)
			continue;
		r = fill_of(maps, i, &fill[n++]);
		if (r < 0)
			return r;
	}

	*ret = take_pointer(&fill);
	*ret_n = n;
	return 0;
}

/* ---- the oldest evidence ---- */

struct aged {
	uint64_t time_ns;
	struct sw_evidence_key key;
};

static int add_aged(const union key *key, const void *value, void *userdata)
{
	const struct sw_evidence *record = value;
	struct aged *row = rows_add(userdata);

	if (!row)
		return -ENOMEM;
	*row = (struct aged){ record->time_ns, key->evidence };
	return 0;
}

static int oldest_first(const void *a, const void *b)
{
	const struct aged *one = a, *other = b;

	return one->time_ns < other->time_ns ? -1 : one->time_ns > other->time_ns;
}

int maps_evidence_thin(struct maps *maps)
{
	struct rows rows = { .row_size = sizeof(struct aged) };
	const struct aged *row;
	uint32_t room = 0;
	int r = map_room(maps, MAP_EVIDENCE, &room);

	r = r < 0 ? r : each_row(maps, MAP_EVIDENCE, add_aged, &rows);
	row = (const struct aged *)rows.row;
	if (r >= 0 && rows.n > room - room / 4) {
		qsort(rows.row, rows.n, sizeof(*row), oldest_first);
		for (size_t i = 0; i < rows.n - room / 2 && r >= 0; i++)
			r = remove_row(maps, MAP_EVIDENCE, &row[i].key);
	}
	free(rows.row);
	return r;
}

/* ---- time and windows ---- */

uint64_t boot_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

uint64_t window_used(const struct sw_window *w, uint64_t slot_ns, uint64_t now_ns)
{
	struct sw_window now = *w;

	sw_window_expire(&now, slot_ns, now_ns);
	return now.total;
}

uint64_t window_frees_at(const struct sw_window *w, uint64_t max, uint64_t slot_ns, uint64_t now_ns)
{
	struct sw_window at = *w;
	uint64_t i, newest;

	if (max == 0)
		return UINT64_MAX;
	sw_window_expire(&at, slot_ns, now_ns);
	newest = at.newest;
	for (i = 0; !sw_window_admits(&at, max, 1); i++)
		sw_window_expire(&at, slot_ns, (newest + i + 1) * slot_ns);
	return i ? (newest + i) * slot_ns : 0;
}

bool windows_idle(const struct sw_windows *windows, uint64_t now_ns)
{
	for (size_t i = 0; i < SW_LIMITS; i++) {
		const struct sw_cell *cell = &windows->cell[i];

		if (cell->slot_ns && cell->window.total &&
		    now_ns / cell->slot_ns < cell->window.newest + SW_SLOTS)
			return false;
	}
	return true;
}
