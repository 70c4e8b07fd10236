/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "clean.h"
#include "cleanup.h"
#include "text.h"

#define DEPTH 2	      /* a list in a section */
#define WORD_MAX 4096 /* bytes: libconfuse takes minutes for a word of megabytes */

static int regular_open(const char *path, size_t *ret_size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if (st.st_size > TEXT_MAX)
		return -EFBIG;
	*ret_size = st.st_size;
	return take_fd(&fd);
}

int text_read(const char *path, char **ret, size_t *ret_length)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int fd = -1;
	size_t size = 0, length = 0;
	ssize_t n;

	fd = regular_open(path, &size);
	if (fd < 0)
		return fd;
	text = malloc(size + 1);
	if (!text)
		return -ENOMEM;
	/* No more than it had when it was opened: who appends meanwhile is read the next time. */
	while (length < size && (n = read(fd, text + length, size - length)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		length += n;
	}
	text[length] = '\0';
	*ret_length = length;
	*ret = take_pointer(&text);
	return 0;
}

const char *text_read_error(int error)
{
	switch (error) {
	case -EINVAL:
		return "it is no regular file";
	case -EILSEQ:
		return "it is no text";
	case -EFBIG:
		return "it is larger than 16 MiB";
	default:
		return strerror(-error);
	}
}

struct lexer {
	char *p, *end;
	char *start; /* of the line */
	unsigned int line;
	unsigned int open[DEPTH]; /* lines of the braces that are open */
	unsigned int depth;
	size_t word; /* bytes of the word that is being read */
	struct text_fault fault;
};

static const char not_text[] = "this is no text in UTF-8: remove the character";
static const char too_long[] = "a word of more than 4096 bytes: write a shorter one";
static const char no_variables[] = "variables are not known here: write the value";

static bool fault(struct lexer *l, unsigned int line, const char *what)
{
	l->fault = (struct text_fault){ line, what, false };
	return false;
}

/* At a newline, or at the end. Comments and tabs are blanks by now. */
static bool end_line(struct lexer *l)
{
	char newline = *l->p;
	bool clean;

	*l->p = '\0';
	clean = is_clean(l->start);
	*l->p = newline;
	if (!clean)
		return fault(l, l->line, not_text);
	l->word = 0;
	l->start = l->p + 1;
	l->line++;
	return true;
}

static bool blank_line(struct lexer *l)
{
	while (l->p < l->end && *l->p != '\n')
		*l->p++ = ' ';
	return true;
}

static bool blank_comment(struct lexer *l)
{
	char *end = memmem(l->p + 2, l->end - l->p - 2, "*/", 2);

	if (!end)
		return fault(l, l->line, "the comment that begins here has no end: write */");
	for (; l->p < end + 2; l->p++) {
		if (*l->p != '\n')
			*l->p = ' ';
		else if (!end_line(l))
			return false;
	}
	return true;
}

/* A string ends in its line, or a forgotten quote would be found where the next one stands. */
static bool skip_string(struct lexer *l)
{
	char quote = *l->p++, *start = l->p;

	for (; l->p < l->end && *l->p != '\n' && *l->p != quote; l->p++) {
		if (!*l->p)
			return fault(l, l->line, not_text);
		if (l->p[0] == '$' && l->p[1] == '{')
			return fault(l, l->line, no_variables);
		if (*l->p == '\\' && *++l->p != '\\' && *l->p != quote)
			return fault(l, l->line, "a backslash in a string: write \\\\ for one");
	}
	if (l->p == l->end || *l->p == '\n')
		return fault(l, l->line, "the string has no end in this line: write its quote");
	if (l->p - start > WORD_MAX)
		return fault(l, l->line, too_long);
	l->p++;
	return true;
}

static bool brace(struct lexer *l)
{
	if (*l->p == '}') {
		l->depth -= l->depth > 0; /* one too many is libconfuse's to tell */
	} else {
		if (l->depth == DEPTH)
			return fault(l, l->line, "too many { here: write } before it");
		l->open[l->depth++] = l->line;
	}
	l->p++;
	return true;
}

/* libconfuse would drop these characters where they are not quoted, and take the rest for all. */
static bool must_be_quoted(const char *p)
{
	return *p == '*' || (*p == '+' && p[1] != '=') ||
	       (*p == '/' && strchr(" #\"'\t\n\r={}()+,*", p[1]));
}

static bool skip_word(struct lexer *l)
{
	if (!*l->p)
		return fault(l, l->line, not_text);
	if (must_be_quoted(l->p))
		return fault(l, l->line,
			     "*, + and a last / are for strings: write the word in \"\"");
	if (l->p[0] == '$' && l->p[1] == '{')
		return fault(l, l->line, no_variables);
	if (*l->p == '\t' || (l->p[0] == '\r' && l->p[1] == '\n'))
		*l->p = ' ';
	l->word = strchr(" =,()", *l->p) ? 0 : l->word + 1;
	if (l->word > WORD_MAX)
		return fault(l, l->line, too_long);
	l->p++;
	return true;
}

static bool next(struct lexer *l)
{
	switch (*l->p) {
	case '\n':
		if (!end_line(l))
			return false;
		l->p++;
		return true;
	case '#':
		return blank_line(l);
	case '/':
		if (l->p[1] == '*')
			return blank_comment(l);
		return l->p[1] == '/' ? blank_line(l) : skip_word(l);
	case '"':
	case '\'':
		return skip_string(l);
	case '{':
	case '}':
		return brace(l);
	default:
		return skip_word(l);
	}
}

bool text_lex(char *text, size_t length, struct text_fault *ret)
{
	struct lexer l = { .p = text, .end = text + length, .start = text, .line = 1 };
	bool sound = true;

	while (sound && l.p < l.end)
		sound = next(&l);
	if (!sound || !end_line(&l)) {
		*l.start = '\0';
		*ret = l.fault;
		return false;
	}
	if (!l.depth)
		return true;
	*ret = (struct text_fault){ l.open[l.depth - 1],
				    "the { of this line is not closed: write }", true };
	return false;
}
