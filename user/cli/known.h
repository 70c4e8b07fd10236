/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How many sites and units the live rules know. */
#ifndef SMTPWALL_CLI_KNOWN_H
#define SMTPWALL_CLI_KNOWN_H

#include <stddef.h>

#include "maps.h"

struct known {
	size_t sites;
	size_t units; /* whole ones, however many cgroups they are */
};

int known_count(struct maps *maps, struct known *ret);

#endif
