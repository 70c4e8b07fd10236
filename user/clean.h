/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text from strangers (names, commands, reasons) made fit for a terminal and for JSON. Pure. */
#ifndef SMTPWALL_CLEAN_H
#define SMTPWALL_CLEAN_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Makes it UTF-8 that moves no cursor and turns no line: control characters, bytes that are no
 * UTF-8 and marks that change the direction of writing become '?'. In place; never longer.
 */
void clean(char *text);
/* Would clean() leave it as it is? */
bool is_clean(const char *text);
/* Characters, of clean text. */
size_t clean_width(const char *text);

#endif
