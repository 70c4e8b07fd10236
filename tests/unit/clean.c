// SPDX-License-Identifier: GPL-2.0-or-later
#include "clean.h"
#include "test.h"

/* Until the next one. */
static const char *fixed(const char *text)
{
	static char *out;

	free(out);
	out = repaired(text);
	return out;
}

static const char *escaped(const char *json)
{
	static char *out;
	size_t length;
	FILE *to;

	free(out);
	to = open_memstream(&out, &length);
	escaped_print(json, to);
	fclose(to);
	return out;
}

#define WRONG "\xef\xbf\xbd"

TEST(what_is_no_utf8_is_replaced_byte_by_byte_and_nothing_else)
{
	CHECK_STR(fixed(""), "");
	CHECK_STR(fixed("a\x1b[2J\nb\x7f\xe2\x80\xae"), "a\x1b[2J\nb\x7f\xe2\x80\xae");
	CHECK_STR(fixed("a\x9b\xff"), "a" WRONG WRONG);
	CHECK_STR(fixed("\xe2\x80"), WRONG WRONG);	     /* cut within a character */
	CHECK_STR(fixed("\xed\xa0\x80"), WRONG WRONG WRONG); /* half of a pair */
	CHECK_STR(fixed("\xc0\xaf"), WRONG WRONG);	     /* overlong */
}

TEST(json_is_shown_without_what_a_terminal_obeys)
{
	CHECK_STR(escaped("{\n  \"a\": \"J\xc3\xbcrgen\"\n}"), "{\n  \"a\": \"J\xc3\xbcrgen\"\n}");
	CHECK_STR(escaped("\"\x7f\xc2\x9b\""), "\"\\u007f\\u009b\"");
	CHECK_STR(escaped("\"\xe2\x80\xae\xef\xbb\xbfx\""), "\"\\u202e\\ufeffx\"");
	CHECK_STR(escaped("\"\xf3\xa0\x81\x81\""), "\"\\udb40\\udc41\""); /* a tag: U+E0041 */
	CHECK_STR(escaped("\\n\\u001b"), "\\n\\u001b");			  /* is so already */
}
