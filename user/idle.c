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
	struct teller *teller;
	enum sw_kind kind; /* whose rows were read last */
	uint64_t begun_ns; /* this round of all of them */
	/* What is left to look at, of one of both. */
	struct windows_row *windows;
	struct ledger_row *address;
	size_t n, next;
	uint64_t since_ns; /* addresses that were not seen since then */
};

int idle_new(struct maps *maps, struct teller *teller, struct idle **ret)
{
	struct idle *idle = calloc(1, sizeof(*idle));

	if (!idle)
		return -ENOMEM;
	*idle = (struct idle){ .maps = maps, .teller = teller, .kind = SW_KINDS - 1 };

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

/* ---- windows ---- */

/* Can any window of this row still be in use? Spares the kernel the rows that surely are. */
static bool may_be_idle(const struct idle *idle, const struct windows_row *row, uint64_t now_ns)
{
	const struct sw_policy *policy = teller_policy(idle->teller, row->policy);
	uint64_t longest_ns = 0;

	for (int i = 0; policy && i < policy->n_limits && i < SW_LIMITS; i++)
		if (policy->limit[i].window_ns > longest_ns)
			longest_ns = policy->limit[i].window_ns;
	return now_ns > row->windows.clock_ns && now_ns - row->windows.clock_ns > longest_ns;
}

static int retire_windows(struct idle *idle, const struct windows_row *row, uint64_t now_ns)
{
	return may_be_idle(idle, row, now_ns) ? maps_windows_retire(idle->maps, row, now_ns) : 0;
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

/* All of them each minute, and one at a time: they may be large. */
static int read_next(struct idle *idle, uint64_t now_ns)
{
	bool last = idle->kind == SW_KINDS - 1;

	if (last && idle->begun_ns && now_ns - idle->begun_ns < EACH_NS)
		return 0;
	if (last)
		idle->begun_ns = now_ns;
	idle->kind = (idle->kind + 1) % SW_KINDS;
	forget(idle);
	if (idle->kind == SW_KIND_IP)
		return read_addresses(idle, now_ns);
	return maps_windows(idle->maps, idle->kind, &idle->windows, &idle->n);
}

static int retire_next(struct idle *idle, uint64_t now_ns)
{
	size_t i = idle->next++;

	if (idle->windows)
		return retire_windows(idle, &idle->windows[i], now_ns);
	return maps_address_retire(idle->maps, &idle->address[i].subject, idle->since_ns);
}

int idle_retire(struct idle *idle, uint64_t now_ns)
{
	int r = idle->next == idle->n ? read_next(idle, now_ns) : 0;

	for (int i = 0; i < AT_ONCE && r >= 0 && idle->next < idle->n; i++)
		r = retire_next(idle, now_ns);
	return r < 0 ? r : 0;
}
