// SPDX-License-Identifier: GPL-2.0-or-later
/* The road of a session that nobody saw begin. */
#include "elders.h"
#include "test.h"

#define V4(a, b, c, d)                                                                             \
	{                                                                                          \
		[10] = 0xff, 0xff, a, b, c, d                                                      \
	}

static const struct sw_ip own[] = { { V4(192, 0, 2, 1) }, { V4(198, 51, 100, 9) } };

static struct network_rule networks[] = {
	{ { 96 + 8, V4(10, 0, 0, 0) }, SW_NET_RELAY },
	{ { 96 + 17, V4(10, 1, 128, 0) }, SW_NET_EXEMPT },
	{ { 7, { 0xfc } }, SW_NET_RELAY },
};
static const struct ruleset rules = { .network = networks, .n_networks = 3 };

static enum sw_road v4(__u8 a, __u8 b, __u8 c, __u8 d, __u16 port)
{
	const __u8 address[16] = V4(a, b, c, d);

	return elders_road(&rules, own, 2, address, port);
}

TEST(the_port_decides_for_the_outside_world)
{
	CHECK_EQ(v4(203, 0, 113, 5, 25), SW_ROAD_DIRECT);
	CHECK_EQ(v4(203, 0, 113, 5, 587), SW_ROAD_SUBMISSION);
}

TEST(ourselves_and_relays_are_relays)
{
	const __u8 loopback[16] = { [15] = 1 }, ula[16] = { 0xfd, 1 }, global[16] = { 0x20, 1 };

	CHECK_EQ(v4(127, 3, 2, 1, 25), SW_ROAD_RELAY);
	CHECK_EQ(v4(192, 0, 2, 1, 25), SW_ROAD_RELAY);
	CHECK_EQ(v4(198, 51, 100, 9, 587), SW_ROAD_RELAY);
	CHECK_EQ(v4(10, 9, 9, 9, 25), SW_ROAD_RELAY);
	CHECK_EQ(elders_road(&rules, NULL, 0, loopback, 25), SW_ROAD_RELAY);
	CHECK_EQ(elders_road(&rules, NULL, 0, ula, 25), SW_ROAD_RELAY);
	CHECK_EQ(elders_road(&rules, NULL, 0, global, 25), SW_ROAD_DIRECT);
}

TEST(the_longest_network_decides)
{
	CHECK_EQ(v4(10, 1, 127, 1, 25), SW_ROAD_RELAY);
	CHECK_EQ(v4(10, 1, 128, 1, 25), SW_ROAD_DIRECT);
}
