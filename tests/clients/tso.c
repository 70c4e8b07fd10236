// SPDX-License-Identifier: GPL-2.0-or-later
/* tso INTERFACE on|off: are its big packets left to the device, or cut into segments before it? */
#include "client.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
	struct ethtool_value tso = { .cmd = ETHTOOL_STSO };
	struct ifreq request = { .ifr_data = (void *)&tso };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (argc < 3)
		return FAILED;
	tso.data = !strcmp(argv[2], "on");
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", argv[1]);
	if (ioctl(fd, SIOCETHTOOL, &request) < 0)
		return end_errno("SIOCETHTOOL");
	return 0;
}
