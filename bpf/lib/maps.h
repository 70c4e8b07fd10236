/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The maps, one definition for all programs. Pinned under these names in pin_dir. Nothing that
 * a verdict depends on lives in a map that evicts.
 */
#ifndef SMTPWALL_MAPS_H
#define SMTPWALL_MAPS_H

#include <smtpwall/abi.h>

/* Weak: each program's object has the definition, the linker keeps one. */
#define MAP SEC(".maps") __weak

/*
 * A function that the verifier judges once, by itself, whoever calls it: without this the paths
 * through callers and callees multiply beyond its limits. So arguments are numbers, the context,
 * or memory that may be NULL for all it knows; no pointer to a map's value survives the call.
 */
#define SUBPROGRAM __weak __noinline

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sw_control);
} control MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sw_health);
} health MAP;

/* ---- rules: slot generation % SW_GENERATIONS ---- */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SW_GENERATIONS);
	__type(key, __u32);
	__type(value, struct sw_ports);
} ports MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SW_GENERATIONS);
	__type(key, __u32);
	__type(value, struct sw_sketch);
} sketches MAP;

struct rules_inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sw_rules);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SW_GENERATIONS);
	__type(key, __u32);
	__array(values, struct rules_inner);
} rules MAP;

struct users_inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sw_intervals);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SW_GENERATIONS);
	__type(key, __u32);
	__array(values, struct users_inner);
} users MAP;

struct subids_inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sw_subids);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SW_GENERATIONS);
	__type(key, __u32);
	__array(values, struct subids_inner);
} subids MAP;

struct groups_inner {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sw_gid_intervals);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SW_GENERATIONS);
	__type(key, __u32);
	__array(values, struct groups_inner);
} groups MAP;

struct networks_inner {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct sw_network);
	__type(value, __u32);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SW_GENERATIONS);
	__type(key, __u32);
	__array(values, struct networks_inner);
} networks MAP;

struct units_inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct sw_cgroup);
	__type(value, struct sw_unit_match);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SW_GENERATIONS);
	__type(key, __u32);
	__array(values, struct units_inner);
} units MAP;

struct places_inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072);
	__type(key, struct sw_dir);
	__type(value, struct sw_place);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, SW_GENERATIONS);
	__type(key, __u32);
	__array(values, struct places_inner);
} places MAP;

/* The machine's own addresses, of every interface; the daemon keeps them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct sw_ip);
	__type(value, __u32);
} own_addresses MAP;

/* ---- ledgers ---- */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536); /* max_users */
	__type(key, struct sw_uid);
	__type(value, struct sw_ledger);
} uid_ledger MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct sw_unit);
	__type(value, struct sw_ledger);
} unit_ledger MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct sw_dir);
	__type(value, struct sw_ledger);
} dir_ledger MAP;

/* How many rows of dir_ledger a user has made, of SW_DIRS_OF_UID. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct sw_uid);
	__type(value, __u64);
} dir_quotas MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct sw_ip);
	__type(value, struct sw_ledger);
} ip_ledger MAP;

/* For addresses that found no room above: rows that each network's share. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct sw_network);
	__type(value, struct sw_ledger);
} net_ledger MAP;

/* ---- windows ---- */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct sw_judgement);
} judgement MAP;

/* One map for all kinds: rows of several are looked at together. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, struct sw_windows_key);
	__type(value, struct sw_windows);
} windows MAP;

/* ---- blocks and allowances ---- */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct sw_uid_road);
	__type(value, struct sw_block);
} uid_blocks MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct sw_unit_road);
	__type(value, struct sw_block);
} unit_blocks MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct sw_dir_road);
	__type(value, struct sw_block);
} dir_blocks MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct sw_ip_road);
	__type(value, struct sw_block);
} ip_blocks MAP;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SW_EPOCHS);
	__type(key, __u32);
	__type(value, __u32);
} block_epoch MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct sw_uid);
	__type(value, struct sw_allowance);
} uid_allowed MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct sw_unit);
	__type(value, struct sw_allowance);
} unit_allowed MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct sw_dir);
	__type(value, struct sw_allowance);
} dir_allowed MAP;

/* ---- evidence and names ---- */

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 32768);
	__type(key, struct sw_evidence_key);
	__type(value, struct sw_evidence);
} evidence MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct sw_dir);
	__type(value, struct sw_name);
} dir_names MAP;

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct sw_unit);
	__type(value, struct sw_name);
} unit_names MAP;

/* ---- sockets ---- */

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sw_tag);
} tags MAP;

/* The tag of an attempt whose socket has no room for one, by thread id, while it is judged. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct sw_tag);
} untagged MAP;

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sw_session);
} sessions MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct sw_destination_key);
	__type(value, struct sw_destination);
} destinations MAP;

/* For the ledgers alone, so that who goes far and wide pushes nobody out of the map above. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct sw_destination_key);
	__type(value, __u8);
} acquaintances MAP;

/* What cgroups count as that no row of `units` is above: a cgroup is never renamed. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct sw_cgroup);
	__type(value, struct sw_unit);
} unit_hashes MAP;

/* Sessions older than the programs, by socket cookie. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct sw_tag);
} elders MAP;

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct sw_abroad);
	__type(value, __u8);
} abroad MAP;

/* How many blocks policies made in the last hour (rules.max_blocks_per_hour); by kind, for who makes
 * folders makes blocks, and must not use up what guards the users. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SW_LOCAL_KINDS);
	__type(key, __u32);
	__type(value, struct sw_guard);
} guard MAP;

/* First packets of connections without a tag, so that a retransmission is not a new one. LRU
 * is safe here: it is telemetry, no verdict depends on it. */
struct syn {
	__u8 saddr[16], daddr[16];
	__u16 sport, dport;
	__u32 seq;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct syn);
	__type(value, __u8);
} syns MAP;

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} events MAP;

static __always_inline struct sw_control *control_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

/*
 * Another version of the programs took over, and what its maps hold is carried into ours: nothing
 * may change them meanwhile, and nothing is judged by half of them. Nobody is refused for it
 * either: TCP sends again what was dropped. It has an end of its own, should who carries die.
 */
SUBPROGRAM int is_held(void)
{
	const struct sw_control *control = control_get();
	__u32 until_s = control ? control->held_until_s : 0;

	return until_s && bpf_ktime_get_boot_ns() < until_s * 1000000000ULL;
}

/* As above, where nearly always nothing is held and it must not cost. */
static __always_inline bool may_be_held(void)
{
	const struct sw_control *control = control_get();

	return control && control->held_until_s;
}

static __always_inline struct sw_health *health_get(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&health, &zero);
}

/* Counts one in a member of sw_health. */
#define health_count(member)                                                                       \
	({                                                                                         \
		struct sw_health *health_ = health_get();                                          \
		if (health_)                                                                       \
			__sync_fetch_and_add(&health_->member, 1);                                 \
	})

static __always_inline struct sw_rules *rules_get(__u32 generation)
{
	__u32 slot = generation % SW_GENERATIONS, zero = 0;
	void *inner = bpf_map_lookup_elem(&rules, &slot);

	return inner ? bpf_map_lookup_elem(inner, &zero) : NULL;
}

#endif
