// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall status: what is attached and runs; with --nagios in one line for monitoring. */
#include <errno.h>
#include <string.h>
#include <sys/utsname.h>

#include "blocked.h"
#include "cli.h"
#include "config.h"
#include "conflicts.h"
#include "hooks.h"
#include "known.h"
#include "log.h"
#include "policy.h"
#include "quantity.h"
#include "row.h"
#include "view.h"
#include "writer.h"

#define FULL_PERCENT 80 /* of a map: worth a warning */

struct wire {
	uint64_t connections, packets, bytes;
};

struct status {
	struct view view;
	struct sw_health health;
	bool running;		 /* the daemon */
	struct config *config;	 /* NULL: it cannot be read */
	struct ruleset *ruleset; /* of it; NULL likewise */
	struct hook *hook;
	size_t n_hooks, n_missing;
	struct map_fill *fill;
	size_t n_fills;
	struct blocked *blocked;
	size_t n_blocked;
	struct conflict *conflict;
	size_t n_conflicts;
	struct wire total;	  /* by source address */
	struct wire unattributed; /* what no sender answers for */
	size_t n_senders;
	struct known known;
};

static void status_free(struct status *s)
{
	view_close(&s->view);
	config_free(s->config);
	ruleset_free(s->ruleset);
	free(s->hook);
	free(s->fill);
	free(s->blocked);
	free(s->conflict);
}

/* ---- collecting ---- */

static int add_kind(struct maps *maps, enum sw_kind kind, struct wire *sum, size_t *ret_n)
{
	_cleanup_free_ struct ledger_row *row = NULL;
	const struct sw_tally *t;
	enum sw_road road;
	size_t i, n = 0;
	int r;

	r = maps_ledger(maps, kind, &row, &n);
	if (r < 0)
		return log_errno(r, "cannot read the ledger");
	for (i = 0; i < n; i++) {
		t = &row[i].ledger.direct; /* in the order of enum sw_road */
		for (road = 0; kind == SW_KIND_IP && road < SW_ROADS; road++, t++) {
			sum->connections += t->connections;
			sum->packets += t->packets;
			sum->bytes += t->bytes;
		}
		if (kind != SW_KIND_IP) {
			sum->connections += row[i].ledger.wire.connections;
			sum->packets += row[i].ledger.wire.packets;
			sum->bytes += row[i].ledger.wire.bytes;
		}
		*ret_n += ledger_counts(&row[i].ledger);
	}
	return 0;
}

/* Both are read while they grow: less than nothing is nothing. */
static uint64_t less(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

static int add_up(struct status *s)
{
	struct wire senders = {};
	size_t n = 0;
	int r;

	r = add_kind(s->view.maps, SW_KIND_UID, &senders, &s->n_senders);
	if (r == 0)
		r = add_kind(s->view.maps, SW_KIND_UNIT, &senders, &s->n_senders);
	if (r == 0)
		r = add_kind(s->view.maps, SW_KIND_IP, &s->total, &n);
	if (r < 0)
		return r;
	s->unattributed.connections = less(s->total.connections, senders.connections);
	s->unattributed.packets = less(s->total.packets, senders.packets);
	s->unattributed.bytes = less(s->total.bytes, senders.bytes);
	return 0;
}

/* As the daemon reads it. That it is broken is for check-config to tell. */
static void read_config(const struct cli *cli, struct status *s)
{
	const char *path = *s->view.control.config ? s->view.control.config : cli->config;
	struct findings findings = {};

	if (config_load(path, &findings, &s->config) < 0)
		s->config = NULL;
	else if (policy_compile(s->config, s->view.rules, &findings, &s->ruleset) < 0)
		s->ruleset = NULL;
	findings_clear(&findings);
}

static int collect(const struct cli *cli, struct status *s)
{
	size_t i;
	int r;

	r = view_open(cli, &s->view);
	if (r < 0)
		return r;
	r = maps_health(s->view.maps, &s->health);
	if (r == 0)
		r = maps_fill(s->view.maps, &s->fill, &s->n_fills);
	if (r == 0)
		r = known_count(s->view.maps, &s->known);
	if (r < 0)
		return log_errno(r, "cannot read the maps in '%s'", cli->pin_dir);
	s->running = maps_daemon_runs(s->view.maps);
	read_config(cli, s);
	r = hooks_find(cli, &s->view, s->config, &s->hook, &s->n_hooks);
	if (r == 0)
		r = add_up(s);
	if (r == 0)
		r = blocked_load(&s->view, &s->blocked, &s->n_blocked);
	if (r == 0 && s->config)
		r = conflicts_find(s->view.control.cgroup, s->config->ports, s->config->n_ports,
				   &s->conflict, &s->n_conflicts);
	for (i = 0; r == 0 && i < s->n_hooks; i++)
		s->n_missing += !s->hook[i].kind;
	return r;
}

/* ---- writing ---- */

static bool trial_runs(const struct view *view)
{
	return view->now_ns < view->control.trial_until_ns;
}

static void write_mode(struct writer *w, const struct view *view)
{
	writer_text(w, "mode", mode_name(view->mode));
	writer_time(w, "trial_until",
		    trial_runs(view) ? view_wall(view, view->control.trial_until_ns) : 0);
}

static void write_daemon(struct writer *w, const struct status *s)
{
	writer_object(w, "daemon");
	writer_flag(w, "running", s->running);
	if (s->running)
		writer_number(w, "pid", s->view.control.daemon_pid);
	else
		writer_null(w, "pid");
	writer_time(w, "started", view_wall(&s->view, s->view.control.started_ns));
	writer_end(w);
}

static void write_hooks(struct writer *w, const struct status *s)
{
	const struct hook *h;

	writer_list(w, "hooks");
	for (h = s->hook; h < s->hook + s->n_hooks; h++) {
		writer_object(w, NULL);
		writer_text(w, "hook", h->name);
		writer_text(w, "where", h->where);
		writer_text(w, "kind", h->kind);
		writer_note(w, "state", h->kind ? h->kind : "MISSING");
		writer_end(w);
	}
	writer_end(w);
}

static void write_exempt(struct writer *w, const struct status *s)
{
	size_t i;

	if (!s->ruleset) {
		writer_null(w, "exempt");
		return;
	}
	writer_list(w, "exempt");
	for (i = 0; i < s->ruleset->n_exempt; i++)
		writer_text(w, NULL, s->ruleset->exempt[i]);
	writer_end(w);
}

static void write_policy_limits(struct writer *w, const struct sw_policy *policy, bool warn)
{
	char text[QUANTITY_LEN];
	size_t i;

	writer_list(w, warn ? "warn" : "limits");
	for (i = 0; i < policy->n_limits; i++) {
		if (policy->limit[i].warn != (warn ? SW_WARN_ONLY : SW_WARN_NOT))
			continue;
		limit_words(text, &policy->limit[i]);
		writer_text(w, NULL, text);
	}
	writer_end(w);
}

static void write_policies(struct writer *w, const struct sw_rules *rules)
{
	const struct sw_policy *p;
	enum sw_road road;

	writer_list(w, "policies");
	for (p = rules->policy; p < rules->policy + rules->n_policies; p++) {
		writer_object(w, NULL);
		writer_text(w, "name", p->name);
		writer_text(w, "mode", mode_name(p->mode));
		writer_text(w, "subject", kind_name(p->subject));
		writer_text(w, "action", action_name(p->action));
		writer_list(w, "roads");
		for (road = 0; road < SW_ROADS; road++)
			if (p->roads >> road & 1)
				writer_text(w, NULL, road_name(road));
		writer_end(w);
		write_policy_limits(w, p, false);
		write_policy_limits(w, p, true);
		writer_end(w);
	}
	writer_end(w);
}

static void write_maps(struct writer *w, const struct status *s)
{
	const struct map_fill *f;

	writer_list(w, "maps");
	for (f = s->fill; f < s->fill + s->n_fills; f++) {
		writer_object(w, NULL);
		writer_text(w, "name", f->name);
		writer_number(w, "entries", f->entries);
		writer_number(w, "max", f->max);
		writer_end(w);
	}
	writer_end(w);
}

/* What went wrong without changing a verdict. */
static const struct {
	const char *name;
	size_t offset;
	const char *meaning;
} troubles[] = {
	{ "lost_events", offsetof(struct sw_health, lost_events),
	  "events lost: the ring was full" },
	{ "no_storage", offsetof(struct sw_health, no_storage),
	  "attempts without room in the socket's memory" },
	{ "ledger_overflow", offsetof(struct sw_health, ledger_overflow),
	  "attempts and packets charged to a network's or the overflow row: a ledger is full" },
	{ "window_overflow", offsetof(struct sw_health, window_overflow),
	  "attempts judged by the shared windows: their map is full" },
	{ "block_overflow", offsetof(struct sw_health, block_overflow),
	  "blocks without room: their limits went on refusing" },
	{ "evidence_overflow", offsetof(struct sw_health, evidence_overflow),
	  "attempts that left no evidence: its map is full" },
	{ "unparsed", offsetof(struct sw_health, unparsed), "SMTP packets that could not be read" },
};

static __u64 trouble(const struct sw_health *health, size_t i)
{
	__u64 count;

	memcpy(&count, (const char *)health + troubles[i].offset, sizeof(count));
	return count;
}

static void write_health(struct writer *w, const struct sw_health *health)
{
	size_t i;

	writer_number(w, "lost_events", health->lost_events);
	writer_object(w, "health");
	for (i = 0; i < ARRAY_SIZE(troubles); i++)
		writer_number(w, troubles[i].name, trouble(health, i));
	writer_end(w);
}

static void write_conflicts(struct writer *w, const struct status *s)
{
	writer_list(w, "conflicts");
	for (size_t i = 0; i < s->n_conflicts; i++) {
		writer_object(w, NULL);
		writer_text(w, "where", s->conflict[i].where);
		writer_text(w, "what", s->conflict[i].what);
		writer_end(w);
	}
	writer_end(w);
}

static void write_wire(struct writer *w, const char *key, const struct wire *wire)
{
	writer_object(w, key);
	writer_number(w, "connections", wire->connections);
	writer_number(w, "packets", wire->packets);
	writer_number(w, "bytes", wire->bytes);
	writer_end(w);
}

static void write_all(struct writer *w, const struct status *s)
{
	struct utsname kernel;

	uname(&kernel);
	write_mode(w, &s->view);
	writer_text(w, "version", s->view.control.version);
	writer_text(w, "kernel", kernel.release);
	write_daemon(w, s);
	write_hooks(w, s);
	write_exempt(w, s);
	write_policies(w, s->view.rules);
	write_maps(w, s);
	write_health(w, &s->health);
	write_conflicts(w, s);
	write_wire(w, "wire", &s->total);
	write_wire(w, "unattributed", &s->unattributed);
	writer_number(w, "blocked", s->n_blocked);
	writer_number(w, "sites", s->known.sites);
	writer_number(w, "units", s->known.units);
	writer_text(w, "config", s->view.control.config);
}

/* ---- for people ---- */

static void say_heading(struct writer *w, const struct status *s)
{
	const struct view *view = &s->view;
	char left[WRITER_SPAN_LEN], trial[96] = "",
				    daemon[64] = "NOT RUNNING: limits and blocks "
						 "go on without it";

	span_format(left, (int64_t)(view->control.trial_until_ns - view->now_ns));
	if (trial_runs(view))
		snprintf(trial, sizeof(trial), ", on trial for another %s, then %s", left,
			 mode_name(view->control.mode));
	if (s->running)
		snprintf(daemon, sizeof(daemon), "running (pid %u)", view->control.daemon_pid);
	writer_say(w, "mode     %s%s%s", mode_name(view->mode),
		   view->mode == SW_MODE_OBSERVE ? " (nothing is refused)" : "", trial);
	writer_say(w, "daemon   %s", daemon);
	writer_say(w, "config   %s%s", view->control.config,
		   s->config ? "" : " CANNOT BE READ: see 'smtpwall check-config'");
	writer_say(w, "senders  %zu counted, %zu blocked", s->n_senders, s->n_blocked);
	writer_say(w, "known    %zu %s, %zu %s", s->known.sites,
		   s->known.sites == 1 ? "site" : "sites", s->known.units,
		   s->known.units == 1 ? "unit" : "units");
}

static void say_exempt(struct writer *w, const struct status *s)
{
	char text[512];
	size_t i, at = 0;

	if (!s->ruleset)
		return;
	for (i = 0, text[0] = '\0'; i < s->ruleset->n_exempt && at < sizeof(text); i++)
		at += snprintf(text + at, sizeof(text) - at, "%s%s", i ? ", " : "",
			       s->ruleset->exempt[i]);
	writer_say(w, "exempt   %s", *text ? text : "nobody");
}

static void say_troubles(struct writer *w, const struct status *s)
{
	const struct map_fill *f;
	size_t i;

	for (f = s->fill; f < s->fill + s->n_fills; f++)
		if (f->entries >= (uint64_t)f->max * FULL_PERCENT / 100)
			writer_say(w, "! the map %s is nearly full: %u of %u", f->name, f->entries,
				   f->max);
	for (i = 0; i < ARRAY_SIZE(troubles); i++)
		if (trouble(&s->health, i))
			writer_say(w, "! %llu %s", trouble(&s->health, i), troubles[i].meaning);
	for (i = 0; i < s->n_conflicts; i++)
		writer_say(w, "! %s %s", s->conflict[i].where, s->conflict[i].what);
	if (s->unattributed.connections)
		writer_say(w,
			   "! %llu connections on the wire that no sender answers for: see "
			   "'smtpwall list ip'",
			   (unsigned long long)s->unattributed.connections);
}

static void say_all(struct writer *w, const struct status *s)
{
	static const struct column hooks[] = { { "HOOK", "hook", FORM_TEXT },
					       { "KIND", "state", FORM_TEXT },
					       { "WHERE", "where", FORM_TEXT } };
	static const struct column policies[] = {
		{ "POLICY", "name", FORM_TEXT },   { "SUBJECT", "subject", FORM_TEXT },
		{ "ACTION", "action", FORM_TEXT }, { "MODE", "mode", FORM_TEXT },
		{ "ROADS", "roads", FORM_LIST },   { "LIMITS", "limits", FORM_LIST },
		{ "WARN", "warn", FORM_LIST },
	};

	say_heading(w, s);
	say_exempt(w, s);
	writer_say(w, "%s", "");
	writer_table(w, "hooks", hooks, ARRAY_SIZE(hooks), writer_width(), stdout);
	writer_say(w, "%s", "");
	if (s->view.rules->n_policies)
		writer_table(w, "policies", policies, ARRAY_SIZE(policies), writer_width(), stdout);
	else
		writer_say(w, "No policy: everything is counted, nothing limited.");
	say_troubles(w, s);
}

/* ---- nagios ---- */

enum nagios { NAGIOS_OK, NAGIOS_WARNING, NAGIOS_CRITICAL, NAGIOS_UNKNOWN };

static enum nagios judge(const struct status *s, char *text, size_t size)
{
	const struct map_fill *f;
	size_t i;

	if (s->n_missing) {
		for (i = 0; s->hook[i].kind; i++)
			;
		snprintf(text, size, "hook %s is missing on %s", s->hook[i].name, s->hook[i].where);
		return NAGIOS_CRITICAL;
	}
	snprintf(text, size, "smtpwalld is not running");
	if (!s->running)
		return NAGIOS_WARNING;
	for (f = s->fill; f < s->fill + s->n_fills; f++) {
		snprintf(text, size, "map %s is nearly full", f->name);
		if (f->entries >= (uint64_t)f->max * FULL_PERCENT / 100)
			return NAGIOS_WARNING;
	}
	snprintf(text, size, "mode %s, %zu hooks, %zu blocked", mode_name(s->view.mode), s->n_hooks,
		 s->n_blocked);
	return NAGIOS_OK;
}

static int nagios(const struct cli *cli)
{
	static const char *const word[] = { "OK", "WARNING", "CRITICAL", "UNKNOWN" };
	_cleanup_(status_free) struct status s = {};
	char text[512];
	enum nagios state;
	int r;

	r = collect(cli, &s);
	if (r < 0) {
		state = r == -ENOENT ? NAGIOS_CRITICAL : NAGIOS_UNKNOWN;
		printf("SMTPWALL %s - %s\n", word[state],
		       r == -ENOENT ? "nothing is loaded" : "its state cannot be read");
		return state;
	}
	state = judge(&s, text, sizeof(text));
	printf("SMTPWALL %s - %s | senders=%zu blocked=%zu lost_events=%llu\n", word[state], text,
	       s.n_senders, s.n_blocked, s.health.lost_events);
	return state;
}

int verb_status(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "nagios", no_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	_cleanup_(status_free) struct status s = {};
	_cleanup_writer_ struct writer *w = NULL;
	bool one_line = false;
	int c;

	while ((c = cli_option(cli, argc, argv, "j", options)) != -1) {
		one_line |= c == 'n';
		if (c == '?')
			return cli_usage(cli);
	}
	if (optind != argc)
		return cli_usage(cli);
	if (one_line)
		return nagios(cli);
	if (collect(cli, &s) < 0)
		return FAILED;
	w = writer_new(cli->json);
	write_all(w, &s);
	say_all(w, &s);
	if (writer_finish(w, false) < 0 || s.n_missing)
		return FAILED;
	return DONE;
}
