/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whom the words of `users` and `groups` mean: ids. */
#ifndef SMTPWALL_WHO_H
#define SMTPWALL_WHO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "people.h"

struct id_range {
	uint32_t first, last;
};

struct ids {
	struct id_range *range;
	size_t n, room;
};

int ids_add(struct ids *ids, uint32_t first, uint32_t last);
void ids_clear(struct ids *ids);

/*
 * Adds to `ids` what one word means: a name, an id, a range, a glob, a list file. Who does not
 * exist is a warning in `findings`, and what is no such word an error (-EINVAL).
 */
int who_resolve(struct people *people, enum people_table table, const char *word, const char *at,
		struct findings *findings, struct ids *ids);
/* Adds to `users` the members of the groups (sorted here): primary and supplementary. */
int who_members(struct people *people, struct ids *groups, struct ids *users);

#endif
