/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Text from strangers (names, commands, reasons) made fit for a terminal and for JSON. */
#ifndef SMTPWALL_CLEAN_H
#define SMTPWALL_CLEAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/*
 * Makes it UTF-8 that moves no cursor and turns no line: control characters, bytes that are no
 * UTF-8 and marks that change the direction of writing become '?'. In place; never longer.
 */
void clean(char *text);
/* Would clean() leave it as it is? */
bool is_clean(const char *text);
/* Characters, of clean text. */
size_t clean_width(const char *text);

/* The text with U+FFFD for each byte that is no UTF-8, else as it is. The caller frees; NULL: no
 * memory. */
char *repaired(const char *text);
/* Prints a JSON document: what clean() would replace is escaped in its strings, where alone it can
 * be. Its own line ends stay. */
void escaped_print(const char *json, FILE *to);

#endif
