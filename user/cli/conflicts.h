/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who else has a say on the SMTP ports: firewall rules (csf's SMTP_BLOCK and WHM's SMTP
 * Restrictions redirect port 25, so attempts never leave), and programs on the cgroup that we are
 * on. Told in `status`, never touched.
 */
#ifndef SMTPWALL_CLI_CONFLICTS_H
#define SMTPWALL_CLI_CONFLICTS_H

#include <stddef.h>
#include <stdint.h>

struct conflict {
	char where[128]; /* "nftables ip filter OUTPUT", "cgroup /sys/fs/cgroup" */
	char what[256];	 /* a sentence's end: "redirects tcp port 25" */
};

/* `ports`: host order. The caller frees. What cannot be asked is left out; -ENOMEM. */
int conflicts_find(const char *cgroup, const uint16_t *ports, size_t n_ports,
		   struct conflict **ret, size_t *ret_n);

#endif
