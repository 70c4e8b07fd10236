// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Many sessions of one process, and what becomes of them.
 *
 *	crowd -l PORT			listens, gives back what it gets; tells when it is quiet:
 *					accepted 1000 reset 12 ended 0
 *	crowd [-n N] [-k] [-o PORT] [-t SECONDS] ADDRESS PORT
 *
 * Opens N sessions, and one to the port -o at the same address; with -k one more, which is to be
 * refused. Then waits until all N have ended, or SECONDS, and tells:
 *
 *	open 1000
 *	refused 1
 *	ended 1000 aborted 1000 reset 0 closed 0 slowest_ms 17
 *	other lives
 *
 * The time is from the attempt of -k, else from the first that ended, to the last that ended.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 4000
#define MSEC 1000000ULL

static unsigned long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

static void many_files(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- the server ---- */

static int listen_on(const char *port)
{
	struct sockaddr_in6 here = { .sin6_family = AF_INET6, .sin6_port = htons(atoi(port)) };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&here, sizeof(here)) < 0 || listen(fd, MOST) < 0) {
		perror("crowd: listen");
		exit(EXIT_FAILURE);
	}
	return fd;
}

static void watch(int epoll, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static int serve(const char *port)
{
	unsigned long accepted = 0, reset = 0, ended = 0;
	int listener = listen_on(port), epoll = epoll_create1(0), fd, n;
	struct epoll_event event;
	bool changed = false;
	char text[4096];
	ssize_t got;

	for (watch(epoll, listener);;) {
		n = epoll_wait(epoll, &event, 1, changed ? 20 : -1);
		if (n < 0 && errno != EINTR)
			return EXIT_FAILURE;
		if (n == 0) {
			changed = false;
			printf("accepted %lu reset %lu ended %lu\n", accepted, reset, ended);
			fflush(stdout);
		}
		if (n == 1 && event.data.fd == listener) {
			while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
				accepted++;
				watch(epoll, fd);
			}
		} else if (n == 1) {
			got = read(event.data.fd, text, sizeof(text));
			if (got > 0 && write(event.data.fd, text, got) == got)
				continue;
			reset += got < 0 && errno == ECONNRESET;
			ended += got == 0;
			close(event.data.fd);
		}
		changed |= n == 1;
	}
}

/* ---- the clients ---- */

static int session(const char *address, int port)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };
	bool is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
	int fd, r;

	inet_pton(AF_INET6, address, &v6.sin6_addr);
	fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM, 0);
	r = is_v4 ? connect(fd, (struct sockaddr *)&v4, sizeof(v4))
		  : connect(fd, (struct sockaddr *)&v6, sizeof(v6));
	if (r == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

static struct {
	unsigned long ended, aborted, reset, closed;
	unsigned long long first_ns, last_ns;
} told;

static void note_end(int fd)
{
	socklen_t size = sizeof(int);
	int error = 0;

	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	told.last_ns = now_ns();
	if (!told.ended++)
		told.first_ns = told.last_ns;
	told.aborted += error == ECONNABORTED;
	told.reset += error == ECONNRESET;
	told.closed += error == 0;
}

static void await_ends(struct pollfd *ready, unsigned long n, unsigned long long until_ns)
{
	const struct timespec pause = { .tv_nsec = 2 * MSEC };

	while (told.ended < n && now_ns() < until_ns) {
		if (poll(ready, n, 100) <= 0)
			continue;
		nanosleep(&pause, NULL); /* not to take the CPU that the cut needs */
		poll(ready, n, 0);
		for (unsigned long i = 0; i < n; i++)
			if (ready[i].fd >= 0 && ready[i].revents) {
				note_end(ready[i].fd);
				ready[i].fd = -1;
			}
	}
}

static bool lives(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	char byte;

	return send(fd, "x", 1, MSG_NOSIGNAL) == 1 && poll(&ready, 1, 20000) == 1 &&
	       read(fd, &byte, 1) == 1;
}

struct order {
	const char *address;
	unsigned long n, seconds;
	int port, other;
	bool one_more;
};

static int run(const struct order *order)
{
	static struct pollfd ready[MOST];
	unsigned long long start_ns = 0;
	int other = order->other ? session(order->address, order->other) : -1;

	for (unsigned long i = 0; i < order->n; i++) {
		ready[i].events = POLLIN;
		ready[i].fd = session(order->address, order->port);
		if (ready[i].fd < 0) {
			fprintf(stderr, "crowd: session %lu: %s\n", i, strerror(-ready[i].fd));
			return EXIT_FAILURE;
		}
	}
	printf("open %lu\n", order->n);
	fflush(stdout);
	if (order->one_more) {
		start_ns = now_ns();
		printf("refused %d\n", session(order->address, order->port) == -EPERM);
	}
	await_ends(ready, order->n, now_ns() + order->seconds * 1000 * MSEC);
	if (!start_ns)
		start_ns = told.first_ns;
	printf("ended %lu aborted %lu reset %lu closed %lu slowest_ms %llu\n", told.ended,
	       told.aborted, told.reset, told.closed, (told.last_ns - start_ns) / MSEC);
	if (order->other)
		puts(lives(other) ? "other lives" : "other is dead");
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	struct order order = { .n = 1, .seconds = 60 };
	int c;

	many_files();
	while ((c = getopt(argc, argv, "l:n:o:t:k")) >= 0) {
		if (c == 'l')
			return serve(optarg);
		if (c == 'n')
			order.n = strtoul(optarg, NULL, 10);
		if (c == 'o')
			order.other = atoi(optarg);
		if (c == 't')
			order.seconds = strtoul(optarg, NULL, 10);
		order.one_more |= c == 'k';
	}
	if (optind + 2 != argc || order.n > MOST) {
		fputs("usage: crowd -l PORT | [-n N] [-k] [-o PORT] [-t SECONDS] ADDRESS PORT\n",
		      stderr);
		return 2;
	}
	order.address = argv[optind];
	order.port = atoi(argv[optind + 1]);
	return run(&order);
}
