// SPDX-License-Identifier: GPL-2.0-or-later
#include "row.h"

#include <errno.h>
#include <string.h>

#include "log.h"
#include "named.h"
#include "quantity.h"

static const struct sw_tally *tally_of(const struct sw_ledger *ledger, enum sw_road road)
{
	return &ledger->direct + road; /* in the order of enum sw_road, asserted in abi.h */
}

/* The counters of a road, as JSON names them. */
static const struct {
	const char *name;
	size_t offset;
} counters[] = {
	{ "connections", offsetof(struct sw_tally, connections) },
	{ "messages", offsetof(struct sw_tally, messages) },
	{ "messages_tls_estimated", offsetof(struct sw_tally, messages_tls_estimated) },
	{ "recipients", offsetof(struct sw_tally, recipients) },
	{ "bytes", offsetof(struct sw_tally, bytes) },
	{ "packets", offsetof(struct sw_tally, packets) },
	{ "rejects", offsetof(struct sw_tally, rejects) },
	{ "deferrals", offsetof(struct sw_tally, deferrals) },
	{ "destinations", offsetof(struct sw_tally, destinations) },
	{ "refused", offsetof(struct sw_tally, refused) },
	{ "would_refuse", offsetof(struct sw_tally, would_refuse) },
};
_Static_assert(sizeof(struct sw_tally) == ARRAY_SIZE(counters) * sizeof(__u64),
	       "every counter of a road has its name");

static __u64 *counter(struct sw_tally *tally, size_t offset)
{
	return (__u64 *)((char *)tally + offset);
}

static __u64 counted(const struct sw_tally *tally, size_t offset)
{
	return *(const __u64 *)((const char *)tally + offset);
}

static struct sw_tally total_of(const struct sw_ledger *ledger)
{
	struct sw_tally total = {};
	enum sw_road road;
	size_t i;

	for (road = 0; road < SW_ROADS_COUNTED; road++)
		for (i = 0; i < ARRAY_SIZE(counters); i++)
			*counter(&total, counters[i].offset) +=
				counted(tally_of(ledger, road), counters[i].offset);
	return total;
}

/* ---- sorting ---- */

static uint64_t by_counter(const struct sw_ledger *ledger, size_t offset)
{
	struct sw_tally total = total_of(ledger);

	return counted(&total, offset);
}

/* Those inside TLS are messages, too. */
static uint64_t by_messages(const struct sw_ledger *ledger, size_t offset)
{
	struct sw_tally total = total_of(ledger);

	(void)offset;
	return total.messages + total.messages_tls_estimated;
}

static uint64_t by_refused(const struct sw_ledger *ledger, size_t offset)
{
	struct sw_tally total = total_of(ledger);

	(void)offset;
	return total.refused + total.would_refuse;
}

static uint64_t by_last_seen(const struct sw_ledger *ledger, size_t offset)
{
	(void)offset;
	return ledger->last_seen_ns;
}

#define BY(member) by_counter, offsetof(struct sw_tally, member)

const struct sorting sortings[] = {
	{ "connections", 'c', BY(connections) },
	{ "messages", 'm', by_messages, 0 },
	{ "recipients", 't', BY(recipients) },
	{ "bytes", 'b', BY(bytes) },
	{ "packets", 'p', BY(packets) },
	{ "rejects", 'x', BY(rejects) },
	{ "deferrals", 'd', BY(deferrals) },
	{ "destinations", 'h', BY(destinations) },
	{ "refused", 'r', by_refused, 0 },
	{ "last_seen", 0, by_last_seen, 0 },
	{ NULL, 0, NULL, 0 },
};

const struct sorting *sorting_by_name(const char *name)
{
	const struct sorting *s;

	for (s = sortings; s->name; s++)
		if (strcmp(s->name, name) == 0)
			return s;
	log_error("'%s' is nothing to sort by: write connections, messages, recipients, bytes, "
		  "packets, rejects, deferrals, destinations, refused or last_seen",
		  name);
	return NULL;
}

/* Senders before addresses (which are the same mail seen on the wire), the greatest first. */
static int row_compare(const void *a, const void *b, void *userdata)
{
	const struct ledger_row *one = a, *other = b;
	const struct sorting *sorting = userdata;
	uint64_t x = sorting->value(&one->ledger, sorting->offset);
	uint64_t y = sorting->value(&other->ledger, sorting->offset);
	bool ip = one->subject.kind == SW_KIND_IP, other_ip = other->subject.kind == SW_KIND_IP;

	if (ip != other_ip)
		return ip ? 1 : -1;
	if (x != y)
		return x > y ? -1 : 1;
	return subject_compare(&one->subject, &other->subject);
}

/* ---- limits ---- */

static size_t used_by_policy(const struct view *view, const struct sw_subject *subject,
			     const struct sw_policy *policy, enum sw_road road, struct used *ret)
{
	struct sw_windows windows;
	size_t i, n = 0;

	if (!(policy->roads >> road & 1) ||
	    maps_windows_get(view->maps, subject, policy->id, road, &windows) < 0)
		return 0;
	for (i = 0; i < policy->n_limits; i++)
		if (policy->limit[i].slot_ns && policy->limit[i].warn != SW_WARN_BASE)
			used_read(policy, &policy->limit[i], road, &windows, view->now_ns,
				  &ret[n++]);
	return n;
}

size_t row_used(const struct view *view, const struct sw_subject *subject,
		struct used ret[static USED_MAX])
{
	const struct sw_rules *rules = view->rules;
	enum sw_road road;
	size_t i, n = 0;

	for (i = 0; i < rules->n_policies; i++)
		for (road = 0; road < SW_ROADS; road++)
			n += used_by_policy(view, subject, &rules->policy[i], road, ret + n);
	return n;
}

static void write_limit(struct writer *w, const struct view *view, const struct used *used)
{
	const struct sw_limit *limit = used->limit;
	char text[QUANTITY_LEN];

	limit_words(text, limit);
	writer_object(w, NULL);
	writer_text(w, "limit", text);
	writer_text(w, "policy", used->policy->name);
	writer_text(w, "road", road_name(used->road));
	writer_text(w, "metric", metric_name(limit->metric));
	writer_number(w, "window_seconds", limit->window_ns / 1000000000ULL);
	writer_number(w, "used", used->used);
	writer_number(w, "max", used_max(used));
	writer_time(w, "frees_at",
		    used->frees_at_ns == UINT64_MAX ? 0 : view_wall(view, used->frees_at_ns));
	if (limit->warn)
		writer_flag(w, "warn", true);
	writer_end(w);
}

/* Of those that refuse, the one that is nearest to its end. */
static const struct used *fullest(const struct used *used, size_t n)
{
	const struct used *most = NULL;
	double share, most_share = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		share = used_share(&used[i]);
		if (!used[i].limit->warn && share > most_share) {
			most = &used[i];
			most_share = share;
		}
	}
	return most;
}

static void write_limits(struct writer *w, const struct view *view,
			 const struct sw_subject *subject)
{
	_cleanup_free_ struct used *used = calloc(USED_MAX, sizeof(*used));
	char text[USED_WORDS_LEN];
	const struct used *most;
	size_t i, n = 0;

	writer_list(w, "limits");
	if (used)
		n = row_used(view, subject, used);
	for (i = 0; i < n; i++)
		write_limit(w, view, &used[i]);
	writer_end(w);
	most = fullest(used, n);
	if (!most)
		return;
	used_brief(text, most);
	writer_note(w, "fullest", text);
}

/* ---- one row ---- */

/* What smtpwall does not count yet is unknown, not zero. */
static void write_tally(struct writer *w, const char *key, const struct sw_tally *tally, bool known)
{
	size_t i;

	writer_object(w, key);
	for (i = 0; i < ARRAY_SIZE(counters); i++)
		if (known)
			writer_number(w, counters[i].name, counted(tally, counters[i].offset));
		else
			writer_null(w, counters[i].name);
	writer_end(w);
}

static void write_roads(struct writer *w, const struct sw_ledger *ledger)
{
	enum sw_road road;

	writer_object(w, "roads");
	for (road = 0; road < SW_ROADS; road++)
		write_tally(w, road_name(road), tally_of(ledger, road), road < SW_ROADS_COUNTED);
	writer_end(w);
}

/* "3", and in brackets what is not quite that: "3 (12)". */
static void note_number(struct writer *w, const char *key, __u64 number, const char *mark,
			__u64 besides)
{
	char text[64];

	snprintf(text, sizeof(text), besides ? "%llu (%s%llu)" : "%llu", number, mark, besides);
	writer_note(w, key, text);
}

/* With those that observing let pass, and those that are estimated inside TLS. */
static void note_total(struct writer *w, const struct sw_tally *total)
{
	note_number(w, "refused", total->refused, "", total->would_refuse);
	note_number(w, "messages", total->messages, "~", total->messages_tls_estimated);
}

/* In one or two words, for the table. */
static void write_state(struct writer *w, const struct view *view, const struct sw_subject *subject,
			const struct blocked *block)
{
	char text[2 * WRITER_SPAN_LEN], left[WRITER_SPAN_LEN];

	if (!block) {
		writer_note(w, "state", view_exempt(view, subject) ? "exempt" : "-");
		return;
	}
	span_format(left, (int64_t)(block->block.until_ns - view->now_ns));
	snprintf(text, sizeof(text), "%s%s%s",
		 blocked_enforced(view, block) ? "blocked" : "would block",
		 block->block.until_ns ? " " : "", block->block.until_ns ? left : "");
	writer_note(w, "state", text);
}

void row_write(struct writer *w, const struct view *view, const struct sw_subject *subject,
	       const struct sw_ledger *ledger, const struct blocked *block)
{
	const struct sw_policy *policy = view_deciding(view, subject, SW_ROAD_DIRECT);
	struct sw_tally total = total_of(ledger);
	bool exempt = view_exempt(view, subject);

	named_write(w, view, subject);
	writer_text(w, "policy", policy && !exempt ? policy->name : NULL);
	writer_flag(w, "exempt", exempt);
	write_roads(w, ledger);
	write_tally(w, "total", &total, true);
	note_total(w, &total);
	writer_object(w, "wire");
	writer_number(w, "connections", ledger->wire.connections);
	writer_number(w, "packets", ledger->wire.packets);
	writer_number(w, "bytes", ledger->wire.bytes);
	writer_end(w);
	writer_time(w, "first_seen", view_wall(view, ledger->first_seen_ns));
	writer_time(w, "last_seen", view_wall(view, ledger->last_seen_ns));
	write_limits(w, view, subject);
	if (block)
		blocked_write(w, "block", view, block);
	else
		writer_null(w, "block");
	write_state(w, view, subject, block);
}

/* ---- many ---- */

static int load(const struct view *view, unsigned int kinds, struct ledger_row **ret, size_t *ret_n)
{
	_cleanup_free_ struct ledger_row *all = NULL;
	struct ledger_row *grown;
	enum sw_kind kind;
	size_t n = 0;
	int r;

	for (kind = 0; kind < SW_KINDS; kind++) {
		_cleanup_free_ struct ledger_row *some = NULL;
		size_t n_some = 0;

		if (!(kinds >> kind & 1))
			continue;
		r = maps_ledger(view->maps, kind, &some, &n_some);
		grown = r < 0 ? NULL : reallocarray(all, n + n_some + 1, sizeof(*all));
		if (!grown)
			return log_errno(r < 0 ? r : -ENOMEM, "cannot read the ledger");
		all = grown;
		if (n_some)
			memcpy(all + n, some, n_some * sizeof(*some));
		n += n_some;
	}

	*ret = take_pointer(&all);
	*ret_n = n;
	return 0;
}

bool ledger_counts(const struct sw_ledger *ledger)
{
	static const struct sw_ledger nothing;

	return memcmp(ledger, &nothing, offsetof(struct sw_ledger, first_seen_ns)) != 0;
}

int rows_write(struct writer *w, const struct view *view, unsigned int kinds,
	       const struct sorting *sorting, size_t most)
{
	_cleanup_free_ struct ledger_row *row = NULL;
	_cleanup_free_ struct blocked *blocked = NULL;
	size_t i, n = 0, n_blocked = 0, written = 0;
	int r;

	r = load(view, kinds, &row, &n);
	if (r == 0)
		r = blocked_load(view, &blocked, &n_blocked);
	if (r < 0)
		return r;
	if (n)
		qsort_r(row, n, sizeof(*row), row_compare, (void *)sorting);
	writer_list(w, "subjects");
	for (i = 0; i < n && (most == 0 || written < most); i++) {
		if (!ledger_counts(&row[i].ledger))
			continue;
		writer_object(w, NULL);
		row_write(w, view, &row[i].subject, &row[i].ledger,
			  blocked_find(blocked, n_blocked, &row[i].subject));
		writer_end(w);
		written++;
	}
	writer_end(w);
	return 0;
}

void rows_table(struct writer *w, size_t width, FILE *out)
{
	static const struct column columns[] = {
		{ "SUBJECT", "subject", FORM_TEXT },
		{ "NAME", "called", FORM_TEXT },
		{ "DIRECT", "roads.direct.connections", FORM_NUMBER },
		{ "SUBM", "roads.submission.connections", FORM_NUMBER },
		{ "RELAY", "roads.relay.connections", FORM_NUMBER },
		{ "MESSAGES", "messages", FORM_NUMBER },
		{ "REFUSED", "refused", FORM_NUMBER },
		{ "SENT", "total.bytes", FORM_BYTES },
		{ "SEEN", "last_seen", FORM_AGO },
		{ "STATE", "state", FORM_TEXT },
		{ "LIMIT", "fullest", FORM_TEXT },
	};

	writer_table(w, "subjects", columns, ARRAY_SIZE(columns), width, out);
}
