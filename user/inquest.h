/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looks at the processes that evidence is about (culprit.h), in a process of its own: whose memory
 * or folder answers late, as those of a hostile user may, is given up. It delays the others little:
 * in a round of questions each keeper of evidence has two at most.
 */
#ifndef SMTPWALL_INQUEST_H
#define SMTPWALL_INQUEST_H

#include <systemd/sd-event.h>

#include <smtpwall/abi.h>

struct inquest;

/* `found` is called with a line of JSON for each that was asked about and answered. */
int inquest_new(sd_event *loop, void (*found)(const char *json, void *userdata), void *userdata,
		struct inquest **ret);
void inquest_free(struct inquest *inquest);
/*
 * Begins with inquest_go(), or when the round that runs has ended. `key`: under which the record is
 * kept. Too many, also of one key, are forgotten.
 */
void inquest_ask(struct inquest *inquest, const struct sw_evidence_key *key,
		 const struct sw_evidence *record);
void inquest_go(struct inquest *inquest);

#endif
