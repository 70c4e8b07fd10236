/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "known.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>

#include "cleanup.h"

/* The next row, or false. Others take rows out meanwhile: then it may begin anew. */
static bool next_row(int fd, void *key, bool *begun, void *value)
{
	while (bpf_map_get_next_key(fd, *begun ? key : NULL, key) == 0) {
		*begun = true;
		if (bpf_map_lookup_elem(fd, key, value) == 0)
			return true;
	}
	return false;
}

static int count_sites(struct maps *maps, size_t *ret)
{
	_cleanup_close_ int fd = -1;
	struct sw_place place;
	struct sw_dir dir;
	bool begun = false;
	int r = maps_places(maps, &fd);

	for (*ret = 0; r == 0 && next_row(fd, &dir, &begun, &place);)
		*ret += !!(place.flags & SW_PLACE_SITE);
	return r;
}

static int order(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static size_t distinct(__u64 *unit, size_t n)
{
	size_t i, count = 0;

	if (n)
		qsort(unit, n, sizeof(*unit), order);
	for (i = 0; i < n; i++)
		count += !i || unit[i] != unit[i - 1];
	return count;
}

static int count_units(struct maps *maps, size_t *ret)
{
	_cleanup_free_ __u64 *unit = NULL;
	__u64 *grown;
	_cleanup_close_ int fd = -1;
	struct sw_unit_match match;
	struct sw_cgroup cgroup;
	size_t n = 0, room = 0;
	bool begun = false;
	int r = maps_units(maps, &fd);

	while (r == 0 && next_row(fd, &cgroup, &begun, &match)) {
		if (n == room) {
			room = room ? 2 * room : 64;
			grown = reallocarray(unit, room, sizeof(*unit));
			if (!grown)
				return -ENOMEM;
			unit = grown;
		}
		unit[n++] = match.unit;
	}
	*ret = distinct(unit, n);
	return r;
}

int known_count(struct maps *maps, struct known *ret)
{
	int r = count_sites(maps, &ret->sites);

	return r < 0 ? r : count_units(maps, &ret->units);
}
