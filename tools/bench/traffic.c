// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * traffic sink PORT…              a server that takes one message and keeps nothing
 * traffic connect ADDRESS PORT N  N connections, one by one: "p50 p99" of connect() in ns
 * traffic send ADDRESS PORT N     one connection, one message: N writes of 512 bytes, each a packet
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* What client and sink say before the content, both in one piece. */
#define ENVELOPE "EHLO bench\r\nMAIL FROM:<>\r\nRCPT TO:<a@bench>\r\nDATA\r\n"
#define REPLIES "220 bench\r\n250 bench\r\n250 OK\r\n250 OK\r\n354 go on\r\n"

/* ---- sink ---- */

/* Greets late: connections that are only made cost no packet more. */
static void *take(void *arg)
{
	int fd = (intptr_t)arg;
	static char buffer[65536]; /* nobody reads it */

	if (read(fd, buffer, sizeof(buffer)) > 0 && write(fd, REPLIES, strlen(REPLIES)) > 0)
		while (read(fd, buffer, sizeof(buffer)) > 0)
			;
	close(fd);
	return NULL;
}

static int listener(uint16_t port)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), yes = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
	    bind(fd, (void *)&here, sizeof(here)) < 0 || listen(fd, 4096) < 0)
		die("traffic: cannot listen");
	return fd;
}

/*
 * A connection that sends something gets a thread; the others are gone when they are taken. Nobody
 * waits for them: to wake a server up is a part of connect() on the same machine, and is dearer the
 * deeper its CPU sleeps, so that a slower client would seem slower still.
 */
#define TAKEN_EVERY_US 2000

static void *serve(void *arg)
{
	int server = (intptr_t)arg;

	for (;;) {
		int fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);
		pthread_t thread;

		if (fd < 0) {
			usleep(TAKEN_EVERY_US);
			continue;
		}
		if (pthread_create(&thread, NULL, take, (void *)(intptr_t)fd) == 0)
			pthread_detach(thread);
		else
			close(fd);
	}
	return NULL;
}

static int sink(char **ports)
{
	pthread_t thread;

	for (; *ports; ports++) {
		int fd = listener(atoi(*ports));

		if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd) != 0)
			die("traffic: cannot start a thread");
	}
	pause();
	return 0;
}

/* ---- clients ---- */

static struct sockaddr_in address_of(const char *address, const char *port)
{
	struct sockaddr_in there = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };

	if (inet_pton(AF_INET, address, &there.sin_addr) != 1)
		die("traffic: no address");
	return there;
}

static uint64_t connect_once(const struct sockaddr_in *there)
{
	const struct linger reset = { .l_onoff = 1 }; /* leave nothing behind */
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t begin, end;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) < 0)
		die("traffic: cannot make a socket");
	begin = now_ns();
	if (connect(fd, (const void *)there, sizeof(*there)) < 0 && errno != EPERM)
		die("traffic: cannot connect");
	end = now_ns();
	close(fd);
	return end - begin;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int connect_many(const struct sockaddr_in *there, size_t n)
{
	uint64_t *ns = calloc(n, sizeof(*ns));
	size_t i;

	if (!ns || !n)
		die("traffic: no room");
	for (i = 0; i < n / 10; i++)
		connect_once(there);
	for (i = 0; i < n; i++)
		ns[i] = connect_once(there);
	qsort(ns, n, sizeof(*ns), by_size);
	printf("%llu %llu\n", (unsigned long long)ns[n / 2], (unsigned long long)ns[n * 99 / 100]);
	free(ns);
	return 0;
}

static void begin_message(int fd)
{
	char replies[512];
	size_t got = 0;
	ssize_t n;

	if (write(fd, ENVELOPE, strlen(ENVELOPE)) < 0)
		die("traffic: cannot send");
	while (got < strlen(REPLIES)) {
		n = read(fd, replies, sizeof(replies));
		if (n <= 0)
			die("traffic: the sink does not answer");
		got += n;
	}
}

static int send_many(const struct sockaddr_in *there, size_t n)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
	char data[512] = "x";

	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) < 0 ||
	    connect(fd, (const void *)there, sizeof(*there)) < 0)
		die("traffic: cannot connect");
	begin_message(fd);
	while (n--)
		if (send(fd, data, sizeof(data), MSG_EOR) < 0) /* not to be put together */
			die("traffic: cannot send");
	close(fd);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in there;

	if (argc > 2 && strcmp(argv[1], "sink") == 0)
		return sink(argv + 2);
	if (argc != 5) {
		fputs("usage: traffic sink PORT… | connect ADDRESS PORT N | "
		      "send ADDRESS PORT N\n",
		      stderr);
		return 2;
	}
	there = address_of(argv[2], argv[3]);
	if (strcmp(argv[1], "connect") == 0)
		return connect_many(&there, strtoul(argv[4], NULL, 10));
	return send_many(&there, strtoul(argv[4], NULL, 10));
}
