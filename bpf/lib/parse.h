/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From a packet to a TCP segment. Every read is relative to the network header and goes through
 * `load`, so Ethernet, VLAN tags, devices without a link layer and non-linear packets are alike.
 *
 * In two steps, because most packets are not ours: `find_tcp` costs one load for a usual packet
 * and tells the ports; `read_segment` reads the rest of those that turned out to be SMTP.
 */
#ifndef SMTPWALL_PARSE_H
#define SMTPWALL_PARSE_H

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include <smtpwall/abi.h>

#define IPV6_HEADERS_MAX 8
#define VLAN_TAGS_MAX 2
#define SOCK_STREAM 1 /* <sys/socket.h> is not for BPF */
#define FRAGMENT_OFFSET 0x1fff /* RFC 791: 13 bits, in units of 8 bytes */

enum found {
	FOUND_OTHER,	  /* not TCP: nothing says SMTP */
	FOUND_BEYOND,	  /* a header lies behind the packet's end, or in another page */
	FOUND_TCP,	  /* `ports` are valid */
	FOUND_LATER_PART, /* a TCP fragment without the header */
};

struct packet {
	__u32 l3;  /* offset of the IP header from the network header: VLAN tags in the way */
	__u32 tcp; /* offset of the TCP header from the network header */
	__u32 end; /* offset of the end of the IP packet; 0: it does not say (BIG TCP) */
	__u8 version;
	__u16 sport, dport; /* host order */
};

struct segment {
	struct sw_ip saddr __attribute__((aligned(8)));
	struct sw_ip daddr __attribute__((aligned(8)));
	__u32 seq;
	__u32 at;      /* offset of the payload from the network header */
	__u32 payload; /* bytes of TCP payload, of all segments that a GSO packet becomes */
	__u32 count;   /* segments */
	__u16 sport;   /* host order */
	bool opens : 1;	  /* SYN without ACK */
	bool accepts : 1; /* SYN with ACK */
	bool closes : 1;  /* FIN */
	bool resets : 1;
	bool urgent : 1; /* URG */
	bool cut : 1;	 /* the TCP header could not be read */
};

static __always_inline bool load(const struct __sk_buff *skb, __u32 offset, void *to, __u32 size)
{
	return bpf_skb_load_bytes_relative(skb, offset, to, size, BPF_HDR_START_NET) == 0;
}

/* `to` is aligned to 8. */
static __always_inline void map_v4(struct sw_ip *to, __be32 address)
{
	__u32 *words = (__u32 *)to->addr;

	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = address;
}

struct ports_header {
	__be16 sport, dport;
};

/* An IPv4 header without options and the ports behind it: one load for the usual packet. */
struct usual_packet {
	struct iphdr ip;
	struct ports_header ports;
} __attribute__((packed, aligned(4)));

static __always_inline enum found take_ports(const struct ports_header *ports, struct packet *p)
{
	p->sport = bpf_ntohs(ports->sport);
	p->dport = bpf_ntohs(ports->dport);
	return FOUND_TCP;
}

static __always_inline enum found find_in_v4(const struct __sk_buff *skb,
					     const struct usual_packet *usual, struct packet *p)
{
	struct ports_header ports;

	if (usual->ip.protocol != IPPROTO_TCP || usual->ip.ihl < 5)
		return FOUND_OTHER;
	if (usual->ip.frag_off & bpf_htons(FRAGMENT_OFFSET))
		return FOUND_LATER_PART;
	p->version = 4;
	p->tcp = p->l3 + usual->ip.ihl * 4;
	p->end = usual->ip.tot_len ? p->l3 + bpf_ntohs(usual->ip.tot_len) : 0;
	if (usual->ip.ihl == 5)
		return take_ports(&usual->ports, p);
	if (!load(skb, p->tcp, &ports, sizeof(ports)))
		return FOUND_BEYOND;
	return take_ports(&ports, p);
}

/* What every IPv6 extension header begins with; a fragment header's offset besides. */
struct extension {
	__u8 next;
	__u8 length; /* in 8 bytes, the first not counted (AH: in 4 bytes, two not counted) */
	__be16 fragment_offset;
};

#define FRAGMENT6_OFFSET 0xfff8 /* RFC 8200, 4.5 */

static __always_inline enum found find_in_v6(const struct __sk_buff *skb, struct packet *p)
{
	struct extension x;
	struct ipv6hdr ip;
	struct ports_header ports;
	__u8 next;
	int i;

	if (!load(skb, p->l3, &ip, sizeof(ip)))
		return FOUND_BEYOND;
	p->version = 6;
	p->tcp = p->l3 + sizeof(ip);
	p->end = ip.payload_len ? p->tcp + bpf_ntohs(ip.payload_len) : 0;
	next = ip.nexthdr;
	for (i = 0; i < IPV6_HEADERS_MAX && next != IPPROTO_TCP; i++) {
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS &&
		    next != IPPROTO_FRAGMENT && next != IPPROTO_AH)
			return FOUND_OTHER;
		if (!load(skb, p->tcp, &x, sizeof(x)))
			return FOUND_BEYOND;
		if (next == IPPROTO_FRAGMENT) {
			if (x.fragment_offset & bpf_htons(FRAGMENT6_OFFSET))
				return x.next == IPPROTO_TCP ? FOUND_LATER_PART : FOUND_OTHER;
			p->tcp += 8;
		} else if (next == IPPROTO_AH) {
			p->tcp += (x.length + 2) * 4;
		} else {
			p->tcp += (x.length + 1) * 8;
		}
		next = x.next;
	}
	if (next != IPPROTO_TCP)
		return FOUND_OTHER;
	if (!load(skb, p->tcp, &ports, sizeof(ports)))
		return FOUND_BEYOND;
	return take_ports(&ports, p);
}

struct vlan_tag {
	__be16 control;
	__be16 protocol;
};

static __always_inline bool is_vlan(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/*
 * Tags in the way. A tag may already be behind us: the network header of a packet that we made
 * ourselves is the IP header even where the device has put a tag before it.
 */
static __always_inline void skip_vlan_tags(const struct __sk_buff *skb, struct packet *p)
{
	__be16 protocol = skb->protocol;
	struct vlan_tag tag;
	__u8 first;
	int i;

	for (i = 0; i < VLAN_TAGS_MAX && is_vlan(protocol); i++) {
		if (!load(skb, p->l3, &tag, sizeof(tag)))
			return;
		if (!is_vlan(tag.protocol)) {
			if (!load(skb, p->l3 + sizeof(tag), &first, 1))
				return;
			if (!(tag.protocol == bpf_htons(ETH_P_IP) && first >> 4 == 4) &&
			    !(tag.protocol == bpf_htons(ETH_P_IPV6) && first >> 4 == 6))
				return;
		}
		p->l3 += sizeof(tag);
		protocol = tag.protocol;
	}
}

static __always_inline enum found find_tcp(const struct __sk_buff *skb, struct packet *p)
{
	struct usual_packet usual;

	p->l3 = 0;
	if (is_vlan(skb->protocol))
		skip_vlan_tags(skb, p);
	/* A packet shorter than this is no TCP: its header alone is 20 bytes, except in a fragment
	 * of IPv4, where 8 bytes are the least. */
	if (!load(skb, p->l3, &usual, sizeof(usual)))
		return FOUND_BEYOND;
	if (usual.ip.version == 4)
		return find_in_v4(skb, &usual, p);
	if (usual.ip.version == 6)
		return find_in_v6(skb, p);
	return FOUND_OTHER;
}

static __always_inline bool read_addresses(const struct __sk_buff *skb, const struct packet *p,
					   struct segment *s)
{
	__be32 v4[2];

	if (p->version == 6)
		return load(skb, p->l3 + __builtin_offsetof(struct ipv6hdr, saddr), &s->saddr, 16) &&
		       load(skb, p->l3 + __builtin_offsetof(struct ipv6hdr, daddr), &s->daddr, 16);
	if (!load(skb, p->l3 + __builtin_offsetof(struct iphdr, saddr), v4, sizeof(v4)))
		return false;
	map_v4(&s->saddr, v4[0]);
	map_v4(&s->daddr, v4[1]);
	return true;
}

#define LINK_HEADER_MAX 32

/*
 * How far the network header lies behind what skb->len counts from: nothing in cgroup_skb, the link
 * layer's header in TC. Found by its bytes, because no field tells it; for packets that do not say
 * their own length.
 */
static __always_inline __u32 network_offset(const struct __sk_buff *skb)
{
	__u64 header[2], here[2];
	__u32 i;

	if (!load(skb, 0, header, sizeof(header)))
		return 0;
	for (i = 0; i <= LINK_HEADER_MAX; i += 2) {
		if (bpf_skb_load_bytes(skb, i, here, sizeof(here)) == 0 && here[0] == header[0] &&
		    here[1] == header[1])
			return i;
	}
	return 0;
}

static __always_inline __u32 segments_of(const struct __sk_buff *skb, __u32 payload)
{
	if (skb->gso_segs)
		return skb->gso_segs;
	if (skb->gso_size && payload) /* from a guest that did not count them */
		return (payload + skb->gso_size - 1) / skb->gso_size;
	return 1;
}

/* `start`: offset of the TCP header; `end`: of the packet's end. */
static __always_inline void take_tcp(const struct __sk_buff *skb, const struct tcphdr *tcp,
				     __u32 start, __u32 end, struct segment *s)
{
	s->cut = false;
	s->sport = bpf_ntohs(tcp->source);
	s->opens = tcp->syn && !tcp->ack;
	s->accepts = tcp->syn && tcp->ack;
	s->closes = tcp->fin;
	s->resets = tcp->rst;
	s->urgent = tcp->urg;
	s->seq = bpf_ntohl(tcp->seq);
	start += tcp->doff * 4;
	s->at = start;
	s->payload = end > start ? end - start : 0;
	s->count = segments_of(skb, s->payload);
}

/*
 * Of a packet that is SMTP; `s` is zeroed. One whose TCP header cannot be read (a fragment cut
 * short, a chain of headers without end, the outside of a tunnel) is known by its socket or its
 * ports only: it is `cut`, one segment, all of it payload.
 */
static __always_inline void read_segment(const struct __sk_buff *skb, const struct packet *p,
					 enum found found, struct segment *s)
{
	struct tcphdr tcp;

	s->count = 1;
	s->payload = skb->len;
	s->cut = true;
	if (found != FOUND_TCP || !read_addresses(skb, p, s) || !load(skb, p->tcp, &tcp, sizeof(tcp)))
		return;
	take_tcp(skb, &tcp, p->tcp, p->end ? p->end : skb->len - network_offset(skb), s);
}

#endif
