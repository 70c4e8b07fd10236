/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Most packets are not SMTP, and nearly all are IPv4 without options or IPv6 without extension
 * headers, in one piece. That is seen in place: calling a helper costs several times what all the
 * rest does. Whatever is unusual is left to parse.h.
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
	struct ports_header ports;
};

struct usual_v6 {
	struct ipv6hdr ip;
	struct ports_header ports;
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

static __always_inline bool is_other_v4(const struct view *v, __u32 generation)
{
	const struct usual_v4 *usual = v->ip;

	if (usual->ip.protocol != IPPROTO_TCP)
		return true;
	if (v->ip + sizeof(*usual) > v->end || usual->ip.ihl != 5 ||
	    (usual->ip.frag_off & bpf_htons(FRAGMENT_OFFSET)))
		return false;
	return !is_smtp_port(generation, bpf_ntohs(usual->ports.dport));
}

static __always_inline bool is_other_v6(const struct view *v, __u32 generation)
{
	const struct usual_v6 *usual = v->ip;

	if (v->ip + sizeof(*usual) > v->end)
		return false;
	if (usual->ip.nexthdr == IPPROTO_TCP)
		return !is_smtp_port(generation, bpf_ntohs(usual->ports.dport));
	return usual->ip.nexthdr == IPPROTO_UDP || usual->ip.nexthdr == IPPROTO_ICMPV6;
}

/* Does nothing say SMTP, at a glance: not the packet, and not the port of its socket? */
static __always_inline bool is_surely_other(const struct __sk_buff *skb, const struct view *v)
{
	const struct sw_control *control = control_get();
	const struct iphdr *ip = v->ip;
	struct bpf_sock *sk = skb->sk;
	bool other = false;

	if (!control || v->unusual || v->ip + sizeof(*ip) > v->end)
		return false;
	if (ip->version == 4)
		other = is_other_v4(v, control->generation);
	else if (ip->version == 6)
		other = is_other_v6(v, control->generation);
	return other && !(sk && is_smtp_port(control->generation, bpf_ntohs(sk->dst_port)));
}

#endif
