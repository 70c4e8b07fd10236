/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The configuration: files to a checked structure. Nothing is resolved here (see policy.h). */
#ifndef SMTPWALL_CONFIG_H
#define SMTPWALL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <smtpwall/abi.h>

/* A list of words, and where each stands ("file:line"), for what is found wrong with it later. */
struct words {
	char **word;
	char **at;   /* of each word: lists of several files add up */
	char *where; /* of the option; of the file if the words are the default */
	size_t n;
};

struct limit_spec {
	enum sw_metric metric;
	uint64_t max;
	uint64_t window_ns;
	bool warn;
	uint8_t percent; /* not 0: instead of `max` a share of the messages */
	uint16_t floor;	 /* of at least so many */
};

#define ESCALATE_MAX 8

struct policy_spec {
	char *name;
	char *where; /* file:line */
	char *description;
	struct words users;
	struct words groups;
	struct words units; /* globs, see globs.h */
	struct words dirs;
	enum sw_kind subject;
	uint8_t roads; /* bit 1 << enum sw_road */
	struct limit_spec limit[SW_LIMITS];
	size_t n_limits;
	size_t n_windows; /* of the limits, and of the messages that percentages are of */
	enum sw_action action;
	struct sw_endpoint redirect;  /* port 0: none */
	struct sw_endpoint redirect6; /* likewise */
	uint64_t block_ns;
	uint64_t escalate_ns[ESCALATE_MAX]; /* of the second block, the third …; 0: permanent */
	size_t n_escalate;
	uint64_t escalate_within_ns;
	enum sw_mode mode; /* SW_MODE_ENFORCE if it names none */
	bool count_tls;	   /* limits also hold for messages that are estimated inside TLS */
};

enum outside_hook { OUTSIDE_AUTO, OUTSIDE_TCX, OUTSIDE_CLSACT };

struct config {
	char *path;
	enum sw_mode mode;
	uint16_t *ports;
	size_t n_ports;
	struct words interfaces; /* {"auto"}: where a default or gateway route leaves */
	enum outside_hook outside_hook;
	struct words relays;
	struct words site_roots; /* globs of folders */
	unsigned int ipv6_prefix;
	uint32_t max_users; /* rows of uid_ledger; fixed while the maps live */
	uint32_t max_blocks_per_hour;
	char *cgroup;	    /* path, or "auto" */
	char *pin_dir;
	char *state_dir;
	bool mail_servers_auto;
	struct words exempt_users;
	struct words exempt_groups;
	struct words exempt_units;
	struct words exempt_destinations;
	struct policy_spec *policy;
	size_t n_policies;
};

/* What was found wrong: "file:line: what, and what to write instead", one a line. */
struct findings {
	char **error;
	size_t n_errors;
	char **warning;
	size_t n_warnings;
};

__attribute__((__format__(__printf__, 3, 4))) void findings_add(struct findings *f, bool error,
								const char *format, ...);
void findings_clear(struct findings *f);

/*
 * Reads `path` and conf.d/NN-name.conf beside it. Returns 0 and the configuration, or -EINVAL
 * (-ENOENT, …) with at least one error in `findings`. Warnings come either way.
 */
int config_load(const char *path, struct findings *findings, struct config **ret);
void config_free(struct config *config);

/* pin_dir and state_dir of a file that may be broken: what could be read, else the defaults. */
int config_paths(const char *path, char **ret_pin_dir, char **ret_state_dir);

#endif
