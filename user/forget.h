/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Folders and units come and go, and who makes them may make many: rows that nobody used for a
 * week are forgotten, or for an hour where room is scarce; with them their name and evidence.
 * Users stay. Of evidence the oldest is forgotten where room is scarce: the history has it.
 */
#ifndef SMTPWALL_FORGET_H
#define SMTPWALL_FORGET_H

#include "maps.h"

#define FORGET_EACH_NS (600 * 1000000000ULL) /* how often it is worth a look */

/* Forgets them, and counts anew how many folders are on each user's quota. */
int forget_idle(struct maps *maps, uint64_t now_ns);

/* ---- pure ---- */

/* Rows on a user's quota: sorted by uid, each once. Returns how many; `ret` has room for n. */
size_t forget_quotas(const struct ledger_row *row, size_t n, struct quota_row *ret);

/*
 * Who is in use: has windows that run, a block or an allowance. Sorted by subject_compare().
 */
struct forget_used {
	struct sw_subject *subject;
	size_t n;
};

/*
 * Parts the rows of one kind, which has room for so many: those that are to be forgotten come
 * first. Returns how many. `quota`: of these rows, sorted.
 */
size_t forget_choose(struct ledger_row *row, size_t n, size_t room, const struct quota_row *quota,
		     size_t n_quotas, const struct forget_used *used, uint64_t now_ns);

#endif
