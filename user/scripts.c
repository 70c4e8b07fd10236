// SPDX-License-Identifier: GPL-2.0-or-later
#include "scripts.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "clock.h"

#define LEVELS 2       /* below the folder */
#define LOOKED_AT 4000 /* names */
#define READ_MOST 64   /* files: the latest */
#define FILE_LARGEST (2 << 20)
#define FILE_READ (256 << 10) /* of each */

/* In lower case; `word`: no letter may stand before it, so "sendmail(" is not "mail(". */
static const struct {
	const char *name, *text;
	bool word;
} calls[] = {
	{ "mail", "mail(", true },
	{ "fsockopen", "fsockopen", true },
	{ "stream_socket_client", "stream_socket_client", true },
	{ "socket_connect", "socket_connect", true },
	{ "PHPMailer", "phpmailer", false },
	{ "Swift_Mailer", "swift_mailer", false },
	{ "Symfony Mailer", "symfony\\component\\mailer", false },
	{ "Net::SMTP", "net::smtp", false },
	{ "MIME::Lite", "mime::lite", false },
	{ "IO::Socket", "io::socket", false },
	{ "smtplib", "smtplib", true },
	{ "socket.connect", "socket.socket", true },
	{ "nodemailer", "nodemailer", true },
	{ "/dev/tcp", "/dev/tcp/", false },
	{ "swaks", "swaks", true },
	{ "eval", "eval(", true }, /* no mail, but what hides it */
};
_Static_assert(ARRAY_SIZE(calls) <= 64, "they are bits of script.calls");

const char *script_call(unsigned int bit)
{
	return bit < ARRAY_SIZE(calls) ? calls[bit].name : NULL;
}

struct search {
	struct script latest[READ_MOST]; /* sorted, the latest change first */
	size_t n;
	unsigned int looked_at;
	uint64_t until_ns;
};

static bool part_of_name(char c)
{
	return isalnum((unsigned char)c) || strchr("_$>:", c);
}

static bool has(const char *text, size_t length, const char *wanted, bool word)
{
	const char *at = text, *end = text + length;

	while ((at = memmem(at, end - at, wanted, strlen(wanted)))) {
		if (!word || at == text || !part_of_name(at[-1]))
			return true;
		at++;
	}
	return false;
}

static uint64_t calls_of(char *text, size_t length)
{
	uint64_t found = 0;
	size_t i;

	/* A program that was compiled is no script, a picture may be one. */
	if (memchr(text, '\0', length) && !memmem(text, length, "<?", 2))
		return 0;
	for (i = 0; i < length; i++)
		text[i] = tolower((unsigned char)text[i]);
	for (i = 0; i < ARRAY_SIZE(calls); i++)
		if (has(text, length, calls[i].text, calls[i].word))
			found |= 1ULL << i;
	return found;
}

/*
 * To open a device does something already: it is looked at first, then that very one is opened.
 * O_NONBLOCK: also a lease must not hold us up.
 */
static uint64_t read_calls(int folder, const char *path, char *text)
{
	_cleanup_close_ int at = openat(folder, path, O_PATH | O_NOFOLLOW | O_CLOEXEC), fd = -1;
	char again[64];
	size_t length = 0;
	struct stat st;
	ssize_t n;

	if (at < 0 || fstat(at, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;
	snprintf(again, sizeof(again), "/proc/self/fd/%d", at);
	fd = open(again, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	while (length < FILE_READ && (n = read(fd, text + length, FILE_READ - length)) > 0)
		length += n;
	return calls_of(text, length);
}

static void consider(struct search *search, const char *path, const struct stat *st)
{
	size_t at = search->n < READ_MOST ? search->n++ : READ_MOST;

	for (; at > 0 && search->latest[at - 1].changed_s < st->st_ctime; at--)
		if (at < READ_MOST)
			search->latest[at] = search->latest[at - 1];
	if (at == READ_MOST)
		return;
	search->latest[at] = (struct script){ .changed_s = st->st_ctime };
	memcpy(search->latest[at].path, path, strlen(path) + 1);
}

static void look(struct search *search, int folder, const char *below, int levels);

static void look_into(struct search *search, int folder, const char *name, const char *path,
		      int levels)
{
	int inner =
		openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (inner >= 0)
		look(search, inner, path, levels);
}

static void look_at(struct search *search, int folder, const char *below, const char *name,
		    mode_t type, int levels)
{
	char path[SCRIPT_PATH_LEN];
	struct stat st;

	if (snprintf(path, sizeof(path), "%s%s%s", below, *below ? "/" : "", name) >=
		    (int)sizeof(path) ||
	    fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0 ||
	    (st.st_mode & S_IFMT) != type)
		return;
	if (type == S_IFDIR)
		look_into(search, folder, name, path, levels - 1);
	else if (st.st_size > 0 && st.st_size <= FILE_LARGEST)
		consider(search, path, &st);
}

static void look_for(struct search *search, DIR *stream, const char *below, mode_t type, int levels)
{
	const struct dirent *entry;

	rewinddir(stream);
	while (search->looked_at < LOOKED_AT && now_ns() < search->until_ns &&
	       (entry = readdir(stream))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		search->looked_at++;
		look_at(search, dirfd(stream), below, entry->d_name, type, levels);
	}
}

/* Takes the descriptor. The files here come first: the number of names is capped. */
static void look(struct search *search, int folder, const char *below, int levels)
{
	DIR *stream = fdopendir(folder);

	if (!stream) {
		close(folder);
		return;
	}
	look_for(search, stream, below, S_IFREG, levels);
	if (levels > 0)
		look_for(search, stream, below, S_IFDIR, levels);
	closedir(stream);
}

/* A path of several names may meanwhile lead through a link: one by one. */
static uint64_t calls_below(int folder, const char *path, char *text)
{
	const char *slash = strchr(path, '/');
	_cleanup_close_ int inner = -1;
	char name[SCRIPT_PATH_LEN];

	if (!slash)
		return read_calls(folder, path, text);
	snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
	inner = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return inner < 0 ? 0 : calls_below(inner, slash + 1, text);
}

size_t scripts_find(int folder, uint64_t most_ns, struct script ret[static SCRIPTS])
{
	uint64_t began_ns = now_ns();
	_cleanup_free_ struct search *search = calloc(1, sizeof(*search));
	_cleanup_free_ char *text = malloc(FILE_READ);
	size_t i, n = 0;
	int first;

	first = search && text ? openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (first < 0)
		return 0;
	search->until_ns = began_ns + most_ns / 2; /* the rest is for what is in the files */
	look(search, first, "", LEVELS);
	for (i = 0; i < search->n && n < SCRIPTS && now_ns() - began_ns < most_ns; i++) {
		search->latest[i].calls = calls_below(folder, search->latest[i].path, text);
		if (search->latest[i].calls)
			ret[n++] = search->latest[i];
	}
	return n;
}
