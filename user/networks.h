/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `relays` and `exempt.destinations` mean: networks with their flags. */
#ifndef SMTPWALL_NETWORKS_H
#define SMTPWALL_NETWORKS_H

#include "policy.h"

/* "192.0.2.0/24", "2001:db8::1": v4-mapped, bits behind the prefix cleared. -EINVAL. */
int network_parse(const char *text, struct sw_network *ret);

/* Has the names of both lists resolved; those that take too long are answered later (hosts.h). */
int networks_ask(const struct config *config);

/*
 * The networks of both lists and those that are this machine, sorted and without doubles; a
 * network's flags include those of the networks around it. Of names what is known by now (see
 * hosts.h); one without an address is a warning. 0, -EINVAL with errors in `findings`, -ENOMEM.
 */
int networks_compile(const struct config *config, struct findings *findings,
		     struct network_rule **ret, size_t *ret_n);

#endif
