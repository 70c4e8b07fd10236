/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Subordinate uids, from subuid(5): which person answers for which. */
#ifndef SMTPWALL_SUBIDS_H
#define SMTPWALL_SUBIDS_H

#include <smtpwall/abi.h>

#include "config.h"

/*
 * Reads `path`, a file that may be missing. Ranges of root are left out: it lends its own to
 * containers, and nobody is to become root by one. What cannot be read, ranges that overlap and
 * those beyond SW_SUBIDS are warnings in `findings`. -ENOMEM. The caller frees.
 */
int subids_load(const char *path, struct findings *findings, struct sw_subids **ret);

#endif
