/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One sender as `list`, `show` and `top` write it: its ledger, its limits, its block. */
#ifndef SMTPWALL_CLI_ROW_H
#define SMTPWALL_CLI_ROW_H

#include "blocked.h"
#include "used.h"
#include "view.h"
#include "writer.h"

/* What rows are sorted by, greatest first. */
struct sorting {
	const char *name; /* as --sort has it */
	char key;	  /* in `top`; 0: none */
	uint64_t (*value)(const struct sw_ledger *ledger, size_t offset);
	size_t offset; /* of the counter in sw_tally, if it is one */
};
extern const struct sorting sortings[]; /* the first is the default; ends with a NULL name */
const struct sorting *sorting_by_name(const char *name); /* NULL as told */

/* Senders of these kinds (bit 1 << enum sw_kind), sorted, at most `most` (0: all) of them, as
 * list "subjects". Tells its failure. */
int rows_write(struct writer *w, const struct view *view, unsigned int kinds,
	       const struct sorting *sorting, size_t most);
void rows_table(struct writer *w, size_t width, FILE *out);

/* Is anything counted there? The overflow rows are always there; empty they are no news. */
bool ledger_counts(const struct sw_ledger *ledger);

/* The members of one sender, in an object that is open. */
void row_write(struct writer *w, const struct view *view, const struct sw_subject *subject,
	       const struct sw_ledger *ledger, const struct blocked *block);

#define USED_MAX (SW_POLICIES * SW_ROADS * SW_LIMITS)
/* Its limits and warnings, of every policy that has a window for the sender. */
size_t row_used(const struct view *view, const struct sw_subject *subject,
		struct used ret[static USED_MAX]);

#endif
