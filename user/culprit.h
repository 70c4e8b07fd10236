/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What can be learned of the process that an evidence is about while it still lives, and of the
 * folder that it worked in. It may take long, for all of it is in the hands of who sent the mail:
 * a process of its own does it, which can be killed.
 */
#ifndef SMTPWALL_CULPRIT_H
#define SMTPWALL_CULPRIT_H

#include <stddef.h>
#include <sys/types.h>

#include <smtpwall/abi.h>

#include "scripts.h"

#define CULPRIT_FOLDERS 64

struct json_object;

/* What was found in folders so far: each is searched once, whoever worked in it. */
struct culprit_folders {
	struct culprit_folder {
		dev_t device;
		ino_t inode;
		struct script script[SCRIPTS];
		size_t n;
	} folder[CULPRIT_FOLDERS];
	size_t n;
};

/*
 * {"id", "exe", "cwd", "script", "container", "systemd_unit", "parents": [{"pid", "comm"}],
 *  "candidates": [{"path", "changed", "calls": []}], "guess"} without what is not known; text as it
 * is: who shows it cleans it. NULL: out of memory. The caller puts it.
 */
struct json_object *culprit_look(const struct sw_evidence *record, struct culprit_folders *folders);

/* Pure: the script that a CGI environment ("A=1\0B=2\0") is about, or NULL. */
const char *culprit_script(const char *environment, size_t length);

#endif
