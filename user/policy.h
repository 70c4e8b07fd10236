/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Compiles a configuration into the tables that the kernel programs walk (abi.h, "rules"). */
#ifndef SMTPWALL_POLICY_H
#define SMTPWALL_POLICY_H

#include <stddef.h>

#include "config.h"
#include "globs.h"

/* Rows of the maps `units` and `places`, as units.h and places.h find them on this machine. */
struct unit_row {
	struct sw_cgroup cgroup;
	struct sw_unit_match match;
};

struct place_row {
	struct sw_dir dir;
	struct sw_place place;
};

/* What is there, for one generation of rules. */
struct scene {
	const struct unit_row *unit;
	size_t n_units;
	const struct place_row *place;
	size_t n_places;
};

struct network_rule {
	struct sw_network network;
	__u32 flags; /* SW_NET_*: of the longest prefix, those of the shorter ones included */
};

struct ruleset {
	struct sw_rules rules;
	struct sw_intervals *users;
	struct sw_subids *subids;
	struct sw_gid_intervals *groups; /* by effective gid at connect() */
	struct sw_ports ports;
	struct network_rule *network;
	size_t n_networks;
	struct globs units; /* of policies and `exempt.units` */
	struct globs dirs;  /* of policies and `site_roots` */
	char **exempt; /* who is exempt, with names, for `status`: "postfix(101)" … */
	size_t n_exempt;
};

/*
 * Resolves names (users, groups and their members, relays) and compiles. `live` is the rule
 * set in force or NULL: limits that it has too keep their cell, so that windows survive.
 * Names that do not resolve and policies that can never match are warnings in `findings`.
 * Returns 0, -EINVAL with errors in `findings`, or -ENOMEM.
 */
int policy_compile(const struct config *config, const struct sw_rules *live,
		   struct findings *findings, struct ruleset **ret);
/* The same for other users and groups than this machine's. */
struct people;
int policy_compile_for(struct people *people, const struct config *config,
		       const struct sw_rules *live, struct findings *findings,
		       struct ruleset **ret);
void ruleset_free(struct ruleset *ruleset);

/* The policies of an id, as the kernel finds them. `n` is at least 1. */
__u64 intervals_find(const __u32 *start, const __u64 *set, size_t n, __u32 id);

#endif
