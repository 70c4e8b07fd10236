/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which policy decides? A set of policies is a word whose bit i is policy[i], in the order of the
 * files: the first that matches is the lowest bit. One walk for all hooks; the generation is read
 * once by the hook and indexes every table, so nobody sees half a policy.
 */
#ifndef SMTPWALL_POLICY_H
#define SMTPWALL_POLICY_H

#include <smtpwall/window.h>

#include "event.h"
#include "maps.h"
#include "subject.h"

/* One step of a binary search, without a branch (see sw_less_mask). */
static __always_inline __u32 step_if(const __u32 *start, __u32 at, __u32 step, __u32 mask, __u32 id)
{
	__u32 next = at | step;

	barrier_var(next); /* or the compiler knows, and leaves out, what Linux 6.1 must be shown */
	next &= mask;
	return at | (step & ~(__u32)sw_less_mask(id, start[next]));
}

#define INTERVALS_FEW 64 /* most tables have no more, and one below them needs no longer search */

/* Which of `n` intervals (a power of two) that begin at `start` holds the id? */
static __always_inline __u32 interval_of(const __u32 *start, __u32 n, __u32 id)
{
	__u32 at = 0, step = id < start[INTERVALS_FEW] ? INTERVALS_FEW / 2 : n / 2;

	for (; step; step >>= 1)
		at = step_if(start, at, step, n - 1, id);
	barrier_var(at);
	return at & (n - 1);
}

/*
 * The searches are subprograms with the table (or key) as an argument: that is what makes clang
 * describe these structures in BTF, which it does not where they stand behind maps in maps only.
 */
SUBPROGRAM __u64 users_search(const struct sw_intervals *table, __u32 uid)
{
	return table ? table->set[interval_of(table->start, SW_INTERVALS, uid)] : 0;
}

SUBPROGRAM __u64 groups_search(const struct sw_gid_intervals *table, __u32 gid)
{
	return table ? table->set[interval_of(table->start, SW_GID_INTERVALS, gid)] : 0;
}

static __always_inline __u64 users_find(__u32 generation, __u32 uid)
{
	__u32 slot = generation % SW_GENERATIONS, zero = 0;
	void *inner = bpf_map_lookup_elem(&users, &slot);
	const struct sw_intervals *table = inner ? bpf_map_lookup_elem(inner, &zero) : NULL;

	return table ? users_search(table, uid) : 0;
}

static __always_inline __u64 groups_find(__u32 generation, __u32 gid)
{
	__u32 slot = generation % SW_GENERATIONS, zero = 0;
	void *inner = bpf_map_lookup_elem(&groups, &slot);
	const struct sw_gid_intervals *table = inner ? bpf_map_lookup_elem(inner, &zero) : NULL;

	return table ? groups_search(table, gid) : 0;
}

/* Whose subordinate is it? Its own master, mostly. */
SUBPROGRAM __u32 subids_search(const struct sw_subids *table, __u32 uid)
{
	__u32 at;

	if (!table)
		return uid;
	at = interval_of(table->start, SW_SUBIDS, uid);
	return uid < table->end[at] ? table->owner[at] : uid;
}

static __always_inline __u32 person_of(__u32 uid)
{
	const struct sw_control *control = control_get();
	__u32 slot = control ? control->generation % SW_GENERATIONS : 0, zero = 0;
	void *inner = bpf_map_lookup_elem(&subids, &slot);
	const struct sw_subids *table = inner ? bpf_map_lookup_elem(inner, &zero) : NULL;

	return table ? subids_search(table, uid) : uid;
}

SUBPROGRAM __u32 networks_search(__u32 generation, const struct sw_network *key)
{
	__u32 slot = generation % SW_GENERATIONS;
	void *inner = bpf_map_lookup_elem(&networks, &slot);
	struct sw_network own; /* keys are ours: Linux 6.1 takes none from an argument */
	__u32 *flags;

	if (!inner || !key)
		return 0;
	own = *key;
	flags = bpf_map_lookup_elem(inner, &own);
	return flags ? *flags : 0;
}

/* Flags (SW_NET_*) of an address: of `relays`, of exempt destinations, and our own. */
static __always_inline __u32 network_flags(__u32 generation, const struct sw_ip *address)
{
	struct sw_network key = { .prefix_len = 128 };
	struct sw_ip own = *address;
	__u32 flags;

	__builtin_memcpy(key.addr, own.addr, sizeof(key.addr));
	flags = networks_search(generation, &key);
	if (bpf_map_lookup_elem(&own_addresses, &own))
		flags |= SW_NET_RELAY;
	return flags;
}

static __always_inline __u32 road_of(__u32 flags, __u16 port)
{
	if (flags & SW_NET_RELAY)
		return SW_ROAD_RELAY;
	return port == 25 ? SW_ROAD_DIRECT : SW_ROAD_SUBMISSION;
}

static __always_inline bool is_smtp_port(__u32 generation, __u16 port)
{
	__u32 slot = generation % SW_GENERATIONS;
	struct sw_ports *smtp = bpf_map_lookup_elem(&ports, &slot);

	return smtp && (smtp->bits[port >> 6] >> (port & 63) & 1);
}

/* Position of the lowest bit of a set that is not empty. */
static __always_inline __u32 first_of(__u64 set)
{
	__u32 order = 0;

	if (!(set & 0xffffffff)) { order += 32; set >>= 32; }
	if (!(set & 0xffff)) { order += 16; set >>= 16; }
	if (!(set & 0xff)) { order += 8; set >>= 8; }
	if (!(set & 0xf)) { order += 4; set >>= 4; }
	if (!(set & 0x3)) { order += 2; set >>= 2; }
	return order + !(set & 1);
}

static __always_inline const struct sw_policy *policy_at(const struct sw_rules *rules, __u32 order)
{
	if (order >= SW_POLICIES)
		return NULL;
	barrier_var(order); /* or the compiler moves the check behind the arithmetic */
	return &rules->policy[order & SW_POLICIES];
}

/* The policy that judges the one in the tag as this kind, or NULL. */
static __always_inline const struct sw_policy *policy_for(const struct sw_tag *tag, __u32 kind,
							  __u32 generation)
{
	const struct sw_rules *rules = rules_get(generation);

	return rules && kind < SW_LOCAL_KINDS ? policy_at(rules, tag->order[kind]) : NULL;
}

/* What a session's packets are looked at for. */
static __always_inline __u32 follow_flags(const struct sw_policy *policy)
{
	const __u32 counted = 1 << SW_METRIC_MESSAGES | 1 << SW_METRIC_RECIPIENTS;
	__u32 flags = 0;

	if (!policy)
		return 0;
	if (policy->metrics & 1 << SW_METRIC_BYTES)
		flags |= SW_TAG_WEIGHED;
	if (policy->limited & counted)
		flags |= SW_TAG_COUNTED;
	if (policy->count_tls)
		flags |= SW_TAG_COUNTS_TLS;
	if (policy->metrics & 1 << SW_METRIC_DESTINATIONS)
		flags |= SW_TAG_SPREADS;
	return flags;
}

SUBPROGRAM __u64 on_road(const struct sw_rules *rules, __u64 set, __u32 road)
{
	return rules ? set & ~SW_EXEMPT_BIT & rules->on_road[road & (SW_ROADS - 1)] : 0;
}

/* Subprograms with keys and values as arguments for the same reason as users_search(). */
SUBPROGRAM int unit_copy(const struct sw_cgroup *key, const struct sw_unit_match *from,
			 struct sw_unit_match *to)
{
	if (!key || !from || !to)
		return false;
	*to = *from;
	return true;
}

SUBPROGRAM int place_copy(const struct sw_place *from, struct sw_place *to)
{
	if (!from || !to)
		return false;
	*to = *from;
	return true;
}

/* What a generation knows of cgroups and folders. */
static __always_inline const struct sw_sketch *sketch_get(__u32 generation)
{
	__u32 slot = generation % SW_GENERATIONS;

	return bpf_map_lookup_elem(&sketches, &slot);
}

static __always_inline void *units_get(__u32 generation)
{
	__u32 slot = generation % SW_GENERATIONS;

	return bpf_map_lookup_elem(&units, &slot);
}

static __always_inline void *places_get(__u32 generation)
{
	__u32 slot = generation % SW_GENERATIONS;

	return bpf_map_lookup_elem(&places, &slot);
}

/* Policies that match by whoever it is, SW_EXEMPT_BIT among them. */
static __always_inline __u64 person_set(const struct sw_tag *tag, const struct sw_rules *rules,
					__u32 generation)
{
	__u64 set;

	if ((tag->flags & SW_TAG_UNIT) || tag->uid == SW_UID_OVERFLOW)
		return rules->anyone;
	set = users_find(generation, tag->uid) | groups_find(generation, tag->gid);
	if (tag->flags & (SW_TAG_FOREIGN | SW_TAG_NETNS))
		set &= ~SW_EXEMPT_BIT;
	return set;
}

/* And of those the ones that match by where it is, too. */
static __always_inline __u64 matching_set(const struct sw_tag *tag, const struct sw_rules *rules,
					  __u32 generation)
{
	__u64 set = person_set(tag, rules, generation);
	void *cgroups = units_get(generation), *folders = places_get(generation);
	const struct sw_sketch *sketch = sketch_get(generation);
	struct sw_cgroup cgroup = { tag->cgroup };
	struct sw_unit_match unit = {};
	struct sw_place place = {};
	struct sw_dir dir = tag->place;

	if (cgroups && sketch && sw_sketch_has(sketch, cgroup.id))
		unit_copy(&cgroup, bpf_map_lookup_elem(cgroups, &cgroup), &unit);
	if (folders && dir.inode)
		place_copy(bpf_map_lookup_elem(folders, &dir), &place);
	set = (set & (unit.set | rules->any_unit | SW_EXEMPT_BIT)) | (unit.set & SW_EXEMPT_BIT);
	return set & (place.set | rules->any_dir | SW_EXEMPT_BIT);
}

/*
 * Finds the policies for who is in the tag, on its road, and keeps the answer there until the
 * generation changes.
 */
SUBPROGRAM int policy_resolve(struct sw_tag *tag, const struct attempt *a)
{
	const struct sw_rules *rules;
	__u32 flags, kind;
	__u64 set, mine;

	if (!tag || !a)
		return 0;
	rules = rules_get(a->generation);
	if (!rules)
		return 0;
	set = matching_set(tag, rules, a->generation);
	flags = tag->flags & ~(SW_TAG_EXEMPT | SW_TAG_WEIGHED | SW_TAG_COUNTED | SW_TAG_SPREADS |
			       SW_TAG_COUNTS_TLS);
	if (set & SW_EXEMPT_BIT)
		flags |= SW_TAG_EXEMPT;
	set = on_road(rules, set, a->road);
	for (kind = 0; kind < SW_LOCAL_KINDS; kind++) {
		mine = answers_for(tag, kind) ? set & rules->judges[kind] : 0;
		tag->order[kind] = mine ? first_of(mine) : SW_POLICIES;
		flags |= follow_flags(policy_at(rules, tag->order[kind]));
	}
	/* In one store: the session's other direction, on another CPU, must not find it half made
	 * and take the exempt for one who is not. */
	tag->flags = flags;
	tag->generation = a->generation;
	return 0;
}

/* Is what is over refused, or only told? */
static __always_inline bool enforces(__u64 now_ns)
{
	const struct sw_control *control = control_get();
	__u32 mode;

	if (!control)
		return true;
	mode = now_ns < control->trial_until_ns ? control->trial_mode : control->mode;
	return mode == SW_MODE_ENFORCE;
}

#endif
