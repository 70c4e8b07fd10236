// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * storm HOST PORT: connects as fast as it can until SIGTERM, then tells how many attempts the
 * kernel let through and how many it refused: ADMITTED REFUSED
 */
#include "client.h"

#include <signal.h>

static volatile sig_atomic_t over;

static void stop(int number)
{
	(void)number;
	over = 1;
}

int main(int argc, char **argv)
{
	const struct linger reset = { .l_onoff = 1 };
	unsigned long admitted = 0, refused = 0;
	union address to;
	socklen_t size;
	int fd;

	if (argc < 3)
		return FAILED;
	size = address_of(argv[1], argv[2], &to);
	signal(SIGTERM, stop);
	while (!over) {
		fd = socket(to.any.sa_family, SOCK_STREAM, 0);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		if (connect(fd, &to.any, size) == 0)
			admitted++;
		else if (errno == EPERM)
			refused++;
		else
			return end_errno("connect");
		close(fd);
	}
	printf("%lu %lu\n", admitted, refused);
	return 0;
}
