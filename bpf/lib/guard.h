/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A wrong policy must not cut a whole server off: so many blocks an hour, then they only warn. */
#ifndef SMTPWALL_GUARD_H
#define SMTPWALL_GUARD_H

#include <smtpwall/window.h>

#include "maps.h"

#define HOUR_NS 3600000000000ULL

SUBPROGRAM int guard_admits(__u32 max, __u32 kind, __u64 now_ns)
{
	__u64 slot_ns = sw_slot_ns(HOUR_NS);
	struct sw_guard *row;
	bool admits;

	row = bpf_map_lookup_elem(&guard, &kind);
	if (!max || !row)
		return true;
	bpf_spin_lock(&row->lock);
	if (now_ns < row->clock_ns)
		now_ns = row->clock_ns;
	else
		row->clock_ns = now_ns;
	sw_window_expire(&row->window, slot_ns, now_ns);
	admits = sw_window_admits(&row->window, max, 1);
	if (admits)
		sw_window_add(&row->window, 1);
	bpf_spin_unlock(&row->lock);
	if (!admits)
		health_count(guarded);
	return admits;
}

#endif
