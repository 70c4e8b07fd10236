// SPDX-License-Identifier: GPL-2.0-or-later
#include "attach.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <smtpwall/names.h>

#include "cleanup.h"
#include "hook.h"
#include "log.h"
#include "maps.h"
#include "mounts.h"

#define PATH_LEN 4096

static void closedirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* Of a pin below links/. */
static bool is_named(const char *name, const char *format, unsigned int *ret_ifindex)
{
	char whole[64], again[64];

	snprintf(whole, sizeof(whole), SW_PIN_LINKS "/%.40s", name);
	if (sscanf(whole, format, ret_ifindex) != 1)
		return false;
	snprintf(again, sizeof(again), format, *ret_ifindex);
	return strcmp(whole, again) == 0;
}

/* A marker of a clsact filter: the filter goes, and the qdisc too if we made it. */
static void remove_filter(const char *name)
{
	unsigned int ifindex;

	if (is_named(name, SW_PIN_CLSACT_OURS, &ifindex)) {
		unhook_clsact(ifindex);
		remove_clsact(ifindex);
	} else if (is_named(name, SW_PIN_CLSACT, &ifindex)) {
		unhook_clsact(ifindex);
	}
}

/* A link whose last pin goes detaches; but a daemon that was killed a moment ago may linger. */
static void detach_link(const char *path)
{
	_cleanup_close_ int link = bpf_obj_get(path);

	if (link >= 0)
		bpf_link_detach(link);
}

void unpin_others(const char *dir, bool (*keep)(const char *name, const void *userdata),
		  const void *userdata)
{
	_cleanup_(closedirp) DIR *pins = opendir(dir);
	char pin[PATH_LEN];
	struct dirent *entry;

	while (pins && (entry = readdir(pins))) {
		if (entry->d_name[0] == '.' || entry->d_type == DT_DIR ||
		    keep(entry->d_name, userdata))
			continue;
		snprintf(pin, sizeof(pin), "%s/%s", dir, entry->d_name);
		unlink(pin);
	}
}

static bool none(const char *name, const void *userdata)
{
	(void)name, (void)userdata;
	return false;
}

void unpin_all(const char *dir)
{
	unpin_others(dir, none, NULL);
	rmdir(dir);
}

static int remove_pins(const char *path, bool links)
{
	_cleanup_(closedirp) DIR *dir = opendir(path);
	char pin[PATH_LEN];
	struct dirent *entry;

	if (!dir)
		return errno == ENOENT ? 0 : log_errno(-errno, "cannot read '%s'", path);
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || entry->d_type == DT_DIR)
			continue;
		snprintf(pin, sizeof(pin), "%s/%s", path, entry->d_name);
		if (links) {
			remove_filter(entry->d_name);
			detach_link(pin);
		}
		if (unlink(pin) < 0)
			return log_errno(-errno, "cannot remove '%s'", pin);
	}
	if (rmdir(path) < 0)
		return log_errno(-errno, "cannot remove '%s'", path);
	return 0;
}

bool is_interface_pin(const char *name)
{
	unsigned int ifindex;

	return is_named(name, SW_PIN_EGRESS, &ifindex) || is_named(name, SW_PIN_CLSACT, &ifindex) ||
	       is_named(name, SW_PIN_CLSACT_OURS, &ifindex);
}

void detach_others(const char *pin_dir, bool (*keep)(const char *name, const void *userdata),
		   const void *userdata)
{
	char links[PATH_LEN], pin[2 * PATH_LEN];
	_cleanup_(closedirp) DIR *dir = NULL;
	struct dirent *entry;

	snprintf(links, sizeof(links), "%s/%s", pin_dir, SW_PIN_LINKS);
	dir = opendir(links);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || keep(entry->d_name, userdata))
			continue;
		snprintf(pin, sizeof(pin), "%s/%s", links, entry->d_name);
		remove_filter(entry->d_name);
		detach_link(pin);
		unlink(pin);
	}
}

/* What we mounted, as the maps remember it. Those of another version remember nothing for us. */
static uint32_t mounted_by_us(const char *pin_dir)
{
	struct sw_control control = {};
	struct maps *maps;

	if (maps_open(pin_dir, &maps) < 0)
		return 0;
	if (maps_control(maps, &control) < 0)
		control.mounted = 0;
	maps_close(maps);
	return control.mounted;
}

/* Everything in it is removed: it had better be ours. */
static int check_ours(const char *pin_dir, const char *links)
{
	if (is_on_bpffs(pin_dir) && (access(links, F_OK) == 0 || rmdir(pin_dir) == 0))
		return check_pin_dir(pin_dir);
	log_error("'%s' is no pin_dir of smtpwall: nothing was removed", pin_dir);
	return -EINVAL;
}

int detach_all(const char *pin_dir)
{
	uint32_t mounted = mounted_by_us(pin_dir);
	char links[PATH_LEN], next[PATH_LEN];
	int r;

	if (access(pin_dir, F_OK) < 0)
		return errno == ENOENT ? 0 : log_errno(-errno, "cannot look at '%s'", pin_dir);
	snprintf(links, sizeof(links), "%s/%s", pin_dir, SW_PIN_LINKS);
	r = check_ours(pin_dir, links);
	if (r < 0)
		return r;
	r = remove_pins(links, true);
	if (r < 0)
		return r;
	snprintf(next, sizeof(next), "%s/%s", pin_dir, SW_PIN_NEXT);
	unpin_all(next);
	r = remove_pins(pin_dir, false);
	if (r < 0)
		return r;
	if (mounted & SW_MOUNTED_CGROUP2)
		unmount_cgroup2();
	if (mounted & SW_MOUNTED_BPFFS)
		unmount_bpffs();
	return 0;
}
