// SPDX-License-Identifier: GPL-2.0-or-later
#include "forget.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "subject.h"

#define SECOND_NS 1000000000ULL
#define IDLE_NS (7 * 86400 * SECOND_NS)
#define SCARCE_IDLE_NS (3600 * SECOND_NS)

/* ---- which: pure ---- */

static int by_subject(const void *a, const void *b)
{
	return subject_compare(a, b);
}

static int by_uid(const void *a, const void *b)
{
	const struct quota_row *x = a, *y = b;

	return x->uid < y->uid ? -1 : x->uid > y->uid;
}

size_t forget_quotas(const struct ledger_row *row, size_t n, struct quota_row *ret)
{
	size_t rows = 0, users = 0;

	for (size_t i = 0; i < n; i++)
		if (row[i].ledger.in_quota)
			ret[rows++] = (struct quota_row){ row[i].ledger.quota_of, 1 };
	if (rows)
		qsort(ret, rows, sizeof(*ret), by_uid);
	for (size_t i = 0; i < rows; i++) {
		if (users && ret[users - 1].uid == ret[i].uid)
			ret[users - 1].dirs++;
		else
			ret[users++] = ret[i];
	}
	return users;
}

static bool is_scarce(size_t n, size_t room)
{
	return n > room / 4 * 3;
}

static bool user_is_short(const struct sw_ledger *ledger, const struct quota_row *quota, size_t n)
{
	const struct quota_row key = { .uid = ledger->quota_of };
	const struct quota_row *found;

	if (!ledger->in_quota || !n)
		return false;
	found = bsearch(&key, quota, n, sizeof(key), by_uid);
	return found && is_scarce(found->dirs, SW_DIRS_OF_UID);
}

/* The row of those who found no room is always there. */
static bool is_overflow(const struct sw_subject *subject)
{
	return subject->kind == SW_KIND_UID && subject->uid == SW_UID_OVERFLOW;
}

size_t forget_choose(struct ledger_row *row, size_t n, size_t room, const struct quota_row *quota,
		     size_t n_quotas, const struct forget_used *used, uint64_t now_ns)
{
	bool scarce = is_scarce(n, room);
	size_t chosen = 0;

	for (size_t i = 0; i < n; i++) {
		const struct sw_ledger *ledger = &row[i].ledger;
		uint64_t last_ns =
			ledger->last_seen_ns ? ledger->last_seen_ns : ledger->first_seen_ns;
		uint64_t least_ns =
			scarce || user_is_short(ledger, quota, n_quotas) ? SCARCE_IDLE_NS : IDLE_NS;
		struct ledger_row swapped = row[chosen];

		if (!last_ns || last_ns > now_ns || now_ns - last_ns < least_ns ||
		    is_overflow(&row[i].subject) ||
		    (used->n && bsearch(&row[i].subject, used->subject, used->n,
					sizeof(*used->subject), by_subject)))
			continue;
		row[chosen++] = row[i];
		row[i] = swapped;
	}
	return chosen;
}

/* ---- who is in use ---- */

static int add_used(struct forget_used *used, size_t *room, const struct sw_subject *subject)
{
	size_t grown = *room ? 2 * *room : 64;
	struct sw_subject *more;

	if (used->n == *room) {
		more = reallocarray(used->subject, grown, sizeof(*more));
		if (!more)
			return -ENOMEM;
		used->subject = more;
		*room = grown;
	}
	used->subject[used->n++] = *subject;
	return 0;
}

static int add_windows(struct maps *maps, uint64_t now_ns, struct forget_used *used, size_t *room)
{
	_cleanup_free_ struct windows_row *row = NULL;
	size_t n = 0;
	int r = maps_windows(maps, now_ns, &row, &n);

	for (size_t i = 0; i < n && r >= 0; i++)
		if (!row[i].idle)
			r = add_used(used, room, &row[i].subject);
	return r;
}

static int add_blocks(struct maps *maps, struct forget_used *used, size_t *room)
{
	_cleanup_free_ struct block_row *row = NULL;
	size_t n = 0;
	int r = maps_blocks(maps, &row, &n);

	for (size_t i = 0; i < n && r >= 0; i++)
		r = add_used(used, room, &row[i].subject);
	return r;
}

static int add_allowances(struct maps *maps, struct forget_used *used, size_t *room)
{
	_cleanup_free_ struct allowance_row *row = NULL;
	size_t n = 0;
	int r = maps_allowances(maps, &row, &n);

	for (size_t i = 0; i < n && r >= 0; i++)
		r = add_used(used, room, &row[i].subject);
	return r;
}

static void used_free(struct forget_used *used)
{
	free(used->subject);
}

static int find_used(struct maps *maps, uint64_t now_ns, struct forget_used *ret)
{
	size_t room = 0;
	int r = add_windows(maps, now_ns, ret, &room);

	r = r < 0 ? r : add_blocks(maps, ret, &room);
	r = r < 0 ? r : add_allowances(maps, ret, &room);
	if (ret->n)
		qsort(ret->subject, ret->n, sizeof(*ret->subject), by_subject);
	return r;
}

/* ---- forgetting ---- */

static int remove_rows(struct maps *maps, const struct ledger_row *row, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r >= 0; i++)
		r = maps_ledger_remove(maps, &row[i].subject);
	return r;
}

struct kept {
	struct maps *maps;
	const struct forget_used *used;
};

/* Asked now: the kernel may have made the row a moment ago. */
static bool is_kept(const struct sw_subject *subject, void *userdata)
{
	const struct kept *kept = userdata;
	struct sw_ledger ledger;

	return maps_ledger_get(kept->maps, subject, &ledger) != -ENOENT ||
	       (kept->used->n &&
		bsearch(subject, kept->used->subject, kept->used->n, sizeof(*subject), by_subject));
}

/* Names and evidence of those who have no row any more. */
static int remove_orphans(struct maps *maps, enum sw_kind kind, const struct forget_used *used)
{
	struct kept kept = { maps, used };
	_cleanup_free_ struct name_row *row = NULL;
	size_t n = 0;
	int r = maps_names(maps, kind, &row, &n);

	for (size_t i = 0; i < n && r >= 0; i++)
		if (!is_kept(&row[i].subject, &kept))
			r = maps_name_remove(maps, &row[i].subject);
	return r < 0 ? r : maps_evidence_forget(maps, 1u << kind, is_kept, &kept);
}

/*
 * The kernel counts a row on its user's quota when it makes it: one that it makes between our
 * reading and our writing is missing until the next time.
 */
static int write_quotas(struct maps *maps, const struct quota_row *now, size_t n_now)
{
	_cleanup_free_ struct quota_row *was = NULL;
	size_t n = 0;
	int r = maps_quotas(maps, &was, &n);

	for (size_t i = 0; i < n && r >= 0; i++) {
		const struct quota_row none = { .uid = was[i].uid };
		const struct quota_row *found =
			n_now ? bsearch(&none, now, n_now, sizeof(*now), by_uid) : NULL;

		if (!found || found->dirs != was[i].dirs)
			r = maps_quota_set(maps, found ? found : &none);
	}
	return r;
}

static int forget_kind(struct maps *maps, enum sw_kind kind, const struct forget_used *used,
		       uint64_t now_ns)
{
	_cleanup_free_ struct ledger_row *row = NULL;
	_cleanup_free_ struct quota_row *quota = NULL;
	size_t n = 0, n_quotas, idle = 0;
	uint32_t room;
	int r = maps_ledger_room(maps, kind, &room);

	r = r < 0 ? r : maps_ledger(maps, kind, &row, &n);
	quota = calloc(n + 1, sizeof(*quota));
	if (r < 0 || !quota)
		return r < 0 ? r : -ENOMEM;
	n_quotas = forget_quotas(row, n, quota);
	idle = forget_choose(row, n, room, quota, n_quotas, used, now_ns);
	r = remove_rows(maps, row, idle);
	if (r >= 0 && kind == SW_KIND_DIR) {
		n_quotas = forget_quotas(row + idle, n - idle, quota);
		r = write_quotas(maps, quota, n_quotas);
	}
	return r < 0 ? r : remove_orphans(maps, kind, used);
}

int forget_idle(struct maps *maps, uint64_t now_ns)
{
	_cleanup_(used_free) struct forget_used used = {};
	int r = maps_lock(maps);

	if (r < 0)
		return r;
	r = find_used(maps, now_ns, &used);
	r = r < 0 ? r : forget_kind(maps, SW_KIND_UNIT, &used, now_ns);
	r = r < 0 ? r : forget_kind(maps, SW_KIND_DIR, &used, now_ns);
	r = r < 0 ? r : maps_evidence_thin(maps);
	maps_unlock(maps);
	return r;
}
