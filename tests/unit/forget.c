// SPDX-License-Identifier: GPL-2.0-or-later
/* Which rows of folders and units make room. */
#include <linux/bpf.h>

#include "forget.h"
#include "test.h"

#define HOUR (3600 * 1000000000ULL)
#define DAY (24 * HOUR)
#define NOW (100 * DAY)
#define ROWS 512

static struct ledger_row row[ROWS];
static struct quota_row quota[ROWS];
static const struct forget_used nobody;

static struct ledger_row folder(__u64 inode, __u64 last_seen_ns)
{
	return (struct ledger_row){
		.subject = { .kind = SW_KIND_DIR, .dir = { .inode = inode, .device = 1 } },
		.ledger = { .first_seen_ns = 1, .last_seen_ns = last_seen_ns },
	};
}

static struct ledger_row folder_of(__u32 uid, __u64 inode, __u64 last_seen_ns)
{
	struct ledger_row made = folder(inode, last_seen_ns);

	made.ledger.quota_of = uid;
	made.ledger.in_quota = 1;
	return made;
}

static size_t chosen(size_t n, size_t room, const struct forget_used *used)
{
	size_t users = forget_quotas(row, n, quota);

	return forget_choose(row, n, room, quota, users, used, NOW);
}

TEST(a_week_without_use_is_too_long)
{
	row[0] = folder(1, NOW - 6 * DAY);
	row[1] = folder(2, NOW - 7 * DAY);
	row[2] = folder(3, NOW);
	row[3] = folder(4, NOW - 8 * DAY);
	CHECK_EQ(chosen(4, 1000, &nobody), 2);
	CHECK_EQ(row[0].subject.dir.inode, 2);
	CHECK_EQ(row[1].subject.dir.inode, 4);
	CHECK_EQ(row[2].subject.dir.inode + row[3].subject.dir.inode, 1 + 3); /* the others stay */
}

TEST(where_room_is_scarce_an_hour_is)
{
	for (int i = 0; i < 80; i++)
		row[i] = folder(i + 1, NOW - (i % 2 ? HOUR : HOUR - 1));
	CHECK_EQ(chosen(80, 110, &nobody), 0);
	CHECK_EQ(chosen(80, 100, &nobody), 40);
	for (int i = 0; i < 40; i++)
		CHECK_EQ(row[i].ledger.last_seen_ns, NOW - HOUR);
}

TEST(who_uses_up_his_quota_is_short_of_room_and_his_neighbour_is_not)
{
	for (int i = 0; i < 200; i++)
		row[i] = folder_of(1001, i + 1, NOW - 2 * HOUR);
	for (int i = 200; i < 300; i++)
		row[i] = folder_of(1002, i + 1, NOW - 2 * HOUR);
	row[300] = folder(301, NOW - 2 * HOUR); /* a site */
	CHECK_EQ(forget_quotas(row, 301, quota), 2);
	CHECK_EQ(quota[0].uid, 1001);
	CHECK_EQ(quota[0].dirs, 200);
	CHECK_EQ(quota[1].dirs, 100);
	CHECK_EQ(chosen(301, 65536, &nobody), 200);
	CHECK_EQ(forget_quotas(row + 200, 101, quota), 1);
	CHECK_EQ(quota[0].uid, 1002);
}

TEST(who_is_in_use_stays_and_so_does_the_row_that_is_always_there)
{
	struct sw_subject in_use = folder(2, 0).subject;
	const struct forget_used used = { &in_use, 1 };

	row[0] = folder(1, NOW - 8 * DAY);
	row[1] = folder(2, NOW - 8 * DAY);
	row[2] = folder(3, 0);
	row[2].ledger.first_seen_ns = 0; /* being made */
	row[3] = (struct ledger_row){ .subject = { .uid = SW_UID_OVERFLOW },
				      .ledger.last_seen_ns = 1 };
	row[4] = folder(5, NOW + 1);
	CHECK_EQ(chosen(5, 1000, &used), 1);
	CHECK_EQ(row[0].subject.dir.inode, 1);
}

TEST(nothing_is_nothing)
{
	CHECK_EQ(forget_quotas(row, 0, quota), 0);
	CHECK_EQ(chosen(0, 0, &nobody), 0);
}
