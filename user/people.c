/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

#include "cleanup.h"
#include "clock.h"
#include "people.h"

#define ANSWER_MOST (16u << 20) /* bytes of one entry: groups can be large */
#define VAIN_MOST_NS                                                                               \
	2000000000 /* spent asking for names that nobody has; found ones take their time */

struct table {
	struct people_entry *entry;
	size_t n, room;
	size_t *by_name, *by_id; /* indexes of the first n_sorted entries */
	size_t n_sorted;
};

struct people {
	struct table table[PEOPLE_TABLES];
	bool ask;
	uint64_t vain_ns;
};

static void entry_clear(struct people_entry *entry)
{
	char **member;

	for (member = entry->member; member && *member; member++)
		free(*member);
	free(entry->member);
	free(entry->name);
}

void people_free(struct people *people)
{
	size_t t, i;

	if (!people)
		return;
	for (t = 0; t < PEOPLE_TABLES; t++) {
		for (i = 0; i < people->table[t].n; i++)
			entry_clear(&people->table[t].entry[i]);
		free(people->table[t].entry);
		free(people->table[t].by_name);
		free(people->table[t].by_id);
	}
	free(people);
}

static void people_freep(struct people **people)
{
	people_free(*people);
}

static char **members_copy(char **member)
{
	size_t n = 0, i;
	char **copy;

	while (member && member[n])
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	for (i = 0; copy && i < n; i++) {
		copy[i] = strdup(member[i]);
		if (copy[i])
			continue;
		entry_clear(&(struct people_entry){ .member = copy });
		return NULL;
	}
	return copy;
}

int people_add(struct people *people, enum people_table which, const struct people_entry *entry)
{
	struct table *table = &people->table[which];
	struct people_entry *grown;

	if (entry->id == UINT32_MAX) /* (uid_t)-1 is nobody */
		return 0;
	if (table->n == table->room) {
		size_t room = table->room ? 2 * table->room : 64;

		grown = reallocarray(table->entry, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		table->entry = grown;
		table->room = room;
	}
	grown = &table->entry[table->n];
	*grown = *entry;
	grown->name = strdup(entry->name);
	grown->member = members_copy(entry->member);
	if (!grown->name || !grown->member) {
		entry_clear(grown);
		return -ENOMEM;
	}
	table->n++;
	return 0;
}

static int user_add(struct people *people, const struct passwd *user)
{
	return people_add(people, PEOPLE_USERS,
			  &(struct people_entry){ .name = user->pw_name,
						  .id = user->pw_uid,
						  .primary = user->pw_gid });
}

static int group_add(struct people *people, const struct group *group)
{
	return people_add(people, PEOPLE_GROUPS,
			  &(struct people_entry){ .name = group->gr_name,
						  .id = group->gr_gid,
						  .member = group->gr_mem });
}

/* ---- look-ups: the first entry of a name or id is the one that counts ---- */

static int compare_names(const void *a, const void *b, void *arg)
{
	const struct people_entry *entry = arg;
	size_t i = *(const size_t *)a, j = *(const size_t *)b;
	int order = strcmp(entry[i].name, entry[j].name);

	return order ? order : (i > j) - (i < j);
}

static int compare_ids(const void *a, const void *b, void *arg)
{
	const struct people_entry *entry = arg;
	size_t i = *(const size_t *)a, j = *(const size_t *)b;

	if (entry[i].id != entry[j].id)
		return entry[i].id < entry[j].id ? -1 : 1;
	return (i > j) - (i < j);
}

static int index_new(const struct table *table, int (*compare)(const void *, const void *, void *),
		     size_t **ret)
{
	size_t *index = calloc(table->n + 1, sizeof(*index)), i;

	if (!index)
		return -ENOMEM;
	for (i = 0; i < table->n; i++)
		index[i] = i;
	qsort_r(index, table->n, sizeof(*index), compare, table->entry);
	free(*ret);
	*ret = index;
	return 0;
}

/* Those found by asking come behind the sorted ones: few, and asked for again if need be. */
static int table_sort(struct table *table)
{
	if (table->by_id)
		return 0;
	if (index_new(table, compare_names, &table->by_name) < 0 ||
	    index_new(table, compare_ids, &table->by_id) < 0)
		return -ENOMEM;
	table->n_sorted = table->n;
	return 0;
}

/* The first of the sorted entries that is not before what is sought. */
static size_t lower_bound(const struct table *table, const char *name, uint32_t id)
{
	const size_t *index = name ? table->by_name : table->by_id;
	size_t low = 0, high = table->n_sorted;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct people_entry *entry = &table->entry[index[middle]];

		if (name ? strcmp(entry->name, name) < 0 : entry->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* getpwnam_r or getgrnam_r with as much room as the answer needs. True: found and added. */
static bool ask(struct people *people, enum people_table which, const char *name)
{
	size_t size;
	int error = ERANGE;

	for (size = 4096; error == ERANGE && size <= ANSWER_MOST; size *= 4) {
		_cleanup_free_ char *buffer = malloc(size);
		struct passwd user, *found_user = NULL;
		struct group group, *found_group = NULL;

		if (!buffer)
			return false;
		if (which == PEOPLE_USERS)
			error = getpwnam_r(name, &user, buffer, size, &found_user);
		else
			error = getgrnam_r(name, &group, buffer, size, &found_group);
		if (found_user)
			return !user_add(people, found_user);
		if (found_group)
			return !group_add(people, found_group);
	}
	return false;
}

const struct people_entry *people_find(struct people *people, enum people_table which,
				       const char *name)
{
	struct table *table = &people->table[which];
	uint64_t start_ns;
	size_t i, before;

	if (table_sort(table) < 0)
		return NULL;
	i = lower_bound(table, name, 0);
	if (i < table->n_sorted && !strcmp(table->entry[table->by_name[i]].name, name))
		return &table->entry[table->by_name[i]];
	if (!people->ask || people->vain_ns > VAIN_MOST_NS)
		return NULL;
	before = table->n;
	start_ns = now_ns();
	if (ask(people, which, name) && table->n > before)
		return &table->entry[before];
	people->vain_ns += now_ns() - start_ns;
	return NULL;
}

const char *people_name(struct people *people, enum people_table which, uint32_t id)
{
	struct table *table = &people->table[which];
	size_t i;

	if (table_sort(table) < 0)
		return NULL;
	i = lower_bound(table, NULL, id);
	if (i < table->n_sorted && table->entry[table->by_id[i]].id == id)
		return table->entry[table->by_id[i]].name;
	for (i = table->n_sorted; i < table->n; i++)
		if (table->entry[i].id == id)
			return table->entry[i].name;
	return NULL;
}

const struct people_entry *people_all(struct people *people, enum people_table which, size_t *ret_n)
{
	*ret_n = people->table[which].n;
	return people->table[which].entry;
}

/* ---- the machine's databases ---- */

int people_new(struct people **ret)
{
	struct people *people = calloc(1, sizeof(*people));

	if (!people)
		return -ENOMEM;
	*ret = people;
	return 0;
}

static int load_users(struct people *people)
{
	const struct passwd *user;
	int error = 0;

	setpwent();
	while (!error && (user = getpwent()))
		error = user_add(people, user);
	endpwent();
	return error;
}

static int load_groups(struct people *people)
{
	const struct group *group;
	int error = 0;

	setgrent();
	while (!error && (group = getgrent()))
		error = group_add(people, group);
	endgrent();
	return error;
}

int people_load(struct people **ret)
{
	_cleanup_(people_freep) struct people *people = NULL;
	int error;

	error = people_new(&people);
	if (!error)
		error = load_users(people);
	if (!error)
		error = load_groups(people);
	if (error)
		return error;
	people->ask = true;
	*ret = take_pointer(&people);
	return 0;
}
