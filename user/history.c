// SPDX-License-Identifier: GPL-2.0-or-later
#include "history.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <smtpwall/names.h>

#include "cleanup.h"
#include "log.h"

#define SCHEMA_VERSION 3
#define WRITER_WAITS_MS 200 /* the daemon has other things to do */
#define READER_WAITS_MS 2000

static const char *const schema =
	"CREATE TABLE event (id INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER NOT NULL,"
	" event TEXT NOT NULL, subject TEXT, name TEXT, policy TEXT, \"limit\" TEXT, road TEXT,"
	" reason TEXT, text TEXT, comm TEXT, destination TEXT, used INTEGER, pid INTEGER,"
	" uid INTEGER, port INTEGER, until_ms INTEGER, count INTEGER);"
	"CREATE INDEX event_time ON event (time_ms);";

/*
 * Since version 2. `held`: what the maps hold that a reboot must not forget, times as in the maps
 * of the boot in `clock`, the one row that says when they were last seen. `offence`: blocks that
 * the next one is longer for.
 */
static const char *const schema_2 =
	"CREATE TABLE held (subject TEXT NOT NULL, road TEXT NOT NULL, until_ns INTEGER NOT NULL,"
	" since_ns INTEGER NOT NULL, hits INTEGER NOT NULL, \"limit\" INTEGER NOT NULL,"
	" policy INTEGER NOT NULL, made_by INTEGER NOT NULL, flags INTEGER NOT NULL,"
	" level INTEGER NOT NULL, note TEXT NOT NULL, PRIMARY KEY (subject, road)) WITHOUT ROWID;"
	"CREATE TABLE clock (id INTEGER PRIMARY KEY CHECK (id = 1), boot TEXT NOT NULL,"
	" boot_ns INTEGER NOT NULL, wall_ns INTEGER NOT NULL, mode INTEGER NOT NULL,"
	" file_mode INTEGER NOT NULL, generation INTEGER NOT NULL);"
	"CREATE TABLE offence (subject TEXT NOT NULL, policy TEXT NOT NULL,"
	" time_ms INTEGER NOT NULL, PRIMARY KEY (subject, policy, time_ms)) WITHOUT ROWID;"
	"PRAGMA user_version = 2;";

/* `evidence`: the attempt that a block was made for (see proof.h), 0 for none. */
static const char *const schema_3 =
	"ALTER TABLE held ADD COLUMN evidence INTEGER NOT NULL DEFAULT 0;"
	"PRAGMA user_version = 3;";

/* The columns beside id and time_ms, in the order of the statements below. */
static const size_t text_column[] = {
	offsetof(struct event_record, event),  offsetof(struct event_record, subject),
	offsetof(struct event_record, name),   offsetof(struct event_record, policy),
	offsetof(struct event_record, limit),  offsetof(struct event_record, road),
	offsetof(struct event_record, reason), offsetof(struct event_record, text),
	offsetof(struct event_record, comm),   offsetof(struct event_record, destination),
};
static const size_t number_column[] = {
	offsetof(struct event_record, used),	 offsetof(struct event_record, pid),
	offsetof(struct event_record, uid),	 offsetof(struct event_record, port),
	offsetof(struct event_record, until_ms), offsetof(struct event_record, count),
};

#define COLUMNS                                                                                    \
	"event, subject, name, policy, \"limit\", road, reason, text, comm, destination, used,"    \
	" pid, uid, port, until_ms, count"

enum statement { ADD, TRIM, TRIM_TO, LATEST, LAST_ID, READ, STATEMENTS };

static const char *const sql[STATEMENTS] = {
	[ADD] = "INSERT INTO event (time_ms, " COLUMNS
		") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[TRIM] = "DELETE FROM event WHERE time_ms < ?",
	[TRIM_TO] = "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?",
	[LATEST] = "SELECT max(time_ms) FROM event WHERE event = ?",
	[LAST_ID] = "SELECT max(id) FROM event",
	[READ] = "SELECT id, time_ms, " COLUMNS
		 " FROM event WHERE id > ? AND time_ms >= ? ORDER BY time_ms, id",
};

struct history {
	sqlite3 *db;
	sqlite3_stmt *statement[STATEMENTS];
};

int history_error(int code)
{
	static const struct {
		int code, error;
	} known[] = {
		{ SQLITE_OK, 0 },
		{ SQLITE_ROW, 0 },
		{ SQLITE_DONE, 0 },
		{ SQLITE_BUSY, -EBUSY },
		{ SQLITE_LOCKED, -EBUSY },
		{ SQLITE_FULL, -ENOSPC },
		{ SQLITE_NOMEM, -ENOMEM },
		{ SQLITE_CORRUPT, -EBADMSG },
		{ SQLITE_NOTADB, -EBADMSG },
		{ SQLITE_READONLY, -EROFS },
		{ SQLITE_CANTOPEN, -EACCES },
		{ SQLITE_PERM, -EACCES },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].code == (code & 0xff))
			return known[i].error;
	return -EIO;
}

static int run(struct history *h, const char *statements)
{
	return history_error(sqlite3_exec(h->db, statements, NULL, NULL, NULL));
}

/* One value of the first row; corruption shows here if it is anywhere. */
static int ask(struct history *h, const char *question, int *ret_number, bool *ret_ok)
{
	sqlite3_stmt *s = NULL;
	const unsigned char *text;
	int r;

	r = sqlite3_prepare_v2(h->db, question, -1, &s, NULL);
	if (r == SQLITE_OK)
		r = sqlite3_step(s);
	if (r == SQLITE_ROW) {
		*ret_number = sqlite3_column_int(s, 0);
		text = sqlite3_column_text(s, 0);
		*ret_ok = text && strcmp((const char *)text, "ok") == 0;
	}
	sqlite3_finalize(s);
	return r == SQLITE_DONE ? -EBADMSG : history_error(r);
}

/* From the version that is there to ours, all or nothing. */
static int migrate(struct history *h, int version)
{
	int r = run(h, "BEGIN IMMEDIATE");

	if (r == 0 && version < 1)
		r = run(h, schema);
	if (r == 0 && version < 2)
		r = run(h, schema_2);
	if (r == 0 && version < 3)
		r = run(h, schema_3);
	if (r == 0)
		r = run(h, "COMMIT");
	if (r < 0)
		run(h, "ROLLBACK");
	return r;
}

/* The daemon writes, and makes what is missing; a command reads, or edits what is there. */
enum access { READER, EDITOR, WRITER };

static const int oldest[] = { [READER] = 1, [EDITOR] = 2, [WRITER] = 0 };

static int check(struct history *h, enum access access)
{
	int version = 0, r;
	bool ok = false;

	r = ask(h, "PRAGMA user_version", &version, &ok);
	if (r == 0 && (version > SCHEMA_VERSION || version < oldest[access]))
		r = -EPROTO;
	if (r == 0 && access == WRITER && version < SCHEMA_VERSION)
		r = migrate(h, version);
	if (r == 0 && access == WRITER) {
		r = ask(h, "PRAGMA quick_check(1)", &version, &ok);
		if (r == 0 && !ok)
			r = -EBADMSG;
	}
	return r;
}
_Static_assert(SCHEMA_VERSION == 3, "the number is also in migrate() and schema_3");

static int prepare(struct history *h, enum access access)
{
	size_t i;
	int r;

	for (i = access == WRITER ? ADD : LATEST; i < STATEMENTS; i++) {
		r = sqlite3_prepare_v3(h->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
				       &h->statement[i], NULL);
		if (r != SQLITE_OK)
			return history_error(r);
	}
	return 0;
}

static int start(const char *path, enum access access, struct history **ret)
{
	bool write = access != READER;
	struct history *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	r = history_error(sqlite3_open_v2(path, &h->db,
					  (write ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY) |
						  SQLITE_OPEN_NOFOLLOW,
					  NULL));
	if (r == 0)
		sqlite3_busy_timeout(h->db, access == WRITER ? WRITER_WAITS_MS : READER_WAITS_MS);
	if (r == 0 && access == WRITER)
		r = run(h, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
	if (r == 0)
		r = check(h, access);
	if (r == 0)
		r = prepare(h, access);
	if (r < 0) {
		history_close(h);
		return r;
	}

	*ret = h;
	return 0;
}

/* sqlite gives the files beside the database (-wal, -shm) its mode. */
static int make_file(const char *state_dir, const char *path)
{
	int fd;

	if (mkdir(state_dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* Renames the database and what is beside it, so that nothing that can be rescued is lost. */
static int set_aside(const char *path)
{
	static const char *const part[] = { "", "-wal", "-shm" };
	char from[PATH_MAX], to[PATH_MAX];
	long long now = time(NULL);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(part); i++) {
		if (snprintf(from, sizeof(from), "%s%s", path, part[i]) >= (int)sizeof(from) ||
		    snprintf(to, sizeof(to), "%s.unreadable-%lld%s", path, now, part[i]) >=
			    (int)sizeof(to))
			return -ENAMETOOLONG;
		if (rename(from, to) < 0 && errno != ENOENT)
			return -errno;
	}
	log_warning("cannot read the history '%s': it is kept as '%s.unreadable-%lld', and a new "
		    "one is begun",
		    path, path, now);
	return 0;
}

int history_open(const char *state_dir, bool write, struct history **ret)
{
	char path[PATH_MAX];
	int r;

	if (snprintf(path, sizeof(path), "%s/%s", state_dir, SW_HISTORY_FILE) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	if (!write)
		return access(path, F_OK) < 0 ? -errno : start(path, READER, ret);
	r = make_file(state_dir, path);
	if (r == 0)
		r = start(path, WRITER, ret);
	if (r != -EBADMSG && r != -EPROTO)
		return r;
	r = set_aside(path);
	if (r == 0)
		r = make_file(state_dir, path);
	return r < 0 ? r : start(path, WRITER, ret);
}

int history_edit(const char *state_dir, struct history **ret)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", state_dir, SW_HISTORY_FILE) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	return access(path, F_OK) < 0 ? -errno : start(path, EDITOR, ret);
}

void history_close(struct history *history)
{
	size_t i;

	if (!history)
		return;
	for (i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(history->statement[i]);
	sqlite3_close(history->db);
	free(history);
}

struct sqlite3 *history_db(struct history *history)
{
	return history->db;
}

int history_begin(struct history *history)
{
	return run(history, "BEGIN IMMEDIATE");
}

int history_commit(struct history *history)
{
	int r = run(history, "COMMIT");

	if (r < 0)
		run(history, "ROLLBACK");
	return r;
}

static void bind_number(sqlite3_stmt *s, int at, int64_t number)
{
	if (number < 0)
		sqlite3_bind_null(s, at);
	else
		sqlite3_bind_int64(s, at, number);
}

int history_add(struct history *history, const struct event_record *record)
{
	const char *base = (const char *)record, *text;
	sqlite3_stmt *s = history->statement[ADD];
	int64_t number;
	int at = 1, r;
	size_t i;

	sqlite3_bind_int64(s, at++, record->time_ms);
	for (i = 0; i < ARRAY_SIZE(text_column); i++) {
		memcpy(&text, base + text_column[i], sizeof(text));
		sqlite3_bind_text(s, at++, text, -1, SQLITE_STATIC);
	}
	for (i = 0; i < ARRAY_SIZE(number_column); i++) {
		memcpy(&number, base + number_column[i], sizeof(number));
		bind_number(s, at++, number);
	}
	r = history_error(sqlite3_step(s));
	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	return r;
}

struct event_record *history_copy(const struct event_record *record)
{
	size_t size = sizeof(*record), length, i;
	struct event_record *copy;
	const char *text;
	char *at;

	for (i = 0; i < ARRAY_SIZE(text_column); i++) {
		memcpy(&text, (const char *)record + text_column[i], sizeof(text));
		size += text ? strlen(text) + 1 : 0;
	}
	copy = malloc(size);
	if (!copy)
		return NULL;
	*copy = *record;
	at = (char *)(copy + 1);
	for (i = 0; i < ARRAY_SIZE(text_column); i++) {
		memcpy(&text, (const char *)record + text_column[i], sizeof(text));
		if (!text)
			continue;
		length = strlen(text) + 1;
		memcpy(at, text, length);
		memcpy((char *)copy + text_column[i], &at, sizeof(at));
		at += length;
	}
	return copy;
}

/* Of a statement that is bound: one number, 0 if there is none. */
static int number_of(sqlite3_stmt *s, int64_t *ret)
{
	int code = sqlite3_step(s), r = history_error(code);
	int64_t number = code == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;

	sqlite3_reset(s);
	sqlite3_clear_bindings(s);
	if (r == 0)
		*ret = number;
	return r;
}

static int trim(sqlite3_stmt *s, int64_t bound)
{
	int64_t nothing;

	sqlite3_bind_int64(s, 1, bound);
	return number_of(s, &nothing);
}

int history_trim(struct history *history, int64_t before_ms)
{
	return trim(history->statement[TRIM], before_ms);
}

int history_trim_to(struct history *history, int64_t most)
{
	return trim(history->statement[TRIM_TO], most);
}

int history_latest(struct history *history, const char *event, int64_t *ret_ms)
{
	sqlite3_bind_text(history->statement[LATEST], 1, event, -1, SQLITE_STATIC);
	return number_of(history->statement[LATEST], ret_ms);
}

int history_last_id(struct history *history, int64_t *ret)
{
	return number_of(history->statement[LAST_ID], ret);
}

/* The strings live until the next step. */
static struct event_record record_of(sqlite3_stmt *s)
{
	struct event_record record = {};
	char *base = (char *)&record;
	const char *text;
	int64_t number;
	int at = 0;
	size_t i;

	record.id = sqlite3_column_int64(s, at++);
	record.time_ms = sqlite3_column_int64(s, at++);
	for (i = 0; i < ARRAY_SIZE(text_column); i++, at++) {
		text = (const char *)sqlite3_column_text(s, at);
		memcpy(base + text_column[i], &text, sizeof(text));
	}
	for (i = 0; i < ARRAY_SIZE(number_column); i++, at++) {
		number = sqlite3_column_type(s, at) == SQLITE_NULL ? -1
								   : sqlite3_column_int64(s, at);
		memcpy(base + number_column[i], &number, sizeof(number));
	}
	return record;
}

int history_read(struct history *history, int64_t after, int64_t since_ms,
		 int (*each)(const struct event_record *record, void *userdata), void *userdata)
{
	sqlite3_stmt *s = history->statement[READ];
	struct event_record record;
	int code, r = 0;

	sqlite3_bind_int64(s, 1, after);
	sqlite3_bind_int64(s, 2, since_ms);
	while (r == 0 && (code = sqlite3_step(s)) == SQLITE_ROW) {
		record = record_of(s);
		r = each(&record, userdata);
	}
	sqlite3_reset(s);
	return r ? r : history_error(code);
}
