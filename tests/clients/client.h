/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the hostile clients share: where to, and one word that tells what became of it. */
#ifndef CLIENT_H
#define CLIENT_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* How long a server may take, in ms: as the environment's ANSWER_MS has it, where silence is what
 * one waits for; else long, for the machine may stand still. */
static inline int answer_ms(void)
{
	const char *text = getenv("ANSWER_MS");

	return text ? atoi(text) : 15000;
}

/* Exit status of every client, and the word it prints. */
enum end { ANSWERED, REFUSED, SILENT, FAILED, LACKING };

static inline int end(enum end how, const char *what)
{
	static const char *const word[] = { "answered", "refused", "silent", "failed", "lacking" };

	printf("%s%s%s\n", word[how], what ? ": " : "", what ? what : "");
	fflush(stdout);
	return how;
}

/* By the errno of what failed. */
static inline int end_errno(const char *what)
{
	char text[256];

	snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
	switch (errno) {
	case EPERM:
		return end(REFUSED, NULL);
	case EPROTONOSUPPORT:
	case ENOPROTOOPT:
	case EOPNOTSUPP:
	case EAFNOSUPPORT:
	case ENOSYS:
		return end(LACKING, text);
	case ETIMEDOUT:
	case EINPROGRESS:
		return end(SILENT, NULL);
	default:
		return end(FAILED, text);
	}
}

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

/* "::ffff:1.2.3.4" stays what it is: an IPv6 address. */
static inline socklen_t address_of(const char *host, const char *port, union address *to)
{
	memset(to, 0, sizeof(*to));
	if (strchr(host, ':')) {
		to->v6.sin6_family = AF_INET6;
		to->v6.sin6_port = htons(atoi(port));
		if (inet_pton(AF_INET6, host, &to->v6.sin6_addr) == 1)
			return sizeof(to->v6);
	} else {
		to->v4.sin_family = AF_INET;
		to->v4.sin_port = htons(atoi(port));
		if (inet_pton(AF_INET, host, &to->v4.sin_addr) == 1)
			return sizeof(to->v4);
	}
	fprintf(stderr, "'%s' is no address\n", host);
	exit(FAILED);
}

/* Waits for anything that the server says. */
static inline int answer(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	char text[512];

	if (poll(&ready, 1, answer_ms()) == 0)
		return end(SILENT, NULL);
	if (read(fd, text, sizeof(text)) > 0)
		return end(ANSWERED, NULL);
	return end_errno("read");
}

/* connect(), but not for minutes. */
static inline int connect_within(int fd, const union address *to, socklen_t size)
{
	struct timeval patience = { .tv_usec = answer_ms() * 1000L % 1000000,
				    .tv_sec = answer_ms() / 1000 };

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	return connect(fd, &to->any, size);
}

#endif
