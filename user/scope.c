// SPDX-License-Identifier: GPL-2.0-or-later
#include "scope.h"

#include <stddef.h>
#include <string.h>

#include "cleanup.h"

#define ID_LEAST 32 /* hexadecimal digits; they write 64 */

struct name {
	const char *at;
	size_t length;
};

/* The component at `*path`, which moves behind it; false: there is none. */
static bool next(const char **path, struct name *ret)
{
	*path += strspn(*path, "/");
	*ret = (struct name){ .at = *path, .length = strcspn(*path, "/") };
	*path += ret->length;
	return ret->length > 0;
}

static bool strip_head(struct name *name, const char *head)
{
	size_t length = strlen(head);

	if (name->length <= length || strncmp(name->at, head, length) != 0)
		return false;
	name->at += length;
	name->length -= length;
	return true;
}

static bool strip_tail(struct name *name, const char *tail)
{
	size_t length = strlen(tail);

	if (name->length <= length || strncmp(name->at + name->length - length, tail, length) != 0)
		return false;
	name->length -= length;
	return true;
}

static bool copy(const struct name *name, char ret[static SCOPE_LEN])
{
	if (name->length >= SCOPE_LEN)
		return false;
	memcpy(ret, name->at, name->length);
	ret[name->length] = '\0';
	return true;
}

bool scope_unit(const char *path, char ret[static SCOPE_LEN])
{
	struct name name, head;

	while (next(&path, &name)) {
		head = name;
		if (strip_tail(&head, ".service") || strip_tail(&head, ".scope"))
			return copy(&name, ret);
	}
	return false;
}

static bool is_id(const struct name *name)
{
	size_t digits = strspn(name->at, "0123456789abcdef");

	return name->length >= ID_LEAST && digits == name->length;
}

/* "WHATEVER-ID.scope", or the id alone, as /docker/ID */
static bool identifies(struct name name, char ret[static SCOPE_LEN])
{
	const char *dash;

	if (strip_tail(&name, ".scope"))
		while ((dash = memchr(name.at, '-', name.length))) {
			name.length -= dash + 1 - name.at;
			name.at = dash + 1;
		}
	return is_id(&name) && copy(&name, ret);
}

static bool names(struct name name, char ret[static SCOPE_LEN])
{
	static const struct {
		const char *head, *tail;
	} form[] = {
		{ "docker-", ".scope" },
		{ "libpod-", ".scope" },
		{ "cri-containerd-", ".scope" },
		{ "crio-", ".scope" },
		{ "lxc.payload.", "" },
		{ "machine-", ".scope" },
		{ "systemd-nspawn@", ".service" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(form); i++)
		if (strip_head(&name, form[i].head))
			return (!*form[i].tail || strip_tail(&name, form[i].tail)) &&
			       copy(&name, ret);
	return false;
}

bool scope_container(const char *path, char ret[static SCOPE_LEN])
{
	bool found = false;
	struct name name;

	while (next(&path, &name)) /* the innermost counts */
		if (identifies(name, ret) || names(name, ret))
			found = true;
	return found;
}
