/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From a configuration to the tables that the kernel walks. */
#include "world.h"

#include <arpa/inet.h>
#include <errno.h>

#include "cleanup.h"
#include "config.h"
#include "intervals.h"
#include "networks.h"
#include "people.h"
#include "policy.h"

__attribute__((__constructor__)) static void conf_d_make(void)
{
	make("/conf.d");
}

static void user(struct people *people, const char *name, uint32_t uid, uint32_t gid)
{
	struct people_entry entry = { .name = (char *)name, .id = uid, .primary = gid };

	if (people_add(people, PEOPLE_USERS, &entry))
		abort();
}

static void group(struct people *people, const char *name, uint32_t gid, char **members)
{
	struct people_entry entry = { .name = (char *)name, .id = gid, .member = members };

	if (people_add(people, PEOPLE_GROUPS, &entry))
		abort();
}

static struct people *village(void)
{
	struct people *people;

	if (people_new(&people))
		abort();
	user(people, "root", 0, 0);
	user(people, "www-data", 33, 33);
	user(people, "postfix", 101, 110);
	user(people, "qmailr", 64013, 64010);
	user(people, "alice", 1000, 100);
	user(people, "bob", 1001, 100);
	user(people, "cust1", 2001, 2000);
	user(people, "cust2", 2002, 2000);
	user(people, "customs", 2003, 100);
	user(people, "courier", 1500, 100); /* a customer who chose the name */
	user(people, "nobody", 65534, 65534);
	group(people, "mail", 8, (char *[]){ "alice", "ghost", NULL });
	group(people, "staff", 50, (char *[]){ "bob", "cust1", NULL });
	group(people, "users", 100, NULL);
	group(people, "customers", 2000, NULL);
	return people;
}

static struct findings told;

static struct ruleset *compile_after(const char *settings, const char *policies,
				     const struct sw_rules *live)
{
	struct people *people = village();
	struct ruleset *ruleset = NULL;
	struct config *config = NULL;
	int error;

	findings_clear(&told);
	make_file("/smtpwall.conf", settings);
	make_file("/conf.d/10-test.conf", policies);
	error = config_load(at("/smtpwall.conf"), &told, &config);
	if (!error)
		error = policy_compile_for(people, config, live, &told, &ruleset);
	CHECK_EQ(!ruleset, !!error);
	CHECK_EQ(!!error, !!told.n_errors);
	config_free(config);
	people_free(people);
	return ruleset;
}

static struct ruleset *compile(const char *settings, const char *policies)
{
	struct ruleset *ruleset = compile_after(settings, policies, NULL);

	if (ruleset)
		return ruleset;
	CHECK_STR(told.n_errors ? told.error[0] : "", "no error");
	exit(EXIT_FAILURE);
}

static __u64 of_uid(const struct ruleset *r, __u32 uid)
{
	return intervals_find(r->users->start, r->users->set, SW_INTERVALS, uid);
}

static __u64 of_gid(const struct ruleset *r, __u32 gid)
{
	return intervals_find(r->groups->start, r->groups->set, SW_GID_INTERVALS, gid);
}

#define NO_EXEMPT "exempt { users = {} mail_servers = none }\n"

/* ---- whom a policy matches ---- */

TEST(users_are_names_ids_ranges_and_globs)
{
	struct ruleset *r = compile(NO_EXEMPT, "policy a { users = {alice} }\n"
					       "policy b { users = {\"1001\", \"3000-3002\"} }\n"
					       "policy c { users = {\"cust[0-9]\"} }\n"
					       "policy d { users = {\"0-4294967294\"} }\n");

	CHECK_EQ(of_uid(r, 999), 8);
	CHECK_EQ(of_uid(r, 1000), 9);
	CHECK_EQ(of_uid(r, 1001), 10);
	CHECK_EQ(of_uid(r, 1002), 8);
	CHECK_EQ(of_uid(r, 2001), 12);
	CHECK_EQ(of_uid(r, 2003), 8);
	CHECK_EQ(of_uid(r, 2999), 8);
	CHECK_EQ(of_uid(r, 3000), 10);
	CHECK_EQ(of_uid(r, 3002), 10);
	CHECK_EQ(of_uid(r, 3003), 8);
	CHECK_EQ(of_uid(r, 4294967294), 8);
	CHECK_EQ(of_uid(r, SW_UID_OVERFLOW), 0);
	CHECK_EQ(r->rules.anyone, 0);
	CHECK_EQ(told.n_warnings, 0);
	ruleset_free(r);
}

TEST(groups_match_their_members_and_their_gid)
{
	struct ruleset *r = compile(NO_EXEMPT, "policy a { groups = {staff} }\n"
					       "policy b { groups = {\"2000\"} users = {bob} }\n"
					       "policy c { groups = {\"m*\", \"90-110\"} }\n");

	CHECK_EQ(of_uid(r, 1001), 1 | 2 | 4); /* staff; named; users is his primary group */
	CHECK_EQ(of_uid(r, 2001), 1 | 2);
	CHECK_EQ(of_uid(r, 2002), 2);
	CHECK_EQ(of_uid(r, 1000), 4);
	CHECK_EQ(of_uid(r, 101), 4); /* postfix: gid 110 */
	CHECK_EQ(of_uid(r, 33), 0);
	CHECK_EQ(of_gid(r, 50), 1);
	CHECK_EQ(of_gid(r, 2000), 2);
	CHECK_EQ(of_gid(r, 8), 4);
	CHECK_EQ(of_gid(r, 100), 4);
	CHECK_EQ(of_gid(r, 111), 0);
	ruleset_free(r);
}

TEST(a_policy_that_names_nobody_is_about_anyone_but_one_whose_names_do_not_resolve_is_not)
{
	struct ruleset *r = compile(NO_EXEMPT, "policy a { users = {ghost} }\n"
					       "policy b { users = {} groups = {} }\n");

	CHECK_EQ(r->rules.anyone, 2);
	CHECK_EQ(of_uid(r, 0), 2);
	CHECK_EQ(of_uid(r, 77777), 2);
	CHECK_EQ(of_uid(r, SW_UID_OVERFLOW), 2);
	if (CHECK_EQ(told.n_warnings, 2)) {
		CHECK_CONTAINS(told.warning[0], "10-test.conf:1: the user 'ghost' does not exist");
		CHECK_CONTAINS(told.warning[1], "matches nobody");
	}
	ruleset_free(r);
}

TEST(lists_have_one_entry_a_line)
{
	char policies[256];
	struct ruleset *r;

	make_file("/gold.users",
		  "# gold\nalice  # comment\n\n\t2000-2002 \r\ncustom*\nghost\n1999");
	snprintf(policies, sizeof(policies), "policy a { users = {\"@%s\"} }", at("/gold.users"));
	r = compile(NO_EXEMPT, policies);
	CHECK_EQ(of_uid(r, 1000), 1);
	CHECK_EQ(of_uid(r, 1001), 0);
	CHECK_EQ(of_uid(r, 1999), 1);
	CHECK_EQ(of_uid(r, 2002), 1);
	CHECK_EQ(of_uid(r, 2003), 1);
	if (CHECK_EQ(told.n_warnings, 1))
		CHECK_CONTAINS(told.warning[0], "gold.users:6: the user 'ghost' does not exist");
	ruleset_free(r);
}

static void refused(const char *settings, const char *policies, const char *what)
{
	struct ruleset *r = compile_after(settings, policies, NULL);

	if (CHECK(!r) && CHECK_EQ(told.n_errors, 1))
		CHECK_CONTAINS(told.error[0], what);
	ruleset_free(r);
}

static void list_refused(const char *text, const char *what)
{
	char policies[256];

	make_file("/bad.users", text);
	snprintf(policies, sizeof(policies), "policy a { users = {\"@%s\"} }", at("/bad.users"));
	refused("", policies, what);
}

TEST(words_that_are_nobody_s_are_refused_with_their_place)
{
	refused("", "\npolicy a { users = {\"59999-1000\"} }", "10-test.conf:2: '59999-1000'");
	refused("", "policy a { users = {\"4294967295\"} }", "no user id");
	refused("", "policy a { groups = {\"99999999999999999999\"} }", "no group id");
	refused("", "policy a { users = {\"1-2-3\"} }", "no range");
	refused("", "policy a { users = {\"-5\"} }", "no range");
	refused("", "policy a { users = {\"@gold\"} }", "absolute path");
	refused("", "policy a { users = {\"@/nonexistent/x\"} }", "No such file");
	refused("", "policy a { users = {\"@/tmp\"} }", "Is a directory");
	refused("", "policy a { users = {\"@/dev/zero\"} }", "no regular file");
	refused("exempt { users = {\"5-4\"} }", "", "smtpwall.conf:1: '5-4'");
	list_refused("alice\n9-3\n", "bad.users:2: '9-3'");
	list_refused("@/etc/passwd\n", "bad.users:1: no name");
	list_refused("al\033ice\n", "bad.users:1: no name");
}

TEST(a_list_of_strangers_is_told_in_a_few_lines)
{
	char policies[256], text[8192];
	struct ruleset *r;
	size_t n = 0;
	int i;

	for (i = 0; i < 500; i++)
		n += sprintf(text + n, "ghost%d\n", i);
	make_file("/old.users", text);
	snprintf(policies, sizeof(policies), "policy a { users = {\"@%s\", bob} }",
		 at("/old.users"));
	r = compile(NO_EXEMPT, policies);
	if (CHECK_EQ(told.n_warnings, 6))
		CHECK_CONTAINS(told.warning[5], "500 entries of '@");
	ruleset_free(r);
}

/* ---- exempt ---- */

static bool exempt_lists(const struct ruleset *r, const char *text)
{
	size_t i;

	for (i = 0; i < r->n_exempt; i++)
		if (!strcmp(r->exempt[i], text))
			return true;
	return false;
}

TEST(mail_servers_are_found_by_name_if_they_are_system_accounts)
{
	struct ruleset *r = compile("", "");

	CHECK_EQ(of_uid(r, 0), SW_EXEMPT_BIT);
	CHECK_EQ(of_uid(r, 101), SW_EXEMPT_BIT);
	CHECK_EQ(of_uid(r, 64013), SW_EXEMPT_BIT);
	CHECK_EQ(of_uid(r, 33), 0);
	CHECK_EQ(of_uid(r, 65534), 0);
	CHECK_EQ(of_uid(r, 1500), 0);
	CHECK_EQ(r->n_exempt, 3);
	CHECK(exempt_lists(r, "root(0)"));
	CHECK(exempt_lists(r, "postfix(101)"));
	CHECK(exempt_lists(r, "qmailr(64013)"));
	if (CHECK_EQ(told.n_warnings, 1))
		CHECK_CONTAINS(told.warning[0], "'courier' (1500) is named like a mail server");
	ruleset_free(r);
}

TEST(exempt_users_and_groups_are_exempt_and_listed)
{
	struct ruleset *r =
		compile("exempt { mail_servers = none groups = {staff}\n"
			"users = {root, \"5000-5009\", \"cust*\", \"77\", postfix, ghost} }",
			"policy a { users = {bob} }\n");

	CHECK_EQ(of_uid(r, 1001), SW_EXEMPT_BIT | 1);
	CHECK_EQ(of_uid(r, 5009), SW_EXEMPT_BIT);
	CHECK_EQ(of_uid(r, 2003), SW_EXEMPT_BIT);
	CHECK_EQ(of_gid(r, 50), SW_EXEMPT_BIT);
	CHECK(exempt_lists(r, "group staff(50)"));
	CHECK(exempt_lists(r, "5000-5009"));
	CHECK(exempt_lists(r, "cust*"));
	CHECK(exempt_lists(r, "77"));
	CHECK(exempt_lists(r, "postfix(101)"));
	CHECK_EQ(r->n_exempt, 6);
	if (CHECK_EQ(told.n_warnings, 2)) {
		CHECK_CONTAINS(told.warning[0], "smtpwall.conf:2: the user 'ghost'");
		CHECK_CONTAINS(told.warning[1], "\"a\" matches nobody");
	}
	ruleset_free(r);
}

/* ---- policies ---- */

TEST(a_policy_is_compiled_whole)
{
	struct ruleset *r =
		compile("ports = {25, 2525, 65535}",
			"policy \"the first\" { roads = {direct, relay} action = block\n"
			"block_for = 5m mode = observe warn = {\"7 connections per 1m\"}\n"
			"limits = {\"20MB per 1d\"} }\n"
			"policy second { roads = {submission} }\n");
	const struct sw_policy *p = &r->rules.policy[0];

	CHECK_EQ(r->rules.n_policies, 2);
	CHECK_EQ(r->rules.on_road[SW_ROAD_DIRECT], 1);
	CHECK_EQ(r->rules.on_road[SW_ROAD_RELAY], 1);
	CHECK_EQ(r->rules.on_road[SW_ROAD_SUBMISSION], 2);
	CHECK_EQ(r->rules.on_road[SW_ROAD_SENDMAIL], 0);
	CHECK_EQ(r->rules.anyone, 3);
	CHECK_STR(p->name, "the first");
	CHECK_EQ(p->action, SW_ACTION_BLOCK);
	CHECK_EQ(p->mode, SW_MODE_OBSERVE);
	CHECK_EQ(p->roads, 5);
	CHECK_EQ(p->block_ns, 300 * 1000000000ULL);
	CHECK_EQ(p->n_limits, 2);
	CHECK(p->limit[0].warn && p->limit[0].max == 7);
	CHECK_EQ(p->limit[0].window_ns, 60 * 1000000000ULL);
	CHECK_EQ(p->limit[0].slot_ns, 4 * 1000000000ULL);
	CHECK(!p->limit[1].warn && p->limit[1].max == 20000000);
	CHECK_EQ(p->limit[1].metric, SW_METRIC_BYTES);
	CHECK_EQ(p->limit[0].cell, 0);
	CHECK_EQ(p->limit[1].cell, 1);
	CHECK_EQ(p->metrics, 1 << SW_METRIC_CONNECTIONS | 1 << SW_METRIC_BYTES);
	CHECK_EQ(p->count_tls, 0);
	CHECK_EQ(p[1].n_limits, 0);
	CHECK_EQ(p[1].metrics, 0);
	CHECK_EQ(p[1].block_ns, 0);
	CHECK(p[0].id && p[1].id && p[0].id != p[1].id);
	CHECK_EQ(r->ports.bits[0], 1ULL << 25);
	CHECK_EQ(r->ports.bits[2525 / 64], 1ULL << 2525 % 64);
	CHECK_EQ(r->ports.bits[1023], 1ULL << 63);
	ruleset_free(r);
}

TEST(a_limit_keeps_its_name_and_cell_when_its_max_changes)
{
	struct ruleset *a = compile("", "policy x { limits = {\"1 connections per 1m\",\n"
					"\"2 connections per 2m\", \"3 connections per 3m\"} }");
	struct ruleset *b = compile_after("",
					  "policy new {}\npolicy x { users = {bob} limits = {\n"
					  "\"9 connections per 4m\", \"33 connections per 3m\",\n"
					  "\"8 connections per 5m\", \"1B per 1m\",\n"
					  "\"11 connections per 1m\"} }",
					  &a->rules);
	const struct sw_limit *before = a->rules.policy[0].limit, *now = b->rules.policy[1].limit;

	CHECK_EQ(now[1].id, before[2].id);
	CHECK_EQ(now[1].cell, 2);
	CHECK_EQ(now[4].id, before[0].id);
	CHECK_EQ(now[4].cell, 0);
	CHECK_EQ(now[0].cell, 1);
	CHECK_EQ(now[2].cell, 3);
	CHECK_EQ(now[3].cell, 4);
	CHECK(now[3].id != now[4].id);
	ruleset_free(a);
	ruleset_free(b);
}

TEST(a_warning_and_a_limit_of_one_time_are_two)
{
	struct ruleset *r =
		compile("", "policy x { warn = {\"5 connections per 1m\"}\n"
			    "limits = {\"5 connections per 1m\"} }\n"
			    "policy y { users = {bob} limits = {\"5 connections per 1m\"} }");
	const struct sw_policy *p = r->rules.policy;

	CHECK(p[0].limit[0].id != p[0].limit[1].id);
	CHECK(p[0].limit[1].id != p[1].limit[0].id);
	ruleset_free(r);
}

TEST(a_policy_asks_for_the_metrics_of_its_limits_and_warnings)
{
	struct ruleset *r = compile("", "policy x { warn = {\"5 destinations per 1m\"}\n"
					"limits = {\"5 messages per 1m\", \"9 rejects per 1h\"}\n"
					"count_tls_estimate = true }\n"
					"policy y { users = {bob} warn = {\n"
					"\"9% deferrals per 1h of at least 3 messages\"} }");
	const struct sw_policy *p = r->rules.policy;

	CHECK_EQ(p[0].metrics,
		 1 << SW_METRIC_DESTINATIONS | 1 << SW_METRIC_MESSAGES | 1 << SW_METRIC_REJECTS);
	CHECK_EQ(p[0].count_tls, 1);
	CHECK_EQ(p[1].metrics, 1 << SW_METRIC_DEFERRALS);
	CHECK_EQ(p[1].count_tls, 0);
	ruleset_free(r);
}

static const struct sw_limit *limit_like(const struct sw_policy *p, enum sw_metric metric,
					 enum sw_warn warn, unsigned int hours)
{
	size_t i;

	for (i = 0; i < p->n_limits; i++)
		if (p->limit[i].metric == metric && p->limit[i].warn == warn &&
		    p->limit[i].window_ns == hours * 3600 * 1000000000ULL)
			return &p->limit[i];
	CHECK_STR("no such limit", metric == SW_METRIC_MESSAGES ? "messages" : "rejects");
	exit(EXIT_FAILURE);
}

TEST(percentages_of_one_time_share_a_window_of_messages)
{
	struct ruleset *r =
		compile("", "policy x { warn = {\"20% rejects per 1h of at least 10 messages\"}\n"
			    "limits = {\"5 messages per 1h\",\n"
			    "\"30% rejects per 1h of at least 20 messages\",\n"
			    "\"25 rejects per 1h\",\n"
			    "\"40% rejects per 2h of at least 30 messages\"} }");
	const struct sw_policy *p = r->rules.policy;
	const struct sw_limit *one = limit_like(p, SW_METRIC_MESSAGES, SW_WARN_BASE, 1);
	const struct sw_limit *two = limit_like(p, SW_METRIC_MESSAGES, SW_WARN_BASE, 2);
	const struct sw_limit *warn = limit_like(p, SW_METRIC_REJECTS, SW_WARN_ONLY, 1);
	const struct sw_limit *limit = limit_like(p, SW_METRIC_REJECTS, SW_WARN_NOT, 1);
	const struct sw_limit *later = limit_like(p, SW_METRIC_REJECTS, SW_WARN_NOT, 2);
	size_t i, j;

	CHECK_EQ(p->n_limits, 7);
	CHECK(one < warn && two < warn);
	CHECK_EQ(warn->percent, 20);
	CHECK_EQ(warn->floor, 10);
	CHECK_EQ(warn->base, one->cell);
	CHECK_EQ(limit->percent, 30);
	CHECK_EQ(limit->floor, 20);
	CHECK_EQ(limit->max, 0);
	CHECK_EQ(limit->base, one->cell);
	CHECK_EQ(later->percent, 40);
	CHECK_EQ(later->base, two->cell);
	CHECK(!one->percent && !one->max && one->slot_ns);
	for (i = 0; i < p->n_limits; i++)
		for (j = 0; j < i; j++)
			CHECK(p->limit[i].id != p->limit[j].id &&
			      p->limit[i].cell != p->limit[j].cell);
	ruleset_free(r);
}

TEST(a_percentage_and_its_base_keep_their_cells_when_the_numbers_change)
{
	struct ruleset *a = compile("", "policy x { limits = {\"5 messages per 1h\",\n"
					"\"30% rejects per 1h of at least 20 messages\"} }");
	struct ruleset *b =
		compile_after("",
			      "policy x { warn = {\"1 destinations per 1h\"}\n"
			      "limits = {\"35% rejects per 1h of at least 9 messages\"} }",
			      &a->rules);
	const struct sw_policy *before = a->rules.policy, *now = b->rules.policy;
	const struct sw_limit *base = limit_like(now, SW_METRIC_MESSAGES, SW_WARN_BASE, 1);
	const struct sw_limit *share = limit_like(now, SW_METRIC_REJECTS, SW_WARN_NOT, 1);

	CHECK_EQ(base->cell, limit_like(before, SW_METRIC_MESSAGES, SW_WARN_BASE, 1)->cell);
	CHECK_EQ(base->id, limit_like(before, SW_METRIC_MESSAGES, SW_WARN_BASE, 1)->id);
	CHECK_EQ(share->cell, limit_like(before, SW_METRIC_REJECTS, SW_WARN_NOT, 1)->cell);
	CHECK_EQ(share->id, limit_like(before, SW_METRIC_REJECTS, SW_WARN_NOT, 1)->id);
	CHECK_EQ(share->base, base->cell);
	ruleset_free(a);
	ruleset_free(b);
}

TEST(cells_survive_any_order_of_reloads)
{
	struct ruleset *live = NULL;
	int round;

	srand(7);
	for (round = 0; round < 200; round++) {
		char policies[1024];
		size_t n = 0, i, j;
		struct ruleset *next;
		int minute;

		n += sprintf(policies, "policy x { limits = {");
		for (minute = 1, i = 0; minute < 16 && i < SW_LIMITS; minute++)
			if (rand() % 2 && ++i)
				n += sprintf(policies + n, "\"1 connections per %dm\",", minute);
		sprintf(policies + n, "\"1 connections per 1h\"} }");
		if (i == SW_LIMITS)
			continue;
		next = compile_after("", policies, live ? &live->rules : NULL);
		if (!CHECK(next))
			return;
		for (i = 0; i < next->rules.policy[0].n_limits; i++) {
			const struct sw_limit *all = next->rules.policy[0].limit;
			const struct sw_limit *limit = &all[i];

			CHECK(limit->cell < SW_LIMITS);
			for (j = 0; j < i; j++)
				CHECK(limit->cell != all[j].cell);
			for (j = 0; live && j < live->rules.policy[0].n_limits; j++)
				if (live->rules.policy[0].limit[j].id == limit->id)
					CHECK_EQ(limit->cell, live->rules.policy[0].limit[j].cell);
		}
		ruleset_free(live);
		live = next;
	}
	ruleset_free(live);
}

/* ---- shadows ---- */

static void shadow(const char *policies, const char *warning)
{
	struct ruleset *r = compile("exempt { mail_servers = none }", policies);

	if (!warning)
		CHECK_EQ(told.n_warnings, 0);
	else if (CHECK_EQ(told.n_warnings, 1))
		CHECK_CONTAINS(told.warning[0], warning);
	if (told.n_warnings != !!warning)
		printf("# %s\n", policies);
	ruleset_free(r);
}

TEST(a_policy_that_never_decides_is_told)
{
	static const char never[] = "10-test.conf:2: the policy \"b\" never decides: \"a\" (";

	shadow("policy a {}\npolicy b { users = {bob} }", never);
	shadow("policy a { users = {\"1000-2000\"} }\npolicy b { users = {bob, alice} }", never);
	shadow("policy a { users = {bob} }\npolicy b { users = {bob, alice} }", NULL);
	shadow("policy a { users = {bob} }\npolicy b { groups = {staff} }", NULL);
	shadow("policy a { groups = {staff} }\npolicy b { groups = {staff} }", never);
	shadow("policy a { groups = {staff} }\npolicy b { users = {bob} }", never);
	shadow("policy a { roads = {submission} }\npolicy b { users = {bob} }", NULL);
	shadow("policy a { roads = {direct} }\npolicy b { roads = {direct, relay} }", NULL);
	shadow("policy a { roads = {direct, relay} }\npolicy b { roads = {relay} }", never);
	/* Containers' users are in no range. */
	shadow("policy a { users = {\"0-4294967294\"} }\npolicy b { }", NULL);
	shadow("policy a { users = {alice} }\npolicy b { users = {bob} }\n"
	       "policy c { users = {alice, bob} }",
	       "\"c\" never decides: \"");
	shadow("policy a { users = {root} }", "matches nobody: ");
}

TEST(only_who_judges_the_same_subject_in_the_same_places_shadows)
{
	static const char never[] = "\"b\" never decides: \"a\"";

	shadow("policy a {}\npolicy b { subject = dir }", NULL);
	shadow("policy a { subject = dir }\npolicy b { subject = dir users = {bob} }", never);
	shadow("policy a { subject = unit }\npolicy b { subject = unit units = {\"x.scope\"} }",
	       never);
	shadow("policy a { units = {\"x.scope\"} }\npolicy b { }", NULL);
	shadow("policy a { units = {\"x.scope\", y} }\npolicy b { units = {y} }", never);
	shadow("policy a { units = {y} }\npolicy b { units = {\"x.scope\", y} }", NULL);
	shadow("policy a { dirs = {\"/x\"} }\npolicy b { dirs = {\"/x\"} users = {bob} }", never);
	shadow("policy a { dirs = {\"/x\"} }\npolicy b { dirs = {\"/y\"} }", NULL);
	shadow("policy a { units = {y} }\npolicy b { units = {y} dirs = {\"/y\"} }", never);
	shadow("policy a { units = {y} dirs = {\"/y\"} }\npolicy b { units = {y} }", NULL);
}

/* ---- units and dirs ---- */

static __u64 glob_set(const struct globs *globs, const char *text, __u32 flags)
{
	size_t i;

	for (i = 0; i < globs->n; i++)
		if (!strcmp(globs->glob[i].text, text)) {
			CHECK_EQ(globs->glob[i].flags, flags);
			return globs->glob[i].set;
		}
	CHECK_STR("no such glob", text);
	return 0;
}

TEST(globs_are_gathered_with_their_policies)
{
	struct ruleset *r = compile("site_roots = {\"/srv/*\", \"/home/*/www\"}\n"
				    "exempt { units = {\"mail*.scope\"} }",
				    "policy a { units = {\"x.scope\"} dirs = {\"/srv/*\"} }\n"
				    "policy b { units = {\"x.scope\", \"mail*.scope\"} }\n"
				    "policy c { subject = dir dirs = {\"/tmp\"} }");

	CHECK_EQ(r->units.n, 2);
	CHECK(glob_set(&r->units, "x.scope", 0) == 3);
	CHECK(glob_set(&r->units, "mail*.scope", 0) == (2 | SW_EXEMPT_BIT));
	CHECK_EQ(r->dirs.n, 3);
	CHECK(glob_set(&r->dirs, "/srv/*", SW_PLACE_SITE) == 1);
	CHECK(glob_set(&r->dirs, "/home/*/www", SW_PLACE_SITE) == 0);
	CHECK(glob_set(&r->dirs, "/tmp", 0) == 4);
	CHECK_EQ(r->rules.any_unit, 4);
	CHECK_EQ(r->rules.any_dir, 2);
	CHECK_EQ(r->rules.judges[SW_KIND_UID], 3);
	CHECK_EQ(r->rules.judges[SW_KIND_DIR], 4);
	CHECK_EQ(r->rules.policy[2].subject, SW_KIND_DIR);
	CHECK(exempt_lists(r, "unit mail*.scope"));
	ruleset_free(r);
}

/* ---- intervals ---- */

TEST(intervals_are_what_a_look_at_every_range_finds)
{
	enum { SIZE = 512 };
	__u32 start[SIZE], probe[200];
	__u64 set[SIZE];
	int round;

	srand(3);
	for (round = 0; round < 1000; round++) {
		struct edges edges = {};
		struct {
			__u32 first, last;
			unsigned int bit;
		} range[40];
		size_t n = rand() % 40, i, j, found;
		__u64 always = rand() % 3 ? 0 : 1ULL << rand() % 62;
		__u32 space = round % 2 ? 30 : ID_MOST;

		for (i = 0; i < n; i++) {
			__u32 a = ((__u32)rand() << 8 ^ rand()) % space, b = a + rand() % 9;

			if (round % 5 == 0 && rand() % 8 == 0)
				b = ID_MOST;
			range[i].first = a;
			range[i].last = b < a || b > ID_MOST ? ID_MOST : b;
			range[i].bit = rand() % 4 ? rand() % 4 : 63;
			CHECK_EQ(edges_add(&edges, range[i].first, range[i].last, range[i].bit), 0);
		}
		found = edges_compile(&edges, always, start, set, SIZE);
		CHECK(found <= SIZE && start[0] == 0);
		for (i = 1; i < found; i++)
			CHECK(start[i] > start[i - 1] && set[i] != set[i - 1]);
		for (i = found; i < SIZE; i++)
			CHECK(start[i] == UINT32_MAX && set[i] == always);
		for (i = 0; i < 200; i++)
			probe[i] = i < 60 || !n ? i
						: (i % 2 ? range[rand() % n].first
							 : range[rand() % n].last) +
							  rand() % 3 - 1;
		probe[0] = UINT32_MAX;
		for (i = 0; i < 200; i++) {
			__u64 truth = always;

			for (j = 0; j < n; j++)
				if (probe[i] >= range[j].first && probe[i] <= range[j].last)
					truth |= 1ULL << range[j].bit;
			CHECK_EQ(intervals_find(start, set, SIZE, probe[i]), truth);
			CHECK(probe[i] == UINT32_MAX || !found ||
			      intervals_find(start, set, found, probe[i]) == truth);
		}
		edges_clear(&edges);
	}
}

TEST(too_many_intervals_are_counted_and_not_written)
{
	struct edges edges = {};
	__u32 start[9] = { [8] = 42 };
	__u64 set[9] = { [8] = 42 };
	int i;

	for (i = 0; i < 100; i++)
		CHECK_EQ(edges_add(&edges, 10 * i + 1, 10 * i + 2, 1), 0);
	CHECK_EQ(edges_compile(&edges, 0, start, set, 8), 201);
	CHECK(start[8] == 42 && set[8] == 42);
	edges_clear(&edges);
}

static void write_lines(const char *name, int lines, const char *format)
{
	_cleanup_fclose_ FILE *f = fopen(at(name), "w");
	int i;

	for (i = 0; f && i < lines; i++)
		fprintf(f, format, 2000 + 4 * i, 2001 + 4 * i);
}

static void timed(const char *list, const char *what)
{
	char policies[256];
	struct ruleset *r;
	double before;
	int i;

	snprintf(policies, sizeof(policies), "policy a { users = {\"@%s\"} }", at(list));
	before = seconds();
	r = compile(NO_EXEMPT, policies);
	printf("# 100 000 %s: %.3f s\n", what, seconds() - before);
	for (i = 0; i < 100000; i += 999)
		CHECK(of_uid(r, 2000 + 4 * i) == 1 && of_uid(r, 2003 + 4 * i) == 0);
	ruleset_free(r);
}

TEST(a_hundred_thousand_users_fit)
{
	write_lines("/ids.users", 100000, "%d\n");
	timed("/ids.users", "uids");
	write_lines("/ranges.users", 100000, "%d-%d\n");
	timed("/ranges.users", "ranges");
}

TEST(a_hundred_thousand_names_are_found_and_as_many_strangers_told)
{
	struct people *people;
	char name[32];
	double before;
	int i, found = 0;

	if (people_new(&people))
		abort();
	for (i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "user%d", i);
		user(people, name, 1000 + i, 100);
	}
	before = seconds();
	for (i = 0; i < 200000; i++) {
		const struct people_entry *entry;

		snprintf(name, sizeof(name), "user%d", i);
		entry = people_find(people, PEOPLE_USERS, name);
		found += entry && entry->id == 1000u + i;
	}
	printf("# 200 000 look-ups: %.3f s\n", seconds() - before);
	CHECK_EQ(found, 100000);
	people_free(people);
}

TEST(more_users_than_the_table_holds_are_refused)
{
	char policies[256];

	write_lines("/many.users", SW_INTERVALS / 2 + 1, "%d\n");
	snprintf(policies, sizeof(policies), "policy a { users = {\"@%s\"} }", at("/many.users"));
	refused(NO_EXEMPT, policies, "262144 at most: write ranges");
}

/* ---- networks ---- */

static __u32 flags_of(const struct ruleset *r, const char *text)
{
	struct sw_network address;
	__u32 flags = 0, longest = 0;
	size_t i;

	if (!CHECK_EQ(network_parse(text, &address), 0))
		return ~0;
	for (i = 0; i < r->n_networks; i++) {
		const struct sw_network *n = &r->network[i].network;
		unsigned int bit;

		for (bit = 0; bit < n->prefix_len; bit++)
			if ((n->addr[bit / 8] ^ address.addr[bit / 8]) & 0x80 >> bit % 8)
				break;
		if (bit == n->prefix_len && n->prefix_len >= longest) {
			longest = n->prefix_len;
			flags = r->network[i].flags;
		}
	}
	return flags;
}

TEST(this_machine_and_private_networks_are_relays)
{
	struct ruleset *r = compile("", "");
	static const char *const relays[] = { "127.0.0.1",   "127.9.9.9",   "::1",
					      "0.0.0.0",     "::",	    "::ffff:127.0.0.1",
					      "10.1.2.3",    "172.31.0.1",  "192.168.9.9",
					      "169.254.1.1", "100.127.0.1", "fd00::1",
					      "fe80::1" };
	static const char *const others[] = { "128.0.0.1",   "8.8.8.8", "172.32.0.1", "100.128.0.1",
					      "2001:db8::1", "::2",	"0.0.0.1",    "fec0::1" };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(relays); i++)
		CHECK_EQ(flags_of(r, relays[i]), SW_NET_RELAY);
	for (i = 0; i < ARRAY_SIZE(others); i++)
		CHECK_EQ(flags_of(r, others[i]), 0);
	ruleset_free(r);
}

TEST(the_longest_prefix_knows_what_those_around_it_say)
{
	struct ruleset *r = compile("relays = {\"198.51.100.0/24\", \"2001:db8::/48\", 192.0.2.7}\n"
				    "exempt { destinations = {198.51.100.9, \"2001:db8::/32\",\n"
				    "\"198.51.0.0/16\", 192.0.2.7, 127.0.0.1} }",
				    "");

	CHECK_EQ(flags_of(r, "198.51.100.1"), SW_NET_RELAY | SW_NET_EXEMPT);
	CHECK_EQ(flags_of(r, "198.51.100.9"), SW_NET_RELAY | SW_NET_EXEMPT);
	CHECK_EQ(flags_of(r, "198.51.101.9"), SW_NET_EXEMPT);
	CHECK_EQ(flags_of(r, "2001:db8::1"), SW_NET_RELAY | SW_NET_EXEMPT);
	CHECK_EQ(flags_of(r, "2001:db8:1::1"), SW_NET_EXEMPT);
	CHECK_EQ(flags_of(r, "192.0.2.7"), SW_NET_RELAY | SW_NET_EXEMPT);
	CHECK_EQ(flags_of(r, "192.0.2.8"), 0);
	CHECK_EQ(flags_of(r, "127.0.0.1"), SW_NET_RELAY | SW_NET_EXEMPT);
	CHECK_EQ(flags_of(r, "10.0.0.1"), 0);
	ruleset_free(r);
}

/* Without an address of the machine's: these are told apart before the resolver is asked. */
TEST(what_is_no_network_is_refused)
{
	refused("relays = {\"10.0.0.0/33\"}", "", "smtpwall.conf:1: '10.0.0.0/33' is no address");
	refused("relays = {\"10.0.0\"}", "", "is no address");
	refused("relays = {\"10.0.0.0/\"}", "", "is no address");
	refused("relays = {\"10.0.0.0/08x\"}", "", "is no address");
	refused("relays = {\"1.2.3.4/-1\"}", "", "is no address");
	refused("relays = {\"fe80::1%eth0\"}", "", "is no address");
	refused("relays = {\"mail host\"}", "", "is no address");
	refused("relays = {\"0.0.0.0/0\"}", "", "every address");
	refused("relays = {\"::/0\"}", "", "every address");
	refused("relays = {\"::/80\"}", "", "every address");
	refused("exempt { destinations = {\"::ffff:0:0/96\"} }", "", "every address");
}

TEST(random_networks_are_found_as_a_look_at_all_of_them_finds_them)
{
	int round;

	srand(5);
	for (round = 0; round < 200; round++) {
		char settings[4096], list[2][1024] = { "", "" };
		struct sw_network network[20], probe;
		__u32 flag[20], truth;
		struct ruleset *r;
		int n = rand() % 20, i, j;

		for (i = 0; i < n; i++) {
			char text[64];

			sprintf(text, "9.%d.%d.%d/%d", rand() % 2, rand() % 4, rand() % 256,
				8 + rand() % 25);
			flag[i] = 1 + rand() % 2;
			CHECK_EQ(network_parse(text, &network[i]), 0);
			sprintf(list[flag[i] - 1] + strlen(list[flag[i] - 1]), "\"%s\",", text);
		}
		sprintf(settings, "relays = {%s}\nexempt { destinations = {%s} }", list[0],
			list[1]);
		r = compile(settings, "");
		for (j = 0; j < 50; j++) {
			char text[64];

			sprintf(text, "9.%d.%d.%d", rand() % 2, rand() % 4, rand() % 256);
			truth = 0;
			for (i = 0; i < n; i++) {
				char around[128];

				sprintf(around, "%s/%u", text, network[i].prefix_len - 96);
				CHECK_EQ(network_parse(around, &probe), 0);
				if (!memcmp(probe.addr, network[i].addr, 16))
					truth |= flag[i];
			}
			CHECK_EQ(flags_of(r, text), truth);
		}
		ruleset_free(r);
	}
}

/* ---- this machine ---- */

TEST(the_shipped_policies_compile_here)
{
	struct config *config = NULL;
	struct ruleset *r = NULL;
	size_t i;

	findings_clear(&told);
	CHECK_EQ(config_load("user/etc/smtpwall.conf", &told, &config), 0);
	if (!config)
		return;
	CHECK_EQ(policy_compile(config, NULL, &told, &r), 0);
	CHECK_EQ(told.n_errors, 0);
	for (i = 0; i < told.n_warnings; i++)
		CHECK_CONTAINS(told.warning[i], "does not exist");
	if (r) {
		CHECK(of_uid(r, 0) & SW_EXEMPT_BIT);
		CHECK_EQ(of_uid(r, 1000) & ~SW_EXEMPT_BIT, 1 | 8 | 16 | 32);
		CHECK_EQ(of_uid(r, 60000), 1 | 16 | 32);
		CHECK_EQ(r->rules.anyone, 1 | 16 | 32);
		CHECK_EQ(r->rules.judges[SW_KIND_UNIT], 1);
		CHECK_EQ(r->rules.judges[SW_KIND_DIR], 2);
		CHECK_EQ(r->rules.judges[SW_KIND_UID], 4 | 8 | 16 | 32);
		CHECK_EQ(r->rules.any_unit, 2 | 4 | 8 | 16 | 32);
		CHECK_EQ(r->rules.any_dir, 1 | 2 | 4 | 8 | 16 | 32);
		CHECK(exempt_lists(r, "root(0)"));
	}
	ruleset_free(r);
	config_free(config);
	findings_clear(&told);
}
