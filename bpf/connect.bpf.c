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
#include "lib/redirect.h"

#define REFUSE 0 /* connect() returns EPERM */
#define ALLOW 1
#define REDIRECTED 2 /* between us: allow, and write the attempt's new address into the context */

static __always_inline bool is_tcp(const struct bpf_sock_addr *ctx)
{
	return ctx->type == SOCK_STREAM &&
	       (ctx->protocol == IPPROTO_TCP || ctx->protocol == IPPROTO_MPTCP);
}

/* Not by the helpers that are there for it: older kernels have them for tracing only. */
static __always_inline void name_task(struct sw_tag *tag)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	tag->pid = BPF_CORE_READ(task, tgid);
	BPF_CORE_READ_INTO(&tag->comm, task, comm);
}

/* A socket can be connected again after it was refused: the tag starts anew. */
static __always_inline void tag_start(struct sw_tag *tag, struct bpf_sock_addr *ctx)
{
	__builtin_memset(tag, 0, sizeof(*tag));
	tag->version = 1;
	tag->order = SW_POLICIES;
	name_task(tag);
	identify(tag, ctx);
}

/* The user can exhaust the memory that storage is taken from. That must not be a way out. */
static __always_inline int without_storage(struct bpf_sock_addr *ctx, const struct attempt *a)
{
	struct outcome o = { .reason = SW_REASON_STORAGE };
	bool enforce = enforces(a->now_ns);
	struct sw_tag tag;

	health_count(no_storage);
	tag_start(&tag, ctx);
	count_verdict(&tag, a, true, enforce);
	/* A row of no policy, for the time when it was last told: it is retired as any other. */
	if (row_tells(windows_of(&tag, 0, a->road), a->now_ns))
		tell(enforce ? SW_EVENT_REFUSE : SW_EVENT_WOULD_REFUSE, &tag, a, &o);
	return enforce ? REFUSE : ALLOW;
}

/* So that the session can be cut: who is behind the socket is in its storage, which only we read. */
static __always_inline void note_live(struct bpf_sock_addr *ctx, const struct sw_tag *tag)
{
	bool unit = tag->flags & SW_TAG_UNIT;
	struct sw_live session = {
		.id = unit ? tag->unit : tag->uid,
		.kind = unit ? SW_KIND_UNIT : SW_KIND_UID,
		.road = tag->road,
		.netns_cookie = bpf_get_netns_cookie(ctx),
	};
	__u64 cookie = bpf_get_socket_cookie(ctx);

	bpf_map_update_elem(&live, &cookie, &session, BPF_ANY);
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
	a->metric = SW_METRIC_CONNECTIONS;
	a->n = 1;
	if (!tag)
		return without_storage(ctx, a);
	if (flags & SW_NET_EXEMPT)
		tag->flags |= SW_TAG_TO_EXEMPT;
	switch (judge(tag, a)) {
	case FATE_PASS:
		break;
	case FATE_REDIRECT:
		if (redirect(ctx->sk, tag, a))
			break;
		/* fall through */
	default:
		tag->state = SW_TAG_REFUSED;
		return REFUSE;
	}
	tag->admitted_ns = a->now_ns;
	tag->state = SW_TAG_ADMITTED;
	note_live(ctx, tag);
	return tag->flags & SW_TAG_REDIRECTED ? REDIRECTED : ALLOW;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct attempt a = {};
	int verdict;

	if (!is_tcp(ctx))
		return ALLOW;
	a.port = bpf_ntohs(ctx->user_port);
	map_v4(&a.daddr, ctx->user_ip4);
	verdict = judge_connect(ctx, &a);
	if (verdict != REDIRECTED)
		return verdict;
	ctx->user_ip4 = ((__u32 *)a.daddr.addr)[3];
	ctx->user_port = bpf_htons(a.port);
	return ALLOW;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct attempt a = {};
	__u32 *to = (__u32 *)a.daddr.addr;
	int verdict;

	if (!is_tcp(ctx))
		return ALLOW;
	a.port = bpf_ntohs(ctx->user_port);
	to[0] = ctx->user_ip6[0];
	to[1] = ctx->user_ip6[1];
	to[2] = ctx->user_ip6[2];
	to[3] = ctx->user_ip6[3];
	verdict = judge_connect(ctx, &a);
	if (verdict != REDIRECTED)
		return verdict;
	ctx->user_ip6[0] = to[0];
	ctx->user_ip6[1] = to[1];
	ctx->user_ip6[2] = to[2];
	ctx->user_ip6[3] = to[3];
	ctx->user_port = bpf_htons(a.port);
	return ALLOW;
}

char LICENSE[] SEC("license") __weak = "GPL";
