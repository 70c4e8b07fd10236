/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The cgroups of this machine: which of them are whole units, which policies are about them, told
 * to the kernel as they come and go. A whole unit is what a glob of a policy or of `exempt.units`
 * matches, and the topmost cgroup on a path that ends in .service or .scope.
 *
 * A name is believed only where root alone gives names: below a cgroup that somebody else owns
 * nothing is looked at, nothing there is a unit of its own.
 */
#ifndef SMTPWALL_UNITS_H
#define SMTPWALL_UNITS_H

#include <systemd/sd-event.h>

#include "policy.h"

struct units;

/*
 * Reads the tree below `mount` (of cgroup2), but of it only what is above or below `attached`,
 * where the programs are. `put` is called for each change once there are rows; `match` NULL: the
 * row goes. It tells its failures.
 */
int units_new(const char *mount, const char *attached,
	      int (*put)(const struct sw_cgroup *cgroup, const struct sw_unit_match *match,
			 void *userdata),
	      void *userdata, struct units **ret);
void units_free(struct units *units);

/*
 * All rows, by the globs, which hold from now on and must live as long as they do. The caller
 * frees. -ENOMEM.
 */
int units_rows(struct units *units, const struct globs *globs, struct unit_row **ret,
	       size_t *ret_n);

/* From now on changes are seen as they happen; in a flood of them a piece at a time. */
int units_watch(struct units *units, sd_event *loop);
/* Changes up to now are seen at once, without waiting for their turn; of a flood, a piece. */
void units_hear(struct units *units);
/* Looks at everything, as if nothing were watched. */
void units_look(struct units *units);

#endif
