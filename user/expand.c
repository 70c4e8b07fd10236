/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "expand.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <search.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"

#define LINKS_MOST 40 /* as the kernel follows */

/* A folder that was found, and by which path: one without symbolic links. */
struct folder {
	char *path;
	struct sw_dir dir;
	struct sw_place place;
	bool has_row;
};

/* What one user's folders have cost. */
struct bill {
	__u32 uid;
	unsigned int looks, places, seeks;
};

struct expansion {
	struct folder *folder; /* by path, up to `sorted` */
	size_t n, room, sorted;
	struct place_row *row; /* by dir, of those that have one */
	size_t n_rows;
	void *bills; /* a tree of struct bill */
	bool full, greedy, wide;
	__u32 greedy_uid, wide_uid;
};

struct walk {
	const struct expander *by;
	const struct glob *glob; /* that is being expanded */
	struct expansion *into;
	int error;
};

/* Where the walk is. */
struct here {
	int fd;	    /* O_PATH */
	char *path; /* "" is the root */
	__u32 owner;
	bool ruled;	  /* nobody but root can have put it, and what is above it, there */
	bool roots;	  /* and what is in it: others may not write */
	bool among_roots; /* `roots` of the folder that it is in */
};

static void here_clear(struct here *here)
{
	closep(&here->fd);
	free(here->path);
	*here = (struct here){ .fd = -1 };
}

#define _cleanup_here_ _cleanup_(here_clear)

/* ---- names ---- */

static size_t part_length(const char *glob)
{
	return strcspn(glob, "/");
}

static bool part_copy(const char *glob, char part[static NAME_MAX + 1])
{
	size_t length = part_length(glob);

	if (length > NAME_MAX)
		return false;
	memcpy(part, glob, length);
	part[length] = '\0';
	return true;
}

bool glob_part_matches(const char *glob, const char *name)
{
	char part[NAME_MAX + 1];

	return part_copy(glob, part) && !fnmatch(part, name, FNM_NOESCAPE | FNM_PERIOD);
}

/* ---- what users cost ---- */

static int order_bill(const void *a, const void *b)
{
	const struct bill *x = a, *y = b;

	return (x->uid > y->uid) - (x->uid < y->uid);
}

static struct bill *bill_of(struct walk *w, __u32 uid)
{
	struct bill *bill = calloc(1, sizeof(*bill)), **found;

	if (!bill)
		return NULL;
	bill->uid = uid;
	found = tsearch(bill, &w->into->bills, order_bill);
	if (!found || *found != bill)
		free(bill);
	return found ? *found : NULL;
}

static bool is_greedy(struct walk *w, __u32 uid)
{
	w->into->greedy = true;
	w->into->greedy_uid = uid;
	return true;
}

static bool looks_too_much(struct walk *w, const struct here *here)
{
	struct bill *bill = here->roots ? NULL : bill_of(w, here->owner);

	return bill && ++bill->looks > LOOKS_AT_USER && is_greedy(w, here->owner);
}

/* Of a folder that a user can have made; NULL: root did. */
static struct bill *bill_of_maker(struct walk *w, const struct here *here)
{
	return here->among_roots || !here->owner ? NULL : bill_of(w, here->owner);
}

static bool has_too_many(struct walk *w, const struct here *here)
{
	struct bill *bill = bill_of_maker(w, here);

	return bill && ++bill->places > PLACES_OF_USER && is_greedy(w, here->owner);
}

static void seek(struct walk *w, const struct here *here, const char *part)
{
	struct bill *bill = bill_of_maker(w, here);

	if (bill && ++bill->seeks > SEEKS_AT_USER) {
		w->into->wide = true;
		w->into->wide_uid = here->owner;
		return;
	}
	w->by->seek(here->fd, here->path, w->glob, part, w->by->userdata);
}

/* ---- going from folder to folder ---- */

static bool others_may_write(const struct stat *st)
{
	return st->st_uid != 0 || st->st_mode & S_IWOTH ||
	       (st->st_mode & S_IWGRP && st->st_gid != 0);
}

static bool here_is(struct here *here, const struct here *up, const struct stat *st, int *fd,
		    char **path)
{
	bool ruled = (!up || up->ruled) && st->st_uid == 0 &&
		     (!others_may_write(st) || st->st_mode & S_ISVTX);

	*here = (struct here){
		.fd = take_fd(fd),
		.path = take_pointer(path),
		.owner = st->st_uid,
		.ruled = ruled,
		.roots = ruled && !others_may_write(st),
		.among_roots = !up || up->roots,
	};
	return true;
}

static bool top(struct here *ret)
{
	_cleanup_close_ int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *path = strdup("");
	struct stat st;

	return fd >= 0 && path && fstat(fd, &st) == 0 && here_is(ret, NULL, &st, &fd, &path);
}

static bool chase(const struct here *from, const char *target, unsigned int *links,
		  struct here *ret);

static bool follow(const struct here *from, int link, const struct stat *st, unsigned int *links,
		   struct here *ret)
{
	char target[PATH_MAX];
	ssize_t length;

	if (!from->roots || st->st_uid != 0 || ++*links > LINKS_MOST)
		return false;
	length = readlinkat(link, "", target, sizeof(target));
	if (length <= 0 || (size_t)length >= sizeof(target))
		return false;
	target[length] = '\0';
	return chase(from, target, links, ret);
}

/* Into the folder `name`, or where root's link of this name leads. */
static bool enter(const struct here *from, const char *name, unsigned int *links, struct here *ret)
{
	_cleanup_close_ int fd = openat(from->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_free_ char *path = NULL;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return false;
	if (S_ISLNK(st.st_mode))
		return follow(from, fd, &st, links, ret);
	if (!S_ISDIR(st.st_mode))
		return false;
	if (asprintf(&path, "%s/%s", from->path, name) < 0) {
		path = NULL;
		return false;
	}
	return here_is(ret, from, &st, &fd, &path);
}

/* Up again: from where root rules to where root rules. */
static bool leave(const struct here *from, struct here *ret)
{
	_cleanup_close_ int fd = openat(from->fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *path = strdup(from->path);
	const struct here up = { .ruled = true };
	char *slash = path ? strrchr(path, '/') : NULL;
	struct stat st;

	if (!from->ruled || fd < 0 || !path || fstat(fd, &st) < 0)
		return false;
	if (slash)
		*slash = '\0';
	return here_is(ret, &up, &st, &fd, &path);
}

static bool stay(const struct here *from, struct here *ret)
{
	*ret = *from;
	ret->fd = fcntl(from->fd, F_DUPFD_CLOEXEC, 3);
	ret->path = strdup(from->path);
	return ret->fd >= 0 && ret->path;
}

static bool step(const struct here *from, const char *name, unsigned int *links, struct here *ret)
{
	if (!*name || !strcmp(name, "."))
		return stay(from, ret);
	if (!strcmp(name, ".."))
		return leave(from, ret);
	return enter(from, name, links, ret);
}

/* The way that a link of root's tells. */
static bool chase(const struct here *from, const char *target, unsigned int *links,
		  struct here *ret)
{
	_cleanup_here_ struct here at = { .fd = -1 };
	char name[NAME_MAX + 1];

	if (*target == '/' ? !top(&at) : !stay(from, &at))
		return false;
	for (; *target; target += part_length(target), target += *target == '/') {
		struct here next = { .fd = -1 };

		if (!part_copy(target, name) || !step(&at, name, links, &next)) {
			here_clear(&next);
			return false;
		}
		here_clear(&at);
		at = next;
	}
	*ret = at;
	at = (struct here){ .fd = -1 };
	return true;
}

/* ---- the walk ---- */

static struct folder *folder_add(struct expansion *expansion)
{
	struct folder *grown;
	size_t room = expansion->room ? 2 * expansion->room : 64;

	if (expansion->n == expansion->room) {
		grown = reallocarray(expansion->folder, room, sizeof(*grown));
		if (!grown)
			return NULL;
		expansion->folder = grown;
		expansion->room = room;
	}
	return &expansion->folder[expansion->n];
}

static void found(struct walk *w, const struct here *here)
{
	struct folder *added, folder = { .place = { w->glob->set, w->glob->flags, here->owner } };

	if (has_too_many(w, here) || w->by->identify(here->fd, &folder.dir, w->by->userdata) < 0)
		return;
	folder.path = strdup(here->path);
	added = folder.path ? folder_add(w->into) : NULL;
	if (!added) {
		free(folder.path);
		w->error = -ENOMEM;
		return;
	}
	*added = folder;
	w->into->n++;
}

static void walk(struct walk *w, const struct here *here, const char *rest);

static void go(struct walk *w, const struct here *from, const char *name, const char *rest)
{
	_cleanup_here_ struct here next = { .fd = -1 };
	unsigned int links = 0;

	if (enter(from, name, &links, &next))
		walk(w, &next, rest);
}

static bool is_over(const struct walk *w)
{
	return w->error || w->into->full || atomic_load(w->by->stop);
}

static void go_where_it_matches(struct walk *w, const struct here *from, const char *part,
				const char *rest)
{
	int fd = openat(from->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		closep(&fd);
		return;
	}
	while (!is_over(w) && (entry = readdir(dir))) {
		if (looks_too_much(w, from))
			break;
		if ((entry->d_type == DT_DIR || entry->d_type == DT_LNK ||
		     entry->d_type == DT_UNKNOWN) &&
		    glob_part_matches(part, entry->d_name))
			go(w, from, entry->d_name, rest);
	}
	closedir(dir);
}

/* `rest` of the glob is from here on; it begins with a slash, or is at its end. */
static void walk(struct walk *w, const struct here *here, const char *rest)
{
	char name[NAME_MAX + 1];

	if (!*rest) {
		w->into->full |= w->into->n == PLACES_MOST;
		if (!is_over(w))
			found(w, here);
		return;
	}
	rest++;
	if (!part_copy(rest, name))
		return;
	seek(w, here, rest);
	if (strpbrk(name, "*?["))
		go_where_it_matches(w, here, rest, rest + part_length(rest));
	else
		go(w, here, name, rest + part_length(rest));
}

/* ---- from folders to rows ---- */

/* A folder comes before those in it, and these before its neighbours: the slash is the least. */
static int order_path(const void *a, const void *b)
{
	const char *x = ((const struct folder *)a)->path, *y = ((const struct folder *)b)->path;
	unsigned char p, q;

	for (; *x && *x == *y; x++, y++)
		;
	p = *x == '/' ? 1 : *x;
	q = *y == '/' ? 1 : *y;
	return (p > q) - (p < q);
}

static bool is_below(const char *path, const char *dir)
{
	size_t length = strlen(dir);

	return !strncmp(path, dir, length) && (path[length] == '/' || !path[length]);
}

/*
 * What a folder's path matches matches all below it. They are sorted by path; the last one of a
 * path that was found several times has it all, and is the one that those below it see.
 */
static void inherit(struct folder *folder, size_t n)
{
	size_t up[PATH_MAX / 2], depth = 0, i;

	for (i = 0; i < n; i++) {
		while (depth && !is_below(folder[i].path, folder[up[depth - 1]].path))
			depth--;
		if (depth)
			folder[i].place.set |= folder[up[depth - 1]].place.set;
		if (depth < PATH_MAX / 2)
			up[depth++] = i;
	}
}

int place_row_order(const void *a, const void *b)
{
	return memcmp(&((const struct place_row *)a)->dir, &((const struct place_row *)b)->dir,
		      sizeof(struct sw_dir));
}

/* A folder may have been found by several globs and paths. They are sorted. */
static size_t unite(struct place_row *row, size_t n)
{
	size_t i, united = 0;

	for (i = 0; i < n; i++) {
		if (!united || place_row_order(&row[united - 1], &row[i])) {
			row[united++] = row[i];
			continue;
		}
		row[united - 1].place.set |= row[i].place.set;
		row[united - 1].place.flags |= row[i].place.flags;
	}
	return united;
}

/* Sorts what is behind the first `sorted`, which are: a few that come to many cost little. */
static int sort_in(void *all, size_t sorted, size_t n, size_t size,
		   int (*order)(const void *a, const void *b))
{
	char *old = all, *end = old + sorted * size, *new = end, *last = old + n *size, *copy, *to;

	if (n > sorted)
		qsort(new, n - sorted, size, order);
	if (n == sorted || !sorted)
		return 0;
	copy = to = malloc(n * size);
	if (!copy)
		return -ENOMEM;
	for (; old < end || new < last; to += size) {
		char **from = new == last || (old < end && order(old, new) <= 0) ? &old : &new;

		memcpy(to, *from, size);
		*from += size;
	}
	memcpy(all, copy, n * size);
	free(copy);
	return 0;
}

static int make_rows(struct expansion *expansion)
{
	size_t n = expansion->n_rows, i;
	struct place_row *row;
	int error;

	row = reallocarray(expansion->row, n + expansion->n + 1, sizeof(*row));
	if (!row)
		return -ENOMEM;
	expansion->row = row;
	for (i = 0; i < expansion->n; i++) {
		struct folder *folder = &expansion->folder[i];

		if (!folder->has_row)
			row[n++] = (struct place_row){ folder->dir, folder->place };
	}
	error = sort_in(row, expansion->n_rows, n, sizeof(*row), place_row_order);
	if (error)
		return error;
	for (i = 0; i < expansion->n; i++)
		expansion->folder[i].has_row = true;
	expansion->n_rows = unite(row, n);
	return 0;
}

int expansion_rows(struct expansion *expansion, struct place_row **ret, size_t *ret_n)
{
	struct place_row *copy;
	int error = sort_in(expansion->folder, expansion->sorted, expansion->n,
			    sizeof(*expansion->folder), order_path);

	if (error)
		return error;
	expansion->sorted = expansion->n;
	inherit(expansion->folder, expansion->n);
	error = make_rows(expansion);
	if (error)
		return error;
	copy = malloc((expansion->n_rows + 1) * sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	memcpy(copy, expansion->row, expansion->n_rows * sizeof(*copy));
	*ret_n = expansion->n_rows;
	*ret = copy;
	return 0;
}

/* ---- the whole ---- */

int expand(const struct globs *globs, const struct expander *by, struct expansion **ret)
{
	_cleanup_here_ struct here root = { .fd = -1 };
	struct walk w = { .by = by, .into = calloc(1, sizeof(*w.into)) };
	size_t i;

	if (!w.into)
		return -ENOMEM;
	if (!top(&root))
		w.error = -ENOMEM;
	for (i = 0; i < globs->n && !is_over(&w); i++) {
		w.glob = &globs->glob[i];
		walk(&w, &root, w.glob->text);
	}
	if (w.error) {
		expansion_free(w.into);
		return w.error;
	}
	*ret = w.into;
	return 0;
}

static bool is_at(const char *path, const char *up, const char *name)
{
	size_t length = strlen(up);

	return !strncmp(path, up, length) && path[length] == '/' &&
	       is_below(path + length + 1, name);
}

/* What is kept stays in its order; the rows are made anew. */
static void forgot(struct expansion *expansion, size_t kept, size_t sorted)
{
	size_t i;

	if (kept == expansion->n)
		return;
	expansion->n = kept;
	expansion->sorted = sorted;
	expansion->n_rows = 0;
	for (i = 0; i < kept; i++)
		expansion->folder[i].has_row = false;
}

void expansion_forget(struct expansion *expansion, const char *path, const char *name)
{
	size_t i, kept = 0, sorted = 0;

	for (i = 0; i < expansion->n; i++) {
		struct folder *folder = &expansion->folder[i];

		if (is_at(folder->path, path, name)) {
			free(folder->path);
			continue;
		}
		sorted += i < expansion->sorted;
		expansion->folder[kept++] = *folder;
	}
	forgot(expansion, kept, sorted);
}

int expand_more(struct expansion *expansion, const struct expander *by, const char *path,
		const struct glob *glob, const char *part, const char *name)
{
	_cleanup_here_ struct here root = { .fd = -1 }, at = { .fd = -1 };
	struct walk w = { .by = by, .glob = glob, .into = expansion };
	unsigned int links = LINKS_MOST; /* there are none in it */

	if (!top(&root))
		return -ENOMEM;
	if (chase(&root, path, &links, &at))
		go(&w, &at, name, part + part_length(part));
	return w.error;
}

void expansion_free(struct expansion *expansion)
{
	size_t i;

	if (!expansion)
		return;
	for (i = 0; i < expansion->n; i++)
		free(expansion->folder[i].path);
	free(expansion->folder);
	free(expansion->row);
	tdestroy(expansion->bills, free);
	free(expansion);
}

bool expansion_is_full(const struct expansion *expansion)
{
	return expansion->full;
}

bool expansion_is_greedy(const struct expansion *expansion, __u32 *ret_uid)
{
	*ret_uid = expansion->greedy_uid;
	return expansion->greedy;
}

bool expansion_is_wide(const struct expansion *expansion, __u32 *ret_uid)
{
	*ret_uid = expansion->wide_uid;
	return expansion->wide;
}
