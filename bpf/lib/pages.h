/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Octets that their sender can still change: sendfile(), splice() and MSG_ZEROCOPY send pages from
 * where they lie. What is read of them here need not be what arrives, nor what is sent again.
 */
#ifndef SMTPWALL_PAGES_H
#define SMTPWALL_PAGES_H

#include <stdbool.h>

#include <bpf/bpf_core_read.h>

#include "maps.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sk_buff {
	unsigned int end; /* offset of skb_shared_info from `head`, where pointers have 64 bits */
	unsigned char *head;
};

struct skb_shared_info {
	__u8 flags;
};

#pragma clang attribute pop

#define SHARED_PAGES (1 << 1) /* SKBFL_SHARED_FRAG */

/* Of a packet that a socket of ours sends: its context is the kernel's own sk_buff. */
static __always_inline bool pages_may_change(const struct __sk_buff *skb)
{
	const struct sk_buff *packet = (const void *)skb;
	const unsigned char *head = BPF_CORE_READ(packet, head);
	const struct skb_shared_info *info = (const void *)(head + BPF_CORE_READ(packet, end));

	return BPF_CORE_READ(info, flags) & SHARED_PAGES;
}

#endif
