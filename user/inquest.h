/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looks at the processes that evidence is about (culprit.h), in a process of its own: whose memory
 * or folder answers late, as those of a hostile user may, delays nobody, and is given up.
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
/* Begins with inquest_go(), or when the one that runs has ended. Too many are forgotten. */
void inquest_ask(struct inquest *inquest, const struct sw_evidence *record);
void inquest_go(struct inquest *inquest);

#endif
