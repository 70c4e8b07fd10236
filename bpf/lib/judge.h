/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verdict on an attempt: block, policy, window. Decided first, told after. The windows of one
 * policy of a subject share a value and a lock; all of them are looked at before any is charged,
 * so nothing has to be rolled back.
 */
#ifndef SMTPWALL_JUDGE_H
#define SMTPWALL_JUDGE_H

#include <smtpwall/window.h>

#include "block.h"
#include "event.h"
#include "ledger.h"
#include "policy.h"

static __always_inline struct sw_windows *windows_row(void *windows, const void *key)
{
	struct sw_windows *row = bpf_map_lookup_elem(windows, key);

	if (row && !row->dead)
		return row;
	/* A dead row is about to leave the map; who comes between is sent to the overflow. */
	bpf_map_update_elem(windows, key, zeroes, BPF_NOEXIST);
	row = bpf_map_lookup_elem(windows, key);
	return row && !row->dead ? row : NULL;
}

static __always_inline struct sw_windows *windows_overflow(__u32 order, __u32 road)
{
	__u32 index = order * SW_ROADS + road;

	health_count(window_overflow);
	return bpf_map_lookup_elem(&overflow_windows, &index);
}

static __always_inline struct sw_windows *windows_of(const struct sw_tag *tag, __u32 policy,
						     __u32 road)
{
	struct sw_uid_policy uid = { tag->uid, policy, road };
	struct sw_unit_policy unit = { tag->unit, policy, road };

	if (tag->flags & SW_TAG_UNIT)
		return windows_row(&unit_windows, &unit);
	return windows_row(&uid_windows, &uid);
}

/* What is asked of the windows: a metric and how many. */
struct charge {
	__u32 metric;
	__u64 n;
};

enum answer { ADMITTED, OVER, RETIRED };

/* Was the window of another limit, or of none, in this cell? Then it starts anew. */
static __always_inline void cell_take(struct sw_cell *cell, const struct sw_limit *limit,
				      __u64 now_ns)
{
	if (cell->limit != limit->id || cell->slot_ns != limit->slot_ns) {
		__builtin_memset(cell, 0, sizeof(*cell));
		cell->limit = limit->id;
		cell->slot_ns = limit->slot_ns;
		cell->window.newest = now_ns / limit->slot_ns;
	}
	sw_window_expire(&cell->window, limit->slot_ns, now_ns);
}

/* A connection is not admitted either while its subject's bytes are used up. */
static __always_inline bool is_over(const struct sw_cell *cell, const struct sw_limit *limit,
				    const struct charge *charge)
{
	if (limit->metric == charge->metric)
		return !sw_window_admits(&cell->window, limit->max, charge->n);
	return limit->metric == SW_METRIC_BYTES && charge->metric == SW_METRIC_CONNECTIONS &&
	       cell->window.total >= limit->max;
}

/* A warning counts what passes, and is told once while its window stays over. */
static __always_inline bool warn_charge(struct sw_cell *cell, const struct sw_limit *limit,
					const struct charge *charge)
{
	sw_window_add(&cell->window, charge->n);
	if (cell->window.total <= limit->max) {
		cell->warned = 0;
		return false;
	}
	if (cell->warned)
		return false;
	cell->warned = 1;
	return true;
}

/*
 * Charges all windows of the policy, or none. `over` is filled when a limit is gone over, `warn`
 * (its `tell`) when a warning is to be told.
 */
static __always_inline enum answer windows_charge(struct sw_windows *row,
						  const struct sw_policy *policy,
						  const struct charge *charge, __u64 now_ns,
						  struct outcome *over, struct outcome *warn)
{
	enum answer answer = ADMITTED;
	int i;

	bpf_spin_lock(&row->lock);
	if (row->dead) {
		bpf_spin_unlock(&row->lock);
		return RETIRED;
	}
	if (now_ns < row->clock_ns)
		now_ns = row->clock_ns;
	else
		row->clock_ns = now_ns;

	for (i = 0; i < SW_LIMITS; i++) {
		const struct sw_limit *limit = &policy->limit[i];
		struct sw_cell *cell = &row->cell[limit->cell & (SW_LIMITS - 1)];

		if (i >= policy->n_limits)
			break;
		if (!limit->slot_ns)
			continue;
		cell_take(cell, limit, now_ns);
		if (!limit->warn && is_over(cell, limit, charge)) {
			over->limit = limit->id;
			over->used = cell->window.total + charge->n;
			over->max = limit->max;
			answer = OVER;
			break;
		}
	}
	for (i = 0; i < SW_LIMITS && answer == ADMITTED; i++) {
		const struct sw_limit *limit = &policy->limit[i];
		struct sw_cell *cell = &row->cell[limit->cell & (SW_LIMITS - 1)];

		if (i >= policy->n_limits)
			break;
		if (limit->metric != charge->metric || !limit->slot_ns)
			continue;
		if (!limit->warn) {
			sw_window_add(&cell->window, charge->n);
		} else if (warn_charge(cell, limit, charge)) {
			warn->limit = limit->id;
			warn->used = cell->window.total;
			warn->max = limit->max;
			warn->tell = true;
		}
	}
	if (answer == OVER && now_ns - row->told_ns >= TOLD_EVERY_NS) {
		row->told_ns = now_ns;
		over->tell = true;
	}
	bpf_spin_unlock(&row->lock);
	return answer;
}

/*
 * Charges `n` of a metric to the policy of the tag; OVER, with `over` filled, if a limit says no.
 * With a row that is retired meanwhile the shared one decides: the strict path.
 */
SUBPROGRAM int charge(const struct sw_tag *tag, const struct attempt *a, __u32 metric, __u64 n,
		      struct outcome *over)
{
	const struct charge what = { metric, n };
	const struct sw_policy *policy;
	const struct sw_rules *rules;
	struct sw_windows *row;
	struct outcome warn = {};
	enum answer answer = RETIRED;

	if (!tag || !a || !over)
		return OVER;
	rules = rules_get(a->generation);
	policy = rules ? policy_at(rules, tag->order) : NULL;
	if (!policy)
		return ADMITTED;
	over->policy = warn.policy = policy->id;
	over->reason = SW_REASON_LIMIT;
	row = windows_of(tag, policy->id, a->road);
	if (row)
		answer = windows_charge(row, policy, &what, a->now_ns, over, &warn);
	if (answer == RETIRED) {
		row = windows_overflow(tag->order, a->road);
		if (!row)
			return OVER;
		answer = windows_charge(row, policy, &what, a->now_ns, over, &warn);
	}
	if (warn.tell)
		tell(SW_EVENT_WARN, tag, a, &warn);
	return answer;
}

/* Told at most once a second: a flood of refused attempts must not flood the ring. */
static __always_inline bool block_tells(struct sw_block *block, __u64 now_ns)
{
	if (now_ns - block->told_ns < TOLD_EVERY_NS)
		return false;
	block->told_ns = now_ns;
	return true;
}

SUBPROGRAM int refused_by_block(struct sw_tag *tag, const struct attempt *a, __u32 enforce,
				struct outcome *o)
{
	struct sw_block *block;

	if (!tag || !a || !o)
		return true;
	block = block_of(tag, a->road);
	if (!block || !block_holds(block, tag, enforce, a->now_ns))
		return false;
	__sync_fetch_and_add(&block->hits, 1);
	o->reason = SW_REASON_BLOCKED;
	o->policy = block->policy;
	o->limit = block->limit;
	o->tell = block_tells(block, a->now_ns);
	return true;
}

static __always_inline bool row_tells(struct sw_windows *row, __u64 now_ns)
{
	if (!row || now_ns - row->told_ns < TOLD_EVERY_NS)
		return false;
	row->told_ns = now_ns;
	return true;
}

/* A policy that limits nothing and denies closes the road. */
static __always_inline bool closes_road(const struct sw_policy *policy)
{
	return policy->n_limits == 0 && policy->action == SW_ACTION_DENY;
}

/* What the policy says of those that it refuses. */
struct sentence {
	__u8 action; /* enum sw_action */
	__u8 mode;   /* enum sw_mode */
	bool closes; /* it refuses all */
};

static __always_inline bool sentence_of(const struct sw_tag *tag, const struct attempt *a,
					struct sentence *s, struct outcome *o)
{
	const struct sw_rules *rules = rules_get(a->generation);
	const struct sw_policy *policy = rules ? policy_at(rules, tag->order) : NULL;

	if (!policy || (tag->flags & (SW_TAG_EXEMPT | SW_TAG_TO_EXEMPT)))
		return false;
	s->action = policy->action;
	s->mode = policy->mode;
	s->closes = closes_road(policy);
	o->policy = policy->id;
	return true;
}

/*
 * Is it over a limit? Fills `o`; `*enforce` becomes false where the policy only observes. Sets the
 * block that the policy asks for.
 */
static __always_inline bool refused_by_policy(struct sw_tag *tag, const struct attempt *a,
					      __u32 metric, __u64 n, bool *enforce,
					      struct outcome *o)
{
	struct sentence sentence;

	if (!sentence_of(tag, a, &sentence, o))
		return false;
	if (sentence.closes) {
		o->reason = SW_REASON_CLOSED;
		o->tell = row_tells(windows_of(tag, o->policy, a->road), a->now_ns);
	} else if (charge(tag, a, metric, n, o) == ADMITTED) {
		return false;
	}
	if (is_allowed(tag, a->now_ns))
		return false;
	*enforce = *enforce && sentence.mode == SW_MODE_ENFORCE;
	if (sentence.action == SW_ACTION_BLOCK && !already_set(tag, a, *enforce)) {
		block_set(tag, a, o, *enforce);
		tell(SW_EVENT_BLOCK, tag, a, o);
	}
	return true;
}

SUBPROGRAM int count_verdict(const struct sw_tag *tag, const struct attempt *a, __u32 refused,
			     __u32 enforce)
{
	struct sw_ledger *row;
	struct sw_tally *tally;

	if (!tag || !a)
		return 0;
	row = ledger_of(tag, a->now_ns);
	if (!row)
		return 0;
	row->last_seen_ns = a->now_ns;
	tally = tally_of(row, a->road);
	if (!refused || !enforce)
		__sync_fetch_and_add(&tally->connections, 1);
	if (refused && enforce)
		__sync_fetch_and_add(&tally->refused, 1);
	if (refused && !enforce)
		__sync_fetch_and_add(&tally->would_refuse, 1);
	return 0;
}

/* The whole verdict on a connection. True: refuse. Counts connections, refused, would_refuse. */
SUBPROGRAM int judge(struct sw_tag *tag, const struct attempt *a)
{
	struct outcome o = {};
	bool enforce, refused;

	if (!tag || !a)
		return true;
	enforce = enforces(a->now_ns);
	if (tag->generation != a->generation || tag->road != a->road)
		policy_resolve(tag, a);
	tag->road = a->road;
	refused = refused_by_block(tag, a, enforce, &o) ||
		  refused_by_policy(tag, a, SW_METRIC_CONNECTIONS, 1, &enforce, &o);
	count_verdict(tag, a, refused, enforce);
	if (refused && o.tell)
		tell(enforce ? SW_EVENT_REFUSE : SW_EVENT_WOULD_REFUSE, tag, a, &o);
	return refused && enforce;
}

#endif
