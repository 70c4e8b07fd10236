// SPDX-License-Identifier: GPL-2.0-or-later
/* Which interfaces are outside, in a network namespace of the test's own (no root needed). */
#include "ifaces.h"

#include <sched.h>
#include <unistd.h>

#include "test.h"

static char *auto_word[] = { "auto" };
static const struct config automatic = { .interfaces = { .word = auto_word, .n = 1 } };

static bool own_namespace(void)
{
	static int state; /* 1: yes, -1: no */

	if (!state)
		state = unshare(CLONE_NEWNET) == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0
				? 1
				: -1;
	return state > 0;
}

static bool ip(const char *command)
{
	char line[256];

	snprintf(line, sizeof(line), "ip %s", command);
	return CHECK_EQ(system(line), 0);
}

/* Interfaces that are outside, as "a b ", in the order of their numbers. */
static const char *outside(const struct config *config)
{
	static char text[256];
	unsigned int *ifindex;
	char name[IF_NAMESIZE];
	size_t n, at = 0;

	text[0] = '\0';
	if (!CHECK_EQ(ifaces_outside(config, &ifindex, &n), 0))
		return text;
	for (size_t i = 0; i < n; i++)
		at += snprintf(text + at, sizeof(text) - at, "%s ",
			       if_indextoname(ifindex[i], name));
	free(ifindex);
	return text;
}

/* Three pairs of veth: dummy devices are not in every kernel. */
static void fresh(void)
{
	static const char *const names[] = { "one", "two", "three" };
	char line[64];

	for (size_t i = 0; i < 3; i++) {
		if (if_nametoindex(names[i])) {
			snprintf(line, sizeof(line), "link delete %s", names[i]);
			ip(line);
		}
		snprintf(line, sizeof(line), "link add %s type veth peer name far%zu", names[i], i);
		ip(line);
		snprintf(line, sizeof(line), "link set %s up", names[i]);
		ip(line);
		snprintf(line, sizeof(line), "link set far%zu up", i);
		ip(line);
	}
	ip("address add 192.0.2.2/24 dev one");
	ip("-6 address add 2001:db8::2/64 dev two nodad");
}

TEST(an_interface_with_addresses_only_is_not_outside)
{
	if (!own_namespace())
		return skip("kernel lacks user namespaces");
	fresh();
	ip("link set lo up");
	CHECK_STR(outside(&automatic), "");
}

TEST(a_default_route_makes_its_interface_outside_in_any_table_and_family)
{
	if (!own_namespace())
		return skip("kernel lacks user namespaces");
	fresh();
	ip("route add default dev three table 77");
	CHECK_STR(outside(&automatic), "three ");
	ip("-6 route add default via 2001:db8::1 dev two");
	CHECK_STR(outside(&automatic), "two three ");
	ip("route add unreachable 0.0.0.0/0 metric 9999");
	CHECK_STR(outside(&automatic), "two three ");
}

TEST(so_does_a_route_with_a_gateway_of_either_family_and_half_a_default_route)
{
	if (!own_namespace())
		return skip("kernel lacks user namespaces");
	fresh();
	ip("route add 198.51.100.0/24 via 192.0.2.1 dev one");
	CHECK_STR(outside(&automatic), "one ");
	ip("route add 203.0.113.0/24 via inet6 2001:db8::1 dev two");
	CHECK_STR(outside(&automatic), "one two ");
	ip("route add 128.0.0.0/1 dev three");
	CHECK_STR(outside(&automatic), "one two three ");
}

TEST(each_hop_of_a_multipath_route_is_outside)
{
	if (!own_namespace())
		return skip("kernel lacks user namespaces");
	fresh();
	ip("address add 192.0.3.2/24 dev three");
	ip("route add default nexthop via 192.0.2.1 dev one nexthop via 192.0.3.1 dev three");
	CHECK_STR(outside(&automatic), "one three ");
}

TEST(names_and_globs_are_outside_whatever_the_routes_say)
{
	static char *words[] = { "t*" };
	const struct config named = { .interfaces = { .word = words, .n = 1 } };

	if (!own_namespace())
		return skip("kernel lacks user namespaces");
	fresh();
	ip("route add default dev one");
	CHECK_STR(outside(&named), "two three ");
	CHECK(!ifaces_named(&automatic.interfaces, "auto"));
}

/* ---- watching ---- */

struct seen {
	char appeared[64], disappeared[64];
	unsigned int addresses; /* times */
	size_t n;
	bool refuse;
};

static int appeared(const struct iface *iface, void *userdata)
{
	struct seen *seen = userdata;

	if (seen->refuse)
		return -1;
	strcat(strcat(seen->appeared, iface->name), " ");
	return 0;
}

static void disappeared(const struct iface *iface, bool gone, void *userdata)
{
	struct seen *seen = userdata;

	strcat(strcat(seen->disappeared, iface->name), gone ? "! " : " ");
}

static void addresses(const struct sw_ip *address, size_t n, void *userdata)
{
	struct seen *seen = userdata;

	(void)address;
	seen->addresses++;
	seen->n = n;
}

/* Runs the loop until `text` is not empty any more, at most two seconds. */
static void eventually(sd_event *loop, const char *text)
{
	for (int i = 0; i < 200 && !text[0]; i++)
		sd_event_run(loop, 10000);
}

TEST(later_interfaces_and_addresses_are_seen)
{
	struct seen seen = {};
	const struct ifaces_calls calls = { appeared, disappeared, addresses, &seen };
	struct ifaces *ifaces;
	sd_event *loop;
	size_t n;

	if (!own_namespace())
		return skip("kernel lacks user namespaces");
	fresh();
	ip("route add default via 192.0.2.1 dev one");
	if (!CHECK_EQ(ifaces_new(&automatic.interfaces, &calls, &ifaces), 0))
		return;
	CHECK_STR(seen.appeared, "");
	sd_event_new(&loop);
	CHECK_EQ(ifaces_watch(ifaces, loop), 0);
	CHECK_STR(seen.appeared, "one ");

	seen.appeared[0] = '\0';
	ip("route add default dev three metric 5");
	eventually(loop, seen.appeared);
	CHECK_STR(seen.appeared, "three ");

	ip("route delete default dev three");
	eventually(loop, seen.disappeared);
	CHECK_STR(seen.disappeared, "three ");

	seen.disappeared[0] = '\0';
	ifaces_addresses(ifaces, &n);
	ip("link delete one");
	eventually(loop, seen.disappeared);
	CHECK_STR(seen.disappeared, "one! ");
	CHECK(seen.addresses > 0);
	CHECK(seen.n < n);
	ifaces_attached(ifaces, &n);
	CHECK_EQ(n, 0);

	ifaces_free(ifaces);
	sd_event_unref(loop);
}

TEST(an_interface_that_could_not_be_attached_is_asked_again)
{
	struct seen seen = { .refuse = true };
	const struct ifaces_calls calls = { appeared, disappeared, addresses, &seen };
	struct ifaces *ifaces;
	sd_event *loop;
	size_t n;

	if (!own_namespace())
		return skip("kernel lacks user namespaces");
	fresh();
	ip("route add default via 192.0.2.1 dev one");
	if (!CHECK_EQ(ifaces_new(&automatic.interfaces, &calls, &ifaces), 0))
		return;
	sd_event_new(&loop);
	CHECK_EQ(ifaces_watch(ifaces, loop), 0);
	ifaces_attached(ifaces, &n);
	CHECK_EQ(n, 0);
	seen.refuse = false;
	ip("link set two down");
	eventually(loop, seen.appeared);
	CHECK_STR(seen.appeared, "one ");

	ifaces_free(ifaces);
	sd_event_unref(loop);
}
