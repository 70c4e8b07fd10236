/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The maps of another version carried over: taken as they are where the layout is the same,
 * converted row by row where it is not (recast.h). Rules are compiled anew, events are hints.
 *
 * The maps of both stand beside each other, ours in a directory of their own, until the last
 * moment: whatever fails before leaves the old ones as they were.
 */
#ifndef SMTPWALL_CONVERT_H
#define SMTPWALL_CONVERT_H

#include <bpf/libbpf.h>

#include <smtpwall/abi.h>

struct conversion;

/*
 * Looks at what is pinned in `pin_dir`, made by version `abi`, for the maps of `object`, which is
 * opened and not loaded yet. Its maps are to be pinned in convert_dir(), where those that are
 * taken as they are await it. Tells its failures; -EPROTO: they cannot be taken over.
 */
int convert_begin(const char *pin_dir, __u32 abi, struct bpf_object *object,
		  struct conversion **ret);
const char *convert_dir(const struct conversion *conversion);

/* The control entry, and the rules in force (-ENOENT: there are none), in our layout; silent. */
int convert_control(struct conversion *conversion, struct sw_control *ret);
int convert_rules(struct conversion *conversion, struct sw_rules *ret);

/* Copies the rows. Nothing may change them meanwhile, here or there. Tells its failures. */
int convert_rows(struct conversion *conversion);

/* Our maps take the place of the old ones, each at once, `control` last: so a conversion that is
 * killed is done again by the next start. Tells its failures. */
int convert_end(struct conversion *conversion);
/* Gives it up, and removes what it made. */
void convert_abort(struct conversion *conversion);
void convert_free(struct conversion *conversion);

#endif
