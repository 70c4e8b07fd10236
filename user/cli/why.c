// SPDX-License-Identifier: GPL-2.0-or-later
#include "why.h"

#include <stdarg.h>
#include <string.h>

#include "quantity.h"

#define SENTENCE_LEN 1024
#define NAMED_MOST 5 /* policies named one by one */

/* Text that grows, and is cut where there is no room. */
struct sentence {
	char text[SENTENCE_LEN];
	size_t used;
};

__attribute__((__format__(__printf__, 2, 3))) static void add(struct sentence *s,
							      const char *format, ...)
{
	size_t left = sizeof(s->text) - s->used;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(s->text + s->used, left, format, args);
	va_end(args);
	s->used += n < 0 ? 0 : (size_t)n < left ? (size_t)n : left - 1;
}

/* ---- of the subject itself ---- */

static const char *qualities(const struct sw_policy *policy)
{
	if (policy->mode == SW_MODE_OBSERVE)
		return ", which only observes";
	if (policy->n_limits == 0 && policy->action == SW_ACTION_DENY)
		return ": the road is closed";
	return "";
}

/* What a policy asks for that the subject alone does not tell. */
static void add_condition(struct sentence *s, const struct view *view,
			  const struct sw_subject *subject, size_t policy)
{
	const struct {
		enum sw_kind kind; /* who is it tells it */
		__u64 any;
		const char *what;
	} asked[] = {
		{ SW_KIND_UID, view->rules->anyone, "user" },
		{ SW_KIND_UNIT, view->rules->any_unit, "unit" },
		{ SW_KIND_DIR, view->rules->any_dir, "folder" },
	};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(asked); i++)
		if (asked[i].kind != subject->kind && !(asked[i].any >> policy & 1))
			add(s, "%s%s", n++ ? " and the " : " if the ", asked[i].what);
	if (n)
		add(s, " of the attempt match%s", n > 1 ? "" : "es");
	else if (subject->kind == SW_KIND_UNIT)
		add(s, " if it is a container");
}

/* In their order, up to the one that matches in any case. */
static void why_road(struct writer *w, const struct view *view, const struct sw_subject *subject,
		     enum sw_road road)
{
	struct sentence s = {};
	__u64 sure, set = view_judges(view, subject, subject->kind, road, &sure);

	for (size_t i = 0; i < view->rules->n_policies; i++) {
		const struct sw_policy *policy = &view->rules->policy[i];

		if (!(set >> i & 1))
			continue;
		if (s.used)
			add(&s, "; else '%s' does", policy->name);
		else
			add(&s, "On the road %s the policy '%s' decides", road_name(road),
			    policy->name);
		if (!(sure >> i & 1))
			add_condition(&s, view, subject, i);
		add(&s, "%s", qualities(policy));
		if (sure >> i & 1)
			break;
	}
	if (s.used)
		add(&s, ".");
	else
		add(&s, "No policy limits it on the road %s.", road_name(road));
	writer_text(w, NULL, s.text);
}

/* ---- of the others that its attempts answer for ---- */

static __u64 others(const struct view *view, const struct sw_subject *subject, enum sw_kind kind)
{
	__u64 sure, set = 0;

	for (enum sw_road road = 0; road < SW_ROADS_COUNTED; road++)
		set |= view_judges(view, subject, kind, road, &sure);
	return kind == SW_KIND_UNIT ? set & view->rules->judges[kind] : set;
}

static void add_names(struct sentence *s, const struct view *view, __u64 set)
{
	size_t named = 0;

	for (size_t i = 0; i < view->rules->n_policies; i++) {
		if (!(set >> i & 1))
			continue;
		if (++named > NAMED_MOST) {
			add(s, " and others");
			return;
		}
		add(s, "%s'%s'", named > 1 ? ", " : "", view->rules->policy[i].name);
	}
}

static void why_others(struct writer *w, const struct view *view, const struct sw_subject *subject)
{
	static const char *const whose[SW_LOCAL_KINDS] = {
		[SW_KIND_UID] = "user",
		[SW_KIND_UNIT] = "unit",
		[SW_KIND_DIR] = "folder",
	};
	struct sentence s = {};

	for (enum sw_kind kind = 0; kind < SW_LOCAL_KINDS; kind++) {
		__u64 set = kind == subject->kind ? 0 : others(view, subject, kind);

		if (!set)
			continue;
		add(&s, "%s its %s (", s.used ? ", and" : "What it sends is judged as a part of",
		    whose[kind]);
		add_names(&s, view, set);
		add(&s, ")");
	}
	if (!s.used)
		return;
	add(&s, ", too: the strictest answer wins.");
	writer_text(w, NULL, s.text);
}

void why_policies(struct writer *w, const struct view *view, const struct sw_subject *subject)
{
	for (enum sw_road road = 0; road < SW_ROADS_COUNTED; road++)
		why_road(w, view, subject, road);
	if (subject->kind < SW_LOCAL_KINDS)
		why_others(w, view, subject);
}
