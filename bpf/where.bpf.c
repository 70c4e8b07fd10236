// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tells the task that runs it what its working directory is to the kernel: for overlayfs and btrfs
 * stat(2) has other numbers. Attached nowhere: user space runs it with BPF_PROG_TEST_RUN.
 */
#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "lib/place.h"

SEC("syscall")
int where(struct sw_where *where)
{
	struct step step;

	step_start(&step, pwd_of((void *)bpf_get_current_task()));
	step_id(&step, &where->cwd);
	return 0;
}

char LICENSE[] SEC("license") __weak = "GPL";
