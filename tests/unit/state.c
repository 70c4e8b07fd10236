// SPDX-License-Identifier: GPL-2.0-or-later
/* What time does to a block over a reboot, whatever the wall clock says. */
#include "state.h"
#include "test.h"

#define S 1000000000ULL
#define HOUR (3600 * S)
#define DAY (24 * HOUR)
#define WALL (1700000000LL * (int64_t)S)

/* Saved an hour after boot; the block has two hours left. */
static const struct moment then = { "one", HOUR, WALL };
#define UNTIL (3 * HOUR)

/* A minute after the next boot, which is `later` after what was saved by the wall clock. */
static struct moment reboot(int64_t later)
{
	return (struct moment){ "two", 60 * S, WALL + later };
}

TEST(time_that_passed_while_the_machine_was_off_counts)
{
	struct moment now = reboot(HOUR / 2);
	uint64_t until;

	CHECK(moment_until(UNTIL, &then, &now, &until));
	CHECK_EQ(until, 60 * S + 3 * HOUR / 2);
	now = reboot(2 * HOUR - 1);
	CHECK(moment_until(UNTIL, &then, &now, &until));
	CHECK_EQ(until, 60 * S + 1);
	now = reboot(2 * HOUR);
	CHECK(!moment_until(UNTIL, &then, &now, &until));
}

TEST(a_clock_set_back_by_a_day_makes_no_block_longer)
{
	struct moment now = reboot(-(int64_t)DAY);
	uint64_t until;

	CHECK(moment_until(UNTIL, &then, &now, &until));
	CHECK_EQ(until, 60 * S + 2 * HOUR);
	now.wall_ns = 0; /* 1970: the battery is empty */
	CHECK(moment_until(UNTIL, &then, &now, &until));
	CHECK_EQ(until, 60 * S + 2 * HOUR);
}

TEST(a_clock_set_forward_by_a_day_ends_what_it_says_is_over)
{
	struct moment now = reboot(DAY);
	uint64_t until;

	CHECK(!moment_until(UNTIL, &then, &now, &until));
	CHECK(moment_until(0, &then, &now, &until));
	CHECK_EQ(until, 0);
}

TEST(in_one_boot_the_wall_clock_means_nothing)
{
	struct moment now = { "one", 2 * HOUR, WALL + DAY };
	uint64_t until;

	CHECK(moment_until(UNTIL, &then, &now, &until));
	CHECK_EQ(until, UNTIL);
	now.wall_ns = WALL - DAY;
	CHECK(moment_until(UNTIL, &then, &now, &until));
	CHECK_EQ(until, UNTIL);
	now.boot_ns = UNTIL;
	CHECK(!moment_until(UNTIL, &then, &now, &until));
	CHECK_EQ(moment_since(1234, &then, &now), 1234);
}

TEST(what_began_before_the_boot_has_a_time_less_than_zero)
{
	struct moment now = reboot(HOUR / 2);

	/* It began half an hour before it was saved: an hour ago. */
	CHECK_EQ((int64_t)moment_since(HOUR / 2, &then, &now), (int64_t)(60 * S) - (int64_t)HOUR);
	now.boot_ns = HOUR;
	CHECK_EQ(moment_since(HOUR / 2, &then, &now), 1);
}

TEST(a_jump_of_the_wall_clock_is_seen_and_its_drift_is_not)
{
	struct moment now = { "one", HOUR + S, WALL + (int64_t)S };

	CHECK(!moment_jumped(&then, &now));
	now.wall_ns += S / 10;
	CHECK(!moment_jumped(&then, &now));
	now.wall_ns += DAY;
	CHECK(moment_jumped(&then, &now));
	now.wall_ns -= 2 * DAY;
	CHECK(moment_jumped(&then, &now));
}
