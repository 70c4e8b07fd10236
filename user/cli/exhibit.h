/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One piece of evidence as `show` writes it: the kernel's record, and what the daemon found out. */
#ifndef SMTPWALL_CLI_EXHIBIT_H
#define SMTPWALL_CLI_EXHIBIT_H

#include "proof.h"
#include "view.h"
#include "writer.h"

struct exhibit {
	struct evidence_row row;
	int64_t wall_ns;
	bool past;	  /* no longer in the map */
	char *unit, *dir; /* canonical subjects, or NULL */
	char *found;	  /* JSON (culprit.h), or NULL */
};

struct exhibits {
	struct exhibit *exhibit; /* newest first */
	size_t n;
};
void exhibits_free(struct exhibits *exhibits);

/* All of a subject in the map, and of the history the latest ones and those of `blocks`' making
 * (ids, `n_blocks`). Tells its failure. */
int exhibits_load(const struct cli *cli, const struct view *view, const struct sw_subject *subject,
		  const __u64 *block, size_t n_blocks, struct exhibits *ret);
/* Of what was kept; exhibit_clear() it. */
struct exhibit exhibit_of(const struct proof *proof);
void exhibit_clear(struct exhibit *exhibit);
/* Of an attempt; 0 is null. */
void evidence_id_write(struct writer *w, const char *key, __u64 id);
/* As object "evidence"; as list "evidence". */
void exhibit_write(struct writer *w, const struct exhibit *exhibit);
void exhibits_write(struct writer *w, const struct exhibits *exhibits);
/* For people: the newest. */
void exhibits_say(struct writer *w, const struct exhibits *exhibits);

#endif
