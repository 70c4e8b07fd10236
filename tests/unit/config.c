/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration files: what they may say, and what is told of those that say something else. */
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>

#include "cleanup.h"
#include "config.h"
#include "policy.h"
#include "text.h"

#define SHIPPED "user/etc/" /* tests are run in the project's directory */

static char *main_file, *policy_file;

static void names_forget(void)
{
	free(main_file);
	free(policy_file);
}

__attribute__((__constructor__)) static void conf_d_make(void)
{
	make("/conf.d");
	main_file = strdup(at("/smtpwall.conf"));
	policy_file = strdup(at("/conf.d/10-test.conf"));
	atexit(names_forget);
}

static void write_file(const char *path, const void *data, size_t length)
{
	_cleanup_fclose_ FILE *f = fopen(path, "w");

	if (!f || fwrite(data, 1, length, f) != length)
		abort();
}

static void write_text(const char *path, const char *text)
{
	write_file(path, text, strlen(text));
}

static struct findings told;

/* NULL: refused; what was told stays in `told` until the next one. */
static struct config *load(const char *settings, const char *policies)
{
	struct config *config = NULL;
	int error;

	findings_clear(&told);
	write_text(main_file, settings);
	write_text(policy_file, policies);
	error = config_load(main_file, &told, &config);
	unlink(policy_file);
	CHECK_EQ(!config, !!error);
	CHECK_EQ(!!told.n_errors, !!error);
	return config;
}

/* Is refused with one line that says `where` (file:line without the directory) and `what`? */
static bool refused(const char *settings, const char *policies, const char *where, const char *what)
{
	char place[128];
	struct config *config = load(settings, policies);
	bool good;

	good = CHECK(!config) && CHECK_EQ(told.n_errors, 1);
	config_free(config);
	if (!good)
		return false;
	snprintf(place, sizeof(place), "%s/%s: ", dir, where);
	return CHECK_CONTAINS(told.error[0], place) && CHECK_CONTAINS(told.error[0], what);
}

static bool setting_refused(const char *line, const char *what)
{
	char text[4096];

	snprintf(text, sizeof(text), "# one\n\n%s\n", line);
	if (refused(text, "", "smtpwall.conf:3", what))
		return true;
	printf("# %s\n", line);
	return false;
}

static bool policy_refused(const char *line, const char *what)
{
	char text[4096];

	snprintf(text, sizeof(text), "# one\npolicy \"x\" { /* two\n three */\n%s\n}\n", line);
	if (refused("", text, "conf.d/10-test.conf:4", what))
		return true;
	printf("# %s\n", line);
	return false;
}

static void must_load(const char *settings, const char *policies, struct config **ret)
{
	*ret = load(settings, policies);
	if (*ret)
		return;
	CHECK_STR(told.n_errors ? told.error[0] : "", "no error");
	exit(EXIT_FAILURE);
}

TEST(an_empty_file_means_the_defaults)
{
	struct config *config;

	must_load("", "", &config);
	CHECK_EQ(config->mode, SW_MODE_OBSERVE);
	CHECK_EQ(config->n_ports, 3);
	CHECK_EQ(config->ports[1], 465);
	CHECK_STR(config->interfaces.word[0], "auto");
	CHECK_EQ(config->outside_hook, OUTSIDE_AUTO);
	CHECK_STR(config->relays.word[0], "private");
	CHECK_EQ(config->ipv6_prefix, 64);
	CHECK_EQ(config->max_users, 65536);
	CHECK_STR(config->cgroup, "auto");
	CHECK_STR(config->pin_dir, "/sys/fs/bpf/smtpwall");
	CHECK_STR(config->state_dir, "/var/lib/smtpwall");
	CHECK(config->mail_servers_auto);
	CHECK_EQ(config->exempt_users.n, 1);
	CHECK_STR(config->exempt_users.word[0], "root");
	CHECK_EQ(config->n_policies, 0);
	config_free(config);
}

TEST(every_setting_is_read)
{
	struct config *config;

	must_load("mode = enforce\n"
		  "ports = {25, 2525} # and a comment\n"
		  "interfaces = {eth0, // another\n \"wg*\"}\n"
		  "outside_hook = clsact\n"
		  "relays = {192.0.2.1, \"2001:db8::/32\"}\n"
		  "ipv6_prefix = 56\nmax_users = 1\n"
		  "cgroup = \"/sys/fs/cgroup/a\"\npin_dir = /sys/fs/bpf/b\nstate_dir = '/c'\n"
		  "exempt { mail_servers = none users = {} groups = {mail}\n"
		  "destinations = {198.51.100.7} }\n",
		  "", &config);
	CHECK_EQ(config->mode, SW_MODE_ENFORCE);
	CHECK_EQ(config->n_ports, 2);
	CHECK_EQ(config->ports[1], 2525);
	CHECK_EQ(config->interfaces.n, 2);
	CHECK_STR(config->interfaces.word[1], "wg*");
	CHECK_EQ(config->outside_hook, OUTSIDE_CLSACT);
	CHECK_EQ(config->relays.n, 2);
	CHECK_STR(config->relays.word[1], "2001:db8::/32");
	CHECK_EQ(config->ipv6_prefix, 56);
	CHECK_EQ(config->max_users, 1);
	CHECK_STR(config->cgroup, "/sys/fs/cgroup/a");
	CHECK_STR(config->pin_dir, "/sys/fs/bpf/b");
	CHECK_STR(config->state_dir, "/c");
	CHECK(!config->mail_servers_auto);
	CHECK_EQ(config->exempt_users.n, 0);
	CHECK_STR(config->exempt_groups.word[0], "mail");
	CHECK_STR(config->exempt_destinations.word[0], "198.51.100.7");
	config_free(config);
}

TEST(every_key_of_a_policy_is_read)
{
	struct config *config;
	struct policy_spec *p;

	must_load("",
		  "policy \"a b\" {\n description = \"d\"\n users = {bob, \"1000-59999\"}\n"
		  "groups = {staff}\n roads = {direct, relay}\n subject = uid\n"
		  "warn = {\"5 connections per 1m\"}\n"
		  "limits = {\"5 connections per 1m\", \"20MB per 1d\"}\n action = block\n"
		  "block_for = 30m\n mode = observe\n count_tls_estimate = true\n}\npolicy c {}\n",
		  &config);
	if (!CHECK_EQ(config->n_policies, 2))
		return;
	p = &config->policy[0];
	CHECK_STR(p->name, "a b");
	CHECK_CONTAINS(p->where, "/conf.d/10-test.conf:1");
	CHECK_STR(p->description, "d");
	CHECK_STR(p->users.word[1], "1000-59999");
	CHECK_CONTAINS(p->users.at[1], "/conf.d/10-test.conf:3");
	CHECK_STR(p->groups.word[0], "staff");
	CHECK_EQ(p->roads, 1 << SW_ROAD_DIRECT | 1 << SW_ROAD_RELAY);
	CHECK_EQ(p->n_limits, 3);
	CHECK(p->limit[0].warn && !p->limit[1].warn);
	CHECK_EQ(p->limit[2].metric, SW_METRIC_BYTES);
	CHECK_EQ(p->action, SW_ACTION_BLOCK);
	CHECK_EQ(p->block_ns, 1800 * 1000000000ULL);
	CHECK_EQ(p->mode, SW_MODE_OBSERVE);
	CHECK(p->count_tls && !p[1].count_tls);
	CHECK_EQ(p[1].roads, 1 << SW_ROAD_DIRECT);
	CHECK_EQ(p[1].mode, SW_MODE_ENFORCE);
	CHECK_EQ(p[1].n_limits, 0);
	config_free(config);
}

TEST(a_block_lasts_an_hour_unless_it_says_otherwise)
{
	struct config *config;

	must_load("", "policy x { limits = {\"1 connections per 1h\"} action = block }", &config);
	CHECK_EQ(config->policy[0].block_ns, 3600 * 1000000000ULL);
	config_free(config);
}

TEST(a_setting_that_is_wrong_is_refused_with_its_line)
{
	setting_refused("mode = on", "write observe or enforce");
	setting_refused("ports = {0}", "write a number from 1 to 65535");
	setting_refused("ports = {70000}", "'70000' is no port");
	setting_refused("ports = {-25}", "is no port");
	setting_refused("ports = {smtp}", "is no port");
	setting_refused("ports = {99999999999999999999999}", "is no port");
	setting_refused("ports = {0x19}", "is no port");
	setting_refused("ports = {\"\"}", "is no port");
	setting_refused("interfaces = {\"\"}", "empty word");
	setting_refused("outside_hook = tc", "auto, tcx or clsact");
	setting_refused("ipv6_prefix = 0", "from 1 to 128");
	setting_refused("ipv6_prefix = 129", "from 1 to 128");
	setting_refused("max_users = 0", "from 1 to");
	setting_refused("max_users = 4294967297", "from 1 to");
	setting_refused("max_users = -1", "from 1 to");
	setting_refused("pin_dir = smtpwall", "begins with /");
	setting_refused("state_dir = \"\"", "begins with /");
	setting_refused("cgroup = ../x", "begins with /");
	setting_refused("exempt { mail_servers = yes }", "auto or none");
	setting_refused("mode = observe mode = enforce", "written twice");
	setting_refused("ports = {25} ports = {26}", "written twice");
	setting_refused("ports = {25, 26} ports = {26}", "written twice");
	setting_refused("ports = {25, 26} ports = {}", "written twice");
}

TEST(an_empty_list_of_what_must_be_is_refused)
{
	refused("ports = {}", "", "smtpwall.conf", "write {25, 465, 587}");
	refused("interfaces = {}", "", "smtpwall.conf", "write {auto}");
	refused("", "policy x { roads = {} }", "conf.d/10-test.conf", "`roads` is empty");
}

TEST(a_policy_that_is_wrong_is_refused_with_its_line)
{
	policy_refused("limits = {\"100 connections\"}", "is no limit: write");
	policy_refused("limits = {\"-1 connections per 1h\"}", "is no limit: write");
	policy_refused("warn = {\"1 connections per -1h\"}", "is no limit: write");
	policy_refused("warn = {\"1 connections per 521w\"}", "out of range");
	policy_refused("limits = {\"99999999999999999999 connections per 1h\"}", "out of range");
	policy_refused("limits = {\"1 connections per 1h\", \"2 connections per 60m\"}", "second");
	policy_refused("warn = {\"1 connections per 1h\", \"2 connections per 1h\"}", "second");
	policy_refused("block_for = -5m action = block limits={\"1B per 1s\"}", "write a time");
	policy_refused("block_for = 5 action = block limits={\"1B per 1s\"}", "write a time");
	policy_refused("mode = on", "observe or enforce");
	policy_refused("roads = {25}", "direct, submission or relay");
	policy_refused("subject = user", "write uid, dir or unit");
	policy_refused("action = drop", "deny, block or redirect");
	policy_refused("count_tls_estimate = yes", "write true or false");
	policy_refused("limits = {\"1 mails per 1h\"}", "write \"100 messages per 1h\" or");
}

TEST(every_metric_can_be_limited_and_warned_of)
{
	struct config *config;
	struct policy_spec *p;
	int i;

	must_load("",
		  "policy x { limits = {\"1 connections per 1h\", \"2 messages per 1h\",\n"
		  "\"3 recipients per 1h\", \"4B per 1h\", \"5 rejects per 1h\",\n"
		  "\"6 deferrals per 1h\", \"7 destinations per 1h\"} }\n"
		  "policy y { warn = {\"1 connections per 1h\", \"2 messages per 1h\",\n"
		  "\"3 recipients per 1h\", \"4B per 1h\", \"5 rejects per 1h\",\n"
		  "\"6 deferrals per 1h\", \"7 destinations per 1h\"} }\n",
		  &config);
	for (p = config->policy; p < config->policy + 2; p++) {
		CHECK_EQ(p->n_limits, SW_METRICS);
		for (i = 0; i < SW_METRICS; i++) {
			CHECK_EQ(p->limit[i].metric, i);
			CHECK_EQ(p->limit[i].max, i + 1);
			CHECK_EQ(p->limit[i].warn, p != config->policy);
		}
	}
	config_free(config);
}

TEST(a_percentage_that_is_wrong_is_told_what_to_write)
{
	policy_refused("limits = {\"30% rejects per 1h\"}",
		       "write \"30% rejects per 1h of at least 20 messages\"");
	policy_refused("warn = {\"5% deferrals per 2d\"}",
		       "write \"5% deferrals per 2d of at least 20 messages\"");
	policy_refused("limits = {\"100% rejects per 1h of at least 20 messages\"}",
		       "out of range: write 1% to 99%");
	policy_refused("limits = {\"0% rejects per 1h of at least 20 messages\"}", "1% to 99%");
	policy_refused("limits = {\"30% rejects per 1h of at least 65536 messages\"}",
		       "1 to 65535 messages");
	policy_refused("limits = {\"30% recipients per 1h of at least 20 messages\"}",
		       "write \"30% rejects per 1h of at least 20 messages\", or deferrals");
	policy_refused("limits = {\"30% rejects per 1h of at least 20 messages\",\n"
		       "\"40% rejects per 60m of at least 9 messages\"}",
		       "is the second of rejects in this time");
}

TEST(a_number_and_a_percentage_of_one_time_are_two)
{
	struct config *config;

	must_load("",
		  "policy x { limits = {\"25 rejects per 1h\",\n"
		  "\"30% rejects per 1h of at least 20 messages\"} }",
		  &config);
	CHECK_EQ(config->policy[0].n_limits, 2);
	CHECK_EQ(config->policy[0].n_windows, 3);
	config_free(config);
}

TEST(percentages_take_one_window_more_for_each_of_their_times)
{
	static const char fits[] =
		"policy x { warn = {\"1 messages per 1m\", \"1 messages per 2m\",\n"
		"\"30% rejects per 1h of at least 20 messages\",\n"
		"\"30% deferrals per 1h of at least 9 messages\"}\n"
		"limits = {\"50% rejects per 1h of at least 20 messages\",\n"
		"\"50% rejects per 1d of at least 20 messages\"";
	char text[1024];
	struct config *config;

	snprintf(text, sizeof(text), "%s} }", fits);
	must_load("", text, &config);
	CHECK_EQ(config->policy[0].n_limits, 6);
	CHECK_EQ(config->policy[0].n_windows, SW_LIMITS);
	config_free(config);
	snprintf(text, sizeof(text), "%s,\n\"1 messages per 3m\"} }", fits);
	refused("", text, "conf.d/10-test.conf:4", "\"1 messages per 3m\" is one too many");
	snprintf(text, sizeof(text),
		 "policy x { warn = {\"1B per 1m\", \"1B per 2m\", \"1B per 3m\", \"1B per 4m\",\n"
		 "\"1B per 5m\", \"1B per 6m\", \"1B per 7m\"}\n"
		 "limits = {\"30%% rejects per 1h of at least 20 messages\"} }");
	refused("", text, "conf.d/10-test.conf:3", "percentages take one more for each");
}

TEST(a_policy_whose_parts_do_not_fit_is_refused_where_it_begins)
{
	static const char where[] = "conf.d/10-test.conf:2";

	refused("", "\npolicy x {\naction = block\n}", where, "`action = block` without `limits`");
	refused("", "\npolicy x {\naction = block warn={\"1 connections per 1h\"}\n}", where,
		"`action = block` without `limits`");
	refused("", "\npolicy x {\nblock_for = 5m\n}", where, "without `action = block`");
	refused("", "\npolicy x {\naction = deny block_for = 5m\n}", where, "without");
	refused("", "\npolicy \"\" { users = {bob} }", where, "name is text");
	refused("", "policy a {}\npolicy a {}\n", where, "a second policy \"a\"");
}

TEST(a_ladder_of_blocks_is_read_and_checked)
{
	static const char *const wrong[] = {
		"escalate = {soon}",
		"escalate = {permanent, 2h}",
		"escalate = {1h, 1h, 1h, 1h, 1h, 1h, 1h, 1h, 1h}",
	};
	const char *where = "conf.d/10-test.conf:2";
	struct config *config =
		load("max_blocks_per_hour = 7", "policy x {\nlimits = {\"1 connection"
						"s per 1h\"}\naction = block\nescalate = {2h, 24h, "
						"permanent}\nescalate_within = 30d\n}");
	char text[256];
	size_t i;

	if (!CHECK(config))
		return;
	CHECK_EQ(config->max_blocks_per_hour, 7);
	CHECK_EQ(config->policy[0].n_escalate, 3);
	CHECK_EQ(config->policy[0].escalate_ns[0], 7200ULL * 1000000000);
	CHECK_EQ(config->policy[0].escalate_ns[2], 0);
	CHECK_EQ(config->policy[0].escalate_within_ns, 30ULL * 86400 * 1000000000);
	config_free(config);
	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		snprintf(text, sizeof(text), "policy x {\n%s\n}", wrong[i]);
		config = load("", text);
		CHECK(!config);
		CHECK_CONTAINS(told.error[0], where);
		CHECK_CONTAINS(told.error[0], "`escalate`");
	}
	config = load("", "policy x {\nescalate = {}\n}");
	CHECK(!config);
	refused("", "\npolicy x {\nescalate = {2h}\n}", where, "without `action = block`");
	refused("", "\npolicy x {\nescalate_within = 2h\n}", where, "without `escalate`");
	setting_refused("max_blocks_per_hour = many", "write a number from 0");
}

TEST(what_is_not_built_yet_is_refused_and_says_so)
{
	static const char *const settings[] = { "inside = {}", "inside_hook = auto",
						"exempt { sources = {} }" };
	static const char *const policies[] = {
		"sources = {}",	      "accounts = {}",	   "mail_to = {}",  "exec = /x",
		"roads = {sendmail}", "roads = {account}", "subject = ip",  "subject = account",
		"subject = domain",   "action = defer",	   "action = hold",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(settings); i++)
		setting_refused(settings[i], "is not built yet: ");
	for (i = 0; i < ARRAY_SIZE(policies); i++)
		policy_refused(policies[i], "is not built yet: ");
}

TEST(units_and_dirs_are_read)
{
	struct config *config;
	struct policy_spec *p;

	must_load("site_roots = {\"/srv/*/web\"}\nexempt { units = {\"docker-4f1a*.scope\"} }",
		  "policy a { units = {\"docker-*.scope\", \"/system.slice/x.service\"}\n"
		  "dirs = {\"/var/www/*/uploads\"} subject = unit }\npolicy b { subject = dir }",
		  &config);
	p = &config->policy[0];
	CHECK_EQ(config->site_roots.n, 1);
	CHECK_STR(config->site_roots.word[0], "/srv/*/web");
	CHECK_STR(config->exempt_units.word[0], "docker-4f1a*.scope");
	CHECK_STR(p->units.word[1], "/system.slice/x.service");
	CHECK_STR(p->dirs.word[0], "/var/www/*/uploads");
	CHECK_EQ(p->subject, SW_KIND_UNIT);
	CHECK_EQ(p[1].subject, SW_KIND_DIR);
	CHECK_EQ(p[1].action, SW_ACTION_DENY);
	CHECK_EQ(told.n_warnings, 0);
	config_free(config);
}

TEST(site_roots_have_a_default_and_may_be_none)
{
	struct config *config;

	must_load("", "", &config);
	CHECK_EQ(config->site_roots.n, 3);
	CHECK_STR(config->site_roots.word[1], "/var/www/*");
	config_free(config);
	must_load("site_roots = {}", "", &config);
	CHECK_EQ(config->site_roots.n, 0);
	config_free(config);
}

TEST(globs_that_mean_nothing_are_refused_with_what_to_write)
{
	setting_refused("site_roots = {\"www/*\"}", "is a relative path: write one that begins");
	setting_refused("site_roots = {\"/\"}", "is every folder");
	setting_refused("site_roots = {\"/var/www/\"}", "ends with a slash: write it without");
	setting_refused("site_roots = {\"/var//www\"}", "write one");
	setting_refused("site_roots = {\"/var/../etc\"}", "write the path itself");
	setting_refused("site_roots = {\"/var/www/**\"}", "write one * for each level");
	setting_refused("site_roots = {\"\"}", "an empty word");
	setting_refused("exempt { units = {\"*\"} }", "is every cgroup");
	policy_refused("dirs = {\"~/www\"}", "is a relative path");
	policy_refused("units = {\"/sys/fs/cgroup/x\"}", "below the mount of cgroup2");
	policy_refused("units = {\"machine.slice/*\"}", "write the whole one, from a / on");
	policy_refused("units = {\"/\"}", "is every cgroup: leave `units` away");
	policy_refused("units = {\"/a/./b\"}", "write the path itself");
}

TEST(to_block_a_folder_is_warned_of)
{
	struct config *config;

	must_load("",
		  "policy x { subject = dir action = block\n"
		  "limits = {\"5 connections per 1h\"} }",
		  &config);
	if (CHECK_EQ(told.n_warnings, 1)) {
		CHECK_CONTAINS(told.warning[0], "10-test.conf:1: `subject = dir` with");
		CHECK_CONTAINS(told.warning[0], "write `action = deny`");
	}
	config_free(config);
}

TEST(an_unknown_key_is_refused_and_the_nearest_is_named)
{
	setting_refused("mood = observe", "unknown key `mood`: did you mean `mode`?");
	setting_refused("pindir = /x", "did you mean `pin_dir`?");
	setting_refused("exempt { user = {root} }", "did you mean `users`?");
	setting_refused("xyzzy = 1", "unknown key `xyzzy`: remove it");
	setting_refused("include(\"/etc/passwd\")", "unknown key `include`");
	policy_refused("limts = {}", "did you mean `limits`?");
	policy_refused("user = {bob}", "did you mean `users`?");
}

TEST(what_stands_in_the_wrong_file_is_refused)
{
	refused("\npolicy x { }", "", "smtpwall.conf:2", "conf.d/NN-name.conf");
	refused("", "\nmode = enforce", "conf.d/10-test.conf:2", "is a setting, not a policy");
	refused("", "\ninside = {}", "conf.d/10-test.conf:2", "is not built yet");
}

TEST(what_is_not_closed_is_refused_with_the_line_where_it_opens)
{
	refused("\nexempt {\n users = {root}\n\n", "", "smtpwall.conf:2", "not closed: write }");
	refused("\n\nports = {25,\n 26\n", "", "smtpwall.conf:3", "not closed: write }");
	refused("\nexempt {\n users = {root}\n", "policy x {}", "smtpwall.conf:2", "not closed");
	refused("", "policy x {\n users = {bob}\n", "conf.d/10-test.conf:1", "not closed");
	refused("", "policy x {\n users = {bob}\npolicy y {\n}\n", "conf.d/10-test.conf:3",
		"inside of the policy that opens at");
	refused("exempt {\nmode = observe\n", "", "smtpwall.conf:2", "inside of the exempt");
	refused("mode = \"observe\npin_dir = \"/x\"\n", "", "smtpwall.conf:1", "write its quote");
	refused("\n/* mode = observe\n\n", "", "smtpwall.conf:2", "write */");
	setting_refused("}", "unexpected closing brace");
	setting_refused("exempt { users = { { } } }", "too many {");
}

TEST(what_the_parser_would_drop_or_expand_is_refused)
{
	setting_refused("exempt { users = {cust*} }", "write the word in \"\"");
	setting_refused("relays = {10.0.0.0/}", "write the word in \"\"");
	setting_refused("pin_dir = ${HOME}", "variables are not known");
	setting_refused("pin_dir = \"/${HOME}\"", "variables are not known");
	setting_refused("pin_dir = \"/\\x41\"", "backslash");
	setting_refused("pin_dir = \"/\\777\"", "backslash");
	setting_refused("mode = ob\001serve", "UTF-8");
	setting_refused("mode = \xff", "UTF-8");
	setting_refused("pin_dir = \"/\x1b[2J\"", "UTF-8");
	setting_refused("pin_dir = \"/\xc2\x9b\"", "UTF-8");
	setting_refused("pin_dir = \"/\xed\xa0\x80\"", "UTF-8");
}

TEST(comments_may_stand_anywhere_and_lines_are_counted_right)
{
	refused("# a\n// b \" {\n/* c\n { */ mode = x\n", "", "smtpwall.conf:4",
		"observe or enforce");
	refused("ports = {25, # smtp\n 587 /* s */,\n70000}", "", "smtpwall.conf:1", "70000");
}

TEST(quotes_and_letters_of_all_languages_are_text)
{
	struct config *config;

	must_load("", "policy \"Kundenvertr\xc3\xa4ge \\\"A\\\" \\\\\" { description = '# no' }",
		  &config);
	CHECK_STR(config->policy[0].name, "Kundenvertr\xc3\xa4ge \"A\" \\");
	CHECK_STR(config->policy[0].description, "# no");
	config_free(config);
}

TEST(nul_bytes_are_refused)
{
	struct config *config = NULL;

	findings_clear(&told);
	write_file(main_file, "mode = observe\nports = {25}\0}\n", 30);
	CHECK_EQ(config_load(main_file, &told, &config), -EINVAL);
	if (CHECK_EQ(told.n_errors, 1))
		CHECK_CONTAINS(told.error[0], "smtpwall.conf:2: this is no text");
}

TEST(exempt_lists_add_up_and_the_main_file_replaces_the_default)
{
	struct config *config;

	must_load("exempt { groups = {a} }\nexempt { groups = {b} }",
		  "exempt { users = {backup} groups = {c} }\nexempt { mail_servers = none }",
		  &config);
	CHECK_EQ(config->exempt_users.n, 2);
	CHECK_STR(config->exempt_users.word[0], "root");
	CHECK_STR(config->exempt_users.word[1], "backup");
	CHECK_CONTAINS(config->exempt_users.at[1], "10-test.conf:1");
	CHECK_EQ(config->exempt_groups.n, 3);
	CHECK(!config->mail_servers_auto);
	config_free(config);
	must_load("exempt { users = {alice} }", "", &config);
	CHECK_EQ(config->exempt_users.n, 1);
	CHECK_STR(config->exempt_users.word[0], "alice");
	config_free(config);
}

static void conf_d(const char *name, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/conf.d/%s", dir, name);
	if (text)
		write_text(path, text);
	else
		unlink(path);
}

TEST(policies_come_in_the_order_of_names_and_other_files_are_skipped_with_a_warning)
{
	static const char *const skipped[] = { "20-b.conf~", "20-b.conf.dpkg-dist",
					       ".20-b.conf.swp", "b.conf", "README" };
	struct config *config;
	size_t i;

	conf_d("90-a.conf", "policy last {}");
	conf_d("20-b.conf", "policy second {}");
	for (i = 0; i < ARRAY_SIZE(skipped); i++)
		conf_d(skipped[i], "policy never {}");
	must_load("", "policy first {}", &config);
	if (CHECK_EQ(config->n_policies, 3)) {
		CHECK_STR(config->policy[0].name, "first");
		CHECK_STR(config->policy[1].name, "second");
		CHECK_STR(config->policy[2].name, "last");
	}
	CHECK_EQ(told.n_warnings, ARRAY_SIZE(skipped));
	config_free(config);
	for (i = 0; i < ARRAY_SIZE(skipped); i++)
		conf_d(skipped[i], NULL);
	refused("", "policy second {}", "conf.d/20-b.conf:1", "the first is at");
	conf_d("90-a.conf", NULL);
	conf_d("20-b.conf", NULL);
}

TEST(there_are_only_so_many_policies_and_limits)
{
	static char text[16384];
	struct config *config;
	size_t n = 0, i;

	for (i = 0; i < SW_POLICIES; i++)
		n += sprintf(text + n, "policy p%zu {}\n", i);
	must_load("", text, &config);
	CHECK_EQ(config->n_policies, SW_POLICIES);
	config_free(config);
	strcpy(text + n, "policy more {}");
	refused("", text, "conf.d/10-test.conf:64", "one policy too many");

	n = sprintf(text, "policy x { warn = {");
	for (i = 0; i < SW_LIMITS; i++)
		n += sprintf(text + n, "\"1 connections per %zus\", ", i + 1);
	strcpy(text + n, "} }");
	must_load("", text, &config);
	CHECK_EQ(config->policy[0].n_limits, SW_LIMITS);
	config_free(config);
	strcpy(text + n, "\"1 connections per 1h\"} }");
	refused("", text, "conf.d/10-test.conf:1", "one too many");
}

static void cannot_be_read(const char *path, int error, const char *what)
{
	struct config *config = NULL;

	findings_clear(&told);
	CHECK_EQ(config_load(path, &told, &config), error);
	if (CHECK_EQ(told.n_errors, 1))
		CHECK_CONTAINS(told.error[0], what);
}

TEST(what_is_no_file_does_not_hang)
{
	char fifo[64];

	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	CHECK(!mkfifo(fifo, 0600));
	cannot_be_read(fifo, -EINVAL, "no regular file");
	cannot_be_read("/dev/zero", -EINVAL, "no regular file");
	cannot_be_read(dir, -EISDIR, "Is a directory");
	cannot_be_read("/nonexistent/smtpwall.conf", -ENOENT, "No such file");
	conf_d("10-test.conf", NULL);
	CHECK(!mkdir(policy_file, 0700));
	write_text(main_file, "");
	cannot_be_read(main_file, -EINVAL, "10-test.conf: cannot be read: Is a directory");
	rmdir(policy_file);
}

static unsigned int seed = 1;

static void random_bytes(char *data, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		data[i] = rand_r(&seed) >> 8;
}

TEST(ten_megabytes_of_noise_are_one_clear_line)
{
	size_t length = 10000000;
	_cleanup_free_ char *data = malloc(length);

	random_bytes(data, length);
	write_file(main_file, data, length);
	cannot_be_read(main_file, -EINVAL, "smtpwall.conf:");
	memset(data, 'a', length);
	write_file(main_file, data, length);
	cannot_be_read(main_file, -EINVAL, "smtpwall.conf:1: a word of more than 4096 bytes");
	memset(data, '{', length);
	write_file(main_file, data, length);
	cannot_be_read(main_file, -EINVAL, "smtpwall.conf:1: too many {");
}

/* Loads, or refuses with errors that all say where. Also as the tolerant reader reads it. */
static bool loads_or_tells(const char *path)
{
	struct config *config = NULL;
	char *pin_dir, *state_dir;
	int error;
	size_t i;
	bool good;

	findings_clear(&told);
	error = config_load(path, &told, &config);
	good = CHECK_EQ(!error, !told.n_errors);
	for (i = 0; i < told.n_errors; i++)
		good = CHECK_EQ(fnmatch("*.conf:[0-9]*: ?*", told.error[i], 0), 0) && good;
	for (i = 0; !good && i < told.n_errors; i++)
		printf("# %s\n", told.error[i]);
	config_free(config);
	if (!CHECK_EQ(config_paths(path, &pin_dir, &state_dir), 0))
		return false;
	good = CHECK_EQ(*pin_dir, '/') && CHECK_EQ(*state_dir, '/') && good;
	free(pin_dir);
	free(state_dir);
	return good;
}

#define OF_FLOOR "\"30% rejects per 1h of at least 20 messages\""
#define OF_NOTHING "\"30% rejects per 1h\""

TEST(noise_of_the_words_of_the_language_loads_or_tells)
{
	static const char *const words[] = {
		"policy",  "exempt",	"{",	  "}",	      "{",	"}",
		"=",	   "+=",	"=",	  ",",	      "\"x\"",	"\"",
		"'",	   "\n",	"\n",	  "users",    "limits", "\"1 connections per 1h\"",
		"block",   "action",	"mode",	  "/*",	      "*/",	"#",
		"//",	   "\\",	"$",	  "${a}",     "(",	")",
		"pin_dir", "/x",	"ports",  "25",	      "warn",	"\xc3\xa4",
		"\xff",	   "|",		"users=", "a|b=c",    "deny",	"root",
		"unknown", "__unknown", OF_FLOOR, OF_NOTHING,
	};
	int round, i;

	for (round = 0; round < 3000; round++) {
		char text[2048] = "";

		for (i = rand_r(&seed) % 60; i > 0; i--) {
			strcat(text, words[rand_r(&seed) % ARRAY_SIZE(words)]);
			if (rand_r(&seed) % 3)
				strcat(text, " ");
		}
		write_text(main_file, round % 2 ? text : "");
		write_text(policy_file, round % 2 ? "" : text);
		if (!loads_or_tells(main_file)) {
			printf("# %s\n", text);
			break;
		}
	}
	unlink(policy_file);
}

TEST(noise_of_bytes_loads_or_tells)
{
	char data[300];
	int round;

	for (round = 0; round < 1000; round++) {
		size_t length = rand_r(&seed) % sizeof(data);

		random_bytes(data, length);
		write_file(main_file, data, length);
		if (!loads_or_tells(main_file))
			break;
	}
}

/* ---- the shipped files ---- */

static const char *const shipped[] = { "smtpwall.conf",
				       "conf.d/10-containers.conf",
				       "conf.d/20-web.conf",
				       "conf.d/30-customers.conf",
				       "conf.d/80-submission.conf",
				       "conf.d/90-everyone.conf" };

TEST(the_shipped_files_load_and_observe)
{
	struct config *config = NULL;
	size_t i;

	findings_clear(&told);
	CHECK_EQ(config_load(SHIPPED "smtpwall.conf", &told, &config), 0);
	CHECK_EQ(told.n_errors, 0);
	CHECK_EQ(told.n_warnings, 0);
	if (!config)
		return;
	CHECK_EQ(config->mode, SW_MODE_OBSERVE);
	if (CHECK_EQ(config->n_policies, 6)) {
		CHECK_STR(config->policy[0].name, "containers");
		CHECK_EQ(config->policy[0].subject, SW_KIND_UNIT);
		CHECK_STR(config->policy[1].name, "shared web users");
		CHECK_EQ(config->policy[1].subject, SW_KIND_DIR);
		CHECK_EQ(config->policy[2].subject, SW_KIND_UID);
		CHECK_EQ(config->policy[3].action, SW_ACTION_BLOCK);
	}
	/* All of them warn before they refuse, and only one blocks. */
	for (i = 0; i < config->n_policies; i++) {
		CHECK(config->policy[i].n_limits && config->policy[i].limit[0].warn);
		CHECK(i == 3 || config->policy[i].action == SW_ACTION_DENY);
	}
	config_free(config);
}

TEST(what_is_commented_out_in_the_shipped_file_is_the_default)
{
	_cleanup_free_ char *text = NULL;
	struct config *config;
	size_t length, i;

	if (!CHECK_EQ(text_read(SHIPPED "smtpwall.conf", &text, &length), 0))
		return;
	for (i = 0; i + 2 < length; i++) {
		char *line = text + i;

		if ((i == 0 || line[-1] == '\n') && !fnmatch("# [a-z]*", line, 0) &&
		    strcspn(line + 2, " ") + 2 < strcspn(line, "\n") &&
		    !strncmp(line + 2 + strcspn(line + 2, " "), " = ", 3))
			line[0] = ' ';
	}
	must_load(text, "", &config);
	CHECK_EQ(config->n_ports, 3);
	CHECK_STR(config->interfaces.word[0], "auto");
	CHECK(config->interfaces.n == 1 && !strstr(config->interfaces.where, "/smtpwall.conf:0"));
	CHECK_CONTAINS(config->relays.where, "smtpwall.conf:");
	CHECK_STR(config->relays.word[0], "private");
	CHECK_EQ(config->ipv6_prefix, 64);
	CHECK_EQ(config->max_users, 65536);
	CHECK_STR(config->cgroup, "auto");
	CHECK_STR(config->pin_dir, "/sys/fs/bpf/smtpwall");
	CHECK_STR(config->state_dir, "/var/lib/smtpwall");
	config_free(config);
}

/* The line without a character, twice, not at all, cut off there, or with another one there. */
static void mutate(char *out, const char *text, size_t line, size_t end, size_t at, int how)
{
	static const char others[] = "\"{}=,#x\n";

	switch (how) {
	case 0:
		sprintf(out, "%.*s%s", (int)at, text, text + at + 1);
		break;
	case 1:
		sprintf(out, "%.*s%s", (int)end, text, text + line);
		break;
	case 2:
		sprintf(out, "%.*s%s", (int)line, text, text + end);
		break;
	case 3:
		sprintf(out, "%.*s%s", (int)at, text, text + end);
		break;
	default:
		sprintf(out, "%.*s%c%s", (int)at, text, others[at % 8], text + at + 1);
	}
}

static void mutate_file(const char *text, const char *path)
{
	_cleanup_free_ char *out = malloc(2 * strlen(text) + 16);
	size_t line, end, at;
	int how;

	for (line = 0; text[line]; line = end) {
		end = line + strcspn(text + line, "\n") + 1;
		for (how = 0; text[line] != '#' && how < 5; how++) {
			for (at = line; at < end; at++) {
				mutate(out, text, line, end, at, how);
				write_text(path, out);
				if (!loads_or_tells(main_file)) {
					printf("# %s\n", out);
					return;
				}
				if (how == 1 || how == 2)
					break;
			}
		}
	}
}

TEST(every_line_of_the_shipped_files_may_be_mutilated)
{
	size_t i, length;

	for (i = 0; i < ARRAY_SIZE(shipped); i++) {
		_cleanup_free_ char *text = NULL;
		char path[128];

		snprintf(path, sizeof(path), SHIPPED "%s", shipped[i]);
		if (!CHECK_EQ(text_read(path, &text, &length), 0))
			return;
		write_text(main_file, "");
		mutate_file(text, i ? policy_file : main_file);
	}
	unlink(policy_file);
}

/* ---- config_paths ---- */

static void paths(const char *text, const char *pin_dir, const char *state_dir)
{
	char *pin, *state;

	write_text(main_file, text);
	if (!CHECK_EQ(config_paths(main_file, &pin, &state), 0))
		return;
	CHECK_STR(pin, pin_dir);
	CHECK_STR(state, state_dir);
	free(pin);
	free(state);
}

TEST(the_paths_of_a_broken_file_are_found)
{
	static const char pin[] = "/sys/fs/bpf/smtpwall", state[] = "/var/lib/smtpwall";

	paths("", pin, state);
	paths("pin_dir = /p\nstate_dir = \"/s\"\n", "/p", "/s");
	paths("pin_dir = /p\nmode = nonsense\nports = {70000}\n", "/p", state);
	paths("foo = {1, 2}\nbar { baz = {3} }\npolicy \"x\" {}\npin_dir = /p\n", "/p", state);
	paths("pin_dir = /p\nexempt {\n users = {root}\n", "/p", state);
	paths("pin_dir = /p\nmode = \"obs\nstate_dir = /s\n", "/p", "/s");
	paths("mode = \n= = }\n  state_dir = /s\npin_dir = '/p' mode = x", "/p", "/s");
	paths("# pin_dir = /q\n/* pin_dir = /q\n */\nfoo = bar\nbar { a = b }\npin_dir=/p#", "/p",
	      state);
	paths("pin_dir = relative\nstate_dir = {\n", pin, state);
	paths("pin_dir = /p pin_dir = /q\n", "/q", state);
	paths("\xff\xff", pin, state);
	unlink(main_file);
	paths("", pin, state);
}

TEST(findings_that_nobody_would_read_are_not_kept)
{
	struct findings f = {};
	int i;

	for (i = 0; i < 1000; i++)
		findings_add(&f, i % 2, "%d", i);
	CHECK_EQ(f.n_errors, 101);
	CHECK_STR(f.error[0], "1");
	CHECK_CONTAINS(f.error[100], "and more");
	CHECK_EQ(f.n_warnings, 101);
	findings_clear(&f);
	findings_clear(&told);
}
