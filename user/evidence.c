// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/bpf.h>

#include "evidence.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "path.h"

#define BATCH 64

int evidence_open(const char *pin_dir, int *ret_fd)
{
	return pinned_map(pin_dir, "evidence", sizeof(struct sw_evidence_key),
			  sizeof(struct sw_evidence), ret_fd);
}

/* ---- one key ---- */

static unsigned int why_of(__u32 slot)
{
	if (slot == SW_EVIDENCE_FIRST)
		return EVIDENCE_FIRST;
	return slot == SW_EVIDENCE_TRIP ? EVIDENCE_TRIP : EVIDENCE_LAST;
}

/* The kernel may be writing: a record is whole if its id is the same before and after. */
static int read_slot(int fd, const struct sw_evidence_key *key, struct sw_evidence *ret)
{
	struct sw_evidence again;

	if (bpf_map_lookup_elem(fd, key, ret) < 0 || bpf_map_lookup_elem(fd, key, &again) < 0)
		return -errno;
	if (!ret->id || ret->id != again.id || ret->time_ns != ret->id / SW_EVIDENCE_LAST)
		return -EAGAIN; /* two may write into one that is kept by several */
	evidence_terminate(ret);
	return 0;
}

int evidence_of_key(int fd, const struct sw_evidence_key *key,
		    struct evidence_row ret[static SW_EVIDENCE_SLOTS], size_t *ret_n)
{
	struct sw_evidence_key at = *key;
	size_t n = 0;
	__u32 slot;
	int r;

	for (slot = 0; slot < SW_EVIDENCE_SLOTS; slot++) {
		at.slot = slot;
		r = read_slot(fd, &at, &ret[n].record);
		if (r == -ENOENT || r == -EAGAIN)
			continue;
		if (r < 0)
			return r;
		ret[n].key = *key;
		ret[n].key.slot = 0;
		ret[n++].why = why_of(slot);
	}

	*ret_n = evidence_unite(ret, n);
	return 0;
}

/* ---- all of them ---- */

int evidence_step(int fd, struct pinned_walk *walk, size_t most,
		  void (*each)(const struct sw_evidence_key *key, const struct sw_evidence *record,
			       void *userdata),
		  void *userdata)
{
	_cleanup_(pinned_batch_clear) struct pinned_batch batch = {};
	const struct sw_evidence_key *key;
	const struct sw_evidence *record;
	size_t seen = 0;
	uint32_t i, n;
	int r;

	r = pinned_batch_new(sizeof(*key), sizeof(*record), BATCH, &batch);
	while (r == 0 && seen < most) {
		r = pinned_read(fd, walk, &batch, &n);
		if (r < 0)
			return r;
		key = (const void *)batch.keys;
		record = (const void *)batch.values;
		for (i = 0; i < n; i++)
			if (record[i].id)
				each(&key[i], &record[i], userdata);
		seen += n;
	}
	return r;
}

struct rows {
	struct evidence_row *row;
	size_t n, room;
	bool failed;
};

static void rows_add(const struct sw_evidence_key *key, const struct sw_evidence *record,
		     void *userdata)
{
	struct rows *rows = userdata;
	struct evidence_row *more;

	if (rows->n == rows->room && !rows->failed) {
		more = realloc(rows->row, (rows->room * 2 + BATCH) * sizeof(*more));
		rows->failed = !more;
		rows->row = more ? more : rows->row;
		rows->room = more ? rows->room * 2 + BATCH : rows->room;
	}
	if (rows->failed)
		return;
	(void)record; /* read again: it may have been half written */
	rows->row[rows->n++].key = *key;
}

/* What the kernel was writing meanwhile is left out. */
static size_t only_whole(int fd, struct evidence_row *row, size_t n)
{
	struct sw_evidence record;
	size_t i, whole = 0;

	for (i = 0; i < n; i++) {
		if (read_slot(fd, &row[i].key, &record) < 0)
			continue;
		row[whole] = (struct evidence_row){ .key = row[i].key,
						    .why = why_of(row[i].key.slot),
						    .record = record };
		row[whole++].key.slot = 0;
	}
	return whole;
}

int evidence_all(int fd, struct evidence_row **ret, size_t *ret_n)
{
	struct pinned_walk walk = {};
	struct rows rows = {};
	int r = evidence_step(fd, &walk, SIZE_MAX, rows_add, &rows);

	if (r >= 0 && rows.failed)
		r = -ENOMEM;
	if (r < 0) {
		free(rows.row);
		return r;
	}

	*ret = rows.row;
	*ret_n = evidence_unite(rows.row, only_whole(fd, rows.row, rows.n));
	return 0;
}

/* ---- records ---- */

static int newest_first(const void *a, const void *b)
{
	const struct evidence_row *one = a, *other = b;

	if (one->record.time_ns != other->record.time_ns)
		return one->record.time_ns > other->record.time_ns ? -1 : 1;
	return one->record.id == other->record.id ? 0 : one->record.id > other->record.id ? -1 : 1;
}

static enum sw_kind keeper_kind(const struct sw_evidence *record)
{
	if (record->tag_flags & SW_TAG_SITE)
		return SW_KIND_DIR;
	return record->tag_flags & SW_TAG_UNIT ? SW_KIND_UNIT : SW_KIND_UID;
}

bool evidence_is_own(const struct sw_evidence_key *key, const struct sw_evidence *record)
{
	struct sw_subject keeper = evidence_keeper(key), its;

	return evidence_subject(record, keeper_kind(record), &its) &&
	       memcmp(&its, &keeper, sizeof(its)) == 0;
}

/* One that went over its limit long after its connect() says so; but it may be but a sketch. */
static bool says_more(const struct evidence_row *row, const struct evidence_row *than)
{
	if (!row->record.exe_path.count != !than->record.exe_path.count)
		return row->record.exe_path.count;
	return row->why & EVIDENCE_TRIP;
}

static void unite(struct evidence_row *with, const struct evidence_row *row)
{
	__u8 verdict = row->why & EVIDENCE_TRIP ? row->record.verdict : with->record.verdict;

	if (says_more(row, with))
		with->record = row->record;
	with->record.verdict = verdict;
	if (evidence_is_own(&row->key, &row->record))
		with->key = row->key;
	with->why |= row->why;
}

size_t evidence_unite(struct evidence_row *row, size_t n)
{
	size_t i, left = 0;

	if (n)
		qsort(row, n, sizeof(*row), newest_first);
	for (i = 0; i < n; i++) {
		if (left && row[left - 1].record.id == row[i].record.id)
			unite(&row[left - 1], &row[i]);
		else
			row[left++] = row[i];
	}
	return left;
}

struct sw_subject evidence_keeper(const struct sw_evidence_key *key)
{
	struct sw_subject subject = { .kind = key->kind };

	switch (key->kind) {
	case SW_KIND_UID:
		subject.uid = key->id;
		break;
	case SW_KIND_UNIT:
		subject.unit = key->id;
		break;
	case SW_KIND_DIR:
		subject.dir.inode = key->id;
		subject.dir.device = key->device;
		subject.dir.generation = key->rest;
		break;
	}
	return subject;
}

bool evidence_subject(const struct sw_evidence *record, enum sw_kind kind, struct sw_subject *ret)
{
	struct sw_subject subject = { .kind = kind };

	switch (kind) {
	case SW_KIND_UID:
		subject.uid = record->uid;
		*ret = subject;
		return !(record->tag_flags & SW_TAG_UNIT);
	case SW_KIND_UNIT:
		subject.unit = record->unit;
		*ret = subject;
		return record->unit != 0;
	case SW_KIND_DIR:
		subject.dir = record->dir;
		*ret = subject;
		return record->tag_flags & SW_TAG_DIR;
	case SW_KIND_IP:
	case SW_KINDS:
		break;
	}
	return false;
}

bool evidence_is_of(const struct sw_evidence *record, const struct sw_subject *subject)
{
	struct sw_subject its;

	return evidence_subject(record, subject->kind, &its) &&
	       memcmp(&its, subject, sizeof(its)) == 0;
}

void evidence_terminate(struct sw_evidence *record)
{
	if (record->argv_len > SW_ARGV_LEN - 1)
		record->argv_len = SW_ARGV_LEN - 1;
	record->argv[record->argv_len] = '\0';
	record->comm[SW_COMM_LEN - 1] = '\0';
	record->helo[SW_LINE_LEN - 1] = '\0';
	record->mail_from[SW_LINE_LEN - 1] = '\0';
	record->exe_path.names[SW_PATH_LEN - 1] = '\0';
	record->cwd_path.names[SW_PATH_LEN - 1] = '\0';
}

const char *evidence_argument(const struct sw_evidence *record, const char *before)
{
	const char *next = before ? before + strlen(before) + 1 : record->argv;

	return next < record->argv + record->argv_len ? next : NULL;
}

const char *evidence_verdict(const struct sw_evidence *record)
{
	static const char *const name[] = {
		[SW_VERDICT_ADMITTED] = "admitted",
		[SW_VERDICT_REFUSED] = "refused",
		[SW_VERDICT_WOULD_REFUSE] = "would_refuse",
		[SW_VERDICT_REDIRECTED] = "redirected",
	};

	return record->verdict < ARRAY_SIZE(name) ? name[record->verdict] : "unknown";
}

/* ---- scripts ---- */

/* Programs that run a script, and which of their options are not the script. */
static const struct interpreter {
	const char *name;  /* what follows it is a version: "php8.2" */
	const char *takes; /* options that are followed by a word */
	const char *code;  /* options with the program in the next word: there is no script */
	char file;	   /* the option whose word is the script; 0: none */
} interpreters[] = {
	{ "php-cgi", "cdztT", "rBRFE", 'f' },
	{ "php-fpm", "", "", 0 },
	{ "php", "cdzt", "rBRFES", 'f' },
	{ "lsphp", "cdz", "", 'f' },
	{ "python", "WX", "cm", 0 },
	{ "perl", "", "eE", 0 },
	{ "ruby", "ICr", "e", 0 },
	{ "node", "r", "ep", 0 },
	{ "bash", "oO", "c", 0 },
	{ "dash", "o", "c", 0 },
	{ "sh", "o", "c", 0 },
};

static const struct interpreter *interpreter_of(const char *program)
{
	size_t i, length;

	for (i = 0; i < ARRAY_SIZE(interpreters); i++) {
		length = strlen(interpreters[i].name);
		if (strncmp(program, interpreters[i].name, length) == 0 &&
		    !program[length + strspn(program + length, "0123456789.")])
			return &interpreters[i];
	}
	return NULL;
}

bool evidence_interprets(const struct sw_evidence *record)
{
	static const char *const servers[] = { "apache2", "httpd", "litespeed", "openlitespeed",
					       "uwsgi",	  "nginx", "unitd",	"lighttpd",
					       "caddy",	  "hhvm",  "frankenphp" };
	const char *program = record->exe_path.names; /* its last name comes first */
	size_t i;

	if (!record->exe_path.count)
		return false;
	for (i = 0; i < ARRAY_SIZE(servers); i++)
		if (strcmp(program, servers[i]) == 0)
			return true;
	return interpreter_of(program) != NULL;
}

static const char *script_argument(const struct sw_evidence *record,
				   const struct interpreter *interpreter)
{
	const char *word = evidence_argument(record, NULL);

	while (word && (word = evidence_argument(record, word))) {
		if (word[0] != '-')
			return *word ? word : NULL;
		if (!word[1] || strchr(interpreter->code, word[1]))
			return NULL;
		if (strcmp(word, "--") == 0 || (word[1] == interpreter->file && !word[2]))
			return evidence_argument(record, word);
		if (strchr(interpreter->takes, word[1]) && !word[2])
			word = evidence_argument(record, word);
	}
	return NULL;
}

static bool script_path(const struct sw_evidence *record, const char *word,
			char ret[static PATH_MAX])
{
	char cwd[PATH_TEXT_LEN];

	if (word[0] == '/')
		return snprintf(ret, PATH_MAX, "%s", word) < PATH_MAX;
	while (strncmp(word, "./", 2) == 0)
		word += 2;
	if (path_text(&record->cwd_path, 0, cwd, sizeof(cwd)) < 0)
		return false;
	return snprintf(ret, PATH_MAX, "%s/%s", strcmp(cwd, "/") ? cwd : "", word) < PATH_MAX;
}

bool evidence_script(const struct sw_evidence *record, char ret[static PATH_MAX])
{
	const char *title = evidence_argument(record, NULL), *word;
	const struct interpreter *interpreter;

	if (title && strncmp(title, "lsphp:/", 7) == 0) /* what LSAPI writes over its arguments */
		return script_path(record, title + 6, ret);
	interpreter = record->exe_path.count ? interpreter_of(record->exe_path.names) : NULL;
	word = interpreter ? script_argument(record, interpreter) : NULL;
	return word && script_path(record, word, ret);
}
