/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel notes of each attempt is overwritten soon: the daemon keeps some of it in the
 * history, each piece with the number of attempts that it stands for, and has the processes looked
 * at that still live.
 */
#ifndef SMTPWALL_COLLECT_H
#define SMTPWALL_COLLECT_H

#include <systemd/sd-event.h>

#include "maps.h"
#include "tell.h"

struct collect;

/* Borrows maps and teller. */
int collect_new(sd_event *loop, const char *pin_dir, struct maps *maps, struct teller *teller,
		struct collect **ret);
void collect_free(struct collect *collect);
/* The maps were opened anew. */
void collect_maps(struct collect *collect, struct maps *maps);
/* Once a second. */
void collect_now(struct collect *collect);
/* Something was told of by the ring: its process may not live for a second. */
void collect_soon(struct collect *collect);
/* Once a minute: forgets what is too old or too much. */
void collect_each_minute(struct collect *collect);

/*
 * Pure: how many rows of a key may be kept now. Some at once, then one in a while, so that nobody
 * fills the disk; a few more if they went over a limit.
 */
struct collect_credit {
	int rows; /* may be less than 0 */
	uint64_t since_ns;
};
int collect_allowance(struct collect_credit *credit, bool trip, uint64_t now_ns);

#endif
