/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is told to the administrator. To the journal when stderr is connected to it, else a
 * line on stderr. Control characters in what is told become '?': names are attackers' text.
 */
#ifndef SMTPWALL_LOG_H
#define SMTPWALL_LOG_H

#include <syslog.h>

/* Who speaks ("smtpwalld", "smtpwall"); the first call decides where messages go. */
void log_open(const char *program);

/*
 * The terminal goes: from now on to syslog or, if stderr is a plain file, to it, with the time.
 * Where the journal listens nothing changes.
 */
void log_background(void);

__attribute__((__format__(__printf__, 2, 3))) void log_message(int priority, const char *format,
							       ...);

/* Tells a failure once: "FORMAT: strerror(-error)". Returns `error`, so `return log_errno(…)`. */
__attribute__((__format__(__printf__, 2, 3))) int log_errno(int error, const char *format, ...);

#define log_info(...) log_message(LOG_INFO, __VA_ARGS__)
#define log_notice(...) log_message(LOG_NOTICE, __VA_ARGS__)
#define log_warning(...) log_message(LOG_WARNING, __VA_ARGS__)
#define log_error(...) log_message(LOG_ERR, __VA_ARGS__)

#endif
