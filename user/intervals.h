/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ranges of ids, each of some policies, to the sorted disjoint intervals of abi.h. Pure.
 * (intervals_find() is declared in policy.h, for all who read the tables.)
 */
#ifndef SMTPWALL_INTERVALS_H
#define SMTPWALL_INTERVALS_H

#include <stddef.h>
#include <stdint.h>

#include <smtpwall/abi.h>

#define ID_MOST (UINT32_MAX - 1) /* UINT32_MAX is nobody's */

/* Where a range of one policy begins (delta 1) or has ended (-1). */
struct edge {
	uint32_t at;
	int8_t delta;
	uint8_t bit;
};

struct edges {
	struct edge *edge;
	size_t n, room;
};

/* The ids first..last, at most ID_MOST, are matched by policy `bit`. */
int edges_add(struct edges *edges, uint32_t first, uint32_t last, unsigned int bit);
void edges_clear(struct edges *edges);

/*
 * Fills the tables with the intervals of all edges (which it sorts), `always` in each set.
 * Returns how many there are; more than `size`: they did not fit.
 */
size_t edges_compile(struct edges *edges, __u64 always, __u32 *start, __u64 *set, size_t size);

#endif
