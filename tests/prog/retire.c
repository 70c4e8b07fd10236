/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of windows leave their map when every window has run out, and not a moment sooner. */
#include "world.h"

#include <stddef.h>

#define S 1000000000ULL
#define SLOT (4 * S) /* of a limit per minute */
#define UID 4711
#define UNIT 0x100000001ULL
#define POLICY 99

static int windows_map(enum sw_kind kind)
{
	static int uid, unit;

	if (!uid) {
		uid = world_map("uid_windows");
		unit = world_map("unit_windows");
	}
	return kind == SW_KIND_UNIT ? unit : uid;
}

union key {
	struct sw_uid_policy uid;
	struct sw_unit_policy unit;
};

static union key key_of(enum sw_kind kind, enum sw_road road)
{
	union key key = {};

	if (kind == SW_KIND_UNIT)
		key.unit = (struct sw_unit_policy){ UNIT, POLICY, road };
	else
		key.uid = (struct sw_uid_policy){ UID, POLICY, road };
	return key;
}

/* A row whose cell `i` had its newest charge in slot `newest`; `total` of it. */
static struct sw_windows row_with(int i, __u64 newest, __u64 total)
{
	struct sw_windows row = {};

	row.cell[i] = (struct sw_cell){ .limit = 7,
					.slot_ns = SLOT,
					.window = { .newest = newest, .total = total } };
	row.cell[i].window.slot[newest % SW_SLOTS] = total;
	return row;
}

static void put(enum sw_kind kind, enum sw_road road, const struct sw_windows *row)
{
	union key key = key_of(kind, road);

	CHECK_EQ(bpf_map_update_elem(windows_map(kind), &key, row, BPF_ANY), 0);
}

static bool is_there(enum sw_kind kind, enum sw_road road)
{
	union key key = key_of(kind, road);
	struct sw_windows row;

	return bpf_map_lookup_elem(windows_map(kind), &key, &row) == 0 && CHECK_EQ(row.dead, 0);
}

static int retire(const struct sw_retire *order, size_t size)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = order, .data_size_in = size);

	return bpf_prog_test_run_opts(world.retire, &opts) < 0 ? -errno : (int)opts.retval;
}

static int retire_row(enum sw_kind kind, enum sw_road road, __u64 now_ns, bool only_idle)
{
	const struct sw_retire order = {
		.kind = kind,
		.only_idle = only_idle,
		.now_ns = now_ns,
		.id = kind == SW_KIND_UNIT ? UNIT : UID,
		.policy = POLICY,
		.road = road,
	};

	return retire(&order, sizeof(order));
}

static bool up(void)
{
	return world_open("", "policy \"p\" { limits = {\"3 connections per 1m\"} }");
}

TEST(a_busy_row_stays_until_its_last_window_has_run_out)
{
	if (!up())
		return;
	for (int i = 0; i < SW_LIMITS; i++) {
		const struct sw_windows row = row_with(i, 1000, 1);

		put(SW_KIND_UID, SW_ROAD_DIRECT, &row);
		CHECK_EQ(retire_row(SW_KIND_UID, SW_ROAD_DIRECT, 1000 * SLOT, true), 0);
		CHECK_EQ(retire_row(SW_KIND_UID, SW_ROAD_DIRECT, 1016 * SLOT - 1, true), 0);
		CHECK_EQ(retire_row(SW_KIND_UID, SW_ROAD_DIRECT, 0, true), 0);
		CHECK(is_there(SW_KIND_UID, SW_ROAD_DIRECT));
		CHECK_EQ(retire_row(SW_KIND_UID, SW_ROAD_DIRECT, 1016 * SLOT, true), 1);
		CHECK(!is_there(SW_KIND_UID, SW_ROAD_DIRECT));
	}
}

TEST(a_row_with_nothing_in_its_windows_is_idle)
{
	struct sw_windows row = row_with(3, 1000, 0);

	if (!up())
		return;
	put(SW_KIND_UID, SW_ROAD_DIRECT, &row);
	CHECK_EQ(retire_row(SW_KIND_UID, SW_ROAD_DIRECT, 1000 * SLOT, true), 1);
	row = (struct sw_windows){};
	put(SW_KIND_UID, SW_ROAD_DIRECT, &row);
	CHECK_EQ(retire_row(SW_KIND_UID, SW_ROAD_DIRECT, 0, true), 1);
	CHECK(!is_there(SW_KIND_UID, SW_ROAD_DIRECT));
}

TEST(a_row_goes_busy_or_not_when_it_must)
{
	const struct sw_windows row = row_with(0, 1000, 5);

	if (!up())
		return;
	put(SW_KIND_UID, SW_ROAD_DIRECT, &row);
	CHECK_EQ(retire_row(SW_KIND_UID, SW_ROAD_DIRECT, 1000 * SLOT, false), 1);
	CHECK(!is_there(SW_KIND_UID, SW_ROAD_DIRECT));
}

TEST(units_have_rows_of_their_own)
{
	const struct sw_windows row = row_with(0, 1000, 5);

	if (!up())
		return;
	put(SW_KIND_UID, SW_ROAD_DIRECT, &row);
	put(SW_KIND_UNIT, SW_ROAD_DIRECT, &row);
	CHECK_EQ(retire_row(SW_KIND_UNIT, SW_ROAD_DIRECT, 1015 * SLOT, true), 0);
	CHECK_EQ(retire_row(SW_KIND_UNIT, SW_ROAD_DIRECT, 1016 * SLOT, true), 1);
	CHECK(!is_there(SW_KIND_UNIT, SW_ROAD_DIRECT));
	CHECK(is_there(SW_KIND_UID, SW_ROAD_DIRECT));
	CHECK_EQ(retire_row(SW_KIND_UID, SW_ROAD_DIRECT, 0, false), 1);
}

TEST(other_rows_of_the_same_subject_stay)
{
	const struct sw_windows row = row_with(0, 1000, 5);

	if (!up())
		return;
	put(SW_KIND_UID, SW_ROAD_DIRECT, &row);
	put(SW_KIND_UID, SW_ROAD_SUBMISSION, &row);
	CHECK_EQ(retire_row(SW_KIND_UID, SW_ROAD_DIRECT, 0, false), 1);
	CHECK(is_there(SW_KIND_UID, SW_ROAD_SUBMISSION));
	CHECK_EQ(retire_row(SW_KIND_UID, SW_ROAD_SUBMISSION, 0, false), 1);
}

TEST(an_order_about_no_row_or_cut_short_does_nothing)
{
	const struct sw_retire order = {
		.kind = SW_KIND_UID, .id = UID, .policy = POLICY, .road = SW_ROAD_DIRECT
	};
	const struct sw_windows row = row_with(0, 1000, 5);

	if (!up())
		return;
	CHECK_EQ(retire_row(SW_KIND_UID, SW_ROAD_RELAY, 0, false), 0);
	put(SW_KIND_UID, SW_ROAD_DIRECT, &row);
	for (size_t size = sizeof(order) - 1; size > sizeof(order.ethernet); size--)
		CHECK_EQ(retire(&order, size), 0);
	CHECK(is_there(SW_KIND_UID, SW_ROAD_DIRECT));
	CHECK_EQ(retire(&order, sizeof(order)), 1);
}
