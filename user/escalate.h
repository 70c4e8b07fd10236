/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is blocked again is blocked for longer. The kernel blocks for the policy's `block_for`; the
 * daemon, which remembers earlier blocks, then moves the end of the block.
 */
#ifndef SMTPWALL_ESCALATE_H
#define SMTPWALL_ESCALATE_H

#include <stdint.h>

#include "config.h"
#include "history.h"

/*
 * Pure. Steps of the ladder that a block takes after `earlier` others, and when it ends then (0:
 * never). Without a step it ends when it would have.
 */
__u16 escalate_level(const struct policy_spec *policy, unsigned int earlier);
uint64_t escalate_until(const struct policy_spec *policy, __u16 level,
			const struct sw_block *block);

/*
 * Notes a block of a subject (canonical) at `time_ms`, and says how many it had of this policy
 * within `within_ms` before. Noting it again counts once.
 */
int escalate_note(struct history *history, const char *subject, const char *policy, int64_t time_ms,
		  int64_t within_ms, unsigned int *ret_earlier);
/* Blocks so far do not count any more. NULL: of everybody. */
int escalate_forgive(struct history *history, const char *subject);

#endif
