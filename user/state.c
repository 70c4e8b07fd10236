// SPDX-License-Identifier: GPL-2.0-or-later
#include "state.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/timex.h>
#include <time.h>

#include "clean.h"
#include "cleanup.h"
#include "log.h"
#include "quantity.h"
#include "sweep.h"

#define SECOND_NS 1000000000LL
#define MINUTE_NS (60 * SECOND_NS)
#define JUMP_NS (SECOND_NS / 2)
#define MOUNTED_NS (10 * MINUTE_NS) /* after so long since the boot a folder is there, or is gone */
#define ALLOWED SW_ROADS	    /* in place of a road: an allowance */
#define ALLOWED_NAME "allowed"	    /* and in the file */
#define WAITING (1 << 16)	    /* among the flags in the file: not put back yet */
#define FLAGS_COLUMN 8

/* What one row of a map says: an allowance is a block of no road. */
struct entry {
	struct sw_subject subject;
	__u32 road;
	struct sw_block block;
	char *text;	   /* the subject, canonical */
	bool placed;	   /* in the maps */
	uint64_t until_ns; /* where it is placed */
};

struct entries {
	struct entry *entry;
	size_t n, room;
};

struct state {
	struct maps *maps;
	struct teller *teller;
	bool fresh, loaded;
	struct entries saved;	/* as the file has them; sorted */
	struct entries waiting; /* from before, to be put back or put right */
	struct entries known;	/* from before: in the maps that stand, or over meanwhile */
	bool recalled;		/* `known` is all that there was */
	struct moment then;	/* when those were saved */
	struct moment restored; /* when they were loaded */
	struct moment written;	/* of the row `clock` */
	uint32_t generation;
	int mode, file_mode; /* as they were saved, -1: not known */
	bool complete;	     /* the file has `saved` and nothing else */
	unsigned int losses; /* of the history, when it was */
};

/* ---- moments: pure ---- */

static int64_t passed_ns(const struct moment *then, const struct moment *now)
{
	return now->wall_ns > then->wall_ns ? now->wall_ns - then->wall_ns : 0;
}

bool moment_until(uint64_t until_ns, const struct moment *then, const struct moment *now,
		  uint64_t *ret_ns)
{
	int64_t left_ns = until_ns - then->boot_ns;

	if (until_ns && !strcmp(then->boot, now->boot)) {
		*ret_ns = until_ns;
		return until_ns > now->boot_ns;
	}
	left_ns -= passed_ns(then, now);
	if (until_ns && left_ns <= 0)
		return false;
	*ret_ns = until_ns ? now->boot_ns + left_ns : 0;
	return true;
}

uint64_t moment_since(uint64_t since_ns, const struct moment *then, const struct moment *now)
{
	uint64_t ago_ns = then->boot_ns - since_ns + passed_ns(then, now), since;

	if (!strcmp(then->boot, now->boot))
		return since_ns;
	since = now->boot_ns - ago_ns;
	return since ? since : 1;
}

bool moment_jumped(const struct moment *then, const struct moment *now)
{
	int64_t went = now->wall_ns - then->wall_ns;
	int64_t off = went - (int64_t)(now->boot_ns - then->boot_ns);

	return off >= JUMP_NS || off <= -JUMP_NS;
}

static void moment_now(struct moment *ret)
{
	_cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	struct moment now = {};
	struct timespec wall;
	ssize_t n = 0;

	if (fd >= 0)
		n = read(fd, now.boot, sizeof(now.boot) - 1);
	now.boot[n > 0 ? n : 0] = '\0';
	now.boot[strcspn(now.boot, "\n")] = '\0';
	clock_gettime(CLOCK_REALTIME, &wall);
	now.boot_ns = boot_ns();
	now.wall_ns = wall.tv_sec * SECOND_NS + wall.tv_nsec;
	*ret = now;
}

static bool clock_is_set(void)
{
	struct timex timex = {};

	return adjtimex(&timex) >= 0 && !(timex.status & STA_UNSYNC);
}

/* ---- entries ---- */

static struct entry *entries_add(struct entries *entries)
{
	size_t room = entries->room ? 2 * entries->room : 64;
	struct entry *grown;

	if (entries->n == entries->room) {
		grown = reallocarray(entries->entry, room, sizeof(*grown));
		if (!grown)
			return NULL;
		entries->entry = grown;
		entries->room = room;
	}
	entries->entry[entries->n] = (struct entry){};
	return &entries->entry[entries->n++];
}

static void entries_clear(struct entries *entries)
{
	for (size_t i = 0; i < entries->n; i++)
		free(entries->entry[i].text);
	free(entries->entry);
	*entries = (struct entries){};
}

static int by_place(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int r = memcmp(&x->subject, &y->subject, sizeof(x->subject));

	return r ? r : (int)x->road - (int)y->road;
}

/* Hits and the time of the last telling change all the time, and are not worth a disk. */
static bool is_same(const struct entry *a, const struct entry *b)
{
	const struct sw_block *x = &a->block, *y = &b->block;

	return x->until_ns == y->until_ns && x->since_ns == y->since_ns && x->limit == y->limit &&
	       x->policy == y->policy && x->by == y->by && x->flags == y->flags &&
	       x->level == y->level && !strcmp(x->note, y->note);
}

/* ---- the maps ---- */

/* What a trial did ends with it, and a trial with the boot. */
static int add_blocks(struct maps *maps, struct entries *entries)
{
	_cleanup_free_ struct block_row *row = NULL;
	struct entry *entry;
	size_t n = 0;
	int r = maps_blocks(maps, &row, &n);

	for (size_t i = 0; i < n && r >= 0; i++) {
		if (row[i].road >= SW_ROADS || !row[i].block.since_ns ||
		    (row[i].block.flags & SW_BLOCK_TRIAL))
			continue;
		entry = entries_add(entries);
		if (!entry)
			return -ENOMEM;
		entry->subject = row[i].subject;
		entry->road = row[i].road;
		entry->block = row[i].block;
	}
	return r;
}

static int add_allowances(struct maps *maps, struct entries *entries)
{
	_cleanup_free_ struct allowance_row *row = NULL;
	struct entry *entry;
	size_t n = 0;
	int r = maps_allowances(maps, &row, &n);

	for (size_t i = 0; i < n && r >= 0; i++) {
		entry = entries_add(entries);
		if (!entry)
			return -ENOMEM;
		entry->subject = row[i].subject;
		entry->road = ALLOWED;
		entry->block.until_ns = row[i].allowance.until_ns;
		entry->block.since_ns = row[i].allowance.since_ns;
		memcpy(entry->block.note, row[i].allowance.note, sizeof(entry->block.note));
	}
	return r;
}

static int read_maps(struct maps *maps, struct entries *ret)
{
	int r = add_blocks(maps, ret);

	r = r < 0 ? r : add_allowances(maps, ret);
	if (ret->n)
		qsort(ret->entry, ret->n, sizeof(*ret->entry), by_place);
	return r;
}

/* Under the lock. */
static int write_map(struct maps *maps, const struct entry *entry, const struct sw_block *block)
{
	struct sw_allowance allowance = { block->until_ns, block->since_ns, {} };

	if (entry->road < SW_ROADS)
		return maps_block_set(maps, &entry->subject, entry->road, block);
	memcpy(allowance.note, block->note, sizeof(allowance.note));
	return maps_allowance_set(maps, &entry->subject, &allowance);
}

/* ---- the file ---- */

static int run(sqlite3 *db, const char *sql)
{
	return history_error(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

static int step(sqlite3_stmt *s)
{
	int r = history_error(sqlite3_step(s));

	sqlite3_reset(s);
	return r;
}

static const char *road_text(__u32 road)
{
	return road == ALLOWED ? ALLOWED_NAME : road_name(road);
}

struct statements {
	sqlite3_stmt *put, *drop;
};

static int prepare(sqlite3 *db, struct statements *ret)
{
	int code = sqlite3_prepare_v2(db,
				      "INSERT OR REPLACE INTO held VALUES"
				      " (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
				      -1, &ret->put, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_prepare_v2(db, "DELETE FROM held WHERE subject = ? AND road = ?", -1,
					  &ret->drop, NULL);
	return history_error(code);
}

static int put(struct statements *s, const char *subject, __u32 road, const struct sw_block *block,
	       int flags)
{
	sqlite3_bind_text(s->put, 1, subject, -1, SQLITE_STATIC);
	sqlite3_bind_text(s->put, 2, road_text(road), -1, SQLITE_STATIC);
	sqlite3_bind_int64(s->put, 3, block->until_ns);
	sqlite3_bind_int64(s->put, 4, block->since_ns);
	sqlite3_bind_int64(s->put, 5, block->hits);
	sqlite3_bind_int64(s->put, 6, block->limit);
	sqlite3_bind_int64(s->put, 7, block->policy);
	sqlite3_bind_int(s->put, 8, block->by);
	sqlite3_bind_int(s->put, 9, block->flags | flags);
	sqlite3_bind_int(s->put, 10, block->level);
	sqlite3_bind_text(s->put, 11, block->note, -1, SQLITE_STATIC);
	sqlite3_bind_int64(s->put, 12, (int64_t)block->evidence);
	return step(s->put);
}

static int drop(struct statements *s, const struct entry *entry)
{
	sqlite3_bind_text(s->drop, 1, entry->text, -1, SQLITE_STATIC);
	sqlite3_bind_text(s->drop, 2, road_text(entry->road), -1, SQLITE_STATIC);
	return step(s->drop);
}

static int put_clock(sqlite3 *db, const struct moment *now, const struct sw_control *control)
{
	sqlite3_stmt *s = NULL;
	int r = history_error(sqlite3_prepare_v2(
		db, "INSERT OR REPLACE INTO clock VALUES (1, ?, ?, ?, ?, ?, ?)", -1, &s, NULL));

	if (r == 0) {
		sqlite3_bind_text(s, 1, now->boot, -1, SQLITE_STATIC);
		sqlite3_bind_int64(s, 2, now->boot_ns);
		sqlite3_bind_int64(s, 3, now->wall_ns);
		sqlite3_bind_int(s, 4, control->mode);
		sqlite3_bind_int(s, 5, control->file_mode);
		sqlite3_bind_int64(s, 6, control->generation);
		r = step(s);
	}
	sqlite3_finalize(s);
	return r;
}

/* ---- loading ---- */

static void copy_column(char *to, size_t size, sqlite3_stmt *s, int column)
{
	const char *text = (const char *)sqlite3_column_text(s, column);

	snprintf(to, size, "%s", text ? text : "");
	clean(to);
}

static int load_clock(struct state *state, sqlite3 *db)
{
	sqlite3_stmt *s = NULL;
	int code = sqlite3_prepare_v2(db,
				      "SELECT boot, boot_ns, wall_ns, mode, file_mode, generation"
				      " FROM clock",
				      -1, &s, NULL);

	if (code == SQLITE_OK)
		code = sqlite3_step(s);
	if (code == SQLITE_ROW) {
		copy_column(state->then.boot, sizeof(state->then.boot), s, 0);
		state->then.boot_ns = sqlite3_column_int64(s, 1);
		state->then.wall_ns = sqlite3_column_int64(s, 2);
		state->mode = sqlite3_column_int(s, 3);
		state->file_mode = sqlite3_column_int(s, 4);
		state->generation = sqlite3_column_int64(s, 5);
	}
	sqlite3_finalize(s);
	return history_error(code);
}

static int entry_of(sqlite3_stmt *s, struct entry *entry)
{
	const char *road = (const char *)sqlite3_column_text(s, 1);
	struct sw_block *block = &entry->block;
	enum sw_road known = ALLOWED;

	entry->text = strdup((const char *)sqlite3_column_text(s, 0) ?: "");
	if (!entry->text)
		return -ENOMEM;
	if (strcmp(road ? road : "", ALLOWED_NAME) && road_from_name(road ? road : "", &known) < 0)
		return -EBADMSG;
	entry->road = known;
	block->until_ns = sqlite3_column_int64(s, 2);
	block->since_ns = sqlite3_column_int64(s, 3);
	block->hits = sqlite3_column_int64(s, 4);
	block->limit = sqlite3_column_int64(s, 5);
	block->policy = sqlite3_column_int64(s, 6);
	block->by = sqlite3_column_int(s, 7);
	block->flags = sqlite3_column_int(s, FLAGS_COLUMN);
	block->level = sqlite3_column_int(s, 9);
	copy_column(block->note, sizeof(block->note), s, 10);
	block->evidence = sqlite3_column_int64(s, 11);
	return 0;
}

/* Where the maps stand, only what still waited for its turn waits; the rest is in them. */
static int load_entries(struct state *state, sqlite3 *db)
{
	sqlite3_stmt *s = NULL;
	int code = sqlite3_prepare_v2(db, "SELECT * FROM held", -1, &s, NULL);
	struct entry *entry;
	bool waits;
	int r = 0;

	while (code == SQLITE_OK && r >= 0 && (code = sqlite3_step(s)) == SQLITE_ROW) {
		code = SQLITE_OK;
		waits = state->fresh || (sqlite3_column_int(s, FLAGS_COLUMN) & WAITING);
		entry = entries_add(waits ? &state->waiting : &state->known);
		r = entry ? entry_of(s, entry) : -ENOMEM;
	}
	sqlite3_finalize(s);
	return r < 0 ? r : history_error(code);
}

static int load(struct state *state)
{
	struct history *history = teller_history(state->teller);
	int r;

	if (!history)
		return -EAGAIN;
	moment_now(&state->restored);
	r = load_clock(state, history_db(history));
	if (r == 0 && state->then.boot[0])
		r = load_entries(state, history_db(history));
	if (r < 0) {
		entries_clear(&state->waiting);
		entries_clear(&state->known);
		teller_history_failed(state->teller, r);
		return r;
	}
	state->recalled = state->then.boot[0] &&
			  (state->fresh || !strcmp(state->then.boot, state->restored.boot));
	state->loaded = true;
	return 0;
}

/* ---- putting back ---- */

static const struct sw_policy *policy_of(const struct sw_rules *rules, __u32 id)
{
	for (__u32 i = 0; i < rules->n_policies && i < SW_POLICIES; i++)
		if (rules->policy[i].id == id)
			return &rules->policy[i];
	return NULL;
}

/* A block of a policy that is gone is gone with it; one that only observes refuses nothing. */
static bool adapt(struct entry *entry, const struct sw_rules *rules)
{
	const struct sw_policy *policy = policy_of(rules, entry->block.policy);

	if (entry->road == ALLOWED || entry->block.by == SW_BY_HAND)
		return true;
	if (!policy || !(policy->roads >> entry->road & 1))
		return false;
	if (policy->mode != SW_MODE_ENFORCE)
		entry->block.flags |= SW_BLOCK_OBSERVED;
	return true;
}

/* Who meant a folder that is gone, or a new one of its name, is told. */
static void tell_dropped(struct state *state, const struct entry *entry, const char *why)
{
	struct event_record record = EVENT("restore");
	const char *path = strchr(entry->text, ' ');
	char folder[SUBJECT_LEN], subject[SUBJECT_LEN + 8];

	printable(folder, sizeof(folder), path ? path + 1 : entry->text, sizeof(folder));
	snprintf(subject, sizeof(subject), "dir:%s", folder);
	record.subject = subject;
	record.name = folder;
	record.reason = why;
	record.count = 0;
	tell(state->teller, LOG_WARNING, &record,
	     "%s of folder %s, from before the start, is dropped: %s",
	     entry->road == ALLOWED ? "the allowance" : "the block", folder, why);
}

/* 1: found, 0: perhaps later, less: never. */
static int find_subject(struct state *state, struct entry *entry, const struct moment *now)
{
	struct subject_names names = *teller_names(state->teller);
	bool same_boot = !strcmp(state->then.boot, now->boot);
	int r;

	names.hurried = false;
	r = subject_load(&names, entry->text, same_boot, &entry->subject);
	if (r == -ENOENT && now->boot_ns < MOUNTED_NS)
		return 0;
	if (r == -ENOENT)
		tell_dropped(state, entry, "there is no such folder now");
	if (r == -ESTALE)
		tell_dropped(state, entry, "it is another folder now");
	return r < 0 ? r : 1;
}

/* 1: placed, 0: later, less: never. */
static int place(struct state *state, struct entry *entry, const struct sw_rules *rules,
		 const struct moment *now, uint64_t until_ns)
{
	struct sw_block block;
	int r;

	if (!adapt(entry, rules))
		return -ESRCH;
	r = find_subject(state, entry, now);
	if (r <= 0)
		return r;
	block = entry->block;
	block.until_ns = until_ns;
	block.since_ns = moment_since(block.since_ns, &state->then, now);
	block.told_ns = 0;
	if (entry->road != ALLOWED)
		block.flags |= SW_BLOCK_RESTORED;
	r = write_map(state->maps, entry, &block);
	if (r < 0)
		return r;
	entry->placed = true;
	entry->until_ns = until_ns;
	return 1;
}

/* Somebody may have made it anew, or lifted it. */
static void correct(struct state *state, const struct entry *entry, uint64_t until_ns)
{
	struct sw_block block;

	if (entry->road == ALLOWED || llabs((int64_t)(entry->until_ns - until_ns)) < SECOND_NS ||
	    maps_block_get(state->maps, &entry->subject, entry->road, &block) < 0 ||
	    block.until_ns != entry->until_ns || !(block.flags & SW_BLOCK_RESTORED))
		return;
	block.until_ns = until_ns;
	maps_block_set(state->maps, &entry->subject, entry->road, &block);
}

/* By what it had left when it was saved, it is over whatever the wall clock was. */
static bool surely_over(const struct state *state, const struct entry *entry,
			const struct moment *now)
{
	return entry->block.until_ns && now->boot_ns - state->restored.boot_ns >=
						entry->block.until_ns - state->then.boot_ns;
}

/* True: nothing is left to do for it. */
static bool settle(struct state *state, struct entry *entry, const struct sw_rules *rules,
		   const struct moment *now, bool clock_set)
{
	uint64_t until_ns;
	bool lasts = moment_until(entry->block.until_ns, &state->then, now, &until_ns);

	clock_set |= !strcmp(state->then.boot, now->boot); /* it is not asked then */
	if (!clock_set && !lasts)
		return surely_over(state, entry, now);
	if (entry->placed && clock_set)
		correct(state, entry, lasts ? until_ns : now->boot_ns);
	else if (lasts && !entry->placed && place(state, entry, rules, now, until_ns) < 0)
		return true;
	if (!lasts)
		return true;
	return entry->placed && (clock_set || !entry->block.until_ns);
}

/* It is over, or of a policy that is gone: who recalls what there was is told so. */
static void let_go(struct state *state, struct entry *gone)
{
	struct entry *entry = gone->placed ? NULL : entries_add(&state->known);

	if (entry)
		*entry = *gone;
	else
		free(gone->text);
}

static void settle_all(struct state *state, const struct sw_rules *rules)
{
	struct entries *waiting = &state->waiting;
	bool clock_set = clock_is_set();
	struct moment now;
	size_t n = 0;

	moment_now(&now);
	for (size_t i = 0; i < waiting->n; i++) {
		if (settle(state, &waiting->entry[i], rules, &now, clock_set))
			let_go(state, &waiting->entry[i]);
		else
			waiting->entry[n++] = waiting->entry[i];
	}
	waiting->n = n;
}

static int settle_waiting(struct state *state)
{
	_cleanup_free_ struct sw_rules *rules = malloc(sizeof(*rules));
	int r = rules ? maps_rules(state->maps, rules) : -ENOMEM;

	r = r < 0 ? r : maps_lock(state->maps);
	if (r < 0)
		return r;
	settle_all(state, rules);
	maps_unlock(state->maps);
	return 0;
}

/* A mode that was set by command stands until the file's changes, over a reboot, too. */
static void restore_mode(struct state *state)
{
	struct sw_control control;

	if (state->mode != SW_MODE_OBSERVE && state->mode != SW_MODE_ENFORCE)
		return;
	if (maps_lock(state->maps) < 0)
		return;
	if (maps_control(state->maps, &control) == 0 && control.mode == control.file_mode &&
	    (int)control.file_mode == state->file_mode) {
		control.mode = state->mode;
		maps_control_write(state->maps, &control);
	}
	maps_unlock(state->maps);
}

static void tell_restored(struct state *state)
{
	struct event_record record = EVENT("restore");
	_cleanup_free_ struct block_row *row = NULL;
	size_t n = 0, restored = 0, waiting = 0;

	if (maps_blocks(state->maps, &row, &n) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (row[i].block.flags & SW_BLOCK_RESTORED)
			row[restored++] = row[i];
	n = restored;
	blocks_sort(row, n);
	for (size_t i = restored = 0; i < n; i += blocks_same(row + i, n - i))
		restored++;
	for (size_t i = 0; i < state->waiting.n; i++)
		waiting += !state->waiting.entry[i].placed;
	if (!restored && !waiting)
		return;
	record.count = restored;
	tell(state->teller, LOG_NOTICE, &record, "%zu blocks from before the start are restored%s",
	     restored,
	     waiting ? "; others wait for their folder to be mounted, or for the clock to be set"
		     : "");
}

uint32_t state_generation(struct state *state)
{
	if (!state->loaded)
		load(state);
	return state->generation;
}

void state_restore(struct state *state)
{
	int r = 0;

	if (!state->loaded && load(state) < 0)
		return;
	if (state->fresh)
		restore_mode(state);
	if (state->waiting.n)
		r = settle_waiting(state);
	if (r < 0)
		log_errno(r, "cannot put back the blocks from before the start (tried again each "
			     "second)");
	else if (state->fresh)
		tell_restored(state);
}

/* ---- recalling ---- */

/* As place() would have it. */
static bool recall(struct state *state, struct entry *entry)
{
	struct sw_block *block = &entry->block;
	uint64_t until_ns;

	if (find_subject(state, entry, &state->restored) < 0)
		return false;
	if (!moment_until(block->until_ns, &state->then, &state->restored, &until_ns))
		until_ns = state->restored.boot_ns;
	block->until_ns = until_ns;
	block->since_ns = moment_since(block->since_ns, &state->then, &state->restored);
	return true;
}

static struct allowance_row allowance_of(const struct entry *entry)
{
	struct allowance_row row = { .subject = entry->subject };

	row.allowance.until_ns = entry->block.until_ns;
	row.allowance.since_ns = entry->block.since_ns;
	return row;
}

int state_recall(struct state *state, struct recollection *ret)
{
	struct entries *known = &state->known;
	struct recollection all = { .known = state->recalled,
				    .mode = state->recalled ? state->mode : -1 };

	all.block = calloc(known->n + 1, sizeof(*all.block));
	all.allowance = calloc(known->n + 1, sizeof(*all.allowance));
	if (!all.block || !all.allowance) {
		recollection_clear(&all);
		return -ENOMEM;
	}
	for (size_t i = 0; state->recalled && i < known->n; i++) {
		struct entry *entry = &known->entry[i];

		if (!recall(state, entry))
			continue;
		if (entry->road == ALLOWED)
			all.allowance[all.n_allowances++] = allowance_of(entry);
		else
			all.block[all.n_blocks++] = (struct block_row){
				.subject = entry->subject,
				.road = entry->road,
				.block = entry->block,
			};
	}
	entries_clear(known);

	*ret = all;
	return 0;
}

void recollection_clear(struct recollection *recollection)
{
	free(recollection->block);
	free(recollection->allowance);
	*recollection = (struct recollection){};
}

/* ---- saving ---- */

static int put_waiting(struct state *state, struct statements *s)
{
	struct moment now;
	int r = 0;

	moment_now(&now);
	for (size_t i = 0; i < state->waiting.n && r >= 0; i++) {
		struct entry *entry = &state->waiting.entry[i];
		struct sw_block block = entry->block;
		char text[SUBJECT_SAVED_LEN];
		uint64_t until_ns;

		if (entry->placed)
			continue;
		if (strcmp(state->then.boot, now.boot))
			subject_save_again(entry->text, text);
		else
			snprintf(text, sizeof(text), "%s", entry->text);
		/* A clock that is not set may say that it is over: then what it had left. */
		if (!moment_until(block.until_ns, &state->then, &now, &until_ns))
			until_ns = block.until_ns + state->restored.boot_ns - state->then.boot_ns;
		block.until_ns = until_ns;
		block.since_ns = moment_since(block.since_ns, &state->then, &now);
		r = put(s, text, entry->road, &block, WAITING);
	}
	return r;
}

static int name_entry(struct state *state, struct entry *entry)
{
	char text[SUBJECT_SAVED_LEN];

	if (entry->text)
		return 0;
	subject_save(teller_names(state->teller), &entry->subject, text);
	entry->text = strdup(text);
	return entry->text ? 0 : -ENOMEM;
}

/* A folder that was renamed is to be found again: its row is put under the new path. */
static int follow_rename(struct state *state, struct statements *s, const struct entry *was,
			 struct entry *now)
{
	int r = name_entry(state, now);

	if (r < 0 || !strcmp(was->text, now->text))
		return r;
	r = drop(s, was);
	return r < 0 ? r : put(s, now->text, now->road, &now->block, 0);
}

/* Walks both, sorted: what is new or changed is put, what is gone dropped. */
static int put_changes(struct state *state, struct entries *now, struct statements *s)
{
	struct entries *was = &state->saved;
	size_t i = 0, j = 0;
	int r = 0, order;

	while (r >= 0 && (i < was->n || j < now->n)) {
		order = i == was->n   ? 1
			: j == now->n ? -1
				      : by_place(&was->entry[i], &now->entry[j]);
		if (order < 0) {
			r = drop(s, &was->entry[i++]);
			continue;
		}
		if (order == 0 && now->entry[j].subject.kind == SW_KIND_DIR) {
			r = follow_rename(state, s, &was->entry[i], &now->entry[j]);
		} else if (order == 0) {
			now->entry[j].text = was->entry[i].text;
			was->entry[i].text = NULL;
		}
		if (r >= 0 && (order > 0 || !is_same(&was->entry[i], &now->entry[j]))) {
			r = name_entry(state, &now->entry[j]);
			r = r < 0 ? r
				  : put(s, now->entry[j].text, now->entry[j].road,
					&now->entry[j].block, 0);
		}
		i += order == 0;
		j++;
	}
	return r;
}

static bool clock_is_due(const struct state *state, const struct moment *now)
{
	return now->boot_ns - state->written.boot_ns >= MINUTE_NS ||
	       moment_jumped(&state->written, now);
}

static bool is_due(const struct state *state, const struct entries *now,
		   const struct sw_control *control, const struct moment *moment)
{
	const struct entries *was = &state->saved;

	if (!state->complete || was->n != now->n || clock_is_due(state, moment) ||
	    control->mode != (__u32)state->mode || control->file_mode != (__u32)state->file_mode ||
	    control->generation != state->generation)
		return true;
	for (size_t i = 0; i < now->n; i++)
		if (by_place(&was->entry[i], &now->entry[i]) ||
		    !is_same(&was->entry[i], &now->entry[i]))
			return true;
	return false;
}

static int write_rows(struct state *state, sqlite3 *db, struct entries *now)
{
	struct statements s = {};
	int r = prepare(db, &s);

	if (r >= 0 && !state->complete) {
		r = run(db, "DELETE FROM held");
		r = r < 0 ? r : put_waiting(state, &s);
	}
	r = r < 0 ? r : put_changes(state, now, &s);
	sqlite3_finalize(s.put);
	sqlite3_finalize(s.drop);
	return r;
}

/* All of it or nothing. */
static int write_file(struct state *state, sqlite3 *db, struct entries *now,
		      const struct sw_control *control, const struct moment *moment)
{
	int r = run(db, "BEGIN IMMEDIATE");

	if (r < 0)
		return r;
	r = write_rows(state, db, now);
	r = r < 0 ? r : put_clock(db, moment, control);
	r = r < 0 ? r : run(db, "COMMIT");
	if (r < 0) {
		run(db, "ROLLBACK");
		return r;
	}
	state->written = *moment;
	state->mode = control->mode;
	state->file_mode = control->file_mode;
	state->generation = control->generation;
	return 0;
}

/* Gives `now` away, if the file has it. */
static int save_entries(struct state *state, sqlite3 *db, struct entries *now)
{
	struct sw_control control;
	struct moment moment;
	int r = maps_control(state->maps, &control);

	moment_now(&moment);
	if (r < 0 || !is_due(state, now, &control, &moment))
		return 0; /* the sweep tells of maps that cannot be read */
	r = write_file(state, db, now, &control, &moment);
	entries_clear(&state->saved);
	state->complete = r == 0;
	if (r == 0) {
		state->saved = *now;
		*now = (struct entries){};
	}
	return r;
}

static void save(struct state *state, struct history *history)
{
	struct entries now = {};
	int r;

	if (state->losses != teller_history_losses(state->teller)) {
		state->losses = teller_history_losses(state->teller);
		state->complete = false;
	}
	if (!state->complete)
		entries_clear(&state->saved);
	r = read_maps(state->maps, &now) < 0 ? 0 : save_entries(state, history_db(history), &now);
	entries_clear(&now);
	if (r < 0 && r != -EBUSY)
		teller_history_failed(state->teller, r);
}

void state_save(struct state *state)
{
	struct history *history;
	size_t waited = state->waiting.n;

	if (!state->loaded) {
		state_restore(state);
	} else if (state->waiting.n) {
		settle_waiting(state);
		if (state->waiting.n != waited)
			state->complete = false;
	}
	entries_clear(&state->known);
	history = teller_history(state->teller);
	if (history && state->loaded)
		save(state, history);
}

/* ---- life ---- */

int state_new(struct maps *maps, struct teller *teller, bool fresh, struct state **ret)
{
	struct state *state = calloc(1, sizeof(*state));

	if (!state)
		return -ENOMEM;
	*state = (struct state){
		.maps = maps, .teller = teller, .fresh = fresh, .mode = -1, .file_mode = -1
	};

	*ret = state;
	return 0;
}

void state_free(struct state *state)
{
	if (!state)
		return;
	entries_clear(&state->saved);
	entries_clear(&state->waiting);
	entries_clear(&state->known);
	free(state);
}

bool state_fresh(const struct state *state)
{
	return state->fresh;
}

void state_maps(struct state *state, struct maps *maps)
{
	state->maps = maps;
}
