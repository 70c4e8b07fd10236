// SPDX-License-Identifier: GPL-2.0-or-later
#include <dirent.h>
#include <errno.h>
#include <linux/bpf.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "history.h"
#include "test.h"

static char dir[64];

static void world_make(void)
{
	snprintf(dir, sizeof(dir), "/tmp/smtpwall-history-XXXXXX");
	if (!mkdtemp(dir))
		abort();
	strcat(dir, "/state");
}

/* How many files of the state directory begin with this. */
static int files(const char *prefix)
{
	struct dirent *entry;
	DIR *d = opendir(dir);
	int n = 0;

	while (d && (entry = readdir(d)))
		n += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
	if (d)
		closedir(d);
	return n;
}

static void world_remove(void)
{
	char command[128];

	*strrchr(dir, '/') = '\0';
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	if (system(command) != 0)
		abort();
}

static void spoil(const char *content, long at)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/smtpwall.db", dir);
	f = fopen(path, at ? "r+" : "w");
	if (!f)
		abort();
	fseek(f, at, SEEK_SET);
	fputs(content, f);
	fclose(f);
}

struct seen {
	int n;
	int64_t last;
	char text[256];
};

static int see(const struct event_record *r, void *userdata)
{
	struct seen *seen = userdata;

	seen->n++;
	seen->last = r->id;
	snprintf(seen->text, sizeof(seen->text), "%s %s %s %s %jd %jd", r->event,
		 r->subject ? r->subject : "-", r->limit ? r->limit : "-", r->comm ? r->comm : "-",
		 (intmax_t)r->used, (intmax_t)r->pid);
	return 0;
}

static const struct event_record refusal = {
	.time_ms = 5000,
	.event = "refuse",
	.subject = "uid:1004",
	.limit = "2 connections per 1m",
	.comm = "a'); DROP TABLE event; --",
	.used = 3,
	.pid = -1,
	.uid = 1004,
	.port = 25,
	.until_ms = -1,
	.count = 1,
};

TEST(what_was_written_is_read_from_where_one_left_off)
{
	struct history *w = NULL, *r = NULL;
	struct event_record other = refusal;
	struct seen seen = {};
	struct stat st;

	world_make();
	CHECK_EQ(history_open(dir, false, &r), -ENOENT);
	CHECK_EQ(stat(dir, &st), -1);
	if (!CHECK_EQ(history_open(dir, true, &w), 0))
		return world_remove();
	CHECK_EQ(stat(dir, &st), 0);
	CHECK_EQ(st.st_mode & 0777, 0700);
	CHECK_EQ(history_add(w, &refusal), 0);
	CHECK_EQ(history_open(dir, false, &r), 0);
	CHECK_EQ(history_read(r, 0, 0, see, &seen), 0);
	CHECK_EQ(seen.n, 1);
	CHECK_STR(seen.text, "refuse uid:1004 2 connections per 1m a'); DROP TABLE event; -- 3 -1");
	other.time_ms = 9000;
	other.subject = NULL;
	CHECK_EQ(history_add(w, &other), 0);
	CHECK_EQ(history_read(r, seen.last, 0, see, &seen), 0);
	CHECK_EQ(seen.n, 2);
	CHECK_EQ(history_trim(w, 9000), 0);
	seen.n = 0;
	CHECK_EQ(history_read(r, 0, 0, see, &seen), 0);
	CHECK_EQ(seen.n, 1);
	CHECK_EQ(history_read(r, 0, 9001, see, &seen), 0);
	CHECK_EQ(seen.n, 1);
	history_close(r);
	history_close(w);
	world_remove();
}

TEST(what_happened_earlier_comes_first_whenever_it_was_told)
{
	struct event_record record = refusal;
	struct history *h = NULL;
	struct seen seen = {};
	int64_t id, ms;

	world_make();
	if (!CHECK_EQ(history_open(dir, true, &h), 0))
		return world_remove();
	CHECK_EQ(history_last_id(h, &id), 0);
	CHECK_EQ(id, 0);
	CHECK_EQ(history_latest(h, "refuse", &ms), 0);
	CHECK_EQ(ms, 0);
	CHECK_EQ(history_add(h, &record), 0);
	record.time_ms = 4000;
	record.event = "unblock";
	CHECK_EQ(history_add(h, &record), 0);
	CHECK_EQ(history_read(h, 0, 0, see, &seen), 0);
	CHECK_EQ(seen.n, 2);
	CHECK_CONTAINS(seen.text, "refuse ");
	CHECK_EQ(history_last_id(h, &id), 0);
	CHECK_EQ(id, 2);
	CHECK_EQ(history_latest(h, "refuse", &ms), 0);
	CHECK_EQ(ms, 5000);
	history_close(h);
	world_remove();
}

TEST(no_more_than_so_many_are_kept_and_they_are_the_last)
{
	struct event_record record = refusal;
	struct history *h = NULL;
	struct seen seen = {};

	world_make();
	if (!CHECK_EQ(history_open(dir, true, &h), 0))
		return world_remove();
	CHECK_EQ(history_trim_to(h, 3), 0);
	for (int i = 0; i < 10; i++) {
		record.time_ms = 9000 - i;
		CHECK_EQ(history_add(h, &record), 0);
	}
	CHECK_EQ(history_trim_to(h, 10), 0);
	CHECK_EQ(history_read(h, 0, 0, see, &seen), 0);
	CHECK_EQ(seen.n, 10);
	CHECK_EQ(history_trim_to(h, 3), 0);
	seen.n = 0;
	CHECK_EQ(history_read(h, 7, 0, see, &seen), 0);
	CHECK_EQ(seen.n, 3);
	seen.n = 0;
	CHECK_EQ(history_read(h, 0, 0, see, &seen), 0);
	CHECK_EQ(seen.n, 3);
	history_close(h);
	world_remove();
}

TEST(the_files_are_roots_alone)
{
	static const char *const name[] = { "smtpwall.db", "smtpwall.db-wal", "smtpwall.db-shm" };
	struct history *w = NULL;
	char path[128];
	struct stat st;
	size_t i;

	world_make();
	CHECK_EQ(history_open(dir, true, &w), 0);
	for (i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, name[i]);
		if (CHECK_EQ(stat(path, &st), 0))
			CHECK_EQ(st.st_mode & 0777, 0600);
	}
	history_close(w);
	world_remove();
}

static void check_begun_anew(void)
{
	struct history *w = NULL;
	struct seen seen = {};

	if (!CHECK_EQ(history_open(dir, true, &w), 0))
		return;
	CHECK_EQ(files("smtpwall.db.unreadable-"), 1);
	CHECK_EQ(history_add(w, &refusal), 0);
	CHECK_EQ(history_read(w, 0, 0, see, &seen), 0);
	CHECK_EQ(seen.n, 1);
	history_close(w);
}

TEST(a_file_that_is_no_database_is_set_aside_when_written_and_left_when_read)
{
	struct history *r = NULL;

	world_make();
	mkdir(dir, 0700);
	spoil("this is no database, it is a text that somebody put here long ago\n", 0);
	CHECK_EQ(history_open(dir, false, &r), -EBADMSG);
	CHECK_EQ(files(""), 3); /* . .. and the file */
	check_begun_anew();
	world_remove();
}

TEST(a_damaged_database_is_set_aside)
{
	struct history *w = NULL;

	world_make();
	CHECK_EQ(history_open(dir, true, &w), 0);
	CHECK_EQ(history_add(w, &refusal), 0);
	history_close(w);
	spoil("spoiltspoiltspoiltspoilt", 4096);
	check_begun_anew();
	world_remove();
}

TEST(a_writer_that_was_killed_leaves_a_history_that_opens)
{
	struct history *w = NULL;
	struct seen seen = {};
	int status;
	pid_t child;

	world_make();
	child = fork();
	if (child == 0) {
		if (history_open(dir, true, &w) < 0 || history_add(w, &refusal) < 0)
			_exit(1);
		_exit(0); /* without closing */
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	CHECK_EQ(history_open(dir, true, &w), 0);
	CHECK_EQ(history_read(w, 0, 0, see, &seen), 0);
	CHECK_EQ(seen.n, 1);
	history_close(w);
	world_remove();
}

TEST(a_link_in_place_of_the_database_is_not_followed)
{
	struct history *w = NULL;
	char path[128];

	world_make();
	mkdir(dir, 0700);
	snprintf(path, sizeof(path), "%s/smtpwall.db", dir);
	CHECK_EQ(symlink("/tmp/smtpwall-elsewhere", path), 0);
	CHECK(history_open(dir, true, &w) < 0);
	CHECK_EQ(access("/tmp/smtpwall-elsewhere", F_OK), -1);
	world_remove();
}

/* As the first version made it. */
static void make_version_1(void)
{
	char path[128];
	sqlite3 *db;

	mkdir(dir, 0700);
	snprintf(path, sizeof(path), "%s/smtpwall.db", dir);
	if (sqlite3_open(path, &db) != SQLITE_OK ||
	    sqlite3_exec(db,
			 "CREATE TABLE event (id INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER"
			 " NOT NULL, event TEXT NOT NULL, subject TEXT, name TEXT, policy TEXT,"
			 " \"limit\" TEXT, road TEXT, reason TEXT, text TEXT, comm TEXT,"
			 " destination TEXT, used INTEGER, pid INTEGER, uid INTEGER, port INTEGER, until_ms"
			 " INTEGER, count INTEGER);"
			 "INSERT INTO event (time_ms, event) VALUES (1, 'start');"
			 "PRAGMA user_version = 1",
			 NULL, NULL, NULL) != SQLITE_OK)
		abort();
	sqlite3_close(db);
}

TEST(a_history_of_the_first_version_is_read_and_taken_over)
{
	struct history *h = NULL;
	struct seen seen = {};

	world_make();
	make_version_1();
	CHECK_EQ(history_edit(dir, &h), -EPROTO);
	if (CHECK_EQ(history_open(dir, false, &h), 0))
		history_close(h);
	if (!CHECK_EQ(history_open(dir, true, &h), 0))
		return world_remove();
	CHECK_EQ(files("smtpwall.db.unreadable-"), 0);
	CHECK_EQ(history_add(h, &refusal), 0);
	CHECK_EQ(history_read(h, 0, 0, see, &seen), 0);
	CHECK_EQ(seen.n, 2);
	CHECK(sqlite3_exec(history_db(h), "SELECT held.evidence FROM held, clock, offence", NULL,
			   NULL, NULL) == SQLITE_OK);
	history_close(h);
	if (CHECK_EQ(history_edit(dir, &h), 0))
		history_close(h);
	world_remove();
}

static int see_row(void *n, int columns, char **value, char **name)
{
	(void)columns, (void)value, (void)name;
	++*(int *)n;
	return 0;
}

TEST(what_the_second_version_held_is_held_on)
{
	struct history *h = NULL;
	int n = 0;

	world_make();
	if (!CHECK_EQ(history_open(dir, true, &h), 0))
		return world_remove();
	CHECK(sqlite3_exec(
		      history_db(h),
		      "DROP TABLE held;"
		      "CREATE TABLE held (subject, road, until_ns, since_ns, hits, \"limit\", policy,"
		      " made_by, flags, level, note, PRIMARY KEY (subject, road)) WITHOUT ROWID;"
		      "PRAGMA user_version = 2;"
		      "INSERT INTO held VALUES ('uid:7', 'direct', 0, 1, 0, 0, 0, 0, 0, 0, '')",
		      NULL, NULL, NULL) == SQLITE_OK);
	history_close(h);
	if (CHECK_EQ(history_edit(dir, &h), 0))
		history_close(h);
	if (!CHECK_EQ(history_open(dir, true, &h), 0))
		return world_remove();
	CHECK_EQ(files("smtpwall.db.unreadable-"), 0);
	CHECK(sqlite3_exec(history_db(h), "SELECT 1 FROM held WHERE evidence = 0", see_row, &n,
			   NULL) == SQLITE_OK);
	CHECK_EQ(n, 1);
	history_close(h);
	world_remove();
}
