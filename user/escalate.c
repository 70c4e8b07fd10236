// SPDX-License-Identifier: GPL-2.0-or-later
#include "escalate.h"

#include <errno.h>
#include <sqlite3.h>

#define KEEP_MS (366LL * 24 * 3600 * 1000) /* `escalate_within` is at most 52w */

__u16 escalate_level(const struct policy_spec *policy, unsigned int earlier)
{
	return earlier < policy->n_escalate ? earlier : policy->n_escalate;
}

uint64_t escalate_until(const struct policy_spec *policy, __u16 level, const struct sw_block *block)
{
	if (!level)
		return block->until_ns;
	if (!policy->escalate_ns[level - 1])
		return 0;
	return block->since_ns + policy->escalate_ns[level - 1];
}

/* Runs a statement with its parameters: subject, policy, then numbers. One number comes back. */
static int run(struct history *history, const char *sql, const char *subject, const char *policy,
	       const int64_t *number, int n, unsigned int *ret)
{
	sqlite3_stmt *s = NULL;
	int code = sqlite3_prepare_v2(history_db(history), sql, -1, &s, NULL), at = 1;

	if (code == SQLITE_OK) {
		if (subject)
			sqlite3_bind_text(s, at++, subject, -1, SQLITE_STATIC);
		if (policy)
			sqlite3_bind_text(s, at++, policy, -1, SQLITE_STATIC);
		for (int i = 0; i < n; i++)
			sqlite3_bind_int64(s, at++, number[i]);
		code = sqlite3_step(s);
		if (code == SQLITE_ROW && ret)
			*ret = sqlite3_column_int(s, 0);
	}
	sqlite3_finalize(s);
	return history_error(code);
}

int escalate_note(struct history *history, const char *subject, const char *policy, int64_t time_ms,
		  int64_t within_ms, unsigned int *ret_earlier)
{
	const int64_t span[] = { time_ms - within_ms, time_ms };
	const int64_t old = time_ms - KEEP_MS;
	int r;

	r = run(history,
		"SELECT count(*) FROM offence WHERE subject = ? AND policy = ? AND time_ms >= ?"
		" AND time_ms < ?",
		subject, policy, span, 2, ret_earlier);
	if (r == 0)
		r = run(history, "INSERT OR IGNORE INTO offence VALUES (?, ?, ?)", subject, policy,
			&time_ms, 1, NULL);
	return r < 0 ? r
		     : run(history, "DELETE FROM offence WHERE time_ms < ?", NULL, NULL, &old, 1,
			   NULL);
}

int escalate_forgive(struct history *history, const char *subject)
{
	if (!subject)
		return run(history, "DELETE FROM offence", NULL, NULL, NULL, 0, NULL);
	return run(history, "DELETE FROM offence WHERE subject = ?", subject, NULL, NULL, 0, NULL);
}
