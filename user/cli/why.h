/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which policies judge what a subject sends, in words. */
#ifndef SMTPWALL_CLI_WHY_H
#define SMTPWALL_CLI_WHY_H

#include "view.h"
#include "writer.h"

/* Sentences, into a list that is open. */
void why_policies(struct writer *w, const struct view *view, const struct sw_subject *subject);

#endif
