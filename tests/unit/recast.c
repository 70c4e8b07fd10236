// SPDX-License-Identifier: GPL-2.0-or-later
/* Values of one layout in another; the layouts are made up here. */
#include "recast.h"

#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "test.h"

/* The layouts of a test: `old` and `new` are C text for us, BTF for recast. */
struct layout {
	struct btf *btf;
	int u8, u16, u32, u64, s32, s64;
};

static struct layout layout_new(void)
{
	struct layout l = { .btf = btf__new_empty() };

	l.u8 = btf__add_int(l.btf, "__u8", 1, 0);
	l.u16 = btf__add_int(l.btf, "__u16", 2, 0);
	l.u32 = btf__add_int(l.btf, "__u32", 4, 0);
	l.u64 = btf__add_int(l.btf, "__u64", 8, 0);
	l.s32 = btf__add_int(l.btf, "int", 4, BTF_INT_SIGNED);
	l.s64 = btf__add_int(l.btf, "long", 8, BTF_INT_SIGNED);
	return l;
}

struct field {
	const char *name;
	int type;
	unsigned int at;
};

static int add_struct(struct layout *l, const char *name, unsigned int size,
		      const struct field *field, size_t n)
{
	int id = btf__add_struct(l->btf, name, size);

	for (size_t i = 0; i < n; i++)
		CHECK_EQ(btf__add_field(l->btf, field[i].name, field[i].type, field[i].at * 8, 0),
			 0);
	return id;
}

#define STRUCT(layout, name, type, ...)                                                            \
	add_struct(layout, name, sizeof(type), (struct field[]){ __VA_ARGS__ },                    \
		   ARRAY_SIZE(((struct field[]){ __VA_ARGS__ })))

static struct recast *recast(struct layout *from, int from_type, struct layout *to, int to_type)
{
	struct recast *recast = NULL;

	CHECK_EQ(recast_new(from->btf, from_type, to->btf, to_type, &recast), 0);
	return recast;
}

static void end(struct recast *recast, struct layout *from, struct layout *to)
{
	recast_free(recast);
	btf__free(from->btf);
	btf__free(to->btf);
}

struct pair_old {
	__u32 a, gone;
	__u64 b;
};
struct pair_new {
	__u64 b, added;
	__u32 a, pad;
};

static int pair_old_type(struct layout *l)
{
	return STRUCT(l, "pair", struct pair_old, { "a", l->u32, 0 }, { "gone", l->u32, 4 },
		      { "b", l->u64, 8 });
}

static int pair_new_type(struct layout *l)
{
	return STRUCT(l, "pair", struct pair_new, { "b", l->u64, 0 }, { "added", l->u64, 8 },
		      { "a", l->u32, 16 }, { "pad", l->u32, 20 });
}

TEST(members_keep_their_values_by_name)
{
	struct layout from = layout_new(), to = layout_new();
	const struct pair_old old = { 7, 8, 1ULL << 40 };
	struct pair_new new;
	struct recast *r = recast(&from, pair_old_type(&from), &to, pair_new_type(&to));

	memset(&new, 0xff, sizeof(new));
	recast_apply(r, &old, &new);
	CHECK_EQ(new.a, 7);
	CHECK_EQ(new.b, 1ULL << 40);
	CHECK_EQ(new.added, 0);
	CHECK_EQ(new.pad, 0);
	CHECK(!recast_is_same(r));
	CHECK_EQ(recast_from_size(r), sizeof(old));
	CHECK_EQ(recast_to_size(r), sizeof(new));
	end(r, &from, &to);
}

TEST(the_same_layout_is_the_same)
{
	struct layout from = layout_new(), to = layout_new();
	struct recast *r = recast(&from, pair_old_type(&from), &to, pair_old_type(&to));

	CHECK(recast_is_same(r));
	end(r, &from, &to);
}

/* A member that takes the place of padding, or of another of its size, is not. */
TEST(another_name_is_another_layout)
{
	struct layout from = layout_new(), to = layout_new();
	int other = STRUCT(&to, "pair", struct pair_old, { "a", to.u32, 0 }, { "other", to.u32, 4 },
			   { "b", to.u64, 8 });
	int fewer = STRUCT(&to, "pair", struct pair_old, { "a", to.u32, 0 }, { "b", to.u64, 8 });
	struct recast *r = recast(&from, pair_old_type(&from), &to, other);

	CHECK(!recast_is_same(r));
	recast_free(r);
	r = recast(&from, pair_old_type(&from), &to, fewer);
	CHECK(!recast_is_same(r));
	recast_free(r);
	r = recast(&to, fewer, &from, pair_old_type(&from));
	CHECK(!recast_is_same(r));
	end(r, &from, &to);
}

struct numbers_old {
	__u8 u8;
	__u32 u32;
	int s32;
	__u64 large, small;
	long below;
};
struct numbers_new {
	__u64 u8;
	__u16 u32;
	long s32;
	__u32 large, small;
	int below;
};

TEST(numbers_keep_their_value_or_the_nearest)
{
	struct layout from = layout_new(), to = layout_new();
	int old = STRUCT(&from, "n", struct numbers_old,
			 { "u8", from.u8, offsetof(struct numbers_old, u8) },
			 { "u32", from.u32, offsetof(struct numbers_old, u32) },
			 { "s32", from.s32, offsetof(struct numbers_old, s32) },
			 { "large", from.u64, offsetof(struct numbers_old, large) },
			 { "small", from.u64, offsetof(struct numbers_old, small) },
			 { "below", from.s64, offsetof(struct numbers_old, below) });
	int new = STRUCT(&to, "n", struct numbers_new,
			 { "u8", to.u64, offsetof(struct numbers_new, u8) },
			 { "u32", to.u16, offsetof(struct numbers_new, u32) },
			 { "s32", to.s64, offsetof(struct numbers_new, s32) },
			 { "large", to.u32, offsetof(struct numbers_new, large) },
			 { "small", to.u32, offsetof(struct numbers_new, small) },
			 { "below", to.s32, offsetof(struct numbers_new, below) });
	const struct numbers_old value = { 255, 70000, -3, 1ULL << 33, 5, -(1L << 40) };
	struct numbers_new got;
	struct recast *r = recast(&from, old, &to, new);

	recast_apply(r, &value, &got);
	CHECK_EQ(got.u8, 255);
	CHECK_EQ(got.u32, 65535);
	CHECK_EQ(got.s32, -3);
	CHECK_EQ(got.large, 0xffffffff);
	CHECK_EQ(got.small, 5);
	CHECK_EQ(got.below, -2147483647 - 1);
	end(r, &from, &to);
}

struct inner_old {
	__u32 x, y;
};
struct inner_new {
	__u64 y;
	__u32 x, z;
};
struct outer_old {
	struct inner_old inner[3];
	char note[8];
};
struct outer_new {
	__u32 before;
	char note[4], pad[4];
	struct inner_new inner[5];
};

TEST(arrays_and_structures_inside)
{
	struct layout from = layout_new(), to = layout_new();
	int inner_old = STRUCT(&from, "inner", struct inner_old, { "x", from.u32, 0 },
			       { "y", from.u32, 4 });
	int inner_new = STRUCT(&to, "inner", struct inner_new, { "y", to.u64, 0 },
			       { "x", to.u32, 8 }, { "z", to.u32, 12 });
	int old = STRUCT(&from, "outer", struct outer_old,
			 { "inner", btf__add_array(from.btf, from.u32, inner_old, 3), 0 },
			 { "note", btf__add_array(from.btf, from.u32, from.u8, 8), 24 });
	int new = STRUCT(&to, "outer", struct outer_new, { "before", to.u32, 0 },
			 { "note", btf__add_array(to.btf, to.u32, to.u8, 4), 4 },
			 { "inner", btf__add_array(to.btf, to.u32, inner_new, 5),
			   offsetof(struct outer_new, inner) });
	const struct outer_old value = { { { 1, 2 }, { 3, 4 }, { 5, 6 } }, "abcdefg" };
	struct outer_new got;
	struct recast *r = recast(&from, old, &to, new);

	recast_apply(r, &value, &got);
	for (unsigned int i = 0; i < 5; i++) {
		CHECK_EQ(got.inner[i].x, i < 3 ? 2 * i + 1 : 0);
		CHECK_EQ(got.inner[i].y, i < 3 ? 2 * i + 2 : 0);
		CHECK_EQ(got.inner[i].z, 0);
	}
	CHECK_STR(got.note, "abc"); /* it keeps its end */
	end(r, &from, &to);
}

TEST(typedefs_and_enumerations_are_what_they_stand_for)
{
	struct layout from = layout_new(), to = layout_new();
	int name = btf__add_typedef(from.btf, "name_t", from.u32);
	int old = STRUCT(&from, "s", struct inner_old,
			 { "x", btf__add_volatile(from.btf, name), 0 }, { "y", from.u32, 4 });
	int choice = btf__add_enum(to.btf, "choice", 4);
	int new = STRUCT(&to, "s", struct inner_old, { "x", choice, 0 }, { "y", to.u32, 4 });
	const struct inner_old value = { 9, 10 };
	struct inner_old got;
	struct recast *r = recast(&from, old, &to, new);

	recast_apply(r, &value, &got);
	CHECK_EQ(got.x, 9);
	CHECK_EQ(got.y, 10);
	CHECK(recast_is_same(r));
	end(r, &from, &to);
}

TEST(a_lock_is_left_alone)
{
	struct layout from = layout_new(), to = layout_new();
	int lock_from = STRUCT(&from, "bpf_spin_lock", __u32, { "val", from.u32, 0 });
	int lock_to = STRUCT(&to, "bpf_spin_lock", __u32, { "val", to.u32, 0 });
	int old = STRUCT(&from, "s", struct inner_old, { "x", lock_from, 0 }, { "y", from.u32, 4 });
	int new = STRUCT(&to, "s", struct inner_old, { "x", lock_to, 0 }, { "y", to.u32, 4 });
	const struct inner_old value = { 1, 2 };
	struct inner_old got;
	struct recast *r = recast(&from, old, &to, new);

	recast_apply(r, &value, &got);
	CHECK_EQ(got.x, 0);
	CHECK_EQ(got.y, 2);
	CHECK(recast_is_same(r));
	end(r, &from, &to);
}

struct either {
	__u32 first;
	union {
		__u32 one, other;
	};
};

static int either_type(struct layout *l, int size)
{
	int id = btf__add_union(l->btf, "", size);

	btf__add_field(l->btf, "one", l->u32, 0, 0);
	btf__add_field(l->btf, "other", size == 4 ? l->u32 : l->u64, 0, 0);
	return STRUCT(l, "either", struct either, { "first", l->u32, 0 }, { "", id, 4 });
}

TEST(a_union_is_copied_whole)
{
	struct layout from = layout_new(), to = layout_new();
	const struct either old = { 7, { 8 } };
	struct either new = {};
	struct recast *r = recast(&from, either_type(&from, 4), &to, either_type(&to, 4));

	recast_apply(r, &old, &new);
	CHECK_EQ(new.first, 7);
	CHECK_EQ(new.other, 8);
	CHECK(recast_is_same(r));
	recast_free(r);
	r = NULL;
	CHECK_EQ(recast_new(from.btf, either_type(&from, 4), to.btf, either_type(&to, 8), &r), -EPROTO);
	end(r, &from, &to);
}

TEST(what_became_something_else_is_refused)
{
	struct layout from = layout_new(), to = layout_new();
	int inner = STRUCT(&to, "inner", struct inner_old, { "x", to.u32, 0 });
	int old = STRUCT(&from, "s", struct inner_old, { "x", from.u32, 0 });
	int array = STRUCT(&to, "s", struct inner_old,
			   { "x", btf__add_array(to.btf, to.u32, to.u32, 1), 0 });
	int structure = STRUCT(&to, "s", struct inner_old, { "x", inner, 0 });
	struct recast *r = NULL;

	CHECK_EQ(recast_new(from.btf, old, to.btf, array, &r), -EPROTO);
	CHECK_EQ(recast_new(from.btf, old, to.btf, structure, &r), -EPROTO);
	CHECK_EQ(recast_new(from.btf, 0, to.btf, structure, &r), -EPROTO);
	CHECK(recast_new(from.btf, 9999, to.btf, structure, &r) < 0);
	end(r, &from, &to);
}

/* One that takes itself in never ends; the kernel does not take such BTF, but who knows. */
TEST(layouts_that_are_too_deep_are_refused)
{
	struct layout from = layout_new(), to = layout_new();
	int old = from.u32, new = to.u32;
	struct recast *r = NULL;

	for (int i = 0; i < 40; i++) {
		old = btf__add_array(from.btf, from.u32, old, 1);
		new = btf__add_array(to.btf, to.u32, new, 1);
	}
	CHECK(recast_new(from.btf, old, to.btf, new, &r) < 0);
	end(r, &from, &to);
}
