/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The two-sided promise of window.h, against an exact log of what was admitted when: never more
 * than N in any span of length T, and nobody refused who stayed at or under N in every span of
 * sixteen slots. Time is hostile: bursts, edges of slots, one nanosecond to either side, exactly
 * T later, long gaps, and readings that arrive late and seem to run backwards.
 */
#include "test.h"

#include <smtpwall/window.h>

#include "cleanup.h"

#define S 1000000000ULL
#define INNOCENT_NS(window_ns) (16 * (((window_ns) + 14) / 15)) /* as promised, not as built */
#define RUNS 6000
#define STEPS 300

/* ---- chance: the same in every run of the test ---- */

static __u64 state = 0x5eed;

static __u64 chance(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1dULL;
}

static __u64 below(__u64 n)
{
	return n ? chance() % n : 0;
}

/* ---- the one who counts: a window as judge.h drives it ---- */

struct limit {
	__u64 window_ns, slot_ns, max;
};

struct counter {
	struct limit limit;
	struct sw_window window;
	__u64 clock_ns;
};

/* Readings are made monotone under the lock. */
static __u64 clamp(struct counter *c, __u64 now_ns)
{
	if (now_ns > c->clock_ns)
		c->clock_ns = now_ns;
	return c->clock_ns;
}

static bool attempt(struct counter *c, __u64 now_ns, __u64 n)
{
	now_ns = clamp(c, now_ns);
	sw_window_expire(&c->window, c->limit.slot_ns, now_ns);
	if (!sw_window_admits(&c->window, c->limit.max, n))
		return false;
	sw_window_add(&c->window, n);
	return true;
}

static struct counter counter_from(__u64 window_ns, __u64 max, __u64 start_ns)
{
	struct counter c = { .limit = { window_ns, sw_slot_ns(window_ns), max } };

	c.clock_ns = start_ns;
	c.window.newest = start_ns / c.limit.slot_ns;
	return c;
}

/* ---- the exact log ---- */

struct admitted {
	__u64 at_ns, n;
};

struct log {
	struct admitted entry[STEPS];
	size_t n;
};

/* What was admitted at most `span_ns` (and less, if `open`) before `now_ns`; all ones if the sum
 * is more than that. */
static __u64 log_sum(const struct log *log, __u64 now_ns, __u64 span_ns, bool open)
{
	__u64 sum = 0, age;
	size_t i;

	for (i = log->n; i-- > 0;) {
		age = now_ns - log->entry[i].at_ns;
		if (age > span_ns || (open && age == span_ns))
			break;
		if (__builtin_add_overflow(sum, log->entry[i].n, &sum))
			return ~0ULL;
	}
	return sum;
}

static bool fits(__u64 sum, __u64 n, __u64 max)
{
	return sum <= max && n <= max - sum;
}

static __u64 slots_sum(const struct sw_window *w)
{
	__u64 sum = 0;
	int i;

	for (i = 0; i < SW_SLOTS; i++)
		sum += w->slot[i];
	return sum;
}

/* ---- hostile timing ---- */

static __u64 jitter(void)
{
	return below(3) - 1; /* one before, just at, one after */
}

/* Near the end of the clock it wraps: a reading that seems to run backwards, too. */
static __u64 later(const struct limit *limit, __u64 now_ns)
{
	switch (below(10)) {
	case 0: /* a burst */
	case 1:
		return now_ns;
	case 2:
		return now_ns + 1;
	case 3: /* the edge of this slot, or of one of the next sixteen */
		return (now_ns / limit->slot_ns + 1 + below(17)) * limit->slot_ns + jitter();
	case 4:
		return now_ns + limit->window_ns + jitter();
	case 5:
		return now_ns + INNOCENT_NS(limit->window_ns) + jitter();
	case 6:
		return now_ns + below(limit->slot_ns);
	case 7:
		return now_ns + below(limit->window_ns / 3);
	case 8: /* a reading from before, that comes late */
		return now_ns -
		       below(now_ns < 2 * limit->window_ns ? now_ns : 2 * limit->window_ns);
	default:
		return below(20) ? now_ns + below(limit->window_ns / 40)
				 : now_ns + below(1000) * limit->window_ns;
	}
}

static __u64 amount(const struct limit *limit, bool bytes)
{
	if (!bytes)
		return 1;
	switch (below(8)) {
	case 0:
		return limit->max;
	case 1:
		return limit->max + 1;
	case 2:
		return 0;
	case 3:
		return chance();
	case 4:
		return limit->max / 2 + below(2);
	default:
		return below(limit->max / 4 + 2);
	}
}

static const __u64 windows_ns[] = {
	S,	   2 * S,	  7 * S,	59 * S, 60 * S, 300 * S,    3600 * S,
	86400 * S, 86400 * 7 * S, 31449600 * S, S + 1,	15 * S, 15 * S - 1, 16 * S + 7,
};
static const __u64 counts[] = { 0, 1, 2, 3, 5, 15, 16, 20, 100 };
static const __u64 sizes[] = { 1, 1500, 20000000, 1ULL << 40, ~0ULL - 1 };

/* Mostly anywhere in the life of a machine; else at both ends of the clock. */
static __u64 start_of(__u64 window_ns)
{
	switch (below(6)) {
	case 0:
		return below(3);
	case 1:
		return ~0ULL - below(400 * window_ns);
	default:
		return 3 * window_ns + below(400 * 86400 * S);
	}
}

struct seen {
	size_t admitted, refused, full_span, reused;
};

static bool check_step(struct counter *c, struct log *log, __u64 now_ns, __u64 n, struct seen *seen)
{
	const struct limit *limit = &c->limit;
	bool ok = attempt(c, now_ns, n);
	__u64 at_ns = c->clock_ns;
	__u64 in_span = log_sum(log, at_ns, limit->window_ns, false);
	__u64 around = log_sum(log, at_ns, INNOCENT_NS(limit->window_ns), true);

	if (!CHECK_EQ(c->window.total, slots_sum(&c->window)))
		return false;
	if (!ok) {
		seen->refused++;
		return CHECK(!fits(around, n, limit->max)); /* the innocent are never refused */
	}
	if (!CHECK(fits(in_span, n, limit->max))) /* never more than N in T */
		return false;
	seen->admitted++;
	seen->full_span += n && in_span + n == limit->max;
	seen->reused += log->n && in_span < log_sum(log, at_ns, ~0ULL, false);
	log->entry[log->n++] = (struct admitted){ at_ns, n };
	return true;
}

/* One subject, one limit, one hostile sequence of attempts. */
static bool check_run(__u64 window_ns, __u64 max, bool bytes, struct seen *seen)
{
	struct counter c = counter_from(window_ns, max, start_of(window_ns));
	struct log log = {};
	size_t i;

	for (i = 0; i < STEPS; i++)
		if (!check_step(&c, &log, later(&c.limit, c.clock_ns), amount(&c.limit, bytes),
				seen))
			return test_fail(__FILE__, __LINE__, "step %zu, T %llu, N %llu, at %llu", i,
					 window_ns, max, c.clock_ns);
	return true;
}

static void check_runs(const __u64 *max, size_t n_max, bool bytes)
{
	struct seen seen = {};
	size_t i;

	for (i = 0; i < RUNS; i++)
		if (!check_run(windows_ns[below(ARRAY_SIZE(windows_ns))], max[below(n_max)], bytes,
			       &seen))
			return;
	printf("# %u runs: %zu admitted, %zu refused, %zu filled T exactly, %zu after a slot ran "
	       "out\n",
	       RUNS, seen.admitted, seen.refused, seen.full_span, seen.reused);
	/* A test that sees one side only has tested nothing. */
	CHECK(seen.admitted > RUNS * 20);
	CHECK(seen.refused > RUNS * 20);
	CHECK(seen.full_span > RUNS / 2);
	CHECK(seen.reused > RUNS * 10);
}

TEST(both_sides_of_the_promise_hold_for_counts_under_hostile_timing)
{
	check_runs(counts, ARRAY_SIZE(counts), false);
}

TEST(both_sides_of_the_promise_hold_for_bytes_under_hostile_timing)
{
	check_runs(sizes, ARRAY_SIZE(sizes), true);
}

/* ---- both bounds are reached, not only kept ---- */

TEST(the_last_nanosecond_of_T_still_counts_wherever_in_its_slot_it_began)
{
	const __u64 offset[] = { 0, 1, 3, sw_slot_ns(60 * S) / 2, sw_slot_ns(60 * S) - 1 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(offset); i++) {
		__u64 start_ns = 60000 * S + offset[i];
		struct counter c = counter_from(60 * S, 1, start_ns);

		CHECK(attempt(&c, start_ns, 1));
		CHECK(!attempt(&c, start_ns + 60 * S - 1, 1));
		CHECK(!attempt(&c, start_ns + 60 * S, 1));
		CHECK(attempt(&c, start_ns + INNOCENT_NS(60 * S), 1));
	}
}

TEST(a_slot_is_never_shorter_than_a_fifteenth)
{
	__u64 window_ns;

	for (window_ns = 1; window_ns < 1000; window_ns++) {
		CHECK(sw_slot_ns(window_ns) * (SW_SLOTS - 1) >= window_ns);
		CHECK((sw_slot_ns(window_ns) - 1) * (SW_SLOTS - 1) < window_ns);
	}
}

TEST(after_a_gap_of_any_length_nothing_is_left)
{
	static const __u64 slots[] = { 16, 17, 31, 32, 33, 4096, 1ULL << 40 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		struct counter c = counter_from(15, 3, 77);

		CHECK(attempt(&c, 77, 3));
		CHECK(!attempt(&c, 77 + 15, 1));
		CHECK(attempt(&c, 77 + slots[i], 3));
		CHECK_EQ(c.window.total, 3);
	}
}

TEST(a_clock_that_runs_backwards_opens_no_window)
{
	struct counter c = counter_from(60 * S, 2, 600 * S);

	CHECK(attempt(&c, 600 * S, 1));
	CHECK(attempt(&c, 0, 1));
	CHECK(!attempt(&c, 1, 1));
	CHECK(!attempt(&c, 600 * S - 1, 1));
	/* Even without the caller's clamp nothing is forgotten. */
	sw_window_expire(&c.window, c.limit.slot_ns, 5 * S);
	CHECK_EQ(c.window.total, 2);
	CHECK(!attempt(&c, 660 * S, 1));
}

TEST(a_limit_of_none_admits_nobody_and_a_lowered_one_waits)
{
	struct counter c = counter_from(60 * S, 0, S);

	CHECK(!attempt(&c, S, 1));
	CHECK(attempt(&c, S, 0));
	c.limit.max = 5;
	CHECK(attempt(&c, S, 5));
	c.limit.max = 3;
	CHECK(!attempt(&c, S, 1));
	CHECK(!attempt(&c, S, 0)); /* over already */
	CHECK(attempt(&c, 120 * S, 3));
}

TEST(amounts_as_large_as_the_word_do_not_wrap)
{
	struct counter c = counter_from(60 * S, ~0ULL - 1, S);

	CHECK(!attempt(&c, S, ~0ULL));
	CHECK(attempt(&c, S, ~0ULL - 1));
	CHECK(!attempt(&c, S, 1));
	CHECK(!attempt(&c, S, ~0ULL));
	CHECK(attempt(&c, S, 0));
}
