/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A folder of the test's own, that goes with it: in memory, if it may be. */
#ifndef SMTPWALL_UNIT_WORLD_H
#define SMTPWALL_UNIT_WORLD_H

#include "test.h"

#include <stdint.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char dir[40];

static inline void world_run(const char *format)
{
	char command[128];

	snprintf(command, sizeof(command), format, dir);
	if (system(command))
		perror(command);
}

static void world_remove(void)
{
	world_run("rm -rf '%s'");
}

static bool world_in(const char *parent)
{
	snprintf(dir, sizeof(dir), "%s/smtpwall-unit-XXXXXX", parent);
	return mkdtemp(dir) && chmod(dir, 0755) == 0;
}

/* Before those of the tests themselves, which may fill it. */
__attribute__((__constructor__(101))) static void world_make(void)
{
	if (!world_in("/dev/shm") && !world_in("/tmp"))
		abort();
	atexit(world_remove);
}

/* For the next test. */
static inline void world_clear(void)
{
	world_run("rm -rf '%s'/*");
}

/* The path in it; the one before it stays. */
static inline const char *at(const char *path)
{
	static char full[2][4096];
	static int turn;

	turn = !turn;
	snprintf(full[turn], sizeof(full[turn]), "%s%s", dir, path);
	return full[turn];
}

/* A new folder; its inode. */
static inline uint64_t make(const char *path)
{
	struct stat st;

	if (mkdir(at(path), 0755) || stat(at(path), &st))
		abort();
	return st.st_ino;
}

static inline void make_file(const char *path, const char *text)
{
	FILE *f = fopen(at(path), "w");

	if (!f || fputs(text, f) < 0 || fclose(f))
		abort();
}

static inline void make_many(const char *format, int n)
{
	char path[64];
	int i;

	for (i = 0; i < n; i++) {
		snprintf(path, sizeof(path), format, i);
		make(path);
	}
}

static inline void gone(const char *path)
{
	if (rmdir(at(path)))
		abort();
}

static inline double seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

#endif
