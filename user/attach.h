/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Takes the gate down: needs nothing but pin_dir, so it works whatever became of the daemon. */
#ifndef SMTPWALL_ATTACH_H
#define SMTPWALL_ATTACH_H

#include <stdbool.h>

/*
 * Removes every link, filter, map, pin and mount that smtpwall made for `pin_dir`. The daemon
 * must have stopped. Tells its failures; 0 if nothing was there.
 */
int detach_all(const char *pin_dir);

/* Detaches and unpins what is on interfaces, but for the pins (names below links/) to be kept. */
void detach_interfaces(const char *pin_dir, bool (*keep)(const char *name, const void *userdata),
		       const void *userdata);

#endif
