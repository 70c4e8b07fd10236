// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/bpf.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "inquest.h"
#include "test.h"

#define SECOND_USEC 1000000ULL

static unsigned int found_n;
static char found_last[256], found_ids[1024]; /* "1 2 " */

static void found(const char *json, void *userdata)
{
	size_t used = strlen(found_ids);
	int id;

	(void)userdata;
	found_n++;
	if (CHECK(sscanf(json, "{\"id\":%d,", &id) == 1))
		snprintf(found_ids + used, sizeof(found_ids) - used, "%d ", id);
	snprintf(found_last, sizeof(found_last), "%s", json);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void ask_of(struct inquest *inquest, __u64 keeper, uint64_t id)
{
	struct sw_evidence record = {
		.id = id,
		.pid = getpid(),
		.uid = keeper,
		.time_ns = now_ns(),
	};
	const struct sw_evidence_key key = { .id = keeper };

	inquest_ask(inquest, &key, &record);
}

static void ask(struct inquest *inquest, uint64_t id)
{
	ask_of(inquest, id, id);
}

static struct inquest *start(sd_event **ret_loop)
{
	struct inquest *inquest = NULL;

	found_n = 0;
	found_ids[0] = '\0';
	sd_event_new(ret_loop);
	if (inquest_new(*ret_loop, found, NULL, &inquest) < 0)
		abort();
	return inquest;
}

/* Runs the loop until so many were found, or for so long. */
static void run(sd_event *loop, unsigned int wanted, uint64_t usec)
{
	uint64_t end = now_ns() + usec * 1000;

	while (found_n < wanted && now_ns() < end)
		sd_event_run(loop, 50000);
}

/* The process that looks, or 0. */
static pid_t looker(void)
{
	char path[64];
	int pid = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%d", &pid) != 1)
			pid = 0;
		fclose(f);
	}
	return pid;
}

static void end(struct inquest *inquest, sd_event *loop)
{
	inquest_free(inquest);
	sd_event_unref(loop);
	while (waitpid(-1, NULL, 0) > 0)
		;
}

TEST(who_is_asked_about_is_told_of_and_the_queue_has_an_end)
{
	sd_event *loop;
	struct inquest *inquest = start(&loop);
	int i;

	for (i = 1; i <= 100; i++)
		ask(inquest, i);
	inquest_go(inquest);
	ask(inquest, 1000); /* while it runs */
	run(loop, 65, 10 * SECOND_USEC);
	CHECK_EQ(found_n, 65);
	CHECK_CONTAINS(found_last, "\"id\":1000,");
	CHECK_CONTAINS(found_last, "\"parents\":[");
	end(inquest, loop);
}

TEST(what_could_not_be_started_once_is_started_again)
{
	sd_event *loop;
	struct inquest *inquest = start(&loop);
	struct rlimit limit, none;
	int free_fd;

	ask(inquest, 1);
	inquest_go(inquest);
	while (looker())
		sd_event_run(loop, 50000);

	getrlimit(RLIMIT_NOFILE, &limit);
	none = limit;
	free_fd = dup(STDIN_FILENO);
	none.rlim_cur = free_fd;
	close(free_fd);
	setrlimit(RLIMIT_NOFILE, &none);
	ask(inquest, 2);
	inquest_go(inquest);
	setrlimit(RLIMIT_NOFILE, &limit);
	CHECK_EQ(looker(), 0);

	ask(inquest, 3);
	inquest_go(inquest);
	run(loop, 2, 10 * SECOND_USEC);
	CHECK_EQ(found_n, 2);
	CHECK_CONTAINS(found_ids, "3 ");
	end(inquest, loop);
}

TEST(who_asks_much_lets_others_go_before_and_fills_no_queue)
{
	sd_event *loop;
	struct inquest *inquest = start(&loop);
	int i;

	for (i = 1; i <= 64; i++)
		ask_of(inquest, 1, i);
	ask_of(inquest, 2, 100);
	ask_of(inquest, 3, 200);
	inquest_go(inquest);
	run(loop, 10, 10 * SECOND_USEC);
	run(loop, 11, SECOND_USEC / 5); /* and no more */
	CHECK_STR(found_ids, "1 2 100 200 3 4 5 6 7 8 ");
	end(inquest, loop);
}

TEST(one_that_does_not_answer_is_given_up_and_the_others_are_asked)
{
	sd_event *loop;
	struct inquest *inquest = start(&loop);
	int i;

	ask_of(inquest, 1, 1);
	ask_of(inquest, 1, 2);
	for (i = 100; i < 110; i++)
		ask(inquest, i);
	inquest_go(inquest);
	if (!CHECK(looker() > 0))
		return;
	kill(looker(), SIGSTOP); /* wherever it is: one question, or both of the first keeper */
	run(loop, 12, 20 * SECOND_USEC);
	CHECK(found_n >= 10);
	CHECK_CONTAINS(found_ids, "109 ");
	end(inquest, loop);
}

TEST(who_ends_leaves_no_process)
{
	sd_event *loop;
	struct inquest *inquest = start(&loop);

	ask(inquest, 1);
	inquest_go(inquest);
	CHECK(looker() > 0);
	end(inquest, loop);
	CHECK_EQ(looker(), 0);
}
