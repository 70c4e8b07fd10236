/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rows of folders and units that nobody used for long leave with all that belongs to them; windows
 * are cleared whole.
 */
#include "world.h"

#include "forget.h"
#include "subject.h"

#define HOUR (3600 * 1000000000ULL)
#define UID 4711
#define POLICY 99

static struct {
	int dirs, units, dir_names, unit_names, quotas, evidence, windows;
} map;

static bool up(void)
{
	if (!world_open("", "policy \"p\" { limits = {\"3 connections per 1m\"} }"))
		return false;
	if (!map.dirs) {
		map.dirs = world_map("dir_ledger");
		map.units = world_map("unit_ledger");
		map.dir_names = world_map("dir_names");
		map.unit_names = world_map("unit_names");
		map.quotas = world_map("dir_quotas");
		map.evidence = world_map("evidence");
		map.windows = world_map("windows");
	}
	return true;
}

static uint64_t now(void)
{
	return 1000 * HOUR;
}

static struct sw_dir folder(__u64 inode)
{
	return (struct sw_dir){ .inode = inode, .device = 7 };
}

static struct sw_evidence_key evidence_of(__u64 inode, __u32 slot)
{
	return (struct sw_evidence_key){
		.id = inode, .device = 7, .kind = SW_KIND_DIR, .slot = slot
	};
}

static void put(int fd, const void *key, const void *value)
{
	CHECK_EQ(bpf_map_update_elem(fd, key, value, BPF_ANY), 0);
}

static bool has(int fd, const void *key)
{
	static struct sw_evidence any; /* the largest */

	return bpf_map_lookup_elem(fd, key, &any) == 0;
}

/* A folder on the user's quota, with its name and evidence. */
static void make_folder(__u64 inode, uint64_t last_seen_ns)
{
	static const struct sw_evidence evidence = { .id = 1 };
	struct sw_ledger row = {
		.first_seen_ns = 1, .last_seen_ns = last_seen_ns, .quota_of = UID, .in_quota = 1
	};
	struct sw_evidence_key first = evidence_of(inode, 0),
			       trip = evidence_of(inode, SW_EVIDENCE_TRIP);
	struct sw_dir key = folder(inode);
	struct sw_name name = {};

	put(map.dirs, &key, &row);
	put(map.dir_names, &key, &name);
	put(map.evidence, &first, &evidence);
	put(map.evidence, &trip, &evidence);
}

static bool is_whole(__u64 inode, bool there)
{
	struct sw_evidence_key first = evidence_of(inode, 0),
			       trip = evidence_of(inode, SW_EVIDENCE_TRIP);
	struct sw_dir key = folder(inode);

	return has(map.dirs, &key) == there && has(map.dir_names, &key) == there &&
	       has(map.evidence, &first) == there && has(map.evidence, &trip) == there;
}

static __u64 quota(void)
{
	const struct sw_uid uid = { UID };
	__u64 dirs = 0;

	bpf_map_lookup_elem(map.quotas, &uid, &dirs);
	return dirs;
}

TEST(idle_folders_go_with_name_evidence_and_quota)
{
	const struct sw_uid uid = { UID };
	const __u64 four = 4;

	if (!up())
		return;
	make_folder(1, now() - HOUR);
	make_folder(2, now() - 200 * HOUR);
	make_folder(3, now() - 200 * HOUR);
	make_folder(4, now());
	put(map.quotas, &uid, &four);
	CHECK_EQ(forget_idle(world.maps, now()), 0);
	CHECK(is_whole(1, true));
	CHECK(is_whole(2, false));
	CHECK(is_whole(3, false));
	CHECK(is_whole(4, true));
	CHECK_EQ(quota(), 2);
	CHECK_EQ(forget_idle(world.maps, now() + 200 * HOUR), 0);
	CHECK(is_whole(1, false));
	CHECK_EQ(quota(), 0);
}

TEST(who_is_blocked_allowed_or_limited_is_not_forgotten)
{
	struct sw_subject subject = { .kind = SW_KIND_DIR };
	const struct sw_block block = { .since_ns = 1, .by = SW_BY_HAND };
	const struct sw_allowance allowance = { .since_ns = 1 };
	const struct sw_windows_key key = {
		.id = 3, .device = 7, .policy = POLICY, .kind = SW_KIND_DIR
	};
	struct sw_windows windows = {};

	if (!up())
		return;
	for (__u64 inode = 1; inode <= 4; inode++)
		make_folder(inode, now() - 500 * HOUR);
	subject.dir = folder(1);
	CHECK_EQ(maps_block_set(world.maps, &subject, SW_ROAD_DIRECT, &block), 0);
	subject.dir = folder(2);
	CHECK_EQ(maps_allowance_set(world.maps, &subject, &allowance), 0);
	windows.cell[0].slot_ns = 40 * HOUR; /* of a limit of weeks */
	windows.cell[0].window =
		(struct sw_window){ .newest = now() / (40 * HOUR) - 10, .total = 1 };
	put(map.windows, &key, &windows);
	CHECK_EQ(forget_idle(world.maps, now()), 0);
	for (__u64 inode = 1; inode <= 3; inode++)
		CHECK(is_whole(inode, true));
	CHECK(is_whole(4, false));
	maps_block_remove(world.maps, &subject, SW_ROAD_DIRECT);
	maps_allowance_remove(world.maps, &subject);
	subject.dir = folder(1);
	maps_block_remove(world.maps, &subject, SW_ROAD_DIRECT);
	CHECK_EQ(maps_windows_clear_all(world.maps), 0);
	CHECK(!has(map.windows, &key));
	CHECK_EQ(forget_idle(world.maps, now()), 0);
	for (__u64 inode = 1; inode <= 3; inode++)
		CHECK(is_whole(inode, false));
}

TEST(a_block_by_hand_keeps_the_name_of_who_never_sent)
{
	const struct subject_names names = { .maps = world.maps, .ipv6_prefix = 64 };
	const struct sw_block block = { .since_ns = 1, .by = SW_BY_HAND };
	char text[SUBJECT_LEN];
	struct sw_subject unit;
	const char *hint;

	if (!up())
		return;
	CHECK_EQ(subject_parse(&names, "unit:/nobody.slice/never.service", &unit, &hint), 0);
	subject_note(&names, "unit:/nobody.slice/never.service", &unit);
	CHECK_EQ(maps_block_set(world.maps, &unit, SW_ROAD_DIRECT, &block), 0);
	CHECK_EQ(forget_idle(world.maps, now()), 0);
	subject_format(&names, &unit, text);
	CHECK_STR(text, "unit:/nobody.slice/never.service");
	maps_block_remove(world.maps, &unit, SW_ROAD_DIRECT);
	CHECK_EQ(forget_idle(world.maps, now()), 0);
	CHECK(!has(map.unit_names, &unit.unit));
}

TEST(a_block_of_user_space_is_counted_for_sessions_that_had_none)
{
	const struct sw_block block = { .since_ns = 1, .by = SW_BY_HAND };
	const struct sw_subject uid = { .kind = SW_KIND_UID, .uid = UID };
	__u32 hand = SW_EPOCH_HAND, before = 0, after = 0;
	int epoch;

	if (!up())
		return;
	epoch = world_map("block_epoch");
	bpf_map_lookup_elem(epoch, &hand, &before);
	CHECK_EQ(maps_block_set(world.maps, &uid, SW_ROAD_DIRECT, &block), 0);
	bpf_map_lookup_elem(epoch, &hand, &after);
	CHECK_EQ(after, before + 1);
	maps_block_remove(world.maps, &uid, SW_ROAD_DIRECT);
}

TEST(a_folder_is_told_apart_from_every_other)
{
	struct sw_dir here = {}, again = {}, other = {};
	int fd, elsewhere;
	struct stat st;

	if (!up())
		return;
	fd = open(world.dir, O_PATH | O_DIRECTORY);
	elsewhere = open("/", O_PATH | O_DIRECTORY);
	CHECK_EQ(maps_where(world.maps, fd, &here), 0);
	CHECK_EQ(maps_where(world.maps, fd, &again), 0);
	CHECK_EQ(maps_where(world.maps, elsewhere, &other), 0);
	CHECK_EQ(memcmp(&here, &again, sizeof(here)), 0);
	CHECK(memcmp(&here, &other, sizeof(here)) != 0);
	CHECK(stat(world.dir, &st) == 0 && here.inode == st.st_ino); /* of /tmp: no overlay */
	close(fd);
	close(elsewhere);
}

static void leave_evidence(__u64 inode, uint64_t time_ns)
{
	const struct sw_evidence evidence = { .id = 1, .time_ns = time_ns };
	struct sw_evidence_key key = evidence_of(inode, 0);

	put(map.evidence, &key, &evidence);
}

TEST(the_oldest_evidence_makes_room)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info), n;
	struct sw_evidence_key key;

	if (!up())
		return;
	CHECK_EQ(bpf_obj_get_info_by_fd(map.evidence, &info, &size), 0);
	n = info.max_entries / 4 * 3;
	for (__u32 i = 1; i <= n; i++)
		leave_evidence(i, n - i); /* the last is the oldest */
	CHECK_EQ(maps_evidence_thin(world.maps), 0);
	key = evidence_of(n, 0);
	CHECK(has(map.evidence, &key));
	leave_evidence(n + 1, n);
	CHECK_EQ(maps_evidence_thin(world.maps), 0);
	CHECK(!has(map.evidence, &key));
	key = evidence_of(info.max_entries / 2 - 1, 0);
	CHECK(has(map.evidence, &key));
	key = evidence_of(info.max_entries / 2, 0);
	CHECK(!has(map.evidence, &key));
	key = evidence_of(n + 1, 0);
	CHECK(has(map.evidence, &key));
}
