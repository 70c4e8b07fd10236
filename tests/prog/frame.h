/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Frames as a sender makes them, by recipe; and as an attacker makes them, by chance. */
#ifndef PROG_FRAME_H
#define PROG_FRAME_H

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/types.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

#define FRAME_MAX 5000 /* BPF_PROG_TEST_RUN takes 3500 */
#define EXTENSIONS_MAX 12
#define TAGS_MAX 3

#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define PUSH 0x08
#define ACK 0x10

struct frame {
	__u8 data[FRAME_MAX];
	size_t size;
	__u32 gso_segs, gso_size;
};

struct recipe {
	unsigned int tags;
	__u16 tag_type[TAGS_MAX], tag_control[TAGS_MAX];
	unsigned int version; /* 4 or 6 */
	unsigned int ihl;     /* 0: 5; less is a lie */
	unsigned int extensions;
	__u8 extension[EXTENSIONS_MAX];
	__u8 extension_length[EXTENSIONS_MAX]; /* as in its header */
	__u16 fragment;			       /* offset in units of 8 bytes */
	__u8 protocol;			       /* 0: TCP */
	__u8 src[16], dst[16];
	__u16 sport, dport;
	__u32 seq;
	unsigned int doff; /* 0: 5 */
	__u8 flags;
	size_t payload;
	bool big; /* the length does not fit: 0 */
};

static inline void put(struct frame *f, const void *data, size_t size)
{
	if (f->size + size > sizeof(f->data))
		size = sizeof(f->data) - f->size;
	if (data)
		memcpy(f->data + f->size, data, size);
	else
		memset(f->data + f->size, 0, size);
	f->size += size;
}

static inline void put8(struct frame *f, unsigned int value)
{
	put(f, &(__u8){ value }, 1);
}

static inline void put16(struct frame *f, unsigned int value)
{
	put(f, &(__u16){ htons(value) }, 2);
}

static inline void put32(struct frame *f, __u32 value)
{
	put(f, &(__u32){ htonl(value) }, 4);
}

static inline void poke16(struct frame *f, size_t at, size_t value)
{
	if (at + 2 <= f->size)
		memcpy(f->data + at, &(__u16){ htons(value) }, 2);
}

static inline void put_ethernet(struct frame *f, const struct recipe *r)
{
	unsigned int type = r->version == 4 ? ETH_P_IP : ETH_P_IPV6, i;

	put(f, "\2\0\0\0\0\1\2\0\0\0\0\2", 12);
	put16(f, r->tags ? r->tag_type[0] : type);
	for (i = 0; i < r->tags; i++) {
		put16(f, r->tag_control[i]);
		put16(f, i + 1 < r->tags ? r->tag_type[i + 1] : type);
	}
}

static inline void put_v4(struct frame *f, const struct recipe *r)
{
	unsigned int ihl = r->ihl ? r->ihl : 5;

	put8(f, 0x40 | ihl);
	put8(f, 0);
	put16(f, 0); /* see `build` */
	put16(f, 0x1234);
	put16(f, r->fragment);
	put8(f, 64);
	put8(f, r->protocol ? r->protocol : IPPROTO_TCP);
	put16(f, 0);
	put(f, r->src, 4);
	put(f, r->dst, 4);
	if (ihl > 5)
		for (unsigned int i = 0; i < (ihl - 5) * 4; i++)
			put8(f, 1); /* no operation */
}

static inline void put_extension(struct frame *f, const struct recipe *r, unsigned int i, __u8 next)
{
	size_t start = f->size;

	put8(f, next);
	put8(f, r->extension_length[i]);
	switch (r->extension[i]) {
	case IPPROTO_FRAGMENT:
		put16(f, r->fragment << 3);
		put32(f, 0x1234);
		break;
	case IPPROTO_AH:
		put(f, NULL, (r->extension_length[i] + 2) * 4 - (f->size - start));
		break;
	default:
		put(f, NULL, (r->extension_length[i] + 1) * 8 - (f->size - start));
	}
}

static inline void put_v6(struct frame *f, const struct recipe *r)
{
	__u8 last = r->protocol ? r->protocol : IPPROTO_TCP;
	unsigned int i;

	put32(f, 0x60000000);
	put16(f, 0);
	put8(f, r->extensions ? r->extension[0] : last);
	put8(f, 64);
	put(f, r->src, 16);
	put(f, r->dst, 16);
	for (i = 0; i < r->extensions; i++)
		put_extension(f, r, i, i + 1 < r->extensions ? r->extension[i + 1] : last);
}

static inline void put_tcp(struct frame *f, const struct recipe *r)
{
	unsigned int doff = r->doff ? r->doff : 5;

	put16(f, r->sport);
	put16(f, r->dport);
	put32(f, r->seq);
	put32(f, 0);
	put8(f, doff << 4);
	put8(f, r->flags);
	put16(f, 65535);
	put32(f, 0);
	if (doff > 5)
		put(f, NULL, (doff - 5) * 4);
}

static inline void build(struct frame *f, const struct recipe *r)
{
	size_t ip;

	f->size = 0;
	put_ethernet(f, r);
	ip = f->size;
	if (r->version == 4)
		put_v4(f, r);
	else
		put_v6(f, r);
	put_tcp(f, r);
	put(f, NULL, r->payload);
	if (r->big)
		return;
	if (r->version == 4)
		poke16(f, ip + 2, f->size - ip);
	else
		poke16(f, ip + 4, f->size - ip - 40);
}

/* ---- chance: the same in every run of the test ---- */

static __u64 chance_state = 0x5eed;

static inline __u64 chance(void)
{
	chance_state ^= chance_state << 13;
	chance_state ^= chance_state >> 7;
	chance_state ^= chance_state << 17;
	return chance_state * 0x2545f4914f6cdd1dULL;
}

static inline __u64 below(__u64 n)
{
	return chance() % n;
}

static inline bool once_in(__u64 n)
{
	return below(n) == 0;
}

#define ONE_OF(list) ((list)[below(sizeof(list) / sizeof((list)[0]))])

/* Few sources and targets, so that blocks and roads are met often. */
static inline void random_addresses(struct recipe *r)
{
	if (r->version == 4) {
		memcpy(r->src, (__u8[]){ 10, 1, 0, once_in(8) ? 25 : below(8) }, 4);
		memcpy(r->dst,
		       (__u8[]){ once_in(4) ? 192 : 203, 0, once_in(2) ? 2 : 113, below(4) }, 4);
		return;
	}
	memcpy(r->src, "\x20\x01\x0d\xb8\0\1\0\0\0\0\0\0\0\0\0\1", 16);
	r->src[7] = below(8);
	r->src[15] = below(3);
	memcpy(r->dst, "\x20\x01\x0d\xb8\0\2\0\0\0\0\0\0\0\0\0\1", 16);
	if (once_in(4))
		r->dst[5] = 0x25;
}

static inline void random_extensions(struct recipe *r)
{
	static const __u8 types[] = { IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS,
				      IPPROTO_FRAGMENT, IPPROTO_AH };
	unsigned int i;

	r->extensions = once_in(3) ? below(EXTENSIONS_MAX) : below(3);
	for (i = 0; i < r->extensions; i++) {
		r->extension[i] = once_in(50) ? chance() : ONE_OF(types);
		r->extension_length[i] = once_in(4) ? below(6) : 0;
	}
}

static inline void random_recipe(struct recipe *r)
{
	static const __u16 ports[] = { 25, 25, 25, 465, 587, 80, 443, 2525, 24, 26, 6400 };
	static const __u16 tags[] = { ETH_P_8021Q, ETH_P_8021AD };
	static const __u8 flags[] = { SYN,	 SYN, SYN | ACK, ACK,	    ACK | PUSH,
				      FIN | ACK, RST, RST | ACK, SYN | RST, 0 };

	*r = (struct recipe){ .version = once_in(2) ? 4 : 6 };
	r->tags = once_in(4) ? 1 + below(TAGS_MAX) : 0;
	for (unsigned int i = 0; i < r->tags; i++) {
		r->tag_type[i] = ONE_OF(tags);
		r->tag_control[i] = once_in(2) ? 0 : chance();
	}
	random_addresses(r);
	r->ihl = once_in(3) ? 1 + below(15) : 5;
	if (once_in(2))
		random_extensions(r);
	if (once_in(8))
		r->fragment = once_in(2) ? 1 + below(3) : below(8192);
	r->protocol = once_in(10) ? (once_in(2) ? IPPROTO_UDP : chance()) : IPPROTO_TCP;
	r->sport = ONE_OF(ports);
	r->dport = once_in(20) ? chance() : ONE_OF(ports);
	r->seq = chance();
	r->doff = once_in(3) ? below(16) : 5;
	r->flags = once_in(20) ? chance() : ONE_OF(flags);
	r->payload = once_in(2) ? below(40) : once_in(4) ? below(1400) : 0;
	r->big = once_in(20);
}

/* Wild bytes mostly where headers are. */
static inline void mutate(struct frame *f)
{
	size_t near = f->size < 100 ? f->size : 100;
	unsigned int i, n = 1 + below(4);

	for (i = 0; i < n; i++) {
		size_t at = 12 + below(once_in(4) ? f->size - 12 : near - 12);

		switch (below(4)) {
		case 0:
			f->data[at] ^= 1 << below(8);
			break;
		case 1:
			f->data[at] = chance();
			break;
		case 2:
			f->data[at] = once_in(2) ? 0 : 0xff;
			break;
		case 3: /* one field where another belongs */
			f->data[at] = f->data[12 + below(near - 12)];
		}
	}
}

static inline void cut_short(struct frame *f)
{
	size_t least = ETH_HLEN + 1;

	if (f->size > least)
		f->size = least + below((f->size < 140 ? f->size : 140) - least);
}

/* The station that it goes to has an address that looks like the beginning of an IP packet. */
static inline void random_station(struct frame *f)
{
	f->data[0] = (once_in(2) ? 0x40 : 0x60) | below(16);
	if (once_in(2))
		poke16(f, 2, f->size);
	if (once_in(2))
		poke16(f, 4, f->size - 40);
}

/* Attackers know the format: most frames are right but for one thing. */
static inline void random_frame(struct frame *f)
{
	struct recipe r;

	random_recipe(&r);
	build(f, &r);
	if (once_in(2))
		mutate(f);
	if (once_in(8))
		cut_short(f);
	if (once_in(8))
		random_station(f);
	f->gso_segs = once_in(5) ? below(50) : 0;
	f->gso_size = once_in(5) ? below(1500) : 0;
}

#endif
