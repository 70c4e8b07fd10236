/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One limit of a sender as its window has it now, in numbers and in words. Pure. */
#ifndef SMTPWALL_CLI_USED_H
#define SMTPWALL_CLI_USED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/bpf.h>

#include <smtpwall/abi.h>

struct used {
	const struct sw_policy *policy;
	const struct sw_limit *limit;
	enum sw_road road;
	uint64_t used;	      /* of a percentage: percent, above its limit only if it is over */
	uint64_t of;	      /* of a percentage: the messages that it is of */
	uint64_t frees_at_ns; /* boot time; 0: it is not over; UINT64_MAX: never */
};

/* Policy and limit are borrowed. */
void used_read(const struct sw_policy *policy, const struct sw_limit *limit, enum sw_road road,
	       const struct sw_windows *windows, uint64_t now_ns, struct used *ret);

/* What `used` may come to. */
uint64_t used_max(const struct used *used);
/* How near to its end the limit is; 1 is there. */
double used_share(const struct used *used);

#define USED_WORDS_LEN 192
/* "It used 12 of the limit '100 messages per 5m'",
 * "34% of 41 messages rejected, limit 30% of at least 20 in 1h" */
void used_words(char text[static USED_WORDS_LEN], const struct used *used);
/* Short, for a table: "12% of 100 messages per 5m", "34%, 30% rejects per 1h of …" */
void used_brief(char text[static USED_WORDS_LEN], const struct used *used);

#endif
