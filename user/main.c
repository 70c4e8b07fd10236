// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwalld: options, and the way into the background. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <smtpwall/names.h>

#include "cleanup.h"
#include "daemon.h"
#include "log.h"

enum { EXIT_USAGE = 2 };

static const struct option options[] = {
	{ "config", required_argument, NULL, 'c' },
	{ "foreground", no_argument, NULL, 'f' },
	{ "check", no_argument, NULL, 'n' },
	{ "restore-only", no_argument, NULL, 'r' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{},
};

static const char usage[] =
	"usage: smtpwalld [-c FILE] [--foreground] [--check] [--restore-only]\n"
	"\n"
	"Counts and limits outbound mail in the kernel, and keeps the gate as the machine "
	"changes.\n"
	"Stopping it leaves the gate standing; `smtpwall detach` removes it. SIGHUP reloads.\n"
	"\n"
	"  -c, --config FILE  the configuration (" SW_DEFAULT_CONFIG ")\n"
	"      --foreground   stay in the foreground, log to stderr or the journal\n"
	"      --check        check the configuration, change nothing\n"
	"      --restore-only put the gate up with the blocks from before a reboot, and end\n"
	"  -h, --help         this\n"
	"      --version      the version\n";

/* ---- --check ---- */

/* As compilers write them, so that editors find the line. */
static void print_finding(bool error, const char *finding)
{
	fprintf(stderr, "%s%s\n", finding, error ? "" : " (warning)");
}

static int check(const char *path)
{
	struct ruleset *ruleset;
	struct config *config;
	int r = daemon_load(path, NULL, print_finding, &config, &ruleset);

	if (r < 0)
		return EXIT_FAILURE;
	printf("%s: good, %zu %s\n", path, config->n_policies,
	       config->n_policies == 1 ? "policy" : "policies");
	ruleset_free(ruleset);
	config_free(config);
	return EXIT_SUCCESS;
}

/* ---- into the background ---- */

static void ready_foreground(void *userdata)
{
	(void)userdata;
}

/* A file that stderr was sent to goes on as the log; a terminal or pipe is let go. */
static void let_go(void)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct stat st;

	log_background();
	if (null < 0)
		return;
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (fstat(STDERR_FILENO, &st) < 0 || !S_ISREG(st.st_mode))
		dup2(null, STDERR_FILENO);
}

static void ready_background(void *userdata)
{
	int *up = userdata;
	ssize_t n;

	if (chdir("/") < 0)
		log_errno(-errno, "cannot leave the working directory");
	let_go();
	n = write(*up, "", 1);
	(void)n; /* the parent may have been killed: the gate stands all the same */
	close(*up);
	*up = -1;
}

static int run_child(const char *path, int up)
{
	setsid();
	return daemon_run(path, ready_background, &up) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The child tells of its failures on the terminal that both still have. */
static int await_child(pid_t child, int up)
{
	char byte;
	ssize_t n;
	int status;

	do
		n = read(up, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		return EXIT_SUCCESS;
	if (waitpid(child, &status, 0) < 0)
		return EXIT_FAILURE;
	if (WIFSIGNALED(status))
		log_error("smtpwalld was killed by signal %d before it was up", WTERMSIG(status));
	return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}

static int run_background(const char *path)
{
	_cleanup_close_ int up = -1;
	int ends[2];
	pid_t child;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return log_errno(-errno, "cannot make a pipe") ? EXIT_FAILURE : EXIT_SUCCESS;
	child = fork();
	if (child == 0) {
		close(ends[0]);
		return run_child(path, ends[1]);
	}
	up = ends[0];
	close(ends[1]);
	if (child < 0)
		return log_errno(-errno, "cannot fork") ? EXIT_FAILURE : EXIT_SUCCESS;
	return await_child(child, up);
}

/*
 * The working directory is left, and others read the path from the map `control`. Links stay:
 * conf.d is looked for beside the file that was named.
 */
static int absolute_path(const char *path, char **ret)
{
	_cleanup_free_ char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
	int r;

	if (path[0] != '/' && !here)
		return log_errno(-errno, "cannot find the working directory of '%s'", path);
	r = asprintf(ret, "%s%s%s", here ? here : "", here ? "/" : "", path);
	return r < 0 ? log_errno(-ENOMEM, "cannot start") : 0;
}

/* Whoever started us may have closed them: what we open must not take their place. */
static void open_standard_streams(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	_cleanup_free_ char *absolute = NULL;
	const char *path = SW_DEFAULT_CONFIG;
	bool foreground = false, only_check = false, only_restore = false;
	int c;

	open_standard_streams();
	umask(077);
	log_open("smtpwalld");
	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) >= 0) {
		switch (c) {
		case 'c':
			path = optarg;
			break;
		case 'f':
			foreground = true;
			break;
		case 'n':
			only_check = true;
			break;
		case 'r':
			only_restore = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return EXIT_SUCCESS;
		case 'V':
			puts("smtpwalld " SW_VERSION);
			return EXIT_SUCCESS;
		default:
			fputs(usage, stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "smtpwalld: unexpected '%s'\n%s", argv[optind], usage);
		return EXIT_USAGE;
	}
	if (only_check)
		return check(path);
	if (geteuid() != 0) {
		log_error("must run as root");
		return EXIT_FAILURE;
	}
	if (absolute_path(path, &absolute) < 0)
		return EXIT_FAILURE;
	path = absolute;
	if (only_restore)
		return daemon_restore(path) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	if (foreground)
		return daemon_run(path, ready_foreground, NULL) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	return run_background(path);
}
