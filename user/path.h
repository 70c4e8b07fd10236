/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The paths of folders and cgroups, as the kernel programs have them. Pure. */
#ifndef SMTPWALL_USER_PATH_H
#define SMTPWALL_USER_PATH_H

#include <stddef.h>
#include <stdint.h>

#include <smtpwall/abi.h>

/*
 * The number of a cgroup's path below the cgroup2 mount, "/system.slice/x.service": sw_subject.unit
 * (see smtpwall/path.h). The cgroup need not exist.
 */
uint64_t unit_hash(const char *path);

#define PATH_TEXT_LEN (SW_PATH_LEN + 8) /* room for every sw_path */

/*
 * The path without its `skip` deepest names, from the root on: "/var/www/shop"; ".../www/shop" if
 * it was cut on the way to the root. Still the attacker's text: who shows it cleans it. Returns its
 * length, -ENAMETOOLONG, or -EBADMSG: a name was changed while the kernel read it.
 */
int path_text(const struct sw_path *path, unsigned int skip, char *out, size_t size);

#endif
