/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Blocks and allowances. They expire by their own time, daemon or not. */
#ifndef SMTPWALL_BLOCK_H
#define SMTPWALL_BLOCK_H

#include "event.h"
#include "ledger.h"
#include "maps.h"
#include "policy.h"

static __always_inline struct sw_block *block_of(const struct sw_tag *tag, __u32 road)
{
	union {
		struct sw_uid_road uid;
		struct sw_unit_road unit;
	} key; /* one place for both: our stack is short, here and elsewhere */
	struct sw_block *block;

	if (tag->flags & SW_TAG_UNIT) {
		key.unit = (struct sw_unit_road){ tag->unit, road };
		block = bpf_map_lookup_elem(&unit_blocks, &key.unit);
		barrier(); /* two calls: the kernel makes one with either map twice as dear */
		return block;
	}
	key.uid = (struct sw_uid_road){ tag->uid, road };
	return bpf_map_lookup_elem(&uid_blocks, &key.uid);
}

static __always_inline bool lasts(__u64 until_ns, __u64 now_ns)
{
	return until_ns == 0 || now_ns < until_ns;
}

static __always_inline bool is_allowed(const struct sw_tag *tag, __u64 now_ns)
{
	struct sw_allowance *allowance;
	struct sw_unit unit = { tag->unit };
	struct sw_uid uid = { tag->uid };

	if (tag->flags & SW_TAG_UNIT)
		allowance = bpf_map_lookup_elem(&unit_allowed, &unit);
	else
		allowance = bpf_map_lookup_elem(&uid_allowed, &uid);
	return allowance && lasts(allowance->until_ns, now_ns);
}

/*
 * Does this block hold for the one in the tag now? A policy's block spares the exempt and the
 * allowed; one computed in observe mode is for show. In observe mode no block refuses, but those
 * that would are still told.
 */
static __always_inline bool block_holds(const struct sw_block *block, const struct sw_tag *tag,
					bool enforce, __u64 now_ns)
{
	if (!block->since_ns || !lasts(block->until_ns, now_ns))
		return false;
	if (block->by == SW_BY_HAND)
		return true;
	if (enforce && (block->flags & SW_BLOCK_OBSERVED))
		return false;
	return !(tag->flags & (SW_TAG_EXEMPT | SW_TAG_TO_EXEMPT)) && !is_allowed(tag, now_ns);
}

/*
 * The arm: must this packet of a session stop here? Two things are spared: the SYN of an attempt
 * that was admitted a moment ago (the winner of a race with the block would hang) and RST (the
 * remote must learn of a cut).
 */
#define ARM_SPARES_SYN_NS 1000000000ULL

static __always_inline bool arm_stops(const struct sw_tag *tag, bool opens, bool resets)
{
	struct sw_block *block = block_of(tag, tag->road);
	__u64 now_ns;
	bool enforce;

	if (!block || resets)
		return false;
	now_ns = bpf_ktime_get_boot_ns();
	enforce = enforces(now_ns);
	if (!enforce || !block_holds(block, tag, enforce, now_ns))
		return false;
	return !(opens && now_ns - tag->admitted_ns < ARM_SPARES_SYN_NS);
}

/* A block that another attempt of the same race has just set stays as it is. */
static __always_inline bool already_set(const struct sw_tag *tag, const struct attempt *a,
					bool enforce)
{
	struct sw_block *block = block_of(tag, a->road);

	return block && lasts(block->until_ns, a->now_ns) &&
	       (!enforce || !(block->flags & SW_BLOCK_OBSERVED));
}

static __always_inline struct sw_block *block_new(const struct sw_tag *tag, __u32 road)
{
	struct sw_uid_road uid = { tag->uid, road };
	struct sw_unit_road unit = { tag->unit, road };

	if (tag->flags & SW_TAG_UNIT) {
		bpf_map_delete_elem(&unit_blocks, &unit);
		bpf_map_update_elem(&unit_blocks, &unit, zeroes, BPF_NOEXIST);
		return bpf_map_lookup_elem(&unit_blocks, &unit);
	}
	bpf_map_delete_elem(&uid_blocks, &uid);
	bpf_map_update_elem(&uid_blocks, &uid, zeroes, BPF_NOEXIST);
	return bpf_map_lookup_elem(&uid_blocks, &uid);
}

/* For how long, and how (SW_BLOCK_*). */
struct term {
	__u64 until_ns;
	__u8 flags;
};

/* One that is made on trial ends with it, if enforcing does. */
static __always_inline struct term block_term(const struct sw_policy *policy, __u64 now_ns,
					      __u32 enforce)
{
	const struct sw_control *control = control_get();
	struct term term = { .until_ns = policy->block_ns ? now_ns + policy->block_ns : 0 };

	if (!enforce) {
		term.flags = SW_BLOCK_OBSERVED;
	} else if (control && control->mode == SW_MODE_OBSERVE) {
		term.flags = SW_BLOCK_TRIAL;
		if (!term.until_ns || term.until_ns > control->trial_until_ns)
			term.until_ns = control->trial_until_ns;
	}
	return term;
}

/*
 * On its policy's other roads a new block may meet one by hand or of another policy: of two that
 * refuse the one that lasts longer stays, and one that is for show never takes a place.
 */
static __always_inline bool stays(const struct sw_block *old, const struct term *new, __u64 now_ns)
{
	if (!old || !lasts(old->until_ns, now_ns))
		return false;
	if ((old->flags ^ new->flags) & SW_BLOCK_OBSERVED)
		return new->flags & SW_BLOCK_OBSERVED;
	return !old->until_ns || (new->until_ns && old->until_ns >= new->until_ns);
}

/* Filled where it lies, for it is large for our stack; what has no `since_ns` is not there yet. */
static __always_inline void block_fill(struct sw_block *block, const struct attempt *a,
				       const struct sw_policy *policy, const struct outcome *o,
				       const struct term *term)
{
	block->until_ns = term->until_ns;
	block->flags = term->flags;
	block->limit = o->limit;
	block->policy = policy->id;
	block->by = SW_BY_LIMIT;
	barrier();
	*(volatile __u64 *)&block->since_ns = a->now_ns;
}

/* On all roads of the policy. */
SUBPROGRAM int block_set(const struct sw_tag *tag, const struct attempt *a,
			 const struct outcome *o, __u32 enforce)
{
	const struct sw_policy *policy;
	const struct sw_rules *rules;
	struct sw_block *block;
	struct term term;
	__u32 road;

	if (!tag || !a || !o)
		return 0;
	rules = rules_get(a->generation);
	policy = rules ? policy_at(rules, tag->order) : NULL;
	if (!policy)
		return 0;
	term = block_term(policy, a->now_ns, enforce);
	for (road = 0; road < SW_ROADS; road++) {
		if (!(policy->roads >> road & 1) || stays(block_of(tag, road), &term, a->now_ns))
			continue;
		block = block_new(tag, road);
		if (block)
			block_fill(block, a, policy, o, &term);
		else
			health_count(block_overflow);
	}
	return 0;
}

#endif
