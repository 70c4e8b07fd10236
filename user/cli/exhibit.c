// SPDX-License-Identifier: GPL-2.0-or-later
#include "exhibit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "path.h"
#include "quantity.h"
#include "scope.h"

#define EXHIBITS 40 /* at most */
#define OF_HISTORY 10
#define SAID 5 /* to people */

/* ---- loading ---- */

void exhibit_clear(struct exhibit *e)
{
	free(e->unit);
	free(e->dir);
	free(e->found);
}

void exhibits_free(struct exhibits *exhibits)
{
	size_t i;

	for (i = 0; i < exhibits->n; i++)
		exhibit_clear(&exhibits->exhibit[i]);
	free(exhibits->exhibit);
}

struct loading {
	const struct view *view;
	struct exhibits *exhibits;
	const char *origin; /* of the map that is there now */
};

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

static char *subject_copy(const struct view *view, const struct sw_evidence *record,
			  enum sw_kind kind)
{
	struct sw_subject subject;
	char text[SUBJECT_LEN];

	if (!evidence_subject(record, kind, &subject))
		return NULL;
	view_subject_text(view, &subject, text);
	return strdup(text);
}

static int load_map(const struct cli *cli, struct loading *l, const struct sw_subject *subject,
		    int fd)
{
	_cleanup_free_ struct evidence_row *row = NULL;
	struct exhibit *e;
	size_t i, n;
	int r;

	(void)cli;
	r = evidence_all(fd, &row, &n);
	for (i = 0; r == 0 && i < n && l->exhibits->n < EXHIBITS - OF_HISTORY; i++) {
		if (!evidence_is_of(&row[i].record, subject))
			continue;
		e = &l->exhibits->exhibit[l->exhibits->n++];
		*e = (struct exhibit){
			.row = row[i],
			.wall_ns = view_wall(l->view, row[i].record.time_ns),
			.unit = subject_copy(l->view, &row[i].record, SW_KIND_UNIT),
			.dir = subject_copy(l->view, &row[i].record, SW_KIND_DIR),
		};
	}
	return r;
}

static struct exhibit *already(const struct loading *l, const struct proof *proof)
{
	size_t i;

	for (i = 0; i < l->exhibits->n; i++)
		if (l->exhibits->exhibit[i].row.record.id == proof->row.record.id &&
		    strcmp(proof->origin, l->origin) == 0)
			return &l->exhibits->exhibit[i];
	return NULL;
}

struct exhibit exhibit_of(const struct proof *proof)
{
	return (struct exhibit){
		.row = proof->row,
		.wall_ns = proof->time_ms * 1000000,
		.past = true,
		.unit = copy(proof->unit),
		.dir = copy(proof->dir),
		.found = copy(proof->found),
	};
}

static int take_proof(const struct proof *proof, void *userdata)
{
	struct loading *l = userdata;
	struct exhibit *e = already(l, proof);
	__u8 verdict;

	if (e && !e->found)
		e->found = copy(proof->found);
	if (e && !e->row.record.exe_path.count) { /* but a sketch of it is left */
		verdict = e->row.record.verdict;
		e->row.record = proof->row.record;
		e->row.record.verdict = verdict;
	}
	if (e || l->exhibits->n == EXHIBITS)
		return 0;
	l->exhibits->exhibit[l->exhibits->n++] = exhibit_of(proof);
	return 0;
}

/* Without a history there is what the map has. */
static int load_history(const struct cli *cli, struct loading *l, const struct sw_subject *subject,
			const __u64 *block, size_t n_blocks)
{
	struct history *history;
	size_t i;
	int r;

	r = history_open(cli->state_dir, false, &history);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	for (i = 0; i < n_blocks && r == 0; i++)
		if (block[i])
			r = proof_one(history, block[i], take_proof, l);
	if (r == 0)
		r = proof_of(history, subject, OF_HISTORY, take_proof, l);
	history_close(history);
	return r;
}

/* By the clock of the wall: the history may be of another boot. */
static int newest_first(const void *a, const void *b)
{
	const struct exhibit *one = a, *other = b;

	return one->wall_ns == other->wall_ns ? 0 : one->wall_ns > other->wall_ns ? -1 : 1;
}

int exhibits_load(const struct cli *cli, const struct view *view, const struct sw_subject *subject,
		  const __u64 *block, size_t n_blocks, struct exhibits *ret)
{
	char origin[PROOF_ORIGIN_LEN] = "";
	struct loading l = { .view = view, .exhibits = ret, .origin = origin };
	_cleanup_close_ int fd = -1;
	int r;

	ret->exhibit = calloc(EXHIBITS, sizeof(*ret->exhibit));
	r = ret->exhibit ? evidence_open(cli->pin_dir, &fd) : -ENOMEM;
	if (r == 0)
		r = proof_origin(fd, origin);
	if (r == 0)
		r = load_map(cli, &l, subject, fd);
	if (r < 0)
		return log_errno(r, "cannot read the evidence in '%s'", cli->pin_dir);
	r = load_history(cli, &l, subject, block, n_blocks);
	if (r < 0)
		log_warning("cannot read the history in '%s', so this is only what the kernel has: "
			    "%s",
			    cli->state_dir, strerror(-r));
	qsort(ret->exhibit, ret->n, sizeof(*ret->exhibit), newest_first);
	return 0;
}

/* ---- words ---- */

/* "/var/www/shop" of "dir:/var/www/shop". */
static const char *bare(const char *subject)
{
	const char *colon = subject ? strchr(subject, ':') : NULL;

	return colon ? colon + 1 : subject;
}

static const char *address_words(const struct sw_evidence *record,
				 char text[static INET6_ADDRSTRLEN])
{
	static const __u8 mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool v4 = memcmp(record->daddr, mapped, sizeof(mapped)) == 0;

	return inet_ntop(v4 ? AF_INET : AF_INET6, record->daddr + (v4 ? 12 : 0), text,
			 INET6_ADDRSTRLEN);
}

static struct json_object *found_of(const struct exhibit *e)
{
	return e->found ? json_tokener_parse(e->found) : NULL;
}

static const char *found_text(struct json_object *found, const char *key)
{
	return json_object_get_string(json_object_object_get(found, key));
}

/* What the daemon has completed, else what the record has. Only the root itself has no names. */
static const char *exe_of(const struct exhibit *e, struct json_object *found,
			  char text[static PATH_TEXT_LEN])
{
	const struct sw_path *path = &e->row.record.exe_path;
	const char *whole = found_text(found, "exe");

	if (whole)
		return whole;
	return path->count && path_text(path, 0, text, PATH_TEXT_LEN) >= 0 ? text : NULL;
}

static const char *cwd_of(const struct exhibit *e, struct json_object *found,
			  char text[static PATH_TEXT_LEN])
{
	const char *whole = found_text(found, "cwd");

	if (whole)
		return whole;
	return path_text(&e->row.record.cwd_path, 0, text, PATH_TEXT_LEN) >= 0 ? text : NULL;
}

/* ---- JSON ---- */

static const struct {
	unsigned int why;
	const char *name, *said;
} reasons[] = {
	{ EVIDENCE_TRIP, "over_the_limit", "it went over the limit" },
	{ EVIDENCE_FIRST, "first_of_window", "the first of its window" },
	{ EVIDENCE_LAST, "last", NULL },
};

static void write_why(struct writer *w, const struct exhibit *e)
{
	size_t i;

	writer_list(w, "why");
	for (i = 0; i < ARRAY_SIZE(reasons); i++)
		if (e->row.why & reasons[i].why)
			writer_text(w, NULL, reasons[i].name);
	writer_end(w);
}

/* Of which paths this is so. */
static void write_flagged(struct writer *w, const char *key, const struct sw_evidence *record,
			  __u8 flag)
{
	writer_list(w, key);
	if (record->exe_path.flags & flag)
		writer_text(w, NULL, "exe");
	if (record->cwd_path.flags & flag)
		writer_text(w, NULL, "cwd");
	writer_end(w);
}

static void write_argv(struct writer *w, const struct sw_evidence *record)
{
	const char *word = evidence_argument(record, NULL);

	writer_list(w, "argv");
	for (; word; word = evidence_argument(record, word))
		writer_text(w, NULL, word);
	writer_end(w);
}

/* A container's numbers are nobody's here, and those of a user namespace may have none. */
static bool is_known(const struct sw_evidence *record, __u32 number)
{
	return number != SW_UID_OVERFLOW && !(record->tag_flags & SW_TAG_UNIT);
}

static void write_person(struct writer *w, const char *key, const struct sw_evidence *record,
			 __u32 number)
{
	if (is_known(record, number))
		writer_number(w, key, number);
	else
		writer_null(w, key);
}

/* As text: it is more than JavaScript's numbers hold. */
void evidence_id_write(struct writer *w, const char *key, __u64 id)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", id);
	writer_text(w, key, id ? text : NULL);
}

static void write_kernel(struct writer *w, const struct exhibit *e, struct json_object *found)
{
	const struct sw_evidence *record = &e->row.record;
	char exe[PATH_TEXT_LEN], cwd[PATH_TEXT_LEN], address[INET6_ADDRSTRLEN];

	evidence_id_write(w, "id", record->id);
	writer_time(w, "time", e->wall_ns);
	write_why(w, e);
	writer_text(w, "verdict", evidence_verdict(record));
	writer_text(w, "road", record->road < SW_ROADS ? road_name(record->road) : NULL);
	writer_text(w, "destination", address_words(record, address));
	writer_number(w, "port", record->port);
	writer_number(w, "pid", record->pid);
	writer_number(w, "ppid", record->ppid);
	write_person(w, "uid", record, record->uid);
	write_person(w, "gid", record, record->gid);
	writer_text(w, "comm", record->comm);
	writer_text(w, "exe", exe_of(e, found, exe));
	writer_text(w, "cwd", cwd_of(e, found, cwd));
	writer_text(w, "dir", bare(e->dir));
	writer_text(w, "unit", bare(e->unit));
	write_argv(w, record);
	write_flagged(w, "truncated", record, SW_PATH_TRUNCATED);
	write_flagged(w, "deleted", record, SW_PATH_DELETED);
	writer_text(w, "helo", *record->helo ? record->helo : NULL);
	writer_text(w, "mail_from", *record->mail_from ? record->mail_from : NULL);
}

/* A list that the daemon has made, of numbers, texts, lists and objects. */
static void write_value(struct writer *w, const char *key, struct json_object *value);

static void write_members(struct writer *w, struct json_object *object)
{
	json_object_object_foreach(object, key, value)
	{
		if (strcmp(key, "changed") == 0)
			writer_time(w, key, json_object_get_int64(value) * 1000000000);
		else
			write_value(w, key, value);
	}
}

static void write_value(struct writer *w, const char *key, struct json_object *value)
{
	size_t i;

	switch (json_object_get_type(value)) {
	case json_type_array:
		writer_list(w, key);
		for (i = 0; i < json_object_array_length(value); i++)
			write_value(w, NULL, json_object_array_get_idx(value, i));
		writer_end(w);
		return;
	case json_type_object:
		writer_object(w, key);
		write_members(w, value);
		writer_end(w);
		return;
	case json_type_int:
		writer_number(w, key, json_object_get_uint64(value));
		return;
	default:
		writer_text(w, key, json_object_get_string(value));
	}
}

/* What the daemon says, else what the record does. */
static const char *script_of(const struct exhibit *e, struct json_object *found,
			     char text[static PATH_MAX])
{
	const char *script = found_text(found, "script");

	if (script)
		return script;
	return evidence_script(&e->row.record, text) ? text : NULL;
}

static const char *scope_of(const struct exhibit *e, struct json_object *found, const char *key,
			    bool (*of_path)(const char *path, char ret[static SCOPE_LEN]),
			    char text[static SCOPE_LEN])
{
	const char *known = found_text(found, key);

	if (known || !e->unit || !strchr(e->unit, '/'))
		return known;
	return of_path(strchr(e->unit, '/'), text) ? text : NULL;
}

static void write_added(struct writer *w, struct json_object *found)
{
	static const char *const keys[] = { "exe",	"cwd",		"parents",   "script",
					    "container", "systemd_unit", "candidates" };
	size_t i;

	writer_list(w, "added_by_daemon");
	for (i = 0; i < ARRAY_SIZE(keys); i++)
		if (json_object_object_get(found, keys[i]))
			writer_text(w, NULL, keys[i]);
	writer_end(w);
}

static void write_list(struct writer *w, const char *key, struct json_object *found)
{
	struct json_object *list = json_object_object_get(found, key);

	if (json_object_is_type(list, json_type_array))
		write_value(w, key, list);
	else
		writer_null(w, key);
}

static void write_one(struct writer *w, const char *key, const struct exhibit *e)
{
	struct json_object *found = found_of(e);
	char scope[SCOPE_LEN], script[PATH_MAX];

	writer_object(w, key);
	write_kernel(w, e, found);
	writer_text(w, "script", script_of(e, found, script));
	write_list(w, "candidates", found);
	write_list(w, "parents", found);
	writer_text(w, "container", scope_of(e, found, "container", scope_container, scope));
	writer_text(w, "systemd_unit", scope_of(e, found, "systemd_unit", scope_unit, scope));
	write_added(w, found);
	if (!key)
		writer_flag(w, "in_kernel", !e->past);
	writer_end(w);
	json_object_put(found);
}

void exhibits_write(struct writer *w, const struct exhibits *exhibits)
{
	size_t i;

	writer_list(w, "evidence");
	for (i = 0; i < exhibits->n; i++)
		write_one(w, NULL, &exhibits->exhibit[i]);
	writer_end(w);
}

void exhibit_write(struct writer *w, const struct exhibit *exhibit)
{
	write_one(w, "evidence", exhibit);
}

/* ---- for people ---- */

static void say_attempt(struct writer *w, const struct exhibit *e)
{
	const struct sw_evidence *record = &e->row.record;
	time_t seconds = e->wall_ns / 1000000000;
	char when[32], address[INET6_ADDRSTRLEN];
	struct tm tm;
	size_t i;

	localtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	for (i = 0; i < ARRAY_SIZE(reasons) - 1; i++)
		if (e->row.why & reasons[i].why)
			break;
	writer_say(w, "%s  %s: %s port %u%s%s%s", when, evidence_verdict(record),
		   address_words(record, address), record->port, reasons[i].said ? " (" : "",
		   reasons[i].said ? reasons[i].said : "", reasons[i].said ? ")" : "");
}

static void say_process(struct writer *w, const struct exhibit *e, struct json_object *found)
{
	const struct sw_evidence *record = &e->row.record;
	char cwd[PATH_TEXT_LEN], exe[PATH_TEXT_LEN], words[2 * SW_ARGV_LEN] = "", uid[16] = "?";
	const char *in = cwd_of(e, found, cwd), *of = exe_of(e, found, exe), *word;
	size_t at = 0;

	for (word = evidence_argument(record, NULL); word; word = evidence_argument(record, word))
		at += snprintf(words + at, sizeof(words) - at, "%s%s", at ? " " : "", word);
	writer_say(w, "    in %s%s", in ? in : "?",
		   record->cwd_path.flags & SW_PATH_DELETED ? " (removed)" : "");
	if (is_known(record, record->uid))
		snprintf(uid, sizeof(uid), "%u", record->uid);
	writer_say(w, "    pid %u \"%s\", uid %s, %s%s: %s", record->pid, record->comm, uid,
		   of ? of : "?", record->exe_path.flags & SW_PATH_DELETED ? " (removed)" : "",
		   words);
}

static void say_candidates(struct writer *w, struct json_object *found)
{
	struct json_object *list = json_object_object_get(found, "candidates"), *one, *calls;
	char ago[WRITER_SPAN_LEN];
	struct timespec now;
	size_t i, n;

	clock_gettime(CLOCK_REALTIME, &now);
	n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
	for (i = 0; i < n && i < 3; i++) {
		one = json_object_array_get_idx(list, i);
		calls = json_object_object_get(one, "calls");
		span_format(ago, (now.tv_sec -
				  json_object_get_int64(json_object_object_get(one, "changed"))) *
					 1000000000);
		writer_say(w, "    perhaps %s, changed %s ago, calls %s", found_text(one, "path"),
			   ago, json_object_get_string(json_object_array_get_idx(calls, 0)));
	}
}

static void say_exhibit(struct writer *w, const struct exhibit *e)
{
	const struct sw_evidence *record = &e->row.record;
	struct json_object *found = found_of(e);
	char text[PATH_MAX];
	const char *script = script_of(e, found, text);

	say_attempt(w, e);
	say_process(w, e, found);
	if (script)
		writer_say(w, "    script %s", script);
	else if (found_text(found, "guess"))
		say_candidates(w, found);
	if (e->unit)
		writer_say(w, "    %s", e->unit);
	if (*record->helo || *record->mail_from)
		writer_say(w, "    said %s%s%s", record->helo,
			   *record->helo && *record->mail_from ? ", " : "", record->mail_from);
	json_object_put(found);
}

/* What went over a limit first, then the newest. */
void exhibits_say(struct writer *w, const struct exhibits *exhibits)
{
	size_t i, said = 0;
	bool over;
	int pass;

	if (exhibits->n == 0)
		return;
	writer_say(w, "%s", "");
	writer_say(w, "EVIDENCE");
	for (pass = 0; pass < 2; pass++) {
		for (i = 0; i < exhibits->n && said < SAID; i++) {
			over = exhibits->exhibit[i].row.why & EVIDENCE_TRIP;
			if (over != (pass == 0))
				continue;
			say_exhibit(w, &exhibits->exhibit[i]);
			said++;
		}
	}
	if (exhibits->n > said)
		writer_say(w, "and %zu more: smtpwall -j show", exhibits->n - said);
}
