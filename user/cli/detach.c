// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall detach: stops the daemon and removes everything from the kernel. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <time.h>

#include "attach.h"
#include "cleanup.h"
#include "cli.h"
#include "log.h"
#include "maps.h"

#define PATIENCE_NS 15000000000ULL

/* The daemon holds the lock of pin_dir for its life. No directory: no daemon. */
static bool daemon_runs(const char *pin_dir)
{
	_cleanup_close_ int fd = open(pin_dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);

	return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

static pid_t daemon_pid(const char *pin_dir)
{
	struct sw_control control;
	struct maps *maps;
	pid_t pid = 0;

	if (maps_open(pin_dir, &maps) < 0)
		return 0;
	if (maps_control(maps, &control) == 0)
		pid = (pid_t)control.daemon_pid;
	maps_close(maps);
	return pid > 1 ? pid : 0;
}

/* One that was stopped (SIGSTOP) must go on to end. */
static int stop_daemon(const char *pin_dir)
{
	const struct timespec pause = { .tv_nsec = 20000000 };
	uint64_t deadline = boot_ns() + PATIENCE_NS;
	pid_t pid;

	if (!daemon_runs(pin_dir))
		return 0;
	pid = daemon_pid(pin_dir);
	if (!pid) {
		log_error("smtpwalld holds '%s', but its pid is not known: stop it first", pin_dir);
		return -EBUSY;
	}
	if (kill(pid, SIGTERM) < 0 && errno != ESRCH)
		return log_errno(-errno, "cannot stop smtpwalld (pid %d)", pid);
	kill(pid, SIGCONT);
	while (daemon_runs(pin_dir)) {
		if (boot_ns() > deadline) {
			log_error("smtpwalld (pid %d) has not ended within 15 s: nothing was "
				  "removed",
				  pid);
			return -EBUSY;
		}
		nanosleep(&pause, NULL);
	}
	return 0;
}

int verb_detach(struct cli *cli, int argc, char **argv)
{
	if (cli_no_arguments(cli, argc, argv) != DONE)
		return USAGE;
	if (stop_daemon(cli->pin_dir) < 0 || detach_all(cli->pin_dir) < 0)
		return FAILED;
	if (!cli->json)
		puts("Nothing of smtpwall is left in the kernel: outbound SMTP is neither counted "
		     "nor limited.");
	return DONE;
}
