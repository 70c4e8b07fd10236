// SPDX-License-Identifier: GPL-2.0-or-later
#include "mounts.h"

#include <errno.h>
#include <linux/magic.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "cleanup.h"
#include "log.h"

#define BPFFS_DIR "/sys/fs/bpf"
#define OWN_CGROUP_DIR "/run/smtpwall-cgroup2"

static void endmntentp(FILE **f)
{
	if (*f)
		endmntent(*f);
}

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && fs.f_type == BPF_FS_MAGIC;
}

/* The nearest ancestor that exists, `path` included; cuts `path` to it. */
static void cut_to_existing(char *path)
{
	struct stat st;
	char *slash;

	while (stat(path, &st) < 0 && (slash = strrchr(path, '/')) && slash != path)
		*slash = '\0';
}

static bool is_below(const char *path, const char *dir)
{
	size_t length = strlen(dir);

	return strncmp(path, dir, length) == 0 && (path[length] == '/' || !path[length]);
}

bool is_on_bpffs(const char *path)
{
	_cleanup_free_ char *existing = strdup(path);

	if (!existing)
		return false;
	cut_to_existing(existing);
	return is_bpffs(existing);
}

/* The top of a bpffs is everybody's. */
static bool is_mount_point(const char *path)
{
	_cleanup_free_ char *up = NULL;
	struct stat st, parent;

	if (asprintf(&up, "%s/..", path) < 0) {
		up = NULL;
		return false;
	}
	return stat(path, &st) == 0 && stat(up, &parent) == 0 && st.st_dev != parent.st_dev;
}

int check_pin_dir(const char *pin_dir)
{
	if (!is_mount_point(pin_dir))
		return 0;
	log_error("'%s' is where a filesystem is mounted: pin_dir must be a directory of its own, "
		  "as '%s/smtpwall'",
		  pin_dir, pin_dir);
	return -EINVAL;
}

int mount_bpffs(const char *pin_dir, bool *ret_mounted)
{
	_cleanup_free_ char *existing = strdup(pin_dir);

	if (!existing)
		return log_errno(-ENOMEM, "cannot look at '%s'", pin_dir);
	cut_to_existing(existing);
	if (is_bpffs(existing)) {
		*ret_mounted = false;
		return 0;
	}
	if (!is_below(pin_dir, BPFFS_DIR)) {
		log_error("'%s' is not on a bpffs, which holds the gate: `mount -t bpf bpf %s`, or "
			  "leave pin_dir at its default",
			  pin_dir, existing);
		return -ENOTSUP;
	}
	if (mount("bpf", BPFFS_DIR, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=700") < 0)
		return log_errno(-errno,
				 "cannot mount bpffs, try `mount -t bpf bpf " BPFFS_DIR "`");
	*ret_mounted = true;
	return 0;
}

int cgroup2_mount(char **ret)
{
	_cleanup_(endmntentp) FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *m;
	char *path;

	if (!mounts)
		return -errno;
	while ((m = getmntent(mounts))) {
		if (strcmp(m->mnt_type, "cgroup2") != 0)
			continue;
		path = strdup(m->mnt_dir);
		if (!path)
			return -ENOMEM;
		*ret = path;
		return 0;
	}
	return -ENOENT;
}

static int mount_own_cgroup2(char **ret_path)
{
	char *path = strdup(OWN_CGROUP_DIR);

	if (!path)
		return log_errno(-ENOMEM, "cannot mount cgroup2");
	if ((mkdir(path, 0700) < 0 && errno != EEXIST) ||
	    mount("cgroup2", path, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0) {
		int r = log_errno(-errno, "cgroup2 is not mounted and cannot be, try `mount -t "
					  "cgroup2 cgroup2 /sys/fs/cgroup`");

		free(path);
		return r;
	}
	*ret_path = path;
	return 0;
}

static int check_cgroup2(const char *path)
{
	struct statfs fs;

	if (statfs(path, &fs) < 0)
		return log_errno(-errno, "cannot use the cgroup '%s'", path);
	if (fs.f_type != CGROUP2_SUPER_MAGIC) {
		log_error("'%s' is no cgroup v2 directory: write `cgroup = auto`", path);
		return -ENOTSUP;
	}
	return 0;
}

int mount_cgroup2(const char *configured, char **ret_path, bool *ret_mounted)
{
	bool mounted = false;
	char *path;
	int r;

	if (strcmp(configured, "auto") != 0) {
		r = check_cgroup2(configured);
		path = r < 0 ? NULL : strdup(configured);
		if (!path)
			return r < 0 ? r : log_errno(-ENOMEM, "cannot use '%s'", configured);
	} else if (cgroup2_mount(&path) < 0) {
		r = mount_own_cgroup2(&path);
		if (r < 0)
			return r;
		mounted = true;
	}
	*ret_path = path;
	*ret_mounted = mounted;
	return 0;
}

void unmount_bpffs(void)
{
	umount2(BPFFS_DIR, 0);
}

void unmount_cgroup2(void)
{
	if (umount2(OWN_CGROUP_DIR, 0) == 0)
		rmdir(OWN_CGROUP_DIR);
}
