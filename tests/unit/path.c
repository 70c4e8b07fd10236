/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>

#include <smtpwall/path.h>

#include "path.h"
#include "test.h"

static struct sw_path walked(const char *names, size_t length, unsigned int count)
{
	struct sw_path path = { .len = length, .count = count };

	memcpy(path.names, names, length);
	return path;
}

/* As the kernel folds: from the leaf to the root. */
static uint64_t fold(uint64_t hash, const char *part)
{
	__u64 octets[SW_PATH_PART / 8] = {};

	memcpy(octets, part, strlen(part));
	return sw_path_hash_part(hash, octets);
}

TEST(a_unit_is_hashed_from_its_leaf_to_the_root)
{
	uint64_t hash = fold(fold(SW_PATH_HASH_START, "x.service"), "system.slice");

	CHECK(unit_hash("/system.slice/x.service") == hash);
	CHECK(unit_hash("/x.service/system.slice") != hash);
	CHECK(unit_hash("/system.slicex.service") != hash);
	CHECK(unit_hash("//system.slice//x.service/") == hash);
	CHECK(unit_hash("/") == SW_PATH_HASH_START);
	CHECK(unit_hash("") == SW_PATH_HASH_START);
}

TEST(a_long_name_is_hashed_in_two_parts)
{
	char path[300] = "/", first[128] = "";

	memset(path + 1, 'a', 127);
	memset(first, 'a', 127);
	CHECK(unit_hash(path) == fold(SW_PATH_HASH_START, first));
	path[128] = 'b';
	CHECK(unit_hash(path) == fold(fold(SW_PATH_HASH_START, first), "b"));
	memset(path + 128, 'b', 128); /* 255 octets: more than any name has */
	CHECK(unit_hash(path) != fold(fold(SW_PATH_HASH_START, first), "b"));
}

TEST(a_path_is_written_from_the_root)
{
	struct sw_path path = walked("shop\0www\0var\0", 13, 3);
	char text[PATH_TEXT_LEN];

	CHECK_EQ(path_text(&path, 0, text, sizeof(text)), 13);
	CHECK_STR(text, "/var/www/shop");
	CHECK_EQ(path_text(&path, 2, text, sizeof(text)), 4);
	CHECK_STR(text, "/var");
	CHECK_EQ(path_text(&path, 3, text, sizeof(text)), 1);
	CHECK_STR(text, "/");
	CHECK_EQ(path_text(&path, 99, text, sizeof(text)), 1);
	path.flags = SW_PATH_TRUNCATED;
	CHECK_EQ(path_text(&path, 1, text, sizeof(text)), 11);
	CHECK_STR(text, ".../var/www");
}

TEST(a_path_that_lies_about_itself_is_read_no_further_than_it_is)
{
	struct sw_path path = {};
	char text[PATH_TEXT_LEN];

	memset(path.names, 'a', sizeof(path.names));
	path.len = 65535;
	path.count = 255;
	CHECK_EQ(path_text(&path, 0, text, sizeof(text)), SW_PATH_LEN + 1);
	CHECK_EQ(path_text(&path, 0, text, 64), -ENAMETOOLONG);
	CHECK_EQ(path_text(&path, 0, text, 0), -ENAMETOOLONG);
	memset(path.names, 0, sizeof(path.names));
	CHECK_EQ(path_text(&path, 0, text, sizeof(text)), SW_PATH_NAMES);
}
