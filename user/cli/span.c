// SPDX-License-Identifier: GPL-2.0-or-later
#include "span.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

int64_t wall_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* "2026-11-21T18:25:48Z", also with a fraction or "+01:00". */
static int moment_parse(const char *text, int64_t *ret_ms)
{
	struct tm tm = {};
	const char *end;
	int64_t seconds;
	long east;

	end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!end)
		return -EINVAL;
	seconds = timegm(&tm);
	if (*end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	memset(&tm, 0, sizeof(tm));
	end = strptime(end, "%z", &tm); /* knows "Z" */
	if (!end || *end)
		return -EINVAL;
	east = tm.tm_gmtoff;

	*ret_ms = (seconds - east) * 1000;
	return 0;
}

int since_option(const char *text, int64_t *ret_ms)
{
	uint64_t span_ns;

	if (duration_parse(text, &span_ns) == 0) {
		*ret_ms = wall_now_ms() - (int64_t)(span_ns / 1000000);
		return 0;
	}
	if (moment_parse(text, ret_ms) == 0)
		return 0;
	log_error("'%s' is no time: write a span (2h) or a moment (2026-11-21T18:00:00Z)", text);
	return -EINVAL;
}

int rows_option(const char *text, size_t *ret)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || n == 0) {
		log_error("'%s' is no number of rows: write 1 or more", text);
		return -EINVAL;
	}
	*ret = n;
	return 0;
}
