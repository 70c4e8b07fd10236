// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * pass HOW UID HOST PORT: run as one user, it makes the socket; UID connects it.
 *	inherited	the same process, which becomes UID
 *	handed		another process, which gets it in a message
 */
#include "client.h"

#include <sys/wait.h>

static void become(uid_t uid)
{
	if (setgid(uid) < 0 || setuid(uid) < 0) {
		perror("setuid");
		exit(FAILED);
	}
}

static void hand(int over, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = "", byte = 0;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	if (sendmsg(over, &message, 0) < 0)
		exit(FAILED);
}

static int take(int from)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec data = { &byte, 1 };
	struct msghdr message = { .msg_iov = &data,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	int fd = -1;

	if (recvmsg(from, &message, 0) == 1 && CMSG_FIRSTHDR(&message))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	return fd;
}

static int use(int fd, const union address *to, socklen_t size)
{
	if (connect_within(fd, to, size) < 0)
		return end_errno("connect");
	return answer(fd);
}

int main(int argc, char **argv)
{
	union address to;
	socklen_t size;
	int fd, pair[2], status = 0;
	pid_t child;

	if (argc < 5)
		return FAILED;
	size = address_of(argv[3], argv[4], &to);
	fd = socket(to.any.sa_family, SOCK_STREAM, 0);
	if (!strcmp(argv[1], "inherited")) {
		become(atoi(argv[2]));
		return use(fd, &to, size);
	}
	if (socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) < 0)
		return FAILED;
	child = fork();
	if (child == 0) {
		become(atoi(argv[2]));
		return use(take(pair[1]), &to, size);
	}
	hand(pair[0], fd);
	close(fd);
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}
