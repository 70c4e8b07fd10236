/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Subjects as people write them: uid:1004, user:alice, dir:/var/www/shop,
 * unit:/system.slice/x.service, ip:10.8.0.7
 *
 * A folder is its device, its inode and that one's generation, a unit the hash of its path: how they
 * are called is kept beside the ledgers. A path stands for a folder only where it leads to this very
 * folder now; else the folder is written by number, dir:#8:1/131074/3405691582.
 */
#ifndef SMTPWALL_SUBJECT_H
#define SMTPWALL_SUBJECT_H

#include <stdbool.h>
#include <stddef.h>

#include "maps.h"

#define SUBJECT_LEN 544

/* What names are made of and looked up in. */
struct subject_names {
	struct maps *maps;	  /* NULL: folders are not found, units and folders are numbers */
	unsigned int ipv6_prefix; /* IPv6 is cut to so many bits */
	bool hurried;		  /* waits for no file system: what it must be asked is a number */
};

/*
 * -EINVAL: not a subject (*ret_hint says what to write instead; static text). -ENOENT: the user or
 * folder does not exist.
 */
int subject_parse(const struct subject_names *names, const char *text, struct sw_subject *ret,
		  const char **ret_hint);
/* The canonical text: "uid:1004", "dir:/var/www/shop", "unit:#a3c5…", "ip:2001:db8::/64". */
void subject_format(const struct subject_names *names, const struct sw_subject *subject,
		    char text[static SUBJECT_LEN]);
/*
 * For people: the user's name, the path of a folder even where it cannot be written as one, the
 * last name of a unit. As it is: who shows it cleans it. NULL: there is none. The caller frees.
 */
char *subject_name(const struct subject_names *names, const struct sw_subject *subject);

/* Which folder is there? -ENOENT: none. */
int subject_dir(const struct subject_names *names, const char *path, struct sw_dir *ret);

/* Keeps the path that a subject was asked for by, if nobody knows it by one yet. Under the lock. */
void subject_note(const struct subject_names *names, const char *text,
		  const struct sw_subject *subject);

#define SUBJECT_SAVED_LEN 640
/* For a file that outlives the boot: with the path, because the numbers of devices change. */
void subject_save(const struct subject_names *names, const struct sw_subject *subject,
		  char text[static SUBJECT_SAVED_LEN]);
/*
 * And back. -ENOENT: its folder is not there (yet). -ESTALE: what is there now is another folder.
 * `same_boot`: the numbers hold.
 */
int subject_load(const struct subject_names *names, const char *saved, bool same_boot,
		 struct sw_subject *ret);
/* What was saved in an earlier boot, to be saved in this one: the number of the device is void. */
void subject_save_again(const char *saved, char text[static SUBJECT_SAVED_LEN]);
/* What offences are counted by: one text for a subject, over reboots, too. */
void subject_offender(const struct subject_names *names, const struct sw_subject *subject,
		      char text[static SUBJECT_SAVED_LEN]);

/* An order of subjects, for sorting; 0: the same. Pure. */
int subject_compare(const struct sw_subject *a, const struct sw_subject *b);
/* "uid", "dir" …: before the colon, and for `list`. */
const char *subject_kind(enum sw_kind kind);

#endif
