/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "globs.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

/* ---- a list of them ---- */

int globs_add(struct globs *globs, const char *text, __u64 set, __u32 flags)
{
	struct glob *grown;
	size_t i;

	for (i = 0; i < globs->n && strcmp(globs->glob[i].text, text); i++)
		;
	if (i == globs->n) {
		_cleanup_free_ char *copied = strdup(text);

		grown = reallocarray(globs->glob, globs->n + 1, sizeof(*grown));
		if (grown)
			globs->glob = grown;
		if (!grown || !copied)
			return -ENOMEM;
		globs->glob[globs->n++] = (struct glob){ .text = take_pointer(&copied) };
	}
	globs->glob[i].set |= set;
	globs->glob[i].flags |= flags;
	return 0;
}

int globs_copy(const struct globs *globs, struct globs *ret)
{
	struct globs copied = {};
	int error = 0;
	size_t i;

	for (i = 0; !error && i < globs->n; i++)
		error = globs_add(&copied, globs->glob[i].text, globs->glob[i].set,
				  globs->glob[i].flags);
	if (error) {
		globs_clear(&copied);
		return error;
	}
	*ret = copied;
	return 0;
}

void globs_clear(struct globs *globs)
{
	size_t i;

	for (i = 0; i < globs->n; i++)
		free(globs->glob[i].text);
	free(globs->glob);
	*globs = (struct globs){};
}

/* ---- what may be written ---- */

static bool has_name(const char *path, const char *name)
{
	size_t length = strlen(name);
	const char *at;

	for (at = path; (at = strstr(at, name)); at++)
		if ((at == path || at[-1] == '/') && (!at[length] || at[length] == '/'))
			return true;
	return false;
}

/* Of any path. */
static const char *path_fault(const char *glob)
{
	size_t length = strlen(glob);

	if (length >= PATH_MAX)
		return "is too long: write a shorter path";
	if (length > 1 && glob[length - 1] == '/')
		return "ends with a slash: write it without";
	if (strstr(glob, "//"))
		return "has two slashes in a row: write one";
	if (has_name(glob, ".") || has_name(glob, ".."))
		return "has a . or .. in it: write the path itself";
	if (strstr(glob, "**"))
		return "has ** in it, which is no more than *: write one * for each level";
	return NULL;
}

const char *unit_glob_fault(const char *glob)
{
	const char *fault = path_fault(glob);

	if (fault)
		return fault;
	if (strchr(glob, '/') && *glob != '/')
		return "is a part of a path: write the whole one, from a / on, or one name of it";
	if (!strncmp(glob, "/sys/", 5))
		return "is a path in the filesystem: write that below the mount of cgroup2, as in "
		       "\"/system.slice/php-fpm.service\"";
	if (!strcmp(glob, "/") || !strcmp(glob, "*") || !strcmp(glob, "/*"))
		return "is every cgroup: leave `units` away for all, or write which, as in "
		       "\"docker-*.scope\"";
	return NULL;
}

const char *dir_glob_fault(const char *glob)
{
	if (*glob != '/')
		return "is a relative path: write one that begins with /";
	if (!strcmp(glob, "/"))
		return "is every folder: leave it away, or write which, as in \"/var/www/*\"";
	return path_fault(glob);
}

/* ---- what it matches ---- */

bool unit_glob_matches(const char *glob, const char *path)
{
	const char *name = strrchr(path, '/');

	if (strchr(glob, '/'))
		return !fnmatch(glob, path, FNM_PATHNAME | FNM_NOESCAPE);
	return !fnmatch(glob, name ? name + 1 : path, FNM_NOESCAPE);
}

__u64 unit_globs_match(const struct globs *globs, const char *path)
{
	__u64 set = 0;
	size_t i;

	for (i = 0; i < globs->n; i++)
		if ((globs->glob[i].set & ~set) && unit_glob_matches(globs->glob[i].text, path))
			set |= globs->glob[i].set;
	return set;
}
