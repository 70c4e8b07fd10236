/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The folders of this machine that are sites or that policies name, told to the kernel as they come
 * and go. A thread of its own looks for them (see expand.h): users' filesystems may hang.
 */
#ifndef SMTPWALL_PLACES_H
#define SMTPWALL_PLACES_H

#include <systemd/sd-event.h>

#include "policy.h"

struct places;

/*
 * What folders are to the kernel is asked by the maps in `pin_dir`; NULL: stat(2) has to do. `put`
 * is called for each change once there are rows; `place` NULL: the row goes. It tells its failures.
 */
int places_new(const char *pin_dir,
	       int (*put)(const struct sw_dir *dir, const struct sw_place *place, void *userdata),
	       void *userdata, struct places **ret);
void places_free(struct places *places);

/*
 * All rows, by the globs, which hold from now on. They live until the next call here. Waits for
 * them a few seconds at most: then those of before are returned, and the news come by `put`.
 */
int places_rows(struct places *places, const struct globs *globs, const struct place_row **ret,
		size_t *ret_n);

/* From now on changes are seen as they happen. */
int places_watch(struct places *places, sd_event *loop);
/* Tells if the thread hangs. To be called once a minute. */
void places_check(struct places *places);

#endif
