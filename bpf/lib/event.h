/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Telling. Always after the decision; a full ring is counted and changes nothing. */
#ifndef SMTPWALL_EVENT_H
#define SMTPWALL_EVENT_H

#include "maps.h"
#include "subject.h"

#define TOLD_EVERY_NS 1000000000ULL

/* Messages that are inside TLS: warnings count them, limits only where the policy says so. */
#define METRIC_ESTIMATED SW_METRICS

/* What an attempt is, beside who makes it. */
struct attempt {
	struct sw_ip daddr __attribute__((aligned(8)));
	__u64 now_ns;
	__u32 n; /* how many of `metric` */
	__u32 generation;
	__u16 port;  /* host order */
	__u8 metric; /* enum sw_metric, or METRIC_ESTIMATED */
	__u8 road;   /* enum sw_road */
	/* Of a connection, by kind of subject: cells to which its destination is new. */
	__u8 new_to[SW_LOCAL_KINDS];
};

/* Why an attempt is, or would be, refused; and what was near. */
struct outcome {
	__u64 limit;
	__u64 used;
	__u64 max;
	__u32 policy;
	__u8 reason; /* enum sw_reason */
	__u8 kind;   /* enum sw_kind: as whom it is judged here */
	__u8 weight; /* how grave the refusal is; 0: nothing refuses it, nor would */
	__u8 how[SW_LOCAL_KINDS]; /* PARTY_*: how each kind's policy judges */
	__u8 opens;   /* whose windows were empty, of those who judge: bit 1 << enum sw_kind */
	bool over;    /* it is refused, or would be */
	bool trips;   /* it is the first that is over since one was admitted */
	bool tell;    /* the last one was told long enough ago */
	bool shared;  /* the shared windows decided: others may have filled them */
};

static __always_inline void event_subject(const struct sw_tag *tag, __u32 kind,
					  struct sw_subject *subject)
{
	subject->kind = kind_of(tag, kind);
	switch (subject->kind) {
	case SW_KIND_UNIT:
		subject->unit = tag->unit;
		break;
	case SW_KIND_DIR:
		subject->dir = tag->dir;
		break;
	default:
		subject->uid = tag->uid;
		break;
	}
}

SUBPROGRAM int tell(__u32 type, const struct sw_tag *tag, const struct attempt *a,
		    const struct outcome *o)
{
	struct sw_event *event;

	if (!tag || !a || !o)
		return 0;
	event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	if (!event) {
		health_count(lost_events);
		return 0;
	}
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = a->now_ns;
	event_subject(tag, o->kind, &event->subject);
	event->limit = o->limit;
	event->used = o->used;
	event->max = o->max;
	event->evidence = tag->evidence;
	event->policy = o->policy;
	event->type = type;
	event->reason = o->reason;
	event->road = a->road;
	event->port = a->port;
	__builtin_memcpy(event->daddr, a->daddr.addr, sizeof(event->daddr));
	event->pid = tag->pid;
	event->uid = tag->flags & SW_TAG_UNIT ? SW_UID_OVERFLOW : tag->uid;
	__builtin_memcpy(event->comm, tag->comm, sizeof(event->comm));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

#endif
