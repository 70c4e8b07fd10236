/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Which interfaces are outside, and which addresses are our own, now and later. Every change
 * that the kernel announces of links, addresses or routes is only a reason to look again:
 * nothing is kept that could go stale when announcements are lost.
 */
#ifndef SMTPWALL_IFACES_H
#define SMTPWALL_IFACES_H

#include <net/if.h>
#include <systemd/sd-event.h>

#include "config.h"

struct iface {
	unsigned int index;
	char name[IFNAMSIZ];
};

struct ifaces_calls {
	/* Less than 0: asked again within a minute. */
	int (*appeared)(const struct iface *iface, void *userdata);
	/* `gone`: the interface itself, not only its route. */
	void (*disappeared)(const struct iface *iface, bool gone, void *userdata);
	void (*addresses)(const struct sw_ip *address, size_t n, void *userdata);
	void *userdata;
};

struct ifaces;

/* Looks once; calls nothing. `outside`: config.interfaces, borrowed until ifaces_follow. */
int ifaces_new(const struct words *outside, const struct ifaces_calls *calls, struct ifaces **ret);
void ifaces_free(struct ifaces *ifaces);
/* Calls `appeared` for what is there, and then watches. */
int ifaces_watch(struct ifaces *ifaces, sd_event *loop);
/* Another configuration. */
void ifaces_follow(struct ifaces *ifaces, const struct words *outside);

const struct sw_ip *ifaces_addresses(const struct ifaces *ifaces, size_t *ret_n);
/* Those that `appeared` took. */
const struct iface *ifaces_attached(const struct ifaces *ifaces, size_t *ret_n);

/* One look, for the command. Tells its failure. */
int ifaces_outside(const struct config *config, unsigned int **ret_ifindex, size_t *ret_n);

/* Pure: does a word of `outside` (a name or a glob; not "auto") name the interface? */
bool ifaces_named(const struct words *outside, const char *name);

#endif
