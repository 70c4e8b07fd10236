/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "path.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <smtpwall/path.h>

#define PART_MOST (SW_PATH_PART - 1) /* the kernel reads strings: their NUL is in the buffer */

/* ---- of cgroups ---- */

static uint64_t hash_part(uint64_t hash, const char *name, size_t length)
{
	__u64 part[SW_PATH_PART / 8] = {};

	memcpy(part, name, length < PART_MOST ? length : PART_MOST);
	return sw_path_hash_part(hash, part);
}

static uint64_t hash_name(uint64_t hash, const char *name, size_t length)
{
	hash = hash_part(hash, name, length);
	return length > PART_MOST ? hash_part(hash, name + PART_MOST, length - PART_MOST) : hash;
}

uint64_t unit_hash(const char *path)
{
	uint64_t hash = SW_PATH_HASH_START;
	size_t end = strlen(path), start;

	for (; end; end = start) {
		for (start = end; start && path[start - 1] != '/';)
			start--;
		if (end > start)
			hash = hash_name(hash, path + start, end - start);
		else
			start--; /* the slash */
	}
	return hash;
}

/* ---- as the kernel walked them ---- */

/*
 * Where each name begins. What claims more than there is ends with what there is. -EBADMSG: a name has
 * an end within: it was renamed while it was read, and which names are whose cannot be told.
 */
static int names_of(const struct sw_path *path, const char *name[static SW_PATH_NAMES],
		    size_t length[static SW_PATH_NAMES])
{
	size_t used = path->len < SW_PATH_LEN ? path->len : SW_PATH_LEN, at = 0;
	unsigned int n;

	for (n = 0; n < path->count && n < SW_PATH_NAMES && at < used; n++) {
		name[n] = path->names + at;
		length[n] = strnlen(name[n], used - at);
		at += length[n] + 1;
	}
	return n == path->count && at < used ? -EBADMSG : (int)n;
}

struct text {
	char *out;
	size_t size, used;
};

static bool append(struct text *text, const char *from, size_t length)
{
	if (text->used + length >= text->size)
		return false;
	memcpy(text->out + text->used, from, length);
	text->used += length;
	text->out[text->used] = '\0';
	return true;
}

int path_text(const struct sw_path *path, unsigned int skip, char *out, size_t size)
{
	struct text text = { .out = out, .size = size };
	const char *name[SW_PATH_NAMES];
	size_t length[SW_PATH_NAMES];
	int n = names_of(path, name, length);
	bool fits = true;

	if (n < 0)
		return n;
	if (path->flags & SW_PATH_TRUNCATED)
		fits = append(&text, "...", 3);
	for (; fits && n > (int)skip; n--)
		fits = append(&text, "/", 1) && append(&text, name[n - 1], length[n - 1]);
	if (fits && !text.used)
		fits = append(&text, "/", 1);
	return fits ? (int)text.used : -ENAMETOOLONG;
}
