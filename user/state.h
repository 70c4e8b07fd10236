/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a reboot must not forget: blocks, allowances, the mode. They live in pinned maps; what
 * changes there is copied into the history's file within a second, and put back where nothing is
 * loaded. A disk that fails changes nothing for those who are blocked: see tell.h.
 */
#ifndef SMTPWALL_STATE_H
#define SMTPWALL_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "maps.h"
#include "tell.h"

struct state;
bool state_fresh(const struct state *state); /* as given to state_new() */

/* Borrows both. `fresh`: the maps are new, what was saved is to be put back. */
int state_new(struct maps *maps, struct teller *teller, bool fresh, struct state **ret);
void state_free(struct state *state);
/* The maps were opened anew. */
void state_maps(struct state *state, struct maps *maps);

/* The number of the rules that were last in force, 0: not known. */
uint32_t state_generation(struct state *state);
/*
 * After the rules are published and before anything is attached. What cannot be put back yet (a
 * unit that has not started, a disk that is not there) is tried again by state_save().
 */
void state_restore(struct state *state);
/* After each sweep. Writes only what changed, and each minute the time. */
void state_save(struct state *state);

/* What the daemon before us knew and told, as times of this boot. */
struct recollection {
	bool known; /* false: nothing is */
	int mode;   /* enum sw_mode, -1: not known */
	struct block_row *block;
	struct allowance_row *allowance;
	size_t n_blocks, n_allowances;
};
/* Until the first state_save(); of what was put back only what did not return. The caller frees. */
int state_recall(struct state *state, struct recollection *ret);
void recollection_clear(struct recollection *recollection);

/* One moment by both clocks; `boot` is the kernel's name of the boot. */
struct moment {
	char boot[40];
	uint64_t boot_ns;
	int64_t wall_ns;
};

/*
 * Pure. When does what was to end at `until_ns` of the boot of `then` end in that of `now`? In
 * the same boot: then. Else it has left what the wall clock says, but no more than it had at
 * `then`; a clock that went back took no time. False: it is over.
 */
bool moment_until(uint64_t until_ns, const struct moment *then, const struct moment *now,
		  uint64_t *ret_ns);
/* Pure. A time gone by; before this boot it is less than 0 as a signed number, never 0. */
uint64_t moment_since(uint64_t since_ns, const struct moment *then, const struct moment *now);
/* Pure. Did the wall clock go otherwise than the other, by half a second or more? */
bool moment_jumped(const struct moment *then, const struct moment *now);

#endif
