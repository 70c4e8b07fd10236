// SPDX-License-Identifier: GPL-2.0-or-later
#include "view.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "log.h"
#include "mounts.h"
#include "path.h"
#include "policy.h"

#define ATTEMPTS 20 /* to read rules and users of one generation */

static int tell_open_failure(const struct cli *cli, int error)
{
	uint32_t abi = 0;

	switch (-error) {
	case ENOENT:
		if (maps_abi(cli->pin_dir, &abi) == 0 && abi)
			log_error("pins are missing in '%s': start smtpwalld anew", cli->pin_dir);
		else
			log_error("nothing is loaded in '%s': is smtpwalld started?", cli->pin_dir);
		return error;
	case EPROTO:
		maps_abi(cli->pin_dir, &abi);
		log_error("the maps in '%s' were made by another version of smtpwall (ABI %u, this "
			  "is %u): use its smtpwall, or run 'smtpwall detach' and start anew",
			  cli->pin_dir, abi, SW_ABI_VERSION);
		return error;
	case EPERM:
	case EACCES:
		return log_errno(error, "cannot open the maps in '%s' (are you root?)",
				 cli->pin_dir);
	default:
		return log_errno(error, "cannot open the maps in '%s'", cli->pin_dir);
	}
}

static int read_rules(struct view *view)
{
	struct sw_control after;
	int r, attempt;

	for (attempt = 0; attempt < ATTEMPTS; attempt++) {
		r = maps_control(view->maps, &view->control);
		if (r < 0)
			return r;
		r = maps_rules(view->maps, view->rules);
		if (r == 0)
			r = maps_users(view->maps, view->users);
		if (maps_control(view->maps, &after) == 0 &&
		    after.generation == view->control.generation)
			return r == -ENOENT ? 0 : r; /* no rules yet */
	}
	return -EAGAIN;
}

static void read_clocks(struct view *view)
{
	struct timespec wall;

	clock_gettime(CLOCK_REALTIME, &wall);
	view->now_ns = boot_ns();
	view->wall_ns = wall.tv_sec * 1000000000LL + wall.tv_nsec - (int64_t)view->now_ns;
}

int view_open(const struct cli *cli, struct view *view)
{
	struct view v = {};
	int r;

	r = maps_open(cli->pin_dir, &v.maps);
	if (r < 0)
		return tell_open_failure(cli, r);
	v.rules = calloc(1, sizeof(*v.rules));
	v.users = calloc(1, sizeof(*v.users));
	r = v.rules && v.users ? read_rules(&v) : -ENOMEM;
	if (r < 0) {
		view_close(&v);
		return log_errno(r, "cannot read the rules in '%s'", cli->pin_dir);
	}
	v.control.config[sizeof(v.control.config) - 1] = '\0';
	v.control.cgroup[sizeof(v.control.cgroup) - 1] = '\0';
	v.control.version[sizeof(v.control.version) - 1] = '\0';
	read_clocks(&v);
	v.mode = control_mode(&v.control, v.now_ns);
	if (cgroup2_mount(&v.cgroup_root) < 0)
		v.cgroup_root = NULL;
	v.names = (struct subject_names){ .maps = v.maps, .ipv6_prefix = v.control.ipv6_prefix };

	*view = v;
	return 0;
}

void view_close(struct view *view)
{
	maps_close(view->maps);
	free(view->rules);
	free(view->users);
	free(view->cgroup_root);
	*view = (struct view){};
}

int64_t view_wall(const struct view *view, uint64_t boot_time_ns)
{
	return boot_time_ns ? (int64_t)boot_time_ns + view->wall_ns : 0;
}

/* ---- subjects ---- */

/* What is a part of another subject is never counted by itself. */
static bool is_counted(const struct view *view, const struct sw_subject *subject)
{
	struct sw_ledger ledger;
	struct sw_block block;

	if (maps_ledger_get(view->maps, subject, &ledger) == 0)
		return true;
	for (enum sw_road road = 0; road < SW_ROADS; road++)
		if (maps_block_get(view->maps, subject, road, &block) == 0)
			return true;
	return false;
}

bool view_exists(const struct view *view, const char *text, const struct sw_subject *subject)
{
	_cleanup_free_ char *user = NULL;
	const char *colon = strchr(text, ':');
	char path[PATH_MAX];
	struct sw_dir dir;

	switch ((enum sw_kind)subject->kind) {
	case SW_KIND_UID:
		user = view_subject_name(view, subject);
		return user;
	case SW_KIND_UNIT:
		return view->cgroup_root && colon && colon[1] == '/' &&
		       snprintf(path, sizeof(path), "%s%s", view->cgroup_root, colon + 1) <
			       (int)sizeof(path) &&
		       access(path, F_OK) == 0;
	case SW_KIND_DIR:
		return colon && colon[1] == '/' && subject_dir(&view->names, colon + 1, &dir) == 0;
	case SW_KIND_IP:
	case SW_KINDS:
		break;
	}
	return false;
}

bool view_is_new(const struct view *view, const struct sw_subject *subject)
{
	struct sw_ledger ledger;

	return (subject->kind == SW_KIND_DIR || subject->kind == SW_KIND_UNIT) &&
	       maps_ledger_get(view->maps, subject, &ledger) == -ENOENT;
}

/* The path without its last name; false: there is none left. */
static bool path_up(char *path)
{
	char *slash = strrchr(path, '/');

	if (!slash || slash == path)
		return false;
	*slash = '\0';
	return true;
}

/* The nearest folder upwards, from `path` on, of which `is` says so. Cuts `path` to it. */
static bool climb(const struct view *view, char *path, struct sw_place *ret,
		  bool (*is)(const struct sw_place *place))
{
	struct sw_dir dir;
	struct sw_place place;

	do {
		if (subject_dir(&view->names, path, &dir) == 0 &&
		    maps_place(view->maps, &dir, &place) == 0 && is(&place)) {
			*ret = place;
			return true;
		}
	} while (path_up(path));
	return false;
}

static bool is_site(const struct sw_place *place)
{
	return place->flags & SW_PLACE_SITE;
}

static bool is_matched(const struct sw_place *place)
{
	return place->set;
}

/* What the live rules know of the nearest cgroup upwards. Cuts `path` to it. */
static bool climb_cgroups(const struct view *view, char *path, struct sw_unit_match *ret)
{
	char full[PATH_MAX];
	struct stat st;

	do {
		snprintf(full, sizeof(full), "%s%s", view->cgroup_root ? view->cgroup_root : "",
			 path);
		if (view->cgroup_root && stat(full, &st) == 0 &&
		    maps_unit_match(view->maps, st.st_ino, ret) == 0)
			return true;
	} while (path_up(path));
	return false;
}

/* Of which site or unit it is a part, by its path; it is cut to that. */
static bool is_part(const struct view *view, const struct sw_subject *subject, char *path)
{
	struct sw_unit_match match;
	struct sw_place place;
	size_t length;

	for (length = strlen(path); length > 1 && path[length - 1] == '/';)
		path[--length] = '\0';
	if (subject->kind == SW_KIND_DIR)
		return climb(view, path, &place, is_site) && strlen(path) < length;
	if (!climb_cgroups(view, path, &match) || match.unit == subject->unit)
		return false;
	while (unit_hash(path) != match.unit)
		if (!path_up(path))
			return false;
	return true;
}

static int refuse_part(const struct view *view, const char *text, const struct sw_subject *subject)
{
	const char *colon = strchr(text, ':');
	char path[PATH_MAX];

	if ((subject->kind != SW_KIND_DIR && subject->kind != SW_KIND_UNIT) || !colon ||
	    colon[1] != '/' || is_counted(view, subject) ||
	    snprintf(path, sizeof(path), "%s", colon + 1) >= (int)sizeof(path) ||
	    !is_part(view, subject, path))
		return DONE;
	log_error("'%s' is counted as a part of '%s:%s': write that", text,
		  subject_kind(subject->kind), path);
	return NO_SUBJECT;
}

int view_subject(const struct view *view, const char *text, struct sw_subject *ret)
{
	const char *hint = NULL;
	int r;

	r = subject_parse(&view->names, text, ret, &hint);
	if (r == 0)
		return refuse_part(view, text, ret);
	if (r == -EINVAL) {
		log_error("'%s' is not a subject: %s", text, hint);
		return USAGE;
	}
	if (r == -ENOENT) {
		log_error("there is no '%s' here", text);
		return NO_SUBJECT;
	}
	log_errno(r, "cannot look '%s' up", text);
	return FAILED;
}

void view_subject_note(const struct view *view, const char *text, const struct sw_subject *subject)
{
	subject_note(&view->names, text, subject);
}

char *view_subject_name(const struct view *view, const struct sw_subject *subject)
{
	return subject_name(&view->names, subject);
}

int view_sender(const struct view *view, const char *text, struct sw_subject *ret)
{
	struct sw_subject subject;
	int r = view_subject(view, text, &subject);

	if (r == DONE && subject.kind == SW_KIND_IP && subject.uid) {
		log_error("'%s' is a row for those of a network who found no other: write an "
			  "address",
			  text);
		return USAGE;
	}
	if (r == DONE)
		*ret = subject;
	return r;
}

void view_subject_text(const struct view *view, const struct sw_subject *subject,
		       char text[static SUBJECT_LEN])
{
	subject_format(&view->names, subject, text);
}

const struct sw_policy *view_policy(const struct view *view, __u32 id)
{
	size_t i;

	for (i = 0; id && i < view->rules->n_policies; i++)
		if (view->rules->policy[i].id == id)
			return &view->rules->policy[i];
	return NULL;
}

const struct sw_limit *view_limit(const struct sw_policy *policy, __u64 id)
{
	size_t i;

	for (i = 0; policy && i < policy->n_limits; i++)
		if (policy->limit[i].id == id)
			return &policy->limit[i];
	return NULL;
}

/* ---- policies ---- */

/*
 * What is known of an attempt of a subject: which policies its people, its unit and its folder
 * match. Groups were resolved to users when the rules were made.
 */
struct known {
	__u64 people, unit, dir;	    /* they match */
	bool any_people, any_unit, any_dir; /* not known: others may match, too */
};

static __u64 people_of(const struct view *view, __u32 uid)
{
	return intervals_find(view->users->start, view->users->set, SW_INTERVALS, uid);
}

static __u64 all_policies(const struct view *view)
{
	return (1ULL << view->rules->n_policies) - 1; /* SW_POLICIES is less than 64 */
}

static void know_uid(const struct view *view, const struct sw_subject *subject, struct known *known)
{
	known->people = people_of(view, subject->uid);
	known->any_people = false;
}

static void know_unit(const struct view *view, const struct sw_subject *subject,
		      struct known *known)
{
	char text[SUBJECT_LEN];
	struct sw_unit_match match = {};

	view_subject_text(view, subject, text);
	if (strncmp(text, "unit:/", 6) != 0)
		return;
	known->any_unit = false;
	if (climb_cgroups(view, text + 5, &match))
		known->unit |= match.set;
}

static void know_dir(const struct view *view, const struct sw_subject *subject, struct known *known)
{
	char text[SUBJECT_LEN];
	struct sw_place place;

	if (!subject->dir.inode) { /* known are only whose they are */
		known->people = people_of(view, subject->dir.uid);
		known->any_people = false;
		return;
	}
	if (!(~view->rules->any_dir & all_policies(view))) /* none asks */
		return;
	view_subject_text(view, subject, text);
	if (strncmp(text, "dir:/", 5) != 0)
		return;
	known->any_dir = false;
	if (climb(view, text + 4, &place, is_matched))
		known->dir |= place.set;
}

static void know_nothing(const struct view *view, const struct sw_subject *subject,
			 struct known *known)
{
	(void)view, (void)subject, (void)known;
}

static void (*const know[SW_KINDS])(const struct view *view, const struct sw_subject *subject,
				    struct known *known) = {
	[SW_KIND_UID] = know_uid,
	[SW_KIND_UNIT] = know_unit,
	[SW_KIND_DIR] = know_dir,
	[SW_KIND_IP] = know_nothing,
};

static struct known known_of(const struct view *view, const struct sw_subject *subject)
{
	struct known known = {
		.people = view->rules->anyone,
		.unit = view->rules->any_unit,
		.dir = view->rules->any_dir,
		.any_people = true,
		.any_unit = true,
		.any_dir = true,
	};

	know[subject->kind](view, subject, &known);
	return known;
}

/* A container is its unit to the policies that count users, too. */
static __u64 judges_of(const struct view *view, enum sw_kind kind)
{
	if (kind == SW_KIND_IP) /* addresses have no policies yet */
		return 0;
	if (kind == SW_KIND_UNIT)
		return view->rules->judges[SW_KIND_UNIT] |
		       (view->rules->judges[SW_KIND_UID] & view->rules->anyone);
	return view->rules->judges[kind];
}

__u64 view_judges(const struct view *view, const struct sw_subject *subject, enum sw_kind kind,
		  enum sw_road road, __u64 *ret_sure)
{
	const struct known known = known_of(view, subject);
	__u64 judges = judges_of(view, kind) & view->rules->on_road[road];

	*ret_sure = judges & known.people & known.unit & known.dir;
	if (kind == SW_KIND_UNIT) /* only if it is a container */
		*ret_sure &= view->rules->judges[SW_KIND_UNIT];
	return judges & (known.any_people ? ~0ULL : known.people) &
	       (known.any_unit ? ~0ULL : known.unit) & (known.any_dir ? ~0ULL : known.dir);
}

const struct sw_policy *view_deciding(const struct view *view, const struct sw_subject *subject,
				      enum sw_road road)
{
	__u64 sure, set = view_judges(view, subject, subject->kind, road, &sure);
	struct sw_windows windows;

	for (__u32 i = 0; i < view->rules->n_policies; i++) {
		const struct sw_policy *policy = &view->rules->policy[i];

		if ((sure >> i & 1) ||
		    ((set >> i & 1) &&
		     maps_windows_get(view->maps, subject, policy->id, road, &windows) == 0))
			return policy;
	}
	return NULL;
}

bool view_exempt(const struct view *view, const struct sw_subject *subject)
{
	switch ((enum sw_kind)subject->kind) {
	case SW_KIND_UID:
		return known_of(view, subject).people & SW_EXEMPT_BIT;
	case SW_KIND_UNIT:
		return known_of(view, subject).unit & SW_EXEMPT_BIT;
	case SW_KIND_DIR:
	case SW_KIND_IP:
	case SW_KINDS:
		break;
	}
	return false;
}

bool lasts(uint64_t until_ns, uint64_t now_ns)
{
	return until_ns == 0 || now_ns < until_ns;
}
