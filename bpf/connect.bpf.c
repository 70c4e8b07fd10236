// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cgroup/connect4 and connect6: who is calling, and may they? Every TCP connect() is tagged with
 * its sender, not only those to an SMTP port: a NAT rule or another program may change the port
 * after us, and then the packets must still tell who it was.
 */
#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/in.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "lib/identity.h"
#include "lib/judge.h"
#include "lib/parse.h"

#define REFUSE 0 /* connect() returns EPERM */
#define ALLOW 1

static __always_inline bool is_tcp(const struct bpf_sock_addr *ctx)
{
	return ctx->type == SOCK_STREAM &&
	       (ctx->protocol == IPPROTO_TCP || ctx->protocol == IPPROTO_MPTCP);
}

/* A socket can be connected again after it was refused: the tag starts anew. */
static __always_inline void tag_start(struct sw_tag *tag, struct bpf_sock_addr *ctx)
{
	__builtin_memset(tag, 0, sizeof(*tag));
	tag->version = 1;
	tag->order = SW_POLICIES;
	identify(tag, ctx);
}

/* The user can exhaust the memory that storage is taken from. That must not be a way out. */
static __always_inline int without_storage(struct bpf_sock_addr *ctx, const struct attempt *a)
{
	struct outcome o = { .reason = SW_REASON_STORAGE, .tell = true };
	bool enforce = enforces(a->now_ns);
	struct sw_tag tag;

	health_count(no_storage);
	tag_start(&tag, ctx);
	count_verdict(&tag, a, true, enforce);
	tell(enforce ? SW_EVENT_REFUSE : SW_EVENT_WOULD_REFUSE, &tag, a, &o);
	return enforce ? REFUSE : ALLOW;
}

/* Not by the helpers that are there for it: older kernels have them for tracing only. */
static __always_inline void attempt_by_task(struct attempt *a)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	a->pid = BPF_CORE_READ(task, tgid);
	a->uid = BPF_CORE_READ(task, cred, uid.val);
	BPF_CORE_READ_INTO(&a->comm, task, comm);
}

static __always_inline int judge_connect(struct bpf_sock_addr *ctx, struct attempt *a)
{
	const struct sw_control *control = control_get();
	struct sw_tag *tag;
	__u32 flags;
	bool smtp;

	if (!control || !control->generation)
		return ALLOW; /* no rules yet: the daemon attaches us after it published them */
	a->generation = control->generation;
	smtp = is_smtp_port(a->generation, a->port);

	tag = bpf_sk_storage_get(&tags, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!tag && !smtp)
		return ALLOW;
	if (tag)
		tag_start(tag, ctx);
	if (!smtp)
		return ALLOW;

	flags = network_flags(a->generation, &a->daddr);
	a->road = road_of(flags, a->port);
	a->now_ns = bpf_ktime_get_boot_ns();
	attempt_by_task(a);
	a->metric = SW_METRIC_CONNECTIONS;
	a->n = 1;
	if (!tag)
		return without_storage(ctx, a);
	if (flags & SW_NET_EXEMPT)
		tag->flags |= SW_TAG_TO_EXEMPT;
	if (judge(tag, a)) {
		tag->state = SW_TAG_REFUSED;
		return REFUSE;
	}
	tag->admitted_ns = a->now_ns;
	tag->state = SW_TAG_ADMITTED;
	return ALLOW;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct attempt a = {};

	if (!is_tcp(ctx))
		return ALLOW;
	a.port = bpf_ntohs(ctx->user_port);
	map_v4(&a.daddr, ctx->user_ip4);
	return judge_connect(ctx, &a);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct attempt a = {};
	__u32 *to = (__u32 *)a.daddr.addr;

	if (!is_tcp(ctx))
		return ALLOW;
	a.port = bpf_ntohs(ctx->user_port);
	to[0] = ctx->user_ip6[0];
	to[1] = ctx->user_ip6[1];
	to[2] = ctx->user_ip6[2];
	to[3] = ctx->user_ip6[3];
	return judge_connect(ctx, &a);
}

char LICENSE[] SEC("license") __weak = "GPL";
