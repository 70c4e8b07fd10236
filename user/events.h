/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ring: what the kernel hints at becomes a sentence and a line of history. The kernel tells
 * one refusal a second of each subject; blocks are left to the sweep, which knows the facts.
 */
#ifndef SMTPWALL_EVENTS_H
#define SMTPWALL_EVENTS_H

#include <systemd/sd-event.h>

#include "collect.h"
#include "kernel.h"
#include "sweep.h"
#include "tell.h"

struct events;

int events_start(sd_event *loop, struct kernel *kernel, struct teller *teller, struct sweep *sweep,
		 struct collect *collect, struct events **ret);
void events_stop(struct events *events);
/* Takes what the ring holds by now, not when the loop comes to it. */
void events_take(struct events *events);

/* What the sentence needs to know besides the event; NULL: unknown. */
struct event_words {
	const char *who;
	const char *policy;
	const struct sw_limit *limit;
};

#define EVENT_TEXT_LEN 1024
#define DESTINATION_LEN 64

/* refused: user bob (uid 2001) at 203.0.113.5:25 (direct), 21 of 20 connections per 1m, … */
void event_sentence(const struct sw_event *event, const struct event_words *words,
		    char text[static EVENT_TEXT_LEN]);
/* "203.0.113.5:25", "[2001:db8::1]:25" */
void event_destination(const struct sw_event *event, char text[static DESTINATION_LEN]);
/* `; pid 812 "php"`, or nothing. */
void event_culprit(const struct sw_event *event, char text[static DESTINATION_LEN]);

#endif
