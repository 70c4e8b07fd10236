// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * hold HOST PORT [mptcp]: a session that lasts. It obeys lines on stdin, each answered by one:
 *	ask	says something and waits for the reply: answered, silent
 *	send N	N bytes without a newline: sent
 *	end	closes its side, waits for the other's, and tells the kernel's own counters:
 *		BYTES SEGMENTS (tcpi_bytes_sent, tcpi_segs_out)
 */
#include "client.h"

#include <linux/tcp.h>

static void send_bytes(int fd, size_t n)
{
	static char text[65536];
	struct pollfd ready = { .fd = fd, .events = POLLOUT };
	ssize_t sent = 0;

	memset(text, 'x', sizeof(text));
	for (; n > 0; n -= sent) {
		if (poll(&ready, 1, answer_ms()) == 0) {
			puts("stuck");
			return;
		}
		sent = send(fd, text, n < sizeof(text) ? n : sizeof(text),
			    MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EAGAIN) {
			printf("failed: %s\n", strerror(errno));
			return;
		}
		if (sent < 0)
			sent = 0;
	}
	puts("sent");
}

static void ask(int fd)
{
	static const char question[] = "NOOP\r\n";

	if (send(fd, question, strlen(question), MSG_NOSIGNAL) < 0)
		end_errno("send");
	else
		answer(fd);
}

static void finish(int fd)
{
	struct tcp_info info = {};
	socklen_t size = sizeof(info);
	char text[4096];

	shutdown(fd, SHUT_WR);
	while (read(fd, text, sizeof(text)) > 0)
		;
	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size);
	printf("%llu %u\n", (unsigned long long)info.tcpi_bytes_sent, info.tcpi_segs_out);
}

int main(int argc, char **argv)
{
	union address to;
	char line[256];
	socklen_t size;
	int fd, status;

	if (argc < 3)
		return FAILED;
	size = address_of(argv[1], argv[2], &to);
	fd = socket(to.any.sa_family, SOCK_STREAM, argc > 3 ? IPPROTO_MPTCP : IPPROTO_TCP);
	if (fd < 0)
		return end_errno("socket");
	if (connect_within(fd, &to, size) < 0)
		return end_errno("connect");
	status = answer(fd);
	while (status == ANSWERED && fgets(line, sizeof(line), stdin)) {
		if (!strncmp(line, "ask", 3))
			ask(fd);
		else if (!strncmp(line, "send", 4))
			send_bytes(fd, strtoul(line + 4, NULL, 10));
		else
			finish(fd);
		fflush(stdout);
	}
	return status;
}
