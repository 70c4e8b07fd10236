/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The subjects that an attempt answers for: one of each local kind, as far as it is known. A
 * container has no user of this machine: where others have their uid, it has its unit.
 */
#ifndef SMTPWALL_SUBJECT_H
#define SMTPWALL_SUBJECT_H

#include "maps.h"

/* Can policies of this kind judge the one in the tag? */
static __always_inline bool answers_for(const struct sw_tag *tag, __u32 kind)
{
	if (kind == SW_KIND_UNIT)
		return tag->unit;
	return kind == SW_KIND_UID || (tag->flags & SW_TAG_DIR);
}

/* Whom the policies of this kind count: an enum sw_kind. */
static __always_inline __u32 kind_of(const struct sw_tag *tag, __u32 kind)
{
	return kind == SW_KIND_UID && (tag->flags & SW_TAG_UNIT) ? SW_KIND_UNIT : kind;
}

/* How the keys of maps for every kind tell whom they mean. */
struct whom {
	__u64 id; /* uid, unit or inode */
	__u32 device;
	__u32 rest; /* of a dir: its generation or uid */
};

static __always_inline struct whom whom_of(const struct sw_tag *tag, __u32 kind)
{
	switch (kind_of(tag, kind)) {
	case SW_KIND_UNIT:
		return (struct whom){ .id = tag->unit };
	case SW_KIND_DIR:
		return (struct whom){ tag->dir.inode, tag->dir.device,
				      tag->dir.generation };
	default:
		return (struct whom){ .id = tag->uid };
	}
}

/* As answers_for, but nobody twice: of what is counted and blocked once for each subject. */
static __always_inline bool is_subject(const struct sw_tag *tag, __u32 kind)
{
	if (kind == SW_KIND_UNIT && (tag->flags & SW_TAG_UNIT))
		return false;
	return answers_for(tag, kind);
}

#endif
