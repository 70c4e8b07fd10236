// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <linux/bpf.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clean.h"
#include "mounts.h"
#include "subject.h"
#include "test.h"

static int parse(const char *text, struct sw_subject *ret)
{
	const char *hint = NULL;
	int r = subject_parse(text, 64, "/sys/fs/cgroup", ret, &hint);

	if (r == -EINVAL)
		CHECK(hint && *hint);
	return r;
}

static const char *round_trip(const char *text, unsigned int prefix)
{
	static char out[SUBJECT_LEN];
	struct sw_subject subject;
	const char *hint;

	if (subject_parse(text, prefix, NULL, &subject, &hint) < 0)
		return "refused";
	subject_format(&subject, prefix, NULL, out);
	return out;
}

TEST(a_uid_is_read_and_written)
{
	struct sw_subject s;

	CHECK_EQ(parse("uid:1004", &s), 0);
	CHECK_EQ(s.kind, SW_KIND_UID);
	CHECK_EQ(s.uid, 1004);
	CHECK_STR(round_trip("uid:0", 64), "uid:0");
	CHECK_STR(round_trip("uid:4294967294", 64), "uid:4294967294");
	CHECK_STR(round_trip("uid:overflow", 64), "uid:overflow");
}

TEST(what_is_no_subject_is_refused_with_a_hint)
{
	static const char *const bad[] = {
		"",
		"alice",
		"1004",
		"uid:",
		"uid:-1",
		"uid:+1",
		"uid: 1",
		"uid:1 ",
		"uid:1x",
		"uid:4294967295",
		"uid:4294967296",
		"uid:18446744073709551617",
		"uid:0x10",
		"user:",
		"UID:1",
		"unit:",
		"unit:system.slice",
		"unit:/../etc",
		"unit:/a/../../etc",
		"unit:/..",
		"unit:#",
		"unit:#0",
		"unit:#-1",
		"unit:#18446744073709551616",
		"ip:",
		"ip:10.0.0",
		"ip:10.0.0.256",
		"ip:10.0.0.0/23",
		"ip:10.0.0.1/",
		"ip:10.0.0.1/032x",
		"ip:2001:db8::1/47",
		"ip:2001:db8::1/128",
		"ip:::1/-64",
		"ip:[::1]",
		"ip:1.2.3.4 ",
		"dir:/var/www",
		"account:a@b",
		"ip:01.2.3.4",
		"ip:"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	};
	struct sw_subject s = { .uid = 7 };
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (!CHECK_EQ(parse(bad[i], &s), -EINVAL))
			printf("# '%s'\n", bad[i]);
	CHECK_EQ(s.uid, 7);
}

TEST(a_user_is_found_by_name_and_one_who_does_not_exist_is_not)
{
	struct sw_subject s = { .uid = 7 };
	char *name;

	CHECK_EQ(parse("user:root", &s), 0);
	CHECK_EQ(s.uid, 0);
	CHECK_EQ(parse("user:no-such-user", &s), -ENOENT);
	name = subject_name(&s);
	CHECK_STR(name, "root");
	free(name);
	s.uid = 4242424;
	CHECK(!subject_name(&s));
	s.uid = SW_UID_OVERFLOW;
	CHECK(!subject_name(&s));
}

TEST(an_address_is_one_subject_in_every_spelling)
{
	CHECK_STR(round_trip("ip:10.8.0.7", 64), "ip:10.8.0.7");
	CHECK_STR(round_trip("ip:10.8.0.7/32", 64), "ip:10.8.0.7");
	CHECK_STR(round_trip("ip:::ffff:10.8.0.7", 64), "ip:10.8.0.7");
	CHECK_STR(round_trip("ip:2001:db8::1", 64), "ip:2001:db8::/64");
	CHECK_STR(round_trip("ip:2001:db8::/64", 64), "ip:2001:db8::/64");
	CHECK_STR(round_trip("ip:2001:db8::1", 128), "ip:2001:db8::1");
	CHECK_STR(round_trip("ip:2001:db8:ffff::1", 36), "ip:2001:db8:f000::/36");
	CHECK_STR(round_trip("ip:overflow", 64), "ip:overflow");
}

TEST(a_network_is_the_row_that_its_addresses_share)
{
	struct sw_subject s;

	CHECK_STR(round_trip("ip:10.8.0.7/24", 64), "ip:10.8.0.0/24");
	CHECK_STR(round_trip("ip:2001:db8:1:2::/48", 64), "ip:2001:db8:1::/48");
	CHECK_STR(round_trip("ip:2001:db8:1:2::/48", 128), "ip:2001:db8:1::/48");
	CHECK_STR(round_trip("ip:2001:db8::/40", 56), "ip:2001:db8::/40");
	CHECK_STR(round_trip("ip:2001:db8:1:2::/48", 48), "ip:2001:db8:1::/48");
	CHECK_EQ(parse("ip:10.8.0.7/24", &s), 0);
	CHECK_EQ(s.uid, 96 + 24);
	CHECK_EQ(parse("ip:10.8.0.7/32", &s), 0);
	CHECK_EQ(s.uid, 0);
}

TEST(a_unit_that_is_gone_keeps_its_id)
{
	struct sw_subject s;

	CHECK_STR(round_trip("unit:#18446744073709551615", 64), "unit:#18446744073709551615");
	CHECK_STR(round_trip("unit:/system.slice", 64), "refused");
	CHECK_EQ(parse("unit:/no/such/unit", &s), -ENOENT);
}

TEST(a_unit_is_found_by_path_and_by_id)
{
	char text[SUBJECT_LEN], path[512], *root = NULL;
	struct sw_subject s;
	const char *hint;
	struct stat st;

	if (geteuid() != 0 || cgroup2_mount(&root) < 0)
		return skip("needs root and cgroup2");
	snprintf(path, sizeof(path), "%s/smtpwall-unit-test-%d", root, getpid());
	if (mkdir(path, 0755) < 0 || stat(path, &st) < 0) {
		free(root);
		return skip("cannot make a cgroup");
	}
	CHECK_EQ(subject_parse("unit:/", 64, root, &s, &hint), 0);
	subject_format(&s, 64, root, text);
	CHECK_STR(text, "unit:/");
	snprintf(text, sizeof(text), "unit:/smtpwall-unit-test-%d/", getpid());
	CHECK_EQ(subject_parse(text, 64, root, &s, &hint), 0);
	CHECK_EQ(s.unit, st.st_ino);
	subject_format(&s, 64, root, text);
	CHECK_STR(text + strlen("unit:"), path + strlen(root));
	rmdir(path);
	subject_format(&s, 64, root, text);
	CHECK_CONTAINS(text, "unit:#");
	snprintf(path, sizeof(path), "%s/smtpwall-\x1b]0;-%d", root, getpid());
	if (mkdir(path, 0755) == 0) {
		stat(path, &st);
		s.unit = st.st_ino;
		subject_format(&s, 64, root, text);
		CHECK_CONTAINS(text, "unit:#");
		rmdir(path);
	}
	free(root);
}

static const char *cleaned(const char *text)
{
	static char out[128];

	snprintf(out, sizeof(out), "%s", text);
	clean(out);
	CHECK(is_clean(out));
	return out;
}

TEST(text_of_strangers_moves_no_cursor)
{
	CHECK_STR(cleaned("php-fpm8.2"), "php-fpm8.2");
	CHECK_STR(cleaned("J\xc3\xbcrgen \xe2\x82\xac \xf0\x9f\x93\xa7"),
		  "J\xc3\xbcrgen \xe2\x82\xac \xf0\x9f\x93\xa7");
	CHECK_STR(cleaned("\x1b[2Jx\n\r\x07\x7f"), "?[2Jx????");
	CHECK_STR(cleaned("a\xc2\x9b"
			  "31m"),
		  "a?31m"); /* CSI of the second set */
	CHECK_STR(cleaned("\xe2\x80\xae"
			  "exe"),
		  "?exe"); /* right to left from here */
	CHECK_STR(cleaned("\xff\xc3"), "??");
	CHECK_STR(cleaned("\xc0\x9b\xed\xa0\x80"), "?????"); /* overlong, surrogate */
	CHECK_EQ(clean_width("J\xc3\xbcrgen"), 6);
}
