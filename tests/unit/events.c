// SPDX-License-Identifier: GPL-2.0-or-later
/* The sentences that an administrator reads at three in the morning. */
#include "events.h"
#include "test.h"

static const struct sw_limit per_minute = {
	.max = 20,
	.window_ns = 60000000000ULL,
	.metric = SW_METRIC_CONNECTIONS,
};

static struct sw_event refusal(void)
{
	return (struct sw_event){
		.type = SW_EVENT_REFUSE,
		.reason = SW_REASON_LIMIT,
		.road = SW_ROAD_DIRECT,
		.used = 21,
		.max = 20,
		.policy = 7,
		.pid = 812,
		.port = 25,
		.daddr = { [10] = 0xff, 0xff, 203, 0, 113, 5 },
		.comm = "php",
	};
}

static const char *said(const struct sw_event *event, const struct sw_limit *limit)
{
	static char text[EVENT_TEXT_LEN];
	const struct event_words words = { "user bob (uid 2001)", "customers", limit };

	event_sentence(event, &words, text);
	return text;
}

TEST(a_refusal_says_who_where_how_much_and_by_which_policy)
{
	struct sw_event event = refusal();

	CHECK_STR(said(&event, &per_minute),
		  "refused: user bob (uid 2001) at 203.0.113.5:25 (direct), 21 of 20 connections "
		  "per 1m, policy \"customers\"; pid 812 \"php\"");
}

TEST(bytes_are_said_as_sizes)
{
	const struct sw_limit per_day = { .max = 20000000,
					  .window_ns = 86400000000000ULL,
					  .metric = SW_METRIC_BYTES };
	struct sw_event event = refusal();

	event.used = 21000000;
	CHECK_CONTAINS(said(&event, &per_day), "21MB of 20MB per 1d");
}

TEST(messages_are_said_by_their_number_and_percentages_as_such)
{
	struct sw_limit limit = { .max = 100,
				  .window_ns = 300000000000ULL,
				  .metric = SW_METRIC_MESSAGES };
	struct sw_event event = refusal();

	event.used = 101;
	CHECK_CONTAINS(said(&event, &limit), "(direct), 101 of 100 messages per 5m, policy");
	limit.metric = SW_METRIC_DESTINATIONS;
	CHECK_CONTAINS(said(&event, &limit), "101 of 100 destinations per 5m, policy");
	limit = (struct sw_limit){ .window_ns = 3600000000000ULL,
				   .metric = SW_METRIC_REJECTS,
				   .percent = 30,
				   .floor = 20 };
	event.used = 34;
	CHECK_CONTAINS(said(&event, &limit),
		       "(direct), 34%, over 30% rejects per 1h of at least 20 messages, policy");
}

TEST(a_limit_that_was_changed_meanwhile_still_has_its_numbers)
{
	struct sw_event event = refusal();

	CHECK_CONTAINS(said(&event, NULL), "21 of 20, policy");
}

TEST(every_reason_is_a_sentence)
{
	struct sw_event event = refusal();

	event.reason = SW_REASON_BLOCKED;
	CHECK_CONTAINS(said(&event, NULL), "blocked by policy \"customers\"");
	event.policy = 0;
	CHECK_CONTAINS(said(&event, NULL), "blocked by hand");
	event.reason = SW_REASON_CLOSED;
	CHECK_CONTAINS(said(&event, NULL), "closes this road");
	event.reason = SW_REASON_STORAGE;
	CHECK_CONTAINS(said(&event, NULL), "memory of its socket");
	event.reason = 200;
	event.type = 200;
	event.road = 200;
	CHECK_CONTAINS(said(&event, NULL), "(?), reason 200");
}

TEST(an_attempt_without_a_process_names_none)
{
	struct sw_event event = refusal();

	event.pid = 0;
	CHECK(!strstr(said(&event, &per_minute), "pid"));
}

TEST(the_name_of_a_program_ends_no_quotation_and_no_line)
{
	struct sw_event event = refusal();

	memcpy(event.comm, "a\"; pid 1 \"\n\x1b[m\xff", 16);
	CHECK_CONTAINS(said(&event, &per_minute), "\"a'; pid 1 '??[m?\"");
	memset(event.comm, 'x', sizeof(event.comm)); /* without a NUL */
	CHECK_CONTAINS(said(&event, &per_minute), "\"xxxxxxxxxxxxxxxx\"");
}

TEST(an_ipv6_destination_is_in_brackets)
{
	struct sw_event event = refusal();
	char text[DESTINATION_LEN];

	memset(event.daddr, 0xfd, sizeof(event.daddr));
	event.port = 65535;
	event_destination(&event, text);
	CHECK_STR(text, "[fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd:fdfd]:65535");
}
