/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who a row is about, as every list writes it. */
#ifndef SMTPWALL_CLI_NAMED_H
#define SMTPWALL_CLI_NAMED_H

#include "view.h"
#include "writer.h"

/*
 * "subject", "name" and "container" of an object that is open; for tables "called", which is the
 * name unless the subject says it already.
 */
void named_write(struct writer *w, const struct view *view, const struct sw_subject *subject);
/* Does the subject's text say its name already? */
bool named_says(const char *text, const char *name);

#endif
