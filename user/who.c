/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "clean.h"
#include "cleanup.h"
#include "intervals.h"
#include "text.h"
#include "who.h"

#define MISSING_TOLD 5 /* of one list file */

/* What is common to the words of one option, and to the lines of one list. */
struct seeker {
	struct people *people;
	enum people_table table;
	struct findings *findings;
	struct ids *ids;
};

static const char *const nouns[PEOPLE_TABLES] = { "user", "group" };

int ids_add(struct ids *ids, uint32_t first, uint32_t last)
{
	if (ids->n == ids->room) {
		size_t room = ids->room ? 2 * ids->room : 16;
		struct id_range *grown = reallocarray(ids->range, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		ids->range = grown;
		ids->room = room;
	}
	ids->range[ids->n++] = (struct id_range){ first, last };
	return 0;
}

void ids_clear(struct ids *ids)
{
	free(ids->range);
	*ids = (struct ids){};
}

/* Digits up to ID_MOST, and what follows them; NULL: no such number. */
static const char *id_parse(const char *text, uint32_t *ret)
{
	uint64_t id = 0;
	const char *p;

	for (p = text; *p >= '0' && *p <= '9'; p++) {
		id = id * 10 + (*p - '0');
		if (id > ID_MOST)
			return NULL;
	}
	*ret = id;
	return p == text ? NULL : p;
}

/* "1004" or "1000-59999": a word that has no letters is meant as numbers. */
static int numbers(const struct seeker *s, const char *word, const char *at)
{
	uint32_t first, last;
	const char *end = id_parse(word, &first);

	last = first;
	if (end && *end == '-')
		end = id_parse(end + 1, &last);
	if (end && !*end && first <= last)
		return ids_add(s->ids, first, last);
	findings_add(
		s->findings, true,
		"%s: '%s' is no %s id and no range: write one like 1004 or 1000-59999, up to %u",
		at, word, nouns[s->table], ID_MOST);
	return -EINVAL;
}

static int glob(const struct seeker *s, const char *word, const char *at)
{
	const struct people_entry *entry;
	size_t n, i, found = 0;
	int error = 0;

	entry = people_all(s->people, s->table, &n);
	for (i = 0; !error && i < n; i++) {
		if (fnmatch(word, entry[i].name, 0))
			continue;
		error = ids_add(s->ids, entry[i].id, entry[i].id);
		found++;
	}
	if (!found)
		findings_add(s->findings, false, "%s: no %s is named like '%s'", at,
			     nouns[s->table], word);
	return error;
}

/* -ENOENT: there is none, which the caller tells. */
static int one(const struct seeker *s, const char *word)
{
	const struct people_entry *entry = people_find(s->people, s->table, word);

	return entry ? ids_add(s->ids, entry->id, entry->id) : -ENOENT;
}

static int any(const struct seeker *s, const char *word, const char *at)
{
	if (strspn(word, "0123456789-") == strlen(word))
		return numbers(s, word, at);
	if (strpbrk(word, "*?["))
		return glob(s, word, at);
	return one(s, word);
}

static void tell_missing(const struct seeker *s, const char *word, const char *at)
{
	findings_add(s->findings, false, "%s: the %s '%s' does not exist: its entry matches nobody",
		     at, nouns[s->table], word);
}

/* A line without its comment and the blanks around it; NULL: nothing is left. */
static char *line_entry(char *line)
{
	size_t n;

	line[strcspn(line, "#\r")] = '\0';
	line += strspn(line, " \t");
	for (n = strlen(line); n && strchr(" \t", line[n - 1]);)
		line[--n] = '\0';
	return n ? line : NULL;
}

static int list_line(const struct seeker *s, const char *path, unsigned int number, char *line,
		     size_t *missing)
{
	char at[512], *entry = line_entry(line);
	int error;

	if (!entry)
		return 0;
	snprintf(at, sizeof(at), "%.490s:%u", path, number);
	if (!is_clean(entry) || *entry == '@') {
		findings_add(s->findings, true, "%s: no name, id, range or glob: write one a line",
			     at);
		return -EINVAL;
	}
	error = any(s, entry, at);
	if (error != -ENOENT)
		return error;
	if ((*missing)++ < MISSING_TOLD)
		tell_missing(s, entry, at);
	return 0;
}

static int list_lines(const struct seeker *s, const char *path, char *text, size_t length,
		      size_t *missing)
{
	char *line = text, *end = text + length, *next;
	unsigned int number;
	int error = 0;

	for (number = 1; !error && line < end; line = next, number++) {
		char *newline = memchr(line, '\n', end - line);

		next = newline ? newline + 1 : end;
		if (newline)
			*newline = '\0';
		error = list_line(s, path, number, line, missing);
	}
	return error;
}

static int list(const struct seeker *s, const char *path, const char *at)
{
	_cleanup_free_ char *text = NULL;
	size_t length = 0, missing = 0;
	int error;

	error = *path == '/' ? text_read(path, &text, &length) : -EINVAL;
	if (!error && strlen(text) != length)
		error = -EILSEQ;
	if (error) {
		findings_add(s->findings, true, "%s: the list '@%s' cannot be read: %s", at, path,
			     *path != '/' ? "write an absolute path" : text_read_error(error));
		return -EINVAL;
	}
	error = list_lines(s, path, text, length, &missing);
	if (missing > MISSING_TOLD)
		findings_add(s->findings, false, "%s: %zu entries of '@%s' do not exist", at,
			     missing, path);
	return error;
}

int who_resolve(struct people *people, enum people_table table, const char *word, const char *at,
		struct findings *findings, struct ids *ids)
{
	struct seeker s = { people, table, findings, ids };
	int error;

	if (*word == '@')
		return list(&s, word + 1, at);
	error = any(&s, word, at);
	if (error != -ENOENT)
		return error;
	tell_missing(&s, word, at);
	return 0;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct id_range *x = a, *y = b;

	return (x->first > y->first) - (x->first < y->first);
}

/* Sorts, and joins those that overlap, so that one search finds an id. */
static void ids_join(struct ids *ids)
{
	size_t i, n = 0;

	if (!ids->n)
		return;
	qsort(ids->range, ids->n, sizeof(*ids->range), compare_ranges);
	for (i = 1; i < ids->n; i++) {
		if (ids->range[i].first > ids->range[n].last)
			ids->range[++n] = ids->range[i];
		else if (ids->range[i].last > ids->range[n].last)
			ids->range[n].last = ids->range[i].last;
	}
	ids->n = n + 1;
}

static bool ids_have(const struct ids *ids, uint32_t id)
{
	size_t low = 0, high = ids->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ids->range[middle].last < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < ids->n && ids->range[low].first <= id;
}

/* A member that is no user (any more) is the databases' matter, not the configuration's. */
static int supplementary(struct people *people, char **member, struct ids *users)
{
	int error = 0;

	for (; !error && *member; member++) {
		const struct people_entry *user = people_find(people, PEOPLE_USERS, *member);

		if (user)
			error = ids_add(users, user->id, user->id);
	}
	return error;
}

int who_members(struct people *people, struct ids *groups, struct ids *users)
{
	const struct people_entry *entry;
	size_t n, i;
	int error = 0;

	ids_join(groups);
	if (!groups->n)
		return 0;
	entry = people_all(people, PEOPLE_USERS, &n);
	for (i = 0; !error && i < n; i++)
		if (ids_have(groups, entry[i].primary))
			error = ids_add(users, entry[i].id, entry[i].id);
	entry = people_all(people, PEOPLE_GROUPS, &n);
	for (i = 0; !error && i < n; i++)
		if (ids_have(groups, entry[i].id))
			error = supplementary(people, entry[i].member, users);
	return error;
}
