// SPDX-License-Identifier: GPL-2.0-or-later
#include "row.h"

#include <errno.h>
#include <string.h>

#include "log.h"
#include "quantity.h"

static const struct sw_tally *tally_of(const struct sw_ledger *ledger, enum sw_road road)
{
	return &ledger->direct + road; /* in the order of enum sw_road, asserted in abi.h */
}

static struct sw_tally total_of(const struct sw_ledger *ledger)
{
	struct sw_tally total = {};
	const struct sw_tally *t;
	enum sw_road road;

	for (road = 0; road < SW_ROADS_COUNTED; road++) {
		t = tally_of(ledger, road);
		total.connections += t->connections;
		total.bytes += t->bytes;
		total.packets += t->packets;
		total.refused += t->refused;
		total.would_refuse += t->would_refuse;
	}
	return total;
}

/* ---- sorting ---- */

static uint64_t connections(const struct sw_ledger *ledger)
{
	return total_of(ledger).connections;
}

static uint64_t bytes(const struct sw_ledger *ledger)
{
	return total_of(ledger).bytes;
}

static uint64_t packets(const struct sw_ledger *ledger)
{
	return total_of(ledger).packets;
}

static uint64_t refused(const struct sw_ledger *ledger)
{
	struct sw_tally total = total_of(ledger);

	return total.refused + total.would_refuse;
}

static uint64_t last_seen(const struct sw_ledger *ledger)
{
	return ledger->last_seen_ns;
}

const struct sorting sortings[] = {
	{ "connections", connections, 'c' }, { "bytes", bytes, 'b' },
	{ "packets", packets, 'p' },	     { "refused", refused, 'r' },
	{ "last_seen", last_seen, 0 },	     { NULL, NULL, 0 },
};

const struct sorting *sorting_by_name(const char *name)
{
	const struct sorting *s;
	enum sw_metric metric;

	for (s = sortings; s->name; s++)
		if (strcmp(s->name, name) == 0)
			return s;
	if (metric_from_name(name, &metric) == 0)
		log_error("'%s' are not counted by this version: sort by connections, bytes, "
			  "packets, refused or last_seen",
			  name);
	else
		log_error("'%s' is nothing to sort by: write connections, bytes, packets, refused "
			  "or last_seen",
			  name);
	return NULL;
}

/* Senders before addresses (which are the same mail seen on the wire), the greatest first. */
static int row_compare(const void *a, const void *b, void *userdata)
{
	const struct ledger_row *one = a, *other = b;
	const struct sorting *sorting = userdata;
	uint64_t x = sorting->value(&one->ledger), y = sorting->value(&other->ledger);
	bool ip = one->subject.kind == SW_KIND_IP, other_ip = other->subject.kind == SW_KIND_IP;

	if (ip != other_ip)
		return ip ? 1 : -1;
	if (x != y)
		return x > y ? -1 : 1;
	return subject_compare(&one->subject, &other->subject);
}

/* ---- limits ---- */

static struct used used_of(const struct view *view, const struct sw_policy *policy,
			   const struct sw_limit *limit, enum sw_road road,
			   const struct sw_windows *windows)
{
	const struct sw_cell *cell = &windows->cell[limit->cell % SW_LIMITS];
	struct used used = { .policy = policy, .limit = limit, .road = road };
	static const struct sw_window empty;
	const struct sw_window *window = cell->limit == limit->id ? &cell->window : &empty;

	used.used = window_used(window, limit->slot_ns, view->now_ns);
	used.frees_at_ns = window_frees_at(window, limit->max, limit->slot_ns, view->now_ns);
	return used;
}

static size_t used_by_policy(const struct view *view, const struct sw_subject *subject,
			     const struct sw_policy *policy, enum sw_road road, struct used *ret)
{
	struct sw_windows windows;
	size_t i, n = 0;

	if (!(policy->roads >> road & 1) ||
	    maps_windows_get(view->maps, subject, policy->id, road, &windows) < 0)
		return 0;
	for (i = 0; i < policy->n_limits; i++)
		if (policy->limit[i].slot_ns)
			ret[n++] = used_of(view, policy, &policy->limit[i], road, &windows);
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

	limit_format(text, limit->metric, limit->max, limit->window_ns);
	writer_object(w, NULL);
	writer_text(w, "limit", text);
	writer_text(w, "policy", used->policy->name);
	writer_text(w, "road", road_name(used->road));
	writer_text(w, "metric", metric_name(limit->metric));
	writer_number(w, "window_seconds", limit->window_ns / 1000000000ULL);
	writer_number(w, "used", used->used);
	writer_number(w, "max", limit->max);
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
	double share, most_share = -1;
	size_t i;

	for (i = 0; i < n; i++) {
		share = used[i].limit->max ? (double)used[i].used / used[i].limit->max : 1;
		if (!used[i].limit->warn && used[i].used && share > most_share) {
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
	char text[2 * QUANTITY_LEN], limit[QUANTITY_LEN];
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
	limit_format(limit, most->limit->metric, most->limit->max, most->limit->window_ns);
	snprintf(text, sizeof(text), "%d%% of %s",
		 most->limit->max ? (int)(100.0 * most->used / most->limit->max) : 100, limit);
	writer_note(w, "fullest", text);
}

/* ---- one row ---- */

/* A metric of a road. What smtpwall does not count yet is unknown, not zero. */
static const struct {
	const char *name;
	size_t offset;
	bool counted;
} metrics[] = {
	{ "connections", offsetof(struct sw_tally, connections), true },
	{ "messages", offsetof(struct sw_tally, messages), false },
	{ "messages_tls_estimated", offsetof(struct sw_tally, messages_tls_estimated), false },
	{ "recipients", offsetof(struct sw_tally, recipients), false },
	{ "bytes", offsetof(struct sw_tally, bytes), true },
	{ "packets", offsetof(struct sw_tally, packets), true },
	{ "rejects", offsetof(struct sw_tally, rejects), false },
	{ "deferrals", offsetof(struct sw_tally, deferrals), false },
	{ "destinations", offsetof(struct sw_tally, destinations), false },
	{ "refused", offsetof(struct sw_tally, refused), true },
	{ "would_refuse", offsetof(struct sw_tally, would_refuse), true },
};

static void write_tally(struct writer *w, const char *key, const struct sw_tally *tally,
			bool counted)
{
	__u64 value;
	size_t i;

	writer_object(w, key);
	for (i = 0; i < ARRAY_SIZE(metrics); i++) {
		memcpy(&value, (const char *)tally + metrics[i].offset, sizeof(value));
		if (counted && metrics[i].counted)
			writer_number(w, metrics[i].name, value);
		else
			writer_null(w, metrics[i].name);
	}
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

/* The names of containers as their managers write them into cgroup paths. */
static const struct {
	const char *before, *behind;
} container_forms[] = {
	{ "/docker-", ".scope" },  { "/libpod-", ".scope" }, { "/cri-containerd-", ".scope" },
	{ "/crio-", ".scope" },	   { "/lxc.payload.", "" },  { "/systemd-nspawn@", ".service" },
	{ "/machine-", ".scope" }, { "/docker/", "" },
};

#define CONTAINER_LEN 64
#define CONTAINER_ID_LEN 12 /* as `docker ps` shows it */

static bool container_name(const char *path, char ret[static CONTAINER_LEN])
{
	size_t i, length;
	const char *at;

	for (i = 0; i < ARRAY_SIZE(container_forms); i++) {
		at = strstr(path, container_forms[i].before);
		if (!at)
			continue;
		at += strlen(container_forms[i].before);
		length = strcspn(at, "/");
		if (length > strlen(container_forms[i].behind))
			length -= strlen(container_forms[i].behind);
		if (length == 64 && strspn(at, "0123456789abcdef") >= 64)
			length = CONTAINER_ID_LEN;
		snprintf(ret, CONTAINER_LEN, "%.*s", (int)length, at);
		return true;
	}
	return false;
}

static void write_who(struct writer *w, const struct view *view, const struct sw_subject *subject)
{
	_cleanup_free_ char *user = subject_name(subject);
	char text[SUBJECT_LEN], container[CONTAINER_LEN];
	const char *name = user;

	view_subject_text(view, subject, text);
	if (subject->kind == SW_KIND_UNIT && container_name(text, container))
		name = container;
	writer_text(w, "subject", text);
	writer_text(w, "name", name);
	if (subject->kind != SW_KIND_UNIT)
		writer_null(w, "container");
	else if (name)
		writer_text(w, "container", name);
	else
		writer_flag(w, "container", true);
}

/* "3", and behind it in brackets those that observing let pass. */
static void write_refused(struct writer *w, const struct sw_tally *total)
{
	char text[64];

	snprintf(text, sizeof(text), total->would_refuse ? "%llu (%llu)" : "%llu", total->refused,
		 total->would_refuse);
	writer_note(w, "refused", text);
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

	write_who(w, view, subject);
	writer_text(w, "policy", policy && !exempt ? policy->name : NULL);
	writer_flag(w, "exempt", exempt);
	write_roads(w, ledger);
	write_tally(w, "total", &total, true);
	write_refused(w, &total);
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
		{ "NAME", "name", FORM_TEXT },
		{ "DIRECT", "roads.direct.connections", FORM_NUMBER },
		{ "SUBM", "roads.submission.connections", FORM_NUMBER },
		{ "RELAY", "roads.relay.connections", FORM_NUMBER },
		{ "REFUSED", "refused", FORM_NUMBER },
		{ "SENT", "total.bytes", FORM_BYTES },
		{ "SEEN", "last_seen", FORM_AGO },
		{ "STATE", "state", FORM_TEXT },
		{ "LIMIT", "fullest", FORM_TEXT },
	};

	writer_table(w, "subjects", columns, ARRAY_SIZE(columns), width, out);
}
