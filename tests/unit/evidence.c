// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <linux/bpf.h>

#include "evidence.h"
#include "test.h"

static struct sw_evidence record_of(const char *exe, const char *argv, size_t length)
{
	struct sw_evidence record = { .id = 1, .argv_len = length };

	memcpy(record.argv, argv, length);
	record.exe_path.count = 1;
	record.exe_path.len = strlen(exe) + 1;
	strcpy(record.exe_path.names, exe);
	memcpy(record.cwd_path.names, "shop\0www\0var\0", 13);
	record.cwd_path.len = 13;
	record.cwd_path.count = 3;
	return record;
}

/* The script, or "none". */
#define SCRIPT(exe, argv) script_of(exe, argv, sizeof(argv))
static const char *script_of(const char *exe, const char *argv, size_t length)
{
	struct sw_evidence record = record_of(exe, argv, length);
	static char script[PATH_MAX];

	return evidence_script(&record, script) ? script : "none";
}

TEST(arguments_come_one_by_one)
{
	struct sw_evidence record = record_of("php", "php\0\0-x\0last", 13);
	const char *word = evidence_argument(&record, NULL);

	CHECK_STR(word, "php");
	CHECK_STR(word = evidence_argument(&record, word), "");
	CHECK_STR(word = evidence_argument(&record, word), "-x");
	CHECK_STR(word = evidence_argument(&record, word), "last");
	CHECK(!evidence_argument(&record, word));
}

TEST(arguments_that_fill_the_record_end_within_it)
{
	struct sw_evidence record = { .argv_len = 100000 };
	const char *word;

	memset(record.argv, 'a', sizeof(record.argv));
	memset(record.helo, 'a', sizeof(record.helo));
	memset(record.mail_from, 'a', sizeof(record.mail_from));
	evidence_terminate(&record);
	word = evidence_argument(&record, NULL);
	CHECK_EQ(strlen(word), SW_ARGV_LEN - 1);
	CHECK(!evidence_argument(&record, word));
	CHECK_EQ(strlen(record.helo), SW_LINE_LEN - 1);
	CHECK_EQ(strlen(record.mail_from), SW_LINE_LEN - 1);
}

TEST(no_arguments_are_none)
{
	struct sw_evidence record = {};

	CHECK(!evidence_argument(&record, NULL));
	CHECK_STR(script_of("php", "", 0), "none");
}

TEST(an_interpreters_script_is_found_behind_its_options)
{
	CHECK_STR(SCRIPT("php8.2", "php\0/srv/x.php"), "/srv/x.php");
	CHECK_STR(SCRIPT("php", "php\0-d\0a=b\0-f\0./x.php\0arg"), "/var/www/shop/x.php");
	CHECK_STR(SCRIPT("php", "php\0-q\0x.php"), "/var/www/shop/x.php");
	CHECK_STR(SCRIPT("php-cgi", "php-cgi\0-c\0/etc/php.ini\0/srv/x.php"), "/srv/x.php");
	CHECK_STR(SCRIPT("python3.11", "python3\0-u\0spam.py"), "/var/www/shop/spam.py");
	CHECK_STR(SCRIPT("perl", "perl\0-w\0--\0-odd.pl"), "/var/www/shop/-odd.pl");
	CHECK_STR(SCRIPT("bash", "bash\0-x\0/tmp/a.sh"), "/tmp/a.sh");
}

TEST(code_on_the_command_line_is_no_script)
{
	CHECK_STR(SCRIPT("php", "php\0-r\0mail();"), "none");
	CHECK_STR(SCRIPT("python3", "python3\0-c\0import smtplib"), "none");
	CHECK_STR(SCRIPT("sh", "sh\0-c\0x"), "none");
	CHECK_STR(SCRIPT("perl", "perl\0-"), "none");
	CHECK_STR(SCRIPT("php", "php"), "none");
	CHECK_STR(SCRIPT("php", "php\0-d"), "none");
	CHECK_STR(SCRIPT("phpize", "phpize\0/srv/x.php"), "none");
	CHECK_STR(SCRIPT("knock", "knock\0/srv/x.php"), "none");
}

TEST(lsapi_writes_the_script_over_its_arguments)
{
	CHECK_STR(SCRIPT("lsphp", "lsphp:/home/a/x.php"), "/home/a/x.php");
}

TEST(only_what_runs_scripts_can_have_been_a_script)
{
	struct sw_evidence fpm = record_of("php-fpm8.2", "", 0), knock = record_of("knock", "", 0);
	struct sw_evidence apache = record_of("apache2", "", 0), none = {};

	CHECK(evidence_interprets(&fpm));
	CHECK(evidence_interprets(&apache));
	CHECK(!evidence_interprets(&knock));
	CHECK(!evidence_interprets(&none));
}

TEST(a_record_is_of_its_user_unit_and_dir_but_of_no_user_if_of_a_container)
{
	struct sw_evidence record = {
		.uid = 1004,
		.unit = 77,
		.dir = { .inode = 5, .device = 6 },
		.tag_flags = SW_TAG_DIR,
	};
	struct sw_subject user = { .kind = SW_KIND_UID, .uid = 1004 };
	struct sw_subject unit = { .kind = SW_KIND_UNIT, .unit = 77 };
	struct sw_subject dir = { .kind = SW_KIND_DIR, .dir = { .inode = 5, .device = 6 } };
	struct sw_subject ip = { .kind = SW_KIND_IP };

	CHECK(evidence_is_of(&record, &user));
	CHECK(evidence_is_of(&record, &unit));
	CHECK(evidence_is_of(&record, &dir));
	CHECK(!evidence_is_of(&record, &ip));
	record.tag_flags |= SW_TAG_UNIT;
	CHECK(!evidence_is_of(&record, &user));
	dir.dir.device = 7;
	CHECK(!evidence_is_of(&record, &dir));
}

TEST(one_attempt_in_several_slots_is_one_row_with_all_reasons)
{
	struct evidence_row row[4] = {
		{ .why = EVIDENCE_LAST, .record = { .id = 8, .time_ns = 1 } },
		{ .why = EVIDENCE_LAST, .record = { .id = 17, .time_ns = 2 } },
		{ .why = EVIDENCE_FIRST, .record = { .id = 8, .time_ns = 1 } },
		{ .why = EVIDENCE_TRIP, .record = { .id = 17, .time_ns = 2 } },
	};

	CHECK_EQ(evidence_unite(row, 4), 2);
	CHECK_EQ(row[0].record.id, 17);
	CHECK_EQ(row[0].why, EVIDENCE_LAST | EVIDENCE_TRIP);
	CHECK_EQ(row[1].why, EVIDENCE_LAST | EVIDENCE_FIRST);
}
