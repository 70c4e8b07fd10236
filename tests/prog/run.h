/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs a program of the gate on a frame. */
#ifndef PROG_RUN_H
#define PROG_RUN_H

#include "tagging.h"
#include "world.h"

/* The program's answer, or negative errno; -EINVAL: the kernel makes no such packet. */
static inline int run(int program, const struct frame *f, __u32 mark, __u32 repeat)
{
	struct __sk_buff ctx = { .mark = mark, .gso_segs = f->gso_segs, .gso_size = f->gso_size };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = f->size,
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = repeat);

	if (bpf_prog_test_run_opts(program, &opts) < 0)
		return -errno;
	return (int)opts.retval;
}

/*
 * How many random frames. A release is tested with a million; with sanitizers, on a busy machine,
 * fewer say as much a day.
 */
static inline unsigned long random_frames(void)
{
	const char *text = getenv("SMTPWALL_RANDOM_FRAMES");

	return text ? strtoul(text, NULL, 10) : 1000000;
}

#endif
