/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happened, in sqlite (state_dir/smtpwall.db, WAL): the daemon writes, the command reads.
 * Enforcement never waits for it: a full or broken disk is one warning, and is tried again.
 */
#ifndef SMTPWALL_HISTORY_H
#define SMTPWALL_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include <smtpwall/abi.h>

/* An event as it is kept and shown. Strings may be NULL (unknown). Times are wall clock. */
struct event_record {
	int64_t id;
	int64_t time_ms;      /* since 1970, UTC */
	const char *event;    /* "warn", "block", "refuse", "attach" … */
	const char *subject;  /* "uid:1004" or NULL */
	const char *name;     /* "alice" or NULL */
	const char *policy;
	const char *limit;    /* "20 connections per 1m" */
	const char *road;
	const char *reason;
	const char *text;     /* a sentence for people */
	const char *comm;
	const char *destination;
	int64_t used;	      /* -1: unknown; likewise below */
	int64_t pid;
	int64_t uid;
	int64_t port;
	int64_t until_ms;
	int64_t count;	      /* how many such attempts this line stands for */
	uint64_t evidence;    /* of the attempt, 0: none; kept by proof.c, not read here */
};

struct history;
struct sqlite3;

/* -ENOENT: nothing was written yet. What cannot be read is renamed, told, and begun anew if
 * `write`; else -EBADMSG, -EPROTO: of another version. */
int history_open(const char *state_dir, bool write, struct history **ret);
/* For a command that changes a little of what the daemon has begun; -ENOENT, -EPROTO as above. */
int history_edit(const char *state_dir, struct history **ret);
void history_close(struct history *history);
/* The database itself, for what else the daemon keeps in it (state.c, escalate.c). */
struct sqlite3 *history_db(struct history *history);
/* What a result code of sqlite means as negative errno; 0: done, or a row. */
int history_error(int code);
/* Around many changes: they reach the disk together. */
int history_begin(struct history *history);
int history_commit(struct history *history);
int history_add(struct history *history, const struct event_record *record);
/* The same with strings of its own, all freed with it by free(). NULL: no memory. */
struct event_record *history_copy(const struct event_record *record);
/* Forgets what is older than `before_ms`. */
int history_trim(struct history *history, int64_t before_ms);
/* Forgets what was told first, so that at most so many events are left. */
int history_trim_to(struct history *history, int64_t most);
/* The time of the latest event of this name, 0: there is none. */
int history_latest(struct history *history, const char *event, int64_t *ret_ms);
/* The id of what was told last, 0: nothing. */
int history_last_id(struct history *history, int64_t *ret);
/*
 * Calls `each` for the events after id `after` and from `since_ms` on, oldest first: some are told
 * later than others that happened after them.
 */
int history_read(struct history *history, int64_t after, int64_t since_ms,
		 int (*each)(const struct event_record *record, void *userdata), void *userdata);

#endif
