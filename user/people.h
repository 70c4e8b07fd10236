/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The users and groups of this machine, read once so that 100 000 names can be looked up.
 * Those that their directory does not list (it can often only be asked) are asked by name,
 * until two seconds were spent on names that nobody has.
 */
#ifndef SMTPWALL_PEOPLE_H
#define SMTPWALL_PEOPLE_H

#include <stddef.h>
#include <stdint.h>

enum people_table { PEOPLE_USERS, PEOPLE_GROUPS, PEOPLE_TABLES };

struct people_entry {
	char *name;
	uint32_t id;
	uint32_t primary; /* of a user: gid */
	char **member;	  /* of a group: names, NULL behind the last */
};

struct people;

/* All that getpwent(3) and getgrent(3) list. */
int people_load(struct people **ret);
/* Nobody, and nobody is asked for: tests add whom they want. */
int people_new(struct people **ret);
void people_free(struct people *people);

/* Copies. `member` may be NULL. */
int people_add(struct people *people, enum people_table table, const struct people_entry *entry);

/* The entry of a name, or NULL. It lives until the next look-up or addition. */
const struct people_entry *people_find(struct people *people, enum people_table table,
				       const char *name);
/* The first name of an id, or NULL. Asks nobody. */
const char *people_name(struct people *people, enum people_table table, uint32_t id);
/* Those known up to now: the listed, and who was asked for and found. */
const struct people_entry *people_all(struct people *people, enum people_table table,
				      size_t *ret_n);

#endif
