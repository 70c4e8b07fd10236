// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall reload: checks the configuration, then has the daemon take it, and waits. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "cli.h"
#include "log.h"
#include "view.h"

#define PATIENCE_NS 10000000000ULL

/* -ETIMEDOUT: no answer. Else what the daemon answered. */
static int wait_for_answer(struct maps *maps, const struct sw_control *before)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	uint64_t deadline = boot_ns() + PATIENCE_NS;
	struct sw_control now;
	int r;

	while (boot_ns() < deadline) {
		nanosleep(&pause, NULL);
		r = maps_control(maps, &now);
		if (r < 0)
			return r;
		if (now.reloads != before->reloads)
			return -(int)now.reload_error;
	}
	return -ETIMEDOUT;
}

static int reload(const struct view *view)
{
	pid_t pid = (pid_t)view->control.daemon_pid;
	int r;

	if (!maps_daemon_runs(view->maps) || pid <= 1) {
		log_error("smtpwalld is not running; when it starts it reads the configuration");
		return FAILED;
	}
	if (kill(pid, SIGHUP) < 0) {
		log_errno(-errno, "cannot signal smtpwalld (pid %d)", pid);
		return FAILED;
	}
	r = wait_for_answer(view->maps, &view->control);
	if (r == -ETIMEDOUT)
		log_error("smtpwalld (pid %d) has not answered within 10 s", pid);
	else if (r < 0)
		log_errno(r, "smtpwalld refused the configuration and keeps the old one (its log "
			     "says more)");
	return r < 0 ? FAILED : DONE;
}

int verb_reload(struct cli *cli, int argc, char **argv)
{
	_cleanup_view_ struct view view = {};
	size_t policies = 0;
	int r;

	if (cli_no_arguments(cli, argc, argv) != DONE)
		return USAGE;
	if (view_open(cli, &view) < 0)
		return FAILED;
	if (config_check(*view.control.config ? view.control.config : cli->config, &policies) < 0)
		return FAILED;
	r = reload(&view);
	if (r == DONE && !cli->json)
		printf("reloaded: %zu policies\n", policies);
	return r;
}
