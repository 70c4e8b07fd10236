/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a command found, walked once and written in one of two forms: a JSON document, or tables
 * of its arrays. Text from strangers is harmless in both: escaped in JSON, where it is exact, and
 * cleaned for people. Without memory it exits.
 */
#ifndef SMTPWALL_CLI_WRITER_H
#define SMTPWALL_CLI_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cleanup.h"

struct writer;

/* Begins the document, an object with "schema". */
struct writer *writer_new(bool json);
void writer_free(struct writer *w);
static inline void writer_freep(struct writer **w)
{
	writer_free(*w);
}
#define _cleanup_writer_ _cleanup_(writer_freep)

bool writer_json(const struct writer *w);

/* `key` is NULL inside of a list. Each object and list has its end. */
void writer_object(struct writer *w, const char *key);
void writer_list(struct writer *w, const char *key);
void writer_end(struct writer *w);
void writer_text(struct writer *w, const char *key, const char *text); /* NULL: unknown */
void writer_number(struct writer *w, const char *key, uint64_t number);
/* As percent, with one digit behind the point. */
void writer_share(struct writer *w, const char *key, uint64_t part, uint64_t whole);
void writer_flag(struct writer *w, const char *key, bool flag);
void writer_time(struct writer *w, const char *key, int64_t wall_ns); /* 0: unknown */
void writer_null(struct writer *w, const char *key);
/* For people only: JSON has it in other keys. */
void writer_note(struct writer *w, const char *key, const char *text);

enum form {
	FORM_TEXT,
	FORM_NUMBER,
	FORM_BYTES, /* "1.2MB" */
	FORM_AGO,   /* of a time: "3m" */
	FORM_LEFT,  /* of a time: "25m"; unknown: "for good" */
	FORM_LIST,  /* "direct, relay" */
};

struct column {
	const char *title;
	const char *key; /* of a row; "roads.direct.bytes" goes down */
	enum form form;
};

/* The list `key` of the document ("top.uid" goes down) as a table; in the JSON form nothing.
 * `width`: 0 is as wide as it gets, else text is cut to fit. */
void writer_table(struct writer *w, const char *key, const struct column *column, size_t n,
		  size_t width, FILE *out);
/* Width of stdout if that is a terminal, else 0. */
size_t writer_width(void);
/* A sentence; in the JSON form nothing. */
__attribute__((__format__(__printf__, 2, 3))) void writer_say(struct writer *w, const char *format,
							      ...);
/* Prints the document in the JSON form; `line`: as one line. Not 0: stdout is broken, told. */
int writer_finish(struct writer *w, bool line);

#define WRITER_SPAN_LEN 32
/* A span for people: "45s", "12m", "3h", "6d". */
void span_format(char text[static WRITER_SPAN_LEN], int64_t ns);

#endif
