// SPDX-License-Identifier: GPL-2.0-or-later
#include "convert.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <smtpwall/names.h>

#include "attach.h"
#include "cleanup.h"
#include "log.h"
#include "recast.h"

#define PATH_LEN 4096
#define OLDEST 2 /* before it folders had no generation: none would be who it was, and no block hold */

/* Programs that belong to the maps. */
static const char *const tools[] = { SW_PIN_RETIRE, SW_PIN_WHERE };

/* A map whose rows are converted. */
struct carried {
	const struct bpf_map *map; /* ours */
	int fd;			   /* the old one */
	struct recast *key, *value;
};

struct conversion {
	char *pin_dir, *dir;
	__u32 abi;
	struct bpf_object *object;
	struct btf *btf; /* of the old maps: one object has one */
	__u32 btf_id;
	struct carried *carried;
	size_t n;
};

/* Written anew by every start, found anew when it is missing, or of a kind that keeps nothing. */
static bool is_made_anew(const struct bpf_map *map)
{
	static const char *const names[] = { "control", "ports", "sketches", "own_addresses",
					     "unit_hashes" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(bpf_map__name(map), names[i]) == 0)
			return true;
	return bpf_map__type(map) == BPF_MAP_TYPE_ARRAY_OF_MAPS ||
	       bpf_map__type(map) == BPF_MAP_TYPE_HASH_OF_MAPS ||
	       bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_ARRAY ||
	       bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF;
}

static void path_of(const char *dir, const char *name, char path[static PATH_LEN])
{
	snprintf(path, PATH_LEN, "%s/%s", dir, name);
}

static int refuse(const struct conversion *c, const char *what)
{
	log_error("'%s' was made by another version of smtpwall (ABI %u, this is %u), whose '%s' "
		  "cannot be taken over: `smtpwall detach` removes it (counters and windows are "
		  "lost, the start puts the blocks back), then start again",
		  c->pin_dir, c->abi, SW_ABI_VERSION, what);
	return -EPROTO;
}

/* ---- old maps ---- */

static int old_map(const struct conversion *c, const char *name, struct bpf_map_info *ret_info)
{
	__u32 size = sizeof(*ret_info);
	_cleanup_close_ int fd = -1;
	char path[PATH_LEN];

	path_of(c->pin_dir, name, path);
	fd = bpf_obj_get(path);
	memset(ret_info, 0, sizeof(*ret_info));
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, ret_info, &size) < 0)
		return -errno;
	return take_fd(&fd);
}

static int old_btf(struct conversion *c, __u32 id, const struct btf **ret)
{
	if (!id)
		return -EPROTO;
	if (id != c->btf_id) {
		btf__free(c->btf);
		c->btf = btf__load_from_kernel_by_id(id);
		c->btf_id = c->btf ? id : 0;
		if (!c->btf)
			return -errno;
	}
	*ret = c->btf;
	return 0;
}

/* From what a map of theirs holds to a type of ours. */
static int recast_to(struct conversion *c, const struct bpf_map_info *info, __u32 from, __s32 to,
		     struct recast **ret)
{
	const struct btf *btf = NULL;
	int r = from && to > 0 ? old_btf(c, info->btf_id, &btf) : -EPROTO;

	return r < 0 ? r : recast_new(btf, from, bpf_object__btf(c->object), to, ret);
}

/* The one entry `key` of a map, as our type `name`. */
static int old_value(struct conversion *c, int fd, const struct bpf_map_info *info, __u32 key,
		     const char *name, void *ret)
{
	__s32 type = btf__find_by_name_kind(bpf_object__btf(c->object), name, BTF_KIND_STRUCT);
	_cleanup_free_ void *value = calloc(1, info->value_size);
	struct recast *recast = NULL;
	int r = value ? 0 : -ENOMEM;

	if (r == 0 && bpf_map_lookup_elem(fd, &key, value) < 0)
		r = -errno;
	r = r < 0 ? r : recast_to(c, info, info->btf_value_type_id, type, &recast);
	if (r >= 0)
		recast_apply(recast, value, ret);
	recast_free(recast);
	return r;
}

int convert_control(struct conversion *c, struct sw_control *ret)
{
	struct bpf_map_info info;
	_cleanup_close_ int fd = old_map(c, "control", &info);
	int r = fd < 0 ? fd : old_value(c, fd, &info, 0, "sw_control", ret);

	if (r >= 0)
		ret->abi = SW_ABI_VERSION;
	return r;
}

int convert_rules(struct conversion *c, struct sw_rules *ret)
{
	struct bpf_map_info info = {};
	struct sw_control control;
	_cleanup_close_ int outer = -1, inner = -1;
	__u32 slot, id, size = sizeof(info);
	int r = convert_control(c, &control);

	if (r >= 0 && !control.generation)
		return -ENOENT;
	outer = r < 0 ? r : old_map(c, "rules", &info);
	if (outer < 0)
		return outer;
	slot = control.generation % (info.max_entries ? info.max_entries : 1);
	if (bpf_map_lookup_elem(outer, &slot, &id) < 0)
		return -errno;
	inner = bpf_map_get_fd_by_id(id);
	memset(&info, 0, sizeof(info));
	if (inner < 0 || bpf_obj_get_info_by_fd(inner, &info, &size) < 0)
		return -errno;
	return old_value(c, inner, &info, 0, "sw_rules", ret);
}

/* ---- what becomes of each ---- */

static int take(const struct conversion *c, const struct bpf_map *map, int fd)
{
	char path[PATH_LEN];

	path_of(c->dir, bpf_map__name(map), path);
	return bpf_obj_pin(fd, path) < 0 ? log_errno(-errno, "cannot pin '%s'", path) : 0;
}

static bool is_same(const struct bpf_map *map, const struct bpf_map_info *info,
		    const struct carried *one)
{
	return info->type == bpf_map__type(map) && info->map_flags == bpf_map__map_flags(map) &&
	       recast_is_same(one->key) && recast_is_same(one->value);
}

static void carried_clear(struct carried *one)
{
	recast_free(one->key);
	recast_free(one->value);
	closep(&one->fd);
}

static int carry(struct conversion *c, const struct bpf_map *map, const struct bpf_map_info *info,
		 int fd)
{
	struct carried one = { .map = map, .fd = fd }, *grown;
	int r = recast_to(c, info, info->btf_key_type_id, bpf_map__btf_key_type_id(map), &one.key);

	r = r < 0 ? r
		  : recast_to(c, info, info->btf_value_type_id, bpf_map__btf_value_type_id(map),
			      &one.value);
	if (r < 0)
		r = refuse(c, bpf_map__name(map));
	else if (is_same(map, info, &one))
		r = take(c, map, fd);
	else if (!(grown = reallocarray(c->carried, c->n + 1, sizeof(one))))
		r = log_errno(-ENOMEM, "cannot convert the map '%s'", bpf_map__name(map));
	else {
		c->carried = grown;
		c->carried[c->n++] = one;
		return 0;
	}
	carried_clear(&one);
	return r;
}

static int plan_map(struct conversion *c, const struct bpf_map *map)
{
	struct bpf_map_info info;
	int fd, r;

	if (is_made_anew(map))
		return 0;
	fd = old_map(c, bpf_map__name(map), &info);
	if (fd < 0)
		return fd == -ENOENT
			       ? 0
			       : log_errno(fd, "cannot open the map '%s' of the version before",
					   bpf_map__name(map));
	if (info.type != BPF_MAP_TYPE_SK_STORAGE)
		return carry(c, map, &info, fd);
	/* Nobody can walk what sockets carry: it is as it was, or lost. */
	r = info.value_size == bpf_map__value_size(map) ? take(c, map, fd)
							: refuse(c, bpf_map__name(map));
	close(fd);
	return r;
}

static bool is_pinned_map(const struct bpf_map *map)
{
	return !bpf_map__is_internal(map) && !strchr(bpf_map__name(map), '.');
}

static int plan(struct conversion *c)
{
	struct sw_control control;
	struct bpf_map *map;
	int r = 0;

	if (convert_control(c, &control) < 0)
		return refuse(c, "control");
	if (c->abi < OLDEST)
		return refuse(c, "dir_ledger");
	bpf_object__for_each_map (map, c->object)
		if (r >= 0 && is_pinned_map(map))
			r = plan_map(c, map);
	return r;
}

/* ---- the directory ---- */

/* With the lock of who edits, which is on the directory of the links. */
static int make_dir(const struct conversion *c)
{
	char links[PATH_LEN];

	path_of(c->dir, SW_PIN_LINKS, links);
	if (mkdir(c->dir, 0700) < 0 || symlink("../" SW_PIN_LINKS, links) < 0)
		return log_errno(-errno, "cannot make the directory '%s'", c->dir);
	return 0;
}

int convert_begin(const char *pin_dir, __u32 abi, struct bpf_object *object,
		  struct conversion **ret)
{
	struct conversion *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return log_errno(-ENOMEM, "cannot convert the maps");
	c->abi = abi;
	c->object = object;
	c->pin_dir = strdup(pin_dir);
	if (!c->pin_dir || asprintf(&c->dir, "%s/" SW_PIN_NEXT, pin_dir) < 0) {
		c->dir = NULL;
		convert_free(c);
		return log_errno(-ENOMEM, "cannot convert the maps");
	}
	r = make_dir(c);
	r = r < 0 ? r : plan(c);
	if (r < 0) {
		convert_abort(c);
		convert_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

const char *convert_dir(const struct conversion *c)
{
	return c->dir;
}

void convert_abort(struct conversion *c)
{
	unpin_all(c->dir);
}

void convert_free(struct conversion *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n; i++)
		carried_clear(&c->carried[i]);
	free(c->carried);
	btf__free(c->btf);
	free(c->dir);
	free(c->pin_dir);
	free(c);
}

/* ---- rows ---- */

/* One row of each side. */
struct row {
	void *key, *value, *our_key, *our_value;
};

static int copy_row(const struct carried *one, int to, const struct row *row, size_t *dropped)
{
	if (bpf_map_lookup_elem(one->fd, row->key, row->value) < 0)
		return errno == ENOENT ? 0 : -errno;
	recast_apply(one->key, row->key, row->our_key);
	recast_apply(one->value, row->value, row->our_value);
	if (bpf_map_update_elem(to, row->our_key, row->our_value, BPF_ANY) == 0)
		return 0;
	if (errno != E2BIG)
		return -errno;
	++*dropped; /* ours is smaller, by its configuration */
	return 0;
}

static int copy_rows(const struct carried *one, const struct row *row)
{
	int to = bpf_map__fd(one->map), r = 0;
	bool more = bpf_map_get_next_key(one->fd, NULL, row->key) == 0;
	size_t dropped = 0;

	for (; more && r >= 0; more = bpf_map_get_next_key(one->fd, row->key, row->key) == 0)
		r = copy_row(one, to, row, &dropped);
	if (dropped)
		log_warning("the map '%s' has no room for %zu rows of the version before",
			    bpf_map__name(one->map), dropped);
	return r;
}

static int convert_map(const struct carried *one)
{
	_cleanup_free_ void *key = malloc(recast_from_size(one->key));
	_cleanup_free_ void *value = malloc(recast_from_size(one->value));
	_cleanup_free_ void *our_key = malloc(recast_to_size(one->key));
	_cleanup_free_ void *our_value = malloc(recast_to_size(one->value));
	const struct row row = { key, value, our_key, our_value };
	int r = key && value && our_key && our_value ? copy_rows(one, &row) : -ENOMEM;

	return r < 0 ? log_errno(r, "cannot convert the map '%s'", bpf_map__name(one->map)) : 0;
}

int convert_rows(struct conversion *c)
{
	int r = 0;

	for (size_t i = 0; i < c->n && r >= 0; i++)
		r = convert_map(&c->carried[i]);
	return r;
}

/* ---- the end ---- */

static int move_pin(const struct conversion *c, const char *name)
{
	char from[PATH_LEN], to[PATH_LEN];

	path_of(c->dir, name, from);
	path_of(c->pin_dir, name, to);
	return rename(from, to) < 0 ? log_errno(-errno, "cannot pin '%s'", to) : 0;
}

static int move_map(const struct conversion *c, struct bpf_map *map)
{
	char path[PATH_LEN];
	int r = move_pin(c, bpf_map__name(map));

	path_of(c->pin_dir, bpf_map__name(map), path);
	return r < 0 ? r : bpf_map__set_pin_path(map, path);
}

static bool is_ours(const char *name, const void *userdata)
{
	const struct conversion *c = userdata;

	for (size_t i = 0; i < ARRAY_SIZE(tools); i++)
		if (strcmp(name, tools[i]) == 0)
			return true;
	return bpf_object__find_map_by_name(c->object, name) != NULL;
}

int convert_end(struct conversion *c)
{
	struct bpf_map *control = bpf_object__find_map_by_name(c->object, "control"), *map;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(tools) && r >= 0; i++)
		r = move_pin(c, tools[i]);
	bpf_object__for_each_map (map, c->object)
		if (r >= 0 && map != control && is_pinned_map(map))
			r = move_map(c, map);
	r = r < 0 ? r : move_map(c, control);
	if (r < 0)
		return r;
	unpin_all(c->dir);
	unpin_others(c->pin_dir, is_ours, c);
	return 0;
}
