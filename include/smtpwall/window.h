/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The arithmetic of "N per T". It knows no map, helper or clock, so the kernel programs and
 * the unit tests include this very file.
 *
 * A window is 16 slots of T/15. The newest is still filling, so the sum covers the last
 * 15 whole slots (T) and a part of one: never more than N are admitted in any span of
 * length T, and who stayed at or under N in every span of 16/15 T is never refused.
 * The caller holds the lock and passes a time that never runs backwards under it.
 */
#ifndef SMTPWALL_WINDOW_H
#define SMTPWALL_WINDOW_H

#include <smtpwall/abi.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((__always_inline__))
#endif

/* Rounded up: a slot that were too short would break the promise. */
static __always_inline __u64 sw_slot_ns(__u64 window_ns)
{
	return (window_ns + SW_SLOTS - 2) / (SW_SLOTS - 1);
}

/*
 * All ones if a < b, else 0; both below 2^63. Without a branch: the verifier would follow both
 * sides for each slot of each limit. In assembly there, because clang makes a branch of it again.
 */
static __always_inline __u64 sw_less_mask(__u64 a, __u64 b)
{
	__s64 difference = (__s64)(a - b);

#ifdef __bpf__
	asm volatile("%0 s>>= 63" : "+r"(difference));
	return difference;
#else
	return difference < 0 ? ~0ULL : 0;
#endif
}

/* Forgets the slots that have run out. */
static __always_inline void sw_window_expire(struct sw_window *w, __u64 slot_ns, __u64 now_ns)
{
	__u64 now = now_ns / slot_ns;
	__u64 passed = (now - w->newest) & sw_less_mask(w->newest, now);
	__u64 oldest = w->newest + 1;
	int i;

	for (i = 0; i < SW_SLOTS; i++) {
		__u64 *slot = &w->slot[(oldest + i) % SW_SLOTS];
		__u64 gone = *slot & sw_less_mask(i, passed);

		w->total -= gone;
		*slot -= gone;
	}
	w->newest += passed;
}

/* Would `n` more stay within `max`? Of an expired window. */
static __always_inline int sw_window_admits(const struct sw_window *w, __u64 max, __u64 n)
{
	return w->total <= max && n <= max - w->total;
}

/*
 * Takes back what was added at `when_ns`, in the slot where it was added: in another one it would
 * run out too early or too late. What has run out already needs no refund.
 */
static __always_inline void sw_window_refund(struct sw_window *w, __u64 slot_ns, __u64 when_ns,
					     __u64 n)
{
	__u64 when = when_ns / slot_ns;
	__u64 *slot = &w->slot[when % SW_SLOTS];
	__u64 back = n < *slot ? n : *slot;

	if (when > w->newest || w->newest - when >= SW_SLOTS)
		return;
	*slot -= back;
	w->total -= back;
}

static __always_inline void sw_window_add(struct sw_window *w, __u64 n)
{
	w->slot[w->newest % SW_SLOTS] += n;
	w->total += n;
}

#endif
