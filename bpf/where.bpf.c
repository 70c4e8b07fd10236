// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Tells the task that runs it what its working directory is to the kernel: for overlayfs and btrfs
 * stat(2) has other numbers. Attached nowhere: user space runs it with BPF_PROG_TEST_RUN.
 */
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "lib/kernel.h"
#include "lib/policy.h" /* for the whole types of the tables (see there) */

SEC("syscall")
int where(struct sw_where *where)
{
	struct task_struct *task = (void *)bpf_get_current_task();

	/* As connect() does in folders_search(). */
	where->cwd.inode = BPF_CORE_READ(task, fs, pwd.dentry, d_inode, i_ino);
	where->cwd.device = BPF_CORE_READ(task, fs, pwd.dentry, d_sb, s_dev);
	where->cwd.generation = BPF_CORE_READ(task, fs, pwd.dentry, d_inode, i_generation);
	return 0;
}

char LICENSE[] SEC("license") __weak = "GPL";
