/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The time for what is judged packet by packet. A fine clock costs as much as the rest of a packet,
 * jiffies cost nothing but begin nowhere that windows know: so each CPU reads the clock once a jiffy.
 */
#ifndef SMTPWALL_CLOCK_H
#define SMTPWALL_CLOCK_H

#include "maps.h"

struct moment {
	__u64 jiffies;
	__u64 boot_ns; /* CLOCK_BOOTTIME */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct moment);
} moments MAP;

/* CLOCK_BOOTTIME, up to a jiffy ago. */
static __always_inline __u64 lately_ns(void)
{
	__u64 jiffies = bpf_jiffies64();
	struct moment *now;
	__u32 zero = 0;

	now = bpf_map_lookup_elem(&moments, &zero);
	if (!now)
		return bpf_ktime_get_boot_ns();
	if (now->jiffies != jiffies) {
		now->boot_ns = bpf_ktime_get_boot_ns();
		barrier(); /* whoever interrupts us must not find the old time under the new jiffy */
		now->jiffies = jiffies;
	}
	return now->boot_ns;
}

#endif
