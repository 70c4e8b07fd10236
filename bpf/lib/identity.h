/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is calling? Never the socket's uid (its creator's, changed by fchown, 0 in a private
 * namespace), but the task that calls connect():
 *   - a task of the machine: its real uid, or its effective one if the real one is root, so that
 *     a program that a user runs setuid is the user, and one that root runs for a user too;
 *   - inside a user namespace: the owner of the outermost one, so that 65 536 subordinate ids
 *     are one person, unless root owns it;
 *   - that, or another pid namespace, is a container: judged as its unit;
 *   - a kernel thread is nobody: it connects for somebody, and the uid 0 that it has says nothing.
 * The TCP connections that an MPTCP connection takes in later are opened by such a thread, or by a
 * path manager: they are the sender's who opened the first.
 */
#ifndef SMTPWALL_IDENTITY_H
#define SMTPWALL_IDENTITY_H

#include <bpf/bpf_core_read.h>

#include "kernel.h"
#include "maps.h"
#include "place.h"
#include "policy.h"

#define NAMESPACES_MAX 33 /* the kernel nests user namespaces at most 32 deep */

/* The user namespace right below the machine's, or NULL if there is none above. */
static __always_inline struct user_namespace *outermost_below(struct user_namespace *ns,
							      __u32 machine)
{
	int i;

	for (i = 0; i < NAMESPACES_MAX; i++) {
		struct user_namespace *parent = kernel_read(ns, parent);

		if (!parent)
			return NULL;
		if (kernel_read(parent, ns.inum) == machine)
			return ns;
		ns = parent;
	}
	return NULL;
}

static __always_inline struct pid_namespace *pid_namespace_of(struct task_struct *task)
{
	struct pid *pid = kernel_read(task, thread_pid);
	__u32 level = kernel_read(pid, level);
	struct upid *numbers = (void *)pid + bpf_core_field_offset(struct pid, numbers);
	struct upid *own = (void *)numbers + level * bpf_core_type_size(struct upid);

	return kernel_read(own, ns);
}

/*
 * Whoever made the outermost pid namespace below the machine's: one that belongs to the machine's
 * user namespace was made by root, and no user namespace below it makes its tasks the machine's.
 */
static __always_inline bool in_container_of_root(struct task_struct *task,
						 const struct sw_control *control)
{
	struct pid_namespace *ns = pid_namespace_of(task), *parent;
	int i;

	for (i = 0; i < NAMESPACES_MAX && ns; i++) {
		parent = kernel_read(ns, parent);
		if (kernel_read(ns, ns.inum) == control->pid_ns)
			return false;
		if (!parent || kernel_read(parent, ns.inum) == control->pid_ns)
			return kernel_read(ns, user_ns, ns.inum) == control->user_ns;
		ns = parent;
	}
	return true;
}

static __always_inline bool owned_by_root(struct cgroup *cgroup)
{
	struct kernfs_iattrs *attributes = kernel_read(cgroup, kn, iattr);

	return !attributes || kernel_read(attributes, ia_uid.val) == 0;
}

/*
 * The cgroup that a task is a unit by: the root of its cgroup namespace (a container sees nothing
 * above, and may make what it likes below), else the nearest ancestor whose directory root owns (a
 * user may make scopes below).
 */
static __always_inline struct cgroup *unit_of(struct task_struct *task)
{
	struct cgroup *cgroup = kernel_read(task, nsproxy, cgroup_ns, root_cset, dfl_cgrp);
	struct cgroup *parent;
	int i;

	/* What was delegated to it is one unit, whatever namespaces it makes of parts of that. */
	for (i = 0; i < CGROUPS_MAX && !owned_by_root(cgroup); i++) {
		parent = parent_of(cgroup);
		if (!parent || owned_by_root(parent))
			break;
		cgroup = parent;
	}
	if (parent_of(cgroup))
		return cgroup;

	cgroup = kernel_read(task, cgroups, dfl_cgrp);
	for (i = 0; i < CGROUPS_MAX && !owned_by_root(cgroup); i++) {
		parent = parent_of(cgroup);
		if (!parent)
			break;
		cgroup = parent;
	}
	return cgroup;
}

static __always_inline void nobody(struct sw_tag *tag)
{
	tag->uid = SW_UID_OVERFLOW;
	tag->gid = SW_UID_OVERFLOW;
	tag->flags |= SW_TAG_FOREIGN;
}

/* Fills the tag's uid or unit, gid and SW_TAG_UNIT, SW_TAG_FOREIGN from the current task. */
SUBPROGRAM int identify_task(struct sw_tag *tag)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct cred *cred = kernel_read(task, cred);
	struct user_namespace *ns = kernel_read(cred, user_ns);
	const struct sw_control *control = control_get();

	if (!tag || !control)
		return 0;
	if (kernel_read(task, flags) & PF_KTHREAD) {
		nobody(tag);
		return 0;
	}
	tag->uid = kernel_read(cred, uid.val);
	if (tag->uid == 0)
		tag->uid = kernel_read(cred, euid.val);
	tag->gid = kernel_read(cred, egid.val);

	if (kernel_read(ns, ns.inum) != control->user_ns) {
		ns = outermost_below(ns, control->user_ns);
		tag->uid = ns ? kernel_read(ns, owner.val) : 0;
		tag->gid = SW_UID_OVERFLOW;
		tag->flags |= SW_TAG_FOREIGN;
		if (tag->uid == 0)
			tag->flags |= SW_TAG_UNIT;
	}
	if (in_container_of_root(task, control))
		tag->flags |= SW_TAG_FOREIGN | SW_TAG_UNIT;
	tag->uid = person_of(tag->uid);
	return 0;
}

/* What is dear to find: for a container it says who it is, for others only SMTP needs it. */
static __always_inline void locate(struct sw_tag *tag, struct whereabouts *w, bool smtp)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const struct sw_control *control = control_get();

	if (!control || tag->uid == SW_UID_OVERFLOW)
		return;
	if (smtp || (tag->flags & SW_TAG_UNIT))
		find_unit(tag, address_of(unit_of(task)), control->generation);
	if (smtp)
		find_folder(tag, w, control->generation);
}

#define TAG_WHO (SW_TAG_UNIT | SW_TAG_FOREIGN | SW_TAG_NETNS | SW_TAG_DIR | SW_TAG_SITE)

static __always_inline void identity_copy(struct sw_tag *to, const struct sw_tag *from)
{
	to->uid = from->uid;
	to->gid = from->gid;
	to->unit = from->unit;
	to->cgroup = from->cgroup;
	to->dir = from->dir;
	to->place = from->place;
	to->flags = from->flags & TAG_WHO;
}

static __always_inline void identify_caller(struct sw_tag *tag, struct bpf_sock_addr *ctx,
					    struct whereabouts *w, bool smtp)
{
	const struct sw_control *control = control_get();

	identify_task(tag);
	locate(tag, w, smtp);
	if (control && bpf_get_netns_cookie(ctx) != control->netns_cookie)
		tag->flags |= SW_TAG_NETNS;
}

/* The first subflow leaves its sender on the MPTCP socket, where the later ones find it. */
static __always_inline void identify_subflow(struct sw_tag *tag, struct bpf_sock_addr *ctx,
					     struct mptcp_sock *whole, struct whereabouts *w,
					     bool smtp)
{
	bool first = kernel_read(whole, first) == (void *)ctx->sk;
	struct sw_tag *kept =
		bpf_sk_storage_get(&tags, whole, NULL, first ? BPF_SK_STORAGE_GET_F_CREATE : 0);

	if (first)
		identify_caller(tag, ctx, w, smtp);
	if (kept && first)
		identity_copy(kept, tag);
	else if (kept)
		identity_copy(tag, kept);
	else if (!first)
		nobody(tag);
}

static __always_inline struct mptcp_sock *mptcp_of(struct bpf_sock_addr *ctx)
{
	if (!ctx->sk || !bpf_core_field_exists(struct mptcp_sock, first) ||
	    !bpf_core_enum_value_exists(enum bpf_func_id___later,
					BPF_FUNC_skc_to_mptcp_sock___later))
		return NULL;
	return bpf_skc_to_mptcp_sock(ctx->sk);
}

/* Fills who is behind the attempt into a tag that is zeroed, and, for SMTP, where he is. */
SUBPROGRAM int identify(struct sw_tag *tag, struct bpf_sock_addr *ctx, struct whereabouts *w,
			__u32 smtp)
{
	struct mptcp_sock *whole = mptcp_of(ctx);

	if (!tag || !w)
		return 0;
	if (whole)
		identify_subflow(tag, ctx, whole, w, smtp);
	else
		identify_caller(tag, ctx, w, smtp);
	return 0;
}

#endif
