// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * smtpwall test --as USER: what this user can really reach, and who answers if not. Tried in
 * children that become the user, against an outside of our own. The attempts are real: they are
 * counted, and use up limits.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "cli.h"
#include "log.h"
#include "quantity.h"
#include "sink.h"
#include "view.h"
#include "writer.h"

/* For a handshake on this machine: the first SYN may go before the link is ready; the next goes
 * after a second. */
#define PATIENCE_MS 3500

struct trial {
	const char *name;
	const char *address;
	uint16_t port;
	int road; /* enum sw_road, or -1: no mail */
};

static const struct trial trials[] = {
	{ "IPv4", SINK_V4, 25, SW_ROAD_DIRECT },
	{ "IPv6", SINK_V6, 25, SW_ROAD_DIRECT },
	{ "IPv4 by an IPv6 socket", "::ffff:" SINK_V4, 25, SW_ROAD_DIRECT },
	{ "submission", SINK_V4, 587, SW_ROAD_SUBMISSION },
	{ "the mail server of this machine", "127.0.0.1", 25, SW_ROAD_RELAY },
	{ "something else than mail", SINK_V4, 443, -1 },
};

static const uint16_t sink_ports[] = { 25, 587, 443 };

/* ---- in the child ---- */

static int address_of(const struct trial *trial, struct sockaddr_storage *ret, socklen_t *ret_size)
{
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)ret;
	struct sockaddr_in *v4 = (struct sockaddr_in *)ret;

	memset(ret, 0, sizeof(*ret));
	if (inet_pton(AF_INET, trial->address, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(trial->port);
		*ret_size = sizeof(*v4);
		return AF_INET;
	}
	inet_pton(AF_INET6, trial->address, &v6->sin6_addr);
	v6->sin6_family = AF_INET6;
	v6->sin6_port = htons(trial->port);
	*ret_size = sizeof(*v6);
	return AF_INET6;
}

/* 0 or an errno. */
static int try_connect(const struct trial *trial)
{
	struct sockaddr_storage to;
	socklen_t size, error_size = sizeof(int);
	int family = address_of(trial, &to, &size), error = 0;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct pollfd wait = { .fd = fd, .events = POLLOUT };

	if (fd < 0)
		return errno;
	if (connect(fd, (struct sockaddr *)&to, size) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	if (poll(&wait, 1, PATIENCE_MS) == 0)
		return ETIMEDOUT;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size);
	return error;
}

/* As after a login: group, groups, user. */
static void become(const struct passwd *user)
{
	if (initgroups(user->pw_name, user->pw_gid) < 0 ||
	    setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
	    setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0)
		_exit(255);
}

/* The errno of the attempt, 0; or -errno if it could not be made. */
static int run_as(const struct passwd *user, const struct trial *trial)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		become(user);
		_exit(try_connect(trial));
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -errno;
	if (!WIFEXITED(status) || WEXITSTATUS(status) == 255)
		return -EPERM;
	return WEXITSTATUS(status);
}

/* ---- who answered? ---- */

static uint64_t refusals(const struct view *view, uint32_t uid, int road)
{
	const struct sw_subject subject = { .kind = SW_KIND_UID, .uid = uid };
	struct sw_ledger ledger;

	if (road < 0 || maps_ledger_get(view->maps, &subject, &ledger) < 0)
		return 0;
	return (&ledger.direct + road)->refused;
}

static const char *who_answered(int error, bool refused_by_us, const struct trial *trial)
{
	bool v6 = strchr(trial->address, ':');

	switch (error) {
	case 0:
		return NULL;
	case EPERM:
	case EACCES:
		if (refused_by_us)
			return v6 ? "smtpwall (connect6)" : "smtpwall (connect4)";
		return "another program on connect(), or a firewall";
	case ECONNREFUSED:
		return trial->road == SW_ROAD_RELAY ? "nobody listens there, or a firewall rejects"
						    : "a firewall rejects";
	case ETIMEDOUT:
		return refused_by_us ? "smtpwall (socket_out)" : "a firewall drops the packets";
	default:
		return "the network";
	}
}

static void write_trial(struct writer *w, const struct trial *trial, int error, const char *by)
{
	char destination[80];

	snprintf(destination, sizeof(destination),
		 strchr(trial->address, ':') ? "[%s]:%u" : "%s:%u", trial->address, trial->port);
	writer_object(w, NULL);
	writer_text(w, "name", trial->name);
	writer_text(w, "destination", destination);
	writer_text(w, "road", trial->road < 0 ? NULL : road_name(trial->road));
	writer_flag(w, "allowed", error == 0);
	writer_text(w, "error", error ? strerrorname_np(error) : NULL);
	writer_text(w, "by", by);
	writer_note(w, "result", error ? strerror(error) : "allowed");
	writer_end(w);
}

static int run_trials(const struct view *view, const struct passwd *user, struct writer *w)
{
	uint64_t before;
	int error;

	writer_list(w, "tests");
	for (size_t i = 0; i < sizeof(trials) / sizeof(trials[0]); i++) {
		const struct trial *trial = &trials[i];

		before = refusals(view, user->pw_uid, trial->road);
		error = run_as(user, trial);
		if (error < 0)
			return log_errno(error, "cannot try as '%s'", user->pw_name);
		write_trial(w, trial, error,
			    who_answered(error, refusals(view, user->pw_uid, trial->road) > before,
					 trial));
	}
	writer_end(w);
	return 0;
}

static int test_as(const struct cli *cli, const char *name)
{
	static const struct column columns[] = {
		{ "TRIED", "name", FORM_TEXT },	    { "DESTINATION", "destination", FORM_TEXT },
		{ "ROAD", "road", FORM_TEXT },	    { "RESULT", "result", FORM_TEXT },
		{ "ANSWERED BY", "by", FORM_TEXT },
	};
	const struct passwd *user = getpwnam(name);
	_cleanup_writer_ struct writer *w = NULL;
	_cleanup_view_ struct view view = {};
	struct sink *sink;
	int r;

	if (!user) {
		log_error("there is no user '%s'", name);
		return NO_SUBJECT;
	}
	if (view_open(cli, &view) < 0 ||
	    sink_open(sink_ports, sizeof(sink_ports) / sizeof(sink_ports[0]), &sink) < 0)
		return FAILED;
	w = writer_new(cli->json);
	writer_text(w, "as", name);
	writer_text(w, "mode", mode_name(view.mode));
	r = run_trials(&view, user, w);
	sink_close(sink);
	if (r < 0)
		return FAILED;
	writer_table(w, "tests", columns, sizeof(columns) / sizeof(columns[0]), writer_width(),
		     stdout);
	writer_say(w, "These attempts were real: they are counted, and used up limits.");
	return writer_finish(w, false) < 0 ? FAILED : DONE;
}

int verb_test(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "as", required_argument, NULL, 'a' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	const char *name = NULL;
	int c;

	while ((c = cli_option(cli, argc, argv, "j", options)) != -1) {
		if (c == '?')
			return cli_usage(cli);
		name = optarg;
	}
	if (!name || optind != argc)
		return cli_usage(cli);
	return test_as(cli, name);
}
