/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Takes evidence at connect(), for the process may be gone a moment later. Where there is no room,
 * none is taken.
 */
#ifndef SMTPWALL_WITNESS_H
#define SMTPWALL_WITNESS_H

#include "event.h"
#include "evidence.h"
#include "kernel.h"
#include "ledger.h"
#include "maps.h"
#include "place.h"

/* Numbers the attempt: `tag->evidence`. */
static __always_inline void evidence_begin(struct sw_tag *tag, __u64 now_ns)
{
	struct sw_ledger *row = ledger_of(tag, keeper_of(tag), now_ns);

	if (row)
		tag->evidence = now_ns * SW_EVIDENCE_LAST +
				__sync_fetch_and_add(&row->noted, 1) % SW_EVIDENCE_LAST;
}

static __always_inline void evidence_task(struct sw_evidence *e)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct mm_struct *mm = kernel_read(task, mm);
	struct file *exe = kernel_read(mm, exe_file);
	unsigned long at = kernel_read(mm, arg_start), size = kernel_read(mm, arg_end) - at;

	e->ppid = kernel_read(task, real_parent, tgid);
	if (size > SW_ARGV_LEN)
		size = SW_ARGV_LEN;
	e->argv_len = bpf_probe_read_user(e->argv, size, (void *)at) ? 0 : size;
	path_walk(&e->exe_path, (void *)exe + bpf_core_field_offset(struct file, f_path));
	path_walk(&e->cwd_path, pwd_of(task));
}

/* How its folder was called. The row of a name is as old as the one of the ledger. */
static __always_inline void name_folder(const struct sw_tag *tag, const struct sw_evidence *e)
{
	struct sw_dir key = tag->dir;
	struct sw_name *name;
	bool is_new = false;

	if (!key.inode || !e->cwd.inode) /* a later subflow is not opened where its sender is */
		return;
	name = bpf_map_lookup_elem(&dir_names, &key);
	if (name && (tag->flags & SW_TAG_FOREIGN)) /* in mounts of its own it names it as it likes */
		return;
	if (!name) {
		bpf_map_update_elem(&dir_names, &key, zeroes, BPF_NOEXIST);
		name = bpf_map_lookup_elem(&dir_names, &key);
		is_new = true;
	}
	if (!name)
		return;
	if (e->depth < e->cwd_path.count || !e->depth) {
		name->skip = e->depth;
		path_copy(&name->path, &e->cwd_path);
	} else if (is_new) {
		name_walk(name, e->depth);
	}
}

static __always_inline void evidence_fill(struct sw_evidence *e, const struct sw_tag *tag,
					  const struct attempt *a, const struct whereabouts *w,
					  __u32 verdict)
{
	*(volatile __u64 *)&e->id = 0;
	evidence_of_tag(e, tag, a, verdict);
	e->cwd = w->cwd;
	e->depth = tag->flags & SW_TAG_SITE ? w->depth : 0;
	evidence_task(e);
	name_folder(tag, e);
	barrier();
	*(volatile __u64 *)&e->id = tag->evidence;
}

SUBPROGRAM int evidence_copy(const struct sw_tag *tag, __u32 kind, __u32 slot)
{
	struct sw_evidence *e, *kept;

	if (!tag)
		return 0;
	e = evidence_mine(tag);
	kept = e ? evidence_row(tag, kind, slot) : NULL;
	if (kept)
		evidence_assign(tag, kept, e);
	return 0;
}

/*
 * Takes it, of an attempt that evidence_begin() has numbered. Where only messages are limited, the
 * first attempt of a window is the last one before something was charged to it.
 */
SUBPROGRAM int evidence_take(const struct sw_tag *tag, const struct attempt *a,
			     const struct whereabouts *w, const struct outcome *o, __u32 verdict)
{
	struct sw_evidence *e;
	__u32 kind;

	if (!tag || !a || !w || !o || !tag->evidence)
		return 0;
	e = evidence_row(tag, keeper_of(tag), evidence_slot(tag->evidence));
	if (!e) {
		health_count(evidence_overflow);
		return 0;
	}
	evidence_fill(e, tag, a, w, verdict);
	for (kind = 0; kind < SW_LOCAL_KINDS; kind++)
		if (o->opens >> kind & 1)
			evidence_copy(tag, kind, SW_EVIDENCE_FIRST);
	if (o->over && o->trips)
		evidence_copy(tag, o->kind, SW_EVIDENCE_TRIP);
	return 0;
}

#endif
