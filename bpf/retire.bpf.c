// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Takes a row of windows out of its map without losing a charge: it is marked dead under its own
 * lock, so that an attempt that has just looked it up looks again. Attached nowhere: user space
 * runs it with BPF_PROG_TEST_RUN, a struct sw_retire as the packet.
 */
#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

#include <smtpwall/window.h>

#include "lib/policy.h" /* for the whole types of the tables (see there) */

static __always_inline bool is_idle(const struct sw_cell *cell, __u64 now_ns)
{
	if (!cell->slot_ns || !cell->window.total)
		return true;
	return now_ns / cell->slot_ns >= cell->window.newest + SW_SLOTS;
}

static __always_inline bool mark_dead(struct sw_windows *row, const struct sw_retire *order)
{
	bool idle = true;
	int i;

	bpf_spin_lock(&row->lock);
	for (i = 0; i < SW_LIMITS; i++)
		idle = idle && is_idle(&row->cell[i], order->now_ns);
	if (idle || !order->only_idle)
		row->dead = 1;
	bpf_spin_unlock(&row->lock);
	return idle || !order->only_idle;
}

static __always_inline int retire_from(void *windows, const void *key,
				       const struct sw_retire *order)
{
	struct sw_windows *row = bpf_map_lookup_elem(windows, key);

	if (!row || !mark_dead(row, order))
		return 0;
	bpf_map_delete_elem(windows, key);
	return 1;
}

SEC("tc")
int retire(struct __sk_buff *skb)
{
	struct sw_retire order;
	struct sw_uid_policy uid = {};
	struct sw_unit_policy unit = {};

	if (bpf_skb_load_bytes(skb, 0, &order, sizeof(order)))
		return 0;
	uid.uid = order.id;
	uid.policy = unit.policy = order.policy;
	uid.road = unit.road = order.road;
	unit.cgroup = order.id;
	if (order.kind == SW_KIND_UNIT)
		return retire_from(&unit_windows, &unit, &order);
	return retire_from(&uid_windows, &uid, &order);
}

char LICENSE[] SEC("license") __weak = "GPL";
