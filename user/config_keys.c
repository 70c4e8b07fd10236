/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <string.h>

#include "clean.h"
#include "cleanup.h"
#include "config_keys.h"
#include "globs.h"
#include "quantity.h"

#define USERS_MOST (1u << 24)				 /* rows of the ledger */
#define BLOCKS_MOST 1000000				 /* an hour; 0: no guard */
#define WITHIN_MOST_NS (365ULL * 24 * 3600 * 1000000000) /* the history keeps no older blocks */

/* What the contract has and this version does not: the feature that is built takes its row away. */
static const struct unbuilt {
	const char *in; /* a section's key, or the option whose word it is */
	const char *word;
	const char *instead;
} unbuilt[] = {
	{ "root", "inside", "remove it" },
	{ "root", "inside_hook", "remove it" },
	{ "exempt", "sources", "remove it" },
	{ "policy", "sources", "remove it" },
	{ "policy", "accounts", "remove it" },
	{ "policy", "mail_to", "remove it" },
	{ "policy", "exec", "remove it" },
	{ "roads", "sendmail", "write direct, submission or relay" },
	{ "roads", "account", "write direct, submission or relay" },
	{ "subject", "ip", "write uid, dir or unit" },
	{ "subject", "account", "write uid, dir or unit" },
	{ "subject", "domain", "write uid, dir or unit" },
	{ "action", "defer", "write deny, block or redirect" },
	{ "action", "hold", "write deny, block or redirect" },
};

void refuse(struct reader *r, const char *where, const char *format, ...)
{
	_cleanup_free_ char *what = NULL;
	va_list args;

	r->failed = true;
	va_start(args, format);
	if (vasprintf(&what, format, args) < 0)
		what = NULL;
	va_end(args);
	findings_add(r->findings, true, "%s: %s", where, what ? what : strerror(ENOMEM));
}

char *config_copy(struct reader *r, const char *text)
{
	char *copied = strdup(text);

	if (!copied)
		refuse(r, r->config->path, "%s", strerror(ENOMEM));
	return copied;
}

const char *opt_where(struct reader *r, cfg_opt_t *opt)
{
	return opt->comment ? opt->comment : r->file->filename;
}

/* ---- readers of values ---- */

const char *not_built(const char *in, const char *word)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(unbuilt); i++)
		if (!strcmp(unbuilt[i].in, in) && !strcmp(unbuilt[i].word, word))
			return unbuilt[i].instead;
	return NULL;
}

/* Tells of a word that is not built yet, or else is none at all. */
static void wrong_word(struct reader *r, cfg_opt_t *opt, const char *word, const char *instead)
{
	const char *built = not_built(opt->name, word);

	if (built)
		refuse(r, opt_where(r, opt), "`%s = %s` is not built yet: %s", opt->name, word,
		       built);
	else
		refuse(r, opt_where(r, opt), "'%s' is nothing that `%s` can be: write %s", word,
		       opt->name, instead);
}

static void read_mode(struct reader *r, cfg_opt_t *opt, void *member)
{
	const char *text = cfg_opt_getstr(opt);
	enum sw_mode *mode = member;

	if (!strcmp(text, mode_name(SW_MODE_OBSERVE)))
		*mode = SW_MODE_OBSERVE;
	else if (!strcmp(text, mode_name(SW_MODE_ENFORCE)))
		*mode = SW_MODE_ENFORCE;
	else
		wrong_word(r, opt, text, "observe or enforce");
}

static void read_action(struct reader *r, cfg_opt_t *opt, void *member)
{
	const char *text = cfg_opt_getstr(opt);
	enum sw_action *ret = member, action;

	for (action = SW_ACTION_DENY; action <= SW_ACTION_REDIRECT; action++) {
		if (!strcmp(text, action_name(action))) {
			*ret = action;
			return;
		}
	}
	wrong_word(r, opt, text, "deny, block or redirect");
}

/* "127.0.0.1:25" or "[::1]:25", as the key's family wants it. -EINVAL. */
static int endpoint_parse(const char *text, int family, struct sw_endpoint *ret)
{
	const struct addrinfo hints = { .ai_family = family,
					.ai_socktype = SOCK_STREAM,
					.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
	_cleanup_free_ char *host = strdup(text[0] == '[' ? text + 1 : text);
	char *colon = host ? strrchr(host, ':') : NULL;
	struct addrinfo *info;

	if (!colon || (family == AF_INET6 && (text[0] != '[' || colon == host || colon[-1] != ']')))
		return -EINVAL;
	*colon = '\0';
	if (family == AF_INET6)
		colon[-1] = '\0';
	if (getaddrinfo(host, colon + 1, &hints, &info))
		return -EINVAL;
	if (family == AF_INET6) {
		const struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)info->ai_addr;

		memcpy(ret->addr, &v6->sin6_addr, sizeof(ret->addr));
		ret->port = ntohs(v6->sin6_port);
	} else {
		const struct sockaddr_in *v4 = (struct sockaddr_in *)info->ai_addr;

		memset(ret->addr, 0, 10);
		memset(ret->addr + 10, 0xff, 2);
		memcpy(ret->addr + 12, &v4->sin_addr, 4);
		ret->port = ntohs(v4->sin_port);
	}
	freeaddrinfo(info);
	return ret->port ? 0 : -EINVAL;
}

static void read_redirect(struct reader *r, cfg_opt_t *opt, void *member)
{
	bool v6 = !strcmp(opt->name, "redirect_to6");

	if (endpoint_parse(cfg_opt_getstr(opt), v6 ? AF_INET6 : AF_INET, member) < 0)
		refuse(r, opt_where(r, opt),
		       "'%s' is no address and port to redirect to: write `%s = \"%s\"`",
		       cfg_opt_getstr(opt), opt->name, v6 ? "[::1]:25" : "127.0.0.1:25");
}

static void read_subject(struct reader *r, cfg_opt_t *opt, void *member)
{
	enum sw_kind *ret = member, kind;

	for (kind = 0; kind < SW_LOCAL_KINDS; kind++) {
		if (!strcmp(cfg_opt_getstr(opt), kind_name(kind))) {
			*ret = kind;
			return;
		}
	}
	wrong_word(r, opt, cfg_opt_getstr(opt), "uid, dir or unit");
}

static void read_outside_hook(struct reader *r, cfg_opt_t *opt, void *member)
{
	static const char *const names[] = {
		[OUTSIDE_AUTO] = "auto", [OUTSIDE_TCX] = "tcx", [OUTSIDE_CLSACT] = "clsact"
	};
	enum outside_hook *hook = member;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(cfg_opt_getstr(opt), names[i])) {
			*hook = i;
			return;
		}
	wrong_word(r, opt, cfg_opt_getstr(opt), "auto, tcx or clsact");
}

static void read_mail_servers(struct reader *r, cfg_opt_t *opt, void *member)
{
	const char *text = cfg_opt_getstr(opt);

	if (!strcmp(text, "auto") || !strcmp(text, "none"))
		*(bool *)member = !strcmp(text, "auto");
	else
		wrong_word(r, opt, text, "auto or none");
}

static void read_flag(struct reader *r, cfg_opt_t *opt, void *member)
{
	const char *text = cfg_opt_getstr(opt);

	if (!strcmp(text, "true") || !strcmp(text, "false"))
		*(bool *)member = !strcmp(text, "true");
	else
		wrong_word(r, opt, text, "true or false");
}

static bool number(const char *text, unsigned long least, unsigned long most, unsigned long *ret)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret = strtoul(text, &end, 10);
	return !errno && !*end && *ret >= least && *ret <= most;
}

static void read_number(struct reader *r, cfg_opt_t *opt, uint32_t least, uint32_t most,
			uint32_t *ret)
{
	unsigned long n;

	if (number(cfg_opt_getstr(opt), least, most, &n))
		*ret = n;
	else
		refuse(r, opt_where(r, opt), "`%s = %s`: write a number from %u to %u", opt->name,
		       cfg_opt_getstr(opt), least, most);
}

static void read_ipv6_prefix(struct reader *r, cfg_opt_t *opt, void *member)
{
	read_number(r, opt, 1, 128, member);
}

static void read_max_users(struct reader *r, cfg_opt_t *opt, void *member)
{
	read_number(r, opt, 1, USERS_MOST, member);
}

static void read_max_blocks(struct reader *r, cfg_opt_t *opt, void *member)
{
	read_number(r, opt, 0, BLOCKS_MOST, member);
}

static void read_ports(struct reader *r, cfg_opt_t *opt, void *member)
{
	struct config *config = r->config;
	unsigned long port;
	size_t i;

	(void)member;
	free(config->ports);
	config->n_ports = 0;
	config->ports = calloc(opt->nvalues + 1, sizeof(*config->ports));
	if (!config->ports)
		return refuse(r, opt_where(r, opt), "%s", strerror(ENOMEM));
	for (i = 0; i < opt->nvalues; i++) {
		if (number(cfg_opt_getnstr(opt, i), 1, 65535, &port))
			config->ports[config->n_ports++] = port;
		else
			refuse(r, opt_where(r, opt),
			       "'%s' is no port: write a number from 1 to 65535",
			       cfg_opt_getnstr(opt, i));
	}
	if (!opt->nvalues)
		refuse(r, opt_where(r, opt), "`ports` is empty: write {25, 465, 587}");
}

static void read_path(struct reader *r, cfg_opt_t *opt, void *member)
{
	const char *text = cfg_opt_getstr(opt);
	char **path = member;

	if (*text != '/')
		return refuse(r, opt_where(r, opt),
			      "`%s = %s` is a relative path: write one that begins with /",
			      opt->name, text);
	if (strlen(text) > PATH_LONGEST)
		return refuse(r, opt_where(r, opt), "`%s` is too long: write at most %d bytes",
			      opt->name, PATH_LONGEST);
	free(*path);
	*path = config_copy(r, text);
}

static void read_cgroup(struct reader *r, cfg_opt_t *opt, void *member)
{
	char **path = member;

	if (strcmp(cfg_opt_getstr(opt), "auto"))
		return read_path(r, opt, member);
	free(*path);
	*path = config_copy(r, "auto");
}

static void read_text(struct reader *r, cfg_opt_t *opt, void *member)
{
	char **text = member;

	free(*text);
	*text = config_copy(r, cfg_opt_getstr(opt));
}

bool words_append(struct words *words, const char *word, const char *at)
{
	char **grown;

	/* Powers of two: a list may have 100 000 words. */
	if (!(words->n & (words->n - 1))) {
		size_t room = words->n ? 2 * words->n : 1;

		grown = reallocarray(words->word, room, sizeof(*grown));
		if (!grown)
			return false;
		words->word = grown;
		grown = reallocarray(words->at, room, sizeof(*grown));
		if (!grown)
			return false;
		words->at = grown;
	}
	words->word[words->n] = strdup(word);
	words->at[words->n] = strdup(at);
	if (!words->word[words->n] || !words->at[words->n]) {
		free(words->word[words->n]);
		free(words->at[words->n]);
		return false;
	}
	words->n++;
	return true;
}

void words_clear(struct words *words)
{
	size_t i;

	for (i = 0; i < words->n; i++) {
		free(words->word[i]);
		free(words->at[i]);
	}
	free(words->word);
	free(words->at);
	free(words->where);
	*words = (struct words){};
}

static void read_words(struct reader *r, cfg_opt_t *opt, void *member)
{
	struct words *words = member;
	size_t i;

	if (!words->where)
		words->where = config_copy(r, opt_where(r, opt));
	for (i = 0; i < opt->nvalues; i++) {
		const char *word = cfg_opt_getnstr(opt, i);

		if (!*word || !is_clean(word))
			refuse(r, opt_where(r, opt), "an empty word in `%s`: remove it", opt->name);
		else if (!words_append(words, word, opt_where(r, opt)))
			return refuse(r, opt_where(r, opt), "%s", strerror(ENOMEM));
	}
}

static void read_globs(struct reader *r, cfg_opt_t *opt, void *member,
		       const char *(*fault)(const char *glob))
{
	const char *what;
	size_t i;

	for (i = 0; i < opt->nvalues; i++) {
		what = fault(cfg_opt_getnstr(opt, i));
		if (*cfg_opt_getnstr(opt, i) && what)
			refuse(r, opt_where(r, opt), "'%s' in `%s` %s", cfg_opt_getnstr(opt, i),
			       opt->name, what);
	}
	read_words(r, opt, member);
}

static void read_units(struct reader *r, cfg_opt_t *opt, void *member)
{
	read_globs(r, opt, member, unit_glob_fault);
}

static void read_dirs(struct reader *r, cfg_opt_t *opt, void *member)
{
	read_globs(r, opt, member, dir_glob_fault);
}

static void read_interfaces(struct reader *r, cfg_opt_t *opt, void *member)
{
	read_words(r, opt, member);
	if (!opt->nvalues)
		refuse(r, opt_where(r, opt), "`interfaces` is empty: write {auto}, or their names");
}

static void read_roads(struct reader *r, cfg_opt_t *opt, void *member)
{
	uint8_t *roads = member;
	enum sw_road road;
	size_t i;

	*roads = 0;
	for (i = 0; i < opt->nvalues; i++) {
		const char *word = cfg_opt_getnstr(opt, i);

		if (not_built("roads", word) || road_from_name(word, &road) < 0)
			wrong_word(r, opt, word, "direct, submission or relay");
		else
			*roads |= 1 << road;
	}
	if (!opt->nvalues)
		refuse(r, opt_where(r, opt), "`roads` is empty: write direct, submission or relay");
}

static void read_block_for(struct reader *r, cfg_opt_t *opt, void *member)
{
	if (duration_parse(cfg_opt_getstr(opt), member) < 0)
		refuse(r, opt_where(r, opt), "`block_for = %s`: write a time like 30m, 1s to 520w",
		       cfg_opt_getstr(opt));
}

static bool escalate_step(cfg_opt_t *opt, size_t i, uint64_t *ret_ns)
{
	*ret_ns = 0;
	return (i + 1 == opt->nvalues && !strcmp(cfg_opt_getnstr(opt, i), "permanent")) ||
	       duration_parse(cfg_opt_getnstr(opt, i), ret_ns) == 0;
}

static void read_escalate(struct reader *r, cfg_opt_t *opt, void *member)
{
	struct policy_spec *policy = r->policy;
	size_t i;

	(void)member;
	if (!opt->nvalues || opt->nvalues > ESCALATE_MAX)
		return refuse(r, opt_where(r, opt),
			      "`escalate` has 1 to %d steps: write them as in {2h, 24h, permanent}",
			      ESCALATE_MAX);
	for (i = 0; i < opt->nvalues; i++)
		if (!escalate_step(opt, i, &policy->escalate_ns[i]))
			return refuse(r, opt_where(r, opt),
				      "`escalate`: '%s': write a time like 24h, 1s to 520w; only "
				      "the last may be permanent",
				      cfg_opt_getnstr(opt, i));
	policy->n_escalate = opt->nvalues;
}

static void read_escalate_within(struct reader *r, cfg_opt_t *opt, void *member)
{
	uint64_t *within_ns = member;

	if (duration_parse(cfg_opt_getstr(opt), within_ns) < 0 || *within_ns > WITHIN_MOST_NS)
		refuse(r, opt_where(r, opt),
		       "`escalate_within = %s`: write a time like 7d, at "
		       "most 52w",
		       cfg_opt_getstr(opt));
}

static void share_wrong(struct reader *r, const char *where, const char *text, int error)
{
	if (error == -ENODATA)
		refuse(r, where,
		       "\"%s\" says not of how many: write \"%s of at least 20 messages\"", text,
		       text);
	else if (error == -ERANGE)
		refuse(r, where,
		       "\"%s\" has a number that is out of range: write 1%% to 99%%, per 1s to "
		       "520w, "
		       "of at least 1 to 65535 messages",
		       text);
	else
		refuse(r, where,
		       "\"%s\" is no limit: write \"30%% rejects per 1h of at least 20 messages\", "
		       "or deferrals",
		       text);
}

static void limit_wrong(struct reader *r, const char *where, const char *text, int error)
{
	if (strchr(text, '%'))
		share_wrong(r, where, text, error);
	else if (error == -ERANGE)
		refuse(r, where,
		       "\"%s\" has a number that is out of range: write at most "
		       "9223372036854775807, per 1s to 520w",
		       text);
	else
		refuse(r, where,
		       "\"%s\" is no limit: write \"100 messages per 1h\" or \"20MB per 1d\"",
		       text);
}

static bool limit_is_there(const struct policy_spec *policy, const struct limit_spec *limit)
{
	size_t i;

	for (i = 0; i < policy->n_limits; i++)
		if (policy->limit[i].metric == limit->metric &&
		    policy->limit[i].window_ns == limit->window_ns &&
		    policy->limit[i].warn == limit->warn &&
		    !policy->limit[i].percent == !limit->percent)
			return true;
	return false;
}

/* The window of messages that percentages of one time are of: the first brings it. */
static bool base_is_there(const struct policy_spec *policy, uint64_t window_ns)
{
	size_t i;

	for (i = 0; i < policy->n_limits; i++)
		if (policy->limit[i].percent && policy->limit[i].window_ns == window_ns)
			return true;
	return false;
}

static void read_limit(struct reader *r, cfg_opt_t *opt, const char *text, bool warn)
{
	struct policy_spec *policy = r->policy;
	struct limit_spec limit = { .warn = warn };
	size_t windows = policy->n_windows + 1;
	int error;

	error = limit_parse(text, &limit);
	if (error)
		return limit_wrong(r, opt_where(r, opt), text, error);
	if (limit_is_there(policy, &limit))
		return refuse(r, opt_where(r, opt),
			      "\"%s\" is the second of %s in this time: remove one", text,
			      metric_name(limit.metric));
	windows += limit.percent && !base_is_there(policy, limit.window_ns);
	if (windows > SW_LIMITS)
		return refuse(
			r, opt_where(r, opt),
			"\"%s\" is one too many: a policy has at most %d of `limits` and "
			"`warn` together, and percentages take one more for each of their times",
			text, SW_LIMITS);
	policy->limit[policy->n_limits++] = limit;
	policy->n_windows = windows;
}

static void read_limits(struct reader *r, cfg_opt_t *opt, void *member)
{
	bool warn = !strcmp(opt->name, "warn");
	size_t i;

	(void)member; /* both keys fill one array */
	for (i = 0; i < opt->nvalues; i++)
		read_limit(r, opt, cfg_opt_getnstr(opt, i), warn);
}

/* ---- the keys ---- */

#define IN_CONFIG(member) offsetof(struct config, member)
#define IN_POLICY(member) offsetof(struct policy_spec, member)

static const struct key main_keys[] = {
	{ "mode", false, read_mode, IN_CONFIG(mode) },
	{ "ports", true, read_ports, 0 },
	{ "interfaces", true, read_interfaces, IN_CONFIG(interfaces) },
	{ "outside_hook", false, read_outside_hook, IN_CONFIG(outside_hook) },
	{ "relays", true, read_words, IN_CONFIG(relays) },
	{ "site_roots", true, read_dirs, IN_CONFIG(site_roots) },
	{ "ipv6_prefix", false, read_ipv6_prefix, IN_CONFIG(ipv6_prefix) },
	{ "max_users", false, read_max_users, IN_CONFIG(max_users) },
	{ "max_blocks_per_hour", false, read_max_blocks, IN_CONFIG(max_blocks_per_hour) },
	{ "cgroup", false, read_cgroup, IN_CONFIG(cgroup) },
	{ "pin_dir", false, read_path, IN_CONFIG(pin_dir) },
	{ "state_dir", false, read_path, IN_CONFIG(state_dir) },
};

static const struct key exempt_keys[] = {
	{ "mail_servers", false, read_mail_servers, IN_CONFIG(mail_servers_auto) },
	{ "users", true, read_words, IN_CONFIG(exempt_users) },
	{ "groups", true, read_words, IN_CONFIG(exempt_groups) },
	{ "units", true, read_units, IN_CONFIG(exempt_units) },
	{ "destinations", true, read_words, IN_CONFIG(exempt_destinations) },
};

static const struct key policy_keys[] = {
	{ "description", false, read_text, IN_POLICY(description) },
	{ "users", true, read_words, IN_POLICY(users) },
	{ "groups", true, read_words, IN_POLICY(groups) },
	{ "units", true, read_units, IN_POLICY(units) },
	{ "dirs", true, read_dirs, IN_POLICY(dirs) },
	{ "roads", true, read_roads, IN_POLICY(roads) },
	{ "subject", false, read_subject, IN_POLICY(subject) },
	{ "warn", true, read_limits, 0 },
	{ "limits", true, read_limits, 0 },
	{ "action", false, read_action, IN_POLICY(action) },
	{ "block_for", false, read_block_for, IN_POLICY(block_ns) },
	{ "redirect_to", false, read_redirect, IN_POLICY(redirect) },
	{ "redirect_to6", false, read_redirect, IN_POLICY(redirect6) },
	{ "escalate", true, read_escalate, 0 },
	{ "escalate_within", false, read_escalate_within, IN_POLICY(escalate_within_ns) },
	{ "mode", false, read_mode, IN_POLICY(mode) },
	{ "count_tls_estimate", false, read_flag, IN_POLICY(count_tls) },
};

_Static_assert(ARRAY_SIZE(main_keys) <= SECTION_KEYS && ARRAY_SIZE(policy_keys) <= SECTION_KEYS,
	       "config.c has room for so many");

static const struct section sections[] = {
	{ "root", main_keys, ARRAY_SIZE(main_keys) },
	{ "exempt", exempt_keys, ARRAY_SIZE(exempt_keys) },
	{ "policy", policy_keys, ARRAY_SIZE(policy_keys) },
};

const struct section *section_named(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sections); i++)
		if (!strcmp(sections[i].name, name))
			return &sections[i];
	return NULL;
}

const struct key *key_named(const struct section *section, const char *name)
{
	size_t i;

	for (i = 0; i < section->n; i++)
		if (!strcmp(section->key[i].name, name))
			return &section->key[i];
	return NULL;
}
