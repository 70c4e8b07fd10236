// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall events: what happened, from the history that the daemon keeps. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "exhibit.h"
#include "history.h"
#include "log.h"
#include "path.h"
#include "span.h"
#include "writer.h"

#define POLL_NS 250000000

struct follow {
	bool json;
	struct history *history;
	int64_t last; /* the highest id that was printed */
	int64_t since_ms;
};

static void write_known(struct writer *w, const char *key, int64_t number)
{
	if (number < 0)
		writer_null(w, key);
	else
		writer_number(w, key, number);
}

static int take_proof(const struct proof *proof, void *userdata)
{
	struct exhibit *exhibit = userdata;

	if (!exhibit->past)
		*exhibit = exhibit_of(proof);
	return 0;
}

static int print_json(const struct event_record *r, const struct exhibit *exhibit)
{
	_cleanup_writer_ struct writer *w = writer_new(true);

	writer_time(w, "time", r->time_ms * 1000000);
	writer_text(w, "event", r->event);
	writer_text(w, "subject", r->subject);
	writer_text(w, "name", r->name);
	writer_text(w, "policy", r->policy);
	writer_text(w, "limit", r->limit);
	write_known(w, "used", r->used);
	writer_text(w, "road", r->road);
	writer_text(w, "reason", r->reason);
	writer_text(w, "text", r->text);
	writer_text(w, "comm", r->comm);
	writer_text(w, "destination", r->destination);
	write_known(w, "pid", r->pid);
	write_known(w, "uid", r->uid);
	write_known(w, "port", r->port);
	writer_time(w, "until", r->until_ms < 0 ? 0 : r->until_ms * 1000000);
	write_known(w, "count", r->count);
	if (exhibit->past)
		exhibit_write(w, exhibit);
	else
		writer_null(w, "evidence");
	return writer_finish(w, true);
}

static int print_line(const struct event_record *r, const struct exhibit *exhibit)
{
	_cleanup_writer_ struct writer *w = writer_new(false);
	time_t seconds = r->time_ms / 1000;
	char when[32], folder[PATH_TEXT_LEN] = "";
	struct tm tm;

	if (exhibit->past)
		path_text(&exhibit->row.record.cwd_path, 0, folder, sizeof(folder));
	localtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	if (r->text)
		writer_say(w, "%s  %-12s  %s%s%s", when, r->event, r->text, *folder ? "; in " : "",
			   folder);
	else
		writer_say(w, "%s  %-12s  %s%s%s", when, r->event, r->subject ? r->subject : "",
			   r->reason ? " " : "", r->reason ? r->reason : "");
	return writer_finish(w, true);
}

static int print_event(const struct event_record *record, void *userdata)
{
	struct follow *f = userdata;
	struct exhibit exhibit = {};
	int r;

	proof_of_event(f->history, record->id, take_proof, &exhibit);
	r = f->json ? print_json(record, &exhibit) : print_line(record, &exhibit);
	exhibit_clear(&exhibit);
	if (r == 0 && record->id > f->last)
		f->last = record->id;
	return r;
}

/* From here on what is told, however long ago it happened. In a history begun anew: all. */
static void follow_from(struct follow *f, int64_t last_id)
{
	if (last_id > f->last)
		f->last = last_id;
	f->since_ms = 0;
}

static int read_new(struct history *history, struct follow *f, bool wait)
{
	int64_t last_id;
	int r = history_last_id(history, &last_id);

	if (r == 0 && last_id < f->last)
		f->last = 0;
	if (r == 0)
		r = history_read(history, f->last, f->since_ms, print_event, f);
	if (r == 0 && wait)
		follow_from(f, last_id);
	return r;
}

/* The daemon may begin the history anew or not have begun it yet: opened each time. */
static int print_new(const struct cli *cli, struct follow *f, bool wait)
{
	struct history *history;
	int r;

	r = history_open(cli->state_dir, false, &history);
	if (r == -ENOENT && wait)
		return 0;
	if (r == 0) {
		f->history = history;
		r = read_new(history, f, wait);
		history_close(history);
	}
	if (r == -EBUSY && wait)
		return 0;
	return r;
}

static int run(const struct cli *cli, struct follow *f, bool follow)
{
	const struct timespec pause = { .tv_nsec = POLL_NS };
	int r;

	for (;;) {
		r = print_new(cli, f, follow);
		if (r < 0)
			break;
		if (!follow)
			return DONE;
		nanosleep(&pause, NULL);
	}
	if (r == -ENOENT)
		log_error("there is no history in '%s' yet: smtpwalld begins it", cli->state_dir);
	else if (r != -EPIPE)
		log_errno(r, "cannot read the history in '%s'", cli->state_dir);
	return FAILED;
}

int verb_events(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "follow", no_argument, NULL, 'f' },
		{ "since", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	struct follow f = { .since_ms = -1 };
	bool follow = false;
	int c;

	while ((c = cli_option(cli, argc, argv, "jf", options)) != -1) {
		follow |= c == 'f';
		if (c == 's' && since_option(optarg, &f.since_ms) < 0)
			return USAGE;
		if (c == '?')
			return cli_usage(cli);
	}
	if (optind != argc)
		return cli_usage(cli);
	f.json = cli->json;
	if (f.since_ms < 0)
		f.since_ms = follow ? wall_now_ms() : 0;
	return run(cli, &f, follow);
}
