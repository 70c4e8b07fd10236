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
#include "lib/witness.h"

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

	tag->pid = kernel_read(task, tgid);
	if (CASTS)
		__builtin_memcpy(tag->comm, kernel_at(task, struct task_struct)->comm, SW_COMM_LEN);
	else
		BPF_CORE_READ_INTO(&tag->comm, task, comm);
}

/* A socket can be connected again after it was refused: the tag starts anew. */
static __always_inline void tag_start(struct sw_tag *tag, struct bpf_sock_addr *ctx,
				      struct whereabouts *w, bool smtp)
{
	__builtin_memset(tag, 0, sizeof(*tag));
	tag->version = 1;
	__builtin_memset(tag->order, SW_POLICIES, sizeof(tag->order));
	name_task(tag);
	identify(tag, ctx, w, smtp);
}

/* For an attempt whose socket has no room for a tag. */
static __always_inline struct sw_tag *tag_of_thread(void)
{
	__u32 thread = bpf_get_current_pid_tgid();

	health_count(no_storage);
	bpf_map_update_elem(&untagged, &thread, zeroes, BPF_ANY);
	return bpf_map_lookup_elem(&untagged, &thread);
}

/*
 * The user can exhaust the memory that storage is taken from. That must not be a way out. True: it
 * may go on.
 */
SUBPROGRAM int without_storage(const struct sw_tag *tag, const struct attempt *a)
{
	struct outcome o = { .reason = SW_REASON_STORAGE };
	__u32 thread = bpf_get_current_pid_tgid();
	bool enforce;

	if (!a)
		return false;
	enforce = enforces(a->now_ns);
	if (!tag)
		return !enforce;
	count_verdict(tag, a, true, enforce);
	/* A row of no policy, for the time when it was last told: it is retired as any other. */
	if (row_tells(windows_of(tag, SW_KIND_UID, 0, a->road), a->now_ns))
		tell(enforce ? SW_EVENT_REFUSE : SW_EVENT_WOULD_REFUSE, tag, a, &o);
	bpf_map_delete_elem(&untagged, &thread);
	return !enforce;
}

/* So that its session can be cut: the kernel lists the sockets of one network namespace only. */
SUBPROGRAM int note_abroad(struct bpf_sock_addr *ctx, const struct sw_tag *tag)
{
	struct sw_abroad who;

	if (!tag)
		return 0;
	who = (struct sw_abroad){
		.netns_cookie = bpf_get_netns_cookie(ctx),
		.unit = tag->unit,
		.dir = tag->dir,
		.uid = tag->uid,
		.flags = tag->flags & (SW_TAG_UNIT | SW_TAG_DIR),
		.road = tag->road,
	};
	if (!bpf_map_lookup_elem(&abroad, &who))
		bpf_map_update_elem(&abroad, &who, zeroes, BPF_ANY);
	return 0;
}

static __always_inline __u32 verdict_of(const struct sw_tag *tag, const struct outcome *o)
{
	if (tag->state == SW_TAG_REFUSED)
		return SW_VERDICT_REFUSED;
	if (tag->flags & SW_TAG_REDIRECTED)
		return SW_VERDICT_REDIRECTED;
	return o->over ? SW_VERDICT_WOULD_REFUSE : SW_VERDICT_ADMITTED;
}

/* Judges a connect() to an SMTP port. True: it may go on, perhaps to where `a` now says. */
SUBPROGRAM int judge_smtp(struct bpf_sock_addr *ctx, struct sw_tag *tag, struct attempt *a,
			  const struct whereabouts *w)
{
	struct outcome o = {};
	int fate;

	if (!tag || !a || !w)
		return false;
	evidence_begin(tag, a->now_ns);
	fate = judge(tag, a, &o);
	if (fate == FATE_REDIRECT && redirect(ctx->sk, tag, a, &o))
		fate = FATE_PASS;
	tag->admitted_ns = a->now_ns;
	tag->state = fate == FATE_PASS ? SW_TAG_ADMITTED : SW_TAG_REFUSED;
	evidence_take(tag, a, w, &o, verdict_of(tag, &o));
	if (fate == FATE_PASS && (tag->flags & SW_TAG_NETNS))
		note_abroad(ctx, tag);
	return fate == FATE_PASS;
}

static __always_inline int judge_connect(struct bpf_sock_addr *ctx, struct attempt *a)
{
	const struct sw_control *control = control_get();
	struct whereabouts w = {};
	struct sw_tag *tag;
	__u32 flags;
	bool smtp, stored;

	if (!control || !control->generation)
		return ALLOW; /* no rules yet: the daemon attaches us after it published them */
	a->generation = control->generation;
	smtp = is_smtp_port(a->generation, a->port);

	if (smtp)
		w.now_ns = bpf_ktime_get_boot_ns();
	tag = bpf_sk_storage_get(&tags, ctx->sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	stored = tag;
	if (!tag && smtp)
		tag = tag_of_thread();
	if (tag)
		tag_start(tag, ctx, &w, smtp);
	if (!smtp)
		return ALLOW;
	if (is_held()) {
		if (tag)
			tag->flags |= SW_TAG_HELD;
		return tag ? ALLOW : REFUSE;
	}

	flags = network_flags(a->generation, &a->daddr);
	a->road = road_of(flags, a->port);
	a->now_ns = w.now_ns;
	a->metric = SW_METRIC_CONNECTIONS;
	a->n = 1;
	if (!stored || !tag)
		return without_storage(tag, a) ? ALLOW : REFUSE;
	if (flags & SW_NET_EXEMPT)
		tag->flags |= SW_TAG_TO_EXEMPT;
	if (!judge_smtp(ctx, tag, a, &w))
		return REFUSE;
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
