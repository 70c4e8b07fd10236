/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The addresses of hosts that a configuration names. The resolver may take its time: it is asked on
 * threads of the C library, and nobody waits for it longer than he says. The process remembers what
 * it was told last.
 */
#ifndef SMTPWALL_HOSTS_H
#define SMTPWALL_HOSTS_H

#include <stdbool.h>
#include <stddef.h>

#include <smtpwall/abi.h>

/* Asks for all of them at once, and waits at most so long for the answers. -ENOMEM. */
int hosts_ask(const char *const *name, size_t n, unsigned int wait_ms);
/* Asks again for those that have no address; does not wait. */
void hosts_ask_again(void);
/* Have answers come that change what is known? */
bool hosts_news(void);

/* What is known of a host. n 0: no address, and why. Until the next call of another function. */
struct host_answer {
	const struct sw_ip *address;
	size_t n;
	const char *why;
};
struct host_answer hosts_answer(const char *name);

#endif
