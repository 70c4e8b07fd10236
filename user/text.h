/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text files that people write, read without trust: a FIFO does not hang the reader, a
 * binary is not taken for words, and what a tokenizer would misread is found before it.
 */
#ifndef SMTPWALL_TEXT_H
#define SMTPWALL_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#define TEXT_MAX (16u << 20) /* bytes of one file */

/* The whole of a regular file, with a NUL behind it. -EISDIR, -EINVAL (a FIFO …), -EFBIG, … */
int text_read(const char *path, char **ret, size_t *ret_length);
/* What an error of text_read() means. */
const char *text_read_error(int error);

struct text_fault {
	unsigned int line;
	const char *what; /* and what to write instead */
	bool open;	  /* only a brace that is not closed: the text is whole */
};

/*
 * Blanks the comments of a configuration (also inside lists, where libconfuse has none; it
 * miscounts lines after them besides) and checks what it does not: control characters, strings
 * and comments without end, escapes, ${variables}, depth. From the line of a fault on the text
 * is cut off. Braces that are still open at the end are a fault, too, but cut nothing.
 */
bool text_lex(char *text, size_t length, struct text_fault *ret);

#endif
