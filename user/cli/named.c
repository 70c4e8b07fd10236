// SPDX-License-Identifier: GPL-2.0-or-later
#include "named.h"

#include <string.h>

#include "scope.h"

#define CONTAINER_ID_LEN 64
#define SHOWN_ID_LEN 12 /* as `docker ps` shows it */

static bool container_name(const char *path, char ret[static SCOPE_LEN])
{
	if (!scope_container(path, ret))
		return false;
	if (strlen(ret) == CONTAINER_ID_LEN && strspn(ret, "0123456789abcdef") == CONTAINER_ID_LEN)
		ret[SHOWN_ID_LEN] = '\0';
	return true;
}

bool named_says(const char *text, const char *name)
{
	size_t length = strlen(text), end = name ? strlen(name) : 0;

	return end && end < length && !strcmp(text + length - end, name) &&
	       strchr(":/", text[length - end - 1]);
}

void named_write(struct writer *w, const struct view *view, const struct sw_subject *subject)
{
	_cleanup_free_ char *name = view_subject_name(view, subject);
	char text[SUBJECT_LEN], container[SCOPE_LEN];
	bool contained;

	view_subject_text(view, subject, text);
	contained = subject->kind == SW_KIND_UNIT && container_name(text, container);
	writer_text(w, "subject", text);
	writer_text(w, "name", contained ? container : name);
	writer_text(w, "container", contained ? container : NULL);
	writer_note(w, "called", contained ? container : named_says(text, name) ? NULL : name);
}
