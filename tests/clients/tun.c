// SPDX-License-Identifier: GPL-2.0-or-later
/* tun NAME: a VPN of a user's own, a device without Ethernet. Tells the port of each SYN. */
#include "client.h"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	int fd = open("/dev/net/tun", O_RDWR);
	unsigned char packet[2048];
	struct tcphdr *tcp;

	if (fd < 0 || argc < 2)
		return end_errno("/dev/net/tun");
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", argv[1]);
	if (ioctl(fd, TUNSETIFF, &request) < 0)
		return end_errno("TUNSETIFF");
	puts("up");
	fflush(stdout);
	while (read(fd, packet, sizeof(packet)) > 0) {
		tcp = (void *)(packet + 4 * (packet[0] & 15));
		if (packet[0] >> 4 != 4 || packet[9] != IPPROTO_TCP || !tcp->syn)
			continue;
		printf("SYN to %u\n", ntohs(tcp->dest));
		fflush(stdout);
	}
	return FAILED;
}
