/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whose a cgroup is, as its path says. Pure. The path may be anybody's text. */
#ifndef SMTPWALL_SCOPE_H
#define SMTPWALL_SCOPE_H

#include <stdbool.h>

#define SCOPE_LEN 256

/* The system's unit: the outermost service or scope, "user@1000.service". */
bool scope_unit(const char *path, char ret[static SCOPE_LEN]);
/* The container's id or name as docker, podman, crio, containerd, lxc and systemd write it. */
bool scope_container(const char *path, char ret[static SCOPE_LEN]);

#endif
