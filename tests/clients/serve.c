// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * serve PORT: a server in the world, by MPTCP where the kernel has it. It greets, and answers
 * whatever ends in a newline; the rest it drops.
 */
#include "client.h"

#include <fcntl.h>

#define SESSIONS 1024

static int listen_on(const char *port)
{
	int fd = socket(AF_INET6, SOCK_STREAM, IPPROTO_MPTCP), on = 1;
	union address here;
	socklen_t size = address_of("::", port, &here);

	if (fd < 0)
		fd = socket(AF_INET6, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, &here.any, size) < 0 || listen(fd, SESSIONS) < 0) {
		perror("serve");
		exit(FAILED);
	}
	return fd;
}

static void greet(struct pollfd *sessions, size_t *n, int listener)
{
	static const char greeting[] = "220 world\r\n";
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (*n == SESSIONS || write(fd, greeting, strlen(greeting)) < 0) {
		close(fd);
		return;
	}
	sessions[(*n)++] = (struct pollfd){ .fd = fd, .events = POLLIN };
}

/* False: it is over. */
static int serve(int fd)
{
	static const char reply[] = "250 so be it\r\n";
	static char text[1 << 18];
	ssize_t size = read(fd, text, sizeof(text));

	if (size < 0)
		return errno == EAGAIN;
	if (size > 0 && text[size - 1] == '\n' && write(fd, reply, strlen(reply)) < 0)
		return 0;
	return size > 0;
}

int main(int argc, char **argv)
{
	static struct pollfd fds[1 + SESSIONS];
	size_t n = 0, i;

	fds[0] = (struct pollfd){ .fd = listen_on(argc > 1 ? argv[1] : "25"), .events = POLLIN };
	while (poll(fds, 1 + n, -1) >= 0) {
		for (i = 1; i <= n; i++) {
			if (!fds[i].revents || serve(fds[i].fd))
				continue;
			close(fds[i].fd);
			fds[i--] = fds[n--];
		}
		if (fds[0].revents)
			greet(fds + 1, &n, fds[0].fd);
	}
	return FAILED;
}
