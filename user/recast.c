// SPDX-License-Identifier: GPL-2.0-or-later
#include "recast.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define STEPS_MAX 65536
#define DEPTH_MAX 16

/* Bytes that are copied where the sizes are the same, else a number. */
struct step {
	__u32 from, to; /* offsets */
	__u32 from_size, to_size;
	bool is_signed;
};

struct recast {
	__u32 from_size, to_size;
	bool same;
	struct step *step;
	size_t n, room;
};

/* ---- comparing ---- */

struct side {
	const struct btf *btf;
	const struct btf_type *type; /* without typedefs */
	__u32 at;
};

static int side_of(const struct btf *btf, __u32 id, __u32 at, struct side *ret)
{
	int type = btf__resolve_type(btf, id);

	if (type < 0)
		return type;
	ret->btf = btf;
	ret->type = btf__type_by_id(btf, type);
	ret->at = at;
	return ret->type ? 0 : -EPROTO;
}

static bool is_number(const struct btf_type *type)
{
	return btf_is_int(type) || btf_is_enum(type) || btf_is_enum64(type);
}

static bool is_signed(const struct btf_type *type)
{
	return btf_is_int(type) ? btf_int_encoding(type) & BTF_INT_SIGNED : btf_kflag(type);
}

static bool is_lock(const struct side *side)
{
	return btf_is_struct(side->type) &&
	       strcmp(btf__name_by_offset(side->btf, side->type->name_off), "bpf_spin_lock") == 0;
}

/* Lengthens the last step where it can, for most of a value is copied in one piece. */
static int add_step(struct recast *recast, struct step step)
{
	struct step *last = recast->n ? &recast->step[recast->n - 1] : NULL;
	size_t room = recast->room ? 2 * recast->room : 64;
	void *grown;

	if (last && last->from_size == last->to_size && step.from_size == step.to_size &&
	    last->from + last->from_size == step.from && last->to + last->to_size == step.to) {
		last->from_size = last->to_size += step.to_size;
		return 0;
	}
	if (recast->n == recast->room) {
		if (room > STEPS_MAX)
			return -E2BIG;
		grown = reallocarray(recast->step, room, sizeof(*recast->step));
		if (!grown)
			return -ENOMEM;
		recast->step = grown;
		recast->room = room;
	}
	recast->step[recast->n++] = step;
	return 0;
}

static int add_number(struct recast *recast, const struct side *from, const struct side *to)
{
	const struct step step = {
		.from = from->at,
		.to = to->at,
		.from_size = from->type->size,
		.to_size = to->type->size,
		.is_signed = is_signed(from->type),
	};

	if (step.from_size == step.to_size)
		return add_step(recast, step);
	recast->same = false;
	if (step.from_size > sizeof(__u64) || step.to_size > sizeof(__u64))
		return -EPROTO;
	return add_step(recast, step);
}

static int add(struct recast *recast, const struct side *from, const struct side *to, int depth);

static int add_at(struct recast *recast, const struct side *from, __u32 from_type, __u32 from_at,
		  const struct side *to, __u32 to_type, __u32 to_at, int depth)
{
	struct side f, t;
	int r = side_of(from->btf, from_type, from_at, &f);

	r = r < 0 ? r : side_of(to->btf, to_type, to_at, &t);
	return r < 0 ? r : add(recast, &f, &t, depth + 1);
}

static int add_array(struct recast *recast, const struct side *from, const struct side *to,
		     int depth)
{
	const struct btf_array *f = btf_array(from->type), *t = btf_array(to->type);
	__s64 from_each = btf__resolve_size(from->btf, f->type);
	__s64 to_each = btf__resolve_size(to->btf, t->type);
	__u32 n = f->nelems < t->nelems ? f->nelems : t->nelems;
	int r = 0;

	if (from_each <= 0 || to_each <= 0)
		return -EPROTO;
	recast->same = recast->same && f->nelems == t->nelems;
	if (n && t->nelems < f->nelems && to_each == 1)
		n--;
	for (__u32 i = 0; i < n && r >= 0; i++)
		r = add_at(recast, from, f->type, from->at + i * from_each, to, t->type,
			   to->at + i * to_each, depth);
	return r;
}

static const struct btf_member *member_of(const struct side *side, const char *name, __u32 *ret_at)
{
	const struct btf_member *member = btf_members(side->type);

	for (__u32 i = 0; i < btf_vlen(side->type); i++) {
		if (strcmp(btf__name_by_offset(side->btf, member[i].name_off), name) != 0)
			continue;
		*ret_at = btf_member_bit_offset(side->type, i) / 8;
		return &member[i];
	}
	return NULL;
}

static bool has_bitfields(const struct btf_type *type)
{
	for (__u32 i = 0; i < btf_vlen(type); i++)
		if (btf_member_bitfield_size(type, i) || btf_member_bit_offset(type, i) % 8)
			return true;
	return false;
}

static int add_struct(struct recast *recast, const struct side *from, const struct side *to,
		      int depth)
{
	const struct btf_member *member = btf_members(to->type), *old;
	__u32 known = 0, from_at, to_at;
	int r = 0;

	if (has_bitfields(from->type) || has_bitfields(to->type))
		return -EPROTO;
	for (__u32 i = 0; i < btf_vlen(to->type) && r >= 0; i++) {
		to_at = btf_member_bit_offset(to->type, i) / 8;
		old = member_of(from, btf__name_by_offset(to->btf, member[i].name_off), &from_at);
		if (!old)
			continue;
		known++;
		recast->same = recast->same && from_at == to_at;
		r = add_at(recast, from, old->type, from->at + from_at, to, member[i].type,
			   to->at + to_at, depth);
	}
	recast->same = recast->same && known == btf_vlen(to->type) &&
		       known == btf_vlen(from->type) && from->type->size == to->type->size;
	return r;
}

/* Nobody knows which of its members it holds: it is copied whole, or not at all. */
static int add_union(struct recast *recast, const struct side *from, const struct side *to)
{
	const struct step step = { from->at, to->at, from->type->size, to->type->size, false };

	return step.from_size == step.to_size ? add_step(recast, step) : -EPROTO;
}

static int add(struct recast *recast, const struct side *from, const struct side *to, int depth)
{
	if (depth > DEPTH_MAX)
		return -E2BIG;
	if (is_lock(from) || is_lock(to)) {
		recast->same = recast->same && is_lock(from) && is_lock(to);
		return 0;
	}
	if (is_number(from->type) && is_number(to->type))
		return add_number(recast, from, to);
	if (btf_is_array(from->type) && btf_is_array(to->type))
		return add_array(recast, from, to, depth);
	if (btf_is_struct(from->type) && btf_is_struct(to->type))
		return add_struct(recast, from, to, depth);
	if (btf_is_union(from->type) && btf_is_union(to->type))
		return add_union(recast, from, to);
	return -EPROTO;
}

static int plan(struct recast *recast, const struct btf *from, __u32 from_type,
		const struct btf *to, __u32 to_type)
{
	__s64 from_size = btf__resolve_size(from, from_type);
	__s64 to_size = btf__resolve_size(to, to_type);
	struct side f, t;
	int r;

	if (from_size <= 0 || to_size <= 0)
		return -EPROTO;
	recast->from_size = from_size;
	recast->to_size = to_size;
	recast->same = true;
	r = side_of(from, from_type, 0, &f);
	r = r < 0 ? r : side_of(to, to_type, 0, &t);
	return r < 0 ? r : add(recast, &f, &t, 0);
}

int recast_new(const struct btf *from, __u32 from_type, const struct btf *to, __u32 to_type,
	       struct recast **ret)
{
	struct recast *recast = calloc(1, sizeof(*recast));
	int r = recast ? plan(recast, from, from_type, to, to_type) : -ENOMEM;

	if (r < 0) {
		recast_free(recast);
		return r;
	}
	*ret = recast;
	return 0;
}

void recast_free(struct recast *recast)
{
	if (!recast)
		return;
	free(recast->step);
	free(recast);
}

bool recast_is_same(const struct recast *recast)
{
	return recast->same;
}

size_t recast_from_size(const struct recast *recast)
{
	return recast->from_size;
}

size_t recast_to_size(const struct recast *recast)
{
	return recast->to_size;
}

/* ---- converting ---- */

/* Of up to 8 bytes, in host order; a signed one is as large a number as it is in 64 bits. */
static __u64 number_get(const void *at, __u32 size, bool is_signed)
{
	union {
		__u8 u8;
		__u16 u16;
		__u32 u32;
		__u64 u64;
	} number;

	memcpy(&number, at, size);
	switch (size) {
	case 1:
		return is_signed ? (__u64)(__s8)number.u8 : number.u8;
	case 2:
		return is_signed ? (__u64)(__s16)number.u16 : number.u16;
	case 4:
		return is_signed ? (__u64)(__s32)number.u32 : number.u32;
	default:
		return number.u64;
	}
}

static __u64 nearest(__u64 number, __u32 size, bool is_signed)
{
	const __u64 most = size == 8 ? UINT64_MAX : (1ULL << 8 * size) - 1;
	const __s64 high = (__s64)(most >> 1), low = -high - 1, value = (__s64)number;

	if (!is_signed)
		return number < most ? number : most;
	return (__u64)(value < low ? low : value > high ? high : value);
}

static void number_put(void *at, __u32 size, __u64 number)
{
	const __u8 u8 = number;
	const __u16 u16 = number;
	const __u32 u32 = number;

	switch (size) {
	case 1:
		memcpy(at, &u8, size);
		break;
	case 2:
		memcpy(at, &u16, size);
		break;
	case 4:
		memcpy(at, &u32, size);
		break;
	default:
		memcpy(at, &number, size);
		break;
	}
}

void recast_apply(const struct recast *recast, const void *from, void *to)
{
	__u64 number;

	memset(to, 0, recast->to_size);
	for (size_t i = 0; i < recast->n; i++) {
		const struct step *step = &recast->step[i];

		if (step->from_size == step->to_size) {
			memcpy((char *)to + step->to, (const char *)from + step->from,
			       step->to_size);
			continue;
		}
		number = number_get((const char *)from + step->from, step->from_size,
				    step->is_signed);
		number_put((char *)to + step->to, step->to_size,
			   nearest(number, step->to_size, step->is_signed));
	}
}
