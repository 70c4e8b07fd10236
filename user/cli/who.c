// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * smtpwall who: who sends most, and from where. The history says what the daemon has kept; what
 * has come since then is in the map, so it works with the daemon dead.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <search.h>
#include <string.h>

#include "blocked.h"
#include "cli.h"
#include "log.h"
#include "proof.h"
#include "span.h"
#include "view.h"
#include "writer.h"

#define HOUR_MS (3600 * 1000LL)
#define ROWS 10

enum group { BY_UID, BY_DIR, BY_SCRIPT, BY_UNIT, BY_DESTINATION, GROUPS };

static const struct {
	const char *name;
	const char *title;
} groups[GROUPS] = {
	[BY_UID] = { "uid", "USER" },
	[BY_DIR] = { "dir", "FOLDER" },
	[BY_SCRIPT] = { "script", "SCRIPT" },
	[BY_UNIT] = { "unit", "UNIT" },
	[BY_DESTINATION] = { "destination", "DESTINATION" },
};

struct counted {
	char *subject;
	struct sw_subject whom; /* if it can be blocked */
	bool guessed;
	bool estimated; /* from a sample of the attempts */
	uint64_t count;
	int64_t first_ns, last_ns;
};

struct who {
	const struct view *view;
	struct history *history; /* NULL: there is none */
	int evidence;
	char origin[PROOF_ORIGIN_LEN];
	int64_t since_ms;
	size_t most; /* rows of a group */
	void *tree[GROUPS];
	struct counted **sorted; /* of the group that is written */
	size_t n_sorted;
	uint64_t total;
	struct blocked *blocked;
	size_t n_blocked;
};

/* ---- counting ---- */

static int by_subject(const void *a, const void *b)
{
	const struct counted *one = a, *other = b;

	return strcmp(one->subject, other->subject);
}

static void counted_free(void *entry)
{
	free(((struct counted *)entry)->subject);
	free(entry);
}

static struct counted *counted_new(const char *subject, const struct sw_subject *whom)
{
	struct counted *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	entry->subject = strdup(subject);
	entry->whom = whom ? *whom : (struct sw_subject){ .kind = SW_KINDS };
	if (entry->subject)
		return entry;
	free(entry);
	return NULL;
}

static struct counted *counted_get(struct who *who, enum group group, const char *subject,
				   const struct sw_subject *whom)
{
	struct counted wanted = { .subject = (char *)subject };
	struct counted **found = tfind(&wanted, &who->tree[group], by_subject);
	struct counted *entry;

	if (found)
		return *found;
	entry = counted_new(subject, whom);
	if (entry && !tsearch(entry, &who->tree[group], by_subject)) {
		counted_free(entry);
		entry = NULL;
	}
	return entry;
}

/*
 * Attempts up to `wall_ns`. Only of whose evidence it is are all attempts counted; whom else they
 * were of is known of those whose evidence was kept.
 */
static int count(struct who *who, enum group group, const char *subject,
		 const struct sw_subject *whom, const struct proof *proof)
{
	struct counted *entry = subject ? counted_get(who, group, subject, whom) : NULL;
	int64_t wall_ns = proof->time_ms * 1000000;

	if (!entry)
		return subject ? -ENOMEM : 0;
	entry->count += proof->stands_for;
	if (proof->stands_for > 1 && !(whom && whom->kind == proof->row.key.kind))
		entry->estimated = true;
	if (entry->first_ns == 0 || wall_ns < entry->first_ns)
		entry->first_ns = wall_ns;
	if (wall_ns > entry->last_ns)
		entry->last_ns = wall_ns;
	return 0;
}

/* Whom a record is about, as it was called then or, unless that is known, as it is now. */
static int count_subject(struct who *who, enum group group, enum sw_kind kind,
			 const struct proof *proof, const char *called)
{
	struct sw_subject subject;
	char text[SUBJECT_LEN];

	if (!evidence_subject(&proof->row.record, kind, &subject))
		return 0;
	view_subject_text(who->view, &subject, text);
	return count(who, group, called ? called : text, &subject, proof);
}

static int count_destination(struct who *who, const struct proof *proof)
{
	static const __u8 mapped[12] = { [10] = 0xff, [11] = 0xff };
	const __u8 *address = proof->row.record.daddr;
	bool v4 = memcmp(address, mapped, sizeof(mapped)) == 0;
	char text[INET6_ADDRSTRLEN] = "?";

	inet_ntop(v4 ? AF_INET : AF_INET6, address + (v4 ? 12 : 0), text, sizeof(text));
	return count(who, BY_DESTINATION, text, NULL, proof);
}

static int count_script(struct who *who, const struct proof *proof)
{
	const char *script = proof->script ? proof->script : proof->guess;
	int r = count(who, BY_SCRIPT, script, NULL, proof);

	if (r == 0 && script && !proof->script)
		counted_get(who, BY_SCRIPT, script, NULL)->guessed = true;
	return r;
}

static int count_proof(const struct proof *proof, void *userdata)
{
	struct who *who = userdata;
	int r;

	if (!proof->stands_for) /* another record stands for it */
		return 0;
	r = count_subject(who, BY_UID, SW_KIND_UID, proof, NULL);
	r = r < 0 ? r : count_subject(who, BY_DIR, SW_KIND_DIR, proof, proof->dir);
	r = r < 0 ? r : count_subject(who, BY_UNIT, SW_KIND_UNIT, proof, proof->unit);
	r = r < 0 ? r : count_destination(who, proof);
	r = r < 0 ? r : count_script(who, proof);
	who->total += proof->stands_for;
	return r;
}

/* ---- what is not in the history yet ---- */

static int by_key(const void *a, const void *b)
{
	const struct evidence_row *one = a, *other = b;
	int order = memcmp(&one->key, &other->key, sizeof(one->key));

	if (order)
		return order;
	if (one->record.time_ns == other->record.time_ns)
		return 0;
	return one->record.time_ns > other->record.time_ns ? -1 : 1; /* newest first */
}

static uint64_t noted_by(struct who *who, const struct sw_evidence_key *key)
{
	struct sw_subject keeper = evidence_keeper(key);
	struct sw_ledger ledger = {};

	maps_ledger_get(who->view->maps, &keeper, &ledger);
	return ledger.noted;
}

/* The rows of one key, newest first: those that are not in the history stand for what is not. */
static int count_key(struct who *who, const struct evidence_row *row, size_t n)
{
	uint64_t kept_ns = 0, noted = 0, all = noted_by(who, &row->key);
	char script[PATH_MAX];
	struct proof proof;
	size_t i, fresh = 0;
	int r = 0;

	if (who->history)
		proof_latest(who->history, who->origin, &row->key, &kept_ns, &noted);
	while (fresh < n && row[fresh].record.time_ns > kept_ns)
		fresh++;
	if (all < noted + fresh)
		all = noted + fresh;
	for (i = 0; i < fresh && r == 0; i++) {
		proof = (struct proof){
			.row = row[i],
			.time_ms = view_wall(who->view, row[i].record.time_ns) / 1000000,
			.stands_for = proof_share(all - noted, fresh, i),
			.script = evidence_script(&row[i].record, script) ? script : NULL,
		};
		if (proof.time_ms >= who->since_ms)
			r = count_proof(&proof, who);
	}
	return r;
}

static int count_map(struct who *who)
{
	_cleanup_free_ struct evidence_row *row = NULL;
	size_t first, end, i, all, n = 0;
	int r;

	r = evidence_all(who->evidence, &row, &all);
	for (i = 0; r == 0 && i < all; i++)
		/* Else it is counted with those who are. */
		if (evidence_is_own(&row[i].key, &row[i].record))
			row[n++] = row[i];
	if (r == 0 && n)
		qsort(row, n, sizeof(*row), by_key);
	for (first = 0; r == 0 && first < n; first = end) {
		for (end = first + 1;
		     end < n && memcmp(&row[end].key, &row[first].key, sizeof(row->key)) == 0;)
			end++;
		r = count_key(who, row + first, end - first);
	}
	return r;
}

/* ---- writing ---- */

static struct who *sorting; /* twalk() gives no argument to its function */

static void gather(const void *node, VISIT visit, int depth)
{
	(void)depth;
	if (visit == postorder || visit == leaf)
		sorting->sorted[sorting->n_sorted++] = *(struct counted *const *)node;
}

static void measure(const void *node, VISIT visit, int depth)
{
	(void)node, (void)depth;
	if (visit == postorder || visit == leaf)
		sorting->n_sorted++;
}

static int most_first(const void *a, const void *b)
{
	const struct counted *one = *(struct counted *const *)a,
			     *other = *(struct counted *const *)b;

	if (one->count != other->count)
		return one->count > other->count ? -1 : 1;
	return strcmp(one->subject, other->subject);
}

static int sort_group(struct who *who, enum group group)
{
	sorting = who;
	who->n_sorted = 0;
	twalk(who->tree[group], measure);
	free(who->sorted);
	who->sorted = calloc(who->n_sorted + 1, sizeof(struct counted *));
	if (!who->sorted)
		return -ENOMEM;
	who->n_sorted = 0;
	twalk(who->tree[group], gather);
	qsort(who->sorted, who->n_sorted, sizeof(struct counted *), most_first);
	return 0;
}

static void write_blocked(struct writer *w, const struct who *who, const struct counted *entry)
{
	const struct blocked *blocked;

	if (entry->whom.kind == SW_KINDS) {
		writer_null(w, "blocked");
		writer_note(w, "stopped", "");
		return;
	}
	blocked = blocked_find(who->blocked, who->n_blocked, &entry->whom);
	writer_flag(w, "blocked", blocked && blocked_enforced(who->view, blocked));
	writer_note(w, "stopped",
		    !blocked				   ? ""
		    : blocked_enforced(who->view, blocked) ? "blocked"
							   : "would be blocked");
}

static void write_counted(struct writer *w, const struct who *who, enum group group,
			  const struct counted *entry)
{
	_cleanup_free_ char *name = NULL;

	if (entry->whom.kind != SW_KINDS)
		name = view_subject_name(who->view, &entry->whom);
	writer_object(w, NULL);
	writer_text(w, "subject", entry->subject);
	writer_text(w, "name", name);
	if (group == BY_SCRIPT)
		writer_flag(w, "guessed", entry->guessed);
	writer_note(w, "remark",
		    entry->guessed	      ? "(perhaps)"
		    : group == BY_UID && name ? name
					      : "");
	writer_note(w, "about", entry->estimated ? "~" : "");
	writer_number(w, "count", entry->count);
	writer_flag(w, "estimated", entry->estimated);
	writer_share(w, "percent", entry->count, who->total);
	writer_time(w, "first", entry->first_ns);
	writer_time(w, "last", entry->last_ns);
	write_blocked(w, who, entry);
	writer_end(w);
}

static int write_groups(struct writer *w, struct who *who)
{
	enum group group;
	size_t i;
	int r = 0;

	writer_object(w, "top");
	for (group = 0; group < GROUPS && r == 0; group++) {
		r = sort_group(who, group);
		writer_list(w, groups[group].name);
		for (i = 0; r == 0 && i < who->n_sorted && i < who->most; i++)
			write_counted(w, who, group, who->sorted[i]);
		writer_end(w);
	}
	writer_end(w);
	return r;
}

static void say_groups(struct writer *w, const struct who *who)
{
	enum group group;
	char key[32];

	writer_say(w, "%llu attempts to send mail", (unsigned long long)who->total);
	for (group = 0; group < GROUPS; group++) {
		const struct column columns[] = {
			{ groups[group].title, "subject", FORM_TEXT },
			{ "", "remark", FORM_TEXT },
			{ "", "about", FORM_NUMBER },
			{ "COUNT", "count", FORM_NUMBER },
			{ "%", "percent", FORM_NUMBER },
			{ "FIRST", "first", FORM_AGO },
			{ "LAST", "last", FORM_AGO },
			{ "", "stopped", FORM_TEXT },
		};

		if (!who->tree[group])
			continue;
		writer_say(w, "%s", "");
		snprintf(key, sizeof(key), "top.%s", groups[group].name);
		writer_table(w, key, columns, ARRAY_SIZE(columns), writer_width(), stdout);
	}
}

/* ---- the verb ---- */

static void who_clear(struct who *who)
{
	enum group group;

	for (group = 0; group < GROUPS; group++)
		tdestroy(who->tree[group], counted_free);
	free(who->sorted);
	free(who->blocked);
	history_close(who->history);
	closep(&who->evidence);
}

static int collect(const struct cli *cli, struct who *who)
{
	int r;

	r = history_open(cli->state_dir, false, &who->history);
	if (r < 0)
		who->history = NULL;
	if (r < 0 && r != -ENOENT)
		log_warning("cannot read the history in '%s', so this is only what the kernel has: "
			    "%s",
			    cli->state_dir, strerror(-r));
	r = blocked_load(who->view, &who->blocked, &who->n_blocked);
	if (r < 0)
		return r;
	r = evidence_open(cli->pin_dir, &who->evidence);
	r = r < 0 ? r : proof_origin(who->evidence, who->origin);
	if (r == 0 && who->history)
		r = proof_read(who->history, who->since_ms, count_proof, who);
	r = r < 0 ? r : count_map(who);
	return r < 0 ? log_errno(r, "cannot read the evidence") : 0;
}

static int report(const struct cli *cli, struct who *who)
{
	_cleanup_writer_ struct writer *w = NULL;

	if (collect(cli, who) < 0)
		return FAILED;
	w = writer_new(cli->json);
	writer_time(w, "since", who->since_ms * 1000000);
	writer_number(w, "attempts", who->total);
	if (write_groups(w, who) < 0) {
		log_errno(-ENOMEM, "cannot sort what was found");
		return FAILED;
	}
	say_groups(w, who);
	return writer_finish(w, false) < 0 ? FAILED : DONE;
}

int verb_who(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "since", required_argument, NULL, 's' },
		{ "number", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	_cleanup_view_ struct view view = {};
	_cleanup_(who_clear) struct who who = {
		.view = &view,
		.evidence = -1,
		.since_ms = wall_now_ms() - HOUR_MS,
		.most = ROWS,
	};
	int c;

	while ((c = cli_option(cli, argc, argv, "jn:", options)) != -1) {
		if (c == '?')
			return cli_usage(cli);
		if ((c == 's' && since_option(optarg, &who.since_ms) < 0) ||
		    (c == 'n' && rows_option(optarg, &who.most) < 0))
			return USAGE;
	}
	if (optind != argc)
		return cli_usage(cli);
	return view_open(cli, &view) < 0 ? FAILED : report(cli, &who);
}
