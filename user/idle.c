// SPDX-License-Identifier: GPL-2.0-or-later
#include "idle.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>

#define SECOND_NS 1000000000ULL
#define EACH_NS (60 * SECOND_NS)
#define UNSEEN_NS (3600 * SECOND_NS)
#define AT_ONCE 1000 /* rows looked at in one sweep: the loop must go on */

struct idle {
	struct maps *maps;
	bool addresses;	   /* were read last, not windows */
	uint64_t begun_ns; /* this round of both */
	/* What is left to look at, of one of both. */
	struct windows_row *windows;
	struct ledger_row *address;
	size_t n, next;
	uint64_t since_ns; /* addresses that were not seen since then */
};

int idle_new(struct maps *maps, struct idle **ret)
{
	struct idle *idle = calloc(1, sizeof(*idle));

	if (!idle)
		return -ENOMEM;
	*idle = (struct idle){ .maps = maps, .addresses = true };

	*ret = idle;
	return 0;
}

static void forget(struct idle *idle)
{
	free(idle->windows);
	free(idle->address);
	idle->windows = NULL;
	idle->address = NULL;
	idle->n = idle->next = 0;
}

void idle_free(struct idle *idle)
{
	if (!idle)
		return;
	forget(idle);
	free(idle);
}

void idle_maps(struct idle *idle, struct maps *maps)
{
	idle->maps = maps;
}

/* ---- addresses ---- */

static bool is_overflow(const struct sw_subject *subject)
{
	return IN6_IS_ADDR_UNSPECIFIED((const struct in6_addr *)subject->addr);
}

/* An hour before now may be before the boot: less than 0. */
static bool was_seen(const struct sw_ledger *ledger, uint64_t since_ns)
{
	return (int64_t)(ledger->first_seen_ns - since_ns) >= 0 ||
	       (int64_t)(ledger->last_seen_ns - since_ns) >= 0;
}

size_t idle_addresses(struct ledger_row *row, size_t n, uint32_t room, uint64_t now_ns)
{
	size_t own = 0, unseen = 0;

	for (size_t i = 0; i < n; i++)
		if (!row[i].subject.uid) /* not one that a network shares */
			row[own++] = row[i];
	if (own < room - room / 4)
		return 0;
	for (size_t i = 0; i < own; i++)
		if (!is_overflow(&row[i].subject) && !was_seen(&row[i].ledger, now_ns - UNSEEN_NS))
			row[unseen++] = row[i];
	return unseen;
}

static int read_addresses(struct idle *idle, uint64_t now_ns)
{
	uint32_t room;
	int r = maps_ledger_room(idle->maps, SW_KIND_IP, &room);

	r = r < 0 ? r : maps_ledger(idle->maps, SW_KIND_IP, &idle->address, &idle->n);
	if (r < 0)
		return r;
	idle->n = idle_addresses(idle->address, idle->n, room, now_ns);
	idle->since_ns = now_ns - UNSEEN_NS;
	return 0;
}

/* ---- both ---- */

/* Each minute, and one after the other: they may be large. */
static int read_next(struct idle *idle, uint64_t now_ns)
{
	if (idle->addresses && idle->begun_ns && now_ns - idle->begun_ns < EACH_NS)
		return 0;
	if (idle->addresses)
		idle->begun_ns = now_ns;
	idle->addresses = !idle->addresses;
	forget(idle);
	if (idle->addresses)
		return read_addresses(idle, now_ns);
	return maps_windows(idle->maps, now_ns, &idle->windows, &idle->n);
}

static int retire_next(struct idle *idle, uint64_t now_ns)
{
	size_t i = idle->next++;

	if (idle->addresses)
		return maps_address_retire(idle->maps, &idle->address[i].subject, idle->since_ns);
	if (!idle->windows[i].idle)
		return 0;
	return maps_windows_retire(idle->maps, &idle->windows[i], now_ns);
}

int idle_retire(struct idle *idle, uint64_t now_ns)
{
	int r = idle->next == idle->n ? read_next(idle, now_ns) : 0;

	for (int i = 0; i < AT_ONCE && r >= 0 && idle->next < idle->n; i++)
		r = retire_next(idle, now_ns);
	return r < 0 ? r : 0;
}
