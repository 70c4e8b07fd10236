/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Blocks and allowances. They expire by their own time, daemon or not. */
#ifndef SMTPWALL_BLOCK_H
#define SMTPWALL_BLOCK_H

#include "event.h"
#include "ledger.h"
#include "maps.h"
#include "policy.h"
#include "subject.h"

union block_key {
	struct sw_uid_road uid;
	struct sw_unit_road unit;
	struct sw_dir_road dir;
}; /* one place for all: our stack is short, here and elsewhere */

/* The map, and the key in it, of the one in the tag as this kind. */
static __always_inline void *block_map(const struct sw_tag *tag, __u32 kind, __u32 road,
				       union block_key *key)
{
	switch (kind_of(tag, kind)) {
	case SW_KIND_UNIT:
		key->unit.unit = tag->unit;
		key->unit.road = road;
		return &unit_blocks;
	case SW_KIND_DIR:
		key->dir.dir = tag->dir;
		key->dir.road = road;
		return &dir_blocks;
	default:
		key->uid.uid = tag->uid;
		key->uid.road = road;
		return &uid_blocks;
	}
}

static __always_inline bool lasts(__u64 until_ns, __u64 now_ns)
{
	return until_ns == 0 || now_ns < until_ns;
}

static __always_inline struct sw_block *block_of(const struct sw_tag *tag, __u32 kind, __u32 road)
{
	union block_key key = {};

	return bpf_map_lookup_elem(block_map(tag, kind, road, &key), &key);
}

/* By an allowance of who is in the tag, as this kind. */
SUBPROGRAM int is_allowed(const struct sw_tag *tag, __u32 kind, __u64 now_ns)
{
	union {
		struct sw_uid uid;
		struct sw_unit unit;
		struct sw_dir dir;
	} key = {};
	struct sw_allowance *allowance;

	if (!tag)
		return false;
	switch (kind_of(tag, kind)) {
	case SW_KIND_UNIT:
		key.unit.unit = tag->unit;
		allowance = bpf_map_lookup_elem(&unit_allowed, &key.unit);
		break;
	case SW_KIND_DIR:
		key.dir = tag->dir;
		allowance = bpf_map_lookup_elem(&dir_allowed, &key.dir);
		break;
	default:
		key.uid.uid = tag->uid;
		allowance = bpf_map_lookup_elem(&uid_allowed, &key.uid);
		break;
	}
	return allowance && lasts(allowance->until_ns, now_ns);
}

/*
 * Does this block hold for the one in the tag now? A policy's block spares the exempt and the
 * allowed; one computed in observe mode is for show. In observe mode no block refuses, but those
 * that would are still told.
 */
static __always_inline bool block_holds(const struct sw_block *block, const struct sw_tag *tag,
					__u32 kind, bool enforce, __u64 now_ns)
{
	if (!block->since_ns || !lasts(block->until_ns, now_ns))
		return false;
	if (block->by == SW_BY_HAND)
		return true;
	if (enforce && (block->flags & SW_BLOCK_OBSERVED))
		return false;
	return !(tag->flags & (SW_TAG_EXEMPT | SW_TAG_TO_EXEMPT)) && !is_allowed(tag, kind, now_ns);
}

static __always_inline __u32 block_epoch_now(void)
{
	__u32 kernel = SW_EPOCH_KERNEL, hand = SW_EPOCH_HAND;
	const __u32 *by_kernel = bpf_map_lookup_elem(&block_epoch, &kernel);
	const __u32 *by_hand = bpf_map_lookup_elem(&block_epoch, &hand);

	return (by_kernel ? *by_kernel : 0) + (by_hand ? *by_hand : 0);
}

static __always_inline void block_epoch_count(void)
{
	__u32 kernel = SW_EPOCH_KERNEL;
	__u32 *epoch = bpf_map_lookup_elem(&block_epoch, &kernel);

	if (epoch)
		__sync_fetch_and_add(epoch, 1);
}

/*
 * The arm: must this packet of a session stop here? Two things are spared: the SYN of an attempt
 * that was admitted a moment ago (the winner of a race with the block would hang) and RST (the
 * remote must learn of a cut).
 */
#define ARM_SPARES_SYN_NS 1000000000ULL

SUBPROGRAM int arm_looks(struct sw_tag *tag, __u32 opens)
{
	__u64 now_ns = bpf_ktime_get_boot_ns();
	bool enforce = enforces(now_ns), any = false;
	struct sw_block *block;
	__u32 kind, epoch = block_epoch_now();

	if (!tag)
		return true;
	for (kind = 0; kind < SW_LOCAL_KINDS; kind++) {
		block = is_subject(tag, kind) ? block_of(tag, kind, tag->road) : NULL;
		if (!block)
			continue;
		barrier_var(block); /* or the checks become one, which Linux 6.1 does not follow */
		any = true;
		if (enforce && block_holds(block, tag, kind, enforce, now_ns))
			return !(opens && now_ns - tag->admitted_ns < ARM_SPARES_SYN_NS);
	}
	if (!any)
		tag->block_epoch = epoch + 1;
	return false;
}

/* Nearly no session has a block, and none that had none gets one without a new epoch. */
static __always_inline bool arm_stops(struct sw_tag *tag, bool opens, bool resets)
{
	if (resets || tag->block_epoch == block_epoch_now() + 1)
		return false;
	return arm_looks(tag, opens);
}

/* A block that another attempt of the same race has just set stays as it is. */
static __always_inline bool already_set(const struct sw_tag *tag, __u32 kind,
					const struct attempt *a, bool enforce)
{
	struct sw_block *block = block_of(tag, kind, a->road);

	return block && lasts(block->until_ns, a->now_ns) &&
	       (!enforce || !(block->flags & SW_BLOCK_OBSERVED));
}

static __always_inline struct sw_block *block_new(const struct sw_tag *tag, __u32 kind, __u32 road)
{
	union block_key key = {};
	void *map = block_map(tag, kind, road, &key);

	bpf_map_delete_elem(map, &key);
	bpf_map_update_elem(map, &key, zeroes, BPF_NOEXIST);
	return bpf_map_lookup_elem(map, &key);
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
static __always_inline void block_fill(struct sw_block *block, const struct sw_tag *tag,
				       const struct attempt *a, const struct sw_policy *policy,
				       const struct outcome *o, const struct term *term)
{
	block->until_ns = term->until_ns;
	block->flags = term->flags;
	block->limit = o->limit;
	block->evidence = tag->evidence;
	block->policy = policy->id;
	block->by = SW_BY_LIMIT;
	barrier();
	*(volatile __u64 *)&block->since_ns = a->now_ns;
}

/* On all roads of the policy, for the subject that the outcome is about. */
SUBPROGRAM int block_set(const struct sw_tag *tag, const struct attempt *a,
			 const struct outcome *o, __u32 enforce)
{
	const struct sw_policy *policy;
	struct sw_block *block;
	struct term term;
	__u32 road;

	if (!tag || !a || !o)
		return 0;
	policy = policy_for(tag, o->kind, a->generation);
	if (!policy)
		return 0;
	term = block_term(policy, a->now_ns, enforce);
	for (road = 0; road < SW_ROADS; road++) {
		if (!(policy->roads >> road & 1) ||
		    stays(block_of(tag, o->kind, road), &term, a->now_ns))
			continue;
		block = block_new(tag, o->kind, road);
		if (block)
			block_fill(block, tag, a, policy, o, &term);
		else
			health_count(block_overflow);
	}
	block_epoch_count();
	return 0;
}

#endif
