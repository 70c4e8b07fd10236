/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdlib.h>

#include "intervals.h"
#include "policy.h"

int edges_add(struct edges *edges, uint32_t first, uint32_t last, unsigned int bit)
{
	if (edges->n + 2 > edges->room) {
		size_t room = edges->room ? 2 * edges->room : 256;
		struct edge *grown = reallocarray(edges->edge, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		edges->edge = grown;
		edges->room = room;
	}
	edges->edge[edges->n++] = (struct edge){ first, 1, bit };
	edges->edge[edges->n++] = (struct edge){ last + 1, -1, bit };
	return 0;
}

void edges_clear(struct edges *edges)
{
	free(edges->edge);
	*edges = (struct edges){};
}

static int compare_edges(const void *a, const void *b)
{
	const struct edge *x = a, *y = b;

	return (x->at > y->at) - (x->at < y->at);
}

size_t edges_compile(struct edges *edges, __u64 always, __u32 *start, __u64 *set, size_t size)
{
	size_t count[64] = {}, n = 1, i, next;
	__u64 members = 0, told = always;

	if (edges->n)
		qsort(edges->edge, edges->n, sizeof(*edges->edge), compare_edges);
	start[0] = 0;
	set[0] = always;
	for (i = 0; i < edges->n; i = next) {
		uint32_t at = edges->edge[i].at;

		for (next = i; next < edges->n && edges->edge[next].at == at; next++) {
			const struct edge *e = &edges->edge[next];
			__u64 bit = 1ULL << e->bit;

			count[e->bit] += e->delta;
			members = count[e->bit] ? members | bit : members & ~bit;
		}
		if ((members | always) == told)
			continue;
		told = members | always;
		n += at != 0;
		if (n <= size) {
			start[n - 1] = at;
			set[n - 1] = told;
		}
	}
	for (i = n; i < size; i++) {
		start[i] = UINT32_MAX;
		set[i] = always;
	}
	return n;
}

__u64 intervals_find(const __u32 *start, const __u64 *set, size_t n, __u32 id)
{
	size_t low = 0, high = n; /* start[low] <= id, and id < start[high] if there is one */

	while (high - low > 1) {
		size_t middle = low + (high - low) / 2;

		if (start[middle] <= id)
			low = middle;
		else
			high = middle;
	}
	return set[low];
}
