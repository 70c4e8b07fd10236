/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The few kernel structures that identity and evidence walk, declared by hand: only the members that are
 * read, relocated to the running kernel at load (CO-RE).
 */
#ifndef SMTPWALL_KERNEL_TYPES_H
#define SMTPWALL_KERNEL_TYPES_H

#include <stdbool.h>

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

typedef struct {
	unsigned int val;
} kuid_t;

typedef struct {
	unsigned int val;
} kgid_t;

struct user_namespace {
	struct user_namespace *parent;
	int level;
	kuid_t owner;
	struct ns_common ns;
};

struct user_namespace;

struct pid_namespace {
	struct ns_common ns;
	struct pid_namespace *parent;
	struct user_namespace *user_ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct cred {
	kuid_t uid;
	kuid_t euid;
	kgid_t egid;
	struct user_namespace *user_ns;
};

struct kernfs_iattrs {
	kuid_t ia_uid;
};

struct kernfs_node {
	__u64 id;
	const char *name;
	struct kernfs_iattrs *iattr;
};

struct cgroup_subsys_state {
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct cgroup_namespace {
	struct css_set *root_cset;
};

struct nsproxy {
	struct cgroup_namespace *cgroup_ns;
};

struct net {
	__u64 net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	unsigned char skc_ipv6only : 1;
	possible_net_t skc_net;
};

struct super_block {
	__u32 s_dev;
};

struct inode {
	unsigned long i_ino;
	__u32 i_generation;
};

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

struct qstr {
	unsigned int len;
	const unsigned char *name;
};

struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct fs_struct {
	struct path pwd;
};

struct file {
	struct path f_path;
};

struct mm_struct {
	unsigned long arg_start, arg_end;
	struct file *exe_file;
};

struct mptcp_sock {
	struct sock *first;
};

struct task_struct {
	unsigned int flags;
	int tgid;
	char comm[16];
	struct cred *cred;
	struct nsproxy *nsproxy;
	struct css_set *cgroups;
	struct pid *thread_pid;
	struct task_struct *real_parent;
	struct fs_struct *fs;
	struct mm_struct *mm;
};

/* It begins with words, in every kernel: as them any octets can be read. */
struct rtnl_link_stats64 {
	__u64 rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors;
};

struct tcp_sock;

#pragma clang attribute pop

/* Of Linux 5.19 and 6.2. Not from <linux/bpf.h>: the one that we are built with may be older. */
enum bpf_func_id___later {
	BPF_FUNC_skc_to_mptcp_sock___later = 196,
	BPF_FUNC_cgrp_storage_get___later = 210,
};

extern void *bpf_rdonly_cast(void *address, __u32 type) __ksym __weak;

/* Of the same release, Linux 6.2: libbpf 1.1 cannot tell whether a function itself is there. */
#define CASTS                                                                                      \
	bpf_core_enum_value_exists(enum bpf_func_id___later, BPF_FUNC_cgrp_storage_get___later)

/* The structure at an address, of which nothing need be true. */
#define kernel_at(address, type)                                                                   \
	((type *)(CASTS ? bpf_rdonly_cast((void *)(address), bpf_core_type_id_kernel(type))        \
			: (void *)(address)))

/* The address of what was read: subprograms take numbers. */
static __always_inline __u64 address_of(void *structure)
{
	return CASTS ? (__u64)structure - (__u64)kernel_at(0, struct task_struct)
		     : (__u64)structure;
}

/*
 * A member of such a structure, or of one that it points to, and so on, or 0. Linux 6.2 and later
 * can do it with a load; before that it is a call of a helper, 20 times as dear.
 */
#define kernel_read(of, ...)                                                                       \
	___bpf_apply(kernel_read_, ___bpf_narg(__VA_ARGS__))(of, ##__VA_ARGS__)
#define kernel_read_1(of, member)                                                                  \
	({                                                                                         \
		typeof(*(of)) *of_ = (of);                                                         \
		typeof(of_->member) ret_;                                                          \
		if (CASTS)                                                                         \
			ret_ = kernel_at(of_, typeof(*(of)))->member;                              \
		else                                                                               \
			BPF_CORE_READ_INTO(&ret_, of_, member);                                    \
		ret_;                                                                              \
	})
#define kernel_read_2(of, a, b) kernel_read_1(kernel_read_1(of, a), b)
#define kernel_read_3(of, a, b, c) kernel_read_1(kernel_read_2(of, a, b), c)
#define kernel_read_4(of, a, b, c, d) kernel_read_1(kernel_read_3(of, a, b, c), d)

#define PF_KTHREAD 0x00200000 /* include/linux/sched.h: not a task of any user */

#endif
