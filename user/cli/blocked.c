// SPDX-License-Identifier: GPL-2.0-or-later
#include "blocked.h"

#include <errno.h>
#include <string.h>

#include "exhibit.h"
#include "log.h"
#include "named.h"
#include "quantity.h"

static int row_compare(const void *a, const void *b)
{
	const struct block_row *one = a, *other = b;
	int order = subject_compare(&one->subject, &other->subject);

	return order ? order : (int)one->road - (int)other->road;
}

static bool belongs(const struct blocked *group, const struct block_row *row)
{
	const struct sw_block *a = &group->block, *b = &row->block;

	return subject_compare(&group->subject, &row->subject) == 0 && a->policy == b->policy &&
	       a->by == b->by && a->flags == b->flags && a->limit == b->limit &&
	       a->since_ns == b->since_ns && a->until_ns == b->until_ns &&
	       strcmp(a->note, b->note) == 0;
}

/* `group` has room for all rows. Groups of one subject follow each other. */
static size_t group_rows(const struct block_row *row, size_t n, uint64_t now_ns,
			 struct blocked *group)
{
	size_t i, g, groups = 0, first = 0; /* group of this subject */

	for (i = 0; i < n; i++) {
		if (row[i].road >= SW_ROADS || !lasts(row[i].block.until_ns, now_ns))
			continue;
		if (groups && subject_compare(&group[first].subject, &row[i].subject) != 0)
			first = groups;
		for (g = first; g < groups && !belongs(&group[g], &row[i]); g++)
			;
		if (g < groups) {
			group[g].block.hits += row[i].block.hits;
		} else {
			group[g] = (struct blocked){ .subject = row[i].subject,
						     .block = row[i].block };
			groups++;
		}
		group[g].roads |= 1 << row[i].road;
	}
	return groups;
}

int blocked_load(const struct view *view, struct blocked **ret, size_t *ret_n)
{
	_cleanup_free_ struct block_row *row = NULL;
	struct blocked *group;
	size_t n;
	int r;

	r = maps_blocks(view->maps, &row, &n);
	if (r < 0)
		return log_errno(r, "cannot read the blocks");
	group = calloc(n + 1, sizeof(*group));
	if (!group)
		return log_errno(-ENOMEM, "cannot read the blocks");
	if (n)
		qsort(row, n, sizeof(*row), row_compare);

	*ret = group;
	*ret_n = group_rows(row, n, view->now_ns, group);
	return 0;
}

const struct blocked *blocked_find(const struct blocked *blocked, size_t n,
				   const struct sw_subject *subject)
{
	size_t low = 0, high = n, middle;

	while (low < high) {
		middle = (low + high) / 2;
		if (subject_compare(&blocked[middle].subject, subject) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < n && subject_compare(&blocked[low].subject, subject) == 0)
		return &blocked[low];
	return NULL;
}

bool blocked_enforced(const struct view *view, const struct blocked *blocked)
{
	const struct sw_policy *policy = view_policy(view, blocked->block.policy);

	return view->mode == SW_MODE_ENFORCE && !(blocked->block.flags & SW_BLOCK_OBSERVED) &&
	       (!policy || policy->mode == SW_MODE_ENFORCE);
}

void blocked_reason(const struct view *view, const struct sw_block *block, char *text, size_t size)
{
	const struct sw_limit *limit = view_limit(view_policy(view, block->policy), block->limit);
	char words[QUANTITY_LEN];

	if (block->by == SW_BY_HAND) {
		snprintf(text, size, "%s", block->note);
	} else if (limit) {
		limit_words(words, limit);
		snprintf(text, size, "over %s", words);
	} else {
		snprintf(text, size, "over a limit that is no longer configured");
	}
}

static void write_roads(struct writer *w, __u8 roads)
{
	enum sw_road road;

	writer_list(w, "roads");
	for (road = 0; road < SW_ROADS; road++)
		if (roads >> road & 1)
			writer_text(w, NULL, road_name(road));
	writer_end(w);
}

void blocked_write(struct writer *w, const char *key, const struct view *view,
		   const struct blocked *blocked)
{
	const struct sw_block *block = &blocked->block;
	const struct sw_policy *policy = view_policy(view, block->policy);
	char reason[SUBJECT_LEN];
	bool enforced = blocked_enforced(view, blocked);

	blocked_reason(view, block, reason, sizeof(reason));
	writer_object(w, key);
	named_write(w, view, &blocked->subject);
	write_roads(w, blocked->roads);
	writer_text(w, "policy", policy ? policy->name : NULL);
	writer_text(w, "reason", *reason ? reason : NULL);
	writer_text(w, "by", block->by == SW_BY_HAND ? "manual" : "limit");
	writer_flag(w, "restored", block->flags & SW_BLOCK_RESTORED);
	writer_time(w, "since", view_wall(view, block->since_ns));
	writer_time(w, "until", view_wall(view, block->until_ns));
	writer_flag(w, "permanent", block->until_ns == 0);
	writer_number(w, "hits", block->hits);
	writer_flag(w, "enforced", enforced);
	evidence_id_write(w, "evidence", block->evidence);
	writer_note(w, "refuses", enforced ? "yes" : "no");
	writer_end(w);
}
