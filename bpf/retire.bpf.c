// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Takes a row of windows out of its map without losing a charge: it is marked dead under the lock of
 * all windows, so that an attempt that has just looked it up looks again. And an address out of its
 * ledger without losing a count: what it has is moved into the row that its network shares. Attached
 * nowhere: user space runs it with BPF_PROG_TEST_RUN, a struct sw_retire as the packet.
 */
#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include <smtpwall/window.h>

#include "lib/ledger.h"
#include "lib/policy.h" /* for the whole types of the tables (see there) */

static __always_inline bool is_idle(const struct sw_cell *cell, __u64 now_ns)
{
	if (!cell->slot_ns || !cell->window.total)
		return true;
	return now_ns / cell->slot_ns >= cell->window.newest + SW_SLOTS;
}

static __always_inline bool mark_dead(struct sw_windows *row, const struct sw_retire *order)
{
	struct sw_judgement *own;
	bool idle = true;
	__u32 zero = 0;
	int i;

	own = bpf_map_lookup_elem(&judgement, &zero);
	if (!own)
		return false;
	bpf_spin_lock(&own->lock);
	for (i = 0; i < SW_LIMITS; i++)
		idle = idle && is_idle(&row->cell[i], order->now_ns);
	if (idle || !order->only_idle)
		row->dead = 1;
	bpf_spin_unlock(&own->lock);
	return idle || !order->only_idle;
}

static __always_inline int retire_windows(const struct sw_retire *order)
{
	struct sw_windows_key key = order->key;
	struct sw_windows *row = bpf_map_lookup_elem(&windows, &key);

	if (!row || !mark_dead(row, order))
		return 0;
	bpf_map_delete_elem(&windows, &key);
	return 1;
}

#define COUNTERS (offsetof(struct sw_ledger, first_seen_ns) / sizeof(__u64))

static __always_inline void move_counts(struct sw_ledger *from, struct sw_ledger *to)
{
	__u64 *source = (__u64 *)from, *target = (__u64 *)to, count;
	__u32 i;

	for (i = 0; i < COUNTERS; i++) {
		count = __sync_lock_test_and_set(&source[i], 0);
		if (count)
			__sync_fetch_and_add(&target[i], count);
	}
	if (to->last_seen_ns < from->last_seen_ns)
		to->last_seen_ns = from->last_seen_ns;
	if (to->first_seen_ns > from->first_seen_ns)
		to->first_seen_ns = from->first_seen_ns;
}

/* An hour before now may be before the boot: less than 0. */
static __always_inline bool was_seen(const struct sw_ledger *row, __u64 since_ns)
{
	return (__s64)(row->first_seen_ns - since_ns) >= 0 ||
	       (__s64)(row->last_seen_ns - since_ns) >= 0;
}

/* The row that is always there. */
static __always_inline bool is_overflow(const struct sw_ip *key)
{
	const __u64 *words = (const __u64 *)key->addr;

	return !words[0] && !words[1];
}

static __always_inline int retire_address(const struct sw_retire *order)
{
	struct sw_ip key __attribute__((aligned(8)));
	struct sw_ledger *row, *shared;

	__builtin_memcpy(key.addr, order->addr, sizeof(key.addr));
	row = bpf_map_lookup_elem(&ip_ledger, &key);
	if (!row || is_overflow(&key) || (order->only_idle && was_seen(row, order->now_ns)))
		return 0;
	shared = ledger_shared(&key, bpf_ktime_get_boot_ns());
	if (!shared || shared == row)
		return 0;
	move_counts(row, shared);
	bpf_map_delete_elem(&ip_ledger, &key);
	return 1;
}

SEC("tc")
int retire(struct __sk_buff *skb)
{
	struct sw_retire order;

	if (bpf_skb_load_bytes(skb, 0, &order, sizeof(order)))
		return 0;
	if (order.key.kind == SW_KIND_IP)
		return retire_address(&order);
	return retire_windows(&order);
}

char LICENSE[] SEC("license") __weak = "GPL";
