/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The keys of the configuration: how the value of each is read and checked (for config.c). */
#ifndef SMTPWALL_CONFIG_KEYS_H
#define SMTPWALL_CONFIG_KEYS_H

#include <confuse.h>

#include "config.h"

#define SECTION_KEYS 24	 /* that a section may have */
#define PATH_LONGEST 200 /* a pin's name comes behind it, and `control` has room for 256 */

/* Of the file that is being read. */
struct reader {
	struct config *config;
	struct findings *findings;
	bool is_main;
	bool open; /* a brace of it is not closed */
	bool failed;
	cfg_t *file;
	struct policy_spec *policy; /* that is being read */
};

/* How one key is read: the member of config or policy_spec at `offset` is filled. */
struct key {
	const char *name;
	bool list;
	void (*read)(struct reader *r, cfg_opt_t *opt, void *member);
	size_t offset;
};

/* A section of the files, by the name that libconfuse gives it: root, exempt, policy. */
struct section {
	const char *name;
	const struct key *key;
	size_t n;
};

const struct section *section_named(const char *name);
const struct key *key_named(const struct section *section, const char *name);

/* What to write instead of a key (in a section) or word (of a key) that is not built, or NULL. */
const char *not_built(const char *in, const char *word);

/* Tells what is wrong at "file:line". The file is refused. */
__attribute__((__format__(__printf__, 3, 4))) void refuse(struct reader *r, const char *where,
							  const char *format, ...);
/* Where the option stands. */
const char *opt_where(struct reader *r, cfg_opt_t *opt);
/* strdup(), or refused. */
char *config_copy(struct reader *r, const char *text);

bool words_append(struct words *words, const char *word, const char *at);
void words_clear(struct words *words);

#endif
