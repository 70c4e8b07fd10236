/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sessions older than the programs: nobody saw their connect(), so their sender is taken from
 * the kernel's list of sockets, by cookie. Only those of the network namespace that the daemon
 * runs in can be listed; the others are judged as packets whose sender is not known.
 */
#ifndef SMTPWALL_ELDERS_H
#define SMTPWALL_ELDERS_H

#include "config.h"
#include "kernel.h"
#include "policy.h"

/* Tags the TCP sessions that go to a port of the configuration. Tells what it did. */
int elders_tag(struct kernel *kernel, const struct config *config, const struct ruleset *ruleset,
	       const struct sw_ip *own, size_t n_own);

/*
 * Pure. The road to `address` (network order, v4-mapped) and `port`: `relay` if it is loopback,
 * one of our own (sorted) or a relay of the rules.
 */
enum sw_road elders_road(const struct ruleset *ruleset, const struct sw_ip *own, size_t n_own,
			 const __u8 address[static 16], __u16 port);

#endif
