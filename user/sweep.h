/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Once a second the maps, where the facts are, are reconciled with what was told: new blocks,
 * blocks that ended, allowances and trials that ran out, counters of what was lost. In the
 * kernel a block ends by its own `until`. Of a new block the live sessions are cut, and who was
 * blocked before stays so for longer.
 */
#ifndef SMTPWALL_SWEEP_H
#define SMTPWALL_SWEEP_H

#include "maps.h"
#include "state.h"
#include "tell.h"

struct sweep;

/*
 * Borrows all. What an earlier daemon told is not told again; what changed since, by whosever hand,
 * is told by the first sweep.
 */
int sweep_new(struct maps *maps, struct teller *teller, struct state *state, struct sweep **ret);
void sweep_free(struct sweep *sweep);
/* Whose policies escalate from now on; borrowed. */
void sweep_follow(struct sweep *sweep, const struct config *config);
/* The maps were opened anew. */
void sweep_maps(struct sweep *sweep, struct maps *maps);
/* Once a second; and whenever a block may be new. Ends with state_save(). */
void sweep_now(struct sweep *sweep);
/* The ring's hint that a block was made: who did it, for the sentence that a sweep will tell. */
void sweep_hint(struct sweep *sweep, const struct sw_event *event);

/* Pure. Sorts by subject, time and road, so that one block's roads stand together. */
void blocks_sort(struct block_row *row, size_t n);
/* Moves the rows of `in` that `from` lacks to `ret` (room for n_in). Both sorted. */
size_t blocks_missing(const struct block_row *in, size_t n_in, const struct block_row *from,
		      size_t n_from, struct block_row *ret);
/* How many rows from `row` on are roads of one block. */
size_t blocks_same(const struct block_row *row, size_t n);
/* Why a block is over, in words, or NULL: it goes on. */
const char *block_ended(const struct sw_block *block, enum sw_mode mode, uint64_t now_ns);

#endif
