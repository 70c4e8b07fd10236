/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * smtpwalld's life: it puts the gate up, then keeps it as the configuration and the machine
 * change. It is never between an attempt and its refusal. Nothing in its loop waits for somebody
 * else, but for one thing: while a configuration is loaded the names of users and groups are
 * looked up, as their databases please. Names of hosts it waits for two seconds; those that come
 * later are taken then.
 */
#ifndef SMTPWALL_DAEMON_H
#define SMTPWALL_DAEMON_H

#include "config.h"
#include "policy.h"

/*
 * Loads and compiles `path`; `live` see policy_compile. Tells every finding by `tell`: errors,
 * then warnings. On failure nothing is returned and nothing was changed.
 */
int daemon_load(const char *path, const struct sw_rules *live,
		void (*tell)(bool error, const char *finding), struct config **ret_config,
		struct ruleset **ret_ruleset);

/*
 * For inits that start the daemon late: puts the gate up with what a reboot must not forget, and
 * ends. What leaves by interfaces is counted once the daemon runs. Told as daemon_run().
 */
int daemon_restore(const char *path);

/*
 * Runs until SIGTERM or SIGINT. `ready` is called once, when the gate stands. Returns 0, or
 * negative errno after telling why.
 */
int daemon_run(const char *path, void (*ready)(void *userdata), void *userdata);

#endif
