/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ownership in the type: what a block opened is closed when the block is left. */
#ifndef SMTPWALL_CLEANUP_H
#define SMTPWALL_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static inline void freep(void *p)
{
	free(*(void **)p);
}

static inline void fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_(f) __attribute__((__cleanup__(f)))
#define _cleanup_close_ _cleanup_(closep)
#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_fclose_ _cleanup_(fclosep)

/* Gives the descriptor away: the owner left behind holds nothing. */
static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

static inline void *take_pointer_(void *p)
{
	void *taken = *(void **)p;

	*(void **)p = NULL;
	return taken;
}

#define take_pointer(p) ((__typeof__(*(p)))take_pointer_(p))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#endif
