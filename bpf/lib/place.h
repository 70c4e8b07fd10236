/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where is the task that calls? Its unit: a cgroup. Its folder: the working directory, as the
 * kernel sees it, up through mounts to the root of its mount namespace. Whoever races himself with
 * chdir() in another thread gets one of his own folders.
 */
#ifndef SMTPWALL_PLACE_H
#define SMTPWALL_PLACE_H

#include <stdbool.h>

#include <bpf/bpf_core_read.h>

#include <smtpwall/path.h>

#include "kernel.h"
#include "ledger.h"
#include "maps.h"
#include "policy.h"

#define CGROUPS_MAX 32
#define FOLDERS_MAX 512 /* deeper below its site a folder shares a row with others of its user */

/* ---- paths ---- */

struct step {
	struct dentry *at;
	struct mount *mount;
	struct dentry *top; /* of this mount */
};

static __always_inline void step_onto(struct step *step, struct dentry *at, struct mount *mount)
{
	step->at = at;
	step->mount = mount;
	step->top = kernel_read(mount, mnt.mnt_root);
}

static __always_inline void step_start(struct step *step, struct path *path)
{
	void *within = kernel_read(path, mnt);

	step_onto(step, kernel_read(path, dentry),
		  kernel_at(within - bpf_core_field_offset(struct mount, mnt), struct mount));
}

/* From the top of a mount to the folder it is mounted on. False: there is none. */
static __always_inline bool step_down_to_mountpoint(struct step *step)
{
	struct mount *mount = step->mount, *parent = kernel_read(mount, mnt_parent);

	if (parent == mount)
		return false;
	step_onto(step, kernel_read(mount, mnt_mountpoint), parent);
	return true;
}

/* One folder up, in the same mount. False: it is the root of what was never mounted here. */
static __always_inline bool step_up(struct step *step)
{
	struct dentry *at = step->at, *parent = kernel_read(at, d_parent);

	step->at = parent;
	return parent != at;
}

static __always_inline __u64 inode_of(struct dentry *at)
{
	return kernel_read(at, d_inode, i_ino);
}

static __always_inline __u32 generation_of(struct dentry *at)
{
	return kernel_read(at, d_inode, i_generation);
}

/* The same for all of a mount, but not asked of that: the task may chdir() meanwhile. */
static __always_inline __u32 device_of(struct dentry *at)
{
	return kernel_read(at, d_sb, s_dev);
}

static __always_inline struct path *pwd_of(struct task_struct *task)
{
	struct fs_struct *fs = kernel_read(task, fs);

	return (void *)fs + bpf_core_field_offset(struct fs_struct, pwd);
}

/* What the walk upwards finds, at `now_ns`. */
struct whereabouts {
	__u64 now_ns;
	struct sw_dir cwd; /* the folder itself */
	__u32 depth;	   /* from there up to the site */
	__u32 owner;	   /* of the site */
};

/* Takes note of a folder that is known. True: it is a site. */
static __always_inline bool meets_site(struct sw_tag *tag, struct whereabouts *w,
				       const struct sw_place *row, const struct sw_dir *id)
{
	struct sw_place place;

	if (!row || !place_copy(row, &place))
		return false;
	if (!tag->place.inode)
		tag->place = *id;
	if (!(place.flags & SW_PLACE_SITE))
		return false;
	tag->dir = *id;
	tag->flags |= SW_TAG_SITE;
	w->owner = place.owner;
	return true;
}

/*
 * Fills the nearest site into `tag->dir` and the nearest folder that is known (a place has what
 * those above it match) into `tag->place`. False: it is too deep to say.
 */
SUBPROGRAM int folders_search(struct sw_tag *tag, struct whereabouts *w, __u32 generation)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const struct sw_sketch *sketch = sketch_get(generation);
	void *known = places_get(generation);
	struct step step;
	struct sw_dir id;
	bool covered = false; /* by a mount: its own identity is nobody's working directory */
	int i;

	if (!tag || !w || !known || !sketch)
		return false;
	step_start(&step, pwd_of(task));
	id = (struct sw_dir){ .inode = inode_of(step.at),
			      .device = device_of(step.at),
			      .generation = generation_of(step.at) };
	w->cwd = id;
	for (i = 0; i < FOLDERS_MAX; i++) {
		if (!covered) {
			id.inode = inode_of(step.at);
			if (sw_sketch_has(sketch, id.inode)) {
				id.generation = generation_of(step.at);
				if (meets_site(tag, w, bpf_map_lookup_elem(known, &id), &id))
					return true;
			}
		}
		covered = step.at == step.top;
		if (!covered) {
			if (!step_up(&step))
				return true;
			w->depth++;
			continue;
		}
		if (!step_down_to_mountpoint(&step))
			return true;
		id.device = device_of(step.at);
	}
	return false;
}

static __always_inline bool quota_admits(__u32 uid, bool take)
{
	struct sw_uid key = { uid };
	__u64 none = 0, *used = bpf_map_lookup_elem(&dir_quotas, &key);

	if (!used) {
		bpf_map_update_elem(&dir_quotas, &key, &none, BPF_NOEXIST);
		used = bpf_map_lookup_elem(&dir_quotas, &key);
	}
	if (!used || *used >= SW_DIRS_OF_UID)
		return false;
	if (take)
		__sync_fetch_and_add(used, 1);
	return true;
}

static __always_inline void other_folders(struct sw_tag *tag, __u32 uid)
{
	tag->dir.inode = 0;
	tag->dir.device = 0;
	tag->dir.uid = uid;
	tag->flags &= ~SW_TAG_SITE;
}

/* Who makes folders makes rows: so many, then they share one. */
SUBPROGRAM int folder_settle(struct sw_tag *tag, const struct whereabouts *w)
{
	struct sw_ledger *row;
	struct sw_dir key;
	__u32 uid;

	if (!tag || !w)
		return 0;
	uid = tag->flags & SW_TAG_UNIT ? SW_UID_OVERFLOW : tag->uid;
	if (!w->cwd.inode) {
		other_folders(tag, uid);
		return 0;
	}
	if (!(tag->flags & SW_TAG_SITE))
		tag->dir = w->cwd;
	key = tag->dir;
	if (bpf_map_lookup_elem(&dir_ledger, &key))
		return 0;
	if ((tag->flags & SW_TAG_SITE) && w->owner != uid)
		return 0; /* its row comes with the first count */
	if (!quota_admits(uid, false)) {
		other_folders(tag, uid);
		return 0;
	}
	row = ledger_row(&dir_ledger, &key, w->now_ns);
	if (!row) {
		other_folders(tag, uid);
	} else if (!__sync_val_compare_and_swap(&row->in_quota, 0, 1)) {
		row->quota_of = uid;
		quota_admits(uid, true);
	}
	return 0;
}

/* Fills `tag->dir`, `tag->place` and SW_TAG_DIR, SW_TAG_SITE. */
static __always_inline void find_folder(struct sw_tag *tag, struct whereabouts *w, __u32 generation)
{
	if (folders_search(tag, w, generation))
		folder_settle(tag, w);
	else
		other_folders(tag, tag->flags & SW_TAG_UNIT ? SW_UID_OVERFLOW : tag->uid);
	tag->flags |= SW_TAG_DIR;
}

/* ---- names ---- */

/* Octets with its NUL: five words, which can be read wherever the kernel keeps such a name. */
#define SHORT_NAME 40

/*
 * Copies a short name with its NUL. Returns its size, as bpf_probe_read_kernel_str() does, which is
 * a call of three functions. Who renames a folder of his meanwhile garbles its name.
 */
static __always_inline long short_copy(char *to, void *name, __u32 len)
{
	struct rtnl_link_stats64 *from = kernel_at(name, struct rtnl_link_stats64);
	__u64 *words = (void *)to, end = len;

	words[0] = from->rx_packets;
	words[1] = from->tx_packets;
	words[2] = from->rx_bytes;
	words[3] = from->tx_bytes;
	words[4] = from->rx_errors;
	barrier_var(end); /* the verifier must see its bounds */
	to[end & 63] = 0;
	return len + 1;
}

/* Appends a name; `len`: its octets, if that is known. False: there is no room for all of it. */
static __always_inline bool path_append(struct sw_path *path, void *name, __u32 len)
{
	__u32 at = path->len;
	char *to;
	long size;

	if (at >= SW_PATH_LEN || path->count >= SW_PATH_NAMES)
		return false;
	to = path->names + (at & (SW_PATH_LEN - 1));
	if (CASTS && len && len < SHORT_NAME)
		size = short_copy(to, name, len);
	else
		size = bpf_probe_read_kernel_str(to, SW_PATH_NAME, name);
	if (size <= 0 || at + size > SW_PATH_LEN)
		return false;
	path->len = at + size;
	path->count++;
	return true;
}

static __always_inline void path_start(struct sw_path *path)
{
	path->len = 0;
	path->count = 0;
	path->flags = 0;
}

static __always_inline void path_copy(struct sw_path *to, const struct sw_path *from)
{
	__u64 less = (from->len - 1) & (SW_PATH_LEN - 1);

	barrier_var(less); /* Linux 6.1 must see the bounds of what it is to read */
	bpf_probe_read_kernel(to->names, less + 1, from->names);
	to->len = from->len;
	to->count = from->count;
	to->flags = from->flags;
}

/* From here to the root. */
static __always_inline void path_walk(struct sw_path *path, struct path *from)
{
	struct dentry *at;
	struct step step;
	int i;

	path_start(path);
	step_start(&step, from);
	at = step.at;
	if (!kernel_read(at, d_hash.pprev) && kernel_read(at, d_parent) != at)
		path->flags |= SW_PATH_DELETED;
	for (i = 0; i < 2 * SW_PATH_NAMES; i++) {
		if (step.at == step.top) {
			if (!step_down_to_mountpoint(&step))
				return;
			continue;
		}
		at = step.at;
		if (!path_append(path, (void *)kernel_read(at, d_name.name),
				 kernel_read(at, d_name.len)))
			break;
		if (!step_up(&step))
			return;
	}
	path->flags |= SW_PATH_TRUNCATED;
}

/* The path of the folder so many above the working directory, which is too deep to have it. */
SUBPROGRAM int name_walk(struct sw_name *name, __u32 above)
{
	struct dentry *at;
	struct step step;
	int i;

	if (!name)
		return 0;
	path_start(&name->path);
	step_start(&step, pwd_of((void *)bpf_get_current_task()));
	for (i = 0; i < FOLDERS_MAX; i++) {
		if (step.at == step.top) {
			if (!step_down_to_mountpoint(&step))
				return 0;
			continue;
		}
		at = step.at;
		if (above)
			above--;
		else if (!path_append(&name->path, (void *)kernel_read(at, d_name.name), 0))
			break;
		if (!step_up(&step))
			return 0;
	}
	name->path.flags |= SW_PATH_TRUNCATED;
	return 0;
}

/* ---- units ---- */

static __always_inline struct cgroup *parent_of(struct cgroup *cgroup)
{
	/* `self` is the first member of struct cgroup in every kernel. */
	return (void *)kernel_read(cgroup, self.parent);
}

static __always_inline __u64 hash_name(__u64 hash, const char *name)
{
	__u64 part[SW_PATH_PART / 8];
	long size = sizeof(part);
	int i;

	for (i = 0; i < 2 && size == sizeof(part); i++) {
		__builtin_memset(part, 0, sizeof(part));
		size = bpf_probe_read_kernel_str(part, sizeof(part),
						 name + i * (SW_PATH_PART - 1));
		hash = sw_path_hash_part(hash, part);
	}
	return hash;
}

/* `address` is of a struct cgroup. */
SUBPROGRAM __u64 unit_hash(__u64 address)
{
	struct cgroup *cgroup = kernel_at(address, struct cgroup), *parent;
	__u64 hash = SW_PATH_HASH_START;
	int i;

	for (i = 0; i < CGROUPS_MAX; i++) {
		parent = parent_of(cgroup);
		if (!parent)
			break;
		hash = hash_name(hash, kernel_read(cgroup, kn, name));
		cgroup = parent;
	}
	return hash;
}

SUBPROGRAM int unit_name(__u64 address, __u64 hash)
{
	struct cgroup *cgroup = kernel_at(address, struct cgroup), *parent;
	struct sw_unit key = { hash };
	struct sw_name *name;
	int i;

	if (bpf_map_lookup_elem(&unit_names, &key) ||
	    bpf_map_update_elem(&unit_names, &key, zeroes, BPF_NOEXIST))
		return 0; /* it has its name, or there is no room */
	name = bpf_map_lookup_elem(&unit_names, &key);
	for (i = 0; i < CGROUPS_MAX && name; i++) {
		parent = parent_of(cgroup);
		if (!parent ||
		    !path_append(&name->path, (void *)kernel_read(cgroup, kn, name), 0))
			break;
		cgroup = parent;
	}
	return 0;
}

/* What a known cgroup counts as is the topmost one upwards that counts as the same. */
SUBPROGRAM int known_unit_name(__u64 address, __u64 unit, __u32 generation)
{
	struct cgroup *cgroup = kernel_at(address, struct cgroup), *top = cgroup;
	void *known = units_get(generation);
	struct sw_unit key = { unit };
	struct sw_unit_match match;
	struct sw_cgroup id;
	int i;

	if (!known || bpf_map_lookup_elem(&unit_names, &key))
		return 0;
	for (i = 0; i < CGROUPS_MAX && cgroup; i++) {
		id.id = kernel_read(cgroup, kn, id);
		if (unit_copy(&id, bpf_map_lookup_elem(known, &id), &match) && match.unit == unit)
			top = cgroup;
		cgroup = parent_of(cgroup);
	}
	return unit_name(address_of(top), unit);
}

static __always_inline __u64 unit_hash_of(__u64 cgroup, __u64 address)
{
	struct sw_cgroup key = { cgroup };
	struct sw_unit *known = bpf_map_lookup_elem(&unit_hashes, &key), unit;

	if (known)
		return known->unit;
	unit = (struct sw_unit){ unit_hash(address) };
	bpf_map_update_elem(&unit_hashes, &key, &unit, BPF_ANY);
	return unit.unit;
}

/*
 * Fills `tag->unit` and `tag->cgroup`. `address` is of the struct cgroup that the task is a unit
 * by; the nearest one upwards that is known says what it counts as.
 */
SUBPROGRAM int find_unit(struct sw_tag *tag, __u64 address, __u32 generation)
{
	struct cgroup *cgroup = kernel_at(address, struct cgroup);
	const struct sw_sketch *sketch = sketch_get(generation);
	void *known = units_get(generation);
	struct sw_unit_match match;
	struct sw_cgroup id;
	int i;

	if (!tag || !known || !sketch)
		return 0;
	tag->cgroup = kernel_read(cgroup, kn, id);
	for (i = 0; i < CGROUPS_MAX && cgroup; i++) {
		id.id = kernel_read(cgroup, kn, id);
		if (sw_sketch_has(sketch, id.id) &&
		    unit_copy(&id, bpf_map_lookup_elem(known, &id), &match)) {
			tag->cgroup = id.id;
			tag->unit = match.unit;
			known_unit_name(address_of(cgroup), match.unit, generation);
			return 0;
		}
		cgroup = parent_of(cgroup);
	}
	tag->unit = unit_hash_of(tag->cgroup, address);
	unit_name(address, tag->unit);
	return 0;
}

#endif
