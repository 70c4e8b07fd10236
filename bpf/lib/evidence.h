/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who did it: taken at connect() (see witness.h), completed by what the session says. It changes no
 * verdict. All of it is the attacker's text.
 */
#ifndef SMTPWALL_EVIDENCE_H
#define SMTPWALL_EVIDENCE_H

#include <bpf/bpf_endian.h>

#include "event.h"
#include "ledger.h"
#include "maps.h"

/*
 * By whom the last attempts are kept: what is a site has its own, so that no neighbour pushes it
 * out. The first of a window and what went over a limit are kept by whoever was judged, too.
 */
static __always_inline __u32 keeper_of(const struct sw_tag *tag)
{
	return tag->flags & SW_TAG_SITE ? SW_KIND_DIR : SW_KIND_UID;
}

static __always_inline void evidence_key(const struct sw_tag *tag, __u32 kind, __u32 slot,
					 struct sw_evidence_key *key)
{
	struct whom whom = whom_of(tag, kind);

	key->id = whom.id;
	key->device = whom.device;
	key->kind = kind_of(tag, kind);
	key->slot = slot;
	key->rest = whom.rest;
}

/* An id has the time of its attempt, and in its lowest bits its slot. */
static __always_inline __u32 evidence_slot(__u64 id)
{
	return id % SW_EVIDENCE_LAST;
}

static __always_inline __u64 evidence_time(__u64 id)
{
	return id / SW_EVIDENCE_LAST;
}

static __always_inline struct sw_evidence *evidence_find(const struct sw_tag *tag, __u32 kind,
							 __u32 slot)
{
	struct sw_evidence_key key;

	evidence_key(tag, kind, slot, &key);
	return bpf_map_lookup_elem(&evidence, &key);
}

/* Of the attempt in the tag, among the last ones; NULL: others came after it. */
static __always_inline struct sw_evidence *evidence_mine(const struct sw_tag *tag)
{
	struct sw_evidence *e = NULL;

	if (tag->evidence)
		e = evidence_find(tag, keeper_of(tag), evidence_slot(tag->evidence));
	return e && e->id == tag->evidence ? e : NULL;
}

static __always_inline struct sw_evidence *evidence_row(const struct sw_tag *tag, __u32 kind,
							__u32 slot)
{
	struct sw_evidence *row = evidence_find(tag, kind, slot);
	struct sw_evidence_key key;

	if (row)
		return row;
	evidence_key(tag, kind, slot, &key);
	bpf_map_update_elem(&evidence, &key, zeroes, BPF_NOEXIST);
	return bpf_map_lookup_elem(&evidence, &key);
}

/*
 * A copy of the record of the attempt in the tag. Who reads meanwhile finds no id; nor if another
 * attempt took its place while it was copied.
 */
static __always_inline void evidence_assign(const struct sw_tag *tag, struct sw_evidence *to,
					    const struct sw_evidence *from)
{
	*(volatile __u64 *)&to->id = 0;
	barrier();
	bpf_probe_read_kernel(&to->time_ns, sizeof(*to) - offsetof(struct sw_evidence, time_ns),
			      &from->time_ns);
	barrier();
	if (*(volatile __u64 *)&from->id == tag->evidence)
		*(volatile __u64 *)&to->id = tag->evidence;
}

/* What the tag tells of its attempt. */
static __always_inline void evidence_of_tag(struct sw_evidence *e, const struct sw_tag *tag,
					    const struct attempt *a, __u32 verdict)
{
	e->time_ns = evidence_time(tag->evidence);
	e->unit = tag->unit;
	e->cgroup = tag->cgroup;
	e->dir = tag->dir;
	e->pid = tag->pid;
	e->uid = tag->uid;
	e->gid = tag->gid;
	e->tag_flags = tag->flags;
	e->port = tag->asked_port ? tag->asked_port : a->port;
	e->road = tag->asked_port ? SW_ROAD_DIRECT : a->road; /* the only one that is redirected */
	e->verdict = verdict;
	__builtin_memcpy(e->daddr, tag->asked_port ? tag->asked : a->daddr.addr, sizeof(e->daddr));
	__builtin_memcpy(e->comm, tag->comm, sizeof(e->comm));
	e->helo[0] = 0;
	e->mail_from[0] = 0;
}

/* Of one whose process we can no longer ask. */
static __always_inline void evidence_sketch(struct sw_evidence *e, const struct sw_tag *tag,
					    const struct attempt *a, __u32 verdict)
{
	*(volatile __u64 *)&e->id = 0;
	evidence_of_tag(e, tag, a, verdict);
	e->cwd = (struct sw_dir){};
	e->depth = 0;
	e->ppid = 0;
	e->argv_len = 0;
	e->exe_path.len = e->exe_path.count = 0;
	e->cwd_path.len = e->cwd_path.count = 0;
	e->exe_path.flags = e->cwd_path.flags = SW_PATH_TRUNCATED;
	barrier();
	*(volatile __u64 *)&e->id = tag->evidence;
}

/*
 * The session of the one in the tag went over a limit of the subject of this kind, long after its
 * connect().
 */
SUBPROGRAM int evidence_trips(const struct sw_tag *tag, const struct attempt *a, __u32 kind,
			      __u32 enforce)
{
	__u32 verdict = enforce ? SW_VERDICT_REFUSED : SW_VERDICT_WOULD_REFUSE;
	struct sw_evidence *e, *kept;

	if (!tag || !a || !tag->evidence)
		return 0;
	kept = evidence_row(tag, kind, SW_EVIDENCE_TRIP);
	if (!kept) {
		health_count(evidence_overflow);
		return 0;
	}
	e = evidence_mine(tag);
	if (!e) {
		evidence_sketch(kept, tag, a, verdict);
		return 0;
	}
	evidence_assign(tag, kept, e);
	kept->verdict = verdict;
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

static __always_inline void evidence_renew_lines(struct sw_evidence *to,
						 const struct sw_evidence *from)
{
	bpf_probe_read_kernel(to->helo, sizeof(to->helo) + sizeof(to->mail_from), from->helo);
}

/* Copies that were made at connect() have no lines yet. */
SUBPROGRAM int evidence_renew(const struct sw_tag *tag, __u32 slot)
{
	struct sw_evidence *e, *kept;
	__u32 kind;

	if (!tag)
		return 0;
	e = evidence_mine(tag);
	for (kind = 0; kind < SW_LOCAL_KINDS && e; kind++) {
		kept = evidence_find(tag, kind, slot);
		if (kept && kept->id == tag->evidence)
			evidence_renew_lines(kept, e);
	}
	return 0;
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
	e = evidence_mine(tag);
	if (!e)
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
	evidence_renew(tag, SW_EVIDENCE_FIRST);
	evidence_renew(tag, SW_EVIDENCE_TRIP);
	return 0;
}

#endif
