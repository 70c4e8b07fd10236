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
#include "destination.h"
#include "event.h"
#include "guard.h"
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
	union {
		struct sw_uid_policy uid;
		struct sw_unit_policy unit;
	} key;

	if (tag->flags & SW_TAG_UNIT) {
		key.unit = (struct sw_unit_policy){ tag->unit, policy, road };
		return windows_row(&unit_windows, &key.unit);
	}
	key.uid = (struct sw_uid_policy){ tag->uid, policy, road };
	return windows_row(&uid_windows, &key.uid);
}

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

/* Of what has happened already there is nothing to admit: it is counted, and judged after. */
static __always_inline bool is_fact(__u32 metric)
{
	return metric == SW_METRIC_REJECTS || metric == SW_METRIC_DEFERRALS;
}

static __always_inline bool share_is_over(const struct sw_windows *row, const struct sw_cell *cell,
					  const struct sw_limit *limit)
{
	__u64 base = row->cell[limit->base & (SW_LIMITS - 1)].window.total;

	return base >= limit->floor && cell->window.total * 100 > base * limit->percent;
}

static __always_inline bool fact_is_over(const struct sw_windows *row, const struct sw_cell *cell,
					 const struct sw_limit *limit)
{
	return limit->percent ? share_is_over(row, cell, limit) : cell->window.total > limit->max;
}

/*
 * Does a limit on one metric refuse another? A connection is not admitted while its subject's
 * messages, recipients or bytes are used up; neither it nor a message while rejects or deferrals
 * are over.
 */
static __always_inline bool is_exhausted(const struct sw_windows *row, const struct sw_cell *cell,
					 const struct sw_limit *limit, __u32 metric)
{
	if (is_fact(limit->metric))
		return (metric == SW_METRIC_CONNECTIONS || metric == SW_METRIC_MESSAGES) &&
		       fact_is_over(row, cell, limit);
	return metric == SW_METRIC_CONNECTIONS && limit->metric != SW_METRIC_DESTINATIONS &&
	       limit->metric != SW_METRIC_CONNECTIONS && cell->window.total >= limit->max;
}

/*
 * What percentages are of: what was tried. A message that the server refuses is taken back and its
 * refusal counted, one whose recipients it refuses never comes to its content.
 */
static __always_inline bool is_tried(__u32 metric)
{
	return metric == SW_METRIC_MESSAGES || is_fact(metric);
}

/* How many a charge means to this limit. A connection may be one to a new destination. */
static __always_inline __u64 charge_of(const struct sw_limit *limit, const struct attempt *a)
{
	if (limit->warn == SW_WARN_BASE ? is_tried(a->metric) : limit->metric == a->metric)
		return a->n;
	if (a->metric == METRIC_ESTIMATED)
		return limit->warn == SW_WARN_ONLY && limit->metric == SW_METRIC_MESSAGES ? a->n : 0;
	return a->new_to >> (limit->cell & (SW_LIMITS - 1)) & 1;
}

static __always_inline bool is_over(const struct sw_windows *row, const struct sw_cell *cell,
				    const struct sw_limit *limit, const struct attempt *a,
				    __u64 n)
{
	if (n && !is_fact(limit->metric))
		return !sw_window_admits(&cell->window, limit->max, n);
	return is_exhausted(row, cell, limit, a->metric);
}

/* A warning counts what passes, and is told once while its window stays over. */
static __always_inline bool warn_is_new(const struct sw_windows *row, struct sw_cell *cell,
					const struct sw_limit *limit)
{
	if (!fact_is_over(row, cell, limit)) {
		cell->warned = 0;
		return false;
	}
	if (cell->warned)
		return false;
	cell->warned = 1;
	return true;
}

/* In percent, rounded down, but never to where it does not look over. */
static __always_inline __u64 share_of(const struct sw_windows *row, const struct sw_cell *cell,
				      const struct sw_limit *limit)
{
	__u64 base = row->cell[limit->base & (SW_LIMITS - 1)].window.total;
	__u64 percent = base ? cell->window.total * 100 / base : 100;

	return percent > limit->percent ? percent : limit->percent + 1;
}

static __always_inline void note_outcome(struct outcome *o, const struct sw_windows *row,
					 const struct sw_limit *limit, const struct sw_cell *cell,
					 __u64 n)
{
	o->limit = limit->id;
	o->used = limit->percent ? share_of(row, cell, limit) : cell->window.total + n;
	o->max = limit->percent ? limit->percent : limit->max;
}

/* Adds to one window, and says what it then means. */
static __always_inline enum answer cell_add(struct sw_windows *row, struct sw_cell *cell,
					    const struct sw_limit *limit,
					    const struct attempt *a, enum answer sofar,
					    struct outcome *o)
{
	__u64 n = charge_of(limit, a);

	if (!n)
		return ADMITTED;
	sw_window_add(&cell->window, n);
	if (limit->warn == SW_WARN_ONLY && warn_is_new(row, cell, limit) && sofar == ADMITTED) {
		note_outcome(o, row, limit, cell, 0);
		o->tell = true;
	}
	if (limit->warn == SW_WARN_NOT && is_fact(limit->metric) &&
	    fact_is_over(row, cell, limit)) {
		note_outcome(o, row, limit, cell, 0);
		return OVER;
	}
	return ADMITTED;
}

/*
 * Charges all windows of the policy, or none. `o` tells which limit is gone over, or of which
 * warning is to be told (its `tell`).
 */
static __always_inline enum answer windows_charge(struct sw_windows *row,
						  const struct sw_policy *policy,
						  const struct attempt *a, struct outcome *o)
{
	enum answer answer = ADMITTED;
	__u64 now_ns = a->now_ns;
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
	}
	for (i = 0; i < SW_LIMITS; i++) {
		const struct sw_limit *limit = &policy->limit[i];
		struct sw_cell *cell = &row->cell[limit->cell & (SW_LIMITS - 1)];
		__u64 n = charge_of(limit, a);

		if (i >= policy->n_limits)
			break;
		if (limit->warn || !is_over(row, cell, limit, a, n))
			continue;
		note_outcome(o, row, limit, cell, n);
		answer = OVER;
		break;
	}
	for (i = 0; i < SW_LIMITS && (answer == ADMITTED || is_fact(a->metric)); i++) {
		const struct sw_limit *limit = &policy->limit[i];
		struct sw_cell *cell = &row->cell[limit->cell & (SW_LIMITS - 1)];

		if (i >= policy->n_limits)
			break;
		if (limit->slot_ns &&
		    cell_add(row, cell, limit, a, answer, o) == OVER)
			answer = OVER;
	}
	if (answer == OVER) {
		o->tell = now_ns - row->told_ns >= TOLD_EVERY_NS;
		if (o->tell)
			row->told_ns = now_ns;
	}
	bpf_spin_unlock(&row->lock);
	return answer;
}

/*
 * Charges the attempt to the policy of the tag; OVER, with `o` filled, if a limit says no.
 * With a row that is retired meanwhile the shared one decides: the strict path.
 */
SUBPROGRAM int charge(const struct sw_tag *tag, const struct attempt *a, struct outcome *o)
{
	const struct sw_policy *policy;
	const struct sw_rules *rules;
	struct sw_windows *row;
	enum answer answer = RETIRED;
	int i;

	if (!tag || !a || !o)
		return OVER;
	rules = rules_get(a->generation);
	policy = rules ? policy_at(rules, tag->order) : NULL;
	if (!policy)
		return ADMITTED;
	o->policy = policy->id;
	o->reason = SW_REASON_LIMIT;
	for (i = 0; i < 2 && answer == RETIRED; i++) {
		row = i ? windows_overflow(tag->order, a->road) :
			  windows_of(tag, policy->id, a->road);
		o->shared = i;
		if (row)
			answer = windows_charge(row, policy, a, o);
	}
	if (answer == RETIRED)
		return OVER;
	return answer;
}

/* Takes `n` messages back that were charged at `when_ns`: the server refused them. */
SUBPROGRAM int refund_messages(const struct sw_tag *tag, const struct attempt *a, __u64 n,
			       __u64 when_ns)
{
	const struct sw_policy *policy;
	const struct sw_rules *rules;
	struct sw_windows *row;
	int i;

	if (!tag || !a)
		return 0;
	rules = rules_get(a->generation);
	policy = rules ? policy_at(rules, tag->order) : NULL;
	row = policy ? windows_of(tag, policy->id, a->road) : NULL;
	if (!row)
		return 0;
	bpf_spin_lock(&row->lock);
	for (i = 0; i < SW_LIMITS; i++) {
		const struct sw_limit *limit = &policy->limit[i];
		struct sw_cell *cell = &row->cell[limit->cell & (SW_LIMITS - 1)];

		if (i >= policy->n_limits)
			break;
		if (limit->metric == SW_METRIC_MESSAGES && limit->slot_ns &&
		    cell->limit == limit->id)
			sw_window_refund(&cell->window, limit->slot_ns, when_ns, n);
	}
	bpf_spin_unlock(&row->lock);
	return 0;
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

/* A policy that limits nothing and denies closes the road; one that redirects takes all. */
static __always_inline bool closes_road(const struct sw_policy *policy)
{
	if (policy->action == SW_ACTION_REDIRECT)
		return !policy->limited;
	return policy->n_limits == 0 && policy->action == SW_ACTION_DENY;
}

/* What the policy says of those that it refuses. */
struct sentence {
	__u8 action; /* enum sw_action */
	__u8 mode;   /* enum sw_mode */
	bool closes; /* it refuses all */
	__u32 max_blocks_per_hour;
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
	s->max_blocks_per_hour = rules->max_blocks_per_hour;
	o->policy = policy->id;
	return true;
}

/* What is done with one that is over. */
enum fate { FATE_PASS, FATE_REFUSE, FATE_REDIRECT };

/* Sets the block that the policy asks for, unless there are too many of them already. */
static __always_inline enum fate fate_block(const struct sw_tag *tag, const struct attempt *a,
					    const struct sentence *sentence, bool enforce,
					    const struct outcome *o)
{
	if (already_set(tag, a, enforce))
		return FATE_REFUSE;
	if (enforce && !guard_admits(sentence->max_blocks_per_hour, a->now_ns)) {
		tell(SW_EVENT_GUARD, tag, a, o);
		return FATE_PASS;
	}
	block_set(tag, a, o, enforce);
	tell(SW_EVENT_BLOCK, tag, a, o);
	return FATE_REFUSE;
}

/*
 * Is it over a limit? Fills `o`; `*enforce` becomes false where the policy only observes. An enum
 * fate.
 */
SUBPROGRAM int judge_policy(const struct sw_tag *tag, const struct attempt *a, bool *enforce,
			    struct outcome *o)
{
	struct sentence sentence;

	if (!tag || !a || !enforce || !o)
		return FATE_REFUSE;
	if (!sentence_of(tag, a, &sentence, o))
		return FATE_PASS;
	if (sentence.closes) {
		o->reason = SW_REASON_CLOSED;
		o->tell = row_tells(windows_of(tag, o->policy, a->road), a->now_ns);
	} else if (charge(tag, a, o) == ADMITTED) {
		if (o->tell)
			tell(SW_EVENT_WARN, tag, a, o);
		o->tell = false;
		return FATE_PASS;
	}
	if (is_allowed(tag, a->now_ns))
		return FATE_PASS;
	*enforce = *enforce && sentence.mode == SW_MODE_ENFORCE;
	if (sentence.action == SW_ACTION_BLOCK && !o->shared)
		return fate_block(tag, a, &sentence, *enforce, o);
	return sentence.action == SW_ACTION_REDIRECT ? FATE_REDIRECT : FATE_REFUSE;
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
	if (a->metric == SW_METRIC_CONNECTIONS && (!refused || !enforce)) {
		__sync_fetch_and_add(&tally->connections, 1);
		if (destination_is_new(tag, &a->daddr))
			__sync_fetch_and_add(&tally->destinations, 1);
	}
	if (refused && enforce)
		__sync_fetch_and_add(&tally->refused, 1);
	if (refused && !enforce)
		__sync_fetch_and_add(&tally->would_refuse, 1);
	return 0;
}

/*
 * The whole verdict on a connection (a->n is 1): an enum fate. Counts connections, refused,
 * would_refuse; of one that is to be redirected nothing yet: it will be counted as `relay`.
 */
SUBPROGRAM int judge(struct sw_tag *tag, struct attempt *a)
{
	enum fate fate = FATE_REFUSE;
	struct outcome o = {};
	bool enforce;

	if (!tag || !a)
		return FATE_REFUSE;
	enforce = enforces(a->now_ns);
	if (tag->generation != a->generation || tag->road != a->road)
		policy_resolve(tag, a);
	tag->road = a->road;
	a->new_to = tag->flags & SW_TAG_SPREADS ? destination_cells(tag, a, false) : 0;
	if (!refused_by_block(tag, a, enforce, &o))
		fate = judge_policy(tag, a, &enforce, &o);
	if (a->new_to && (fate == FATE_PASS || !enforce))
		destination_cells(tag, a, true);
	if (fate == FATE_REDIRECT && enforce) {
		if (o.tell)
			tell(SW_EVENT_REDIRECT, tag, a, &o);
		return FATE_REDIRECT;
	}
	count_verdict(tag, a, fate != FATE_PASS, enforce);
	if (fate != FATE_PASS && o.tell)
		tell(enforce ? SW_EVENT_REFUSE : SW_EVENT_WOULD_REFUSE, tag, a, &o);
	return enforce ? fate : FATE_PASS;
}

#endif
