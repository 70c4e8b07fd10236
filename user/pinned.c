// SPDX-License-Identifier: GPL-2.0-or-later
#include "pinned.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <linux/bpf.h>

#include "cleanup.h"

int pinned_open(const char *pin_dir, const char *name, int *ret_fd)
{
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), "%s/%s", pin_dir, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = bpf_obj_get(path);
	if (fd < 0)
		return -errno;

	*ret_fd = fd;
	return 0;
}

int pinned_map(const char *pin_dir, const char *name, uint32_t key_size, uint32_t value_size,
	       int *ret_fd)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);
	_cleanup_close_ int fd = -1;
	int r;

	r = pinned_open(pin_dir, name, &fd);
	if (r < 0)
		return r;
	if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return -errno;
	if (info.key_size != key_size || (value_size && info.value_size != value_size))
		return -EPROTO;

	*ret_fd = take_fd(&fd);
	return 0;
}

/* ---- a walk ---- */

static int set_room(struct pinned_batch *batch, uint32_t room)
{
	pinned_batch_clear(batch);
	batch->keys = calloc(room, batch->key_size);
	batch->values = calloc(room, batch->value_size);
	batch->room = room;
	return batch->keys && batch->values ? 0 : -ENOMEM;
}

int pinned_batch_new(uint32_t key_size, uint32_t value_size, uint32_t room,
		     struct pinned_batch *ret)
{
	*ret = (struct pinned_batch){ .key_size = key_size, .value_size = value_size };
	return set_room(ret, room);
}

void pinned_batch_clear(struct pinned_batch *batch)
{
	free(batch->keys);
	free(batch->values);
	batch->keys = batch->values = NULL;
}

int pinned_read(int fd, struct pinned_walk *walk, struct pinned_batch *batch, uint32_t *ret_n)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint64_t next = 0;
	__u32 n;
	int r;

	for (;;) {
		n = batch->room;
		r = bpf_map_lookup_batch(fd, walk->begun ? &walk->token : NULL, &next, batch->keys,
					 batch->values, &n, &opts);
		if (r == 0 || errno != ENOSPC)
			break;
		r = set_room(batch, 2 * batch->room);
		if (r < 0)
			return r;
	}
	if (r < 0 && errno != ENOENT)
		return -errno;

	*walk = (struct pinned_walk){ .token = next, .begun = r == 0 };
	*ret_n = n;
	return r < 0;
}
