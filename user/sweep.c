// SPDX-License-Identifier: GPL-2.0-or-later
#include "sweep.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "cut.h"
#include "escalate.h"
#include "events.h"
#include "forget.h"
#include "idle.h"
#include "log.h"
#include "quantity.h"

#define SECOND_NS 1000000000ULL
#define MINUTE_NS (60 * SECOND_NS)
#define HINTS 64 /* blocks made between two sweeps of which we know who did it */
#define PUT_OFF_NS (10 * SECOND_NS)
#define TOLERANCE_MS 100 /* of two readings of the wall clock */
/*
 * A connect that was admitted just before the block ends by itself, or hangs: after a second it
 * is cut, too (as the kernel spares its SYN for so long), and until then what comes of it.
 */
#define OPENING_NS SECOND_NS
#define CUT_AGAIN_NS (3 * SECOND_NS)

struct sweep {
	struct maps *maps;
	struct teller *teller;
	struct state *state;
	const struct config *config;
	struct block_row *told; /* sorted */
	size_t n_told;
	struct allowance_row *told_allowed; /* sorted */
	size_t n_told_allowed;
	struct sw_event hint[HINTS];
	size_t n_hints;		   /* ever; the last HINTS are kept */
	struct sw_control control; /* as it was told */
	struct sw_health health;   /* as it was told */
	uint64_t health_told_ns;
	uint64_t forgot_ns; /* when rows of folders and units were last looked at */
	struct idle *idle;
	uint64_t held_ns; /* since when the history is somebody else's; 0: it is not */
	bool failing, cut_failing, cut_away_told;
	bool enforced; /* the mode, when blocks were last looked at */
};

/* ---- blocks: pure ---- */

static int compare(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static int by_block(const void *a, const void *b)
{
	const struct block_row *x = a, *y = b;
	int r = subject_compare(&x->subject, &y->subject);

	r = r ? r : compare(x->block.since_ns, y->block.since_ns);
	return r ? r : compare(x->road, y->road);
}

void blocks_sort(struct block_row *row, size_t n)
{
	if (n)
		qsort(row, n, sizeof(*row), by_block);
}

size_t blocks_missing(const struct block_row *in, size_t n_in, const struct block_row *from,
		      size_t n_from, struct block_row *ret)
{
	size_t n = 0;

	for (size_t i = 0, j = 0; i < n_in; i++) {
		while (j < n_from && by_block(&from[j], &in[i]) < 0)
			j++;
		if (j == n_from || by_block(&from[j], &in[i]))
			ret[n++] = in[i];
	}
	return n;
}

size_t blocks_same(const struct block_row *row, size_t n)
{
	size_t same = 1;

	while (same < n && !subject_compare(&row[0].subject, &row[same].subject) &&
	       row[0].block.since_ns == row[same].block.since_ns)
		same++;
	return n ? same : 0;
}

const char *block_ended(const struct sw_block *block, enum sw_mode mode, uint64_t now_ns)
{
	if (block->until_ns && block->until_ns <= now_ns)
		return "its time ran out";
	if (block->flags & SW_BLOCK_TRIAL && mode != SW_MODE_ENFORCE)
		return "the trial of enforce mode ended";
	return NULL;
}

/* ---- cutting ---- */

static bool is_allowed(const struct allowance_row *row, size_t n, const struct block_row *block)
{
	for (size_t i = 0; block->block.by == SW_BY_LIMIT && i < n; i++)
		if (!subject_compare(&row[i].subject, &block->subject))
			return true;
	return false;
}

/* Of rows whose time it is. `age_ns`: they are not older. */
static size_t add_targets(struct sweep *sweep, const struct block_row *row, size_t n,
			  enum sw_mode mode, uint64_t now_ns, uint64_t age_ns,
			  struct cut_target *target)
{
	_cleanup_free_ struct allowance_row *allowed = NULL;
	size_t n_allowed = 0, n_targets = 0;

	for (size_t i = 0; i < n; i++) {
		const struct sw_block *block = &row[i].block;
		uint64_t old_ns = now_ns - block->since_ns;

		if (row[i].road >= SW_ROADS || old_ns > age_ns ||
		    !cut_enforced(block, teller_policy(sweep->teller, block->policy), mode))
			continue;
		if (!allowed && block->by == SW_BY_LIMIT &&
		    maps_allowances(sweep->maps, &allowed, &n_allowed) < 0)
			continue;
		if (is_allowed(allowed, n_allowed, &row[i]))
			continue;
		target[n_targets++] = (struct cut_target){
			.subject = row[i].subject,
			.roads = 1 << row[i].road,
			.by_policy = block->by == SW_BY_LIMIT,
			.opening = old_ns >= OPENING_NS,
		};
	}
	return n_targets;
}

static void tell_cut(struct sweep *sweep, const struct cut_result *result, size_t blocks, int r)
{
	struct event_record record = EVENT("cut");

	record.count = result->cut;
	if (result->cut)
		tell(sweep->teller, LOG_NOTICE, &record,
		     "cut %zu live sessions of those who are blocked (%zu blocks looked at)",
		     result->cut, blocks);
	if (result->not_supported)
		r = -EOPNOTSUPP;
	if (r < 0 && !sweep->cut_failing)
		log_errno(r, "cannot end live sessions of those who are blocked (their packets are "
			     "dropped all the same)");
	sweep->cut_failing = r < 0;
	if (result->out_of_reach && !sweep->cut_away_told)
		log_notice("some sessions of those who are blocked are, or were, in network "
			   "namespaces that cannot be entered: if they live, their packets are "
			   "dropped");
	sweep->cut_away_told = sweep->cut_away_told || result->out_of_reach;
}

/* What is new, once more a little later, and all when enforcing begins. */
static void cut_blocked(struct sweep *sweep, const struct block_row *now, size_t n_now,
			const struct block_row *fresh, size_t n_fresh, enum sw_mode mode,
			uint64_t now_ns)
{
	_cleanup_free_ struct cut_target *target = calloc(n_now + n_fresh + 1, sizeof(*target));
	bool begins = mode == SW_MODE_ENFORCE && !sweep->enforced;
	struct cut_result result;
	size_t n;
	int r;

	sweep->enforced = mode == SW_MODE_ENFORCE;
	if (!target)
		return;
	n = add_targets(sweep, now, n_now, mode, now_ns, begins ? UINT64_MAX : CUT_AGAIN_NS,
			target);
	n += add_targets(sweep, fresh, n_fresh, mode, now_ns, UINT64_MAX, target + n);
	if (!n)
		return;
	r = cut(sweep->maps, target, n, &result);
	tell_cut(sweep, &result, n, r);
}

/* ---- escalation ---- */

static const struct policy_spec *spec_of(const struct sweep *sweep, const struct sw_block *block)
{
	const struct sw_policy *policy = teller_policy(sweep->teller, block->policy);

	for (size_t i = 0; policy && sweep->config && i < sweep->config->n_policies; i++)
		if (!strcmp(sweep->config->policy[i].name, policy->name))
			return &sweep->config->policy[i];
	return NULL;
}

/* Observed ones and those on trial neither count nor grow; restored ones did so before. */
static bool escalates(const struct sw_block *block)
{
	return block->by == SW_BY_LIMIT &&
	       !(block->flags & (SW_BLOCK_OBSERVED | SW_BLOCK_TRIAL | SW_BLOCK_RESTORED));
}

static __u16 level_of(struct sweep *sweep, const struct block_row *row,
		      const struct policy_spec *policy)
{
	struct history *history = teller_history(sweep->teller);
	char offender[SUBJECT_SAVED_LEN];
	unsigned int earlier = 0;
	int r;

	if (!history)
		return 0;
	subject_offender(teller_names(sweep->teller), &row->subject, offender);
	r = escalate_note(history, offender, policy->name, wall_ms(row->block.since_ns),
			  policy->escalate_within_ns / 1000000, &earlier);
	if (r < 0 && r != -EBUSY)
		teller_history_failed(sweep->teller, r);
	return escalate_level(policy, earlier);
}

/* Is it said in the history how long it is? */
static bool asks_history(const struct sweep *sweep, const struct sw_block *block)
{
	const struct policy_spec *policy = spec_of(sweep, block);

	return policy && policy->n_escalate && escalates(block);
}

/* Unless somebody has changed the block meanwhile. */
static int lengthen(struct sweep *sweep, struct block_row *row, const struct policy_spec *policy,
		    __u16 level)
{
	struct sw_block block;
	int r = maps_block_get(sweep->maps, &row->subject, row->road, &block);

	if (r < 0 || block.since_ns != row->block.since_ns || !escalates(&block))
		return r == -ENOENT ? 0 : r;
	block.level = level;
	block.until_ns = escalate_until(policy, level, &block);
	row->block = block;
	return maps_block_set(sweep->maps, &row->subject, row->road, &block);
}

/* One block: its roads. */
static int escalate(struct sweep *sweep, struct block_row *row, size_t n, bool held)
{
	const struct policy_spec *policy = spec_of(sweep, &row->block);
	__u16 level;
	int r;

	if (!asks_history(sweep, &row->block))
		return 0;
	if (held)
		return -EBUSY;
	level = level_of(sweep, row, policy);
	if (!level)
		return 0;
	r = maps_lock(sweep->maps);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r >= 0; i++)
		r = lengthen(sweep, &row[i], policy, level);
	maps_unlock(sweep->maps);
	return r;
}

/* ---- telling of a block ---- */

static void roads_said(const struct block_row *row, size_t n, char *text, size_t size)
{
	size_t at = 0;

	text[0] = '\0';
	for (size_t i = 0; i < n && at < size && row[i].road < SW_ROADS; i++)
		at += snprintf(text + at, size - at, "%s%s", i ? ", " : "", road_name(row[i].road));
}

/* " for 30m (until 2025-11-21 18:50:02 CET)" */
static void until_said(const struct sw_block *block, char *text, size_t size)
{
	char span[QUANTITY_LEN], date[64] = "?";
	time_t until;
	struct tm tm;

	if (!block->until_ns) {
		snprintf(text, size, " until it is lifted");
		return;
	}
	duration_format(span, (block->until_ns - block->since_ns + SECOND_NS / 2) / SECOND_NS *
				      SECOND_NS);
	until = wall_ms(block->until_ns) / 1000;
	if (localtime_r(&until, &tm))
		strftime(date, sizeof(date), "%F %T %Z", &tm);
	snprintf(text, size, " for %s (until %s)", span, date);
}

static void why_said(struct sweep *sweep, const struct sw_block *block, char *text, size_t size)
{
	const struct sw_policy *policy = teller_policy(sweep->teller, block->policy);
	const struct sw_limit *limit = teller_limit(sweep->teller, block->policy, block->limit);
	char of[QUANTITY_LEN] = "a limit", note[SW_NOTE_LEN];

	if (block->by == SW_BY_HAND) {
		printable(note, sizeof(note), block->note, sizeof(block->note));
		snprintf(text, size, "by hand%s%s%s", note[0] ? " (\"" : "", note,
			 note[0] ? "\")" : "");
		return;
	}
	if (limit)
		limit_words(of, limit);
	snprintf(text, size, "over %s, policy \"%s\"%s", of,
		 policy ? policy->name : "(removed meanwhile)",
		 block->level ? ", not for the first time" : "");
}

static const struct sw_event *hint_of(const struct sweep *sweep, const struct block_row *row)
{
	size_t kept = sweep->n_hints < HINTS ? sweep->n_hints : HINTS;

	for (size_t i = 0; i < kept; i++) {
		const struct sw_event *hint = &sweep->hint[i];

		if (!subject_compare(&hint->subject, &row->subject) &&
		    hint->policy == row->block.policy &&
		    hint->time_ns + SECOND_NS >= row->block.since_ns &&
		    row->block.since_ns + SECOND_NS >= hint->time_ns)
			return hint;
	}
	return NULL;
}

/* What the history keeps of who did it. `comm` and `where` are the caller's. */
static void record_culprit(struct event_record *record, const struct sw_event *hint, char *comm,
			   char *where)
{
	event_destination(hint, where);
	record->destination = where;
	record->port = hint->port;
	if (!hint->pid)
		return;
	printable(comm, SW_COMM_LEN + 1, hint->comm, sizeof(hint->comm));
	record->comm = comm[0] ? comm : NULL;
	record->pid = hint->pid;
	if (hint->uid != SW_UID_OVERFLOW) /* it is nobody's here */
		record->uid = hint->uid;
}

static void tell_block(struct sweep *sweep, const struct block_row *row, size_t n)
{
	const struct sw_policy *policy = teller_policy(sweep->teller, row->block.policy);
	const struct sw_limit *limit =
		teller_limit(sweep->teller, row->block.policy, row->block.limit);
	const struct sw_event *hint = hint_of(sweep, row);
	bool observed = row->block.flags & SW_BLOCK_OBSERVED;
	struct event_record record = EVENT(observed ? "would_block" : "block");
	char roads[64], until[128], why[256], of[QUANTITY_LEN], comm[SW_COMM_LEN + 1];
	char where[DESTINATION_LEN] = "", culprit[DESTINATION_LEN] = "";
	struct subject_text who;

	teller_subject(sweep->teller, &row->subject, &who);
	roads_said(row, n, roads, sizeof(roads));
	until_said(&row->block, until, sizeof(until));
	why_said(sweep, &row->block, why, sizeof(why));
	record.time_ms = wall_ms(row->block.since_ns);
	record.evidence = row->block.evidence;
	record.subject = who.canonical;
	record.name = who.name[0] ? who.name : NULL;
	record.policy = policy ? policy->name : NULL;
	record.road = roads;
	record.reason = row->block.by == SW_BY_HAND ? "manual" : "limit";
	if (row->block.until_ns)
		record.until_ms = wall_ms(row->block.until_ns);
	if (limit) {
		limit_words(of, limit);
		record.limit = of;
	}
	if (hint) {
		event_culprit(hint, culprit);
		record_culprit(&record, hint, comm, where);
		record.used = hint->used;
	}
	if (observed)
		tell(sweep->teller, LOG_NOTICE, &record,
		     "would be blocked: %s on %s%s: %s%s%s%s; observe mode refuses nothing",
		     who.people, roads, until, why, culprit, where[0] ? " to " : "", where);
	else
		tell(sweep->teller, LOG_WARNING, &record,
		     "blocked: %s on %s%s: %s%s%s%s; undo: smtpwall unblock %s", who.people, roads,
		     until, why, culprit, where[0] ? " to " : "", where, who.handle);
}

/* NULL: by hand. */
static const char *why_gone(struct sweep *sweep, const struct sw_block *block, enum sw_mode mode,
			    uint64_t now_ns)
{
	const char *why = block_ended(block, mode, now_ns);

	if (!why && block->by == SW_BY_LIMIT && !teller_policy(sweep->teller, block->policy))
		why = "its policy is no more";
	return why;
}

/* With the daemon dead or the machine off, it may have been a while ago. */
static int64_t ended_ms(uint64_t until_ns, uint64_t now_ns)
{
	return until_ns && until_ns < now_ns ? wall_ms(until_ns) : 0;
}

static void tell_unblock(struct sweep *sweep, const struct block_row *row, size_t n,
			 enum sw_mode mode, uint64_t now_ns)
{
	struct event_record record = EVENT("unblock");
	const char *why = why_gone(sweep, &row->block, mode, now_ns);
	struct subject_text who;
	uint64_t hits = 0;
	char roads[64];

	if (row->block.flags & SW_BLOCK_OBSERVED)
		return; /* it never was blocked */
	for (size_t i = 0; i < n; i++)
		hits += row[i].block.hits;
	teller_subject(sweep->teller, &row->subject, &who);
	roads_said(row, n, roads, sizeof(roads));
	record.time_ms = ended_ms(row->block.until_ns, now_ns);
	record.subject = who.canonical;
	record.name = who.name[0] ? who.name : NULL;
	record.road = roads;
	record.reason = why ? why : "manual";
	tell(sweep->teller, LOG_NOTICE, &record,
	     "unblocked: %s on %s: %s; the block refused %llu attempts", who.people, roads,
	     why ? why : "lifted by hand", (unsigned long long)hits);
}

/* Of sorted rows: the first of this subject, or where it would be. */
static size_t first_of(const struct sw_subject *subject, const struct block_row *row, size_t n)
{
	size_t low = 0;

	while (low < n) {
		size_t middle = low + (n - low) / 2;

		if (subject_compare(&row[middle].subject, subject) < 0)
			low = middle + 1;
		else
			n = middle;
	}
	return low;
}

static bool still_blocked(const struct block_row *row, const struct block_row *now, size_t n)
{
	for (size_t i = first_of(&row->subject, now, n);
	     i < n && !subject_compare(&now[i].subject, &row->subject); i++)
		if (now[i].road == row->road)
			return true;
	return false;
}

/* Drops the rows that a newer block has taken the place of. */
static size_t drop_replaced(struct block_row *gone, size_t n_gone, const struct block_row *now,
			    size_t n_now)
{
	size_t n = 0;

	for (size_t i = 0; i < n_gone; i++)
		if (!still_blocked(&gone[i], now, n_now))
			gone[n++] = gone[i];
	return n;
}

/*
 * While somebody else holds the history, blocks whose length it says are as if they were not seen
 * yet: they go from `fresh` and `now`. In the end they are told as they are.
 */
static void put_off(struct sweep *sweep, struct block_row *fresh, size_t *n_fresh,
		    struct block_row *now, size_t *n_now)
{
	size_t n = 0, kept = 0;

	for (size_t i = 0, j = 0; i < *n_now; i++) {
		bool is_fresh = j < *n_fresh && !by_block(&fresh[j], &now[i]);

		j += is_fresh;
		if (is_fresh && asks_history(sweep, &now[i].block))
			continue;
		if (is_fresh)
			fresh[kept++] = now[i];
		now[n++] = now[i];
	}
	*n_fresh = kept;
	*n_now = n;
}

/* Takes `now` (sorted) as what is told from here on. */
static int tell_changes(struct sweep *sweep, struct block_row *now, size_t n_now, enum sw_mode mode,
			uint64_t now_ns)
{
	_cleanup_free_ struct block_row *fresh = calloc(n_now + 1, sizeof(*fresh));
	_cleanup_free_ struct block_row *gone = calloc(sweep->n_told + 1, sizeof(*gone));
	size_t n_fresh, n_gone, n;
	bool held;
	int r = 0;

	if (!fresh || !gone)
		return -ENOMEM;
	n_fresh = blocks_missing(now, n_now, sweep->told, sweep->n_told, fresh);
	n_gone = blocks_missing(sweep->told, sweep->n_told, now, n_now, gone);
	n_gone = drop_replaced(gone, n_gone, now, n_now);

	cut_blocked(sweep, now, n_now, fresh, n_fresh, mode, now_ns);
	held = teller_begin(sweep->teller) < 0;
	sweep->held_ns = !held ? 0 : sweep->held_ns ? sweep->held_ns : now_ns;
	if (held && now_ns - sweep->held_ns < PUT_OFF_NS)
		put_off(sweep, fresh, &n_fresh, now, &n_now);
	for (size_t i = 0; i < n_gone; i += n) {
		n = blocks_same(gone + i, n_gone - i);
		tell_unblock(sweep, gone + i, n, mode, now_ns);
	}
	for (size_t i = 0; i < n_fresh; i += n) {
		n = blocks_same(fresh + i, n_fresh - i);
		r = r < 0 ? r : escalate(sweep, fresh + i, n, held);
		if (!(fresh[i].block.flags & SW_BLOCK_RESTORED))
			tell_block(sweep, fresh + i, n);
	}
	teller_end(sweep->teller);
	if (r < 0)
		log_errno(r, "cannot lengthen the blocks of those who were blocked before");
	free(sweep->told);
	sweep->told = now;
	sweep->n_told = n_now;
	return 0;
}

/* ---- what ran out ---- */

/*
 * Read again under the lock: the command may have made the block anew. (The kernel may too,
 * between this look and the removal: then the window, still full, makes it once more.)
 */
static int remove_ended(struct sweep *sweep, enum sw_mode mode, uint64_t now_ns)
{
	_cleanup_free_ struct block_row *row = NULL;
	size_t n = 0;
	int r = maps_lock(sweep->maps);

	if (r < 0)
		return r;
	r = maps_blocks(sweep->maps, &row, &n);
	for (size_t i = 0; i < n && r >= 0; i++)
		if (block_ended(&row[i].block, mode, now_ns))
			r = maps_block_remove(sweep->maps, &row[i].subject, row[i].road);
	maps_unlock(sweep->maps);
	return r;
}

static int sweep_blocks(struct sweep *sweep, enum sw_mode mode, uint64_t now_ns)
{
	_cleanup_free_ struct block_row *row = NULL;
	size_t n = 0, going_on = 0;
	int r = maps_blocks(sweep->maps, &row, &n);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (!block_ended(&row[i].block, mode, now_ns))
			row[going_on++] = row[i];
	if (going_on < n) {
		r = remove_ended(sweep, mode, now_ns);
		if (r < 0)
			return r;
	}
	blocks_sort(row, going_on);
	r = tell_changes(sweep, row, going_on, mode, now_ns);
	if (r == 0)
		take_pointer(&row);
	return r;
}

/* ---- allowances ---- */

static bool allowance_ended(const struct sw_allowance *allowance, uint64_t now_ns)
{
	return allowance->until_ns && allowance->until_ns <= now_ns;
}

static int by_allowance(const void *a, const void *b)
{
	const struct allowance_row *x = a, *y = b;
	int r = subject_compare(&x->subject, &y->subject);

	return r ? r : compare(x->allowance.since_ns, y->allowance.since_ns);
}

static void tell_allow(struct sweep *sweep, const struct allowance_row *row)
{
	const struct sw_allowance *allowance = &row->allowance;
	const struct sw_block span = { .since_ns = allowance->since_ns,
				       .until_ns = allowance->until_ns };
	struct event_record record = EVENT("allow");
	char until[128], note[SW_NOTE_LEN];
	struct subject_text who;

	teller_subject(sweep->teller, &row->subject, &who);
	until_said(&span, until, sizeof(until));
	printable(note, sizeof(note), allowance->note, sizeof(allowance->note));
	record.time_ms = wall_ms(allowance->since_ns);
	record.subject = who.canonical;
	record.name = who.name[0] ? who.name : NULL;
	record.reason = note[0] ? note : NULL;
	if (allowance->until_ns)
		record.until_ms = wall_ms(allowance->until_ns);
	tell(sweep->teller, LOG_NOTICE, &record, "limits are lifted for %s%s%s%s%s", who.people,
	     until, note[0] ? " (\"" : "", note, note[0] ? "\")" : "");
}

static void tell_disallow(struct sweep *sweep, const struct allowance_row *row, uint64_t now_ns)
{
	bool ended = allowance_ended(&row->allowance, now_ns);
	struct event_record record = EVENT("disallow");
	struct subject_text who;

	teller_subject(sweep->teller, &row->subject, &who);
	record.time_ms = ended_ms(row->allowance.until_ns, now_ns);
	record.subject = who.canonical;
	record.name = who.name[0] ? who.name : NULL;
	record.reason = ended ? "its time ran out" : "manual";
	tell(sweep->teller, LOG_NOTICE, &record, "limits are back for %s: its allowance %s",
	     who.people, ended ? "ran out" : "was taken back by hand");
}

static bool is_among(const struct sw_subject *subject, const struct allowance_row *row, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!subject_compare(&row[i].subject, subject))
			return true;
	return false;
}

/* Takes `now` (sorted) as what is told from here on. */
static void tell_allowances(struct sweep *sweep, struct allowance_row *now, size_t n_now,
			    uint64_t now_ns)
{
	struct allowance_row *told = sweep->told_allowed;
	size_t i = 0, j = 0;
	int order;

	while (i < sweep->n_told_allowed || j < n_now) {
		order = i == sweep->n_told_allowed ? 1
			: j == n_now		   ? -1
						   : by_allowance(&told[i], &now[j]);
		if (order < 0 && !is_among(&told[i].subject, now, n_now))
			tell_disallow(sweep, &told[i], now_ns);
		if (order > 0)
			tell_allow(sweep, &now[j]);
		i += order <= 0;
		j += order >= 0;
	}
	free(told);
	sweep->told_allowed = now;
	sweep->n_told_allowed = n_now;
}

/* Read again under the lock: the command may have made it anew. */
static int remove_allowances(struct sweep *sweep, uint64_t now_ns)
{
	_cleanup_free_ struct allowance_row *row = NULL;
	size_t n = 0;
	int r = maps_lock(sweep->maps);

	if (r < 0)
		return r;
	r = maps_allowances(sweep->maps, &row, &n);
	for (size_t i = 0; i < n && r >= 0; i++)
		if (allowance_ended(&row[i].allowance, now_ns))
			r = maps_allowance_remove(sweep->maps, &row[i].subject);
	maps_unlock(sweep->maps);
	return r;
}

static int sweep_allowances(struct sweep *sweep, uint64_t now_ns)
{
	_cleanup_free_ struct allowance_row *row = NULL;
	size_t n = 0, going_on = 0;
	int r = maps_allowances(sweep->maps, &row, &n);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (!allowance_ended(&row[i].allowance, now_ns))
			row[going_on++] = row[i];
	if (going_on < n)
		r = remove_allowances(sweep, now_ns);
	if (r < 0)
		return r;
	if (going_on)
		qsort(row, going_on, sizeof(*row), by_allowance);
	tell_allowances(sweep, take_pointer(&row), going_on, now_ns);
	return 0;
}

/* ---- mode ---- */

static void tell_mode(struct sweep *sweep, const struct sw_control *now, bool ended)
{
	struct event_record record = EVENT("mode");
	char until[128];

	record.reason = ended ? "trial ended" : NULL;
	if (ended)
		tell(sweep->teller, LOG_NOTICE, &record, "the trial of %s ended: mode is %s again",
		     mode_name(sweep->control.trial_mode), mode_name(now->mode));
	else if (now->trial_until_ns) {
		struct sw_block span = { .since_ns = boot_ns(), .until_ns = now->trial_until_ns };

		until_said(&span, until, sizeof(until));
		record.until_ms = wall_ms(now->trial_until_ns);
		tell(sweep->teller, LOG_NOTICE, &record, "mode is %s%s, then %s again",
		     mode_name(now->trial_mode), until, mode_name(now->mode));
	} else
		tell(sweep->teller, LOG_NOTICE, &record, "mode is %s", mode_name(now->mode));
}

/* The kernel has ended the trial by itself; this takes it off the books. */
static int end_trial(struct sweep *sweep, uint64_t now_ns)
{
	struct sw_control control;
	int r = maps_lock(sweep->maps);

	if (r < 0)
		return r;
	r = maps_control(sweep->maps, &control);
	if (r >= 0 && control.trial_until_ns && control.trial_until_ns <= now_ns) {
		control.trial_until_ns = 0;
		r = maps_control_write(sweep->maps, &control);
	}
	maps_unlock(sweep->maps);
	return r;
}

static int sweep_mode(struct sweep *sweep, struct sw_control *ret, uint64_t now_ns)
{
	const struct sw_control *told = &sweep->control;
	bool ended;
	int r = maps_control(sweep->maps, ret);

	if (r < 0)
		return r;
	ended = ret->trial_until_ns && ret->trial_until_ns <= now_ns;
	if (ended) {
		r = end_trial(sweep, now_ns);
		if (r < 0)
			return r;
		ret->trial_until_ns = 0;
	}
	if (ret->mode != told->mode || ret->trial_until_ns != told->trial_until_ns)
		tell_mode(sweep, ret, ended);
	sweep->control = *ret;
	return 0;
}

/* ---- what was lost ---- */

static const struct {
	size_t offset;
	const char *reason;
	const char *said;
} losses[] = {
	{ offsetof(struct sw_health, lost_events), "lost_events",
	  "events were not told, the ring was full (nothing was let through for it)" },
	{ offsetof(struct sw_health, no_storage), "no_storage",
	  "attempts found no socket memory (refused where the mode is enforce)" },
	{ offsetof(struct sw_health, ledger_overflow), "ledger_overflow",
	  "attempts and packets were counted in the overflow row or in that of a network, the "
	  "ledger is full; raise max_users" },
	{ offsetof(struct sw_health, window_overflow), "window_overflow",
	  "attempts were judged by the shared overflow windows, there was no room for more" },
	{ offsetof(struct sw_health, block_overflow), "block_overflow",
	  "blocks found no room (their limits go on refusing)" },
	{ offsetof(struct sw_health, evidence_overflow), "evidence_overflow",
	  "attempts left no evidence, there was no room for more (they were judged as ever)" },
	{ offsetof(struct sw_health, unparsed), "unparsed",
	  "mail packets could not be read (refused where the mode is enforce)" },
};

static uint64_t counter(const struct sw_health *health, size_t offset)
{
	uint64_t value;

	memcpy(&value, (const char *)health + offset, sizeof(value));
	return value;
}

/* A wrong policy, or an attack: an administrator should look now. */
static void tell_guarded(struct sweep *sweep, uint64_t rise)
{
	struct event_record record = EVENT("guard");

	if (!rise)
		return;
	record.count = rise;
	record.reason = "max_blocks_per_hour";
	tell(sweep->teller, LOG_CRIT, &record,
	     "%llu times in the last minute a policy would have blocked, but it only warned: there "
	     "were already %u blocks within an hour (max_blocks_per_hour). See `smtpwall blocks`: "
	     "is a policy wrong? If not, raise it or block by hand",
	     (unsigned long long)rise, sweep->config ? sweep->config->max_blocks_per_hour : 0);
}

static int sweep_health(struct sweep *sweep, uint64_t now_ns)
{
	struct sw_health health;
	bool rose = false;
	int r;

	if (sweep->health_told_ns && now_ns - sweep->health_told_ns < MINUTE_NS)
		return 0;
	r = maps_health(sweep->maps, &health);
	if (r < 0)
		return r;
	for (size_t i = 0; i < ARRAY_SIZE(losses); i++) {
		uint64_t rise = counter(&health, losses[i].offset) -
				counter(&sweep->health, losses[i].offset);
		struct event_record record = EVENT("lost");

		if (!rise)
			continue;
		rose = true;
		record.reason = losses[i].reason;
		record.count = rise;
		tell(sweep->teller, LOG_WARNING, &record, "%llu %s", (unsigned long long)rise,
		     losses[i].said);
	}
	tell_guarded(sweep, health.guarded - sweep->health.guarded);
	rose = rose || health.guarded != sweep->health.guarded;
	sweep->health = health;
	if (rose)
		sweep->health_told_ns = now_ns;
	return 0;
}

/* ---- idle folders and units ---- */

static int sweep_places(struct sweep *sweep, uint64_t now_ns)
{
	if (sweep->forgot_ns && now_ns - sweep->forgot_ns < FORGET_EACH_NS)
		return 0;
	sweep->forgot_ns = now_ns;
	return forget_idle(sweep->maps, now_ns);
}

/* ---- the sweep ---- */

void sweep_now(struct sweep *sweep)
{
	struct sw_control control = {};
	uint64_t now_ns = boot_ns();
	enum sw_mode mode;
	int r;

	r = sweep_mode(sweep, &control, now_ns);
	mode = control_mode(&control, now_ns);
	r = r < 0 ? r : sweep_blocks(sweep, mode, now_ns);
	r = r < 0 ? r : sweep_allowances(sweep, now_ns);
	r = r < 0 ? r : sweep_health(sweep, now_ns);
	r = r < 0 ? r : idle_retire(sweep->idle, now_ns);
	r = r < 0 ? r : sweep_places(sweep, now_ns);
	if (r < 0 && !sweep->failing)
		log_errno(r, "cannot sweep the maps (limits and blocks go on; tried again each "
			     "second)");
	sweep->failing = r < 0;
	state_save(sweep->state);
}

void sweep_hint(struct sweep *sweep, const struct sw_event *event)
{
	sweep->hint[sweep->n_hints++ % HINTS] = *event;
}

/* By an earlier daemon. What trials did is kept by nobody; nor is anything where no disk is. */
static bool was_told(const struct block_row *row, bool known, int64_t latest_ms)
{
	if (row->block.flags & SW_BLOCK_RESTORED)
		return true;
	if (known && !(row->block.flags & SW_BLOCK_TRIAL))
		return false;
	return wall_ms(row->block.since_ns) <= latest_ms + TOLERANCE_MS;
}

/* Adds to what is known what must have been told, without doubles. */
static int recall_blocks(struct sweep *sweep, struct recollection *known)
{
	int64_t block_ms = teller_latest_ms(sweep->teller, "block");
	int64_t would_ms = teller_latest_ms(sweep->teller, "would_block");
	_cleanup_free_ struct block_row *row = NULL;
	struct block_row *told;
	size_t n = 0, n_known = known->n_blocks, n_told = n_known;
	int r = maps_blocks(sweep->maps, &row, &n);

	if (r < 0)
		return r;
	told = reallocarray(known->block, n_known + n + 1, sizeof(*told));
	if (!told)
		return -ENOMEM;
	known->block = NULL;
	blocks_sort(told, n_known);
	for (size_t i = 0; i < n; i++) {
		bool observed = row[i].block.flags & SW_BLOCK_OBSERVED;

		if (was_told(&row[i], known->known, observed ? would_ms : block_ms) &&
		    !bsearch(&row[i], told, n_known, sizeof(*told), by_block))
			told[n_told++] = row[i];
	}
	blocks_sort(told, n_told);
	sweep->told = told;
	sweep->n_told = n_told;
	return 0;
}

/* Of new maps nobody but us has filled them; of those that nobody knows nothing is told. */
static int recall_allowances(struct sweep *sweep, struct recollection *known, bool fresh)
{
	_cleanup_free_ struct allowance_row *row = NULL;
	struct allowance_row *told;
	size_t n = 0;
	int r = fresh || !known->known ? maps_allowances(sweep->maps, &row, &n) : 0;

	if (r < 0)
		return r;
	told = reallocarray(known->allowance, known->n_allowances + n + 1, sizeof(*told));
	if (!told)
		return -ENOMEM;
	known->allowance = NULL;
	if (n)
		memcpy(told + known->n_allowances, row, n * sizeof(*row));
	n += known->n_allowances;
	if (n)
		qsort(told, n, sizeof(*told), by_allowance);
	sweep->told_allowed = told;
	sweep->n_told_allowed = n;
	return 0;
}

static int recall(struct sweep *sweep)
{
	struct recollection known = {};
	int r = maps_control(sweep->maps, &sweep->control);

	r = r < 0 ? r : state_recall(sweep->state, &known);
	if (r >= 0 && known.mode >= 0)
		sweep->control.mode = known.mode;
	r = r < 0 ? r : recall_blocks(sweep, &known);
	r = r < 0 ? r : recall_allowances(sweep, &known, state_fresh(sweep->state));
	recollection_clear(&known);
	return r;
}

int sweep_new(struct maps *maps, struct teller *teller, struct state *state, struct sweep **ret)
{
	struct sweep *sweep = calloc(1, sizeof(*sweep));
	int r;

	if (!sweep)
		return -ENOMEM;
	sweep->maps = maps;
	sweep->teller = teller;
	sweep->state = state;
	r = idle_new(maps, &sweep->idle);
	r = r < 0 ? r : recall(sweep);
	r = r < 0 ? r : maps_health(maps, &sweep->health);
	if (r < 0) {
		sweep_free(sweep);
		return log_errno(r, "cannot read the maps");
	}

	*ret = sweep;
	return 0;
}

void sweep_free(struct sweep *sweep)
{
	if (!sweep)
		return;
	free(sweep->told);
	free(sweep->told_allowed);
	idle_free(sweep->idle);
	free(sweep);
}

void sweep_follow(struct sweep *sweep, const struct config *config)
{
	sweep->config = config;
}

void sweep_maps(struct sweep *sweep, struct maps *maps)
{
	sweep->maps = maps;
	idle_maps(sweep->idle, maps);
}
