// SPDX-License-Identifier: GPL-2.0-or-later
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include <smtpwall/names.h>

#include "attach.h"
#include "cleanup.h"
#include "gate.h"
#include "log.h"

int attach_cgroup(struct kernel *kernel, size_t hook)
{
	char path[PATH_LEN];
	int link, r;

	gate_path(kernel, cgroup_hooks[hook].pin, path);
	r = hook_cgroup(gate_program(kernel, cgroup_hooks[hook].program), kernel->cgroup_fd,
			cgroup_hooks[hook].type, path, &link);
	if (r < 0)
		return log_errno(r, "cannot attach '%s' to the cgroup '%s'",
				 cgroup_hooks[hook].program, kernel->cgroup);
	closep(&kernel->links[hook]);
	kernel->links[hook] = link;
	return 0;
}

/* Takes back what this start did to a hook: the earlier program is put back into its link, a link
 * that is new goes. */
static void undo_cgroup(struct kernel *kernel, size_t hook, int before)
{
	char path[PATH_LEN];

	if (kernel->links[hook] < 0)
		return;
	if (before >= 0) {
		bpf_link_update(kernel->links[hook], before, NULL);
	} else {
		gate_path(kernel, cgroup_hooks[hook].pin, path);
		bpf_link_detach(kernel->links[hook]);
		unlink(path);
	}
	closep(&kernel->links[hook]);
}

/* ---- from another version ---- */

#define HOLD_S 30 /* at most, should we die meanwhile: then the gate goes on with what it has */

/* Ours hold what is SMTP from the moment when they are attached: see is_held() in bpf/. */
static int hold(struct kernel *kernel, bool held)
{
	struct sw_control control;
	int r = maps_control(kernel->maps, &control);

	if (r >= 0) {
		control.held_until_s = held ? boot_ns() / 1000000000 + HOLD_S : 0;
		r = maps_control_write(kernel->maps, &control);
	}
	return r < 0 ? log_errno(r, "cannot write the map 'control'") : 0;
}

/* Until no old program runs any more on any CPU: they run in RCU read-side sections. */
static void await_old_programs(void)
{
	const struct timespec pause = { .tv_nsec = 100000000 };

	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0)
		nanosleep(&pause, NULL);
}

/* Blocks that were carried over are as if the new rules had met them in a reload. */
static int adapt_carried(struct kernel *kernel)
{
	_cleanup_free_ struct sw_rules *before = calloc(1, sizeof(*before));
	_cleanup_free_ struct sw_rules *now = calloc(1, sizeof(*now));
	int r = before && now ? convert_rules(kernel->conversion, before) : -ENOMEM;

	if (r >= 0 || r == -ENOENT)
		r = maps_rules(kernel->maps, now);
	r = r < 0 ? r : adapt_blocks(kernel, now, before);
	return r < 0 ? log_errno(r, "cannot adapt the blocks to the new rules") : 0;
}

static int carry_over(struct kernel *kernel)
{
	uint64_t start_ns = boot_ns();
	int r;

	await_old_programs();
	r = convert_rows(kernel->conversion);
	r = r < 0 ? r : adapt_carried(kernel);
	r = r < 0 ? r : convert_end(kernel->conversion);
	if (r < 0)
		return r;
	convert_free(kernel->conversion);
	kernel->conversion = NULL;
	log_notice("what version %u of the maps held was carried over into version %u; mail waited "
		   "for %u ms",
		   kernel->other_abi, SW_ABI_VERSION,
		   (unsigned int)((boot_ns() - start_ns) / 1000000));
	return 0;
}

/* The name of a pin below links/: is it a hook of this version, or an interface's? */
static bool is_known(const char *name, const void *userdata)
{
	(void)userdata;
	for (size_t i = 0; i < CGROUP_HOOKS; i++)
		if (strcmp(name, cgroup_hooks[i].pin + strlen(SW_PIN_LINKS "/")) == 0)
			return true;
	return is_interface_pin(name);
}

static int attach_hooks(struct kernel *kernel)
{
	int r = 0;

	for (size_t i = 0; i < CGROUP_HOOKS && r >= 0; i++)
		r = attach_cgroup(kernel, i);
	return r;
}

/* Under the lock, so that nobody edits maps that are left. */
static int take_over(struct kernel *kernel)
{
	struct replaced *replaced = NULL;
	size_t n = 0;
	int r = maps_lock(kernel->maps);

	if (r < 0)
		return log_errno(r, "cannot lock the maps");
	r = hold(kernel, true);
	r = r < 0 ? r : attach_hooks(kernel);
	r = r < 0 ? r : wires_replace(kernel, &replaced, &n);
	r = r < 0 ? r : carry_over(kernel);
	if (r < 0)
		wires_give_back(kernel, replaced, n);
	else
		hold(kernel, false); /* or it ends by itself, or with the next start */
	wires_forget(replaced, n);
	maps_unlock(kernel->maps);
	return r;
}

/* ---- */

/* Half a gate would be worse than the old one, or none. */
int kernel_attach(struct kernel *kernel)
{
	int before[CGROUP_HOOKS], r;
	char path[PATH_LEN];

	for (size_t i = 0; i < CGROUP_HOOKS; i++) {
		gate_path(kernel, cgroup_hooks[i].pin, path);
		before[i] = -1;
		hook_program(path, &before[i]);
	}
	r = kernel->conversion ? take_over(kernel) : attach_hooks(kernel);
	for (size_t i = 0; i < CGROUP_HOOKS; i++) {
		if (r < 0)
			undo_cgroup(kernel, i, before[i]);
		closep(&before[i]);
	}
	if (r < 0)
		remove_fresh_pins(kernel);
	else
		detach_others(kernel->pin_dir, is_known, NULL); /* of a version before */
	return r;
}
