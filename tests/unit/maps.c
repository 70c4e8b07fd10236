// SPDX-License-Identifier: GPL-2.0-or-later
/* What the command says of a window, against a log of every single time. */
#include <linux/bpf.h>

#include <smtpwall/window.h>

#include "maps.h"
#include "test.h"

#define LOG 4096

struct log {
	uint64_t slot[LOG]; /* number of the slot in which each was admitted */
	size_t n;
};

static uint64_t log_used(const struct log *log, uint64_t slot_ns, uint64_t now_ns)
{
	uint64_t now = now_ns / slot_ns, used = 0;
	size_t i;

	for (i = 0; i < log->n; i++)
		used += log->slot[i] + SW_SLOTS > now;
	return used;
}

/* The first moment from `now_ns` on at which one more fits, found by trying. */
static uint64_t log_frees_at(const struct log *log, uint64_t max, uint64_t slot_ns, uint64_t now_ns)
{
	uint64_t at = now_ns;

	while (log_used(log, slot_ns, at) + 1 > max)
		at = (at / slot_ns + 1) * slot_ns;
	return at == now_ns ? 0 : at;
}

static void play(uint64_t max, uint64_t slot_ns, unsigned int seed)
{
	struct sw_window w = {};
	struct log log = {};
	uint64_t now = 1000000ULL + seed;
	int i;

	srand(seed);
	for (i = 0; i < LOG; i++) {
		now += (uint64_t)rand() % (rand() % 8 ? slot_ns / 2 + 1 : slot_ns * 20);
		if (!CHECK_EQ(window_used(&w, slot_ns, now), log_used(&log, slot_ns, now)) ||
		    !CHECK_EQ(window_frees_at(&w, max, slot_ns, now),
			      log_frees_at(&log, max, slot_ns, now)))
			return;
		sw_window_expire(&w, slot_ns, now);
		if (!sw_window_admits(&w, max, 1))
			continue;
		sw_window_add(&w, 1);
		log.slot[log.n++] = now / slot_ns;
	}
}

TEST(what_a_window_used_and_when_it_frees_agrees_with_a_log)
{
	unsigned int seed;

	for (seed = 1; seed <= 40; seed++)
		play(1 + seed % 23, sw_slot_ns(1000000ULL * (1 + seed * seed)), seed);
}

TEST(a_limit_of_zero_never_frees)
{
	struct sw_window w = {};

	CHECK_EQ(window_frees_at(&w, 0, 1000, 5000), UINT64_MAX);
}

TEST(a_window_that_is_over_its_limit_frees_when_enough_of_it_ran_out)
{
	struct sw_window w = {};

	sw_window_expire(&w, 10, 1000);
	sw_window_add(&w, 7); /* slot 100 */
	sw_window_expire(&w, 10, 1050);
	sw_window_add(&w, 1); /* slot 105 */
	CHECK_EQ(window_used(&w, 10, 1060), 8);
	CHECK_EQ(window_frees_at(&w, 1, 10, 1060), (105 + SW_SLOTS) * 10);
	CHECK_EQ(window_frees_at(&w, 2, 10, 1060), (100 + SW_SLOTS) * 10);
	CHECK_EQ(window_frees_at(&w, 9, 10, 1060), 0);
}

TEST(a_window_read_by_a_clock_that_is_behind_is_not_expired)
{
	struct sw_window w = {};

	sw_window_expire(&w, 10, 1000);
	sw_window_add(&w, 3);
	CHECK_EQ(window_used(&w, 10, 990), 3);
	CHECK_EQ(w.total, 3);
}

TEST(the_mode_of_a_trial_ends_with_it)
{
	struct sw_control c = { .mode = SW_MODE_OBSERVE,
				.trial_mode = SW_MODE_ENFORCE,
				.trial_until_ns = 100 };

	CHECK_EQ(control_mode(&c, 99), SW_MODE_ENFORCE);
	CHECK_EQ(control_mode(&c, 100), SW_MODE_OBSERVE);
	c.trial_until_ns = 0;
	CHECK_EQ(control_mode(&c, 1), SW_MODE_OBSERVE);
}

TEST(a_row_is_idle_when_its_last_window_has_run_out)
{
	struct sw_windows row = {};

	CHECK(windows_idle(&row, 0));
	for (int i = 0; i < SW_LIMITS; i++) {
		struct sw_cell *cell = &row.cell[i];

		cell->slot_ns = 10;
		sw_window_expire(&cell->window, 10, 1000);
		sw_window_add(&cell->window, 1);
		CHECK(!windows_idle(&row, 1000));
		CHECK(!windows_idle(&row, (100 + SW_SLOTS) * 10 - 1));
		CHECK(windows_idle(&row, (100 + SW_SLOTS) * 10));
		CHECK(!windows_idle(&row, 0)); /* a clock that is behind */
		*cell = (struct sw_cell){};
	}
}
