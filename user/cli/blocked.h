/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Blocks as people see them: rows that differ in nothing but their road are one. */
#ifndef SMTPWALL_CLI_BLOCKED_H
#define SMTPWALL_CLI_BLOCKED_H

#include "view.h"
#include "writer.h"

struct blocked {
	struct sw_subject subject;
	struct sw_block block; /* hits of all roads */
	__u8 roads;	       /* bit 1 << enum sw_road */
};

/* Those that have not run out, sorted by subject. Tells its failure. The caller frees. */
int blocked_load(const struct view *view, struct blocked **ret, size_t *ret_n);
/* The first of a subject, or NULL; further ones follow it. */
const struct blocked *blocked_find(const struct blocked *blocked, size_t n,
				   const struct sw_subject *subject);
/* Does it refuse anything in the mode in force? */
bool blocked_enforced(const struct view *view, const struct blocked *blocked);
/* Why, for people. */
void blocked_reason(const struct view *view, const struct sw_block *block, char *text, size_t size);
void blocked_write(struct writer *w, const char *key, const struct view *view,
		   const struct blocked *blocked);

#endif
