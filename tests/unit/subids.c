// SPDX-License-Identifier: GPL-2.0-or-later
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "subids.h"
#include "test.h"

#define PATH "/tmp/smtpwall-subids-XXXXXX"

static struct sw_subids *load(const char *text, size_t *ret_warnings)
{
	struct findings findings = {};
	struct sw_subids *subids = NULL;
	char path[] = PATH;
	int fd = mkstemp(path);

	if (!CHECK(fd >= 0) || !CHECK(dprintf(fd, "%s", text) >= 0))
		return NULL;
	close(fd);
	CHECK_EQ(subids_load(path, &findings, &subids), 0);
	*ret_warnings = findings.n_warnings;
	findings_clear(&findings);
	unlink(path);
	return subids;
}

TEST(ranges_are_sorted_and_roots_are_left_out)
{
	size_t warnings;
	struct sw_subids *s = load("2002:200000:65536\nroot:400000:10\n2001:100000:65536\n0:5:5\n",
				   &warnings);

	if (!s)
		return;
	CHECK_EQ(s->start[0], 0);
	CHECK_EQ(s->end[0], 0);
	CHECK_EQ(s->start[1], 100000);
	CHECK_EQ(s->end[1], 165536);
	CHECK_EQ(s->owner[1], 2001);
	CHECK_EQ(s->owner[2], 2002);
	CHECK_EQ(s->start[3], 0xffffffff);
	CHECK_EQ(warnings, 0);
	free(s);
}

TEST(what_overlaps_is_told_and_nonsense_is_passed_over)
{
	size_t warnings;
	struct sw_subids *s = load("2001:100000:10\n2002:100005:10\nnonsense\n:::\n2003:1:0\n"
				   "2004:4294967290:100\nno-such-user-at-all:300000:5\n",
				   &warnings);

	if (!s)
		return;
	CHECK_EQ(s->owner[1], 2001);
	CHECK_EQ(s->start[2], 0xffffffff);
	CHECK_EQ(warnings, 1);
	free(s);
}

TEST(no_file_is_no_range)
{
	struct findings findings = {};
	struct sw_subids *s = NULL;

	CHECK_EQ(subids_load("/nonexistent/subuid", &findings, &s), 0);
	CHECK_EQ(s->start[1], 0xffffffff);
	free(s);
}
