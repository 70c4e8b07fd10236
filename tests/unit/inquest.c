// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/bpf.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "inquest.h"
#include "test.h"

#define SECOND_USEC 1000000ULL

static unsigned int found_n;
static char found_last[256];

static void found(const char *json, void *userdata)
{
	(void)userdata;
	found_n++;
	snprintf(found_last, sizeof(found_last), "%s", json);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void ask(struct inquest *inquest, uint64_t id)
{
	struct sw_evidence record = { .id = id, .pid = getpid(), .time_ns = now_ns() };

	inquest_ask(inquest, &record);
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
	struct inquest *inquest;
	sd_event *loop;
	int i;

	sd_event_new(&loop);
	found_n = 0;
	CHECK_EQ(inquest_new(loop, found, NULL, &inquest), 0);
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

TEST(one_that_does_not_answer_is_given_up_and_the_next_is_asked)
{
	struct inquest *inquest;
	sd_event *loop;
	int i;

	sd_event_new(&loop);
	found_n = 0;
	CHECK_EQ(inquest_new(loop, found, NULL, &inquest), 0);
	for (i = 1; i <= 64; i++)
		ask(inquest, i);
	inquest_go(inquest);
	if (!CHECK(looker() > 0))
		return;
	kill(looker(), SIGSTOP);
	run(loop, 64, SECOND_USEC);
	found_n = 0;
	ask(inquest, 1000);
	run(loop, 1, 8 * SECOND_USEC);
	CHECK_EQ(found_n, 1);
	CHECK_CONTAINS(found_last, "\"id\":1000,");
	end(inquest, loop);
}

TEST(who_ends_leaves_no_process)
{
	struct inquest *inquest;
	sd_event *loop;

	sd_event_new(&loop);
	CHECK_EQ(inquest_new(loop, found, NULL, &inquest), 0);
	ask(inquest, 1);
	inquest_go(inquest);
	CHECK(looker() > 0);
	end(inquest, loop);
	CHECK_EQ(looker(), 0);
}
