// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall events: what happened, from the history that the daemon keeps. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "history.h"
#include "log.h"
#include "quantity.h"
#include "writer.h"

#define POLL_NS 250000000

struct follow {
	bool json;
	int64_t last; /* the highest id that was printed */
	int64_t since_ms;
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* "2026-11-21T18:25:48Z", also with a fraction or "+01:00". */
static int moment_parse(const char *text, int64_t *ret_ms)
{
	struct tm tm = {};
	const char *end;
	int64_t seconds;
	long east;

	end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	if (!end)
		return -EINVAL;
	seconds = timegm(&tm);
	if (*end == '.')
		end += 1 + strspn(end + 1, "0123456789");
	memset(&tm, 0, sizeof(tm));
	end = strptime(end, "%z", &tm); /* knows "Z" */
	if (!end || *end)
		return -EINVAL;
	east = tm.tm_gmtoff;

	*ret_ms = (seconds - east) * 1000;
	return 0;
}

static int since_parse(const char *text, int64_t *ret_ms)
{
	uint64_t span_ns;

	if (duration_parse(text, &span_ns) == 0) {
		*ret_ms = now_ms() - (int64_t)(span_ns / 1000000);
		return 0;
	}
	if (moment_parse(text, ret_ms) == 0)
		return 0;
	log_error("'%s' is no time: write a span (2h) or a moment (2026-11-21T18:00:00Z)", text);
	return -EINVAL;
}

static void write_known(struct writer *w, const char *key, int64_t number)
{
	if (number < 0)
		writer_null(w, key);
	else
		writer_number(w, key, number);
}

static int print_json(const struct event_record *r)
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
	return writer_finish(w, true);
}

static int print_line(const struct event_record *r)
{
	_cleanup_writer_ struct writer *w = writer_new(false);
	time_t seconds = r->time_ms / 1000;
	char when[32];
	struct tm tm;

	localtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	if (r->text)
		writer_say(w, "%s  %-12s  %s", when, r->event, r->text);
	else
		writer_say(w, "%s  %-12s  %s%s%s", when, r->event, r->subject ? r->subject : "",
			   r->reason ? " " : "", r->reason ? r->reason : "");
	return writer_finish(w, true);
}

static int print_event(const struct event_record *record, void *userdata)
{
	struct follow *f = userdata;
	int r;

	r = f->json ? print_json(record) : print_line(record);
	if (r == 0 && record->id > f->last)
		f->last = record->id;
	return r;
}

/* From here on what is told, however long ago it happened. In a history that was begun anew: all. */
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
		if (c == 's' && since_parse(optarg, &f.since_ms) < 0)
			return USAGE;
		if (c == '?')
			return cli_usage(cli);
	}
	if (optind != argc)
		return cli_usage(cli);
	f.json = cli->json;
	if (f.since_ms < 0)
		f.since_ms = follow ? now_ms() : 0;
	return run(cli, &f, follow);
}
