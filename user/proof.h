/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Evidence as it is kept in the history: longer than the map has room for it, with what the daemon
 * found of the process, and with the number of attempts that it stands for.
 */
#ifndef SMTPWALL_PROOF_H
#define SMTPWALL_PROOF_H

#include "evidence.h"
#include "history.h"

#define PROOF_ORIGIN_LEN 64

struct proof {
	struct evidence_row row;
	int64_t time_ms;    /* since 1970, UTC */
	const char *origin; /* of which maps: ids and counts of others are others' (proof_origin) */
	uint64_t noted;	    /* by the ledger of row.key, when this was kept */
	int64_t stands_for; /* so many attempts since those that were kept before; 0: it is counted
			     * with others, for its row is not its own (evidence_is_own) */
	const char *unit;   /* canonical subjects, or NULL */
	const char *dir;
	const char *found;  /* what the daemon found: JSON (culprit.h), or NULL */
	const char *script; /* or NULL */
	const char *guess;  /* the likeliest script where none is known, or NULL */
};

/* This boot and this map, as text. */
int proof_origin(int evidence_fd, char ret[static PROOF_ORIGIN_LEN]);

/* The share of record `i` of `n` in the attempts that they stand for together. */
static inline uint64_t proof_share(uint64_t attempts, size_t n, size_t i)
{
	return attempts / n + (i < attempts % n);
}

/* Makes the tables if they are not there. */
int proof_begin(struct history *history);
/* What was kept of the attempt already is told what this says beyond it. */
int proof_add(struct history *history, const struct proof *proof);
/* Is it known of the attempt that it went over a limit? */
bool proof_has_trip(struct history *history, const char *origin, uint64_t id);
/* What was found out about one that was kept, while its process was still there: the first time. */
int proof_found(struct history *history, const char *origin, uint64_t id, const char *found,
		const char *script, const char *guess);
/* Takes the record anew: it was heard what the session said. */
int proof_heard(struct history *history, const char *origin, const struct sw_evidence *record);
/* The event that was added last is about this attempt, which is kept now or later, or never. */
int proof_link(struct history *history, uint64_t id);
/* The latest that was kept of a key: -ENOENT if there is none. */
int proof_latest(struct history *history, const char *origin, const struct sw_evidence_key *key,
		 uint64_t *ret_time_ns, uint64_t *ret_noted);
/* Forgets what is older than `before_ms`, and all but the latest `most`. */
int proof_trim(struct history *history, int64_t before_ms, int64_t most);

/* Calls `each` for what was kept since `since_ms`, oldest first. No table: for nothing. */
int proof_read(struct history *history, int64_t since_ms,
	       int (*each)(const struct proof *proof, void *userdata), void *userdata);
/* For the latest `most` of a subject, newest first. */
int proof_of(struct history *history, const struct sw_subject *subject, int most,
	     int (*each)(const struct proof *proof, void *userdata), void *userdata);
/* For the one that an event is about, if it was kept. */
int proof_of_event(struct history *history, int64_t event,
		   int (*each)(const struct proof *proof, void *userdata), void *userdata);
/* For the one with this id, of whatever boot: a block that was restored goes on meaning it. */
int proof_one(struct history *history, uint64_t id,
	      int (*each)(const struct proof *proof, void *userdata), void *userdata);

#endif
