/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <libintl.h>
#include <stdarg.h>
#include <string.h>

#include <smtpwall/names.h>

#include "clean.h"
#include "cleanup.h"
#include "config_keys.h"
#include "text.h"

#define BLOCK_DEFAULT_NS (3600ULL * 1000000000)
#define FAULTS_MOST 100 /* in a file that is still worth looking for paths */
#define ESCALATE_WITHIN_DEFAULT_NS (7 * 24 * BLOCK_DEFAULT_NS)
#define MAX_BLOCKS_DEFAULT 20
#define POLICY_FILES "[0-9][0-9]-?*.conf"

/* libconfuse's callbacks carry no pointer of ours, and it is not re-entrant either. */
static struct reader *reading;

/* ---- places: libconfuse keeps none of an option's; its comment fields, unused, hold them ---- */

static const char *section_where(struct reader *r, cfg_t *section)
{
	return section->comment ? section->comment : r->file->filename;
}

static char *place(cfg_t *cfg, int line)
{
	char *where;

	return asprintf(&where, "%s:%d", cfg->filename, line) < 0 ? NULL : where;
}

/* High bits of an option's flags, where libconfuse has none. */
#define OPT_ONCE (1 << 28)    /* has its first value */
#define OPT_CLOSED (1 << 29)  /* a list: was closed with one value */
#define OPT_SEVERAL (1 << 30) /* a list: has had more */

/* A second "key =" starts over at one value; a list of one is shown twice, at its } again. */
static bool written_twice(cfg_opt_t *opt)
{
	if (opt->nvalues > 1) {
		opt->flags |= OPT_SEVERAL;
		return false;
	}
	if (!(opt->flags & OPT_ONCE)) {
		opt->flags |= OPT_ONCE;
		return false;
	}
	if (!(opt->flags & CFGF_LIST) || (opt->flags & (OPT_CLOSED | OPT_SEVERAL)))
		return true;
	opt->flags |= OPT_CLOSED;
	return false;
}

/* Called for each value as it is read, and at the } of lists and sections. */
static int note_place(cfg_t *cfg, cfg_opt_t *opt)
{
	cfg_t *section = opt->type == CFGT_SEC ? cfg_opt_getnsec(opt, opt->nvalues - 1) : cfg;

	/* While a section is read, the file's own line stands where it opens. */
	if (section != reading->file && !section->comment)
		section->comment = place(cfg, reading->file->line);
	if (opt->type == CFGT_SEC)
		return 0;
	if (written_twice(opt)) {
		_cleanup_free_ char *where = place(cfg, cfg->line);

		refuse(reading, where ? where : cfg->filename,
		       "`%s` is written twice: keep this one or that of %s", opt->name,
		       opt_where(reading, opt));
		return -1;
	}
	if (!opt->comment)
		opt->comment = place(cfg, cfg->line);
	return 0;
}

#define OPTS (SECTION_KEYS + 3) /* of a section: its keys, two sections in it, the end */

static void opts_fill(cfg_opt_t opts[static OPTS], const struct section *section)
{
	size_t i;

	for (i = 0; i < section->n; i++) {
		int flags = CFGF_NODEFAULT | (section->key[i].list ? CFGF_LIST : 0);

		opts[i] = (cfg_opt_t)CFG_STR(section->key[i].name, NULL, flags);
		opts[i].validcb = note_place;
	}
	opts[i] = (cfg_opt_t)CFG_END();
}

static void opts_add_section(cfg_opt_t opts[static OPTS], const char *name, cfg_opt_t *keys,
			     int flags)
{
	int n = cfg_numopts(opts);

	opts[n] = (cfg_opt_t)CFG_SEC(name, keys, CFGF_MULTI | CFGF_NODEFAULT | flags);
	opts[n].validcb = note_place;
	opts[n + 1] = (cfg_opt_t)CFG_END();
}

/* ---- what libconfuse finds wrong ---- */

/* How many characters must be changed, added or removed to make `a` of `b`. */
static size_t edits(const char *a, const char *b)
{
	size_t row[32], i, j, length = strlen(b);

	if (length >= ARRAY_SIZE(row))
		return SIZE_MAX;
	for (j = 0; j <= length; j++)
		row[j] = j;
	for (i = 1; a[i - 1]; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (j = 1; j <= length; j++) {
			size_t change = diagonal + (a[i - 1] != b[j - 1]);
			size_t best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;

			diagonal = row[j];
			row[j] = change < best ? change : best;
		}
	}
	return row[length];
}

/* The nearest key of the section, or NULL if none is near. */
static const char *nearest(cfg_t *cfg, const char *name)
{
	size_t i, least = strlen(name) / 3 + 2;
	const char *key = NULL;

	for (i = 0; strlen(name) < 32 && i < cfg_num(cfg); i++) {
		size_t n = edits(name, cfg->opts[i].name);

		if (n < least) {
			least = n;
			key = cfg->opts[i].name;
		}
	}
	return key;
}

static void unknown_key(struct reader *r, cfg_t *cfg, const char *where, const char *name)
{
	const char *instead = not_built(cfg->name, name), *key;
	bool setting = key_named(section_named("root"), name) || not_built("root", name);

	if (instead)
		return refuse(r, where, "`%s` is not built yet: %s", name, instead);
	if (cfg != r->file && (setting || section_named(name)))
		return refuse(r, where, "`%s` inside of the %s that opens at %s: write } before it",
			      name, cfg->name, section_where(r, cfg));
	if (cfg == r->file && !strcmp(name, "policy"))
		return refuse(r, where,
			      "policies are read from conf.d/NN-name.conf beside this "
			      "file: move it there");
	if (cfg == r->file && !r->is_main && setting)
		return refuse(r, where, "`%s` is a setting, not a policy: move it to %s", name,
			      r->config->path);
	key = nearest(cfg, name);
	if (key)
		refuse(r, where, "unknown key `%s`: did you mean `%s`?", name, key);
	else
		refuse(r, where, "unknown key `%.64s`: remove it", name);
}

static void tell(cfg_t *cfg, const char *format, va_list args)
{
	_cleanup_free_ char *where = place(cfg, cfg->line), *what = NULL;
	struct reader *r = reading;

	if (r->open && !strcmp(format, dgettext("confuse", "premature end of file")))
		return; /* told with the line of the brace */
	if (!where)
		return refuse(r, cfg->filename, "%s", strerror(ENOMEM));
	if (!strcmp(format, dgettext("confuse", "no such option '%s'")))
		return unknown_key(r, cfg, where, va_arg(args, const char *));
	if (!strcmp(format, dgettext("confuse", "found duplicate title '%s'")))
		return refuse(r, where, "a second policy \"%s\": write another name",
			      va_arg(args, const char *));
	if (vasprintf(&what, format, args) < 0)
		what = NULL;
	refuse(r, where, "%.200s: look for a missing =, brace or quote here and in the line above",
	       what ? what : strerror(ENOMEM));
}

/* ---- files ---- */

static void cfg_freep(cfg_t **cfg)
{
	if (*cfg)
		cfg_free(*cfg);
}

/* False: something is wrong, and `errors` was told of it. */
static bool parse(cfg_t *cfg, const char *path, char *text, cfg_errfunc_t errors)
{
	_cleanup_fclose_ FILE *f = NULL;

	cfg_set_error_function(cfg, errors);
	if (!cfg->filename)
		cfg->filename = strdup(path);
	if (!*text || !cfg->filename)
		return cfg->filename;
	f = fmemopen(text, strlen(text), "r");
	return f && cfg_parse_fp(cfg, f) == CFG_SUCCESS;
}

static void read_keys(struct reader *r, cfg_t *cfg, void *object)
{
	const struct section *section = section_named(cfg->name);
	size_t i;

	for (i = 0; i < cfg_num(cfg); i++) {
		cfg_opt_t *opt = &cfg->opts[i];
		const struct key *key = key_named(section, opt->name);

		if (!key || !(opt->flags & CFGF_MODIFIED))
			continue;
		if (!opt->nvalues && opt->comment)
			refuse(r, opt->comment,
			       "`%s` is written twice, the second time empty: "
			       "remove one",
			       opt->name);
		else
			key->read(r, opt, (char *)object + key->offset);
	}
}

static void read_exempt(struct reader *r)
{
	size_t i;

	for (i = 0; i < cfg_size(r->file, "exempt"); i++)
		read_keys(r, cfg_getnsec(r->file, "exempt", i), r->config);
}

/* What does not go to an SMTP port is no SMTP to the programs that count it. */
static bool is_smtp_endpoint(const struct config *config, const struct sw_endpoint *endpoint)
{
	size_t i;

	for (i = 0; i < config->n_ports; i++)
		if (config->ports[i] == endpoint->port)
			return true;
	return !endpoint->port;
}

/* Only what leaves can be redirected, and it has to be said to where. */
static void policy_check_redirect(struct reader *r, const char *where,
				  const struct policy_spec *policy)
{
	bool target = policy->redirect.port || policy->redirect6.port;

	if (policy->action != SW_ACTION_REDIRECT) {
		if (target)
			refuse(r, where,
			       "`redirect_to` without `action = redirect`: write that, or remove "
			       "this");
		return;
	}
	if (!target)
		refuse(r, where,
		       "`action = redirect` without a relay: write `redirect_to = "
		       "\"127.0.0.1:25\"`");
	if (!is_smtp_endpoint(r->config, &policy->redirect) ||
	    !is_smtp_endpoint(r->config, &policy->redirect6))
		refuse(r, where,
		       "the relay's port is not among `ports`: write one that is, or add it there");
	if (policy->roads != 1 << SW_ROAD_DIRECT)
		refuse(r, where,
		       "`action = redirect` is for the road `direct` only: write `roads = "
		       "{direct}`");
}

/* Whose script goes into a neighbour's folder sends as that folder. */
static void policy_check_subject(struct reader *r, const char *where,
				 const struct policy_spec *policy)
{
	if (policy->subject != SW_KIND_DIR || policy->action != SW_ACTION_BLOCK)
		return;
	findings_add(r->findings, false,
		     "%s: `subject = dir` with `action = block`: a script that changes into a "
		     "neighbour's folder can have it blocked: write `action = deny` unless each "
		     "site has a user of its own who cannot enter the others' folders",
		     where);
}

static void policy_check(struct reader *r, cfg_t *section, struct policy_spec *policy)
{
	const char *where = section_where(r, section);
	bool limits = false;
	size_t i;

	for (i = 0; i < policy->n_limits; i++)
		limits |= !policy->limit[i].warn;
	policy_check_redirect(r, where, policy);
	policy_check_subject(r, where, policy);
	if (policy->action != SW_ACTION_BLOCK && policy->block_ns)
		refuse(r, where,
		       "`block_for` without `action = block`: write that, or remove this");
	if (policy->n_escalate && policy->action != SW_ACTION_BLOCK)
		refuse(r, where, "`escalate` without `action = block`: write that, or remove this");
	if (policy->escalate_within_ns && !policy->n_escalate)
		refuse(r, where,
		       "`escalate_within` without `escalate`: write that, or remove this");
	if (!policy->escalate_within_ns)
		policy->escalate_within_ns = ESCALATE_WITHIN_DEFAULT_NS;
	if (policy->action != SW_ACTION_BLOCK)
		return;
	if (!limits)
		refuse(r, where,
		       "`action = block` without `limits`: write at least one, or "
		       "`action = deny` to close the roads");
	if (!policy->block_ns)
		policy->block_ns = BLOCK_DEFAULT_NS;
}

static void policy_check_name(struct reader *r, const struct policy_spec *policy)
{
	size_t i, length = strlen(policy->name);

	if (!length || length >= SW_NAME_LEN || !is_clean(policy->name))
		refuse(r, policy->where, "a policy's name is text of 1 to %d bytes: write another",
		       SW_NAME_LEN - 1);
	for (i = 0; &r->config->policy[i] != policy; i++)
		if (!strcmp(r->config->policy[i].name, policy->name))
			refuse(r, policy->where,
			       "a second policy \"%s\", the first is at %s: write "
			       "another name",
			       policy->name, r->config->policy[i].where);
}

static struct policy_spec *policy_add(struct reader *r, cfg_t *section)
{
	struct config *config = r->config;
	struct policy_spec *policy;

	if (config->n_policies == SW_POLICIES) {
		refuse(r, section_where(r, section), "one policy too many: there can be %d",
		       SW_POLICIES);
		return NULL;
	}
	policy = &config->policy[config->n_policies++];
	*policy = (struct policy_spec){
		.name = config_copy(r, cfg_title(section)),
		.where = config_copy(r, section_where(r, section)),
		.description = config_copy(r, ""),
		.roads = 1 << SW_ROAD_DIRECT,
		.action = SW_ACTION_DENY,
		.mode = SW_MODE_ENFORCE,
	};
	return policy->name && policy->where ? policy : NULL;
}

static void read_policies(struct reader *r)
{
	size_t i;

	for (i = 0; i < cfg_size(r->file, "policy"); i++) {
		cfg_t *section = cfg_getnsec(r->file, "policy", i);

		r->policy = policy_add(r, section);
		if (!r->policy)
			return;
		policy_check_name(r, r->policy);
		read_keys(r, section, r->policy);
		policy_check(r, section, r->policy);
	}
}

/* A file's sections, and at the top of the main file the settings. */
static cfg_t *file_new(bool is_main)
{
	cfg_opt_t file[OPTS] = { CFG_END() }, exempt[OPTS], policy[OPTS];

	opts_fill(exempt, section_named("exempt"));
	opts_fill(policy, section_named("policy"));
	if (is_main)
		opts_fill(file, section_named("root"));
	opts_add_section(file, "exempt", exempt, 0);
	if (!is_main)
		opts_add_section(file, "policy", policy, CFGF_TITLE | CFGF_NO_TITLE_DUPES);
	return cfg_init(file, CFGF_NONE); /* copies them */
}

static void read_sections(struct reader *r)
{
	read_keys(r, r->file, r->config);
	read_exempt(r);
	if (!r->is_main)
		read_policies(r);
}

static void parse_and_read(struct reader *r, const char *path, char *text, size_t length)
{
	struct text_fault fault = {};
	bool sound = text_lex(text, length, &fault);

	r->open = fault.open;
	r->failed = false;
	/* What the parser meets behind an open brace says more than the brace does. */
	if ((sound || fault.open) && parse(r->file, path, text, tell) && sound)
		return read_sections(r);
	if (r->failed)
		return;
	if (sound) /* libconfuse says nothing of an empty word where a key should be */
		findings_add(r->findings, true, "%s:%d: here is no key: write key = value", path,
			     r->file->line);
	else
		findings_add(r->findings, true, "%s:%u: %s", path, fault.line, fault.what);
	r->failed = true;
}

static int read_file(struct reader *r, const char *path)
{
	_cleanup_(cfg_freep) cfg_t *file = NULL;
	_cleanup_free_ char *text = NULL;
	bool failed_before = r->failed;
	size_t length;
	int error;

	file = file_new(r->is_main);
	error = file ? text_read(path, &text, &length) : -ENOMEM;
	if (error) {
		refuse(r, path, "cannot be read: %s", text_read_error(error));
		return error;
	}
	r->file = file;
	reading = r;
	parse_and_read(r, path, text, length);
	reading = NULL;
	r->file = NULL;
	r->failed |= failed_before;
	return 0;
}

static int is_entry(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

/* In the order of their bytes, whatever the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static void read_policy_file(struct reader *r, const char *dir, const char *name)
{
	_cleanup_free_ char *path = NULL;

	if (fnmatch(POLICY_FILES, name, 0)) {
		findings_add(r->findings, false,
			     "%s/%s: not read: the name of a policy file is NN-name.conf, as in "
			     "30-customers.conf",
			     dir, name);
		return;
	}
	if (asprintf(&path, "%s/%s", dir, name) < 0) {
		path = NULL;
		return refuse(r, dir, "%s", strerror(ENOMEM));
	}
	read_file(r, path);
}

static void read_policy_files(struct reader *r)
{
	const char *main = r->config->path, *slash = strrchr(main, '/');
	_cleanup_free_ char *dir = NULL;
	struct dirent **entry;
	int i, n;

	r->is_main = false;
	if (asprintf(&dir, "%.*sconf.d", slash ? (int)(slash + 1 - main) : 0, main) < 0) {
		dir = NULL;
		return refuse(r, main, "%s", strerror(ENOMEM));
	}
	n = scandir(dir, &entry, is_entry, by_name);
	if (n < 0) {
		if (errno != ENOENT)
			refuse(r, dir, "cannot be read: %s", strerror(errno));
		return;
	}
	for (i = 0; i < n; i++) {
		read_policy_file(r, dir, entry[i]->d_name);
		free(entry[i]);
	}
	free(entry);
}

/* ---- the whole ---- */

static const uint16_t default_ports[] = { 25, 465, 587 };

static void config_freep(struct config **config)
{
	config_free(*config);
}

static struct config *config_new(const char *path)
{
	_cleanup_(config_freep) struct config *config = calloc(1, sizeof(*config));

	if (!config)
		return NULL;
	config->mode = SW_MODE_OBSERVE;
	config->ipv6_prefix = 64;
	config->max_users = 65536;
	config->max_blocks_per_hour = MAX_BLOCKS_DEFAULT;
	config->mail_servers_auto = true;
	config->path = strdup(path);
	config->cgroup = strdup("auto");
	config->pin_dir = strdup(SW_DEFAULT_PIN_DIR);
	config->state_dir = strdup(SW_DEFAULT_STATE_DIR);
	config->policy = calloc(SW_POLICIES, sizeof(*config->policy));
	config->ports = malloc(sizeof(default_ports));
	if (!config->path || !config->cgroup || !config->pin_dir || !config->state_dir ||
	    !config->policy || !config->ports)
		return NULL;
	memcpy(config->ports, default_ports, sizeof(default_ports));
	config->n_ports = ARRAY_SIZE(default_ports);
	return take_pointer(&config);
}

/* The default of a list that the main file does not name. */
static void words_default(struct reader *r, struct words *words, const char *word)
{
	const char *path = r->config->path;

	if (words->where)
		return;
	words->where = config_copy(r, path);
	if (word && !words_append(words, word, path))
		refuse(r, path, "%s", strerror(ENOMEM));
}

static void site_roots_default(struct reader *r, struct words *words)
{
	static const char *const roots[] = { "/home/*/public_html", "/var/www/*",
					     "/var/www/vhosts/*" };
	bool named = words->where;
	size_t i;

	words_default(r, words, NULL);
	for (i = 0; !named && i < ARRAY_SIZE(roots); i++)
		if (!words_append(words, roots[i], r->config->path))
			refuse(r, r->config->path, "%s", strerror(ENOMEM));
}

int config_load(const char *path, struct findings *findings, struct config **ret)
{
	_cleanup_(config_freep) struct config *config = config_new(path);
	struct reader r = { .config = config, .findings = findings, .is_main = true };
	int error;

	if (!config) {
		findings_add(findings, true, "%s: cannot be read: %s", path, strerror(ENOMEM));
		return -ENOMEM;
	}
	error = read_file(&r, path);
	if (error)
		return error;
	words_default(&r, &config->interfaces, "auto");
	words_default(&r, &config->relays, "private");
	site_roots_default(&r, &config->site_roots);
	words_default(&r, &config->exempt_users, "root");
	words_default(&r, &config->exempt_groups, NULL);
	words_default(&r, &config->exempt_units, NULL);
	words_default(&r, &config->exempt_destinations, NULL);
	read_policy_files(&r);
	if (r.failed)
		return -EINVAL;
	*ret = take_pointer(&config);
	return 0;
}

static void policy_clear(struct policy_spec *policy)
{
	free(policy->name);
	free(policy->where);
	free(policy->description);
	words_clear(&policy->users);
	words_clear(&policy->groups);
	words_clear(&policy->units);
	words_clear(&policy->dirs);
}

void config_free(struct config *config)
{
	size_t i;

	if (!config)
		return;
	for (i = 0; i < config->n_policies; i++)
		policy_clear(&config->policy[i]);
	words_clear(&config->interfaces);
	words_clear(&config->relays);
	words_clear(&config->site_roots);
	words_clear(&config->exempt_users);
	words_clear(&config->exempt_groups);
	words_clear(&config->exempt_units);
	words_clear(&config->exempt_destinations);
	free(config->policy);
	free(config->ports);
	free(config->path);
	free(config->cgroup);
	free(config->pin_dir);
	free(config->state_dir);
	free(config);
}

/* Says nothing of what is broken: who needs only the paths goes on. */
static void tell_nothing(cfg_t *cfg, const char *format, va_list args)
{
	(void)cfg, (void)format, (void)args;
}

static char *path_or(cfg_t *file, const char *key, const char *otherwise)
{
	const char *path = file && cfg_size(file, key) ? cfg_getstr(file, key) : NULL;

	return strdup(path && *path == '/' && strlen(path) <= PATH_LONGEST ? path : otherwise);
}

static void parse_lines(cfg_t *file, const char *path, char *text)
{
	char *line, *rest;

	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		if (strstr(line, "_dir"))
			parse(file, path, line, tell_nothing);
}

/* Line by line: what is broken in one does not hide the others, those behind it neither. */
static void parse_sound_lines(cfg_t *file, const char *path, char *text, char *end)
{
	struct text_fault fault;
	char *broken;
	int i;

	for (i = 0; i < FAULTS_MOST && text && text < end; i++) {
		text_lex(text, end - text, &fault);
		broken = text + strlen(text); /* cut there, or the end */
		parse_lines(file, path, text);
		text = broken < end ? memchr(broken + 1, '\n', end - broken - 1) : NULL;
	}
}

int config_paths(const char *path, char **ret_pin_dir, char **ret_state_dir)
{
	_cleanup_(cfg_freep) cfg_t *file = file_new(true);
	_cleanup_free_ char *text = NULL, *pin_dir = NULL, *state_dir = NULL;
	struct findings untold = {};
	struct reader r = { .file = file, .findings = &untold };
	size_t length;

	reading = &r;
	if (file && !text_read(path, &text, &length))
		parse_sound_lines(file, path, text, text + length);
	reading = NULL;
	findings_clear(&untold);
	pin_dir = path_or(file, "pin_dir", SW_DEFAULT_PIN_DIR);
	state_dir = path_or(file, "state_dir", SW_DEFAULT_STATE_DIR);
	if (!pin_dir || !state_dir)
		return -ENOMEM;
	*ret_pin_dir = take_pointer(&pin_dir);
	*ret_state_dir = take_pointer(&state_dir);
	return 0;
}
