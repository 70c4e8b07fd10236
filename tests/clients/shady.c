// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connects once and hides who it is.
 *
 *	shady [-u] [-n NAME] [-d DEPTH [-l LENGTH]] [-w MS] ADDRESS [PORT]
 *
 * -u removes its own executable before; -n is what it calls itself; -d makes so many folders, one
 * in the other, with names of LENGTH letters (1), and goes into the last. -w waits afterwards,
 * else it is gone at once. Tells "admitted" or "refused"; ends with 1 if something else happened.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what)
{
	fprintf(stderr, "shady: %s: %s\n", what, strerror(errno));
	_exit(1);
}

static void go_down(int depth, int length)
{
	char name[256] = "";

	if (length < 1 || length > 255)
		length = 255;
	memset(name, 'd', length);
	while (depth-- > 0)
		if ((mkdir(name, 0755) < 0 && errno != EEXIST) || chdir(name) < 0)
			fail("cannot go down");
}

static void remove_myself(void)
{
	char path[4096];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (length < 0)
		fail("/proc/self/exe");
	path[length] = '\0';
	if (unlink(path) < 0)
		fail(path);
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int c, depth = 0, length = 1, wait_ms = 0, fd, error;

	while ((c = getopt(argc, argv, "un:d:l:w:")) != -1) {
		if (c == 'u')
			remove_myself();
		else if (c == 'n')
			prctl(PR_SET_NAME, optarg);
		else if (c == 'd')
			depth = atoi(optarg);
		else if (c == 'l')
			length = atoi(optarg);
		else if (c == 'w')
			wait_ms = atoi(optarg);
		else
			return 1;
	}
	if (optind >= argc || inet_pton(AF_INET, argv[optind], &to.sin_addr) != 1)
		return 1;
	to.sin_port = htons(optind + 1 < argc ? atoi(argv[optind + 1]) : 25);
	go_down(depth, length);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	error = connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 ? errno : 0;
	if (error && error != EPERM) {
		errno = error;
		fail("connect");
	}
	dprintf(STDOUT_FILENO, error ? "refused\n" : "admitted\n");
	nanosleep(&(struct timespec){ wait_ms / 1000, wait_ms % 1000 * 1000000L }, NULL);
	_exit(0);
}
