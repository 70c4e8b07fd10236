// SPDX-License-Identifier: GPL-2.0-or-later
#include "subids.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

struct range {
	uint32_t start, end, owner;
};

struct ranges {
	struct range *range;
	size_t n;
};

static int compare(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

/* A name or a number, as newuidmap(1) takes them. */
static bool owner_of(const char *text, uint32_t *ret)
{
	struct passwd *user = getpwnam(text);
	char rest;

	if (user)
		*ret = user->pw_uid;
	return user || sscanf(text, "%u%c", ret, &rest) == 1;
}

static int add(struct ranges *ranges, const char *owner, uint64_t start, uint64_t count)
{
	struct range range = { .start = start }, *grown;

	if (!count || start + count >= UINT32_MAX || !owner_of(owner, &range.owner) || !range.owner)
		return 0;
	range.end = start + count;
	grown = reallocarray(ranges->range, ranges->n + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	ranges->range = grown;
	grown[ranges->n++] = range;
	return 0;
}

static int read_ranges(FILE *in, struct ranges *ranges)
{
	_cleanup_free_ char *line = NULL;
	unsigned long long start, count;
	char owner[256];
	size_t size = 0;
	int r = 0;

	while (r == 0 && getline(&line, &size, in) >= 0)
		if (sscanf(line, "%255[^:]:%llu:%llu", owner, &start, &count) == 3 &&
		    start < UINT32_MAX && count < UINT32_MAX)
			r = add(ranges, owner, start, count);
	return r;
}

static void fill(struct sw_subids *subids, const struct ranges *ranges, const char *path,
		 struct findings *findings)
{
	size_t n = 1; /* the first is empty, so that a search always finds one */

	memset(subids->start, 0xff, sizeof(subids->start));
	subids->start[0] = 0;
	for (size_t i = 0; i < ranges->n; i++) {
		const struct range *range = &ranges->range[i];

		if (n == SW_SUBIDS || range->start < subids->end[n - 1]) {
			findings_add(findings, false,
				     "%s: the range of uid %u from %u on %s: its ids are counted "
				     "by themselves",
				     path, range->owner, range->start,
				     n == SW_SUBIDS ? "is one too many" : "overlaps another");
			continue;
		}
		subids->start[n] = range->start;
		subids->end[n] = range->end;
		subids->owner[n++] = range->owner;
	}
}

int subids_load(const char *path, struct findings *findings, struct sw_subids **ret)
{
	_cleanup_free_ struct sw_subids *subids = calloc(1, sizeof(*subids));
	_cleanup_fclose_ FILE *in = fopen(path, "re");
	struct ranges ranges = {};
	int r = subids ? 0 : -ENOMEM;

	if (r == 0 && in)
		r = read_ranges(in, &ranges);
	if (r == 0) {
		if (ranges.n)
			qsort(ranges.range, ranges.n, sizeof(*ranges.range), compare);
		fill(subids, &ranges, path, findings);
		*ret = take_pointer(&subids);
	}
	free(ranges.range);
	return r;
}
