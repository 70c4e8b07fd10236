/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "globs.h"
#include "test.h"

TEST(a_glob_with_a_slash_is_about_the_whole_path)
{
	CHECK(unit_glob_matches("/machine.slice/*", "/machine.slice/web"));
	CHECK(!unit_glob_matches("/machine.slice/*", "/machine.slice/web/init.scope"));
	CHECK(!unit_glob_matches("/machine.slice/*", "/machine.slice"));
	CHECK(!unit_glob_matches("/machine.slice/*", "/x/machine.slice/web"));
	CHECK(unit_glob_matches("/kubepods/*/pod*", "/kubepods/burstable/pod12"));
	CHECK(unit_glob_matches("/system.slice/x.service", "/system.slice/x.service"));
}

TEST(a_glob_without_a_slash_is_about_one_name)
{
	CHECK(unit_glob_matches("docker-*.scope", "/system.slice/docker-12.scope"));
	CHECK(unit_glob_matches("docker-*.scope", "/docker-12.scope"));
	CHECK(!unit_glob_matches("docker-*.scope", "/system.slice/docker-12.scope/init"));
	CHECK(!unit_glob_matches("docker-*.scope", "/docker-x/y.scope"));
	CHECK(unit_glob_matches("[[]x]", "/[x]"));
}

TEST(a_backslash_is_one)
{
	CHECK(unit_glob_matches("a\\x2db.service", "/system.slice/a\\x2db.service"));
	CHECK(!unit_glob_matches("a\\x2db.service", "/system.slice/ax2db.service"));
}

TEST(the_policies_of_all_globs_add_up)
{
	struct globs globs = {}, copy = {};

	CHECK_EQ(globs_add(&globs, "x*", 1, 0), 0);
	CHECK_EQ(globs_add(&globs, "/a/*", 2, 0), 0);
	CHECK_EQ(globs_add(&globs, "y", 4, 0), 0);
	CHECK_EQ(globs_add(&globs, "x*", 8, 1), 0);
	CHECK_EQ(globs.n, 3);
	CHECK_EQ(unit_globs_match(&globs, "/a/xyz"), 1 | 2 | 8);
	CHECK_EQ(unit_globs_match(&globs, "/b/y"), 4);
	CHECK_EQ(unit_globs_match(&globs, "/b/z"), 0);
	CHECK_EQ(globs_copy(&globs, &copy), 0);
	CHECK_EQ(copy.n, 3);
	CHECK_EQ(copy.glob[0].flags, 1);
	CHECK_EQ(copy.glob[0].set, 9);
	globs_clear(&globs);
	globs_clear(&copy);
}
