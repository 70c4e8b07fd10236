// SPDX-License-Identifier: GPL-2.0-or-later
#include "span.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clean.h"
#include "log.h"
#include "quantity.h"

int span_option(const char *text, uint64_t *ret_ns)
{
	int r = duration_parse(text, ret_ns);

	if (r == -ERANGE)
		log_error("'%s' is out of range: write a span from 1s to 520w", text);
	else if (r < 0)
		log_error("'%s' is no span of time: write 90s, 30m, 2h or 7d", text);
	return r;
}

/* Cut where a character begins. */
void note_set(char note[static SW_NOTE_LEN], const char *reason)
{
	size_t length = strnlen(reason, SW_NOTE_LEN - 1);

	while (length && ((unsigned char)reason[length] & 0xc0) == 0x80)
		length--;
	memset(note, 0, SW_NOTE_LEN);
	memcpy(note, reason, length);
	clean(note);
}
