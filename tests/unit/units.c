/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The tree of cgroups, with directories in their place: they come, go and have numbers alike. */
#include "world.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "path.h"
#include "units.h"

/* ---- the kernel's map ---- */

#define ROWS 4096
static struct unit_row map[ROWS];
static size_t n_map, n_puts;

static int put(const struct sw_cgroup *cgroup, const struct sw_unit_match *match, void *userdata)
{
	size_t i;

	(void)userdata;
	n_puts++;
	for (i = 0; i < n_map && map[i].cgroup.id != cgroup->id; i++)
		;
	if (match && i < ROWS) {
		map[i] = (struct unit_row){ *cgroup, *match };
		n_map += i == n_map;
	} else if (!match && i < n_map) {
		map[i] = map[--n_map];
	}
	return 0;
}

static const struct sw_unit_match *row(uint64_t id)
{
	static const struct sw_unit_match none;
	size_t i;

	for (i = 0; i < n_map; i++)
		if (map[i].cgroup.id == id)
			return &map[i].match;
	return &none;
}

static struct globs globs;
static sd_event *loop;

static void take_rows(struct units *units)
{
	struct unit_row *rows = NULL;
	size_t n = 0;

	if (!CHECK_EQ(units_rows(units, &globs, &rows, &n), 0) || !CHECK(n <= ROWS))
		exit(EXIT_FAILURE);
	memcpy(map, rows, n * sizeof(*rows));
	n_map = n;
	n_puts = 0;
	free(rows);
}

static struct units *start(const char *attached)
{
	struct units *units = NULL;

	if (!CHECK_EQ(units_new(dir, at(attached), put, NULL, &units), 0))
		exit(EXIT_FAILURE);
	take_rows(units);
	if (!CHECK(sd_event_new(&loop) >= 0) || !CHECK_EQ(units_watch(units, loop), 0))
		exit(EXIT_FAILURE);
	return units;
}

static void stop(struct units *units)
{
	units_free(units);
	sd_event_unref(loop);
	globs_clear(&globs);
	n_map = 0;
}

/* What has happened is heard, in as many pieces as it takes. */
static void hear(void)
{
	while (sd_event_run(loop, 250000) > 0)
		;
}

/* ---- what is a unit ---- */

TEST(services_and_what_globs_match_are_units)
{
	uint64_t slice, service, below, docker, other, plain;
	struct units *units;

	slice = make("/a.slice");
	service = make("/a.slice/x.service");
	below = make("/a.slice/x.service/y.scope");
	docker = make("/a.slice/docker-1.scope");
	other = make("/m");
	plain = make("/m/one");
	globs_add(&globs, "/m/*", 1, 0);
	globs_add(&globs, "docker-*.scope", 2, 0);
	globs_add(&globs, "/a.slice/docker-1.scope", SW_EXEMPT_BIT, 0);
	units = start("");

	CHECK_EQ(n_map, 3);
	CHECK(row(service)->unit == unit_hash("/a.slice/x.service"));
	CHECK(row(service)->set == 0);
	CHECK(row(docker)->unit == unit_hash("/a.slice/docker-1.scope"));
	CHECK(row(docker)->set == (2 | SW_EXEMPT_BIT));
	CHECK(row(plain)->unit == unit_hash("/m/one"));
	CHECK(row(plain)->set == 1);
	CHECK(!row(slice)->unit && !row(below)->unit && !row(other)->unit);
	gone("/a.slice/x.service/y.scope");
	gone("/a.slice/x.service");
	gone("/a.slice/docker-1.scope");
	gone("/a.slice");
	gone("/m/one");
	gone("/m");
	stop(units);
}

TEST(the_outermost_unit_counts_and_what_matches_above_matches_below)
{
	uint64_t outer, inner;
	struct units *units;

	outer = make("/pod");
	make("/pod/x");
	inner = make("/pod/x/docker-1.scope");
	globs_add(&globs, "pod", 1, 0);
	globs_add(&globs, "docker-*.scope", 2, 0);
	units = start("");
	CHECK_EQ(n_map, 2);
	CHECK(row(outer)->set == 1 && row(outer)->unit == unit_hash("/pod"));
	CHECK(row(inner)->set == 3 && row(inner)->unit == unit_hash("/pod"));
	gone("/pod/x/docker-1.scope");
	gone("/pod/x");
	gone("/pod");
	hear();
	CHECK_EQ(n_map, 0);
	stop(units);
}

TEST(only_what_is_above_or_below_the_programs_is_looked_at)
{
	uint64_t above, below;
	struct units *units;

	above = make("/lab.service");
	make("/lab.service/machine");
	below = make("/lab.service/machine/one");
	make("/lab.service/other");
	make("/lab.service/other/one");
	make("/elsewhere.service");
	globs_add(&globs, "one", 1, 0);
	units = start("/lab.service/machine");
	CHECK_EQ(n_map, 2);
	CHECK(row(above)->unit == unit_hash("/lab.service"));
	CHECK(row(below)->unit == unit_hash("/lab.service") && row(below)->set == 1);
	stop(units);
	gone("/lab.service/machine/one");
	gone("/lab.service/machine");
	gone("/lab.service/other/one");
	gone("/lab.service/other");
	gone("/lab.service");
	gone("/elsewhere.service");
}

/* ---- coming and going ---- */

TEST(a_unit_that_comes_is_told_and_one_that_goes)
{
	struct units *units;
	uint64_t first, again;

	globs_add(&globs, "docker-*.scope", 1, 0);
	units = start("");
	make("/s");
	first = make("/s/docker-1.scope"); /* before anybody could watch its parent */
	hear();
	CHECK(row(first)->set == 1);
	gone("/s/docker-1.scope");
	hear();
	CHECK_EQ(n_map, 0);
	again = make("/s/docker-1.scope");
	hear();
	CHECK(row(again)->unit == unit_hash("/s/docker-1.scope"));
	gone("/s/docker-1.scope");
	again = make("/s/docker-1.scope"); /* heard of both at once */
	make("/s/docker-1.scope/x");
	hear();
	CHECK_EQ(n_map, 1);
	CHECK(row(again)->unit == unit_hash("/s/docker-1.scope"));
	make("/s/docker-1.scope/x/docker-2.scope");
	hear();
	CHECK_EQ(n_map, 2);
	gone("/s/docker-1.scope/x/docker-2.scope");
	gone("/s/docker-1.scope/x");
	gone("/s/docker-1.scope");
	gone("/s");
	hear();
	CHECK_EQ(n_map, 0);
	stop(units);
}

TEST(new_globs_are_about_those_that_are_there)
{
	struct units *units;
	uint64_t one, two;

	one = make("/one");
	two = make("/two");
	globs_add(&globs, "one", 1, 0);
	units = start("");
	CHECK(row(one)->set == 1 && !row(two)->unit);
	globs_clear(&globs);
	globs_add(&globs, "two", 4, 0);
	take_rows(units);
	CHECK(row(two)->set == 4 && !row(one)->unit);
	gone("/one");
	gone("/two");
	stop(units);
}

/* ---- who names them ---- */

TEST(names_that_others_than_root_give_are_not_believed)
{
	uint64_t user, mail, later;
	struct units *units;

	make("/user.slice");
	user = make("/user.slice/user@1000.service");
	if (chown(at("/user.slice/user@1000.service"), 1000, 1000))
		return skip("chown needs root");
	mail = make("/user.slice/user@1000.service/mail.scope");
	globs_add(&globs, "mail.scope", SW_EXEMPT_BIT, 0);
	units = start("");
	CHECK_EQ(n_map, 1);
	CHECK(row(user)->unit == unit_hash("/user.slice/user@1000.service"));
	CHECK(!row(mail)->unit);
	/* Made by root, given away, and only then filled. */
	make("/later");
	hear();
	if (chown(at("/later"), 1000, 1000))
		abort();
	later = make("/later/mail.scope");
	hear();
	CHECK(!row(later)->unit);
	units_look(units);
	CHECK(!row(later)->unit);
	CHECK_EQ(n_map, 1);
	gone("/user.slice/user@1000.service/mail.scope");
	gone("/user.slice/user@1000.service");
	gone("/user.slice");
	gone("/later/mail.scope");
	gone("/later");
	stop(units);
}

/* ---- how many ---- */

static int discard(const struct sw_cgroup *cgroup, const struct sw_unit_match *match,
		   void *userdata)
{
	(void)cgroup, (void)match, (void)userdata;
	n_puts++;
	return 0;
}

/* More than fit into the queue of inotify: those are found by looking. */
TEST(thousands_are_found_fast_and_a_full_queue_loses_none)
{
	struct units *units = NULL;
	struct unit_row *rows;
	double before;
	size_t n;

	globs_add(&globs, "x*", 1, 0);
	make_many("/y%d", 2000);
	before = seconds();
	if (!CHECK_EQ(units_new(dir, dir, discard, NULL, &units), 0) ||
	    !CHECK_EQ(units_rows(units, &globs, &rows, &n), 0))
		return;
	printf("# 2 000 cgroups read in %.3f s\n", seconds() - before);
	free(rows);
	sd_event_new(&loop);
	units_watch(units, loop);
	make_many("/x%d", 20000);
	n_puts = 0;
	before = seconds();
	hear();
	printf("# 20 000 that came heard of in %.3f s\n", seconds() - before);
	CHECK_EQ(n_puts, 20000);
	before = seconds();
	units_look(units);
	printf("# 22 000 looked at again in %.3f s\n", seconds() - before);
	CHECK_EQ(n_puts, 20000);
	stop(units);
}

/* ---- a flood ---- */

#define LEFT 3000

static void repeat_one(const char *path)
{
	make(path);
	gone(path);
}

/* Makes cgroups and removes them until it is told to end, then leaves many. */
static void flood(int end)
{
	char byte, path[64];
	unsigned int i;

	fcntl(end, F_SETFL, O_NONBLOCK);
	for (i = 0; read(end, &byte, 1) < 0; i++) {
		snprintf(path, sizeof(path), "/f/z%u", i % 1000);
		repeat_one(path);
	}
	make_many("/f/z%d", LEFT);
	_exit(0);
}

static pid_t flood_start(int *ret_end)
{
	int end[2];
	pid_t pid;

	if (pipe(end))
		abort();
	pid = fork();
	if (pid == 0) {
		close(end[1]);
		flood(end[0]);
	}
	close(end[0]);
	*ret_end = end[1];
	return pid;
}

static double busy(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

/* Of our own time: what others take from us is not ours to answer for. */
static double ticked, longest;

static int on_tick(sd_event_source *source, uint64_t usec, void *userdata)
{
	double now = busy();

	(void)usec, (void)userdata;
	if (now - ticked > longest)
		longest = now - ticked;
	ticked = now;
	sd_event_source_set_time_relative(source, 10000);
	return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void run_for(double span)
{
	double end = seconds() + span;

	while (seconds() < end)
		sd_event_run(loop, 10000);
}

TEST(a_flood_delays_nobody_and_loses_nothing)
{
	double before, used, made;
	sd_event_source *tick;
	struct units *units;
	uint64_t calm;
	pid_t pid;
	int end;

	make("/f");
	make("/calm");
	globs_add(&globs, "z*", 1, 0);
	units = start("");
	sd_event_add_time_relative(loop, &tick, CLOCK_MONOTONIC, 0, 1000, on_tick, NULL);
	pid = flood_start(&end);
	before = ticked = busy();
	run_for(0.5);
	made = seconds();
	calm = make("/calm/z");
	while (!row(calm)->set && seconds() < made + 10)
		sd_event_run(loop, 10000);
	printf("# seen in the flood after %.3f s\n", seconds() - made);
	CHECK(row(calm)->set == 1);
	run_for(0.5);
	used = (busy() - before) / (seconds() - made + 0.5);
	printf("# %.0f %% of a processor, others waited %.3f s at most\n", 100 * used, longest);
	CHECK(longest < 0.5);
	sd_event_source_disable_unref(tick);
	close(end);
	waitpid(pid, NULL, 0);
	hear();
	CHECK_EQ(n_map, LEFT + 1);
	stop(units);
}
