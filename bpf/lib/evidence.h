/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who did it: taken at connect() (see witness.h), completed by what the session says. It changes no
 * verdict. All of it is the attacker's text.
 */
#ifndef SMTPWALL_EVIDENCE_H
#define SMTPWALL_EVIDENCE_H

#include <bpf/bpf_endian.h>

#include "ledger.h"
#include "maps.h"

/* By whom it is kept: what is a site has its own, so that no neighbour pushes it out. */
static __always_inline __u32 keeper_of(const struct sw_tag *tag)
{
	return tag->flags & SW_TAG_SITE ? SW_KIND_DIR : SW_KIND_UID;
}

static __always_inline void evidence_key(const struct sw_tag *tag, __u32 slot,
					 struct sw_evidence_key *key)
{
	struct whom whom = whom_of(tag, keeper_of(tag));

	key->id = whom.id;
	key->device = whom.device;
	key->kind = kind_of(tag, keeper_of(tag));
	key->slot = slot;
	key->pad = 0;
}

/* An id has its slot in its lowest bits. */
static __always_inline __u32 evidence_slot(__u64 id)
{
	return id % SW_EVIDENCE_LAST;
}

static __always_inline struct sw_evidence *evidence_find(const struct sw_tag *tag, __u32 slot)
{
	struct sw_evidence_key key;

	evidence_key(tag, slot, &key);
	return bpf_map_lookup_elem(&evidence, &key);
}

static __always_inline struct sw_evidence *evidence_row(const struct sw_tag *tag, __u32 slot)
{
	struct sw_evidence *row = evidence_find(tag, slot);
	struct sw_evidence_key key;

	if (row)
		return row;
	evidence_key(tag, slot, &key);
	bpf_map_update_elem(&evidence, &key, zeroes, BPF_NOEXIST);
	return bpf_map_lookup_elem(&evidence, &key);
}

/* Who reads meanwhile finds no id. */
static __always_inline void evidence_assign(struct sw_evidence *to, const struct sw_evidence *from)
{
	*(volatile __u64 *)&to->id = 0;
	barrier();
	bpf_probe_read_kernel(&to->time_ns, sizeof(*to) - offsetof(struct sw_evidence, time_ns),
			      &from->time_ns);
	barrier();
	*(volatile __u64 *)&to->id = from->id;
}

static __always_inline void evidence_copy(const struct sw_tag *tag, const struct sw_evidence *e,
					  __u32 slot)
{
	struct sw_evidence *kept = evidence_row(tag, slot);

	if (kept)
		evidence_assign(kept, e);
}

/* The session of the one in the tag went over its limit, long after its connect(). */
SUBPROGRAM int evidence_trips(const struct sw_tag *tag)
{
	struct sw_evidence *e;

	if (!tag || !tag->evidence)
		return 0;
	e = evidence_find(tag, evidence_slot(tag->evidence));
	if (e && e->id == tag->evidence)
		evidence_copy(tag, e, SW_EVIDENCE_TRIP);
	return 0;
}

/* What follows the line may be a password. */
static __always_inline void line_end(char *line)
{
	bool ended = false;
	int i;

	for (i = 0; i < SW_LINE_LEN; i++) {
		ended = ended || line[i] == '\r' || line[i] == '\n' || i == SW_LINE_LEN - 1;
		if (ended)
			line[i] = 0;
	}
}

static __always_inline void evidence_line(struct __sk_buff *skb, char *line, __u32 offset,
					  __u32 left)
{
	__u64 less = (left < SW_LINE_LEN ? left - 1 : SW_LINE_LEN - 1) & (SW_LINE_LEN - 1);

	barrier_var(less); /* Linux 6.1 must see the bounds of what it is to read */
	if (bpf_skb_load_bytes(skb, offset, line, less + 1))
		line[0] = 0;
	else if (less < SW_LINE_LEN - 1)
		line[(less + 1) & (SW_LINE_LEN - 1)] = 0;
	line_end(line);
}

/* Copies that were made at connect() have no lines yet. */
static __always_inline void evidence_renew(const struct sw_tag *tag, const struct sw_evidence *e,
					   __u32 slot)
{
	struct sw_evidence *kept = evidence_find(tag, slot);

	if (kept && kept->id == tag->evidence)
		evidence_assign(kept, e);
}

#define WORD(a, b, c, d) ((__u32)(a) << 24 | (__u32)(b) << 16 | (__u32)(c) << 8 | (__u32)(d))

/* The client begins a line, in clear: is it one to be kept? */
SUBPROGRAM int evidence_hears(struct __sk_buff *skb, struct sw_tag *tag, __u32 offset, __u32 left)
{
	struct sw_evidence *e;
	__u32 word;

	if (!tag || left < sizeof(word) || bpf_skb_load_bytes(skb, offset, &word, sizeof(word)))
		return 0;
	word = bpf_ntohl(word) & 0xdfdfdfdf; /* in upper case */
	e = evidence_find(tag, evidence_slot(tag->evidence));
	if (!e || e->id != tag->evidence)
		return 0;
	switch (word) {
	case WORD('E', 'H', 'L', 'O'):
	case WORD('H', 'E', 'L', 'O'):
	case WORD('L', 'H', 'L', 'O'):
		evidence_line(skb, e->helo, offset, left);
		tag->heard |= SW_HEARD_HELO;
		break;
	case WORD('M', 'A', 'I', 'L'):
		evidence_line(skb, e->mail_from, offset, left);
		tag->heard |= SW_HEARD_MAIL;
		break;
	default:
		return 0;
	}
	evidence_renew(tag, e, SW_EVIDENCE_FIRST);
	evidence_renew(tag, e, SW_EVIDENCE_TRIP);
	return 0;
}

#endif
