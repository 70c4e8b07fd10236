// SPDX-License-Identifier: GPL-2.0-or-later
#include "events.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "log.h"
#include "quantity.h"

struct events {
	struct kernel *kernel;
	struct teller *teller;
	struct sweep *sweep;
	struct collect *collect;
	sd_event_source *source;
	bool hinted; /* of a block, since the last sweep */
	bool swept;  /* in this reading of the ring */
	bool failing;
};

static const struct {
	const char *event; /* in the history */
	const char *said;
	int priority;
} types[] = {
	[SW_EVENT_WARN] = { "warn", "warning", LOG_WARNING },
	[SW_EVENT_BLOCK] = { "block", "blocked", LOG_WARNING },
	[SW_EVENT_REFUSE] = { "refuse", "refused", LOG_NOTICE },
	[SW_EVENT_WOULD_REFUSE] = { "would_refuse", "would be refused", LOG_NOTICE },
	[SW_EVENT_REDIRECT] = { "redirect", "redirected", LOG_NOTICE },
	[SW_EVENT_GUARD] = { "guard",
			     "NOT blocked, because max_blocks_per_hour is reached (is a policy "
			     "wrong?)",
			     LOG_ALERT },
};

static const char *const reasons[] = {
	[SW_REASON_LIMIT] = "limit",
	[SW_REASON_BLOCKED] = "blocked",
	[SW_REASON_CLOSED] = "closed",
	[SW_REASON_STORAGE] = "storage",
};

/* ---- sentences ---- */

void event_destination(const struct sw_event *event, char text[static DESTINATION_LEN])
{
	static const __u8 mapped[12] = { [10] = 0xff, [11] = 0xff };
	char address[INET6_ADDRSTRLEN] = "?";

	if (!memcmp(event->daddr, mapped, sizeof(mapped))) {
		inet_ntop(AF_INET, event->daddr + 12, address, sizeof(address));
		snprintf(text, DESTINATION_LEN, "%s:%u", address, event->port);
	} else {
		inet_ntop(AF_INET6, event->daddr, address, sizeof(address));
		snprintf(text, DESTINATION_LEN, "[%s]:%u", address, event->port);
	}
}

void event_culprit(const struct sw_event *event, char text[static DESTINATION_LEN])
{
	char comm[SW_COMM_LEN + 1];

	text[0] = '\0';
	if (!event->pid)
		return;
	printable(comm, sizeof(comm), event->comm, sizeof(event->comm));
	snprintf(text, DESTINATION_LEN, "; pid %u \"%s\"", event->pid, comm);
}

static void limit_said(const struct sw_event *event, const struct sw_limit *limit, char *text,
		       size_t size)
{
	char used[QUANTITY_LEN], of[QUANTITY_LEN];

	if (!limit) { /* of a policy that was changed meanwhile */
		snprintf(text, size, "%llu of %llu", event->used, event->max);
		return;
	}
	limit_words(of, limit);
	if (limit->percent) {
		snprintf(text, size, "%llu%%, over %s", event->used, of);
		return;
	}
	if (limit->metric == SW_METRIC_BYTES)
		size_format(used, event->used);
	else
		snprintf(used, sizeof(used), "%llu", event->used);
	snprintf(text, size, "%s of %s", used, of);
}

static void reason_said(const struct sw_event *event, const struct event_words *words, char *text,
			size_t size)
{
	const char *policy = words->policy ? words->policy : "(removed meanwhile)";
	char limit[2 * QUANTITY_LEN + 8];

	switch ((enum sw_reason)event->reason) {
	case SW_REASON_LIMIT:
		limit_said(event, words->limit, limit, sizeof(limit));
		snprintf(text, size, "%s, policy \"%s\"", limit, policy);
		return;
	case SW_REASON_BLOCKED:
		if (event->policy)
			snprintf(text, size, "blocked by policy \"%s\"", policy);
		else
			snprintf(text, size, "blocked by hand");
		return;
	case SW_REASON_CLOSED:
		snprintf(text, size, "policy \"%s\" closes this road", policy);
		return;
	case SW_REASON_STORAGE:
		snprintf(text, size, "it has exhausted the memory of its socket");
		return;
	}
	snprintf(text, size, "reason %u", event->reason);
}

void event_sentence(const struct sw_event *event, const struct event_words *words,
		    char text[static EVENT_TEXT_LEN])
{
	char where[DESTINATION_LEN], culprit[DESTINATION_LEN], why[256];

	event_destination(event, where);
	event_culprit(event, culprit);
	reason_said(event, words, why, sizeof(why));
	snprintf(text, EVENT_TEXT_LEN, "%s: %s at %s (%s), %s%s",
		 event->type < ARRAY_SIZE(types) ? types[event->type].said : "event", words->who,
		 where, event->road < SW_ROADS ? road_name(event->road) : "?", why, culprit);
}

/* ---- the ring ---- */

static int event_tell(struct events *events, const struct sw_event *event)
{
	const struct sw_policy *policy = teller_policy(events->teller, event->policy);
	struct event_words words = {
		.policy = policy ? policy->name : NULL,
		.limit = teller_limit(events->teller, event->policy, event->limit),
	};
	char text[EVENT_TEXT_LEN], limit[QUANTITY_LEN], where[DESTINATION_LEN];
	char comm[SW_COMM_LEN + 1];
	struct subject_text who;
	struct event_record record = EVENT(types[event->type].event);

	teller_subject(events->teller, &event->subject, &who);
	words.who = who.people;
	event_sentence(event, &words, text);
	event_destination(event, where);
	printable(comm, sizeof(comm), event->comm, sizeof(event->comm));
	if (words.limit) {
		limit_words(limit, words.limit);
		record.limit = limit;
		record.used = event->used;
	}
	record.time_ms = wall_ms(event->time_ns);
	record.evidence = event->evidence;
	record.subject = who.canonical;
	record.name = who.name[0] ? who.name : NULL;
	record.policy = words.policy;
	record.road = event->road < SW_ROADS ? road_name(event->road) : NULL;
	record.reason = event->reason < ARRAY_SIZE(reasons) ? reasons[event->reason] : NULL;
	record.comm = comm[0] ? comm : NULL;
	record.destination = where;
	record.port = event->port;
	if (event->pid) {
		record.pid = event->pid;
		if (event->uid != SW_UID_OVERFLOW)
			record.uid = event->uid;
	}
	tell(events->teller, types[event->type].priority, &record, "%s", text);
	return 0;
}

static int event_take(const struct sw_event *event, void *userdata)
{
	struct events *events = userdata;

	if (event->type >= ARRAY_SIZE(types))
		return 0;
	if (event->evidence)
		collect_soon(events->collect);
	if (event->type != SW_EVENT_BLOCK)
		return event_tell(events, event);
	sweep_hint(events->sweep, event);
	/* The first at once: its sessions go on meanwhile. The others after what is in the ring. */
	if (!events->swept)
		sweep_now(events->sweep);
	events->hinted = events->swept;
	events->swept = true;
	return 0;
}

void events_take(struct events *events)
{
	int r = kernel_events_consume(events->kernel, event_take, events);

	/* Told once: the facts are in the maps, and the ring wakes us again. */
	if (r < 0 && !events->failing)
		log_errno(r, "cannot read the kernel's events");
	events->failing = r < 0;
	if (events->hinted)
		sweep_now(events->sweep);
	events->hinted = events->swept = false;
}

static int on_ring(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	(void)source, (void)fd, (void)revents;
	events_take(userdata);
	return 0;
}

int events_start(sd_event *loop, struct kernel *kernel, struct teller *teller, struct sweep *sweep,
		 struct collect *collect, struct events **ret)
{
	struct events *events = calloc(1, sizeof(*events));
	int r;

	if (!events)
		return -ENOMEM;
	*events = (struct events){
		.kernel = kernel, .teller = teller, .sweep = sweep, .collect = collect
	};
	r = sd_event_add_io(loop, &events->source, kernel_events_fd(kernel), EPOLLIN, on_ring,
			    events);
	if (r < 0) {
		free(events);
		return log_errno(r, "cannot watch the kernel's events");
	}

	*ret = events;
	return 0;
}

void events_stop(struct events *events)
{
	if (!events)
		return;
	sd_event_source_disable_unref(events->source);
	free(events);
}
