// SPDX-License-Identifier: GPL-2.0-or-later
#include "tell.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include "clean.h"
#include "cleanup.h"
#include "log.h"
#include "maps.h"
#include "proof.h"

#define NAMES 256 /* of users kept; a power of two */
#define NAME_KEPT_NS (300ULL * 1000000000)
#define KEEP_DAYS 30
#define KEEP_EVENTS 200000 /* some 60 MB */
#define KEEP_WAITING 4096
#define DAY_MINUTES (24 * 60)
#define DAY_MS (24LL * 3600 * 1000)

struct user_name {
	uint64_t until_ns; /* 0: unused */
	uint32_t uid;
	char name[64]; /* empty: nobody has this uid */
};

struct teller {
	char *state_dir;
	struct history *history; /* NULL: cannot be written */
	unsigned int losses;
	bool begun; /* many things are told at once */
	bool held;  /* by somebody else: what is told waits for the next second */
	struct event_record *waiting[KEEP_WAITING];
	size_t n_waiting;
	bool complained;
	unsigned int minutes;
	struct subject_names names;
	struct sw_rules rules;
	struct user_name name[NAMES];
};

int teller_new(const char *state_dir, struct teller **ret)
{
	struct teller *teller = calloc(1, sizeof(*teller));

	if (!teller)
		return -ENOMEM;
	teller->names = (struct subject_names){ .ipv6_prefix = 128, .hurried = true };
	teller->state_dir = strdup(state_dir);
	if (!teller->state_dir) {
		free(teller);
		return -ENOMEM;
	}
	teller_each_minute(teller);

	*ret = teller;
	return 0;
}

static void waiting_clear(struct teller *teller)
{
	while (teller->n_waiting)
		free(teller->waiting[--teller->n_waiting]);
}

void teller_free(struct teller *teller)
{
	if (!teller)
		return;
	teller_each_second(teller);
	if (teller->history)
		history_close(teller->history);
	waiting_clear(teller);
	free(teller->state_dir);
	free(teller);
}

void teller_follow(struct teller *teller, const struct sw_rules *rules, unsigned int ipv6_prefix)
{
	teller->names.ipv6_prefix = ipv6_prefix;
	teller->rules = *rules;
}

void teller_maps(struct teller *teller, struct maps *maps)
{
	teller->names.maps = maps;
}

const struct subject_names *teller_names(const struct teller *teller)
{
	return &teller->names;
}

/* ---- history ---- */

static void history_lost(struct teller *teller, int error)
{
	if (teller->history)
		history_close(teller->history);
	teller->history = NULL;
	teller->begun = teller->held = false;
	teller->losses++;
	if (!teller->complained)
		log_warning("cannot write the history in '%s' (limits and blocks go on; it is "
			    "tried again each minute): %s",
			    teller->state_dir, strerror(-error));
	teller->complained = true;
}

static void history_retry(struct teller *teller)
{
	int r = history_open(teller->state_dir, true, &teller->history);

	if (r < 0)
		teller->history = NULL;
	else
		r = proof_begin(teller->history);
	if (r < 0) {
		history_lost(teller, r);
		return;
	}
	if (teller->complained)
		log_notice("the history in '%s' is written again", teller->state_dir);
	teller->complained = false;
}

void teller_each_minute(struct teller *teller)
{
	int r;

	if (!teller->history)
		history_retry(teller);
	if (!teller->history)
		return;
	teller_each_second(teller);
	if (teller->held)
		return;
	r = history_trim_to(teller->history, KEEP_EVENTS);
	if (r >= 0 && teller->minutes++ % DAY_MINUTES == 0)
		r = history_trim(teller->history, wall_ms(boot_ns()) - KEEP_DAYS * DAY_MS);
	if (r < 0 && r != -EBUSY)
		history_lost(teller, r);
}

struct history *teller_history(struct teller *teller)
{
	return teller->history;
}

void teller_history_failed(struct teller *teller, int error)
{
	history_lost(teller, error);
}

unsigned int teller_history_losses(const struct teller *teller)
{
	return teller->losses;
}

int teller_begin(struct teller *teller)
{
	int r = teller->held ? -EBUSY : teller->history ? history_begin(teller->history) : 0;

	teller->begun = teller->history && r == 0;
	teller->held = r == -EBUSY;
	return r == -EBUSY ? r : 0;
}

void teller_end(struct teller *teller)
{
	int r = teller->begun ? history_commit(teller->history) : 0;

	teller->begun = false;
	if (r < 0)
		history_lost(teller, r);
}

static int write_event(struct teller *teller, const struct event_record *record)
{
	int r = history_add(teller->history, record);

	return r == 0 && record->evidence ? proof_link(teller->history, record->evidence) : r;
}

/* For more than there is room for the history is as good as lost. */
static void keep_waiting(struct teller *teller, const struct event_record *record)
{
	struct event_record *copy =
		teller->n_waiting < KEEP_WAITING ? history_copy(record) : NULL;

	teller->held = true;
	if (copy)
		teller->waiting[teller->n_waiting++] = copy;
	else
		history_lost(teller, -EBUSY);
}

void teller_each_second(struct teller *teller)
{
	int r = 0;

	teller->held = false;
	if (!teller->history || !teller->n_waiting || teller_begin(teller) < 0)
		return;
	for (size_t i = 0; i < teller->n_waiting && r == 0; i++)
		r = write_event(teller, teller->waiting[i]);
	if (r < 0)
		history_lost(teller, r);
	teller_end(teller);
	if (teller->history)
		waiting_clear(teller);
}

/* With its evidence or not at all. */
static void write_or_wait(struct teller *teller, const struct event_record *record)
{
	bool alone = record->evidence && !teller->begun;
	int r = teller->held || (alone && teller_begin(teller) < 0) ? -EBUSY
								    : write_event(teller, record);

	if (r == -EBUSY)
		keep_waiting(teller, record);
	else if (r < 0)
		history_lost(teller, r);
	if (alone)
		teller_end(teller);
}

int64_t teller_latest_ms(struct teller *teller, const char *event)
{
	int64_t latest_ms = 0;

	if (teller->history)
		history_latest(teller->history, event, &latest_ms);
	return latest_ms;
}

void tell(struct teller *teller, int priority, const struct event_record *record,
	  const char *format, ...)
{
	struct event_record complete = *record;
	_cleanup_free_ char *text = NULL;
	va_list args;
	int r;

	va_start(args, format);
	r = vasprintf(&text, format, args);
	va_end(args);
	if (r < 0) {
		text = NULL;
		return;
	}
	if (priority != TELL_HISTORY)
		log_message(priority, "%s", text);

	if (!teller->history)
		return;
	complete.text = text;
	if (!complete.time_ms)
		complete.time_ms = wall_ms(boot_ns());
	write_or_wait(teller, &complete);
}

/* ---- names ---- */

/* A name is looked up once in five minutes: a directory service must not be asked in a flood. */
static const char *user_name(struct teller *teller, const struct sw_subject *subject)
{
	struct user_name *kept = &teller->name[subject->uid % NAMES];
	_cleanup_free_ char *name = NULL;
	uint64_t now_ns = boot_ns();

	if (kept->until_ns <= now_ns || kept->uid != subject->uid) {
		name = subject_name(&teller->names, subject);
		printable(kept->name, sizeof(kept->name), name ? name : "", sizeof(kept->name));
		kept->uid = subject->uid;
		kept->until_ns = now_ns + NAME_KEPT_NS;
	}
	return kept->name;
}

/* Can it stand in a command line as it is? */
static bool plain(const char *name)
{
	return *name && *name != '-' && *name != '@' &&
	       !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "0123456789._-@/~#:")];
}

static void name_user(struct teller *teller, const struct sw_subject *subject,
		      struct subject_text *text)
{
	if (subject->uid == SW_UID_OVERFLOW) {
		snprintf(text->people, sizeof(text->people),
			 "users who found no room (they share the row uid:overflow)");
		return;
	}
	snprintf(text->name, sizeof(text->name), "%s", user_name(teller, subject));
	if (!text->name[0]) {
		snprintf(text->people, sizeof(text->people), "uid %u", subject->uid);
		return;
	}
	snprintf(text->people, sizeof(text->people), "user %.63s (uid %u)", text->name,
		 subject->uid);
	if (plain(text->name))
		snprintf(text->handle, sizeof(text->handle), "user:%.63s", text->name);
}

static void name_address(struct teller *teller, const struct sw_subject *subject,
			 struct subject_text *text)
{
	(void)teller, (void)subject;
	snprintf(text->people, sizeof(text->people), "address %.500s", text->canonical + 3);
}

/* Without its name it is a number; a name that is none of a command's words is a number there. */
static void name_place(struct teller *teller, const struct sw_subject *subject,
		       struct subject_text *text)
{
	_cleanup_free_ char *name = subject_name(&teller->names, subject);
	char path[SUBJECT_LEN];
	struct subject_names numbers = {};

	printable(path, sizeof(path), strchr(text->canonical, ':') + 1, sizeof(path));
	printable(text->name, sizeof(text->name), name ? name : "", sizeof(text->name));
	if (!plain(path))
		subject_format(&numbers, subject, text->handle);
	if (subject->kind == SW_KIND_UNIT)
		snprintf(text->people, sizeof(text->people), "unit %.500s", path);
	else if (!subject->dir.inode)
		snprintf(text->people, sizeof(text->people), "%.500s", text->name);
	else
		snprintf(text->people, sizeof(text->people), "folder %.500s",
			 text->name[0] ? text->name : path);
}

static void (*const name_kind[SW_KINDS])(struct teller *teller, const struct sw_subject *subject,
					 struct subject_text *text) = {
	[SW_KIND_UID] = name_user,
	[SW_KIND_UNIT] = name_place,
	[SW_KIND_DIR] = name_place,
	[SW_KIND_IP] = name_address,
};

void teller_subject(struct teller *teller, const struct sw_subject *subject,
		    struct subject_text *ret)
{
	struct subject_text text = {};

	subject_format(&teller->names, subject, text.canonical);
	memcpy(text.handle, text.canonical, sizeof(text.handle));
	if (subject->kind < SW_KINDS)
		name_kind[subject->kind](teller, subject, &text);
	else
		snprintf(text.people, sizeof(text.people), "subject %.500s", text.canonical);

	*ret = text;
}

const struct sw_policy *teller_policy(const struct teller *teller, __u32 policy)
{
	const struct sw_rules *rules = &teller->rules;

	for (__u32 i = 0; policy && i < rules->n_policies && i < SW_POLICIES; i++)
		if (rules->policy[i].id == policy)
			return &rules->policy[i];
	return NULL;
}

const struct sw_limit *teller_limit(const struct teller *teller, __u32 policy, __u64 limit)
{
	const struct sw_policy *p = teller_policy(teller, policy);

	for (int i = 0; p && limit && i < p->n_limits && i < SW_LIMITS; i++)
		if (p->limit[i].id == limit)
			return &p->limit[i];
	return NULL;
}

void printable(char *to, size_t size, const char *from, size_t from_size)
{
	size_t length = strnlen(from, from_size < size - 1 ? from_size : size - 1);

	memcpy(to, from, length);
	to[length] = '\0';
	clean(to);
	for (; *to; to++)
		if (*to == '"')
			*to = '\'';
}

int64_t wall_ms(uint64_t boot_time_ns)
{
	struct timespec now;
	int64_t ago_ns = (int64_t)(boot_ns() - boot_time_ns);

	clock_gettime(CLOCK_REALTIME, &now);
	return ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec - ago_ns) / 1000000;
}
