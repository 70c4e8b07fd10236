/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Whom a subject sends to. A destination is charged to a window when it was not for T, so one
 * that is used all the time counts once in each T, at its renewal: in a span of length T there can
 * be up to twice as many as the limit, if all of them are old acquaintances; never more new ones.
 */
#ifndef SMTPWALL_DESTINATION_H
#define SMTPWALL_DESTINATION_H

#include "event.h"
#include "ledger.h"
#include "maps.h"
#include "policy.h"

static __always_inline void destination_key(const struct sw_tag *tag, __u32 kind, __u32 policy,
					    const struct sw_ip *address,
					    struct sw_destination_key *key)
{
	struct whom whom = whom_of(tag, kind);

	key->id = whom.id;
	key->device = whom.device;
	key->rest = whom.rest;
	key->kind = kind_of(tag, kind);
	key->policy = policy;
	__builtin_memcpy(key->addr, address->addr, sizeof(key->addr));
}

static __always_inline bool asks_for_destination(const struct sw_limit *limit,
						 const struct sw_destination *to, __u64 now_ns)
{
	__u32 cell = limit->cell & (SW_LIMITS - 1);

	if (limit->metric != SW_METRIC_DESTINATIONS)
		return false;
	return !to || to->limit[cell] != limit->id ||
	       now_ns - to->charged_ns[cell] >= limit->window_ns;
}

/*
 * For which cells is it new? A set: bit 1 << cell. With `note` it is new for them no longer. Two
 * first connections at the same moment may both count: high, not low.
 */
SUBPROGRAM __u32 destination_cells(const struct sw_tag *tag, const struct attempt *a, __u32 kind,
				   __u32 note)
{
	struct sw_destination_key key;
	const struct sw_policy *policy;
	struct sw_destination *to;
	__u32 cells = 0, i;

	if (!tag || !a)
		return 0;
	policy = policy_for(tag, kind, a->generation);
	if (!policy || !(policy->metrics & 1 << SW_METRIC_DESTINATIONS))
		return 0;
	destination_key(tag, kind, policy->id, &a->daddr, &key);
	if (note) /* only who is admitted gets a row: what is refused pushes nobody out */
		bpf_map_update_elem(&destinations, &key, zeroes, BPF_NOEXIST);
	to = bpf_map_lookup_elem(&destinations, &key);
	for (i = 0; i < SW_LIMITS; i++) {
		const struct sw_limit *limit = &policy->limit[i];

		if (i >= policy->n_limits || !asks_for_destination(limit, to, a->now_ns))
			continue;
		cells |= 1 << (limit->cell & (SW_LIMITS - 1));
		if (!note || !to)
			continue;
		to->charged_ns[limit->cell & (SW_LIMITS - 1)] = a->now_ns;
		to->limit[limit->cell & (SW_LIMITS - 1)] = limit->id;
	}
	return cells;
}

static __always_inline bool is_acquainted(const struct sw_destination_key *key)
{
	return bpf_map_lookup_elem(&acquaintances, key) ||
	       bpf_map_update_elem(&acquaintances, key, zeroes, BPF_NOEXIST);
}

/*
 * For the ledgers: of which kinds is it the first time that the subject sends there? A set: bit
 * 1 << kind. The three together are asked first, and have mostly been there.
 */
SUBPROGRAM __u32 destination_is_new(const struct sw_tag *tag, const struct sw_ip *address)
{
	struct sw_destination_key key = { .kind = SW_KINDS_TOGETHER };
	__u32 kinds = 0, kind;

	if (!tag || !address)
		return 0;
	key.id = (tag->unit * 31 + tag->dir.inode) * 31 + tag->dir.generation;
	key.device = tag->dir.device;
	key.rest = tag->uid;
	key.policy = tag->flags & (SW_TAG_UNIT | SW_TAG_DIR);
	__builtin_memcpy(key.addr, address->addr, sizeof(key.addr));
	if (is_acquainted(&key))
		return 0;
	for (kind = 0; kind < SW_LOCAL_KINDS; kind++) {
		if (!is_subject(tag, kind))
			continue;
		destination_key(tag, kind, 0, address, &key);
		kinds |= !is_acquainted(&key) << kind;
	}
	return kinds;
}

#endif
