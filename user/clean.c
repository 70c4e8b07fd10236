// SPDX-License-Identifier: GPL-2.0-or-later
#include "clean.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

/* Reads one character of UTF-8. Returns its length in bytes, 0 if it is none. */
static size_t decode(const unsigned char *text, uint32_t *ret)
{
	static const struct {
		unsigned char mask, lead;
		uint32_t least; /* of this length: a smaller one is overlong */
	} form[] = { { 0x80, 0x00, 0 },
		     { 0xe0, 0xc0, 0x80 },
		     { 0xf0, 0xe0, 0x800 },
		     { 0xf8, 0xf0, 0x10000 } };
	uint32_t c;
	size_t i, n;

	for (n = 0; n < ARRAY_SIZE(form); n++)
		if ((text[0] & form[n].mask) == form[n].lead)
			break;
	if (n == ARRAY_SIZE(form))
		return 0;
	c = text[0] & (unsigned char)~form[n].mask;
	for (i = 1; i <= n; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (text[i] & 0x3f);
	}
	if (c < form[n].least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;

	*ret = c;
	return n + 1;
}

static bool harmless(uint32_t c)
{
	static const struct {
		uint32_t first, last;
	} harm[] = {
		{ 0x00, 0x1f },	    /* controls */
		{ 0x7f, 0x9f },	    /* DEL and the second set of controls */
		{ 0x061c, 0x061c }, /* the Arabic mark of direction */
		{ 0x200b, 0x200f }, /* without width, and marks of direction */
		{ 0x2028, 0x202e }, /* separators, embeddings, overrides */
		{ 0x2060, 0x206f }, { 0xfeff, 0xfeff }, { 0xfff9, 0xfffb }, { 0xe0000, 0xe007f },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(harm); i++)
		if (c >= harm[i].first && c <= harm[i].last)
			return false;
	return true;
}

/* Length of the harmless character at `text`; 0: `*ret_skip` bytes there are not to be shown. */
static size_t next(const char *text, size_t *ret_skip)
{
	uint32_t c = 0;
	size_t length = decode((const unsigned char *)text, &c);

	*ret_skip = length ? length : 1;
	return length && harmless(c) ? length : 0;
}

void clean(char *text)
{
	char *to = text;
	size_t length, skip;

	while (*text) {
		length = next(text, &skip);
		if (length)
			memmove(to, text, length);
		else
			*to = '?';
		to += length ? length : 1;
		text += skip;
	}
	*to = '\0';
}

bool is_clean(const char *text)
{
	size_t skip;

	for (; *text; text += skip)
		if (!next(text, &skip))
			return false;
	return true;
}

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

char *repaired(const char *text)
{
	char *out = malloc(strlen(text) * strlen(REPLACEMENT) + 1), *to = out;
	uint32_t c;
	size_t length;

	for (; out && *text; text += length ? length : 1) {
		length = decode((const unsigned char *)text, &c);
		to = length ? mempcpy(to, text, length)
			    : mempcpy(to, REPLACEMENT, strlen(REPLACEMENT));
	}
	if (out)
		*to = '\0';
	return out;
}

static void escape(uint32_t c, FILE *to)
{
	if (c > 0xffff)
		fprintf(to, "\\u%04x\\u%04x", 0xd7c0 + (c >> 10), 0xdc00 | (c & 0x3ff));
	else
		fprintf(to, "\\u%04x", c);
}

void escaped_print(const char *json, FILE *to)
{
	const char *from = json;
	uint32_t c = 0;
	size_t skip;

	for (; *json; json += skip) {
		if (next(json, &skip) || *json == '\n' || !decode((const unsigned char *)json, &c))
			continue;
		fwrite(from, 1, json - from, to);
		escape(c, to);
		from = json + skip;
	}
	fputs(from, to);
}

size_t clean_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += ((unsigned char)*text & 0xc0) != 0x80;
	return width;
}
