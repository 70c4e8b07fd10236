/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The number by which a cgroup's path is known, so that a unit that starts anew is the same
 * subject, daemon or not. The kernel walks from the cgroup to the root, so that is the order in
 * which the names are taken. It knows no map or helper: both sides include this very file.
 */
#ifndef SMTPWALL_PATH_H
#define SMTPWALL_PATH_H

#include <linux/types.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((__always_inline__))
#endif

#define SW_PATH_HASH_START 0x736d747077616c6cULL /* the root's own */
#define SW_PATH_PART 128			 /* octets of a name that are taken at once */

/*
 * Takes one part of a name, padded with zeroes. Names of SW_PATH_PART octets and more are taken as
 * two parts: the first SW_PATH_PART - 1 octets, then the rest.
 */
static __always_inline __u64 sw_path_hash_part(__u64 hash, const __u64 part[SW_PATH_PART / 8])
{
	int i;

	for (i = 0; i < SW_PATH_PART / 8; i++) {
		hash = (hash ^ part[i]) * 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 29;
	}
	return hash;
}

#endif
