/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Durations, sizes, limits, roads and metrics: from text and to text. Pure. */
#ifndef SMTPWALL_QUANTITY_H
#define SMTPWALL_QUANTITY_H

#include <stddef.h>
#include <stdint.h>

#include "config.h"

#define QUANTITY_LEN 64 /* longest text that a format function here writes, with its NUL */

/* "90", no; "90s", "5m", "1h", "1d", "2w". At least 1s, at most 520w. -EINVAL, -ERANGE. */
int duration_parse(const char *text, uint64_t *ret_ns);
/* "20MB" (10⁶), "20MiB" (2²⁰), also B, kB, KiB, GB, GiB, TB, TiB. -EINVAL, -ERANGE. */
int size_parse(const char *text, uint64_t *ret_bytes);
/*
 * "100 messages per 5m", "20MB per 1d", "30% rejects per 1h of at least 20 messages". Does not set
 * `warn`. -EINVAL, -ERANGE; -ENODATA: a percentage that does not say of how many messages.
 */
int limit_parse(const char *text, struct limit_spec *ret);

/* The shortest text that parses to the same value ("90m", not "1h30m"). */
void duration_format(char text[static QUANTITY_LEN], uint64_t ns);
void size_format(char text[static QUANTITY_LEN], uint64_t bytes);
/* An amount of something: what a limit is that is no percentage. */
void limit_format(char text[static QUANTITY_LEN], enum sw_metric metric, uint64_t max,
		  uint64_t window_ns);
/* Any limit, as the configuration has it. */
void limit_words(char text[static QUANTITY_LEN], const struct sw_limit *limit);

/* Names of the contract; from a name -EINVAL if there is none such. */
const char *road_name(enum sw_road road);
int road_from_name(const char *name, enum sw_road *ret);
const char *metric_name(enum sw_metric metric);
int metric_from_name(const char *name, enum sw_metric *ret);
const char *mode_name(enum sw_mode mode);
const char *action_name(enum sw_action action);
const char *kind_name(enum sw_kind kind);

#endif
