/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verdict on an attempt: block, policy, window. Decided first, told after. Policies may judge
 * it as its user's, its unit's and its folder's, each by windows of its own; under one lock all of
 * them are looked at before any is charged, so nothing has to be rolled back.
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

static __always_inline void windows_key(const struct sw_tag *tag, __u32 kind, __u32 policy,
					__u32 road, struct sw_windows_key *key)
{
	struct whom whom = whom_of(tag, kind);

	key->id = whom.id;
	key->device = whom.device;
	key->rest = whom.rest;
	key->policy = policy;
	key->road = road;
	key->kind = kind_of(tag, kind);
}

/* It may be dead: about to leave the map. */
static __always_inline struct sw_windows *windows_of(const struct sw_tag *tag, __u32 kind,
						     __u32 policy, __u32 road)
{
	struct sw_windows_key key;
	struct sw_windows *row;

	windows_key(tag, kind, policy, road, &key);
	row = bpf_map_lookup_elem(&windows, &key);
	if (row)
		return row;
	bpf_map_update_elem(&windows, &key, zeroes, BPF_NOEXIST);
	return bpf_map_lookup_elem(&windows, &key);
}

/* SW_POLICIES has one too, which belongs to nobody. */
static __always_inline struct sw_windows *windows_overflow(__u32 order, __u32 road)
{
	struct sw_windows_key key = { .kind = SW_KINDS, .policy = order, .road = road };

	return bpf_map_lookup_elem(&windows, &key);
}

/* What is done with one that is over. */
enum fate { FATE_PASS, FATE_REFUSE, FATE_REDIRECT };

enum answer {
	ADMITTED, /* and charged where it is not over */
	OVER,	  /* refused: charged nowhere */
	RETIRED,  /* a row is about to leave its map: look it up again */
};

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
static __always_inline __u64 charge_of(const struct sw_limit *limit, const struct attempt *a,
				       __u32 kind)
{
	if (limit->warn == SW_WARN_BASE ? is_tried(a->metric) : limit->metric == a->metric)
		return a->n;
	if (a->metric == METRIC_ESTIMATED)
		return limit->warn == SW_WARN_ONLY && limit->metric == SW_METRIC_MESSAGES ? a->n : 0;
	return a->new_to[kind] >> (limit->cell & (SW_LIMITS - 1)) & 1;
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

/*
 * A policy as it judges an attempt, and the windows of the subject that it counts. What is found
 * under the lock is kept in the outcome and the row, where the verifier does not follow it: it
 * would walk each party once for each answer of the others.
 */
struct party {
	const struct sw_policy *policy;
	struct sw_windows *row;
	__u32 kind;
};

/*
 * The rows of all that judge, by kind. Where none does, it is a policy without limits, and the row
 * that belongs to nobody: the verifier need not walk all that is below for each who is missing.
 */
struct parties {
	const struct sw_rules *rules;
	struct sw_windows *row[SW_LOCAL_KINDS];
};

#define PARTY_STERN (1u << 0)  /* what it refuses is refused */
#define PARTY_CLOSED (1u << 1) /* it refuses all */
#define PARTY_SHARED (1u << 2) /* the windows are those of many */
#define PARTY_WEIGHT 3	       /* from this bit on: how grave its refusal is; 0: it lets all pass */

/* Of a refusal by deny, block or redirect, one more if it was not told lately. */
enum weight { WEIGHT_REDIRECT = 1, WEIGHT_DENY = 3, WEIGHT_BLOCK = 5, WEIGHT_STERN = 6 };

static __always_inline bool is_refused(const struct outcome *o)
{
	return o->weight > WEIGHT_STERN;
}

/* Of several that say no the sternest answer counts, and of those one that was not told lately. */
static __always_inline __u32 weight_of(const struct party *p, const struct outcome *o, __u64 now_ns)
{
	return (o->how[p->kind] >> PARTY_WEIGHT) + (now_ns - p->row->told_ns >= TOLD_EVERY_NS);
}

static __always_inline void party_expire(const struct party *p, struct outcome *o, __u64 now_ns)
{
	__u64 used = 0;
	int i;

	for (i = 0; i < SW_LIMITS; i++) {
		const struct sw_limit *limit = &p->policy->limit[i];
		struct sw_cell *cell = &p->row->cell[limit->cell & (SW_LIMITS - 1)];

		if (i >= p->policy->n_limits)
			break;
		if (!limit->slot_ns)
			continue;
		cell_take(cell, limit, now_ns);
		used += cell->window.total;
	}
	p->row->over = p->row->over << 1 & 2;
	if (p->policy->n_limits && !used)
		o->opens |= 1 << p->kind;
}

/* What is over is noted if nothing graver was. */
static __always_inline void party_refuses(const struct party *p, struct outcome *o,
					  const struct sw_limit *limit, const struct sw_cell *cell,
					  __u64 n, __u64 now_ns)
{
	__u32 weight = weight_of(p, o, now_ns);

	p->row->over |= 1;
	if (!(o->how[p->kind] >> PARTY_WEIGHT)) /* it is allowed, or its block is guarded against */
		return;
	if (weight <= o->weight)
		return;
	o->weight = weight;
	o->kind = p->kind;
	if (limit)
		note_outcome(o, p->row, limit, cell, n);
}

/* Is one of its limits gone over? */
static __always_inline void party_judge(const struct party *p, const struct attempt *a,
					struct outcome *o, __u64 now_ns)
{
	int i;

	if (o->how[p->kind] & PARTY_CLOSED) {
		party_refuses(p, o, NULL, NULL, 0, now_ns);
		return;
	}
	for (i = 0; i < SW_LIMITS; i++) {
		const struct sw_limit *limit = &p->policy->limit[i];
		struct sw_cell *cell = &p->row->cell[limit->cell & (SW_LIMITS - 1)];
		__u64 n = charge_of(limit, a, p->kind);

		if (i >= p->policy->n_limits)
			return;
		if (limit->warn || !is_over(p->row, cell, limit, a, n))
			continue;
		party_refuses(p, o, limit, cell, n, now_ns);
		return;
	}
}

/* Adds to its windows. A fact is judged only now. */
static __always_inline void party_add(const struct party *p, const struct attempt *a,
				      struct outcome *o, __u64 now_ns)
{
	int i;

	for (i = 0; i < SW_LIMITS; i++) {
		const struct sw_limit *limit = &p->policy->limit[i];
		struct sw_cell *cell = &p->row->cell[limit->cell & (SW_LIMITS - 1)];
		__u64 n = charge_of(limit, a, p->kind);

		if (i >= p->policy->n_limits)
			break;
		if (!limit->slot_ns || !n)
			continue;
		sw_window_add(&cell->window, n);
		if (limit->warn == SW_WARN_ONLY) {
			/* One that finds no room here is told with the next attempt. */
			if (o->weight || o->tell || !warn_is_new(p->row, cell, limit))
				continue;
			note_outcome(o, p->row, limit, cell, 0);
			o->kind = p->kind;
			o->tell = true;
		} else if (!limit->warn && is_fact(limit->metric) &&
			   fact_is_over(p->row, cell, limit)) {
			party_refuses(p, o, limit, cell, 0, now_ns);
		}
	}
}

/* The one that the outcome is about is told of once a second. */
static __always_inline void party_settle(const struct party *p, struct outcome *o, __u64 now_ns)
{
	if (!o->weight || o->kind != p->kind)
		return;
	o->trips = p->row->over == 1;
	o->shared = o->how[p->kind] & PARTY_SHARED;
	o->tell = now_ns - p->row->told_ns >= TOLD_EVERY_NS;
	if (o->tell)
		p->row->told_ns = now_ns;
}

static __always_inline struct party party_of(const struct parties *all, const struct sw_tag *tag,
					     __u32 kind)
{
	struct party p = {
		.policy = &all->rules->policy[tag->order[kind] & SW_POLICIES],
		.row = all->row[kind],
		.kind = kind,
	};

	return p;
}

#define EACH_PARTY(p, all, tag, what)                                                              \
	do {                                                                                       \
		p = party_of(all, tag, SW_KIND_UID);                                               \
		what;                                                                              \
		p = party_of(all, tag, SW_KIND_UNIT);                                              \
		what;                                                                              \
		p = party_of(all, tag, SW_KIND_DIR);                                               \
		what;                                                                              \
	} while (0)

static __always_inline bool party_is_charged(const struct party *p, const struct attempt *a,
					     const struct outcome *o)
{
	return is_fact(a->metric) || !(is_refused(o) || (p->row->over & 1));
}

/*
 * Charges the windows of all that judge the attempt, or none. `o` tells of the limit that is gone
 * over, or (its `tell`) of the warning that is to be told.
 */
static __always_inline enum answer windows_charge(struct sw_judgement *own,
						  const struct parties *all,
						  const struct sw_tag *tag,
						  const struct attempt *a, struct outcome *o)
{
	__u64 now_ns = a->now_ns;
	__u32 dead = 0;
	struct party p;

	bpf_spin_lock(&own->lock);
	if (now_ns < own->clock_ns)
		now_ns = own->clock_ns;
	else
		own->clock_ns = now_ns;
	EACH_PARTY(p, all, tag, dead |= p.row->dead);
	if (dead) {
		bpf_spin_unlock(&own->lock);
		return RETIRED;
	}
	EACH_PARTY(p, all, tag, party_expire(&p, o, now_ns));
	EACH_PARTY(p, all, tag, party_judge(&p, a, o, now_ns));
	EACH_PARTY(p, all, tag, if (party_is_charged(&p, a, o)) party_add(&p, a, o, now_ns));
	EACH_PARTY(p, all, tag, party_settle(&p, o, now_ns));
	bpf_spin_unlock(&own->lock);
	return is_refused(o) ? OVER : ADMITTED;
}

static __always_inline struct sw_judgement *judgement_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&judgement, &zero);
}

/* A policy that limits nothing and denies closes the road; one that redirects takes all. */
static __always_inline bool closes_road(const struct sw_policy *policy)
{
	if (policy->action == SW_ACTION_REDIRECT)
		return !policy->limited;
	return policy->n_limits == 0 && policy->action == SW_ACTION_DENY;
}

/* How the policy judges as this kind: PARTY_*. */
SUBPROGRAM __u32 party_how(const struct sw_tag *tag, const struct attempt *a, __u32 kind,
			   __u32 enforce)
{
	const struct sw_policy *policy;
	__u32 how = 0, weight;

	if (!tag || !a)
		return PARTY_STERN | PARTY_CLOSED | (WEIGHT_DENY + WEIGHT_STERN) << PARTY_WEIGHT;
	policy = policy_for(tag, kind, a->generation);
	if (!policy)
		return 0;
	if (closes_road(policy))
		how |= PARTY_CLOSED;
	weight = WEIGHT_REDIRECT;
	if (policy->action != SW_ACTION_REDIRECT)
		weight = policy->action == SW_ACTION_BLOCK ? WEIGHT_BLOCK : WEIGHT_DENY;
	if (is_allowed(tag, kind, a->now_ns))
		return how;
	if (enforce && policy->mode == SW_MODE_ENFORCE) {
		how |= PARTY_STERN;
		weight += WEIGHT_STERN;
	}
	return how | weight << PARTY_WEIGHT;
}

/* Finds the windows for this kind. False: there are none, not even shared ones. */
static __always_inline bool party_find(struct parties *all, __u32 kind, const struct sw_tag *tag,
				       const struct attempt *a, struct outcome *o,
				       struct sw_windows *nobodys, __u32 last)
{
	const struct sw_policy *policy = policy_at(all->rules, tag->order[kind]);

	if (!policy) {
		all->row[kind] = nobodys;
		return true;
	}
	all->row[kind] = windows_of(tag, kind, policy->id, a->road);
	if (all->row[kind] && !(last && all->row[kind]->dead))
		return true;
	health_count(window_overflow);
	o->how[kind] |= PARTY_SHARED;
	all->row[kind] = windows_overflow(tag->order[kind], a->road);
	return all->row[kind];
}

/*
 * Charges the attempt to the policies of the tag: an enum answer. The `last` time it waits for no
 * row to leave the map any more.
 */
SUBPROGRAM int charge(const struct sw_tag *tag, const struct attempt *a, struct outcome *o,
		      __u32 last)
{
	struct sw_judgement *own = judgement_get();
	struct sw_windows *nobodys;
	struct parties all;

	if (!tag || !a || !o || !own)
		return OVER;
	all.rules = rules_get(a->generation);
	if (!all.rules)
		return ADMITTED;
	nobodys = windows_overflow(SW_POLICIES, a->road);
	if (!nobodys || !party_find(&all, SW_KIND_UID, tag, a, o, nobodys, last) ||
	    !party_find(&all, SW_KIND_UNIT, tag, a, o, nobodys, last) ||
	    !party_find(&all, SW_KIND_DIR, tag, a, o, nobodys, last))
		return OVER;
	return windows_charge(own, &all, tag, a, o);
}

static __always_inline void refund_row(struct sw_windows *row, const struct sw_policy *policy,
				       __u64 n, __u64 when_ns)
{
	int i;

	for (i = 0; i < SW_LIMITS; i++) {
		const struct sw_limit *limit = &policy->limit[i];
		struct sw_cell *cell = &row->cell[limit->cell & (SW_LIMITS - 1)];

		if (i >= policy->n_limits)
			break;
		if (limit->metric == SW_METRIC_MESSAGES && limit->slot_ns &&
		    cell->limit == limit->id)
			sw_window_refund(&cell->window, limit->slot_ns, when_ns, n);
	}
}

/* Takes `n` messages back that were charged at `when_ns`: the server refused them. */
SUBPROGRAM int refund_messages(const struct sw_tag *tag, const struct attempt *a, __u64 n,
			       __u64 when_ns)
{
	struct sw_judgement *own = judgement_get();
	const struct sw_policy *policy;
	struct sw_windows *row;
	__u32 kind;

	if (!tag || !a || !own)
		return 0;
	for (kind = 0; kind < SW_LOCAL_KINDS; kind++) {
		policy = policy_for(tag, kind, a->generation);
		row = policy ? windows_of(tag, kind, policy->id, a->road) : NULL;
		if (!row)
			continue;
		bpf_spin_lock(&own->lock);
		refund_row(row, policy, n, when_ns);
		bpf_spin_unlock(&own->lock);
	}
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

/* By a block of any of its subjects. Where there is none, the arm need not look either. */
SUBPROGRAM int refused_by_block(struct sw_tag *tag, const struct attempt *a, __u32 enforce,
				struct outcome *o)
{
	__u32 kind, epoch = block_epoch_now() + 1;
	struct sw_block *block;

	if (!tag || !a || !o)
		return true;
	for (kind = 0; kind < SW_LOCAL_KINDS; kind++) {
		block = is_subject(tag, kind) ? block_of(tag, kind, a->road) : NULL;
		if (!block)
			continue;
		epoch = 0;
		barrier_var(block); /* as in arm_looks() */
		if (!block_holds(block, tag, kind, enforce, a->now_ns))
			continue;
		__sync_fetch_and_add(&block->hits, 1);
		o->kind = kind;
		o->reason = SW_REASON_BLOCKED;
		o->policy = block->policy;
		o->limit = block->limit;
		o->tell = block_tells(block, a->now_ns);
		return true;
	}
	tag->block_epoch = epoch;
	return false;
}

static __always_inline bool row_tells(struct sw_windows *row, __u64 now_ns)
{
	if (!row || now_ns - row->told_ns < TOLD_EVERY_NS)
		return false;
	row->told_ns = now_ns;
	return true;
}

/*
 * Would the block that the policy asks for be one too many? Then this policy lets the attempt pass,
 * and the others judge it alone.
 */
SUBPROGRAM int guard_stops(const struct sw_tag *tag, const struct attempt *a, struct outcome *o)
{
	const struct sw_policy *policy;
	const struct sw_rules *rules;

	if (!tag || !a || !o)
		return false;
	rules = rules_get(a->generation);
	policy = policy_for(tag, o->kind, a->generation);
	if (!rules || !policy || policy->action != SW_ACTION_BLOCK || o->shared ||
	    already_set(tag, o->kind, a, true) ||
	    guard_admits(rules->max_blocks_per_hour, o->kind, a->now_ns))
		return false;
	o->policy = policy->id;
	o->reason = SW_REASON_LIMIT;
	tell(SW_EVENT_GUARD, tag, a, o);
	if (o->kind < SW_LOCAL_KINDS)
		o->how[o->kind] = 0;
	o->weight = 0;
	o->tell = false;
	return true;
}

/* Sets the block that the policy asks for. */
static __always_inline enum fate fate_block(const struct sw_tag *tag, const struct attempt *a,
					    __u32 enforce, const struct outcome *o)
{
	if (already_set(tag, o->kind, a, enforce))
		return FATE_REFUSE;
	block_set(tag, a, o, enforce);
	tell(SW_EVENT_BLOCK, tag, a, o);
	return FATE_REFUSE;
}

/* What becomes of one that is over? By the policy that the outcome is about. */
static __always_inline enum fate fate_of(const struct sw_tag *tag, const struct attempt *a,
					 __u32 enforce, struct outcome *o)
{
	const struct sw_policy *policy = policy_for(tag, o->kind, a->generation);

	if (!policy)
		return FATE_REFUSE;
	o->policy = policy->id;
	o->reason = closes_road(policy) ? SW_REASON_CLOSED : SW_REASON_LIMIT;
	if (policy->action == SW_ACTION_BLOCK && !o->shared)
		return fate_block(tag, a, enforce, o);
	return policy->action == SW_ACTION_REDIRECT ? FATE_REDIRECT : FATE_REFUSE;
}

static __always_inline void warn(const struct sw_tag *tag, const struct attempt *a,
				 struct outcome *o)
{
	const struct sw_policy *policy = policy_for(tag, o->kind, a->generation);

	o->policy = policy ? policy->id : 0;
	o->reason = SW_REASON_LIMIT;
	tell(SW_EVENT_WARN, tag, a, o);
}

#define CHARGE_TRIES 24 /* a row may be retired meanwhile, a policy guarded against */

/*
 * Is it over a limit? Fills `o`; `*enforce` becomes false where the policy only observes. An enum
 * fate.
 */
SUBPROGRAM int judge_policy(const struct sw_tag *tag, const struct attempt *a, bool *enforce,
			    struct outcome *o)
{
	int answer = RETIRED, i;

	if (!tag || !a || !enforce || !o)
		return FATE_REFUSE;
	if (tag->flags & (SW_TAG_EXEMPT | SW_TAG_TO_EXEMPT))
		return FATE_PASS;
	for (i = 0; i < SW_LOCAL_KINDS; i++)
		o->how[i] = party_how(tag, a, i, *enforce);
	for (i = 0; i < CHARGE_TRIES && answer == RETIRED; i++) {
		answer = charge(tag, a, o, i == CHARGE_TRIES - 1);
		if (answer == OVER && guard_stops(tag, a, o))
			answer = RETIRED;
	}
	if (answer == RETIRED || (answer == OVER && !o->weight)) /* there are not even shared rows */
		return FATE_REFUSE;
	if (!o->weight) {
		if (o->tell)
			warn(tag, a, o);
		o->tell = false;
		return FATE_PASS;
	}
	*enforce = answer == OVER;
	return fate_of(tag, a, *enforce, o);
}

static __always_inline void count_one(const struct sw_tag *tag, const struct attempt *a, __u32 kind,
				      __u32 refused, __u32 enforce, __u32 is_new)
{
	struct sw_ledger *row = ledger_of(tag, kind, a->now_ns);
	struct sw_tally *tally;

	if (!row)
		return;
	row->last_seen_ns = a->now_ns;
	tally = tally_of(row, a->road);
	if (a->metric == SW_METRIC_CONNECTIONS && (!refused || !enforce))
		__sync_fetch_and_add(&tally->connections, 1);
	if (is_new >> kind & 1)
		__sync_fetch_and_add(&tally->destinations, 1);
	if (refused && enforce)
		__sync_fetch_and_add(&tally->refused, 1);
	if (refused && !enforce)
		__sync_fetch_and_add(&tally->would_refuse, 1);
}

SUBPROGRAM int count_verdict(const struct sw_tag *tag, const struct attempt *a, __u32 refused,
			     __u32 enforce)
{
	__u32 kind, is_new = 0;

	if (!tag || !a)
		return 0;
	if (a->metric == SW_METRIC_CONNECTIONS && (!refused || !enforce))
		is_new = destination_is_new(tag, &a->daddr);
	for (kind = 0; kind < SW_LOCAL_KINDS; kind++)
		if (is_subject(tag, kind))
			count_one(tag, a, kind, refused, enforce, is_new);
	return 0;
}

/* Asks, or notes, to which windows of its policies the destination is new. */
static __always_inline void destinations_of(const struct sw_tag *tag, struct attempt *a, bool note)
{
	__u32 kind;

	for (kind = 0; kind < SW_LOCAL_KINDS; kind++)
		if (!note || a->new_to[kind])
			a->new_to[kind] = destination_cells(tag, a, kind, note);
}

/*
 * The whole verdict on a connection (a->n is 1): an enum fate. Counts connections, refused,
 * would_refuse; of one that is to be redirected nothing yet: it will be counted as `relay`.
 * `o`, zeroed, tells of it.
 */
SUBPROGRAM int judge(struct sw_tag *tag, struct attempt *a, struct outcome *o)
{
	enum fate fate = FATE_REFUSE;
	bool enforce;

	if (!tag || !a || !o)
		return FATE_REFUSE;
	enforce = enforces(a->now_ns);
	if (tag->generation != a->generation || tag->road != a->road)
		policy_resolve(tag, a);
	tag->road = a->road;
	tag->block_epoch = 0;
	__builtin_memset(a->new_to, 0, sizeof(a->new_to));
	if (tag->flags & SW_TAG_SPREADS)
		destinations_of(tag, a, false);
	if (!refused_by_block(tag, a, enforce, o))
		fate = judge_policy(tag, a, &enforce, o);
	if ((tag->flags & SW_TAG_SPREADS) && (fate == FATE_PASS || !enforce))
		destinations_of(tag, a, true);
	if (fate == FATE_REDIRECT && enforce) {
		if (o->tell)
			tell(SW_EVENT_REDIRECT, tag, a, o);
		return FATE_REDIRECT;
	}
	count_verdict(tag, a, fate != FATE_PASS, enforce);
	if (fate != FATE_PASS && o->tell)
		tell(enforce ? SW_EVENT_REFUSE : SW_EVENT_WOULD_REFUSE, tag, a, o);
	o->over = fate != FATE_PASS;
	return enforce ? fate : FATE_PASS;
}

#endif
