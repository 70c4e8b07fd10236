// SPDX-License-Identifier: GPL-2.0-or-later
/* Which blocks are news, and which are over. */
#include "sweep.h"
#include "test.h"

static struct block_row block(__u32 uid, __u32 road, __u64 since_ns)
{
	return (struct block_row){
		.subject = { .kind = SW_KIND_UID, .uid = uid },
		.road = road,
		.block = { .since_ns = since_ns },
	};
}

TEST(a_block_is_news_once)
{
	struct block_row told[] = { block(1, 0, 10), block(3, 0, 10) };
	struct block_row now[] = { block(3, 0, 10), block(2, 0, 20), block(1, 0, 10) };
	struct block_row news[3];

	blocks_sort(now, 3);
	CHECK_EQ(blocks_missing(now, 3, told, 2, news), 1);
	CHECK_EQ(news[0].subject.uid, 2);
	CHECK_EQ(blocks_missing(now, 3, now, 3, news), 0);
	CHECK_EQ(blocks_missing(now, 3, NULL, 0, news), 3);
}

TEST(a_block_made_anew_is_news_and_the_old_one_is_gone)
{
	struct block_row told[] = { block(1, 0, 10) }, now[] = { block(1, 0, 11) };
	struct block_row found[1];

	CHECK_EQ(blocks_missing(now, 1, told, 1, found), 1);
	CHECK_EQ(blocks_missing(told, 1, now, 1, found), 1);
}

TEST(the_roads_of_one_block_are_told_together)
{
	struct block_row row[] = { block(1, 1, 10), block(1, 0, 20), block(1, 0, 10),
				   block(2, 0, 10) };

	blocks_sort(row, 4);
	CHECK_EQ(blocks_same(row, 4), 2);
	CHECK_EQ(row[0].road, 0);
	CHECK_EQ(row[1].road, 1);
	CHECK_EQ(blocks_same(row + 2, 2), 1);
	CHECK_EQ(blocks_same(row + 3, 1), 1);
	CHECK_EQ(blocks_same(row, 0), 0);
}

TEST(kinds_do_not_mix)
{
	struct block_row uid = block(7, 0, 10);
	struct block_row unit = { .subject = { .kind = SW_KIND_UNIT, .unit = 7 },
				  .block.since_ns = 10 };
	struct block_row found[1];

	CHECK_EQ(blocks_missing(&uid, 1, &unit, 1, found), 1);
}

TEST(two_folders_with_one_inode_number_are_two)
{
	struct block_row one = { .subject = { .kind = SW_KIND_DIR, .dir = { 2, 1, { 0 } } },
				 .block.since_ns = 10 };
	struct block_row other = one, row[2], found[1];

	other.subject.dir.device = 2;
	CHECK_EQ(blocks_missing(&one, 1, &other, 1, found), 1);
	CHECK_EQ(blocks_missing(&one, 1, &one, 1, found), 0);
	row[0] = other;
	row[1] = one;
	blocks_sort(row, 2);
	CHECK_EQ(blocks_same(row, 2), 1);
	other.subject.dir = (struct sw_dir){ .uid = 1004 };
	CHECK_EQ(blocks_missing(&one, 1, &other, 1, found), 1);
}

TEST(a_block_ends_by_its_time_or_with_its_trial)
{
	struct sw_block b = { .until_ns = 100 };

	CHECK(!block_ended(&b, SW_MODE_ENFORCE, 99));
	CHECK(block_ended(&b, SW_MODE_ENFORCE, 100) != NULL);
	b.until_ns = 0;
	CHECK(!block_ended(&b, SW_MODE_ENFORCE, UINT64_MAX));
	b.flags = SW_BLOCK_TRIAL;
	CHECK(!block_ended(&b, SW_MODE_ENFORCE, 1));
	CHECK_CONTAINS(block_ended(&b, SW_MODE_OBSERVE, 1), "trial");
}
