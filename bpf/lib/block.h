/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Blocks and allowances. They expire by their own time, daemon or not. */
#ifndef SMTPWALL_BLOCK_H
#define SMTPWALL_BLOCK_H

#include "event.h"
#include "maps.h"
#include "policy.h"

static __always_inline struct sw_block *block_of(const struct sw_tag *tag, __u32 road)
{
	struct sw_uid_road uid = { tag->uid, road };
	struct sw_unit_road unit = { tag->unit, road };

	if (tag->flags & SW_TAG_UNIT)
		return bpf_map_lookup_elem(&unit_blocks, &unit);
	return bpf_map_lookup_elem(&uid_blocks, &uid);
}

static __always_inline bool lasts(__u64 until_ns, __u64 now_ns)
{
	return until_ns == 0 || now_ns < until_ns;
}

static __always_inline bool is_allowed(const struct sw_tag *tag, __u64 now_ns)
{
	struct sw_uid uid = { tag->uid };
	struct sw_unit unit = { tag->unit };
	struct sw_allowance *allowance;

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
	if (!lasts(block->until_ns, now_ns))
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

static __always_inline long block_put(const struct sw_tag *tag, __u32 road,
				      const struct sw_block *block)
{
	struct sw_uid_road uid = { tag->uid, road };
	struct sw_unit_road unit = { tag->unit, road };

	if (tag->flags & SW_TAG_UNIT)
		return bpf_map_update_elem(&unit_blocks, &unit, block, BPF_ANY);
	return bpf_map_update_elem(&uid_blocks, &uid, block, BPF_ANY);
}

SUBPROGRAM int block_set(const struct sw_tag *tag, const struct attempt *a,
			 const struct outcome *o, __u32 enforce)
{
	struct sw_block block = {};
	const struct sw_control *control = control_get();
	const struct sw_policy *policy;
	const struct sw_rules *rules;
	long failed = 0;
	__u32 road;

	if (!tag || !a || !o || !control)
		return 0;
	rules = rules_get(a->generation);
	policy = rules ? policy_at(rules, tag->order) : NULL;
	if (!policy)
		return 0;
	block.since_ns = a->now_ns;
	block.until_ns = policy->block_ns ? a->now_ns + policy->block_ns : 0;
	block.limit = o->limit;
	block.policy = policy->id;
	block.by = SW_BY_LIMIT;
	if (!enforce) {
		block.flags = SW_BLOCK_OBSERVED;
	} else if (a->now_ns < control->trial_until_ns) {
		block.flags = SW_BLOCK_TRIAL;
		if (!block.until_ns || block.until_ns > control->trial_until_ns)
			block.until_ns = control->trial_until_ns;
	}
	for (road = 0; road < SW_ROADS; road++) {
		if (!(policy->roads >> road & 1))
			continue;
		failed |= block_put(tag, road, &block);
	}
	if (failed)
		health_count(block_overflow);
	return 0;
}

#endif
