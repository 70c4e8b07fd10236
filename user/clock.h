/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How long something took. Of when it happened tells boot_ns(), in maps.h: the programs' clock. */
#ifndef SMTPWALL_CLOCK_H
#define SMTPWALL_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC. */
static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

#endif
