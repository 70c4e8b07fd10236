// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cgroup/getpeername4 and getpeername6: one who was redirected to the relay is told the address
 * that it asked for, or it would take the relay for an impostor.
 */
#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "lib/policy.h" /* for the whole types of the tables (see there) */

#define ALLOW 1 /* the only answer that is allowed here */

static __always_inline const struct sw_tag *redirected(struct bpf_sock_addr *ctx)
{
	struct sw_tag *tag = bpf_sk_storage_get(&tags, ctx->sk, NULL, 0);

	return tag && (tag->flags & SW_TAG_REDIRECTED) ? tag : NULL;
}

SEC("cgroup/getpeername4")
int peername4(struct bpf_sock_addr *ctx)
{
	const struct sw_tag *tag = redirected(ctx);

	if (!tag)
		return ALLOW;
	ctx->user_ip4 = ((const __u32 *)tag->asked)[3];
	ctx->user_port = bpf_htons(tag->asked_port);
	return ALLOW;
}

SEC("cgroup/getpeername6")
int peername6(struct bpf_sock_addr *ctx)
{
	const struct sw_tag *tag = redirected(ctx);
	const __u32 *words;

	if (!tag)
		return ALLOW;
	words = (const __u32 *)tag->asked;
	ctx->user_ip6[0] = words[0];
	ctx->user_ip6[1] = words[1];
	ctx->user_ip6[2] = words[2];
	ctx->user_ip6[3] = words[3];
	ctx->user_port = bpf_htons(tag->asked_port);
	return ALLOW;
}

char LICENSE[] SEC("license") __weak = "GPL";
