/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Evidence as the kernel took it at connect(): the pinned map `evidence`, and what its records say.
 * Names, arguments and lines are the attacker's text: who shows them cleans them (clean.h).
 */
#ifndef SMTPWALL_EVIDENCE_H
#define SMTPWALL_EVIDENCE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <smtpwall/abi.h>

#include "pinned.h"

/* Why a record was kept; one may be all of them. */
#define EVIDENCE_LAST (1u << 0)	 /* among the last ones */
#define EVIDENCE_FIRST (1u << 1) /* the first of the window that runs */
#define EVIDENCE_TRIP (1u << 2)	 /* it went over the limit */

struct evidence_row {
	struct sw_evidence_key key; /* slot 0: it may be in several */
	unsigned int why;	    /* EVIDENCE_* */
	struct sw_evidence record;
};

/* Opens the pin. -EPROTO: of another version. */
int evidence_open(const char *pin_dir, int *ret_fd);
/* All records, each once, newest first. The caller frees. */
int evidence_all(int fd, struct evidence_row **ret, size_t *ret_n);
/* Those of one key, likewise. */
int evidence_of_key(int fd, const struct sw_evidence_key *key,
		    struct evidence_row ret[static SW_EVIDENCE_SLOTS], size_t *ret_n);

/* A walk through the map in steps of about `most` records. 1: it has come to the end. */
int evidence_step(int fd, struct pinned_walk *walk, size_t most,
		  void (*each)(const struct sw_evidence_key *key, const struct sw_evidence *record,
			       void *userdata),
		  void *userdata);

/* Is it kept by whom its attempt was counted (`noted`), not by another who was judged by it? */
bool evidence_is_own(const struct sw_evidence_key *key, const struct sw_evidence *record);
/* Sorts newest first and leaves one row of each record, with all of its `why`, its own if it can. */
size_t evidence_unite(struct evidence_row *row, size_t n);
/* Whose ledger counts (`noted`) what is kept under a key. */
struct sw_subject evidence_keeper(const struct sw_evidence_key *key);
/* The subject of a kind that a record names; false: none. */
bool evidence_subject(const struct sw_evidence *record, enum sw_kind kind, struct sw_subject *ret);
bool evidence_is_of(const struct sw_evidence *record, const struct sw_subject *subject);

/* Ends every string of a record from elsewhere. What is read here has them. */
void evidence_terminate(struct sw_evidence *record);
/* The arguments one by one: NULL begins, NULL ends. The last may have been cut. */
const char *evidence_argument(const struct sw_evidence *record, const char *before);
/* The script that an interpreter was called with, as its arguments say; false: none. */
bool evidence_script(const struct sw_evidence *record, char ret[static PATH_MAX]);
/* Does its executable run other people's scripts: an interpreter, or a server with one in it? */
bool evidence_interprets(const struct sw_evidence *record);
/* "admitted", "refused" … */
const char *evidence_verdict(const struct sw_evidence *record);

#endif
