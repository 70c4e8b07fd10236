/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How a value of one layout becomes one of another, by the names of its members; both layouts as
 * BTF describes them. What is missing is zero, what is gone is dropped, numbers fit (a wider one
 * keeps its sign, a narrower one the nearest that it can), arrays keep the elements that there is
 * room for (of one of bytes that shrinks the last is 0: a text keeps its end). A lock is never
 * copied. Silent; 0 or negative errno.
 */
#ifndef SMTPWALL_RECAST_H
#define SMTPWALL_RECAST_H

#include <bpf/btf.h>
#include <stdbool.h>
#include <stddef.h>

struct recast;

/* -EPROTO: a member became something else altogether. -E2BIG: more of them than is sane. */
int recast_new(const struct btf *from, __u32 from_type, const struct btf *to, __u32 to_type,
	       struct recast **ret);
void recast_free(struct recast *recast);

/* The layouts are one and the same, names included. */
bool recast_is_same(const struct recast *recast);
size_t recast_from_size(const struct recast *recast);
size_t recast_to_size(const struct recast *recast);

void recast_apply(const struct recast *recast, const void *from, void *to);

#endif
