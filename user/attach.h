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

/* Removes the pins in a directory, and it; silently. Nothing below it, and no link of it is
 * detached that has another pin. */
void unpin_all(const char *dir);
/* Removes the pins in it but for those to be kept. */
void unpin_others(const char *dir, bool (*keep)(const char *name, const void *userdata),
		  const void *userdata);

/* The name of a pin below links/: is it about an interface? */
bool is_interface_pin(const char *name);
/* Detaches and unpins what is below links/ but for the names to be kept. */
void detach_others(const char *pin_dir, bool (*keep)(const char *name, const void *userdata),
		   const void *userdata);
#endif
