/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Most packets are not SMTP, and nearly all are IPv4 without options or IPv6 without extension
 * headers, in one piece. Those are read in place: calling a helper costs several times what all
 * the rest does. Whatever is unusual is left to parse.h.
 */
#ifndef SMTPWALL_GLANCE_H
#define SMTPWALL_GLANCE_H

#include "smtp_packet.h"

/* A packet as it lies in memory. */
struct view {
	const void *ip, *end;
	bool unusual; /* not to be read in place */
};

struct usual_v4 {
	struct iphdr ip;
	struct tcphdr tcp;
};

struct usual_v6 {
	struct ipv6hdr ip;
	struct tcphdr tcp;
};

enum glance {
	GLANCE_OTHER,	/* nothing in the packet says SMTP */
	GLANCE_SMTP,	/* it was read */
	GLANCE_UNUSUAL, /* parse.h must say */
};

/* At cgroup hooks a packet begins with its network header. */
static __always_inline struct view view_at_socket(const struct __sk_buff *skb)
{
	return (struct view){
		.ip = (const void *)(long)skb->data,
		.end = (const void *)(long)skb->data_end,
		.unusual = is_vlan(skb->protocol),
	};
}

/* Is it an IP packet from its first byte on? Then no header of a link layer stands before it. */
static __always_inline bool begins_with_ip(const void *start, __u32 length)
{
	const struct iphdr *v4 = start;
	const struct ipv6hdr *v6 = start;

	if (v4->version == 4)
		return !v4->tot_len || bpf_ntohs(v4->tot_len) == length;
	if (v4->version == 6)
		return !v6->payload_len || bpf_ntohs(v6->payload_len) + sizeof(*v6) == length;
	return false;
}

/*
 * At TC it begins with the link layer's header, whose length nobody tells: only what is surely
 * Ethernet is read in place.
 */
static __always_inline struct view view_at_device(const struct __sk_buff *skb)
{
	const void *start = (const void *)(long)skb->data, *end = (const void *)(long)skb->data_end;
	const struct ethhdr *ethernet = start;
	struct view v = { .ip = start, .end = end, .unusual = true };

	if (start + sizeof(*ethernet) + sizeof(struct iphdr) > end ||
	    ethernet->h_proto != skb->protocol || begins_with_ip(start, skb->len))
		return v;
	v.ip = start + sizeof(*ethernet);
	v.unusual = is_vlan(skb->protocol);
	return v;
}

static __always_inline struct segment *begin_packet(struct smtp_packet *packet, __u32 generation,
						    __be16 port)
{
	__builtin_memset(packet, 0, sizeof(*packet));
	packet->generation = generation;
	packet->port = bpf_ntohs(port);
	return &packet->segment;
}

/* One that does not tell its length (BIG TCP) is unusual. */
static __always_inline enum glance glance_v4(const struct __sk_buff *skb, const struct view *v,
					     __u32 generation, struct smtp_packet *packet)
{
	const struct usual_v4 *usual = v->ip;
	struct segment *s;

	if (usual->ip.protocol != IPPROTO_TCP)
		return GLANCE_OTHER;
	if (v->ip + sizeof(*usual) > v->end || usual->ip.ihl != 5 ||
	    (usual->ip.frag_off & bpf_htons(FRAGMENT_OFFSET)))
		return GLANCE_UNUSUAL;
	if (!is_smtp_port(generation, bpf_ntohs(usual->tcp.dest)))
		return GLANCE_OTHER;
	if (!usual->ip.tot_len)
		return GLANCE_UNUSUAL;
	s = begin_packet(packet, generation, usual->tcp.dest);
	map_v4(&s->saddr, usual->ip.saddr);
	map_v4(&s->daddr, usual->ip.daddr);
	take_tcp(skb, &usual->tcp, sizeof(usual->ip), bpf_ntohs(usual->ip.tot_len), s);
	return GLANCE_SMTP;
}

static __always_inline enum glance glance_v6(const struct __sk_buff *skb, const struct view *v,
					     __u32 generation, struct smtp_packet *packet)
{
	const struct usual_v6 *usual = v->ip;
	struct segment *s;

	if (v->ip + sizeof(*usual) > v->end)
		return GLANCE_UNUSUAL;
	if (usual->ip.nexthdr == IPPROTO_UDP || usual->ip.nexthdr == IPPROTO_ICMPV6)
		return GLANCE_OTHER;
	if (usual->ip.nexthdr != IPPROTO_TCP)
		return GLANCE_UNUSUAL;
	if (!is_smtp_port(generation, bpf_ntohs(usual->tcp.dest)))
		return GLANCE_OTHER;
	if (!usual->ip.payload_len)
		return GLANCE_UNUSUAL;
	s = begin_packet(packet, generation, usual->tcp.dest);
	__builtin_memcpy(&s->saddr, &usual->ip.saddr, sizeof(s->saddr));
	__builtin_memcpy(&s->daddr, &usual->ip.daddr, sizeof(s->daddr));
	take_tcp(skb, &usual->tcp, sizeof(usual->ip),
		 sizeof(usual->ip) + bpf_ntohs(usual->ip.payload_len), s);
	return GLANCE_SMTP;
}

static __always_inline enum glance glance(const struct __sk_buff *skb, const struct view *v,
					  __u32 generation, struct smtp_packet *packet)
{
	const struct iphdr *ip = v->ip;

	if (v->unusual || v->ip + sizeof(*ip) > v->end)
		return GLANCE_UNUSUAL;
	if (ip->version == 4)
		return glance_v4(skb, v, generation, packet);
	if (ip->version == 6)
		return glance_v6(skb, v, generation, packet);
	return GLANCE_UNUSUAL;
}

/* Is it SMTP, by what the packet says or by the port of its socket? Then `packet` is filled. */
static __always_inline bool is_smtp(struct __sk_buff *skb, const struct view *v,
				    struct smtp_packet *packet)
{
	const struct sw_control *control = control_get();
	struct bpf_sock *sk = skb->sk;
	enum glance what;

	packet->beyond = false;
	if (!control)
		return false;
	what = glance(skb, v, control->generation, packet);
	if (what == GLANCE_SMTP)
		return true;
	if (what == GLANCE_OTHER &&
	    !(sk && is_smtp_port(control->generation, bpf_ntohs(sk->dst_port))))
		return false;
	__builtin_memset(packet, 0, sizeof(*packet));
	return smtp_packet_read(skb, packet);
}

#endif
