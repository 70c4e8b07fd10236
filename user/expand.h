/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Globs of folders to the folders that are there now, as rows of the map `places`.
 *
 * Users own much of what such globs lead to, and make there what they like. So a symbolic link is
 * followed only where nobody but root can have put it: it is root's, and so are the folder that it
 * is in, which others may not write, and all above that (where others may, it has the sticky bit).
 * A user's link makes no other folder a site. And what users can make is bounded for each of them.
 */
#ifndef SMTPWALL_EXPAND_H
#define SMTPWALL_EXPAND_H

#include <stdatomic.h>

#include "policy.h"

#define PLACES_MOST 131072   /* rows of a map `places` */
#define PLACES_OF_USER 8192  /* folders of one user in folders that root does not rule */
#define LOOKS_AT_USER 262144 /* names looked at in folders of one user */
#define SEEKS_AT_USER 1024   /* folders of one user, likewise, in which names are sought */

/* Who helps. Nobody but this thread calls; what hangs here is a filesystem. */
struct expander {
	/* What the folder is to the kernel. */
	int (*identify)(int fd, struct sw_dir *ret, void *userdata);
	/*
	 * In this folder names are looked for that match `part`: the glob from there on, of which
	 * what is before the next slash counts. Told before they are, but of one user's folders
	 * only of the first SEEKS_AT_USER: in the others they are looked for all the same.
	 */
	void (*seek)(int fd, const char *path, const struct glob *glob, const char *part,
		     void *userdata);
	void *userdata;
	const atomic_bool *stop; /* gives up, with what was found */
};

struct expansion; /* what was found */

/* All that is there. The globs must live as long. -ENOMEM. */
int expand(const struct globs *globs, const struct expander *by, struct expansion **ret);
/* What was found as `name` in the folder `path`, and below it: another folder has that name now. */
void expansion_forget(struct expansion *expansion, const char *path, const char *name);
/* In the folder `path`, where `part` of `glob` is sought, `name` has come: that alone is added. */
int expand_more(struct expansion *expansion, const struct expander *by, const char *path,
		const struct glob *glob, const char *part, const char *name);
void expansion_free(struct expansion *expansion);

/* By dir, each once. The caller frees. */
int expansion_rows(struct expansion *expansion, struct place_row **ret, size_t *ret_n);
/* There are more than PLACES_MOST. */
bool expansion_is_full(const struct expansion *expansion);
/* Somebody has more than he may. */
bool expansion_is_greedy(const struct expansion *expansion, __u32 *ret_uid);
/* Of somebody's folders not all were told of. */
bool expansion_is_wide(const struct expansion *expansion, __u32 *ret_uid);

int place_row_order(const void *a, const void *b);

/* The beginning of a glob, up to a slash or its end: does it match the name? */
bool glob_part_matches(const char *glob, const char *name);

#endif
