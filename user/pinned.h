/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A pinned object by its name, and a walk through a map. Leaves: they tell nothing. */
#ifndef SMTPWALL_PINNED_H
#define SMTPWALL_PINNED_H

#include <stdbool.h>
#include <stdint.h>

/* Opens `name` in `pin_dir`. */
int pinned_open(const char *pin_dir, const char *name, int *ret_fd);
/* Likewise a map. -EPROTO: its keys, or its values, are of another size; 0 is any. */
int pinned_map(const char *pin_dir, const char *name, uint32_t key_size, uint32_t value_size,
	       int *ret_fd);

/* Rows of a hash as the kernel hands them out, at most so many at once. Zeroed, it is begun. */
struct pinned_walk {
	uint64_t token;
	bool begun;
};
struct pinned_batch {
	uint32_t key_size, value_size;
	uint32_t room; /* rows; grows while one hash bucket holds more */
	char *keys, *values;
};
int pinned_batch_new(uint32_t key_size, uint32_t value_size, uint32_t room,
		     struct pinned_batch *ret);
void pinned_batch_clear(struct pinned_batch *batch);
/* The next rows, as many as there are in `ret_n`. 1: they are the last, and the walk is anew. */
int pinned_read(int fd, struct pinned_walk *walk, struct pinned_batch *batch, uint32_t *ret_n);

#endif
