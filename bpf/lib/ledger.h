/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The row of a subject in its ledger. A full ledger charges newcomers to the overflow row; an address
 * to the row of its network first.
 */
#ifndef SMTPWALL_LEDGER_H
#define SMTPWALL_LEDGER_H

#include <bpf/bpf_endian.h>

#include "maps.h"
#include "subject.h"

/* New rows are copies of this; the largest is one of evidence. Too large for the stack. */
static const __u8 zeroes[sizeof(struct sw_evidence)] __attribute__((aligned(8)));
_Static_assert(sizeof(zeroes) >= sizeof(struct sw_windows), "new rows are copies of it");

static __always_inline struct sw_ledger *ledger_row(void *ledger, const void *key, __u64 now_ns)
{
	struct sw_ledger *row = bpf_map_lookup_elem(ledger, key);

	if (row)
		return row;
	bpf_map_update_elem(ledger, key, zeroes, BPF_NOEXIST);
	row = bpf_map_lookup_elem(ledger, key);
	if (row)
		row->first_seen_ns = now_ns;
	return row;
}

/* Of the one in the tag, as this kind. */
static __always_inline struct sw_ledger *ledger_of(const struct sw_tag *tag, __u32 kind,
						   __u64 now_ns)
{
	union {
		struct sw_uid uid;
		struct sw_unit unit;
		struct sw_dir dir;
	} key; /* one place for all: our stack is short */
	struct sw_ledger *row;

	switch (kind_of(tag, kind)) {
	case SW_KIND_UNIT:
		key.unit = (struct sw_unit){ tag->unit };
		row = ledger_row(&unit_ledger, &key.unit, now_ns);
		break;
	case SW_KIND_DIR:
		key.dir = tag->dir;
		row = ledger_row(&dir_ledger, &key.dir, now_ns);
		break;
	default:
		key.uid = (struct sw_uid){ tag->uid };
		row = ledger_row(&uid_ledger, &key.uid, now_ns);
		break;
	}
	if (row)
		return row;
	health_count(ledger_overflow);
	key.uid = (struct sw_uid){ SW_UID_OVERFLOW };
	return bpf_map_lookup_elem(&uid_ledger, &key.uid);
}

/* A mask, in network order. */
static __always_inline __u64 high_bits(__u32 bits)
{
	return bits ? bpf_cpu_to_be64(~0ULL << (64 - bits)) : 0;
}

static __always_inline bool is_v4(const struct sw_ip *ip)
{
	const __u32 *words = (const __u32 *)ip->addr;

	return !words[0] && !words[1] && words[2] == bpf_htonl(0xffff);
}

static __always_inline __u32 shared_bits_v6(void)
{
	const struct sw_control *control = control_get();
	__u32 bits = control ? control->ipv6_prefix : 64;

	if (bits >= SW_SHARED_V6 + 16)
		return SW_SHARED_V6;
	return bits > 16 ? bits - 16 : 1;
}

static __always_inline void shared_key(const struct sw_ip *ip, struct sw_network *key)
{
	__u64 high = *(const __u64 *)ip->addr;

	__builtin_memset(key, 0, sizeof(*key));
	if (is_v4(ip)) {
		key->prefix_len = 96 + SW_SHARED_V4;
		__builtin_memcpy(key->addr, ip->addr, sizeof(key->addr));
		key->addr[15] = 0;
		return;
	}
	key->prefix_len = shared_bits_v6();
	high &= high_bits(key->prefix_len);
	__builtin_memcpy(key->addr, &high, sizeof(high));
}

/* Where those of its network count that have no row of their own. `ip`: aligned as a number. */
static __always_inline struct sw_ledger *ledger_shared(const struct sw_ip *ip, __u64 now_ns)
{
	struct sw_ip overflow = {};
	struct sw_network key;
	struct sw_ledger *row;

	shared_key(ip, &key);
	row = ledger_row(&net_ledger, &key, now_ns);
	return row ? row : bpf_map_lookup_elem(&ip_ledger, &overflow);
}

static __always_inline struct sw_ledger *ledger_of_ip(const struct sw_ip *ip, __u64 now_ns)
{
	struct sw_ledger *row = ledger_row(&ip_ledger, ip, now_ns);

	if (row)
		return row;
	health_count(ledger_overflow);
	return ledger_shared(ip, now_ns);
}

static __always_inline struct sw_tally *tally_of(struct sw_ledger *row, __u32 road)
{
	/* The four tallies stand in the order of enum sw_road (asserted in abi.h). */
	return &row->direct + (road & (SW_ROADS - 1));
}

#endif
