/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "quantity.h"

#define NS_PER_S 1000000000ULL
#define LONGEST_S (520ULL * 7 * 86400)
#define LARGEST ((uint64_t)INT64_MAX) /* JSON and the history's database have signed numbers */
#define PERCENT_MOST 99
#define FLOOR_MOST UINT16_MAX

struct unit {
	const char *name;
	uint64_t size;
};

static const struct unit durations[] = {
	{ "w", 7 * 86400 }, { "d", 86400 }, { "h", 3600 }, { "m", 60 }, { "s", 1 },
};

/* Decimal units come first: of two texts of one length the first is written. */
static const struct unit sizes[] = {
	{ "TB", 1000000000000 },
	{ "GB", 1000000000 },
	{ "MB", 1000000 },
	{ "kB", 1000 },
	{ "B", 1 },
	{ "TiB", 1ULL << 40 },
	{ "GiB", 1ULL << 30 },
	{ "MiB", 1ULL << 20 },
	{ "KiB", 1ULL << 10 },
};

static const char *const roads[SW_ROADS] = {
	[SW_ROAD_DIRECT] = "direct",
	[SW_ROAD_SUBMISSION] = "submission",
	[SW_ROAD_RELAY] = "relay",
	[SW_ROAD_SENDMAIL] = "sendmail",
};

static const char *const metrics[SW_METRICS] = {
	[SW_METRIC_CONNECTIONS] = "connections",   [SW_METRIC_MESSAGES] = "messages",
	[SW_METRIC_RECIPIENTS] = "recipients",	   [SW_METRIC_BYTES] = "bytes",
	[SW_METRIC_REJECTS] = "rejects",	   [SW_METRIC_DEFERRALS] = "deferrals",
	[SW_METRIC_DESTINATIONS] = "destinations",
};

static const char *const modes[] = {
	[SW_MODE_OBSERVE] = "observe",
	[SW_MODE_ENFORCE] = "enforce",
};

static const char *const actions[] = {
	[SW_ACTION_DENY] = "deny",
	[SW_ACTION_BLOCK] = "block",
	[SW_ACTION_REDIRECT] = "redirect",
};
static const char *const kinds[] = {
	[SW_KIND_UID] = "uid",
	[SW_KIND_UNIT] = "unit",
	[SW_KIND_DIR] = "dir",
	[SW_KIND_IP] = "ip",
};

/* Digits only, no sign. Returns what follows them, or NULL: none, or (with *ret_error) too many. */
static const char *number_parse(const char *text, uint64_t *ret, int *ret_error)
{
	uint64_t number = 0;
	const char *p;

	for (p = text; *p >= '0' && *p <= '9'; p++) {
		uint64_t digit = *p - '0';

		if (number > (LARGEST - digit) / 10) {
			*ret_error = -ERANGE;
			return NULL;
		}
		number = number * 10 + digit;
	}
	if (p == text) {
		*ret_error = -EINVAL;
		return NULL;
	}
	*ret = number;
	return p;
}

static int quantity_parse(const char *text, const struct unit *units, size_t n_units,
			  uint64_t largest, uint64_t *ret)
{
	uint64_t number;
	const char *unit;
	int error;
	size_t i;

	unit = number_parse(text, &number, &error);
	if (!unit)
		return error;
	for (i = 0; i < n_units; i++)
		if (!strcmp(unit, units[i].name))
			break;
	if (i == n_units)
		return -EINVAL;
	if (number > largest / units[i].size)
		return -ERANGE;
	*ret = number * units[i].size;
	return 0;
}

int duration_parse(const char *text, uint64_t *ret_ns)
{
	uint64_t seconds;
	int error;

	error = quantity_parse(text, durations, ARRAY_SIZE(durations), LONGEST_S, &seconds);
	if (error)
		return error;
	if (!seconds)
		return -ERANGE;
	*ret_ns = seconds * NS_PER_S;
	return 0;
}

int size_parse(const char *text, uint64_t *ret_bytes)
{
	return quantity_parse(text, sizes, ARRAY_SIZE(sizes), LARGEST, ret_bytes);
}

/* "100" "connections", or "20MB". */
static int amount_parse(const char *number, const char *metric, struct limit_spec *limit)
{
	const char *end;
	int error;

	if (!metric) {
		limit->metric = SW_METRIC_BYTES;
		return size_parse(number, &limit->max);
	}
	end = number_parse(number, &limit->max, &error);
	if (!end)
		return error;
	if (*end)
		return -EINVAL;
	return metric_from_name(metric, &limit->metric);
}

/* A number with nothing but `end` behind it. */
static int bounded_parse(const char *text, const char *end, uint64_t largest, uint64_t *ret)
{
	uint64_t number;
	const char *rest;
	int error;

	rest = number_parse(text, &number, &error);
	if (!rest)
		return error;
	if (strcmp(rest, end))
		return -EINVAL;
	if (!number || number > largest)
		return -ERANGE;
	*ret = number;
	return 0;
}

/* "30%" "rejects": only what the server says of a message can be a share of the messages. */
static int share_parse(const char *percent, const char *metric, struct limit_spec *limit)
{
	uint64_t number;
	int error;

	error = bounded_parse(percent, "%", PERCENT_MOST, &number);
	if (error)
		return error;
	limit->percent = number;
	error = metric_from_name(metric, &limit->metric);
	if (error)
		return error;
	if (limit->metric != SW_METRIC_REJECTS && limit->metric != SW_METRIC_DEFERRALS)
		return -EINVAL;
	return 0;
}

/* "of" "at" "least" "20" "messages" */
static int floor_parse(char *const *word, size_t n, struct limit_spec *limit)
{
	uint64_t number;
	int error;

	if (!n)
		return -ENODATA;
	if (n != 5 || strcmp(word[0], "of") || strcmp(word[1], "at") || strcmp(word[2], "least") ||
	    strcmp(word[4], "messages"))
		return -EINVAL;
	error = bounded_parse(word[3], "", FLOOR_MOST, &number);
	if (error)
		return error;
	limit->floor = number;
	return 0;
}

static int words_parse(char *const *word, size_t n, struct limit_spec *limit)
{
	bool share = n && word[0][strlen(word[0]) - 1] == '%';
	size_t per = n == 3 ? 1 : 2;
	int error;

	if (n < 3 || (n > 4 && !share) || strcmp(word[per], "per"))
		return -EINVAL;
	if (share && per == 2)
		error = share_parse(word[0], word[1], limit);
	else
		error = amount_parse(word[0], per == 2 ? word[1] : NULL, limit);
	if (!error)
		error = duration_parse(word[per + 1], &limit->window_ns);
	if (!error && share)
		error = floor_parse(word + per + 2, n - per - 2, limit);
	return error;
}

#define LIMIT_WORDS 9

int limit_parse(const char *text, struct limit_spec *ret)
{
	struct limit_spec limit = {};
	char copy[2 * QUANTITY_LEN], *word[LIMIT_WORDS + 1], *rest;
	size_t n = 0, length = strlen(text);
	int error;

	if (length >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, length + 1);
	for (word[0] = strtok_r(copy, " \t", &rest); word[n] && n < LIMIT_WORDS;)
		word[++n] = strtok_r(NULL, " \t", &rest);
	if (word[n])
		return -EINVAL;
	error = words_parse(word, n, &limit);
	if (error)
		return error;
	limit.warn = ret->warn;
	*ret = limit;
	return 0;
}

static void quantity_format(char text[static QUANTITY_LEN], const struct unit *units,
			    size_t n_units, uint64_t amount)
{
	char candidate[QUANTITY_LEN];
	size_t i;

	text[0] = '\0';
	for (i = 0; i < n_units; i++) {
		if (amount % units[i].size || (!amount && units[i].size > 1))
			continue;
		snprintf(candidate, sizeof(candidate), "%llu%s",
			 (unsigned long long)(amount / units[i].size), units[i].name);
		if (!text[0] || strlen(candidate) < strlen(text))
			strcpy(text, candidate);
	}
}

/* A part of a second is a second: nothing that lasts is told as nothing. */
void duration_format(char text[static QUANTITY_LEN], uint64_t ns)
{
	uint64_t seconds = ns / NS_PER_S + (ns % NS_PER_S != 0);

	quantity_format(text, durations, ARRAY_SIZE(durations), seconds);
}

void size_format(char text[static QUANTITY_LEN], uint64_t bytes)
{
	quantity_format(text, sizes, ARRAY_SIZE(sizes), bytes);
}

void limit_format(char text[static QUANTITY_LEN], enum sw_metric metric, uint64_t max,
		  uint64_t window_ns)
{
	char amount[QUANTITY_LEN], window[QUANTITY_LEN];

	if (metric == SW_METRIC_BYTES)
		size_format(amount, max);
	else
		snprintf(amount, sizeof(amount), "%llu %s", (unsigned long long)max,
			 metric_name(metric));
	duration_format(window, window_ns);
	snprintf(text, QUANTITY_LEN, "%.40s per %.16s", amount, window);
}

void limit_words(char text[static QUANTITY_LEN], const struct sw_limit *limit)
{
	char window[QUANTITY_LEN];

	if (!limit->percent) {
		limit_format(text, limit->metric, limit->max, limit->window_ns);
		return;
	}
	duration_format(window, limit->window_ns);
	snprintf(text, QUANTITY_LEN, "%u%% %.12s per %.12s of at least %u messages", limit->percent,
		 metric_name(limit->metric), window, limit->floor);
}

static int from_name(const char *const *names, size_t n, const char *name)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (!strcmp(names[i], name))
			return i;
	return -EINVAL;
}

/* Numbers come from maps that another version may have written. */
static const char *name_of(const char *const *names, size_t n, unsigned int i)
{
	return i < n ? names[i] : "unknown";
}

const char *road_name(enum sw_road road)
{
	return name_of(roads, ARRAY_SIZE(roads), road);
}

int road_from_name(const char *name, enum sw_road *ret)
{
	int road = from_name(roads, ARRAY_SIZE(roads), name);

	if (road < 0)
		return road;
	*ret = road;
	return 0;
}

const char *metric_name(enum sw_metric metric)
{
	return name_of(metrics, ARRAY_SIZE(metrics), metric);
}

int metric_from_name(const char *name, enum sw_metric *ret)
{
	int metric = from_name(metrics, ARRAY_SIZE(metrics), name);

	if (metric < 0)
		return metric;
	*ret = metric;
	return 0;
}

const char *mode_name(enum sw_mode mode)
{
	return name_of(modes, ARRAY_SIZE(modes), mode);
}

const char *action_name(enum sw_action action)
{
	return name_of(actions, ARRAY_SIZE(actions), action);
}

const char *kind_name(enum sw_kind kind)
{
	return name_of(kinds, ARRAY_SIZE(kinds), kind);
}
