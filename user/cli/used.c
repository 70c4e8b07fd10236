// SPDX-License-Identifier: GPL-2.0-or-later
#include "used.h"

#include <stdio.h>

#include <smtpwall/window.h>

#include "maps.h"
#include "quantity.h"

/* The cell may still hold the window of a limit that was there before. */
static const struct sw_window *window_of(const struct sw_limit *limit,
					 const struct sw_windows *windows)
{
	static const struct sw_window empty;
	const struct sw_cell *cell = &windows->cell[limit->cell % SW_LIMITS];

	return cell->limit == limit->id && cell->slot_ns ? &cell->window : &empty;
}

static const struct sw_limit *base_of(const struct sw_policy *policy, const struct sw_limit *share)
{
	size_t i;

	for (i = 0; i < policy->n_limits && i < SW_LIMITS; i++)
		if (policy->limit[i].warn == SW_WARN_BASE && policy->limit[i].cell == share->base)
			return &policy->limit[i];
	return NULL;
}

/* ---- amounts ---- */

/* What has happened already refuses when it is over; what is to be admitted when it is used up. */
static uint64_t holds_at(const struct sw_limit *limit)
{
	bool fact = limit->metric == SW_METRIC_REJECTS || limit->metric == SW_METRIC_DEFERRALS;

	return limit->max + fact;
}

static void read_amount(const struct sw_windows *windows, uint64_t now_ns, struct used *used)
{
	const struct sw_limit *limit = used->limit;
	const struct sw_window *window = window_of(limit, windows);

	used->used = window_used(window, limit->slot_ns, now_ns);
	used->frees_at_ns = window_frees_at(window, holds_at(limit), limit->slot_ns, now_ns);
}

/* ---- percentages ---- */

/* The kernel's rule. */
static bool share_is_over(const struct sw_limit *limit, uint64_t part, uint64_t of)
{
	return of >= limit->floor && part * 100 > of * limit->percent;
}

/* Rounded down, but never to where it does not look over. */
static uint64_t percent_of(const struct sw_limit *limit, uint64_t part, uint64_t of)
{
	uint64_t percent = of ? part * 100 / of : part ? 100 : 0;

	if (share_is_over(limit, part, of) && percent == limit->percent)
		percent++;
	return percent;
}

/* Slot by slot until it is not over; it ends, because both windows run out. */
static uint64_t share_frees_at(const struct sw_limit *limit, struct sw_window part,
			       struct sw_window of, uint64_t now_ns)
{
	uint64_t slot = now_ns / limit->slot_ns, last = slot + SW_SLOTS;

	for (; slot <= last; slot++) {
		sw_window_expire(&part, limit->slot_ns, slot * limit->slot_ns);
		sw_window_expire(&of, limit->slot_ns, slot * limit->slot_ns);
		if (!share_is_over(limit, part.total, of.total))
			break;
	}
	return slot == now_ns / limit->slot_ns ? 0 : slot * limit->slot_ns;
}

static void read_share(const struct sw_windows *windows, uint64_t now_ns, struct used *used)
{
	const struct sw_limit *limit = used->limit, *base = base_of(used->policy, limit);
	struct sw_window part = *window_of(limit, windows), of = {};

	if (base)
		of = *window_of(base, windows);
	used->of = window_used(&of, limit->slot_ns, now_ns);
	used->used = percent_of(limit, window_used(&part, limit->slot_ns, now_ns), used->of);
	used->frees_at_ns = share_frees_at(limit, part, of, now_ns);
}

/* ---- */

void used_read(const struct sw_policy *policy, const struct sw_limit *limit, enum sw_road road,
	       const struct sw_windows *windows, uint64_t now_ns, struct used *ret)
{
	struct used used = { .policy = policy, .limit = limit, .road = road };

	if (limit->percent)
		read_share(windows, now_ns, &used);
	else
		read_amount(windows, now_ns, &used);

	*ret = used;
}

uint64_t used_max(const struct used *used)
{
	return used->limit->percent ? used->limit->percent : used->limit->max;
}

double used_share(const struct used *used)
{
	uint64_t max = used_max(used);

	if (used->limit->percent && used->of < used->limit->floor)
		return 0; /* it does not hold yet */
	return max ? (double)used->used / max : used->used > 0;
}

static void amount_words(char text[static QUANTITY_LEN], const struct used *used)
{
	if (used->limit->metric == SW_METRIC_BYTES)
		size_format(text, used->used);
	else
		snprintf(text, QUANTITY_LEN, "%llu", (unsigned long long)used->used);
}

void used_words(char text[static USED_WORDS_LEN], const struct used *used)
{
	const struct sw_limit *limit = used->limit;
	const char *kind = limit->warn ? "warning" : "limit";
	char amount[QUANTITY_LEN], words[QUANTITY_LEN];

	if (limit->percent) {
		duration_format(words, limit->window_ns);
		snprintf(text, USED_WORDS_LEN,
			 "%llu%% of %llu messages %s, %s %u%% of at least %u in %s",
			 (unsigned long long)used->used, (unsigned long long)used->of,
			 limit->metric == SW_METRIC_REJECTS ? "rejected" : "deferred", kind,
			 limit->percent, limit->floor, words);
		return;
	}
	amount_words(amount, used);
	limit_words(words, limit);
	snprintf(text, USED_WORDS_LEN, "It used %s of the %s '%s'", amount, kind, words);
}

void used_brief(char text[static USED_WORDS_LEN], const struct used *used)
{
	char words[QUANTITY_LEN];

	limit_words(words, used->limit);
	if (used->limit->percent)
		snprintf(text, USED_WORDS_LEN, "%llu%%: %s", (unsigned long long)used->used, words);
	else
		snprintf(text, USED_WORDS_LEN, "%d%% of %s", (int)(100 * used_share(used)), words);
}
