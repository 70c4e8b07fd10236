/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include <smtpwall/window.h>

#include "cleanup.h"
#include "intervals.h"
#include "networks.h"
#include "people.h"
#include "policy.h"
#include "subids.h"
#include "who.h"

#define SUBUID_FILE "/etc/subuid"
#define EXEMPT 63 /* its number among the policies of an interval */
_Static_assert(SW_EXEMPT_BIT == 1ULL << EXEMPT && SW_POLICIES <= EXEMPT, "one bit a policy");

/*
 * Who runs the mail servers, by the names that their packages give. Never who runs anything
 * else, too: www-data, nobody, apache, daemon, mail.
 */
static const char *const mail_servers[] = {
	"postfix", "Debian-exim", "exim",  "exim4",	"mailnull",  "smmsp",	"smmta",  "_smtpd",
	"_smtpq",  "smtpd",	  "smtpq", "opensmtpd", "opensmtpq", "courier", "qmailr", "qmails",
};

struct compiler {
	struct people *people;
	const struct config *config;
	const struct sw_rules *live;
	struct findings *findings;
	struct ruleset *ruleset;
	struct edges users, groups;
	size_t n_users, n_groups; /* intervals */
};

/* ---- hashes: FNV-1a ---- */

static __u64 hash64(__u64 hash, const void *data, size_t length)
{
	const unsigned char *p = data;

	for (; length; p++, length--)
		hash = (hash ^ *p) * 0x100000001b3ULL;
	return hash;
}

static __u32 policy_id(const char *name)
{
	__u32 hash = 0x811c9dc5;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 0x01000193;
	return hash ? hash : 1;
}

#define FORM_SHARE 0x80 /* besides enum sw_warn */

/* Not of `max`, `percent` or `floor`: a window goes on when its limit is raised. */
static __u64 limit_id(const char *policy, const struct sw_limit *limit)
{
	unsigned char form = limit->warn | (limit->percent ? FORM_SHARE : 0), window[8];
	__u64 hash = 0xcbf29ce484222325ULL;
	size_t i;

	for (i = 0; i < sizeof(window); i++)
		window[i] = limit->window_ns >> (8 * i);
	hash = hash64(hash, policy, strlen(policy) + 1);
	hash = hash64(hash, &limit->metric, 1);
	hash = hash64(hash, window, sizeof(window));
	hash = hash64(hash, &form, 1);
	return hash ? hash : 1;
}

/* ---- limits and their cells ---- */

static const struct sw_policy *live_policy(const struct sw_rules *live, __u32 id)
{
	size_t i;

	for (i = 0; live && i < live->n_policies && i < SW_POLICIES; i++)
		if (live->policy[i].id == id)
			return &live->policy[i];
	return NULL;
}

/* The cell that the limit has in the kernel now, or -1. */
static int live_cell(const struct sw_policy *live, __u64 limit)
{
	size_t i;

	for (i = 0; live && i < live->n_limits && i < SW_LIMITS; i++)
		if (live->limit[i].id == limit && live->limit[i].cell < SW_LIMITS)
			return live->limit[i].cell;
	return -1;
}

/* First those that stay where they are, then the new ones where there is room. */
static void place_cells(struct sw_policy *policy, const struct sw_policy *live)
{
	bool placed[SW_LIMITS] = {}, taken[SW_LIMITS] = {};
	size_t i, free_cell = 0;

	for (i = 0; i < policy->n_limits; i++) {
		int cell = live_cell(live, policy->limit[i].id);

		if (cell < 0 || taken[cell])
			continue;
		policy->limit[i].cell = cell;
		placed[i] = taken[cell] = true;
	}
	for (i = 0; i < policy->n_limits; i++) {
		if (placed[i])
			continue;
		while (taken[free_cell])
			free_cell++;
		policy->limit[i].cell = free_cell;
		taken[free_cell] = true;
	}
}

static void add_limit(struct sw_policy *policy, const struct sw_limit *limit)
{
	struct sw_limit *added = &policy->limit[policy->n_limits++];

	*added = *limit;
	added->slot_ns = sw_slot_ns(limit->window_ns);
	added->id = limit_id(policy->name, limit);
}

/* The window of messages that a percentage of this time is of, or NULL. */
static const struct sw_limit *base_of(const struct sw_policy *policy, __u64 window_ns)
{
	size_t i;

	for (i = 0; i < policy->n_limits; i++)
		if (policy->limit[i].warn == SW_WARN_BASE &&
		    policy->limit[i].window_ns == window_ns)
			return &policy->limit[i];
	return NULL;
}

/* They come first: a share is judged when what it is of was counted. */
static void add_bases(const struct policy_spec *spec, struct sw_policy *policy)
{
	struct sw_limit base = { .metric = SW_METRIC_MESSAGES, .warn = SW_WARN_BASE };
	size_t i;

	for (i = 0; i < spec->n_limits; i++) {
		base.window_ns = spec->limit[i].window_ns;
		if (spec->limit[i].percent && !base_of(policy, base.window_ns))
			add_limit(policy, &base);
	}
}

static void add_spec(const struct limit_spec *spec, struct sw_policy *policy)
{
	const struct sw_limit limit = {
		.max = spec->max,
		.window_ns = spec->window_ns,
		.metric = spec->metric,
		.warn = spec->warn ? SW_WARN_ONLY : SW_WARN_NOT,
		.percent = spec->percent,
		.floor = spec->floor,
	};

	add_limit(policy, &limit);
	policy->metrics |= 1 << limit.metric;
	if (!limit.warn)
		policy->limited |= 1 << limit.metric;
}

/* config.c has seen to it that they fit. */
static void compile_limits(struct compiler *c, const struct policy_spec *spec,
			   struct sw_policy *policy)
{
	size_t i;

	add_bases(spec, policy);
	for (i = 0; i < spec->n_limits; i++)
		add_spec(&spec->limit[i], policy);
	place_cells(policy, live_policy(c->live, policy->id));
	for (i = 0; i < policy->n_limits; i++)
		if (policy->limit[i].percent)
			policy->limit[i].base = base_of(policy, policy->limit[i].window_ns)->cell;
}

/* ---- whom a policy matches ---- */

static int add_edges(struct edges *edges, const struct ids *ids, unsigned int bit)
{
	int error = 0;
	size_t i;

	for (i = 0; !error && i < ids->n; i++)
		error = edges_add(edges, ids->range[i].first, ids->range[i].last, bit);
	return error;
}

static int resolve_words(struct compiler *c, enum people_table table, const struct words *words,
			 struct ids *ids)
{
	int result = 0, error;
	size_t i;

	for (i = 0; i < words->n; i++) {
		error = who_resolve(c->people, table, words->word[i], words->at[i], c->findings,
				    ids);
		if (error)
			result = error;
	}
	return result;
}

/* Either matches. A group matches its members by uid and its effective gid by itself. */
static int match(struct compiler *c, const struct words *user_words,
		 const struct words *group_words, unsigned int bit)
{
	_cleanup_(ids_clear) struct ids users = {}, groups = {};
	int error, also;

	error = resolve_words(c, PEOPLE_USERS, user_words, &users);
	also = resolve_words(c, PEOPLE_GROUPS, group_words, &groups);
	if (error || also)
		return error ? error : also;
	error = who_members(c->people, &groups, &users);
	if (!error)
		error = add_edges(&c->users, &users, bit);
	if (!error)
		error = add_edges(&c->groups, &groups, bit);
	return error;
}

static int add_globs(struct globs *globs, const struct words *words, __u64 set, __u32 flags)
{
	int error = 0;
	size_t i;

	for (i = 0; !error && i < words->n; i++)
		error = globs_add(globs, words->word[i], set, flags);
	return error;
}

/* Where: no words at all are everywhere. */
static int match_place(struct compiler *c, const struct policy_spec *spec, size_t i)
{
	struct sw_rules *rules = &c->ruleset->rules;
	__u64 self = 1ULL << i;
	int error;

	if (!spec->units.n)
		rules->any_unit |= self;
	if (!spec->dirs.n)
		rules->any_dir |= self;
	error = add_globs(&c->ruleset->units, &spec->units, self, 0);
	return error ? error : add_globs(&c->ruleset->dirs, &spec->dirs, self, 0);
}

static int check_id(struct compiler *c, size_t i)
{
	const struct sw_rules *rules = &c->ruleset->rules;
	size_t j;

	for (j = 0; j < i; j++) {
		if (rules->policy[j].id != rules->policy[i].id)
			continue;
		findings_add(c->findings, true,
			     "%s: the names \"%s\" and \"%s\" have the same hash: write another",
			     c->config->policy[i].where, rules->policy[i].name,
			     rules->policy[j].name);
		return -EINVAL;
	}
	return 0;
}

static int compile_policy(struct compiler *c, size_t i)
{
	const struct policy_spec *spec = &c->config->policy[i];
	struct sw_rules *rules = &c->ruleset->rules;
	struct sw_policy *policy = &rules->policy[i];
	size_t road;

	snprintf(policy->name, sizeof(policy->name), "%s", spec->name);
	policy->id = policy_id(spec->name);
	policy->action = spec->action;
	policy->mode = spec->mode;
	policy->redirect = spec->redirect;
	policy->redirect6 = spec->redirect6;
	policy->count_tls = spec->count_tls;
	policy->roads = spec->roads;
	policy->subject = spec->subject;
	policy->block_ns = spec->action == SW_ACTION_BLOCK ? spec->block_ns : 0;
	compile_limits(c, spec, policy);
	for (road = 0; road < SW_ROADS; road++)
		if (spec->roads & 1 << road)
			rules->on_road[road] |= 1ULL << i;
	rules->judges[spec->subject] |= 1ULL << i;
	/* No words at all: anyone. (Words that do not resolve: nobody.) */
	if (!spec->users.n && !spec->groups.n)
		rules->anyone |= 1ULL << i;
	rules->n_policies = i + 1;
	return check_id(c, i);
}

static int compile_policies(struct compiler *c)
{
	int result = 0, error;
	size_t i;

	for (i = 0; i < c->config->n_policies; i++) {
		const struct policy_spec *spec = &c->config->policy[i];

		error = compile_policy(c, i);
		if (!error)
			error = match(c, &spec->users, &spec->groups, i);
		if (!error)
			error = match_place(c, spec, i);
		if (error)
			result = error;
	}
	return result;
}

/* ---- who is exempt ---- */

__attribute__((__format__(__printf__, 2, 3))) static int tell_exempt(struct compiler *c,
								     const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	struct ruleset *r = c->ruleset;
	va_list args;
	char **grown;
	size_t i;

	va_start(args, format);
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	va_end(args);
	grown = reallocarray(r->exempt, r->n_exempt + 1, sizeof(*grown));
	if (grown)
		r->exempt = grown;
	if (!text || !grown)
		return -ENOMEM;
	for (i = 0; i < r->n_exempt; i++)
		if (!strcmp(r->exempt[i], text))
			return 0;
	r->exempt[r->n_exempt++] = take_pointer(&text);
	return 0;
}

/* "root(0)", "group mail(8)"; a word that means many: itself. */
static int tell_exempt_word(struct compiler *c, enum people_table table, const char *word)
{
	const char *kind = table == PEOPLE_GROUPS ? "group " : "", *name = NULL;
	_cleanup_(ids_clear) struct ids ids = {};
	struct findings told_before = {};
	int error;

	error = who_resolve(c->people, table, word, "", &told_before, &ids);
	findings_clear(&told_before);
	if (error || !ids.n)
		return error;
	if (ids.n > 1 || ids.range[0].first != ids.range[0].last)
		return tell_exempt(c, "%s%s", kind, word);
	name = people_name(c->people, table, ids.range[0].first);
	if (name)
		return tell_exempt(c, "%s%s(%u)", kind, name, ids.range[0].first);
	return tell_exempt(c, "%s%u", kind, ids.range[0].first);
}

static int tell_exempt_words(struct compiler *c, enum people_table table, const struct words *words)
{
	int error = 0;
	size_t i;

	for (i = 0; !error && i < words->n; i++)
		error = tell_exempt_word(c, table, words->word[i]);
	return error;
}

/* A customer who may choose the name "courier" gets no system account with it. */
static bool is_system_account(__u32 uid)
{
	return (uid > 0 && uid < 1000) || (uid >= 60000 && uid < 65000);
}

static int exempt_mail_servers(struct compiler *c)
{
	int error = 0;
	size_t i;

	for (i = 0; !error && i < ARRAY_SIZE(mail_servers); i++) {
		const struct people_entry *user =
			people_find(c->people, PEOPLE_USERS, mail_servers[i]);

		if (!user)
			continue;
		if (!is_system_account(user->id)) {
			findings_add(
				c->findings, false,
				"%s: the user '%s' (%u) is named like a mail server, but is no "
				"system account: name it in exempt.users if it is one",
				c->config->path, mail_servers[i], user->id);
			continue;
		}
		error = edges_add(&c->users, user->id, user->id, EXEMPT);
		if (!error)
			error = tell_exempt(c, "%s(%u)", mail_servers[i], user->id);
	}
	return error;
}

static int exempt_units(struct compiler *c, const struct words *words)
{
	int error = add_globs(&c->ruleset->units, words, SW_EXEMPT_BIT, 0);
	size_t i;

	for (i = 0; !error && i < words->n; i++)
		error = tell_exempt(c, "unit %s", words->word[i]);
	return error;
}

static int compile_exempt(struct compiler *c)
{
	const struct config *config = c->config;
	int error;

	error = match(c, &config->exempt_users, &config->exempt_groups, EXEMPT);
	if (!error)
		error = tell_exempt_words(c, PEOPLE_USERS, &config->exempt_users);
	if (!error)
		error = tell_exempt_words(c, PEOPLE_GROUPS, &config->exempt_groups);
	if (!error && config->mail_servers_auto)
		error = exempt_mail_servers(c);
	return error ? error : exempt_units(c, &config->exempt_units);
}

/* ---- tables ---- */

static int too_many(struct compiler *c, const char *whose, size_t n, size_t most)
{
	findings_add(c->findings, true,
		     "%s: the %s of all policies make %zu intervals, of %zu at most: write ranges, "
		     "or a group instead of its members",
		     c->config->path, whose, n, most);
	return -EINVAL;
}

static int compile_tables(struct compiler *c)
{
	struct ruleset *r = c->ruleset;

	r->users = malloc(sizeof(*r->users));
	r->groups = malloc(sizeof(*r->groups));
	if (!r->users || !r->groups || subids_load(SUBUID_FILE, c->findings, &r->subids) < 0)
		return -ENOMEM;
	c->n_users = edges_compile(&c->users, r->rules.anyone, r->users->start, r->users->set,
				   SW_INTERVALS);
	if (c->n_users > SW_INTERVALS)
		return too_many(c, "users", c->n_users, SW_INTERVALS);
	c->n_groups =
		edges_compile(&c->groups, 0, r->groups->start, r->groups->set, SW_GID_INTERVALS);
	if (c->n_groups > SW_GID_INTERVALS)
		return too_many(c, "groups", c->n_groups, SW_GID_INTERVALS);
	return 0;
}

static void compile_ports(struct compiler *c)
{
	size_t i;

	for (i = 0; i < c->config->n_ports; i++) {
		__u16 port = c->config->ports[i];

		c->ruleset->ports.bits[port / 64] |= 1ULL << port % 64;
	}
}

/* ---- policies that can never decide ---- */

struct shadow {
	__u64 rivals; /* earlier policies that judge the same subject wherever it does */
	bool matches; /* somebody who is not exempt */
	bool open;    /* for one of them it decides, on one road at least */
	int by;	      /* an earlier policy that decides instead */
};

/* What policy `i` decides for those whom all policies of `set` match. */
static void shadow_look(struct shadow *s, const struct sw_rules *rules, size_t i, __u64 set)
{
	__u64 self = 1ULL << i;
	size_t road;

	if (!(set & self) || set & SW_EXEMPT_BIT)
		return;
	s->matches = true;
	for (road = 0; road < SW_ROADS; road++) {
		__u64 earlier = set & rules->on_road[road] & s->rivals;

		if (!(rules->on_road[road] & self))
			continue;
		if (earlier)
			s->by = __builtin_ctzll(earlier);
		else
			s->open = true;
	}
}

static bool has_word(const struct words *words, const char *word)
{
	size_t i;

	for (i = 0; i < words->n; i++)
		if (!strcmp(words->word[i], word))
			return true;
	return false;
}

/* Is all that the globs of `few` match matched by those of `many`, as far as words tell? */
static bool covers(const struct words *many, const struct words *few)
{
	size_t i;

	if (!many->n)
		return true;
	for (i = 0; i < few->n; i++)
		if (!has_word(many, few->word[i]))
			return false;
	return few->n;
}

static __u64 rivals_of(const struct config *config, size_t i)
{
	const struct policy_spec *spec = &config->policy[i], *earlier;
	__u64 rivals = 0;
	size_t j;

	for (j = 0; j < i; j++) {
		earlier = &config->policy[j];
		if (earlier->subject == spec->subject && covers(&earlier->units, &spec->units) &&
		    covers(&earlier->dirs, &spec->dirs))
			rivals |= 1ULL << j;
	}
	return rivals;
}

static void warn_of_shadow(struct compiler *c, size_t i)
{
	const struct ruleset *r = c->ruleset;
	struct shadow s = { .rivals = rivals_of(c->config, i), .by = -1 };
	size_t n;

	for (n = 0; n < c->n_users && !s.open; n++)
		shadow_look(&s, &r->rules, i, r->users->set[n]);
	for (n = 0; n < c->n_groups && !s.open; n++)
		shadow_look(&s, &r->rules, i, r->groups->set[n] | r->rules.anyone);
	/* Containers have users that no table knows: for them only the anyone-policies count. */
	shadow_look(&s, &r->rules, i, r->rules.anyone);
	if (!s.matches)
		findings_add(c->findings, false,
			     "%s: the policy \"%s\" matches nobody: its users and groups do not "
			     "exist or are exempt",
			     c->config->policy[i].where, r->rules.policy[i].name);
	else if (!s.open)
		findings_add(c->findings, false,
			     "%s: the policy \"%s\" never decides: \"%s\" (%s) matches whom it "
			     "matches and comes first: rename its file, or narrow the earlier one",
			     c->config->policy[i].where, r->rules.policy[i].name,
			     r->rules.policy[s.by].name, c->config->policy[s.by].where);
}

/* ---- the whole ---- */

void ruleset_free(struct ruleset *ruleset)
{
	size_t i;

	if (!ruleset)
		return;
	for (i = 0; i < ruleset->n_exempt; i++)
		free(ruleset->exempt[i]);
	free(ruleset->exempt);
	globs_clear(&ruleset->units);
	globs_clear(&ruleset->dirs);
	free(ruleset->network);
	free(ruleset->users);
	free(ruleset->groups);
	free(ruleset->subids);
	free(ruleset);
}

static void ruleset_freep(struct ruleset **ruleset)
{
	ruleset_free(*ruleset);
}

static void compiler_clear(struct compiler *c)
{
	edges_clear(&c->users);
	edges_clear(&c->groups);
}

/* What is wrong in one part does not hide what is wrong in the next. */
static int compile(struct compiler *c)
{
	int policies, exempt, networks, error;
	size_t i;

	c->ruleset->rules.max_blocks_per_hour = c->config->max_blocks_per_hour;
	policies = compile_policies(c);
	exempt = compile_exempt(c);
	networks = networks_compile(c->config, c->findings, &c->ruleset->network,
				    &c->ruleset->n_networks);
	error = policies ? policies : exempt ? exempt : networks;
	if (!error)
		error = compile_tables(c);
	if (!error)
		error = add_globs(&c->ruleset->dirs, &c->config->site_roots, 0, SW_PLACE_SITE);
	if (error)
		return error;
	compile_ports(c);
	for (i = 0; i < c->config->n_policies; i++)
		warn_of_shadow(c, i);
	return 0;
}

int policy_compile_for(struct people *people, const struct config *config,
		       const struct sw_rules *live, struct findings *findings, struct ruleset **ret)
{
	_cleanup_(ruleset_freep) struct ruleset *ruleset = calloc(1, sizeof(*ruleset));
	_cleanup_(compiler_clear) struct compiler c = {
		.people = people,
		.config = config,
		.live = live,
		.findings = findings,
		.ruleset = ruleset,
	};
	int error;

	if (!ruleset)
		return -ENOMEM;
	error = compile(&c);
	if (error)
		return error;
	*ret = take_pointer(&ruleset);
	return 0;
}

static void people_freep(struct people **people)
{
	people_free(*people);
}

int policy_compile(const struct config *config, const struct sw_rules *live,
		   struct findings *findings, struct ruleset **ret)
{
	_cleanup_(people_freep) struct people *people = NULL;
	int error;

	error = people_load(&people);
	if (error)
		return error;
	return policy_compile_for(people, config, live, findings, ret);
}
