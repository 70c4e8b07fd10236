/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a verb looks at: the maps, and the rules and the moment that it judges by. */
#ifndef SMTPWALL_CLI_VIEW_H
#define SMTPWALL_CLI_VIEW_H

#include <linux/bpf.h>

#include "cleanup.h"
#include "cli.h"
#include "maps.h"
#include "subject.h"

struct view {
	struct maps *maps;
	struct sw_control control;
	struct sw_rules *rules;	    /* without policies if none were published yet */
	struct sw_intervals *users; /* of the same generation */
	enum sw_mode mode;	    /* in force */
	uint64_t now_ns;	    /* boot time */
	int64_t wall_ns;	    /* what is added to boot time for the wall clock's */
	char *cgroup_root;	    /* NULL: none is mounted */
	struct subject_names names;
};

/* Tells its failure. */
int view_open(const struct cli *cli, struct view *view);
void view_close(struct view *view);
#define _cleanup_view_ _cleanup_(view_close)

/* 0 stays 0: unknown, or never. */
int64_t view_wall(const struct view *view, uint64_t boot_time_ns);

/* DONE, or USAGE, NO_SUBJECT as told. */
int view_subject(const struct view *view, const char *text, struct sw_subject *ret);
/* As `subject` was asked for; before it is edited, under the lock. */
void view_subject_note(const struct view *view, const char *text, const struct sw_subject *subject);
/* "alice", "/var/www/shop" …; NULL: nothing to say. The caller frees. */
char *view_subject_name(const struct view *view, const struct sw_subject *subject);
/* As it was asked for: is there such a user, folder or unit now? */
bool view_exists(const struct view *view, const char *text, const struct sw_subject *subject);
/* Is it a folder or unit of which nothing is counted? Who wrote its path may have erred. */
bool view_is_new(const struct view *view, const struct sw_subject *subject);
/* Likewise one who can be blocked or allowed: a row that a network's newcomers share cannot. */
int view_sender(const struct view *view, const char *text, struct sw_subject *ret);
void view_subject_text(const struct view *view, const struct sw_subject *subject,
		       char text[static SUBJECT_LEN]);

/* By identity; NULL if the rules in force do not have it. */
const struct sw_policy *view_policy(const struct view *view, __u32 id);
const struct sw_limit *view_limit(const struct sw_policy *policy, __u64 id);
/*
 * The policies (bit i is rules->policy[i]) of which the kernel takes the first that matches an
 * attempt of this subject on this road, to judge the one of this kind that the attempt answers for.
 * `ret_sure`: those that match whatever else the attempt is; the others also ask where it comes
 * from, or who makes it.
 */
__u64 view_judges(const struct view *view, const struct sw_subject *subject, enum sw_kind kind,
		  enum sw_road road, __u64 *ret_sure);
/* The first of those that is sure, or has judged it lately. NULL: none. */
const struct sw_policy *view_deciding(const struct view *view, const struct sw_subject *subject,
				      enum sw_road road);
bool view_exempt(const struct view *view, const struct sw_subject *subject);

bool lasts(uint64_t until_ns, uint64_t now_ns);

/* The roads that smtpwall counts by now, in the order of enum sw_road. */
#define SW_ROADS_COUNTED SW_ROAD_SENDMAIL

#endif
