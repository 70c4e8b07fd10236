// SPDX-License-Identifier: GPL-2.0-or-later
#include "log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <time.h>

#include "cleanup.h"

static const char *speaker = "smtpwall";
static enum { TO_STDERR, TO_FILE, TO_JOURNAL, TO_SYSLOG } sink;

/* systemd says by device and inode which stream is the journal: stderr may be another by now. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device && st.st_ino == inode;
}

void log_open(const char *program)
{
	speaker = program;
	sink = stderr_is_journal() ? TO_JOURNAL : TO_STDERR;
}

void log_background(void)
{
	struct stat st;

	if (sink != TO_STDERR)
		return;
	if (fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode)) {
		sink = TO_FILE;
		return;
	}
	openlog(speaker, LOG_PID, LOG_DAEMON);
	sink = TO_SYSLOG;
}

static void clean(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

static void tell_file(const char *text)
{
	time_t now = time(NULL);
	char date[64] = "";
	struct tm tm;

	if (localtime_r(&now, &tm))
		strftime(date, sizeof(date), "%FT%T%z", &tm);
	fprintf(stderr, "%s %s: %s\n", date, speaker, text);
}

static void tell(int priority, char *text)
{
	clean(text);
	switch (sink) {
	case TO_STDERR:
		fprintf(stderr, "%s: %s\n", speaker, text);
		return;
	case TO_FILE:
		tell_file(text);
		return;
	case TO_JOURNAL:
		sd_journal_send("PRIORITY=%i", priority, "SYSLOG_IDENTIFIER=%s", speaker,
				"MESSAGE=%s", text, NULL);
		return;
	case TO_SYSLOG:
		syslog(priority, "%s", text);
		return;
	}
}

void log_message(int priority, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list args;
	int length;

	va_start(args, format);
	length = vasprintf(&text, format, args);
	va_end(args);
	if (length < 0) {
		text = NULL;
		return;
	}
	tell(priority, text);
}

int log_errno(int error, const char *format, ...)
{
	_cleanup_free_ char *what = NULL;
	va_list args;
	int length;

	va_start(args, format);
	length = vasprintf(&what, format, args);
	va_end(args);
	if (length < 0) {
		what = NULL;
		return error;
	}
	log_message(LOG_ERR, "%s: %s", what, strerror(-error));
	return error;
}
