// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * TC egress of an outside interface: the ledger of the wire. SMTP connections, packets and bytes
 * by sender, where the socket is visible, and by source address; each packet once, however
 * devices are stacked. And the backstop for packets that no cgroup owns (AF_PACKET).
 */
#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "lib/clock.h"
#include "lib/glance.h"
#include "lib/judge.h"
#include "lib/parse.h"
#include "lib/smtp_packet.h"

#define NEXT TC_ACT_UNSPEC /* also TCX_NEXT: the next program of the chain goes on */
#define SHOT TC_ACT_SHOT

#define AF_PACKET 17

#define WIRE_MARK_BITS 0xfff0 /* of tc_index; the others belong to whoever used them before */

enum origin {
	ORIGIN_SENDER,	/* a socket with a tag */
	ORIGIN_PACKET,	/* an AF_PACKET socket: no cgroup hook has seen it */
	ORIGIN_SERVICE, /* a service of ours answers one who called from an SMTP port */
	ORIGIN_UNKNOWN, /* forwarded, or from a raw socket in pieces */
};

/*
 * An AF_PACKET socket has no connect(); it needs CAP_NET_RAW in the machine's own network
 * namespace, so its uid can be believed. It is never exempt.
 */
static __always_inline struct sw_tag *packet_tag(struct __sk_buff *skb, struct bpf_sock *sk)
{
	struct sw_tag *tag = bpf_sk_storage_get(&tags, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!tag || tag->version)
		return tag;
	tag->version = 1;
	tag->flags = SW_TAG_FOREIGN | SW_TAG_RAW;
	tag->uid = bpf_get_socket_uid(skb);
	tag->gid = SW_UID_OVERFLOW;
	__builtin_memset(tag->order, SW_POLICIES, sizeof(tag->order));
	return tag;
}

/* The kernel's own socket for resets is a raw one, but it cuts no header. */
static __always_inline enum origin origin_of(struct __sk_buff *skb, struct bpf_sock *sk, bool cut,
					     struct sw_tag **ret_tag)
{
	struct bpf_sock *full;

	if (!sk)
		return ORIGIN_UNKNOWN;
	if (sk->family == AF_PACKET) {
		*ret_tag = packet_tag(skb, sk);
		return ORIGIN_PACKET;
	}
	*ret_tag = bpf_sk_storage_get(&tags, sk, NULL, 0);
	if (*ret_tag)
		return ORIGIN_SENDER;
	full = bpf_sk_fullsock(sk);
	if (!full) /* TIME_WAIT and requests answer too */
		return ORIGIN_SERVICE;
	return cut && !is_stream(full) ? ORIGIN_UNKNOWN : ORIGIN_SERVICE;
}

/*
 * The source, as ip_ledger has it: IPv6 hosts have whole networks to themselves. With its road it
 * is the key of ip_blocks.
 */
struct source {
	struct sw_ip addr __attribute__((aligned(8)));
	__u32 road;
};
_Static_assert(sizeof(struct sw_ip_road) == offsetof(struct source, road) + sizeof(__u32),
	       "a source begins with its key in ip_blocks");

static __always_inline void source_of(const struct segment *s, struct source *source)
{
	const struct sw_control *control = control_get();
	const __u64 *address = (const __u64 *)s->saddr.addr;
	__u64 *to = (__u64 *)source->addr.addr;
	__u32 bits = control ? control->ipv6_prefix : 128;

	to[0] = address[0];
	to[1] = address[1];
	if (is_v4(&s->saddr))
		return;
	if (bits < 64) {
		to[0] &= high_bits(bits);
		to[1] = 0;
	} else if (bits < 128) {
		to[1] &= high_bits(bits - 64);
	}
}

/* Of a connection without a tag. */
SUBPROGRAM int is_first_syn(const struct smtp_packet *packet)
{
	const struct segment *s;
	struct syn syn = {};
	__u8 seen = 1;

	if (!packet)
		return false;
	s = &packet->segment;
	syn.sport = s->sport;
	syn.dport = packet->port;
	syn.seq = s->seq;
	__builtin_memcpy(syn.saddr, s->saddr.addr, sizeof(syn.saddr));
	__builtin_memcpy(syn.daddr, s->daddr.addr, sizeof(syn.daddr));
	return bpf_map_update_elem(&syns, &syn, &seen, BPF_NOEXIST) == 0;
}

/* A SYN is a new connection, sent again it is the same one. */
static __always_inline bool is_new_connection(const struct smtp_packet *packet, struct sw_tag *tag)
{
	if (!packet->segment.opens)
		return false;
	if (!tag || (tag->flags & SW_TAG_RAW))
		return is_first_syn(packet);
	if (tag->flags & SW_TAG_WIRED)
		return false;
	tag->flags |= SW_TAG_WIRED;
	return true;
}

static __always_inline void count_source(const struct segment *s, struct source *source,
					 bool opened)
{
	struct sw_ledger *row = bpf_map_lookup_elem(&ip_ledger, &source->addr);
	struct sw_tally *tally;

	if (!row)
		row = ledger_of_ip(&source->addr, bpf_ktime_get_boot_ns());
	if (!row)
		return;
	tally = tally_of(row, source->road);
	__sync_fetch_and_add(&tally->packets, s->count);
	if (s->payload)
		__sync_fetch_and_add(&tally->bytes, s->payload);
	if (opened)
		__sync_fetch_and_add(&tally->connections, 1);
	if (opened || s->closes)
		row->last_seen_ns = lately_ns();
}

static __always_inline void count_sender(const struct sw_tag *tag, const struct segment *s,
					 bool opened)
{
	struct sw_ledger *row = ledger_of(tag, SW_KIND_UID, 0);

	if (!row)
		return;
	__sync_fetch_and_add(&row->wire.packets, s->count);
	if (s->payload)
		__sync_fetch_and_add(&row->wire.bytes, s->payload);
	if (opened)
		__sync_fetch_and_add(&row->wire.connections, 1);
}

static __always_inline bool source_blocked(const struct segment *s, const struct source *source)
{
	struct sw_block *block = bpf_map_lookup_elem(&ip_blocks, source);
	__u64 now_ns;

	if (!block || s->resets)
		return false;
	now_ns = bpf_ktime_get_boot_ns();
	if (!lasts(block->until_ns, now_ns))
		return false;
	__sync_fetch_and_add(&block->hits, 1);
	return enforces(now_ns);
}

SUBPROGRAM int packet_socket_stops(struct sw_tag *tag, const struct smtp_packet *packet, __u32 road)
{
	struct attempt a = {};
	struct outcome o = {};

	if (!tag || !packet)
		return true;
	if (!packet->segment.opens)
		return tag->road == road && arm_stops(tag, false, packet->segment.resets);
	a.generation = packet->generation;
	a.road = road;
	a.port = packet->port;
	a.daddr = packet->segment.daddr;
	a.now_ns = bpf_ktime_get_boot_ns();
	a.metric = SW_METRIC_CONNECTIONS;
	a.n = 1;
	return judge(tag, &a, &o) != FATE_PASS;
}

static __always_inline __u32 wire_mark(void)
{
	const struct sw_control *control = control_get();

	return control ? control->wire_mark : 0;
}

static __always_inline bool enforcing(void)
{
	return enforces(bpf_ktime_get_boot_ns());
}

static __always_inline int smtp_on_wire(struct __sk_buff *skb, struct bpf_sock *sk,
					const struct smtp_packet *packet)
{
	const struct segment *s = &packet->segment;
	struct sw_tag *tag = NULL;
	enum origin origin = origin_of(skb, sk, s->cut, &tag);
	struct source source = {};
	bool opened;
	__u32 mark;

	if (s->cut)
		health_count(unparsed);
	/* A service sends no SYN: that is a socket from outside the gate's cgroup. */
	if (origin == ORIGIN_SERVICE && !s->opens)
		return NEXT;
	if (origin == ORIGIN_SENDER && tag && tag->state == SW_TAG_ADMITTED)
		source.road = tag->road;
	else
		source.road = road_of(network_flags(packet->generation, &s->daddr), packet->port);
	source_of(s, &source);
	if (source_blocked(s, &source))
		return SHOT;
	/* No sender but one that wants to get past a parser cuts a TCP header in two. */
	if (s->cut && origin != ORIGIN_SENDER && enforcing())
		return SHOT;
	mark = wire_mark();
	if ((skb->tc_index & WIRE_MARK_BITS) == mark)
		return NEXT;

	if (origin == ORIGIN_PACKET &&
	    (tag ? packet_socket_stops(tag, packet, source.road) : enforcing()))
		return SHOT;
	opened = is_new_connection(packet, tag);
	count_source(s, &source, opened);
	if (tag)
		count_sender(tag, s, opened);
	skb->tc_index = (skb->tc_index & (__u16)~WIRE_MARK_BITS) | mark;
	return NEXT;
}

#define HEADERS_MAX 4096 /* bytes of a packet that can be headers */

/*
 * Guests and AF_PACKET senders decide what of a large packet is linear: its headers may lie in
 * other pages. Those of our own sockets never do, so they never pay for this.
 */
static __always_inline bool pull_headers(struct __sk_buff *skb)
{
	__u32 linear = skb->data_end - skb->data;
	__u32 size = skb->len < HEADERS_MAX ? skb->len : HEADERS_MAX;

	return linear < size && bpf_skb_pull_data(skb, size) == 0;
}

SUBPROGRAM int held_stops(struct __sk_buff *skb)
{
	struct smtp_packet packet = {};

	return is_held() && smtp_packet_read(skb, &packet) && !packet.segment.resets;
}

SEC("tc")
int egress(struct __sk_buff *skb)
{
	const struct view view = view_at_device(skb);
	struct smtp_packet packet;
	bool smtp;

	if (may_be_held() && held_stops(skb))
		return SHOT;
	smtp = is_smtp(skb, &view, &packet);

	if (packet.beyond && pull_headers(skb)) {
		__builtin_memset(&packet, 0, sizeof(packet));
		smtp = smtp_packet_read(skb, &packet);
	}
	if (!smtp)
		return NEXT;
	return smtp_on_wire(skb, skb->sk, &packet);
}

char LICENSE[] SEC("license") __weak = "GPL";
