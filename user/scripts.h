/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which files of a folder could have sent mail: those that changed last and call what opens
 * connections or sends. The folder is hostile: what is read of it is capped, and for how long, no
 * link is followed, and nothing but regular files is opened.
 */
#ifndef SMTPWALL_SCRIPTS_H
#define SMTPWALL_SCRIPTS_H

#include <stddef.h>
#include <stdint.h>

#define SCRIPTS 5
#define SCRIPT_PATH_LEN 512

struct script {
	char path[SCRIPT_PATH_LEN]; /* below the folder */
	int64_t changed_s;	    /* its ctime, which touch(1) cannot set back */
	uint64_t calls;		    /* bit i: script_call(i) */
};

/*
 * Looks into the folder and two levels below. Returns how many, the latest change first. When the
 * time is over, those of what was read so far; what hangs in a filesystem it cannot end.
 */
size_t scripts_find(int folder, uint64_t most_ns, struct script ret[static SCRIPTS]);
/* "fsockopen"; NULL: there is no such bit. */
const char *script_call(unsigned int bit);

#endif
