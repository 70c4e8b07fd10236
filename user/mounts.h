/* SPDX-License-Identifier: GPL-2.0-or-later */
/* bpffs and cgroup2: where they are mounted, and mounting them where they are not. */
#ifndef SMTPWALL_MOUNTS_H
#define SMTPWALL_MOUNTS_H

#include <stdbool.h>

/*
 * Makes sure that `pin_dir` will be on a bpffs. Mounts one on /sys/fs/bpf if `pin_dir` is below
 * it and none is there (*ret_mounted); elsewhere tells which command the administrator needs.
 */
int mount_bpffs(const char *pin_dir, bool *ret_mounted);
/* Is `path`, or will it be once it is made? */
bool is_on_bpffs(const char *path);
/* Refuses one that is a mount point. Tells why. */
int check_pin_dir(const char *pin_dir);

/*
 * The path where cgroup programs attach: `configured`, or for "auto" the mount point of cgroup2,
 * mounted if nothing has it (*ret_mounted). The caller frees.
 */
int mount_cgroup2(const char *configured, char **ret_path, bool *ret_mounted);

/* Where cgroup2 is mounted. The caller frees. -ENOENT: nowhere; silently. */
int cgroup2_mount(char **ret);

/* Takes back what we mounted; silently if others use it. */
void unmount_bpffs(void);
void unmount_cgroup2(void);

#endif
