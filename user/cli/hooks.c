// SPDX-License-Identifier: GPL-2.0-or-later
#include "hooks.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <limits.h>
#include <net/if.h>
#include <string.h>

#include <smtpwall/names.h>

#include "hook.h"
#include "ifaces.h"
#include "log.h"

struct hooks {
	struct hook *hook;
	size_t n;
};

static struct hook *add(struct hooks *hooks, const char *name)
{
	struct hook *grown;

	grown = reallocarray(hooks->hook, hooks->n + 1, sizeof(*grown));
	if (!grown)
		return NULL;
	hooks->hook = grown;
	grown += hooks->n++;
	*grown = (struct hook){ .name = name };
	return grown;
}

/* A link whose cgroup or interface went away is attached to nothing. */
static bool has_link(const char *pin_dir, const char *pin)
{
	char path[PATH_MAX];
	_cleanup_close_ int link = -1;

	snprintf(path, sizeof(path), "%s/%s", pin_dir, pin);
	link = bpf_obj_get(path);
	return link >= 0 && link_lives(link);
}

static int find_cgroup_hooks(const struct cli *cli, const struct view *view, struct hooks *hooks)
{
	struct hook *hook;
	size_t i;

	for (i = 0; i < CGROUP_HOOKS; i++) {
		hook = add(hooks, cgroup_hooks[i].program);
		if (!hook)
			return -ENOMEM;
		snprintf(hook->where, sizeof(hook->where), "%s", view->control.cgroup);
		if (has_link(cli->pin_dir, cgroup_hooks[i].pin))
			hook->kind = "link";
	}
	return 0;
}

/* NULL: nothing of ours is there. */
static const char *egress_kind(const char *pin_dir, unsigned int ifindex)
{
	char pin[64];

	snprintf(pin, sizeof(pin), SW_PIN_EGRESS, ifindex);
	if (has_link(pin_dir, pin))
		return "tcx";
	return clsact_is_attached(ifindex) ? "clsact" : NULL;
}

static bool has_egress(const struct hooks *hooks, const char *where)
{
	size_t i;

	for (i = 0; i < hooks->n; i++)
		if (strcmp(hooks->hook[i].name, "egress") == 0 &&
		    strcmp(hooks->hook[i].where, where) == 0)
			return true;
	return false;
}

/* `wanted`: also if nothing is there. */
static int find_egress(const char *pin_dir, unsigned int ifindex, bool wanted, struct hooks *hooks)
{
	const char *kind = egress_kind(pin_dir, ifindex);
	char name[IF_NAMESIZE];
	struct hook *hook;

	if (!if_indextoname(ifindex, name) || has_egress(hooks, name) || !(kind || wanted))
		return 0;
	hook = add(hooks, "egress");
	if (!hook)
		return -ENOMEM;
	snprintf(hook->where, sizeof(hook->where), "%s", name);
	hook->kind = kind;
	return 0;
}

static int find_outside(const struct cli *cli, const struct config *config, struct hooks *hooks)
{
	_cleanup_free_ unsigned int *ifindex = NULL;
	size_t i, n = 0;
	int r = 0;

	if (ifaces_outside(config, &ifindex, &n) < 0)
		return 0; /* told; what is pinned is shown all the same */
	for (i = 0; r == 0 && i < n; i++)
		r = find_egress(cli->pin_dir, ifindex[i], true, hooks);
	return r;
}

static int find_others(const struct cli *cli, struct hooks *hooks)
{
	struct if_nameindex *all = if_nameindex(), *i;
	int r = 0;

	if (!all)
		return -errno;
	for (i = all; r == 0 && i->if_index; i++)
		r = find_egress(cli->pin_dir, i->if_index, false, hooks);
	if_freenameindex(all);
	return r;
}

int hooks_find(const struct cli *cli, const struct view *view, const struct config *config,
	       struct hook **ret, size_t *ret_n)
{
	struct hooks hooks = {};
	int r;

	r = find_cgroup_hooks(cli, view, &hooks);
	if (r == 0 && config)
		r = find_outside(cli, config, &hooks);
	if (r == 0)
		r = find_others(cli, &hooks);
	if (r < 0) {
		free(hooks.hook);
		return log_errno(r, "cannot find out what is attached");
	}

	*ret = hooks.hook;
	*ret_n = hooks.n;
	return 0;
}
