/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Globs of cgroups ("docker-*.scope", "/machine.slice/web-*") and of folders: what may be written,
 * who wrote it, what it matches. `*` never crosses a slash, and a backslash is one: systemd has
 * them in names. Pure.
 */
#ifndef SMTPWALL_GLOBS_H
#define SMTPWALL_GLOBS_H

#include <stdbool.h>
#include <stddef.h>

#include <smtpwall/abi.h>

struct glob {
	char *text;
	__u64 set;   /* of the policies that name it; SW_EXEMPT_BIT: `exempt.units` */
	__u32 flags; /* of a folder: SW_PLACE_* */
};

struct globs {
	struct glob *glob;
	size_t n;
};

/* Copies; what is there already gets the more of policies and flags. -ENOMEM. */
int globs_add(struct globs *globs, const char *text, __u64 set, __u32 flags);
int globs_copy(const struct globs *globs, struct globs *ret);
void globs_clear(struct globs *globs);

/* What is wrong with one, and what to write instead; NULL: nothing. */
const char *unit_glob_fault(const char *glob);
const char *dir_glob_fault(const char *glob);

/*
 * Does it match this very cgroup, not one above it? With a slash it is about the whole path below
 * the cgroup2 mount ("/system.slice/x.service"), without one about the last name.
 */
bool unit_glob_matches(const char *glob, const char *path);
/* All policies whose globs match this very cgroup. */
__u64 unit_globs_match(const struct globs *globs, const char *path);

#endif
