// SPDX-License-Identifier: GPL-2.0-or-later
/* The ladder, and which earlier blocks count. */
#include <sys/wait.h>
#include <unistd.h>

#include "escalate.h"
#include "test.h"

#define HOUR (3600ULL * 1000000000)
#define DAY_MS (24 * 3600 * 1000LL)

TEST(each_block_takes_one_step_and_the_last_repeats)
{
	struct policy_spec policy = { .escalate_ns = { 2 * HOUR, 24 * HOUR }, .n_escalate = 2 };
	struct sw_block block = { .since_ns = 100, .until_ns = 100 + HOUR };

	CHECK_EQ(escalate_level(&policy, 0), 0);
	CHECK_EQ(escalate_until(&policy, 0, &block), 100 + HOUR);
	CHECK_EQ(escalate_level(&policy, 1), 1);
	CHECK_EQ(escalate_until(&policy, 1, &block), 100 + 2 * HOUR);
	CHECK_EQ(escalate_level(&policy, 2), 2);
	CHECK_EQ(escalate_level(&policy, 7), 2);
	CHECK_EQ(escalate_until(&policy, 2, &block), 100 + 24 * HOUR);
	policy.escalate_ns[1] = 0;
	CHECK_EQ(escalate_until(&policy, 2, &block), 0);
}

static struct history *history;
static char dir[] = "/tmp/smtpwall-escalate-XXXXXX";

static void world_remove(void)
{
	char command[128];

	history_close(history);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	if (system(command) != 0)
		abort();
}

static int earlier(const char *subject, const char *policy, int64_t time_ms)
{
	unsigned int n = 99;

	CHECK_EQ(escalate_note(history, subject, policy, time_ms, 7 * DAY_MS, &n), 0);
	return n;
}

TEST(blocks_of_this_subject_and_policy_within_the_time_count)
{
	const int64_t now = 1700000000000;
	struct history *editor;

	if (!CHECK(mkdtemp(dir)) || !CHECK_EQ(history_open(dir, true, &history), 0))
		return;
	atexit(world_remove);
	CHECK_EQ(earlier("uid:1", "a", now), 0);
	CHECK_EQ(earlier("uid:1", "a", now), 0); /* the same once more */
	CHECK_EQ(earlier("uid:1", "a", now + DAY_MS), 1);
	CHECK_EQ(earlier("uid:1", "b", now + DAY_MS), 0);
	CHECK_EQ(earlier("uid:2", "a", now + DAY_MS), 0);
	CHECK_EQ(earlier("uid:1", "a", now + 7 * DAY_MS), 2);
	CHECK_EQ(earlier("uid:1", "a", now + 8 * DAY_MS), 2); /* the first is too long ago */

	if (!CHECK_EQ(history_edit(dir, &editor), 0))
		return;
	CHECK_EQ(escalate_forgive(editor, "uid:1"), 0);
	CHECK_EQ(earlier("uid:1", "a", now + 9 * DAY_MS), 0);
	CHECK_EQ(earlier("uid:2", "a", now + 8 * DAY_MS), 1);
	CHECK_EQ(escalate_forgive(editor, NULL), 0);
	CHECK_EQ(earlier("uid:2", "a", now + 8 * DAY_MS + 1000), 0);
	history_close(editor);
}
