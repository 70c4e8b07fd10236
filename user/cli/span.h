/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What several verbs read from their options. */
#ifndef SMTPWALL_CLI_SPAN_H
#define SMTPWALL_CLI_SPAN_H

#include <stddef.h>
#include <stdint.h>

#include <linux/bpf.h>

#include <smtpwall/abi.h>

/* --for: tells what is wrong. */
int span_option(const char *text, uint64_t *ret_ns);
/* --since: milliseconds since 1970; tells what is wrong. */
int since_option(const char *text, int64_t *ret_ms);
int64_t wall_now_ms(void);
/* -n: how many rows; likewise. */
int rows_option(const char *text, size_t *ret);
/* --reason: as much of it as has room, made harmless. */
void note_set(char note[static SW_NOTE_LEN], const char *reason);

#endif
