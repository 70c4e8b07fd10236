// SPDX-License-Identifier: GPL-2.0-or-later
#include "named.h"

#include <string.h>

/* The names of containers as their managers write them into cgroup paths. */
static const struct {
	const char *before, *behind;
} container_forms[] = {
	{ "/docker-", ".scope" },  { "/libpod-", ".scope" }, { "/cri-containerd-", ".scope" },
	{ "/crio-", ".scope" },	   { "/lxc.payload.", "" },  { "/systemd-nspawn@", ".service" },
	{ "/machine-", ".scope" }, { "/docker/", "" },
};

#define CONTAINER_LEN 64
#define CONTAINER_ID_LEN 12 /* as `docker ps` shows it */

static bool container_name(const char *path, char ret[static CONTAINER_LEN])
{
	size_t i, length;
	const char *at;

	for (i = 0; i < ARRAY_SIZE(container_forms); i++) {
		at = strstr(path, container_forms[i].before);
		if (!at)
			continue;
		at += strlen(container_forms[i].before);
		length = strcspn(at, "/");
		if (length > strlen(container_forms[i].behind))
			length -= strlen(container_forms[i].behind);
		if (length == 64 && strspn(at, "0123456789abcdef") >= 64)
			length = CONTAINER_ID_LEN;
		snprintf(ret, CONTAINER_LEN, "%.*s", (int)length, at);
		return true;
	}
	return false;
}

/* Does the subject's text say its name already? */
static bool says(const char *text, const char *name)
{
	size_t length = strlen(text), end = name ? strlen(name) : 0;

	return end && end < length && !strcmp(text + length - end, name) &&
	       strchr(":/", text[length - end - 1]);
}

void named_write(struct writer *w, const struct view *view, const struct sw_subject *subject)
{
	_cleanup_free_ char *name = view_subject_name(view, subject);
	char text[SUBJECT_LEN], container[CONTAINER_LEN];
	bool contained;

	view_subject_text(view, subject, text);
	contained = subject->kind == SW_KIND_UNIT && container_name(text, container);
	writer_text(w, "subject", text);
	writer_text(w, "name", contained ? container : name);
	writer_text(w, "container", contained ? container : NULL);
	writer_note(w, "called", contained ? container : says(text, name) ? NULL : name);
}
