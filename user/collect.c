// SPDX-License-Identifier: GPL-2.0-or-later
#include "collect.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "cleanup.h"
#include "evidence.h"
#include "inquest.h"
#include "log.h"
#include "proof.h"

#define SEEN 16384  /* keys remembered; a power of two. Others are looked up in the history */
#define WALKED 4096 /* records of the map looked at each time: at most about 7 MB */
#define FRESH 64    /* keys whose evidence is kept each time */
#define SOON_USEC 100000ULL
#define NS_PER_SECOND 1000000000ULL

#define LISTENED 64 /* sessions of what was kept, whose HELO and MAIL FROM come later */
#define LISTEN_NS (60 * NS_PER_SECOND)

#define CREDIT 16			    /* rows of a key at once */
#define CREDIT_EACH_NS (30 * NS_PER_SECOND) /* and one more */
#define CREDIT_TRIPS 48			    /* rows over a limit beyond that */

#define KEEP_DAYS 30
#define KEEP_ROWS 20000 /* about 2 kB each */
#define DAY_MS (24LL * 3600 * 1000)

/* What was kept of a key. */
struct seen {
	struct sw_evidence_key key;
	uint64_t kept_ns; /* time of the latest record that is kept, or need not be */
	uint64_t noted;	  /* attempts that the rows kept so far stand for */
	uint64_t trip;	  /* id of the latest kept that went over: this may be long after it came */
	struct collect_credit credit;
	bool used;
};

/* A record that was kept before its session said who it is. */
struct session {
	struct sw_evidence_key key;
	uint64_t id; /* 0: none */
	uint64_t until_ns;
};

struct collect {
	sd_event *loop;
	struct maps *maps;
	struct teller *teller;
	struct inquest *inquest;
	int evidence; /* the map */
	char origin[PROOF_ORIGIN_LEN];
	struct pinned_walk walk;
	struct seen *seen;
	struct sw_evidence_key fresh[FRESH];
	size_t n_fresh;
	struct session session[LISTENED];
	size_t n_sessions;   /* so far: the oldest makes room */
	unsigned int losses; /* of histories, when `seen` was read */
	bool failing;
	sd_event_source *soon;
	uint64_t last_usec; /* when collect_now() ran */
	unsigned int minutes;
};

int collect_allowance(struct collect_credit *credit, bool trip, uint64_t now_ns)
{
	uint64_t more = (now_ns - credit->since_ns) / CREDIT_EACH_NS;

	if (credit->since_ns == 0) {
		*credit = (struct collect_credit){ .rows = CREDIT, .since_ns = now_ns };
	} else if (more) {
		credit->rows = more > CREDIT + CREDIT_TRIPS ? CREDIT : credit->rows + (int)more;
		credit->rows = credit->rows > CREDIT ? CREDIT : credit->rows;
		credit->since_ns += more * CREDIT_EACH_NS;
	}
	if (trip)
		return credit->rows + CREDIT_TRIPS > 0 ? credit->rows + CREDIT_TRIPS : 0;
	return credit->rows > 0 ? credit->rows : 0;
}

/* ---- what was kept ---- */

static bool same_key(const struct sw_evidence_key *a, const struct sw_evidence_key *b)
{
	return a->id == b->id && a->device == b->device && a->rest == b->rest &&
	       a->kind == b->kind;
}

static struct seen *seen_get(struct collect *collect, const struct sw_evidence_key *key)
{
	uint64_t hash = (key->id + key->kind + ((uint64_t)key->device << 40) +
			 ((uint64_t)key->rest << 20)) *
			0x9e3779b97f4a7c15ULL;
	struct seen *seen = &collect->seen[(hash >> 32) % SEEN];

	if (seen->used && same_key(&seen->key, key))
		return seen;
	/* Keys that meet in one place share its credit, or who has two of them never runs out. */
	*seen = (struct seen){ .key = *key, .used = true, .credit = seen->credit };
	seen->key.slot = 0;
	proof_latest(teller_history(collect->teller), collect->origin, key, &seen->kept_ns,
		     &seen->noted);
	return seen;
}

/*
 * What another subject was judged by is only worth it if it went over: its own is kept by whom it is
 * of. And this may be long after it came, so that it is kept already, but for that.
 */
static bool is_new(const struct collect *collect, struct seen *seen,
		   const struct sw_evidence_key *key, const struct sw_evidence *record, bool trip)
{
	if (record->time_ns > seen->kept_ns)
		return trip || evidence_is_own(key, record);
	if (!trip || record->id == seen->trip)
		return false;
	if (!proof_has_trip(teller_history(collect->teller), collect->origin, record->id))
		return true;
	seen->trip = record->id;
	return false;
}

static void note_fresh(const struct sw_evidence_key *key, const struct sw_evidence *record,
		       void *userdata)
{
	struct collect *collect = userdata;
	bool trip = key->slot == SW_EVIDENCE_TRIP;
	struct seen *seen;
	size_t i;

	if (collect->n_fresh == FRESH)
		return;
	seen = seen_get(collect, key);
	if (!is_new(collect, seen, key, record, trip) ||
	    !collect_allowance(&seen->credit, trip, boot_ns()))
		return;
	for (i = 0; i < collect->n_fresh; i++)
		if (same_key(&collect->fresh[i], key))
			return;
	collect->fresh[collect->n_fresh] = *key;
	collect->fresh[collect->n_fresh++].slot = 0;
}

/* ---- keeping ---- */

static const char *subject_text(struct collect *collect, const struct sw_evidence *record,
				enum sw_kind kind, struct subject_text *text)
{
	struct sw_subject subject;

	if (!evidence_subject(record, kind, &subject))
		return NULL;
	teller_subject(collect->teller, &subject, text);
	return text->canonical;
}

static int keep(struct collect *collect, const struct evidence_row *row, uint64_t noted,
		uint64_t stands_for)
{
	struct subject_text unit, dir;
	char script[PATH_MAX];
	struct proof proof = {
		.row = *row,
		.time_ms = wall_ms(row->record.time_ns),
		.origin = collect->origin,
		.noted = noted,
		.stands_for = (int64_t)stands_for,
		.unit = subject_text(collect, &row->record, SW_KIND_UNIT, &unit),
		.dir = subject_text(collect, &row->record, SW_KIND_DIR, &dir),
	};

	if (evidence_script(&row->record, script))
		proof.script = script;
	return proof_add(teller_history(collect->teller), &proof);
}

/* ---- what sessions say later ---- */

static void listen_to(struct collect *collect, const struct evidence_row *row)
{
	if (*row->record.mail_from || row->record.verdict == SW_VERDICT_REFUSED)
		return;
	collect->session[collect->n_sessions++ % LISTENED] = (struct session){
		.key = row->key, .id = row->record.id, .until_ns = boot_ns() + LISTEN_NS
	};
}

static int hear(struct collect *collect, struct session *session)
{
	struct evidence_row row[SW_EVIDENCE_SLOTS];
	size_t i, n = 0;
	int r = evidence_of_key(collect->evidence, &session->key, row, &n);
	bool ends;

	for (i = 0; i < n && row[i].record.id != session->id; i++)
		;
	ends = r < 0 || i == n || boot_ns() > session->until_ns || *row[i].record.mail_from;
	if (ends && r == 0 && i < n && *row[i].record.helo)
		r = proof_heard(teller_history(collect->teller), collect->origin, &row[i].record);
	if (ends && r != -EBUSY)
		session->id = 0;
	return r;
}

static bool listening(const struct collect *collect)
{
	size_t i;

	for (i = 0; i < LISTENED; i++)
		if (collect->session[i].id)
			return true;
	return false;
}

static int hear_all(struct collect *collect)
{
	size_t i;
	int r = 0;

	for (i = 0; i < LISTENED && r == 0; i++)
		if (collect->session[i].id)
			r = hear(collect, &collect->session[i]);
	return r;
}

/* Leaves those that are new and have credit: first what went over a limit, then the newest. */
static size_t choose(const struct collect *collect, struct seen *seen, struct evidence_row *row,
		     size_t n)
{
	size_t i, kept = 0;
	uint64_t now_ns = boot_ns();
	bool trip;
	int pass;

	for (pass = 0; pass < 2; pass++) {
		for (i = kept; i < n; i++) {
			struct evidence_row chosen = row[i];

			trip = chosen.why & EVIDENCE_TRIP;
			if (trip != (pass == 0) ||
			    !is_new(collect, seen, &chosen.key, &chosen.record, trip) ||
			    !collect_allowance(&seen->credit, trip, now_ns))
				continue;
			memmove(&row[kept + 1], &row[kept], (i - kept) * sizeof(*row));
			row[kept++] = chosen;
			seen->credit.rows--;
		}
	}
	return kept;
}

/* Does it stand for attempts that were not counted yet? */
static bool counts(const struct seen *seen, const struct evidence_row *row)
{
	return evidence_is_own(&row->key, &row->record) && row->record.time_ns > seen->kept_ns;
}

static int keep_rows(struct collect *collect, const struct seen *seen,
		     const struct evidence_row *row, size_t n, uint64_t noted, size_t own)
{
	size_t i, left = own;
	int r = 0;

	for (i = 0; i < n && r == 0; i++) {
		uint64_t share = counts(seen, &row[i])
					 ? proof_share(noted - seen->noted, own, --left)
					 : 0;

		r = keep(collect, &row[i], noted, share);
		if (r < 0)
			break;
		if (row[i].record.time_ns > seen->kept_ns) /* else it was asked when it came */
			inquest_ask(collect->inquest, &row[i].key, &row[i].record);
		listen_to(collect, &row[i]);
	}
	return r;
}

static int keep_key(struct collect *collect, const struct sw_evidence_key *key)
{
	struct evidence_row row[SW_EVIDENCE_SLOTS];
	struct sw_subject keeper = evidence_keeper(key);
	struct seen *seen = seen_get(collect, key);
	struct sw_ledger ledger = {};
	uint64_t newest_ns;
	size_t i, n, own = 0;
	int r;

	r = evidence_of_key(collect->evidence, key, row, &n);
	if (r < 0 || n == 0)
		return r;
	newest_ns = row[0].record.time_ns;
	/* Read after the records, so that it counts them. */
	if (maps_ledger_get(collect->maps, &keeper, &ledger) == 0 && ledger.noted < seen->noted)
		seen->noted = 0; /* its row was made anew */
	n = choose(collect, seen, row, n);
	if (n == 0)
		return 0;
	for (i = 0; i < n; i++)
		own += counts(seen, &row[i]);
	if (!own || ledger.noted < seen->noted + own)
		ledger.noted = seen->noted + own;
	r = keep_rows(collect, seen, row, n, ledger.noted, own);
	if (r < 0)
		return r;
	if (row[0].why & EVIDENCE_TRIP) /* chosen first */
		seen->trip = row[0].record.id;
	if (newest_ns > seen->kept_ns)
		seen->kept_ns = newest_ns;
	seen->noted = ledger.noted;
	return 0;
}

/* After a loss it may be another history, in which nothing was kept. */
static void follow_history(struct collect *collect)
{
	unsigned int losses = teller_history_losses(collect->teller);

	if (collect->losses == losses)
		return;
	collect->losses = losses;
	memset(collect->seen, 0, SEEN * sizeof(*collect->seen));
}

/* What cannot be written is told there, and tried with another history. */
static void write_all(struct collect *collect)
{
	size_t i;
	int r;

	if (!collect->n_fresh && !listening(collect))
		return;
	if (teller_begin(collect->teller) < 0)
		return; /* somebody else holds it: the next time */
	r = hear_all(collect);
	for (i = 0; i < collect->n_fresh && r == 0; i++)
		r = keep_key(collect, &collect->fresh[i]);
	if (r < 0 && r != -EBUSY)
		teller_history_failed(collect->teller, r);
	teller_end(collect->teller);
}

void collect_now(struct collect *collect)
{
	int r;

	sd_event_now(collect->loop, CLOCK_MONOTONIC, &collect->last_usec);
	if (!teller_history(collect->teller))
		return;
	follow_history(collect);
	collect->n_fresh = 0;
	r = evidence_step(collect->evidence, &collect->walk, WALKED, note_fresh, collect);
	if (r < 0 && !collect->failing)
		log_errno(r, "cannot read the evidence (limits and blocks go on; tried again each "
			     "second)");
	collect->failing = r < 0;
	write_all(collect);
	inquest_go(collect->inquest);
}

/* ---- what is found out ---- */

static const char *text_of(struct json_object *in, const char *key)
{
	return json_object_get_string(json_object_object_get(in, key));
}

static void on_found(const char *json, void *userdata)
{
	struct collect *collect = userdata;
	struct history *history = teller_history(collect->teller);
	struct json_object *found = json_tokener_parse(json);
	int r;

	if (!found || !history) {
		json_object_put(found);
		return;
	}
	r = proof_found(history, collect->origin,
			json_object_get_uint64(json_object_object_get(found, "id")), json,
			text_of(found, "script"), text_of(found, "guess"));
	if (r < 0 && r != -EBUSY)
		teller_history_failed(collect->teller, r);
	json_object_put(found);
}

/* ---- its life ---- */

static int on_soon(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	collect_now(userdata);
	return 0;
}

void collect_soon(struct collect *collect)
{
	int enabled = SD_EVENT_OFF;

	sd_event_source_get_enabled(collect->soon, &enabled);
	if (enabled != SD_EVENT_OFF)
		return;
	sd_event_source_set_time(collect->soon, collect->last_usec + SOON_USEC);
	sd_event_source_set_enabled(collect->soon, SD_EVENT_ONESHOT);
}

void collect_each_minute(struct collect *collect)
{
	struct history *history = teller_history(collect->teller);
	int r;

	if (!history || collect->minutes++ % 10)
		return;
	r = proof_trim(history, wall_ms(boot_ns()) - KEEP_DAYS * DAY_MS, KEEP_ROWS);
	if (r < 0 && r != -EBUSY)
		teller_history_failed(collect->teller, r);
}

void collect_maps(struct collect *collect, struct maps *maps)
{
	collect->maps = maps;
}

static int open_all(struct collect *collect, const char *pin_dir)
{
	int r = evidence_open(pin_dir, &collect->evidence);

	if (r == 0)
		r = proof_origin(collect->evidence, collect->origin);
	if (r == 0)
		r = inquest_new(collect->loop, on_found, collect, &collect->inquest);
	if (r == 0)
		r = sd_event_add_time(collect->loop, &collect->soon, CLOCK_MONOTONIC, 0, 1000,
				      on_soon, collect);
	return r < 0 ? r : sd_event_source_set_enabled(collect->soon, SD_EVENT_OFF);
}

int collect_new(sd_event *loop, const char *pin_dir, struct maps *maps, struct teller *teller,
		struct collect **ret)
{
	struct collect *collect = calloc(1, sizeof(*collect));
	int r = -ENOMEM;

	if (collect) {
		collect->loop = loop;
		collect->maps = maps;
		collect->teller = teller;
		collect->evidence = -1;
		collect->seen = calloc(SEEN, sizeof(*collect->seen));
		r = collect->seen ? open_all(collect, pin_dir) : -ENOMEM;
	}
	if (r < 0) {
		collect_free(collect);
		return log_errno(r, "cannot read the evidence in '%s'", pin_dir);
	}

	*ret = collect;
	return 0;
}

void collect_free(struct collect *collect)
{
	if (!collect)
		return;
	sd_event_source_disable_unref(collect->soon);
	inquest_free(collect->inquest);
	closep(&collect->evidence);
	free(collect->seen);
	free(collect);
}
