// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/bpf.h>

#include "proof.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>

#include "cleanup.h"

/*
 * `abi`: of the structure in `record`, which an older or newer version does not read. uid is NULL
 * for a container, inode where no folder is known; dir_uid is the folder's generation where it has
 * one. A key of a folder is that of the record's own.
 */
static const char *const schema =
	"CREATE TABLE IF NOT EXISTS evidence (seq INTEGER PRIMARY KEY, origin TEXT NOT NULL,"
	" attempt INTEGER NOT NULL, time_ms INTEGER NOT NULL, time_ns INTEGER NOT NULL,"
	" key_kind INTEGER NOT NULL, key_id INTEGER NOT NULL, key_device INTEGER NOT NULL,"
	" noted INTEGER NOT NULL, stands_for INTEGER NOT NULL, why INTEGER NOT NULL,"
	" uid INTEGER, unit_id INTEGER, inode INTEGER, device INTEGER, dir_uid INTEGER,"
	" unit TEXT, dir TEXT, script TEXT, guess TEXT, found TEXT, abi INTEGER NOT NULL,"
	" record BLOB NOT NULL, UNIQUE (origin, attempt));"
	"CREATE INDEX IF NOT EXISTS evidence_time ON evidence (time_ms);"
	"CREATE INDEX IF NOT EXISTS evidence_key ON evidence (key_kind, key_id, key_device);"
	"CREATE INDEX IF NOT EXISTS evidence_attempt ON evidence (attempt);"
	"CREATE TABLE IF NOT EXISTS evidence_of (event INTEGER PRIMARY KEY,"
	" attempt INTEGER NOT NULL);";

/* What only the kernel needs of it is not kept. */
#define RECORD_LEN offsetof(struct sw_evidence, spill)

#define SHOWN                                                                                      \
	"SELECT time_ms, origin, key_kind, key_id, key_device, noted, stands_for, why, unit, dir," \
	" script, guess, found, record FROM evidence WHERE length(record) = ?1 AND abi = ?2 AND "

int proof_origin(int evidence_fd, char ret[static PROOF_ORIGIN_LEN])
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char boot[40] = "";

	if (fd < 0 || read(fd, boot, sizeof(boot) - 1) < 0 ||
	    bpf_obj_get_info_by_fd(evidence_fd, &info, &size) < 0)
		return -errno;
	boot[strcspn(boot, "\n")] = '\0';
	snprintf(ret, PROOF_ORIGIN_LEN, "%s/%u", boot, info.id);
	return 0;
}

int proof_begin(struct history *history)
{
	return history_error(sqlite3_exec(history_db(history), schema, NULL, NULL, NULL));
}

/* ---- writing ---- */

static int prepare(struct history *history, const char *sql, sqlite3_stmt **ret)
{
	return history_error(sqlite3_prepare_v2(history_db(history), sql, -1, ret, NULL));
}

static int finish(sqlite3_stmt *s)
{
	int r = history_error(sqlite3_step(s));

	sqlite3_finalize(s);
	return r;
}

static void bind_subjects(sqlite3_stmt *s, int at, const struct sw_evidence *record)
{
	struct sw_subject subject;

	if (evidence_subject(record, SW_KIND_UID, &subject))
		sqlite3_bind_int64(s, at, subject.uid);
	if (evidence_subject(record, SW_KIND_UNIT, &subject))
		sqlite3_bind_int64(s, at + 1, (int64_t)subject.unit);
	if (!evidence_subject(record, SW_KIND_DIR, &subject))
		return;
	sqlite3_bind_int64(s, at + 2, (int64_t)subject.dir.inode);
	sqlite3_bind_int64(s, at + 3, subject.dir.device);
	sqlite3_bind_int64(s, at + 4, subject.dir.generation);
}

int proof_add(struct history *history, const struct proof *proof)
{
	const struct evidence_row *row = &proof->row;
	const int64_t number[] = {
		(int64_t)row->record.id, proof->time_ms,       (int64_t)row->record.time_ns,
		row->key.kind,		 (int64_t)row->key.id, row->key.device,
		(int64_t)proof->noted,	 proof->stands_for,    row->why,
		SW_ABI_VERSION,
	};
	sqlite3_stmt *s = NULL;
	size_t i;
	int at = 1, r;

	r = prepare(history,
		    "INSERT INTO evidence (origin, attempt, time_ms, time_ns, key_kind,"
		    " key_id, key_device, noted, stands_for, why, abi, uid, unit_id, inode, device,"
		    " dir_uid, unit, dir, script, found, record)"
		    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
		    " ON CONFLICT (origin, attempt) DO UPDATE SET why = why | excluded.why,"
		    " stands_for = max(stands_for, excluded.stands_for),"
		    " key_kind = iif(excluded.stands_for, excluded.key_kind, key_kind),"
		    " key_id = iif(excluded.stands_for, excluded.key_id, key_id),"
		    " key_device = iif(excluded.stands_for, excluded.key_device, key_device),"
		    " noted = iif(excluded.stands_for, excluded.noted, noted),"
		    " record = iif(?, excluded.record, record)",
		    &s);
	if (r < 0)
		return r;
	sqlite3_bind_text(s, at++, proof->origin, -1, SQLITE_STATIC);
	for (i = 0; i < ARRAY_SIZE(number); i++)
		sqlite3_bind_int64(s, at++, number[i]);
	bind_subjects(s, at, &row->record);
	at += 5;
	sqlite3_bind_text(s, at++, proof->unit, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, at++, proof->dir, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, at++, proof->script, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, at++, proof->found, -1, SQLITE_STATIC);
	sqlite3_bind_blob(s, at++, &row->record, RECORD_LEN, SQLITE_STATIC);
	sqlite3_bind_int(s, at, (row->why & EVIDENCE_TRIP) && row->record.exe_path.count);
	return finish(s);
}

int proof_found(struct history *history, const char *origin, uint64_t id, const char *found,
		const char *script, const char *guess)
{
	sqlite3_stmt *s = NULL;
	int r = prepare(history,
			"UPDATE evidence SET found = ?, script = coalesce(?, script), guess = ?"
			" WHERE origin = ? AND attempt = ? AND found IS NULL",
			&s);

	if (r < 0)
		return r;
	sqlite3_bind_text(s, 1, found, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 2, script, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 3, guess, -1, SQLITE_STATIC);
	sqlite3_bind_text(s, 4, origin, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s, 5, (int64_t)id);
	return finish(s);
}

int proof_heard(struct history *history, const char *origin, const struct sw_evidence *record)
{
	sqlite3_stmt *s = NULL;
	int r = prepare(history, "UPDATE evidence SET record = ? WHERE origin = ? AND attempt = ?",
			&s);

	if (r < 0)
		return r;
	sqlite3_bind_blob(s, 1, record, RECORD_LEN, SQLITE_STATIC);
	sqlite3_bind_text(s, 2, origin, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s, 3, (int64_t)record->id);
	return finish(s);
}

int proof_link(struct history *history, uint64_t id)
{
	sqlite3_stmt *s = NULL;
	int r = prepare(history, "INSERT OR REPLACE INTO evidence_of VALUES (?, ?)", &s);

	if (r < 0)
		return r;
	sqlite3_bind_int64(s, 1, sqlite3_last_insert_rowid(history_db(history)));
	sqlite3_bind_int64(s, 2, (int64_t)id);
	return finish(s);
}

int proof_trim(struct history *history, int64_t before_ms, int64_t most)
{
	sqlite3_stmt *s = NULL;
	int r = prepare(history,
			"DELETE FROM evidence WHERE time_ms < ? OR"
			" seq <= (SELECT max(seq) FROM evidence) - ?",
			&s);

	if (r < 0)
		return r;
	sqlite3_bind_int64(s, 1, before_ms);
	sqlite3_bind_int64(s, 2, most);
	r = finish(s);
	return r < 0 ? r
		     : history_error(sqlite3_exec(
			       history_db(history),
			       "DELETE FROM evidence_of WHERE event < (SELECT min(id) FROM event)",
			       NULL, NULL, NULL));
}

/* ---- reading ---- */

int proof_latest(struct history *history, const char *origin, const struct sw_evidence_key *key,
		 uint64_t *ret_time_ns, uint64_t *ret_noted)
{
	sqlite3_stmt *s = NULL;
	int code,
		r = prepare(history,
			    "SELECT time_ns, noted FROM evidence WHERE key_kind = ? AND key_id = ?"
			    " AND key_device = ? AND (key_kind <> ? OR dir_uid = ?)"
			    " AND origin = ? ORDER BY time_ns DESC LIMIT 1",
			    &s);

	if (r < 0)
		return r;
	sqlite3_bind_int64(s, 1, key->kind);
	sqlite3_bind_int64(s, 2, (int64_t)key->id);
	sqlite3_bind_int64(s, 3, key->device);
	sqlite3_bind_int64(s, 4, SW_KIND_DIR);
	sqlite3_bind_int64(s, 5, key->rest);
	sqlite3_bind_text(s, 6, origin, -1, SQLITE_STATIC);
	code = sqlite3_step(s);
	if (code == SQLITE_ROW) {
		*ret_time_ns = sqlite3_column_int64(s, 0);
		*ret_noted = sqlite3_column_int64(s, 1);
	}
	sqlite3_finalize(s);
	return code == SQLITE_DONE ? -ENOENT : history_error(code);
}

bool proof_has_trip(struct history *history, const char *origin, uint64_t id)
{
	sqlite3_stmt *s = NULL;
	bool has;

	if (prepare(history, "SELECT 1 FROM evidence WHERE origin = ? AND attempt = ? AND why & ?",
		    &s) < 0)
		return false;
	sqlite3_bind_text(s, 1, origin, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s, 2, (int64_t)id);
	sqlite3_bind_int(s, 3, EVIDENCE_TRIP);
	has = sqlite3_step(s) == SQLITE_ROW;
	sqlite3_finalize(s);
	return has;
}

/* The strings live until the next step. */
static struct proof proof_of_row(sqlite3_stmt *s)
{
	struct proof proof = {
		.time_ms = sqlite3_column_int64(s, 0),
		.origin = (const char *)sqlite3_column_text(s, 1),
		.row.key.kind = sqlite3_column_int64(s, 2),
		.row.key.id = sqlite3_column_int64(s, 3),
		.row.key.device = sqlite3_column_int64(s, 4),
		.noted = sqlite3_column_int64(s, 5),
		.stands_for = sqlite3_column_int64(s, 6),
		.row.why = sqlite3_column_int64(s, 7),
		.unit = (const char *)sqlite3_column_text(s, 8),
		.dir = (const char *)sqlite3_column_text(s, 9),
		.script = (const char *)sqlite3_column_text(s, 10),
		.guess = (const char *)sqlite3_column_text(s, 11),
		.found = (const char *)sqlite3_column_text(s, 12),
	};

	/* Its length was asked for. */
	memcpy(&proof.row.record, sqlite3_column_blob(s, 13), RECORD_LEN);
	evidence_terminate(&proof.row.record);
	if (proof.row.key.kind == SW_KIND_DIR)
		proof.row.key.rest = proof.row.record.dir.generation;
	return proof;
}

static int read_rows(sqlite3_stmt *s, int (*each)(const struct proof *proof, void *userdata),
		     void *userdata)
{
	struct proof proof;
	int code, r = 0;

	sqlite3_bind_int64(s, 1, RECORD_LEN);
	sqlite3_bind_int64(s, 2, SW_ABI_VERSION);
	while (r == 0 && (code = sqlite3_step(s)) == SQLITE_ROW) {
		proof = proof_of_row(s);
		r = each(&proof, userdata);
	}
	sqlite3_finalize(s);
	return r ? r : history_error(code);
}

/* A history that an older daemon has begun has no such table. */
static int prepare_read(struct history *history, const char *sql, sqlite3_stmt **ret)
{
	sqlite3_stmt *s = NULL;
	int code, r = prepare(history,
			      "SELECT 1 FROM sqlite_master WHERE type = 'table'"
			      " AND name = 'evidence'",
			      &s);

	if (r < 0)
		return r;
	code = sqlite3_step(s);
	sqlite3_finalize(s);
	if (code != SQLITE_ROW)
		return code == SQLITE_DONE ? -ENOENT : history_error(code);
	return prepare(history, sql, ret);
}

int proof_read(struct history *history, int64_t since_ms,
	       int (*each)(const struct proof *proof, void *userdata), void *userdata)
{
	sqlite3_stmt *s = NULL;
	int r = prepare_read(history, SHOWN "time_ms >= ?3 ORDER BY time_ms", &s);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	sqlite3_bind_int64(s, 3, since_ms);
	return read_rows(s, each, userdata);
}

int proof_of(struct history *history, const struct sw_subject *subject, int most,
	     int (*each)(const struct proof *proof, void *userdata), void *userdata)
{
	static const char *const sql[SW_LOCAL_KINDS] = {
		[SW_KIND_UID] = SHOWN "uid = ?3 ORDER BY time_ms DESC LIMIT ?6",
		[SW_KIND_UNIT] = SHOWN "unit_id = ?3 ORDER BY time_ms DESC LIMIT ?6",
		[SW_KIND_DIR] = SHOWN "inode = ?3 AND device = ?4 AND dir_uid = ?5"
				      " ORDER BY time_ms DESC LIMIT ?6",
	};
	const int64_t id[SW_LOCAL_KINDS] = {
		[SW_KIND_UID] = subject->uid,
		[SW_KIND_UNIT] = (int64_t)subject->unit,
		[SW_KIND_DIR] = (int64_t)subject->dir.inode,
	};
	sqlite3_stmt *s = NULL;
	int r;

	if (subject->kind >= SW_LOCAL_KINDS)
		return 0;
	r = prepare_read(history, sql[subject->kind], &s);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	sqlite3_bind_int64(s, 3, id[subject->kind]);
	sqlite3_bind_int64(s, 4, subject->dir.device);
	sqlite3_bind_int64(s, 5, subject->dir.generation);
	sqlite3_bind_int64(s, 6, most);
	return read_rows(s, each, userdata);
}

int proof_of_event(struct history *history, int64_t event,
		   int (*each)(const struct proof *proof, void *userdata), void *userdata)
{
	sqlite3_stmt *s = NULL;
	int r = prepare_read(
		history, SHOWN "attempt = (SELECT attempt FROM evidence_of WHERE event = ?3)", &s);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	sqlite3_bind_int64(s, 3, event);
	return read_rows(s, each, userdata);
}

int proof_one(struct history *history, uint64_t id,
	      int (*each)(const struct proof *proof, void *userdata), void *userdata)
{
	sqlite3_stmt *s = NULL;
	int r = prepare_read(history, SHOWN "attempt = ?3 ORDER BY time_ms DESC", &s);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	sqlite3_bind_int64(s, 3, (int64_t)id);
	return read_rows(s, each, userdata);
}
