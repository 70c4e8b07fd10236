// SPDX-License-Identifier: GPL-2.0-or-later
#include "conflicts.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "hook.h"

struct found {
	const uint16_t *ports;
	size_t n_ports;
	struct conflict *conflict;
	size_t n;
	bool no_memory;
};

__attribute__((__format__(__printf__, 3, 4))) static void add(struct found *found,
							       const char *where,
							       const char *format, ...)
{
	struct conflict *grown = reallocarray(found->conflict, found->n + 1, sizeof(*grown));
	va_list args;

	if (!grown) {
		found->no_memory = true;
		return;
	}
	found->conflict = grown;
	grown += found->n++;
	snprintf(grown->where, sizeof(grown->where), "%s", where);
	va_start(args, format);
	vsnprintf(grown->what, sizeof(grown->what), format, args);
	va_end(args);
}

/* ---- asking the firewall's own tool ---- */

/* What a program prints; NULL: it is not there or fails. No shell, no environment of the caller. */
static char *output_of(const char *path, char *const argv[])
{
	static char *const environment[] = { "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
					     NULL };
	posix_spawn_file_actions_t actions;
	_cleanup_fclose_ FILE *in = NULL;
	char *text = NULL;
	size_t size = 0;
	int fds[2], status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return NULL;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	status = posix_spawn(&pid, path, &actions, NULL, argv, environment);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	in = fdopen(fds[0], "r");
	if (status || !in || getdelim(&text, &size, '\0', in) < 0) {
		free(text);
		text = NULL;
	}
	if (!status)
		waitpid(pid, NULL, 0);
	return text;
}

/* ---- nftables: its JSON ---- */

static bool is_ours(const struct found *found, int64_t low, int64_t high, uint16_t *ret)
{
	for (size_t i = 0; i < found->n_ports; i++) {
		if (found->ports[i] < low || found->ports[i] > high)
			continue;
		*ret = found->ports[i];
		return true;
	}
	return false;
}

/* A port, {"range": [a, b]} or {"set": [...]}: does it hold one of ours? */
static bool holds_port(const struct found *found, json_object *right, uint16_t *ret)
{
	json_object *inner;

	if (json_object_is_type(right, json_type_int))
		return is_ours(found, json_object_get_int64(right), json_object_get_int64(right),
			       ret);
	if (json_object_object_get_ex(right, "range", &inner) &&
	    json_object_array_length(inner) == 2)
		return is_ours(found, json_object_get_int64(json_object_array_get_idx(inner, 0)),
			       json_object_get_int64(json_object_array_get_idx(inner, 1)), ret);
	if (!json_object_object_get_ex(right, "set", &inner) ||
	    !json_object_is_type(inner, json_type_array))
		return false;
	for (size_t i = 0; i < json_object_array_length(inner); i++)
		if (holds_port(found, json_object_array_get_idx(inner, i), ret))
			return true;
	return false;
}

static json_object *member(json_object *object, const char *key)
{
	json_object *value = NULL;

	if (json_object_is_type(object, json_type_object))
		json_object_object_get_ex(object, key, &value);
	return value;
}

static const char *text_of(json_object *object, const char *key)
{
	json_object *value = member(object, key);

	return value ? json_object_get_string(value) : "?";
}

static bool matches_port(const struct found *found, json_object *expression, uint16_t *ret)
{
	json_object *match = member(expression, "match");
	json_object *payload = member(member(match, "left"), "payload");

	return payload && strcmp(text_of(payload, "field"), "dport") == 0 &&
	       strcmp(text_of(payload, "protocol"), "udp") != 0 &&
	       holds_port(found, member(match, "right"), ret);
}

static const char *verdict_of(json_object *expression)
{
	static const struct {
		const char *key, *what;
	} verdicts[] = {
		{ "drop", "drops" },	     { "reject", "rejects" }, { "redirect", "redirects" },
		{ "dnat", "redirects (dnat)" }, { "accept", "accepts" }, { "jump", "jumps on" },
		{ "queue", "queues" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++)
		if (json_object_is_type(expression, json_type_object) &&
		    json_object_object_get_ex(expression, verdicts[i].key, NULL))
			return verdicts[i].what;
	return NULL;
}

static void look_at_rule(struct found *found, json_object *rule)
{
	json_object *list = member(rule, "expr");
	const char *verdict = NULL;
	uint16_t port = 0;
	bool ours = false;
	char where[128];

	if (!json_object_is_type(list, json_type_array))
		return;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *expression = json_object_array_get_idx(list, i);

		ours = ours || matches_port(found, expression, &port);
		verdict = verdict ? verdict : verdict_of(expression);
	}
	if (!ours)
		return;
	snprintf(where, sizeof(where), "nftables %s %s %s", text_of(rule, "family"),
		 text_of(rule, "table"), text_of(rule, "chain"));
	add(found, where, "%s tcp port %u", verdict ? verdict : "matches", port);
}

static void look_at_nftables(struct found *found)
{
	static char *const argv[] = { "nft", "-j", "list", "ruleset", NULL };
	_cleanup_free_ char *text = output_of("/usr/sbin/nft", argv);
	json_object *root = text ? json_tokener_parse(text) : NULL;
	json_object *list = member(root, "nftables"), *rule;

	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		rule = member(json_object_array_get_idx(list, i), "rule");
		if (rule)
			look_at_rule(found, rule);
	}
	json_object_put(root);
}

/* ---- iptables: rules that nftables shows only as a foreign match, or that are legacy ---- */

/* "25", "25,465,587", "1:1024" */
static bool list_holds_port(const struct found *found, char *list, uint16_t *ret)
{
	char *save = NULL, *item;
	int low, high, n;

	for (item = strtok_r(list, ",", &save); item; item = strtok_r(NULL, ",", &save)) {
		n = sscanf(item, "%d:%d", &low, &high);
		if (n >= 1 && is_ours(found, low, n == 2 ? high : low, ret))
			return true;
	}
	return false;
}

static void look_at_line(struct found *found, const char *tool, char *line)
{
	char *save = NULL, *word, *chain = NULL, *target = NULL;
	uint16_t port = 0;
	bool ours = false;
	char where[128];

	for (word = strtok_r(line, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		if (strcmp(word, "-A") == 0)
			chain = strtok_r(NULL, " ", &save);
		else if (strcmp(word, "-j") == 0)
			target = strtok_r(NULL, " ", &save);
		else if (strcmp(word, "--dport") == 0 || strcmp(word, "--dports") == 0)
			ours = (word = strtok_r(NULL, " ", &save)) &&
			       list_holds_port(found, word, &port);
	}
	if (!ours || !chain)
		return;
	snprintf(where, sizeof(where), "%s %s", tool, chain);
	add(found, where, "has a rule for tcp port %u (-j %s)", port, target ? target : "?");
}

static void look_at_iptables(struct found *found, char *tool)
{
	char *const argv[] = { tool, NULL };
	_cleanup_free_ char *text = NULL;
	char path[64], *save = NULL, *line;

	snprintf(path, sizeof(path), "/usr/sbin/%s", tool);
	text = output_of(path, argv);
	for (line = text ? strtok_r(text, "\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\n", &save))
		if (strncmp(line, "-A ", 3) == 0)
			look_at_line(found, tool, line);
}

/* ---- programs beside ours ---- */

static bool is_our_name(const char *name)
{
	for (size_t i = 0; i < CGROUP_HOOKS; i++)
		if (strcmp(name, cgroup_hooks[i].program) == 0)
			return true;
	return false;
}

static void look_at_program(struct found *found, const char *cgroup, uint32_t id)
{
	_cleanup_close_ int fd = bpf_prog_get_fd_by_id(id);
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);
	char where[128];

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0 || is_our_name(info.name))
		return;
	snprintf(where, sizeof(where), "cgroup %s", cgroup);
	add(found, where, "runs another program too: '%s' (id %u)", info.name, id);
}

static void look_at_cgroup(struct found *found, const char *cgroup)
{
	_cleanup_close_ int fd = open(cgroup, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	uint32_t ids[64], n;

	for (size_t i = 0; fd >= 0 && i < CGROUP_HOOKS; i++) {
		n = ARRAY_SIZE(ids);
		if (bpf_prog_query(fd, cgroup_hooks[i].type, 0, NULL, ids, &n) < 0)
			continue;
		for (uint32_t j = 0; j < n; j++)
			look_at_program(found, cgroup, ids[j]);
	}
}

int conflicts_find(const char *cgroup, const uint16_t *ports, size_t n_ports,
		   struct conflict **ret, size_t *ret_n)
{
	struct found found = { .ports = ports, .n_ports = n_ports };

	look_at_nftables(&found);
	look_at_iptables(&found, "iptables-save");
	look_at_iptables(&found, "ip6tables-save");
	look_at_cgroup(&found, cgroup);
	if (found.no_memory) {
		free(found.conflict);
		return -ENOMEM;
	}
	*ret = found.conflict;
	*ret_n = found.n;
	return 0;
}
