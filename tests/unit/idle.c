// SPDX-License-Identifier: GPL-2.0-or-later
/* Which addresses make room in their ledger. */
#include "idle.h"
#include "test.h"

#define HOUR_NS (3600ULL * 1000000000)
#define NOW_NS (10 * HOUR_NS)

static struct ledger_row address(__u8 last, __u64 first_seen_ns, __u64 last_seen_ns)
{
	struct ledger_row row = { .subject.kind = SW_KIND_IP };

	row.subject.addr[15] = last;
	row.ledger.first_seen_ns = first_seen_ns;
	row.ledger.last_seen_ns = last_seen_ns;
	return row;
}

TEST(only_a_ledger_that_fills_up_lets_the_idle_go)
{
	struct ledger_row row[3] = { address(1, 1, 1), address(2, 1, 1), address(3, 1, 1) };

	CHECK_EQ(idle_addresses(row, 3, 5, NOW_NS), 0);
	CHECK_EQ(idle_addresses(row, 3, 4, NOW_NS), 3);
}

TEST(an_hour_unseen_is_idle)
{
	struct ledger_row row[] = {
		address(1, 1, NOW_NS - HOUR_NS),
		address(2, NOW_NS - HOUR_NS, 0),
		address(3, 1, NOW_NS - HOUR_NS - 1),
		address(4, 1, 0),
	};

	CHECK_EQ(idle_addresses(row, 4, 4, NOW_NS), 2);
	CHECK_EQ(row[0].subject.addr[15], 3);
	CHECK_EQ(row[1].subject.addr[15], 4);
	row[0].ledger.last_seen_ns = 1;
	CHECK_EQ(idle_addresses(row, 1, 1, HOUR_NS / 2), 0);
	CHECK_EQ(idle_addresses(row, 1, 1, HOUR_NS + 2), 1);
}

TEST(rows_that_are_shared_stay)
{
	struct ledger_row row[] = { address(0, 1, 1), address(1, 1, 1), address(2, 1, 1) };

	row[2].subject.uid = 120;
	CHECK_EQ(idle_addresses(row, 3, 2, NOW_NS), 1);
	CHECK_EQ(row[0].subject.addr[15], 1);
}
