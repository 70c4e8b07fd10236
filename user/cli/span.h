/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What several verbs read from their options. */
#ifndef SMTPWALL_CLI_SPAN_H
#define SMTPWALL_CLI_SPAN_H

#include <stdint.h>

#include <linux/bpf.h>

#include <smtpwall/abi.h>

/* --for: tells what is wrong. */
int span_option(const char *text, uint64_t *ret_ns);
/* --reason: as much of it as has room, made harmless. */
void note_set(char note[static SW_NOTE_LEN], const char *reason);

#endif
