/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the programs must make of a frame, read from the RFCs (791, 8200, 4302, 9293; IEEE 802.1Q)
 * and not from the programs: a plain parser over the whole frame.
 */
#ifndef PROG_ORACLE_H
#define PROG_ORACLE_H

#include "frame.h"

#include <smtpwall/abi.h>

#define CHAIN_MAX 8 /* IPv6 extension headers that smtpwall follows */

struct truth {
	bool smtp;
	bool cut; /* the ports are there, the rest of the TCP header is not */
	bool opens, closes, resets;
	struct sw_ip src, dst; /* IPv4 mapped */
	__u16 sport, port;
	__u32 seq;
	__u64 bytes, segments;
	enum sw_road road;
};

struct bytes {
	const __u8 *at;
	size_t n;
};

static inline bool has(struct bytes b, size_t offset, size_t size)
{
	return offset <= b.n && size <= b.n - offset;
}

static inline struct bytes from(struct bytes b, size_t offset)
{
	return has(b, offset, 0) ? (struct bytes){ b.at + offset, b.n - offset }
				 : (struct bytes){ b.at, 0 };
}

static inline __u32 number(struct bytes b, size_t offset, size_t size)
{
	__u32 value = 0;

	while (size--)
		value = value << 8 | b.at[offset++];
	return value;
}

static inline bool is_tag(__u32 type)
{
	return type == ETH_P_8021Q || type == ETH_P_8021AD;
}

static inline bool ip_of_type(struct bytes b, __u32 type)
{
	return has(b, 0, 1) && ((type == ETH_P_IP && b.at[0] >> 4 == 4) ||
				(type == ETH_P_IPV6 && b.at[0] >> 4 == 6));
}

/*
 * The IP packet: behind as many tags (two at most) as are followed by another, or by what they
 * say. A type that lies is no way past: the version in the packet decides.
 */
static inline struct bytes find_ip(const struct frame *f)
{
	struct bytes b = { f->data + ETH_HLEN, f->size - ETH_HLEN };
	__u32 type = number((struct bytes){ f->data, f->size }, 12, 2);
	unsigned int tags;

	for (tags = 0; tags < 2 && is_tag(type) && has(b, 0, 4); tags++) {
		__u32 inner = number(b, 2, 2);

		if (!is_tag(inner) && !ip_of_type(from(b, 4), inner))
			break;
		type = inner;
		b = from(b, 4);
	}
	return b;
}

/* The TCP header and what follows within the IP packet; how long the packet says it is. */
struct found_tcp {
	struct bytes tcp;
	size_t offset; /* of the TCP header in the IP packet */
	size_t length; /* of the IP packet; 0: not told */
};

static inline bool tcp_in_v4(struct bytes ip, struct found_tcp *ret)
{
	size_t header;

	if (!has(ip, 0, 20))
		return false;
	header = (ip.at[0] & 15) * 4;
	if (header < 20 || ip.at[9] != IPPROTO_TCP || (number(ip, 6, 2) & 0x1fff))
		return false;
	*ret = (struct found_tcp){ from(ip, header), header, number(ip, 2, 2) };
	return true;
}

/* Its length, or 0 if TCP cannot follow. */
static inline size_t extension_size(__u8 type, struct bytes x)
{
	switch (type) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
		return (x.at[1] + 1) * 8;
	case IPPROTO_AH:
		return (x.at[1] + 2) * 4;
	case IPPROTO_FRAGMENT:
		return number(x, 2, 2) >> 3 ? 0 : 8;
	default:
		return 0;
	}
}

static inline bool tcp_in_v6(struct bytes ip, struct found_tcp *ret)
{
	size_t offset = 40, size;
	unsigned int i;
	__u8 next;

	if (!has(ip, 0, 40))
		return false;
	next = ip.at[6];
	for (i = 0; next != IPPROTO_TCP; i++) {
		struct bytes x = from(ip, offset);

		if (i == CHAIN_MAX || !has(x, 0, 4))
			return false;
		size = extension_size(next, x);
		if (!size)
			return false;
		next = x.at[0];
		offset += size;
	}
	*ret = (struct found_tcp){ from(ip, offset), offset, 0 };
	if (number(ip, 4, 2))
		ret->length = 40 + number(ip, 4, 2);
	return true;
}

static inline bool find_tcp(struct bytes ip, struct found_tcp *ret)
{
	if (!has(ip, 0, 1))
		return false;
	switch (ip.at[0] >> 4) {
	case 4:
		return tcp_in_v4(ip, ret);
	case 6:
		return tcp_in_v6(ip, ret);
	default:
		return false;
	}
}

static inline bool is_smtp(__u32 port)
{
	return port == 25 || port == 465 || port == 587;
}

static inline struct sw_ip address(struct bytes ip, size_t offset)
{
	struct sw_ip a = { { [10] = 0xff, [11] = 0xff } };

	if (ip.at[0] >> 4 == 4)
		memcpy(a.addr + 12, ip.at + 12 + offset * 4, 4);
	else
		memcpy(a.addr, ip.at + 8 + offset * 16, 16);
	return a;
}

/* `relays` of the tests' configuration, and this machine: loopback and the unspecified address. */
static inline bool is_relay(const struct sw_ip *a)
{
	static const struct {
		const char *prefix;
		size_t size;
	} relays[] = {
		{ "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\2", 15 },
		{ "\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f", 13 },
		{ "\0\0\0\0\0\0\0\0\0\0\xff\xff\0\0\0\0", 16 },
		{ "\x20\x01\x0d\xb8\0\x25", 6 },
		{ "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 16 },
		{ "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16 },
	};

	for (size_t i = 0; i < sizeof(relays) / sizeof(relays[0]); i++)
		if (memcmp(a->addr, relays[i].prefix, relays[i].size) == 0)
			return true;
	return false;
}

static inline __u64 segments(const struct frame *f, __u64 bytes)
{
	if (f->gso_segs)
		return f->gso_segs;
	if (f->gso_size && bytes > f->gso_size)
		return (bytes + f->gso_size - 1) / f->gso_size;
	return 1;
}

/* `link`: what of the link layer's header the hook counts to a packet whose headers are cut. */
static inline struct truth truth_of(const struct frame *f, size_t link)
{
	struct bytes ip = find_ip(f);
	struct found_tcp found;
	struct truth t = { .segments = 1, .bytes = f->size - ETH_HLEN + link };
	size_t whole, header;

	if (!find_tcp(ip, &found) || !has(found.tcp, 0, 4))
		return t;
	t.sport = number(found.tcp, 0, 2);
	t.port = number(found.tcp, 2, 2);
	t.smtp = is_smtp(t.port);
	t.src = address(ip, 0);
	t.dst = address(ip, 1);
	t.road = is_relay(&t.dst) ? SW_ROAD_RELAY
		 : t.port == 25	  ? SW_ROAD_DIRECT
				  : SW_ROAD_SUBMISSION;
	t.cut = !has(found.tcp, 0, 20);
	if (t.cut)
		return t;
	t.seq = number(found.tcp, 4, 4);
	t.opens = (found.tcp.at[13] & (SYN | ACK)) == SYN;
	t.closes = found.tcp.at[13] & FIN;
	t.resets = found.tcp.at[13] & RST;
	header = found.offset + (found.tcp.at[12] >> 4) * 4;
	whole = found.length ? found.length : ip.n;
	t.bytes = whole > header ? whole - header : 0;
	t.segments = segments(f, t.bytes);
	return t;
}

#endif
