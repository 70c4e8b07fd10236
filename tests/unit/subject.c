// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "clean.h"
#include "path.h"
#include "subject.h"
#include "test.h"

/* ---- in place of the maps: one name is known, and folders are what stat(2) says ---- */

static struct name_row known;
static __u32 generation; /* of every folder */

int maps_name(struct maps *maps, const struct sw_subject *subject, struct sw_name *ret)
{
	(void)maps;
	if (subject_compare(subject, &known.subject))
		return -ENOENT;
	*ret = known.name;
	return 0;
}

int maps_names(struct maps *maps, enum sw_kind kind, struct name_row **ret, size_t *ret_n)
{
	(void)maps;
	*ret_n = known.subject.kind == kind;
	*ret = malloc(sizeof(known));
	**ret = known;
	return 0;
}

int maps_name_set(struct maps *maps, const struct sw_subject *subject, const struct sw_name *name)
{
	(void)maps;
	known = (struct name_row){ *subject, *name };
	return 0;
}

int maps_where(struct maps *maps, int fd, struct sw_dir *ret)
{
	struct stat st;

	(void)maps;
	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = (struct sw_dir){ .inode = st.st_ino,
				.device = major(st.st_dev) << 20 | minor(st.st_dev),
				.generation = generation };
	return 0;
}

static const struct subject_names plain = { .ipv6_prefix = 64 };
static const struct subject_names mapped = { .maps = (void *)&known, .ipv6_prefix = 64 };

/* ---- */

static int parse_by(const struct subject_names *names, const char *text, struct sw_subject *ret)
{
	const char *hint = NULL;
	int r = subject_parse(names, text, ret, &hint);

	if (r == -EINVAL)
		CHECK(hint && *hint);
	return r;
}

static int parse(const char *text, struct sw_subject *ret)
{
	return parse_by(&plain, text, ret);
}

static const char *written(const struct subject_names *names, const struct sw_subject *subject)
{
	static char out[SUBJECT_LEN];

	subject_format(names, subject, out);
	return out;
}

static const char *round_trip(const char *text, unsigned int prefix)
{
	const struct subject_names names = { .ipv6_prefix = prefix };
	struct sw_subject subject;

	return parse_by(&names, text, &subject) < 0 ? "refused" : written(&names, &subject);
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
		"unit:#0000000000000000",
		"unit:#10000000000000000",
		"unit:#0xab",
		"unit:/system.slice/.",
		"unit:/./a",
		"dir:",
		"dir:var/www",
		"dir:~",
		"dir:#",
		"dir:#8:1",
		"dir:#8:1/",
		"dir:#8:1/0",
		"dir:#8:1/-1",
		"dir:#8: 1/2",
		"dir:#8:1/2x",
		"dir:#4096:1/2",
		"dir:#8:1/2/",
		"dir:#8:1/2/-1",
		"dir:#8:1/2/4294967296",
		"dir:#8:1/2/3/4",
		"dir:#8:1048576/2",
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
	name = subject_name(&plain, &s);
	CHECK_STR(name, "root");
	free(name);
	s.uid = 4242424;
	CHECK(!subject_name(&plain, &s));
	s.uid = SW_UID_OVERFLOW;
	CHECK(!subject_name(&plain, &s));
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

/* ---- units ---- */

static void call(struct sw_subject subject, const char *deepest_first, size_t size, __u32 skip,
		 __u8 flags)
{
	known = (struct name_row){ .subject = subject, .name = { .skip = skip } };
	memcpy(known.name.path.names, deepest_first, size);
	known.name.path.len = size;
	known.name.path.flags = flags;
	for (size_t i = 0; i < size; i++)
		known.name.path.count += !deepest_first[i];
}
#define CALL(subject, names, skip, flags) call(subject, names, sizeof(names) - 1, skip, flags)

TEST(a_unit_is_the_hash_of_its_path_and_need_not_exist)
{
	struct sw_subject s, other;

	CHECK_EQ(parse("unit:/system.slice/x.service", &s), 0);
	CHECK_EQ(s.unit, unit_hash("/system.slice/x.service"));
	CHECK_EQ(parse("unit:/system.slice//x.service/", &other), 0);
	CHECK_EQ(other.unit, s.unit);
	CHECK_EQ(parse("unit:/system.slice/..x/y..", &other), 0);
	CHECK_STR(round_trip("unit:/", 64), "unit:/");
	CHECK_STR(round_trip("unit:#00000000deadbeef", 64), "unit:#00000000deadbeef");
	CHECK_STR(round_trip("unit:#deadbeef", 64), "unit:#00000000deadbeef");
}

TEST(a_unit_has_its_path_where_that_has_its_hash_and_moves_no_cursor)
{
	struct sw_subject s;
	char *name;

	parse("unit:/system.slice/x.service", &s);
	CALL(s, "sub\0x.service\0system.slice\0", 1, 0);
	CHECK_STR(written(&mapped, &s), "unit:/system.slice/x.service");
	name = subject_name(&mapped, &s);
	CHECK_STR(name, "x.service");
	free(name);
	CALL(s, "a\0b\0x.service\0system.slice\0", 0, 0); /* of a cgroup below it */
	CHECK_STR(written(&mapped, &s), "unit:/system.slice/x.service");
	CALL(s, "y.service\0system.slice\0", 1, 0);
	CHECK_CONTAINS(written(&mapped, &s), "unit:#");
	parse("unit:/a\x1b[2J", &s);
	CALL(s, "a\x1b[2J\0", 0, 0);
	CHECK_CONTAINS(written(&mapped, &s), "unit:#");
	name = subject_name(&mapped, &s);
	CHECK_STR(name, "a\x1b[2J"); /* who shows it cleans it */
	free(name);
}

/* ---- folders ---- */

static char folder[64];

/* A folder of its own for each test; "dir:…" of it is `text`. */
static bool make_folder(char *text, size_t size, struct sw_subject *ret)
{
	snprintf(folder, sizeof(folder), "/tmp/swl-subject.XXXXXX");
	if (!mkdtemp(folder))
		return test_fail(__FILE__, __LINE__, "cannot make a folder");
	snprintf(text, size, "dir:%s", folder);
	return CHECK_EQ(parse_by(&mapped, text, ret), 0);
}

static struct sw_name named(const char *path)
{
	const struct sw_subject anybody = { .kind = SW_KIND_UNIT };
	char text[SW_PATH_LEN + 16];

	snprintf(text, sizeof(text), "unit:%s", path);
	subject_note(&mapped, text, &anybody);
	return known.name;
}

TEST(a_folder_is_written_by_its_path_while_that_leads_to_it)
{
	char text[96], moved[96];
	struct sw_subject s;

	if (!make_folder(text, sizeof(text), &s))
		return;
	CHECK_EQ(s.kind, SW_KIND_DIR);
	CHECK(s.dir.inode != 0);
	known = (struct name_row){ s, named(folder) };
	known.subject = s;
	CHECK_STR(written(&mapped, &s), text);
	snprintf(moved, sizeof(moved), "%s.moved", folder);
	rename(folder, moved);
	CHECK_CONTAINS(written(&mapped, &s), "dir:#");
	mkdir(folder, 0700); /* its successor */
	CHECK_CONTAINS(written(&mapped, &s), "dir:#");
	rmdir(folder);
	CHECK_STR(round_trip(written(&mapped, &s), 64), written(&mapped, &s));
	rmdir(moved);
}

TEST(a_folder_that_is_gone_is_found_by_what_it_was_called)
{
	struct sw_subject s, found;
	char text[96], *name;

	if (!make_folder(text, sizeof(text), &s))
		return;
	known.name = named(folder);
	known.subject = s;
	known.name.path.flags = SW_PATH_DELETED;
	rmdir(folder);
	CHECK_EQ(parse_by(&mapped, text, &found), 0);
	CHECK(!subject_compare(&s, &found));
	name = subject_name(&mapped, &s);
	CHECK_CONTAINS(name, " (deleted)");
	free(name);
	CHECK_EQ(parse_by(&mapped, "dir:/no/such/folder", &found), -ENOENT);
	CHECK_EQ(parse("dir:/", &found), -ENOENT); /* without maps */
	CHECK_EQ(parse_by(&mapped, "dir:/etc/passwd", &found), -ENOENT);
}

TEST(the_other_folders_of_a_user_are_one_subject)
{
	struct sw_subject s;
	char *name;

	CHECK_EQ(parse("dir:~1004", &s), 0);
	CHECK_EQ(s.dir.inode, 0);
	CHECK_EQ(s.dir.uid, 1004);
	CHECK_STR(written(&plain, &s), "dir:~1004");
	CHECK_EQ(parse("dir:~root", &s), 0);
	CHECK_STR(written(&plain, &s), "dir:~0");
	name = subject_name(&plain, &s);
	CHECK_STR(name, "other folders of root");
	free(name);
	CHECK_EQ(parse("dir:~no-such-user", &s), -ENOENT);
	CHECK_STR(round_trip("dir:~overflow", 64), "dir:~overflow");
	CHECK_STR(round_trip("dir:#8:1/131074", 64), "dir:#8:1/131074");
	CHECK_STR(round_trip("dir:#8:1/131074/7", 64), "dir:#8:1/131074/7");
	CHECK_STR(round_trip("dir:#4095:1048575/18446744073709551615/4294967295", 64),
		  "dir:#4095:1048575/18446744073709551615/4294967295");
}

TEST(a_path_cut_on_the_way_to_the_root_is_no_subject)
{
	struct sw_subject s = { .kind = SW_KIND_DIR, .dir = { 7, 8 << 20 | 1, { 0 } } };
	char *name;

	CALL(s, "shop\0www\0", 0, SW_PATH_TRUNCATED);
	CHECK_STR(written(&mapped, &s), "dir:#8:1/7");
	name = subject_name(&mapped, &s);
	CHECK_STR(name, ".../www/shop");
	free(name);
}

/* ---- over a reboot ---- */

TEST(a_saved_folder_is_found_by_its_path_if_it_is_the_same_inode)
{
	char text[96], saved[SUBJECT_SAVED_LEN], again[SUBJECT_SAVED_LEN];
	struct sw_subject s, other, found;

	if (!make_folder(text, sizeof(text), &s))
		return;
	other = s;
	other.dir.device ^= 5;
	known.name = named(folder);
	known.subject = other;
	subject_save(&mapped, &other, saved); /* when the disk had another number */
	CHECK_CONTAINS(saved, folder);
	CHECK_EQ(subject_load(&mapped, saved, true, &found), 0);
	CHECK(!subject_compare(&found, &other));
	CHECK_EQ(subject_load(&mapped, saved, false, &found), 0);
	CHECK(!subject_compare(&found, &s));
	CHECK(!subject_compare(&known.subject, &s)); /* it has its name again */
	subject_save_again(saved, again);
	CHECK_EQ(subject_load(&mapped, again, true, &found), 0);
	CHECK(!subject_compare(&found, &s));
	rmdir(folder);
	CHECK_EQ(subject_load(&mapped, saved, false, &found), -ENOENT);
	CHECK_EQ(subject_load(&mapped, saved, true, &found), 0);
}

TEST(a_saved_folder_that_is_another_now_is_not_meant)
{
	char text[96], saved[SUBJECT_SAVED_LEN];
	struct sw_subject s, found = { .uid = 7 };

	if (!make_folder(text, sizeof(text), &s))
		return;
	s.dir.inode++;
	known.name = named(folder);
	known.subject = s;
	subject_save(&mapped, &s, saved);
	CHECK_EQ(subject_load(&mapped, saved, false, &found), -ESTALE);
	CHECK_EQ(found.uid, 7);
	known.name = (struct sw_name){};
	subject_save(&mapped, &s, saved); /* and without a name */
	CHECK_EQ(subject_load(&mapped, saved, false, &found), -ESTALE);
	CHECK_EQ(subject_load(&mapped, "dir:=8:1/7", true, &found), -EINVAL);
	CHECK_EQ(subject_load(&mapped, "dir:=x", true, &found), -EINVAL);
	rmdir(folder);
}

TEST(a_saved_folder_that_was_made_anew_is_not_meant)
{
	char text[96], saved[SUBJECT_SAVED_LEN], again[SUBJECT_SAVED_LEN];
	char offender[SUBJECT_SAVED_LEN], successor[SUBJECT_SAVED_LEN];
	struct sw_subject s, found;

	generation = 9;
	if (!make_folder(text, sizeof(text), &s))
		return;
	CHECK_EQ(s.dir.generation, 9);
	known.name = named(folder);
	known.subject = s;
	CHECK_STR(written(&mapped, &s), text);
	subject_save(&mapped, &s, saved);
	subject_save_again(saved, again);
	CHECK_CONTAINS(again, "dir:=0:0/");
	CHECK_EQ(subject_load(&mapped, again, false, &found), 0);
	CHECK(!subject_compare(&found, &s));
	generation = 10; /* one with the same number */
	CHECK_EQ(subject_load(&mapped, saved, false, &found), -ESTALE);
	CHECK_EQ(subject_load(&mapped, again, true, &found), -ESTALE);
	CHECK_CONTAINS(written(&mapped, &s), "dir:#");
	CHECK_STR(round_trip(written(&mapped, &s), 64), written(&mapped, &s));
	CHECK_EQ(parse_by(&mapped, text, &found), 0); /* its successor */
	CHECK_EQ(found.dir.generation, 10);
	CHECK(subject_compare(&found, &s) != 0);
	subject_offender(&mapped, &s, offender);
	s.dir.generation = 10;
	subject_offender(&mapped, &s, successor);
	CHECK(strcmp(offender, successor) != 0);
	generation = 0;
	rmdir(folder);
}

TEST(a_saved_folder_without_a_generation_is_what_has_its_inode)
{
	char text[96], saved[SUBJECT_SAVED_LEN];
	struct sw_subject s, found;

	if (!make_folder(text, sizeof(text), &s))
		return;
	known.name = named(folder);
	known.subject = s;
	subject_save(&mapped, &s, saved); /* by a version that knew none */
	generation = 9;
	for (int same_boot = 0; same_boot <= 1; same_boot++) {
		CHECK_EQ(subject_load(&mapped, saved, same_boot, &found), 0);
		CHECK_EQ(found.dir.inode, s.dir.inode);
		CHECK_EQ(found.dir.generation, 9);
	}
	generation = 0;
	rmdir(folder);
}

TEST(others_are_saved_as_they_are_written)
{
	static const char *const same[] = { "uid:1004", "dir:~1004", "unit:#00000000deadbeef",
					    "ip:10.8.0.7" };
	char saved[SUBJECT_SAVED_LEN];
	struct sw_subject s, found;

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		CHECK_EQ(parse(same[i], &s), 0);
		subject_save(&mapped, &s, saved);
		CHECK_STR(saved, same[i]);
		CHECK_EQ(subject_load(&mapped, saved, false, &found), 0);
		CHECK(!subject_compare(&s, &found));
	}
}

TEST(an_offender_is_the_same_with_another_number_of_its_device)
{
	struct sw_subject s = { .kind = SW_KIND_DIR, .dir = { 7, 8 << 20 | 1, { 0 } } };
	char one[SUBJECT_SAVED_LEN], other[SUBJECT_SAVED_LEN];

	CALL(s, "shop\0www\0", 0, 0);
	subject_offender(&mapped, &s, one);
	s.dir.device++;
	known.subject = s;
	subject_offender(&mapped, &s, other);
	CHECK_STR(one, other);
	CHECK_CONTAINS(one, "7 /www/shop");
	parse("unit:/a", &s);
	subject_offender(&plain, &s, one);
	CALL(s, "a\0", 0, 0);
	subject_offender(&mapped, &s, other);
	CHECK_STR(one, other);
}

TEST(a_path_that_is_too_deep_to_keep_is_cut_at_the_root)
{
	char path[1024] = "", text[PATH_TEXT_LEN];
	struct sw_name name;

	for (int i = 0; i < 40; i++)
		snprintf(path + strlen(path), sizeof(path) - strlen(path), "/n%d", i);
	name = named(path);
	CHECK_EQ(name.path.count, SW_PATH_NAMES);
	CHECK_EQ(name.path.flags, SW_PATH_TRUNCATED);
	path_text(&name.path, 0, text, sizeof(text));
	CHECK_CONTAINS(text, ".../n8/");
	CHECK_CONTAINS(text, "/n39");
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
	CHECK_STR(cleaned("1\xd8\x9c"
			  "2\xd8\xa7"),
		  "1?2\xd8\xa7"); /* the Arabic mark goes, its letters stay */
	CHECK_STR(cleaned("\xff\xc3"), "??");
	CHECK_STR(cleaned("\xc0\x9b\xed\xa0\x80"), "?????"); /* overlong, surrogate */
	CHECK_EQ(clean_width("J\xc3\xbcrgen"), 6);
}
