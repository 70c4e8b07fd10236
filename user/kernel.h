/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The gate in the kernel: programs, maps, pins and links, loaded or taken over from an earlier
 * run. Every function here tells its own failures; returns 0 or negative errno.
 */
#ifndef SMTPWALL_KERNEL_H
#define SMTPWALL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config.h"
#include "policy.h"

struct kernel;

/*
 * Mounts bpffs and cgroup2 where they are missing, takes the daemon's lock on pin_dir (-EBUSY:
 * another smtpwalld), loads the programs, makes the maps or takes over the pinned ones
 * (-EPROTO: made by another ABI version, and cannot be converted). Attaches nothing.
 */
int kernel_open(const struct config *config, struct kernel **ret);
/* Lets go; what is attached stays. */
void kernel_close(struct kernel *kernel);
/* Where the maps are pinned: not yet in pin_dir, until kernel_attach() has taken over from another
 * version. */
const char *kernel_maps_dir(const struct kernel *kernel);
/* Was nothing loaded before? */
bool kernel_fresh(const struct kernel *kernel);

/* -ENOENT, silently, if no rules were published yet. */
int kernel_live_rules(struct kernel *kernel, struct sw_rules *ret);
/* Puts a complete new generation beside the live one, then switches to it at once. */
int kernel_publish(struct kernel *kernel, const struct config *config,
		   const struct ruleset *ruleset, const struct scene *scene);
/* In the generation that is live; NULL: the row goes. */
int kernel_put_unit(struct kernel *kernel, const struct sw_cgroup *cgroup,
		    const struct sw_unit_match *match);
int kernel_put_place(struct kernel *kernel, const struct sw_dir *dir, const struct sw_place *place);
/* Replaces the set of the machine's own addresses (roads `relay`). */
int kernel_own_addresses(struct kernel *kernel, const struct sw_ip *address, size_t n);
/* A session older than the programs. */
int kernel_elder(struct kernel *kernel, uint64_t cookie, const struct sw_tag *tag);

/*
 * The cgroup hooks: pinned links are updated in place, missing ones made. From another version its
 * rows are taken over, too, and the interfaces. All or nothing: what fails leaves the gate that
 * stood before, or none.
 */
int kernel_attach(struct kernel *kernel);
/* Idempotent. */
int kernel_attach_interface(struct kernel *kernel, unsigned int ifindex, const char *name);
int kernel_detach_interface(struct kernel *kernel, unsigned int ifindex);
/* Detaches what an earlier daemon has left on interfaces that are none of those now. */
void kernel_forget_interfaces(struct kernel *kernel);
/* Puts back what others took away: pins, links, filters. Returns how many repairs it made. */
int kernel_verify(struct kernel *kernel);

int kernel_events_fd(struct kernel *kernel);
/* Calls `each` for what is in the ring; never blocks. */
int kernel_events_consume(struct kernel *kernel,
			  int (*each)(const struct sw_event *event, void *userdata),
			  void *userdata);

#endif
