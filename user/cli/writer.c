// SPDX-License-Identifier: GPL-2.0-or-later
#include "writer.h"

#include <errno.h>
#include <json-c/json.h>
#include <langinfo.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "clean.h"
#include "log.h"

#define DEPTH 16
#define CELL_LEN 256
#define LEAST_WIDTH 10 /* of a column of text that is cut */
#define GAP 2
#define NS_PER_SECOND 1000000000LL

struct writer {
	bool json;
	struct json_object *open[DEPTH]; /* the innermost is the last */
	size_t depth;
};

static void *must(void *p)
{
	if (!p) {
		log_error("out of memory");
		exit(EXIT_FAILURE);
	}
	return p;
}

/* A NULL `value` is JSON's null. */
static void put(struct writer *w, const char *key, struct json_object *value)
{
	struct json_object *in = w->open[w->depth - 1];
	int r;

	if (json_object_is_type(in, json_type_array))
		r = json_object_array_add(in, value);
	else
		r = json_object_object_add(in, key, value);
	must(r == 0 ? in : NULL);
}

struct writer *writer_new(bool json)
{
	struct writer *w = must(calloc(1, sizeof(*w)));

	w->json = json;
	w->open[w->depth++] = must(json_object_new_object());
	writer_number(w, "schema", 1);
	return w;
}

void writer_free(struct writer *w)
{
	if (!w)
		return;
	json_object_put(w->open[0]);
	free(w);
}

bool writer_json(const struct writer *w)
{
	return w->json;
}

static void begin(struct writer *w, const char *key, struct json_object *inner)
{
	put(w, key, must(inner));
	if (w->depth == DEPTH)
		abort();
	w->open[w->depth++] = inner;
}

void writer_object(struct writer *w, const char *key)
{
	begin(w, key, json_object_new_object());
}

void writer_list(struct writer *w, const char *key)
{
	begin(w, key, json_object_new_array());
}

void writer_end(struct writer *w)
{
	if (w->depth < 2)
		abort();
	w->depth--;
}

void writer_null(struct writer *w, const char *key)
{
	put(w, key, NULL);
}

void writer_text(struct writer *w, const char *key, const char *text)
{
	_cleanup_free_ char *copy = NULL;

	if (!text) {
		writer_null(w, key);
		return;
	}
	copy = must(w->json ? repaired(text) : strdup(text));
	if (!w->json)
		clean(copy);
	put(w, key, must(json_object_new_string(copy)));
}

void writer_number(struct writer *w, const char *key, uint64_t number)
{
	put(w, key, must(json_object_new_uint64(number)));
}

void writer_share(struct writer *w, const char *key, uint64_t part, uint64_t whole)
{
	double percent = whole ? 100.0 * part / whole : 0;
	char text[32];

	snprintf(text, sizeof(text), "%.1f", percent);
	put(w, key, must(json_object_new_double_s(percent, text)));
}

void writer_flag(struct writer *w, const char *key, bool flag)
{
	put(w, key, must(json_object_new_boolean(flag)));
}

void writer_time(struct writer *w, const char *key, int64_t wall_ns)
{
	char text[64], fraction[8];
	time_t seconds = wall_ns / NS_PER_SECOND;
	struct tm tm;

	if (wall_ns == 0) {
		writer_null(w, key);
	} else if (!w->json) {
		put(w, key, must(json_object_new_int64(wall_ns)));
	} else {
		gmtime_r(&seconds, &tm);
		strftime(text, sizeof(text) - sizeof(fraction), "%Y-%m-%dT%H:%M:%S", &tm);
		snprintf(fraction, sizeof(fraction), ".%03dZ",
			 (int)(wall_ns % NS_PER_SECOND / 1000000));
		writer_text(w, key, strcat(text, fraction));
	}
}

void writer_note(struct writer *w, const char *key, const char *text)
{
	if (!w->json)
		writer_text(w, key, text);
}

/* ---- cells ---- */

void span_format(char text[static WRITER_SPAN_LEN], int64_t ns)
{
	static const struct {
		int64_t seconds, until; /* of the unit; used for less than this */
		char unit;
	} units[] = {
		{ 1, 120, 's' }, { 60, 7200, 'm' }, { 3600, 172800, 'h' }, { 86400, INT64_MAX, 'd' }
	};
	int64_t seconds = ns > 0 ? ns / NS_PER_SECOND : 0;
	size_t i = 0;

	while (seconds >= units[i].until)
		i++;
	seconds = (seconds + units[i].seconds / 2) / units[i].seconds;
	snprintf(text, WRITER_SPAN_LEN, "%lld%c", (long long)seconds, units[i].unit);
}

static void bytes_format(char text[static CELL_LEN], uint64_t bytes)
{
	static const char *const unit[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
	double n = bytes;
	size_t i = 0;

	for (; n >= 1000 && i + 1 < ARRAY_SIZE(unit); i++)
		n /= 1000;
	snprintf(text, CELL_LEN, i && n < 100 ? "%.1f%s" : "%.0f%s", n, unit[i]);
}

static int64_t wall_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

static void list_format(char text[static CELL_LEN], struct json_object *list)
{
	size_t i, at = 0;

	text[0] = '\0';
	for (i = 0; i < json_object_array_length(list) && at < CELL_LEN; i++)
		at += snprintf(text + at, CELL_LEN - at, "%s%s", i ? ", " : "",
			       json_object_get_string(json_object_array_get_idx(list, i)));
}

static void cell_format(char text[static CELL_LEN], enum form form, struct json_object *value)
{
	snprintf(text, CELL_LEN, "%s", form == FORM_LEFT ? "for good" : "-");
	if (!value)
		return;
	switch (form) {
	case FORM_TEXT:
	case FORM_NUMBER:
		snprintf(text, CELL_LEN, "%s", json_object_get_string(value));
		break;
	case FORM_BYTES:
		bytes_format(text, json_object_get_uint64(value));
		break;
	case FORM_AGO:
		span_format(text, wall_now() - json_object_get_int64(value));
		break;
	case FORM_LEFT:
		span_format(text, json_object_get_int64(value) - wall_now());
		break;
	case FORM_LIST:
		list_format(text, value);
		break;
	}
	clean(text); /* it may have been cut inside of a character */
}

/* "roads.direct.bytes" of a row. */
static struct json_object *value_at(struct json_object *row, const char *path)
{
	char key[CELL_LEN];
	size_t length;

	while (row && *path) {
		length = strcspn(path, ".");
		snprintf(key, sizeof(key), "%.*s", (int)length, path);
		row = json_object_object_get(row, key);
		path += length + (path[length] == '.');
	}
	return row;
}

/* ---- tables ---- */

static bool to_the_right(enum form form)
{
	return form == FORM_NUMBER || form == FORM_BYTES;
}

static void measure(struct json_object *rows, const struct column *column, size_t n, size_t *width)
{
	char text[CELL_LEN];
	size_t i, r;

	for (i = 0; i < n; i++) {
		width[i] = strlen(column[i].title);
		for (r = 0; r < json_object_array_length(rows); r++) {
			cell_format(text, column[i].form,
				    value_at(json_object_array_get_idx(rows, r), column[i].key));
			if (clean_width(text) > width[i])
				width[i] = clean_width(text);
		}
	}
}

/* Takes from the widest column of text, one by one, until the row fits. */
static void fit(const struct column *column, size_t n, size_t *width, size_t room)
{
	size_t i, total, widest;

	for (;;) {
		total = 0;
		widest = n;
		for (i = 0; i < n; i++) {
			total += width[i] + (i ? GAP : 0);
			if (!to_the_right(column[i].form) && width[i] > LEAST_WIDTH &&
			    (widest == n || width[i] > width[widest]))
				widest = i;
		}
		if (total <= room || widest == n)
			return;
		width[widest]--;
	}
}

/* A terminal that is not UTF-8 would take some of its bytes for control characters. */
static void to_ascii(char *text)
{
	char *to = text;

	for (; *text; text++)
		if ((unsigned char)*text < 0x80)
			*to++ = *text;
		else if (((unsigned char)*text & 0xc0) != 0x80)
			*to++ = '?';
	*to = '\0';
}

static void cut(char *text, size_t width)
{
	size_t n = 0;

	if (clean_width(text) <= width || width == 0)
		return;
	for (; *text; text++)
		if (((unsigned char)*text & 0xc0) != 0x80 && ++n == width)
			break;
	strcpy(text, "~");
}

static void print_cell(const char *value, const struct column *column, size_t width, FILE *line)
{
	char text[CELL_LEN];
	int pad;

	snprintf(text, sizeof(text), "%s", value);
	if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		to_ascii(text);
	cut(text, width);
	pad = (int)(width - clean_width(text));
	if (to_the_right(column->form))
		fprintf(line, "%*s%s%*s", pad, "", text, GAP, "");
	else
		fprintf(line, "%s%*s", text, pad + GAP, "");
}

/* `row`: NULL is the heading. */
static void print_row(struct json_object *row, const struct column *column, size_t n,
		      const size_t *width, FILE *out)
{
	_cleanup_free_ char *text = NULL;
	char value[CELL_LEN];
	size_t i, length;
	FILE *line = must(open_memstream(&text, &length));

	for (i = 0; i < n; i++) {
		if (row)
			cell_format(value, column[i].form, value_at(row, column[i].key));
		else
			snprintf(value, sizeof(value), "%s", column[i].title);
		print_cell(value, &column[i], width[i], line);
	}
	fclose(line);
	while (length && text[length - 1] == ' ')
		length--;
	fprintf(out, "%.*s\n", (int)length, text);
}

void writer_table(struct writer *w, const char *key, const struct column *column, size_t n,
		  size_t room, FILE *out)
{
	struct json_object *rows = value_at(w->open[0], key);
	_cleanup_free_ size_t *width = must(calloc(n, sizeof(*width)));
	size_t r;

	if (w->json)
		return;
	measure(rows, column, n, width);
	if (room)
		fit(column, n, width, room);
	print_row(NULL, column, n, width, out);
	for (r = 0; r < json_object_array_length(rows); r++)
		print_row(json_object_array_get_idx(rows, r), column, n, width, out);
}

size_t writer_width(void)
{
	struct winsize size;

	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

void writer_say(struct writer *w, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list args;
	int length;

	if (w->json)
		return;
	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	if (length < 0)
		text = NULL;
	clean(must(text));
	if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		to_ascii(text);
	puts(text);
}

int writer_finish(struct writer *w, bool line)
{
	int form = JSON_C_TO_STRING_NOSLASHESCAPE |
		   (line ? JSON_C_TO_STRING_PLAIN : JSON_C_TO_STRING_PRETTY);

	if (w->json) {
		escaped_print(must((void *)json_object_to_json_string_ext(w->open[0], form)),
			      stdout);
		putchar('\n');
	}
	if (fflush(stdout) == EOF || ferror(stdout))
		return log_errno(-errno, "cannot write what was found");
	return 0;
}
