/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is attached, asked from the kernel: a pin may outlive its attachment. */
#ifndef SMTPWALL_CLI_HOOKS_H
#define SMTPWALL_CLI_HOOKS_H

#include <stdbool.h>
#include <stddef.h>

#include "config.h"
#include "view.h"

struct hook {
	const char *name; /* "connect4", "egress" */
	char where[256];  /* cgroup or interface */
	const char *kind; /* "link", "tcx", "clsact"; NULL: it is missing */
};

/*
 * The hooks that should be, and those on interfaces besides. `config` says which interfaces are
 * outside; NULL (it cannot be read): only what is pinned is known. The caller frees.
 */
int hooks_find(const struct cli *cli, const struct view *view, const struct config *config,
	       struct hook **ret, size_t *ret_n);

#endif
