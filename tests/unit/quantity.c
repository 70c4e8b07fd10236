/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Durations, sizes and limits, from text and to text. */
#include "test.h"

#include <errno.h>

#include "cleanup.h"
#include "quantity.h"

#define S 1000000000ULL

TEST(a_duration_has_one_number_and_one_unit)
{
	static const struct {
		const char *text;
		uint64_t ns;
	} good[] = {
		{ "1s", S },
		{ "90s", 90 * S },
		{ "5m", 300 * S },
		{ "1h", 3600 * S },
		{ "1d", 86400 * S },
		{ "2w", 14 * 86400 * S },
		{ "520w", 3640 * 86400 * S },
		{ "007s", 7 * S },
	};
	uint64_t ns;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		ns = 0;
		CHECK_EQ(duration_parse(good[i].text, &ns), 0);
		CHECK_EQ(ns, good[i].ns);
	}
}

TEST(what_is_no_duration_is_refused_and_changes_nothing)
{
	static const struct {
		const char *text;
		int error;
	} bad[] = {
		{ "", -EINVAL },
		{ "90", -EINVAL },
		{ "s", -EINVAL },
		{ "-5m", -EINVAL },
		{ "+5m", -EINVAL },
		{ "1h30m", -EINVAL },
		{ "1.5h", -EINVAL },
		{ " 5m", -EINVAL },
		{ "5m ", -EINVAL },
		{ "5M", -EINVAL },
		{ "5 m", -EINVAL },
		{ "0x10s", -EINVAL },
		{ "0s", -ERANGE },
		{ "521w", -ERANGE },
		{ "314496001s", -ERANGE },
		{ "18446744073709551616s", -ERANGE },
		{ "99999999999999999999999999999999w", -ERANGE },
	};
	uint64_t ns = 42;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(duration_parse(bad[i].text, &ns), bad[i].error);
	CHECK_EQ(ns, 42);
}

TEST(sizes_are_decimal_and_binary)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{ "0B", 0 },
		{ "1B", 1 },
		{ "20kB", 20000 },
		{ "20MB", 20000000 },
		{ "1GB", 1000000000 },
		{ "1TB", 1000000000000 },
		{ "20KiB", 20480 },
		{ "20MiB", 20971520 },
		{ "1GiB", 1073741824 },
		{ "1TiB", 1ULL << 40 },
		{ "9223372036854775807B", INT64_MAX },
	};
	static const char *const bad[] = {
		"", "20", "MB", "20mb", "20M", "20 MB", "-1MB", "1.5GB"
	};
	uint64_t bytes = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		CHECK_EQ(size_parse(good[i].text, &bytes), 0);
		CHECK_EQ(bytes, good[i].bytes);
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_EQ(size_parse(bad[i], &bytes), -EINVAL);
	CHECK_EQ(size_parse("9223372036854775808B", &bytes), -ERANGE);
	CHECK_EQ(size_parse("9223372037GB", &bytes), -ERANGE);
	CHECK_EQ(size_parse("99999999TiB", &bytes), -ERANGE);
}

TEST(a_limit_is_an_amount_per_time)
{
	struct limit_spec limit = { .warn = true };

	CHECK_EQ(limit_parse("100 connections per 5m", &limit), 0);
	CHECK_EQ(limit.metric, SW_METRIC_CONNECTIONS);
	CHECK_EQ(limit.max, 100);
	CHECK_EQ(limit.window_ns, 300 * S);
	CHECK(limit.warn);
	CHECK_EQ(limit_parse("20MB per 1d", &limit), 0);
	CHECK_EQ(limit.metric, SW_METRIC_BYTES);
	CHECK_EQ(limit.max, 20000000);
	CHECK_EQ(limit_parse("  0\trecipients  per 520w ", &limit), 0);
	CHECK_EQ(limit.metric, SW_METRIC_RECIPIENTS);
	CHECK_EQ(limit.max, 0);
	CHECK_EQ(limit_parse("5 bytes per 1s", &limit), 0);
	CHECK_EQ(limit.metric, SW_METRIC_BYTES);
	CHECK(!limit.percent && !limit.floor);
}

TEST(a_percentage_is_of_at_least_so_many_messages)
{
	struct limit_spec limit = { .warn = true };

	CHECK_EQ(limit_parse("30% rejects per 1h of at least 20 messages", &limit), 0);
	CHECK_EQ(limit.metric, SW_METRIC_REJECTS);
	CHECK_EQ(limit.percent, 30);
	CHECK_EQ(limit.floor, 20);
	CHECK_EQ(limit.max, 0);
	CHECK_EQ(limit.window_ns, 3600 * S);
	CHECK(limit.warn);
	CHECK_EQ(limit_parse(" 99%\tdeferrals per 1d of at least 65535 messages ", &limit), 0);
	CHECK_EQ(limit.metric, SW_METRIC_DEFERRALS);
	CHECK_EQ(limit.percent, 99);
	CHECK_EQ(limit.floor, 65535);
	CHECK_EQ(limit_parse("1% rejects per 1s of at least 1 messages", &limit), 0);
}

TEST(what_is_no_percentage_is_refused)
{
	static const struct {
		const char *text;
		int error;
	} bad[] = {
		{ "30% rejects per 1h", -ENODATA },
		{ "30% rejects per 1h of", -EINVAL },
		{ "30% rejects per 1h of at least 20", -EINVAL },
		{ "30% rejects per 1h of at least 20 mails", -EINVAL },
		{ "30% rejects per 1h of at least 20 messages more", -EINVAL },
		{ "30% rejects per 1h of at least 20% messages", -EINVAL },
		{ "30% rejects per 1h at least 20 messages", -EINVAL },
		{ "30% rejects of at least 20 messages", -EINVAL },
		{ "30% per 1h of at least 20 messages", -EINVAL },
		{ "30% per 1h", -EINVAL },
		{ "% rejects per 1h of at least 20 messages", -EINVAL },
		{ "%", -EINVAL },
		{ "30 % rejects per 1h of at least 20 messages", -EINVAL },
		{ "30.5% rejects per 1h of at least 20 messages", -EINVAL },
		{ "-3% rejects per 1h of at least 20 messages", -EINVAL },
		{ "30%% rejects per 1h of at least 20 messages", -EINVAL },
		{ "30 rejects per 1h of at least 20 messages", -EINVAL },
		{ "30% messages per 1h of at least 20 messages", -EINVAL },
		{ "30% recipients per 1h", -EINVAL },
		{ "0% rejects per 1h of at least 20 messages", -ERANGE },
		{ "100% rejects per 1h of at least 20 messages", -ERANGE },
		{ "30% rejects per 1h of at least 0 messages", -ERANGE },
		{ "30% rejects per 1h of at least 65536 messages", -ERANGE },
		{ "30% rejects per 521w of at least 20 messages", -ERANGE },
		{ "18446744073709551646% rejects per 1h of at least 20 messages", -ERANGE },
	};
	struct limit_spec limit = { .max = 42 };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		if (!CHECK_EQ(limit_parse(bad[i].text, &limit), bad[i].error))
			printf("# \"%s\"\n", bad[i].text);
	CHECK_EQ(limit.max, 42);
	CHECK(!limit.percent && !limit.floor);
}

TEST(what_is_no_limit_is_refused)
{
	static const struct {
		const char *text;
		int error;
	} bad[] = {
		{ "", -EINVAL },
		{ "   ", -EINVAL },
		{ "100", -EINVAL },
		{ "100 connections", -EINVAL },
		{ "connections per 1h", -EINVAL },
		{ "100 per 1h", -EINVAL },
		{ "100 connections per", -EINVAL },
		{ "100 connections in 1h", -EINVAL },
		{ "100 connections per 1h 2h", -EINVAL },
		{ "100 connections per 1h extra words", -EINVAL },
		{ "-1 connections per 1h", -EINVAL },
		{ "1x connections per 1h", -EINVAL },
		{ "100 mails per 1h", -EINVAL },
		{ "100 connections per -1h", -EINVAL },
		{ "100 connections per 90", -EINVAL },
		{ "20MB connections per 1h", -EINVAL },
		{ "100 connections per 0s", -ERANGE },
		{ "100 connections per 521w", -ERANGE },
		{ "9223372036854775808 connections per 1h", -ERANGE },
		{ "99999999999999999999999 connections per 1h", -ERANGE },
	};
	struct limit_spec limit = { .max = 42 };
	char text[4096];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++)
		if (!CHECK_EQ(limit_parse(bad[i].text, &limit), bad[i].error))
			printf("# \"%s\"\n", bad[i].text);
	memset(text, '1', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	CHECK_EQ(limit_parse(text, &limit), -EINVAL);
	CHECK_EQ(limit.max, 42);
}

TEST(the_shortest_text_is_written)
{
	char text[QUANTITY_LEN];

	duration_format(text, 90 * S);
	CHECK_STR(text, "90s");
	duration_format(text, 90 * 60 * S);
	CHECK_STR(text, "90m");
	duration_format(text, 7 * 86400 * S);
	CHECK_STR(text, "1w");
	duration_format(text, 1);
	CHECK_STR(text, "1s");
	duration_format(text, 0);
	CHECK_STR(text, "0s");
	size_format(text, 0);
	CHECK_STR(text, "0B");
	size_format(text, 1500);
	CHECK_STR(text, "1500B");
	size_format(text, 20000000);
	CHECK_STR(text, "20MB");
	size_format(text, 3 << 20);
	CHECK_STR(text, "3MiB");
	limit_format(text, SW_METRIC_CONNECTIONS, 100, 300 * S);
	CHECK_STR(text, "100 connections per 5m");
	limit_format(text, SW_METRIC_BYTES, 20000000, 86400 * S);
	CHECK_STR(text, "20MB per 1d");
}

static uint64_t random64(void)
{
	return (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ rand();
}

TEST(what_is_written_is_read_as_the_same)
{
	char text[QUANTITY_LEN];
	int i;

	srand(1);
	for (i = 0; i < 100000; i++) {
		struct sw_limit limit = { .window_ns = (1 + random64() % 314496000) * S };
		struct limit_spec read = {};

		if (rand() % 2) {
			limit.max = random64() >> (1 + rand() % 63);
			limit.metric = rand() % SW_METRICS;
		} else {
			limit.metric = rand() % 2 ? SW_METRIC_REJECTS : SW_METRIC_DEFERRALS;
			limit.percent = 1 + rand() % 99;
			limit.floor = 1 + rand() % 65535;
		}
		limit_words(text, &limit);
		if (CHECK_EQ(limit_parse(text, &read), 0) && CHECK_EQ(read.max, limit.max) &&
		    CHECK_EQ(read.metric, limit.metric) &&
		    CHECK_EQ(read.window_ns, limit.window_ns) &&
		    CHECK_EQ(read.percent, limit.percent) && CHECK_EQ(read.floor, limit.floor))
			continue;
		printf("# \"%s\"\n", text);
		return;
	}
}

TEST(the_longest_texts_fit)
{
	char text[QUANTITY_LEN];

	duration_format(text, UINT64_MAX);
	size_format(text, UINT64_MAX);
	limit_format(text, SW_METRIC_CONNECTIONS, UINT64_MAX, UINT64_MAX);
	CHECK_CONTAINS(text, "18446744073709551615 connections per ");
	limit_format(text, SW_METRIC_DESTINATIONS, UINT64_MAX, UINT64_MAX - 7);
	CHECK(strlen(text) < QUANTITY_LEN);
	limit_words(text, &(struct sw_limit){ .metric = SW_METRIC_DESTINATIONS,
					      .window_ns = UINT64_MAX,
					      .percent = 255,
					      .floor = 65535 });
	CHECK_CONTAINS(text, "s of at least 65535 messages");
}

TEST(names_and_numbers_belong_together)
{
	enum sw_road road;
	enum sw_metric metric;
	unsigned int i;

	for (i = 0; i < SW_ROADS; i++) {
		CHECK_EQ(road_from_name(road_name(i), &road), 0);
		CHECK_EQ(road, i);
	}
	for (i = 0; i < SW_METRICS; i++) {
		CHECK_EQ(metric_from_name(metric_name(i), &metric), 0);
		CHECK_EQ(metric, i);
	}
	CHECK_EQ(road_from_name("account", &road), -EINVAL);
	CHECK_EQ(metric_from_name("", &metric), -EINVAL);
	CHECK_STR(mode_name(SW_MODE_ENFORCE), "enforce");
	CHECK_STR(action_name(SW_ACTION_BLOCK), "block");
	CHECK_STR(mode_name(99), "unknown");
	CHECK_STR(road_name(99), "unknown");
}
