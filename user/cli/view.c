// SPDX-License-Identifier: GPL-2.0-or-later
#include "view.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "log.h"
#include "mounts.h"
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

int view_subject(const struct view *view, const char *text, struct sw_subject *ret)
{
	const char *hint = NULL;
	int r;

	r = subject_parse(text, view->control.ipv6_prefix, view->cgroup_root, ret, &hint);
	if (r == 0)
		return DONE;
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
	subject_format(subject, view->control.ipv6_prefix, view->cgroup_root, text);
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

/* Groups were resolved to users when the rules were made. Addresses have no policies yet. */
static __u64 policies_of(const struct view *view, const struct sw_subject *subject)
{
	switch ((enum sw_kind)subject->kind) {
	case SW_KIND_UID:
		return intervals_find(view->users->start, view->users->set, SW_INTERVALS,
				      subject->uid);
	case SW_KIND_UNIT:
		return view->rules->anyone;
	case SW_KIND_IP:
	case SW_KINDS:
		break;
	}
	return 0;
}

const struct sw_policy *view_deciding(const struct view *view, const struct sw_subject *subject,
				      enum sw_road road)
{
	__u64 set = policies_of(view, subject) & ~SW_EXEMPT_BIT & view->rules->on_road[road];
	int first = set ? __builtin_ctzll(set) : SW_POLICIES;

	return first < (int)view->rules->n_policies ? &view->rules->policy[first] : NULL;
}

bool view_exempt(const struct view *view, const struct sw_subject *subject)
{
	return subject->kind == SW_KIND_UID && (policies_of(view, subject) & SW_EXEMPT_BIT);
}

int subject_compare(const struct sw_subject *a, const struct sw_subject *b)
{
	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	if (a->uid != b->uid)
		return a->uid < b->uid ? -1 : 1;
	if (a->unit != b->unit)
		return a->unit < b->unit ? -1 : 1;
	return memcmp(a->addr, b->addr, sizeof(a->addr));
}

bool lasts(uint64_t until_ns, uint64_t now_ns)
{
	return until_ns == 0 || now_ns < until_ns;
}
