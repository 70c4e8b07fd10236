// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cgroup_skb/egress: every packet of every local socket, whatever the device, tunnel or network
 * namespace, after NAT. The arm: packets of a blocked sender stop here, however its socket came
 * about. The scale: bytes and packets of each sender.
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
#include "lib/smtp_packet.h"

#define STOP 0
#define PASS 1

/* A session older than the programs gets the tag that the daemon found for it. */
static __always_inline struct sw_tag *elder_tag(struct __sk_buff *skb, struct bpf_sock *sk)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	struct sw_tag *elder = bpf_map_lookup_elem(&elders, &cookie), *tag;

	if (!elder)
		return NULL;
	tag = bpf_sk_storage_get(&tags, sk, elder, BPF_SK_STORAGE_GET_F_CREATE);
	return tag ? tag : elder;
}

static __always_inline void attempt_of(const struct smtp_packet *packet, struct attempt *a)
{
	a->generation = packet->generation;
	a->now_ns = bpf_ktime_get_boot_ns();
	a->port = packet->port;
	a->daddr = packet->segment.daddr;
}

/* A session that only its packets show to be SMTP: a NAT rule changed the port after connect(). */
SUBPROGRAM int judge_session(struct sw_tag *tag, const struct smtp_packet *packet)
{
	struct attempt a = {};
	__u32 flags;

	if (!tag || !packet)
		return true;
	attempt_of(packet, &a);
	flags = network_flags(a.generation, &a.daddr);
	a.road = road_of(flags, a.port);
	if (flags & SW_NET_EXEMPT)
		tag->flags |= SW_TAG_TO_EXEMPT;
	if (judge(tag, &a))
		return true;
	tag->admitted_ns = a.now_ns;
	tag->state = SW_TAG_ADMITTED;
	return false;
}

/* Of any socket: not all kernels have a helper that tells this here. */
SUBPROGRAM int is_of_this_netns(struct __sk_buff *skb)
{
	const struct sw_control *control = control_get();
	struct bpf_sock *sk = skb->sk;
	struct {
		__u8 bytes[160];
	} common;
	__u32 at = bpf_core_field_offset(struct sock_common, skc_net.net);
	struct net *net;

	if (!sk || !control || at > sizeof(common) - sizeof(net) ||
	    bpf_probe_read_kernel(&common, at + sizeof(net), sk))
		return true;
	net = *(struct net **)(common.bytes + at);
	return BPF_CORE_READ(net, net_cookie) == control->netns_cookie;
}

/*
 * Sends a SYN that nobody's connect() announced: a raw socket. Its uid proves nothing (a private
 * namespace can have any), so it is nobody's, and judged as that.
 */
static __always_inline struct sw_tag *raw_tag(struct bpf_sock *sk)
{
	struct sw_tag *tag = bpf_sk_storage_get(&tags, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!tag)
		return NULL;
	tag->version = 1;
	tag->flags = SW_TAG_FOREIGN | SW_TAG_RAW;
	tag->uid = SW_UID_OVERFLOW;
	tag->gid = SW_UID_OVERFLOW;
	tag->order = SW_POLICIES;
	return tag;
}

static __always_inline bool must_judge(const struct sw_tag *tag, const struct segment *s)
{
	return tag->state == SW_TAG_NONE || ((tag->flags & SW_TAG_RAW) && s->opens);
}

/* The verdict on bytes of a session that was admitted. True: they stop here, and TCP tries again. */
SUBPROGRAM int judge_bytes(struct sw_tag *tag, const struct attempt *a, __u32 bytes)
{
	struct outcome o = {};
	bool enforce;

	if (!tag || !a)
		return true;
	enforce = enforces(a->now_ns);
	if (!refused_by_policy(tag, a, SW_METRIC_BYTES, bytes, &enforce, &o))
		return false;
	if (o.tell)
		tell(enforce ? SW_EVENT_REFUSE : SW_EVENT_WOULD_REFUSE, tag, a, &o);
	return enforce;
}

static __always_inline bool over_bytes(struct sw_tag *tag, const struct smtp_packet *packet)
{
	struct attempt a = { .road = tag->road };

	if (tag->generation == packet->generation &&
	    (!(tag->flags & SW_TAG_WEIGHED) || !packet->segment.payload))
		return false;
	attempt_of(packet, &a);
	if (tag->generation != a.generation)
		policy_resolve(tag, &a);
	if (!(tag->flags & SW_TAG_WEIGHED) || !packet->segment.payload)
		return false;
	return judge_bytes(tag, &a, packet->segment.payload);
}

/* The clock is dear (a third of what all this costs), so a long session looks now and then. */
#define SEEN_EVERY_PACKETS 64

static __always_inline void weigh(const struct sw_tag *tag, const struct segment *s)
{
	struct sw_ledger *row = ledger_of(tag, 0);
	struct sw_tally *tally;

	if (!row)
		return;
	tally = tally_of(row, tag->road);
	__sync_fetch_and_add(&tally->packets, s->count);
	if (s->payload)
		__sync_fetch_and_add(&tally->bytes, s->payload);
	if (s->closes || tally->packets % SEEN_EVERY_PACKETS == 0)
		row->last_seen_ns = bpf_ktime_get_boot_ns();
}

static __always_inline int stop_if_enforcing(void)
{
	return enforces(bpf_ktime_get_boot_ns()) ? STOP : PASS;
}

static __always_inline int smtp_out(struct __sk_buff *skb, struct bpf_sock *sk,
				    const struct smtp_packet *packet)
{
	const struct segment *s = &packet->segment;
	struct sw_tag *tag = bpf_sk_storage_get(&tags, sk, NULL, 0);

	if (s->cut)
		health_count(unparsed);
	if (!tag)
		tag = elder_tag(skb, sk);
	if (!tag && !s->opens)
		return PASS; /* a service of ours answers one who called from an SMTP port */
	if (!tag && is_stream(sk)) {
		health_count(no_storage); /* its owner saw to it that connect() could not tag it */
		return stop_if_enforcing();
	}
	if (!tag && !is_of_this_netns(skb))
		return PASS; /* it reaches no one, or is seen on the wire as forwarded */
	if (!tag)
		tag = raw_tag(sk);
	if (!tag)
		return stop_if_enforcing();
	if (must_judge(tag, s) && judge_session(tag, packet))
		tag->state = SW_TAG_REFUSED;
	if (tag->state == SW_TAG_REFUSED)
		return stop_if_enforcing();
	if (arm_stops(tag, s->opens, s->resets) || over_bytes(tag, packet))
		return STOP;
	weigh(tag, s);
	return PASS;
}

SEC("cgroup_skb/egress")
int socket_out(struct __sk_buff *skb)
{
	struct smtp_packet packet = {};
	struct bpf_sock *sk = skb->sk;

	if (!sk || !smtp_packet_read(skb, &packet))
		return PASS;
	return smtp_out(skb, sk, &packet);
}

char LICENSE[] SEC("license") __weak = "GPL";
