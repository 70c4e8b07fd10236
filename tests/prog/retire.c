/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rows of windows leave their map when every window has run out, and not a moment sooner. */
#include "world.h"

#include <stddef.h>

#define S 1000000000ULL
#define SLOT (4 * S) /* of a limit per minute */
#define UID 4711
#define UNIT 0x100000001ULL
#define POLICY 99

static const struct sw_windows_key of_kind[SW_LOCAL_KINDS] = {
	[SW_KIND_UID] = { .id = UID, .policy = POLICY, .kind = SW_KIND_UID },
	[SW_KIND_UNIT] = { .id = UNIT, .policy = POLICY, .kind = SW_KIND_UNIT },
	[SW_KIND_DIR] = { .id = UNIT, .device = 2, .policy = POLICY, .kind = SW_KIND_DIR },
};

static int windows_map(void)
{
	static int map;

	map = map ? map : world_map("windows");
	return map;
}

static struct sw_windows_key key_of(enum sw_kind kind, enum sw_road road)
{
	struct sw_windows_key key = of_kind[kind];

	key.road = road;
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
	struct sw_windows_key key = key_of(kind, road);

	CHECK_EQ(bpf_map_update_elem(windows_map(), &key, row, BPF_ANY), 0);
}

static bool is_there(enum sw_kind kind, enum sw_road road)
{
	struct sw_windows_key key = key_of(kind, road);
	struct sw_windows row;

	return bpf_map_lookup_elem(windows_map(), &key, &row) == 0 && CHECK_EQ(row.dead, 0);
}

static int retire(const struct sw_retire *order, size_t size)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = order, .data_size_in = size);

	return bpf_prog_test_run_opts(world.retire, &opts) < 0 ? -errno : (int)opts.retval;
}

static int retire_row(enum sw_kind kind, enum sw_road road, __u64 now_ns, bool only_idle)
{
	const struct sw_retire order = {
		.now_ns = now_ns,
		.only_idle = only_idle,
		.key = key_of(kind, road),
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

TEST(every_kind_has_rows_of_its_own)
{
	const struct sw_windows row = row_with(0, 1000, 5);
	enum sw_kind kind, other;

	if (!up())
		return;
	for (kind = 0; kind < SW_LOCAL_KINDS; kind++) {
		for (other = 0; other < SW_LOCAL_KINDS; other++)
			put(other, SW_ROAD_DIRECT, &row);
		CHECK_EQ(retire_row(kind, SW_ROAD_DIRECT, 1015 * SLOT, true), 0);
		CHECK_EQ(retire_row(kind, SW_ROAD_DIRECT, 1016 * SLOT, true), 1);
		for (other = 0; other < SW_LOCAL_KINDS; other++)
			CHECK_EQ(is_there(other, SW_ROAD_DIRECT), other != kind);
	}
	for (kind = 0; kind < SW_LOCAL_KINDS; kind++)
		retire_row(kind, SW_ROAD_DIRECT, 0, false);
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
	const struct sw_retire order = { .key = key_of(SW_KIND_UID, SW_ROAD_DIRECT) };
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

/* ---- addresses ---- */

static struct sw_ip v4(__u8 a, __u8 b, __u8 c, __u8 d)
{
	return (struct sw_ip){ { [10] = 0xff, 0xff, a, b, c, d } };
}

static int retire_address(const struct sw_ip *address, __u64 since_ns)
{
	struct sw_retire order = { .now_ns = since_ns, .only_idle = 1, .key.kind = SW_KIND_IP };

	memcpy(order.addr, address->addr, sizeof(order.addr));
	return retire(&order, sizeof(order));
}

static int put_address(const struct sw_ip *address, __u64 n, __u64 seen_ns)
{
	struct sw_ledger row = { .first_seen_ns = seen_ns, .last_seen_ns = seen_ns };

	row.direct.connections = n;
	row.sendmail.would_refuse = n;
	row.wire.packets = n;
	return bpf_map_update_elem(world_map("ip_ledger"), address, &row, BPF_ANY);
}

static struct sw_ledger shared_row(__u32 bits, const struct sw_ip *network)
{
	struct sw_network key = { .prefix_len = bits };
	struct sw_ledger row = {};

	memcpy(key.addr, network->addr, sizeof(key.addr));
	bpf_map_lookup_elem(world_map("net_ledger"), &key, &row);
	return row;
}

TEST(an_idle_address_goes_and_its_network_keeps_its_counts)
{
	struct sw_ip one = v4(10, 1, 2, 3), other = v4(10, 1, 2, 200), network = v4(10, 1, 2, 0);
	struct sw_ledger row;

	if (!up())
		return;
	CHECK_EQ(put_address(&one, 7, 100), 0);
	CHECK_EQ(put_address(&other, 5, 50), 0);
	CHECK_EQ(retire_address(&one, 100), 0);
	CHECK_EQ(retire_address(&one, 101), 1);
	CHECK_EQ(retire_address(&one, 101), 0);
	CHECK_EQ(retire_address(&other, 101), 1);
	row = shared_row(96 + 24, &network);
	CHECK_EQ(row.direct.connections, 12);
	CHECK_EQ(row.sendmail.would_refuse, 12);
	CHECK_EQ(row.wire.packets, 12);
	CHECK_EQ(row.submission.connections, 0);
	CHECK_EQ(row.last_seen_ns, 100);
	CHECK_EQ(row.first_seen_ns, 50);
}

TEST(an_address_of_IPv6_goes_to_48_bits)
{
	struct sw_ip one = { { 0x20, 1, 0xd, 0xb8, 1, 2, 3, 4 } };
	struct sw_ip network = { { 0x20, 1, 0xd, 0xb8, 1, 2 } };

	if (!up())
		return;
	CHECK_EQ(put_address(&one, 3, 1), 0);
	CHECK_EQ(retire_address(&one, 2), 1);
	CHECK_EQ(shared_row(48, &network).direct.connections, 3);
}

TEST(an_address_seen_before_the_boot_is_idle_and_one_after_that_is_not)
{
	struct sw_ip one = v4(10, 1, 3, 3);

	if (!up())
		return;
	CHECK_EQ(put_address(&one, 3, 5), 0);
	CHECK_EQ(retire_address(&one, -10), 0);
	CHECK_EQ(put_address(&one, 3, -20), 0);
	CHECK_EQ(retire_address(&one, -10), 1);
}

TEST(the_overflow_row_stays)
{
	const struct sw_ip overflow = {};

	if (!up())
		return;
	CHECK_EQ(put_address(&overflow, 3, 5), 0);
	CHECK_EQ(retire_address(&overflow, 10), 0);
}
