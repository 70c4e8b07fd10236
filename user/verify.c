// SPDX-License-Identifier: GPL-2.0-or-later
#include <bpf/bpf.h>
#include <errno.h>
#include <sys/stat.h>

#include <smtpwall/names.h>

#include "cleanup.h"
#include "gate.h"
#include "log.h"
#include "mounts.h"

#define FAILED_AGAIN_NS 60000000000ULL

bool failed_lately(uint64_t failed_ns)
{
	return failed_ns && boot_ns() - failed_ns < FAILED_AGAIN_NS;
}

int pin_again(const struct kernel *kernel, int fd, const char *name)
{
	char path[PATH_LEN];

	gate_path(kernel, name, path);
	if (access(path, F_OK) < 0 && bpf_obj_pin(fd, path) < 0)
		return log_errno(-errno, "cannot pin '%s' again", path);
	return 0;
}

static bool wire_pins_stand(const struct kernel *kernel)
{
	for (size_t i = 0; i < kernel->n_wires; i++)
		if (!wire_is_pinned(kernel, &kernel->wire[i]))
			return false;
	return true;
}

static bool pins_stand(const struct kernel *kernel)
{
	struct bpf_map *map;

	bpf_object__for_each_map (map, kernel->object)
		if (bpf_map__pin_path(map) && access(bpf_map__pin_path(map), F_OK) < 0)
			return false;
	for (size_t i = 0; i < CGROUP_HOOKS; i++)
		if (kernel->links[i] >= 0 && !gate_is_pinned(kernel, cgroup_hooks[i].pin))
			return false;
	for (size_t i = 0; i < TOOLS; i++)
		if (!gate_is_pinned(kernel, tools[i].pin))
			return false;
	return wire_pins_stand(kernel);
}

/* A directory that was made anew is not the one whose lock we hold. */
static int lock_again(struct kernel *kernel)
{
	_cleanup_close_ int dir = -1;
	struct stat held, there;
	int r;

	if (fstat(kernel->dir, &held) == 0 && stat(kernel->pin_dir, &there) == 0 &&
	    held.st_dev == there.st_dev && held.st_ino == there.st_ino)
		return 0;
	r = lock_pin_dir(kernel->pin_dir, &dir);
	if (r < 0)
		return r;
	closep(&kernel->dir);
	kernel->dir = take_fd(&dir);
	return 0;
}

/* The held descriptors keep everything alive while the pins are gone. */
static int put_pins_back(struct kernel *kernel)
{
	struct bpf_map *map;
	bool mounted = false;
	int r = mount_bpffs(kernel->pin_dir, &mounted);

	r = r < 0 ? r : make_pin_dirs(kernel);
	r = r < 0 ? r : lock_again(kernel);
	if (r < 0)
		return r;
	bpf_object__for_each_map (map, kernel->object)
		if (r >= 0 && bpf_map__pin_path(map))
			r = pin_again(kernel, bpf_map__fd(map), bpf_map__name(map));
	for (size_t i = 0; i < TOOLS && r >= 0; i++)
		r = pin_again(kernel, gate_program(kernel, tools[i].program), tools[i].pin);
	for (size_t i = 0; i < CGROUP_HOOKS && r >= 0; i++)
		if (kernel->links[i] >= 0)
			r = pin_again(kernel, kernel->links[i], cgroup_hooks[i].pin);
	for (size_t i = 0; i < kernel->n_wires && r >= 0; i++)
		r = wire_pin_again(kernel, &kernel->wire[i]);
	return r;
}

/* The locks of editors are on a directory that may be a new one. */
static int reopen_maps(struct kernel *kernel)
{
	struct maps *maps;
	int r = maps_open(kernel->pin_dir, &maps);

	if (r < 0)
		return log_errno(r, "cannot open the maps in '%s' again", kernel->pin_dir);
	maps_close(kernel->maps);
	kernel->maps = maps;
	return 0;
}

static int verify_pins(struct kernel *kernel)
{
	bool on_bpffs;

	if (pins_stand(kernel)) {
		kernel->pins_failed_ns = 0;
		return 0;
	}
	/* A bpffs that was mounted since the last failure is worth another try at once. */
	on_bpffs = is_on_bpffs(kernel->pin_dir);
	if (failed_lately(kernel->pins_failed_ns) && on_bpffs == kernel->failed_on_bpffs)
		return 0;
	if (put_pins_back(kernel) >= 0 && reopen_maps(kernel) >= 0) {
		log_warning("somebody took pins in '%s' away: they are put back; nothing was let "
			    "through meanwhile",
			    kernel->pin_dir);
		return 1;
	}
	log_warning("somebody took pins in '%s' away: the gate stands on, and they are put back as "
		    "soon as that is possible",
		    kernel->pin_dir);
	kernel->pins_failed_ns = boot_ns();
	kernel->failed_on_bpffs = on_bpffs;
	return 0;
}

static int verify_cgroup(struct kernel *kernel, size_t hook)
{
	if (kernel->links[hook] < 0 || link_lives(kernel->links[hook])) {
		kernel->link_failed_ns[hook] = 0;
		return 0;
	}
	if (failed_lately(kernel->link_failed_ns[hook]))
		return 0;
	if (attach_cgroup(kernel, hook) >= 0) {
		log_warning("'%s' was taken off the cgroup '%s': it is put back",
			    cgroup_hooks[hook].program, kernel->cgroup);
		return 1;
	}
	kernel->link_failed_ns[hook] = boot_ns();
	return 0;
}

int kernel_verify(struct kernel *kernel)
{
	int repairs = verify_pins(kernel), r;

	for (size_t i = 0; i < CGROUP_HOOKS; i++)
		repairs += verify_cgroup(kernel, i);
	for (size_t i = 0; i < kernel->n_wires; i++) {
		r = wire_verify(kernel, &kernel->wire[i]);
		repairs += r > 0;
	}
	return repairs;
}
