/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The row of a subject in its ledger. A full ledger charges newcomers to the overflow row. */
#ifndef SMTPWALL_LEDGER_H
#define SMTPWALL_LEDGER_H

#include "maps.h"

/* New rows are copies of this; the largest value is a row of windows. Too large for the stack. */
static const __u8 zeroes[sizeof(struct sw_windows)] __attribute__((aligned(8)));

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

static __always_inline struct sw_ledger *ledger_of_uid(__u32 uid, __u64 now_ns)
{
	struct sw_uid key = { uid };
	struct sw_ledger *row = ledger_row(&uid_ledger, &key, now_ns);

	if (row)
		return row;
	health_count(ledger_overflow);
	key.uid = SW_UID_OVERFLOW;
	return bpf_map_lookup_elem(&uid_ledger, &key);
}

static __always_inline struct sw_ledger *ledger_of(const struct sw_tag *tag, __u64 now_ns)
{
	struct sw_unit unit = { tag->unit };
	struct sw_ledger *row;

	if (!(tag->flags & SW_TAG_UNIT))
		return ledger_of_uid(tag->uid, now_ns);
	row = ledger_row(&unit_ledger, &unit, now_ns);
	return row ? row : ledger_of_uid(SW_UID_OVERFLOW, now_ns);
}

static __always_inline struct sw_tally *tally_of(struct sw_ledger *row, __u32 road)
{
	/* The four tallies stand in the order of enum sw_road (asserted in abi.h). */
	return &row->direct + (road & (SW_ROADS - 1));
}

#endif
