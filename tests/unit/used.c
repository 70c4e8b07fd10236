/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the command says of a limit, in numbers and words. */
#include "cli/used.c"
#include "test.h"

#define S 1000000000ULL
#define HOUR (3600 * S)
#define NOW (100 * HOUR)

/* A policy with one limit in cell 1, of the messages in cell 0. */
static struct sw_policy policy;
static struct sw_windows windows;

static void cell_begin(const struct sw_limit *limit)
{
	struct sw_cell *cell = &windows.cell[limit->cell];

	cell->limit = limit->id;
	cell->slot_ns = limit->slot_ns;
}

static void begin(struct sw_limit limit)
{
	limit.id = 7;
	limit.cell = 1;
	limit.window_ns = HOUR;
	limit.slot_ns = sw_slot_ns(HOUR);
	windows = (struct sw_windows){};
	policy = (struct sw_policy){ .n_limits = 2, .limit[1] = limit };
	policy.limit[0] = (struct sw_limit){ .id = 3,
					     .window_ns = HOUR,
					     .slot_ns = limit.slot_ns,
					     .metric = SW_METRIC_MESSAGES,
					     .warn = SW_WARN_BASE };
	cell_begin(&policy.limit[0]);
	cell_begin(&policy.limit[1]);
}

static void add(size_t cell, uint64_t n, uint64_t when_ns)
{
	struct sw_cell *c = &windows.cell[cell];

	sw_window_expire(&c->window, c->slot_ns, when_ns);
	sw_window_add(&c->window, n);
}

static struct used used_now(uint64_t now_ns)
{
	struct used used;

	used_read(&policy, &policy.limit[1], SW_ROAD_DIRECT, &windows, now_ns, &used);
	return used;
}

static void words_are(const struct used *used, const char *words, const char *brief)
{
	char text[USED_WORDS_LEN];

	used_words(text, used);
	CHECK_STR(text, words);
	used_brief(text, used);
	CHECK_STR(text, brief);
}

TEST(messages_are_used_up_at_their_limit)
{
	struct used used;

	begin((struct sw_limit){ .metric = SW_METRIC_MESSAGES, .max = 100 });
	add(1, 99, NOW);
	used = used_now(NOW);
	CHECK_EQ(used.used, 99);
	CHECK_EQ(used.frees_at_ns, 0);
	words_are(&used, "It used 99 of the limit '100 messages per 1h'",
		  "99% of 100 messages per 1h");
	add(1, 1, NOW);
	used = used_now(NOW);
	CHECK_EQ(used.used, 100);
	CHECK_EQ(used_max(&used), 100);
	CHECK_EQ(used.frees_at_ns, NOW + SW_SLOTS * sw_slot_ns(HOUR));
}

TEST(rejects_may_come_up_to_their_limit)
{
	struct used used;

	begin((struct sw_limit){ .metric = SW_METRIC_REJECTS, .max = 25, .warn = SW_WARN_ONLY });
	add(1, 25, NOW);
	CHECK_EQ(used_now(NOW).frees_at_ns, 0);
	add(1, 1, NOW + HOUR / 2);
	used = used_now(NOW + HOUR / 2);
	CHECK_EQ(used.used, 26);
	CHECK_EQ(used.frees_at_ns, NOW + SW_SLOTS * sw_slot_ns(HOUR));
	words_are(&used, "It used 26 of the warning '25 rejects per 1h'",
		  "104% of 25 rejects per 1h");

	begin((struct sw_limit){ .metric = SW_METRIC_DEFERRALS });
	CHECK_EQ(used_now(NOW).frees_at_ns, 0);
	add(1, 1, NOW);
	CHECK_EQ(used_now(NOW).frees_at_ns, NOW + SW_SLOTS * sw_slot_ns(HOUR));
}

static const struct sw_limit third = { .metric = SW_METRIC_REJECTS, .percent = 30, .floor = 20 };

TEST(a_percentage_is_told_with_what_it_is_of)
{
	struct used used;

	begin(third);
	used = used_now(NOW);
	CHECK_EQ(used.used, 0);
	words_are(&used, "0% of 0 messages rejected, limit 30% of at least 20 in 1h",
		  "0%: 30% rejects per 1h of at least 20 messages");
	add(0, 41, NOW);
	add(1, 14, NOW);
	used = used_now(NOW);
	CHECK_EQ(used.used, 34);
	CHECK_EQ(used.of, 41);
	CHECK_EQ(used_max(&used), 30);
	CHECK_EQ(used.frees_at_ns, NOW + SW_SLOTS * sw_slot_ns(HOUR));
	words_are(&used, "34% of 41 messages rejected, limit 30% of at least 20 in 1h",
		  "34%: 30% rejects per 1h of at least 20 messages");
}

TEST(a_percentage_holds_from_its_floor_on)
{
	struct used used;

	begin(third);
	add(0, 19, NOW);
	add(1, 19, NOW);
	used = used_now(NOW);
	CHECK_EQ(used.used, 100);
	CHECK_EQ(used.frees_at_ns, 0);
	CHECK(used_share(&used) == 0);
	add(0, 1, NOW);
	used = used_now(NOW);
	CHECK_EQ(used.used, 95);
	CHECK(used.frees_at_ns);
	CHECK(used_share(&used) > 3);
}

TEST(a_percentage_looks_over_if_and_only_if_it_is)
{
	uint64_t of, part;

	for (of = 0; of < 120; of++)
		for (part = 0; part < 120; part++) {
			struct used used;

			begin(third);
			add(0, of, NOW);
			add(1, part, NOW);
			used = used_now(NOW);
			if (!CHECK_EQ(used.frees_at_ns != 0, of >= 20 && part * 100 > of * 30) ||
			    (of >= 20 && !CHECK_EQ(used.used > 30, used.frees_at_ns != 0)))
				return;
		}
}

/* Found by trying every slot. */
static uint64_t tried(uint64_t now_ns)
{
	const struct sw_limit *limit = &policy.limit[1];
	uint64_t at;

	for (at = now_ns;; at = (at / limit->slot_ns + 1) * limit->slot_ns) {
		uint64_t part = window_used(&windows.cell[1].window, limit->slot_ns, at);
		uint64_t of = window_used(&windows.cell[0].window, limit->slot_ns, at);

		if (of < limit->floor || part * 100 <= of * limit->percent)
			return at == now_ns ? 0 : at;
	}
}

TEST(a_percentage_frees_when_it_is_no_longer_over)
{
	uint64_t now = NOW;
	int round, i;

	srand(11);
	for (round = 0; round < 2000; round++) {
		begin(third);
		for (i = 0; i < 30; i++) {
			now += rand() % (HOUR / 20);
			add(rand() % 2, rand() % 5, now);
		}
		now += rand() % (HOUR / 20);
		if (!CHECK_EQ(used_now(now).frees_at_ns, tried(now)))
			return;
	}
}

TEST(a_window_of_another_limit_is_no_use_of_this_one)
{
	begin(third);
	add(0, 40, NOW);
	add(1, 40, NOW);
	windows.cell[1].limit = 99;
	CHECK_EQ(used_now(NOW).used, 0);
	CHECK_EQ(used_now(NOW).of, 40);
	windows.cell[0].limit = 99;
	CHECK_EQ(used_now(NOW).of, 0);
}

TEST(rules_that_name_no_base_are_survived)
{
	begin(third);
	policy.n_limits = 0;
	add(1, 3, NOW);
	CHECK_EQ(used_now(NOW).used, 100);
	CHECK_EQ(used_now(NOW).frees_at_ns, 0);
}
