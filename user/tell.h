/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What happened, told once: a sentence in the log and a line in the history. Also how the
 * sentences name subjects, policies and limits. The log never waits for the history: a disk
 * that is full or broken is one warning, and is tried again each minute. While somebody else holds
 * the history, what is to be written waits, for the next second and as long as there is room.
 */
#ifndef SMTPWALL_TELL_H
#define SMTPWALL_TELL_H

#include "config.h"
#include "history.h"
#include "subject.h"

struct teller;

/* An event about which nothing is known yet but its name. */
#define EVENT(name)                                                                                \
	((struct event_record){ .event = (name),                                                   \
				.used = -1,                                                        \
				.pid = -1,                                                         \
				.uid = -1,                                                         \
				.port = -1,                                                        \
				.until_ms = -1,                                                    \
				.count = 1 })

int teller_new(const char *state_dir, struct teller **ret);
void teller_free(struct teller *teller);
/* What sentences say of policies from now on. */
void teller_follow(struct teller *teller, const struct sw_rules *rules, unsigned int ipv6_prefix);
/* Where the names of units and folders are from now on; borrowed. */
void teller_maps(struct teller *teller, struct maps *maps);
/* Opens the history if it is not open, and forgets: all but 200000 events, and what is older
 * than 30 days. */
void teller_each_minute(struct teller *teller);
/*
 * The history, for what else is kept in its file. NULL: it cannot be written now. Who fails to
 * write says so, and gets another one later; `losses` counts, so that it is noticed.
 */
struct history *teller_history(struct teller *teller);
void teller_history_failed(struct teller *teller, int error);
unsigned int teller_history_losses(const struct teller *teller);
/* Time of the latest event of this name, 0: none, or no history. */
int64_t teller_latest_ms(struct teller *teller, const char *event);

/*
 * Tells `record`, whose text is the sentence. time_ms 0: now. With TELL_HISTORY as priority
 * only the history hears of it: somebody else has logged it.
 */
#define TELL_HISTORY (-1)
__attribute__((__format__(__printf__, 4, 5))) void tell(struct teller *teller, int priority,
							const struct event_record *record,
							const char *format, ...);

/* Writes what waited for the history. */
void teller_each_second(struct teller *teller);

/* Around the telling of many things at once. -EBUSY: somebody holds the history, they will wait. */
int teller_begin(struct teller *teller);
void teller_end(struct teller *teller);

/* A subject in every form that a sentence needs; all of it clean. */
struct subject_text {
	char canonical[SUBJECT_LEN]; /* "uid:1004": exact, only here with its quotes */
	char name[SUBJECT_LEN];	     /* "alice", "/var/www/shop", or empty */
	char people[SUBJECT_LEN];    /* "user alice (uid 1004)", "folder /var/www/shop" */
	char handle[SUBJECT_LEN];    /* for `smtpwall unblock`: "user:alice" */
};
void teller_subject(struct teller *teller, const struct sw_subject *subject,
		    struct subject_text *ret);

/* How it names them. */
const struct subject_names *teller_names(const struct teller *teller);

/* NULL if the rules have no such policy or limit (any more). They live until teller_follow. */
const struct sw_policy *teller_policy(const struct teller *teller, __u32 policy);
const struct sw_limit *teller_limit(const struct teller *teller, __u32 policy, __u64 limit);

/*
 * Strangers' text for a sentence that quotes it: cleaned (see clean.h), and without a quote that
 * would end the quotation. Copies at most `from_size` bytes and size - 1.
 */
void printable(char *to, size_t size, const char *from, size_t from_size);

/* A CLOCK_BOOTTIME time on the wall clock as it goes now: ms since 1970. */
int64_t wall_ms(uint64_t boot_time_ns);

#endif
