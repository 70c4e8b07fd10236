/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Rows that nobody uses any more make room: windows that have run out, and, when their ledger fills
 * up, addresses that were not seen for an hour. What those have counted goes on in the row that
 * their network shares.
 */
#ifndef SMTPWALL_IDLE_H
#define SMTPWALL_IDLE_H

#include "maps.h"

struct idle;

/* Borrows it. */
int idle_new(struct maps *maps, struct idle **ret);
void idle_free(struct idle *idle);
/* The maps were opened anew. */
void idle_maps(struct idle *idle, struct maps *maps);
/* Once a second; looks at a part of one map. */
int idle_retire(struct idle *idle, uint64_t now_ns);

/* Pure. Keeps of the rows of the ledger of addresses, which has room for so many, what is to go. */
size_t idle_addresses(struct ledger_row *row, size_t n, uint32_t room, uint64_t now_ns);

#endif
