// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connects and tells whom it believes to talk to, and what that one says: peer [-6] [-b ADDRESS]
 * [-d DEVICE] ADDRESS PORT. "peer 198.51.100.2 25 says 220 relay.example …", or "error EPERM".
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int fail(void)
{
	printf("error %s\n", strerrorname_np(errno));
	return 1;
}

static int resolve(const char *address, const char *port, struct addrinfo **ret)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
					.ai_socktype = SOCK_STREAM };

	return getaddrinfo(address, port, &hints, ret);
}

static int tell(int fd)
{
	char host[NI_MAXHOST], port[NI_MAXSERV], greeting[64] = "";
	struct sockaddr_storage peer;
	socklen_t size = sizeof(peer);

	if (getpeername(fd, (struct sockaddr *)&peer, &size) < 0 ||
	    getnameinfo((struct sockaddr *)&peer, size, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV) ||
	    read(fd, greeting, sizeof(greeting) - 1) < 0)
		return fail();
	greeting[strcspn(greeting, "\r\n")] = '\0';
	printf("peer %s %s says %s\n", host, port, greeting);
	return 0;
}

int main(int argc, char **argv)
{
	const struct timeval patience = { .tv_sec = 20 };
	struct addrinfo *to, *from;
	const char *bound = NULL, *device = NULL;
	int only_v6 = 0, c, fd;

	while ((c = getopt(argc, argv, "6b:d:")) != -1) {
		only_v6 |= c == '6';
		if (c == 'b')
			bound = optarg;
		if (c == 'd')
			device = optarg;
	}
	if (argc - optind != 2 || resolve(argv[optind], argv[optind + 1], &to))
		return 2;
	fd = socket(to->ai_family, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (only_v6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof(only_v6)) < 0)
		return fail();
	if (device && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, device, strlen(device)) < 0)
		return fail();
	if (bound && (resolve(bound, "0", &from) ||
		      bind(fd, from->ai_addr, from->ai_addrlen) < 0))
		return fail();
	if (connect(fd, to->ai_addr, to->ai_addrlen) < 0)
		return fail();
	return tell(fd);
}
