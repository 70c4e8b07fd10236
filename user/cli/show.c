// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall show: all that is known of one sender, and why it is refused or not. */
#include <errno.h>
#include <string.h>

#include "cli.h"
#include "exhibit.h"
#include "log.h"
#include "named.h"
#include "quantity.h"
#include "row.h"
#include "why.h"

#define SENTENCE_LEN 1024

struct shown {
	struct sw_subject subject;
	struct sw_ledger ledger;
	struct blocked *blocked; /* of everyone */
	size_t n_blocked;
	const struct blocked *block; /* its first */
	struct sw_allowance allowance;
	bool allowed;
	struct used *used;
	size_t n_used;
	struct exhibits exhibits;
};

static void shown_free(struct shown *s)
{
	free(s->blocked);
	free(s->used);
	exhibits_free(&s->exhibits);
}

static int find_allowance(const struct view *view, struct shown *s)
{
	_cleanup_free_ struct allowance_row *row = NULL;
	size_t i, n;
	int r;

	r = maps_allowances(view->maps, &row, &n);
	if (r < 0)
		return log_errno(r, "cannot read the allowances");
	for (i = 0; i < n; i++) {
		if (subject_compare(&row[i].subject, &s->subject) != 0 ||
		    !lasts(row[i].allowance.until_ns, view->now_ns))
			continue;
		s->allowance = row[i].allowance;
		s->allowed = true;
	}
	return 0;
}

/* A sender of whom nothing is counted is known if it exists. */
static int find(const struct view *view, const char *asked, struct shown *s, bool *ret_known)
{
	int r;

	r = maps_ledger_get(view->maps, &s->subject, &s->ledger);
	if (r < 0 && r != -ENOENT)
		return log_errno(r, "cannot read the ledger");
	*ret_known = r == 0 || view_exists(view, asked, &s->subject);
	r = blocked_load(view, &s->blocked, &s->n_blocked);
	if (r == 0)
		r = find_allowance(view, s);
	if (r < 0)
		return r;
	s->block = blocked_find(s->blocked, s->n_blocked, &s->subject);
	s->used = calloc(USED_MAX, sizeof(*s->used));
	if (!s->used)
		return log_errno(-ENOMEM, "cannot read the limits");
	s->n_used = row_used(view, &s->subject, s->used);
	*ret_known |= s->block || s->allowed;
	return 0;
}

/* What its blocks were made for is not left out, however old it is. */
#define PROOFS (2 * SW_ROADS)
static int find_evidence(const struct cli *cli, const struct view *view, struct shown *s)
{
	__u64 of_block[PROOFS];
	const struct blocked *b;
	size_t n = 0;

	for (b = s->block; b && b < s->blocked + s->n_blocked && n < PROOFS &&
			   subject_compare(&b->subject, &s->subject) == 0;
	     b++)
		of_block[n++] = b->block.evidence;
	return exhibits_load(cli, view, &s->subject, of_block, n, &s->exhibits);
}

/* ---- why: sentences, the weightiest first ---- */

static void until_format(const struct view *view, uint64_t until_ns, char *text, size_t size)
{
	char left[WRITER_SPAN_LEN];

	span_format(left, (int64_t)(until_ns - view->now_ns));
	if (until_ns)
		snprintf(text, size, "for another %s", left);
	else
		snprintf(text, size, "until you take it back");
}

static void roads_format(__u8 roads, char *text, size_t size)
{
	enum sw_road road;
	size_t at = 0;

	text[0] = '\0';
	for (road = 0; road < SW_ROADS && at < size; road++)
		if (roads >> road & 1)
			at += snprintf(text + at, size - at, "%s%s", at ? ", " : "",
				       road_name(road));
}

static void why_blocked(struct writer *w, const struct view *view, const struct blocked *b)
{
	const struct sw_policy *policy = view_policy(view, b->block.policy);
	char text[SENTENCE_LEN], until[64], reason[SUBJECT_LEN], roads[64];

	until_format(view, b->block.until_ns, until, sizeof(until));
	blocked_reason(view, &b->block, reason, sizeof(reason));
	roads_format(b->roads, roads, sizeof(roads));
	snprintf(text, sizeof(text), "%s on %s %s, %s%s%s%s%s.",
		 blocked_enforced(view, b) ? "It is blocked" : "It would be blocked", roads, until,
		 b->block.by == SW_BY_HAND ? "by hand" : "by policy '",
		 b->block.by == SW_BY_HAND ? ""
		 : policy		   ? policy->name
					   : "?",
		 b->block.by == SW_BY_HAND ? "" : "'", *reason ? ": " : "", reason);
	writer_text(w, NULL, text);
}

static void why_limited(struct writer *w, const struct view *view, const struct used *u)
{
	bool enforced = view->mode == SW_MODE_ENFORCE && u->policy->mode == SW_MODE_ENFORCE;
	char text[SENTENCE_LEN], used[USED_WORDS_LEN], when[64] = "";
	bool over = u->frees_at_ns != 0;

	used_words(used, u);
	if (over && u->frees_at_ns != UINT64_MAX) {
		until_format(view, u->frees_at_ns, when, sizeof(when));
		memmove(when + 1, when, strlen(when) + 1);
		when[0] = ' ';
	}
	snprintf(text, sizeof(text), "%s (policy '%s', road %s)%s%s.", used, u->policy->name,
		 road_name(u->road),
		 !over || u->limit->warn ? ""
		 : enforced		 ? ": more is refused"
					 : ": more would be refused",
		 u->limit->warn ? "" : when);
	writer_text(w, NULL, text);
}

static void write_why(struct writer *w, const struct view *view, const struct shown *s)
{
	const struct blocked *b;
	char text[SENTENCE_LEN], until[64];
	size_t i;

	writer_list(w, "why");
	for (b = s->block;
	     b && b < s->blocked + s->n_blocked && subject_compare(&b->subject, &s->subject) == 0;
	     b++)
		why_blocked(w, view, b);
	if (view->mode == SW_MODE_OBSERVE)
		writer_text(w, NULL, "The mode is observe: nothing is refused.");
	if (view_exempt(view, &s->subject))
		writer_text(w, NULL, "It is exempt: counted, never limited.");
	if (s->allowed) {
		until_format(view, s->allowance.until_ns, until, sizeof(until));
		snprintf(text, sizeof(text), "Its limits are lifted %s%s%s.", until,
			 *s->allowance.note ? ": " : "", s->allowance.note);
		writer_text(w, NULL, text);
	}
	for (i = 0; i < s->n_used; i++)
		why_limited(w, view, &s->used[i]);
	if (s->subject.kind == SW_KIND_IP)
		writer_text(w, NULL, "Addresses are counted on the wire; no policy limits them.");
	else if (!view_exempt(view, &s->subject))
		why_policies(w, view, &s->subject);
	writer_end(w);
}

/* ---- for people ---- */

/* The roads once more, as rows of a table. */
static void note_roads(struct writer *w, const struct sw_ledger *ledger)
{
	const struct sw_tally *t = &ledger->direct;
	enum sw_road road;

	writer_list(w, "by_road");
	for (road = 0; road < SW_ROADS_COUNTED; road++, t++) {
		writer_object(w, NULL);
		writer_text(w, "road", road_name(road));
		writer_number(w, "connections", t->connections);
		writer_number(w, "refused", t->refused);
		writer_number(w, "would_refuse", t->would_refuse);
		writer_number(w, "messages", t->messages);
		writer_number(w, "in_tls", t->messages_tls_estimated);
		writer_number(w, "recipients", t->recipients);
		writer_number(w, "rejects", t->rejects);
		writer_number(w, "deferrals", t->deferrals);
		writer_number(w, "destinations", t->destinations);
		writer_number(w, "bytes", t->bytes);
		writer_number(w, "packets", t->packets);
		writer_end(w);
	}
	writer_end(w);
}

static void say(struct writer *w, const struct view *view, const struct shown *s)
{
	static const struct column roads[] = {
		{ "ROAD", "road", FORM_TEXT },
		{ "CONNECTIONS", "connections", FORM_NUMBER },
		{ "REFUSED", "refused", FORM_NUMBER },
		{ "WOULD REFUSE", "would_refuse", FORM_NUMBER },
		{ "MESSAGES", "messages", FORM_NUMBER },
		{ "IN TLS", "in_tls", FORM_NUMBER },
		{ "RECIPIENTS", "recipients", FORM_NUMBER },
		{ "REJECTS", "rejects", FORM_NUMBER },
		{ "DEFERRALS", "deferrals", FORM_NUMBER },
		{ "DESTINATIONS", "destinations", FORM_NUMBER },
		{ "SENT", "bytes", FORM_BYTES },
		{ "PACKETS", "packets", FORM_NUMBER },
	};
	static const struct column why[] = { { "WHY", "", FORM_TEXT } };
	_cleanup_free_ char *name = view_subject_name(view, &s->subject);
	char text[SUBJECT_LEN], first[WRITER_SPAN_LEN], last[WRITER_SPAN_LEN];

	view_subject_text(view, &s->subject, text);
	span_format(first, (int64_t)(view->now_ns - s->ledger.first_seen_ns));
	span_format(last, (int64_t)(view->now_ns - s->ledger.last_seen_ns));
	if (name && !named_says(text, name))
		writer_say(w, "%s (%s)", text, name);
	else
		writer_say(w, "%s", text);
	if (s->ledger.last_seen_ns)
		writer_say(w, "first seen %s ago, last seen %s ago", first, last);
	else
		writer_say(w, "never seen");
	writer_say(w, "%s", "");
	writer_table(w, "by_road", roads, ARRAY_SIZE(roads), 0, stdout);
	writer_say(w, "%s", "");
	writer_table(w, "why", why, ARRAY_SIZE(why), 0, stdout);
	exhibits_say(w, &s->exhibits);
}

static void write_all(struct writer *w, const struct view *view, const struct shown *s)
{
	row_write(w, view, &s->subject, &s->ledger, s->block);
	write_why(w, view, s);
	exhibits_write(w, &s->exhibits);
	if (!writer_json(w))
		note_roads(w, &s->ledger);
	say(w, view, s);
}

int verb_show(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { NULL, 0, NULL, 0 } };
	_cleanup_view_ struct view view = {};
	_cleanup_writer_ struct writer *w = NULL;
	_cleanup_(shown_free) struct shown s = {};
	bool known = false;
	int r;

	if (cli_option(cli, argc, argv, "j", options) != -1 || argc - optind != 1)
		return cli_usage(cli);
	if (view_open(cli, &view) < 0)
		return FAILED;
	r = view_subject(&view, argv[optind], &s.subject);
	if (r != DONE)
		return r;
	if (find(&view, argv[optind], &s, &known) < 0)
		return FAILED;
	if (find_evidence(cli, &view, &s) < 0)
		return FAILED;
	if (!known && s.exhibits.n == 0) {
		log_error("nothing is known of '%s'", argv[optind]);
		return NO_SUBJECT;
	}
	w = writer_new(cli->json);
	write_all(w, &view, &s);
	return writer_finish(w, false) < 0 ? FAILED : DONE;
}
