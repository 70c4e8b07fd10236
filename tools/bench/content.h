/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Each run of BPF_PROG_TEST_RUN sends the very same packet: a program that makes it the next of its
 * session's content every time, and then becomes the one that is measured.
 */
#ifndef BENCH_CONTENT_H
#define BENCH_CONTENT_H

#include <smtpwall/abi.h>

#include "../../bpf/lib/smtp.h"
#include "../../tests/prog/tagging.h"

/* The packets' sequence number is 0. Behind a tag: without a socket it hands on at once. */
static inline int content_program(int program, enum bpf_prog_type type, int sessions)
{
	bool tc = type == BPF_PROG_TYPE_SCHED_CLS;
	struct sw_session *begun;
	int given = shared_map("begun", sizeof(*begun), (void **)&begun);
	int tail = tail_map(program);
	const struct bpf_insn instructions[] = {
		MOVE(6, 1),
		LOAD(BPF_DW, 2, 6, offsetof(struct __sk_buff, sk)),
		IF_ZERO(2, 8),
		MAP_VALUE(3, given),
		SET(4, BPF_SK_STORAGE_GET_F_CREATE),
		MAP_FD(1, sessions),
		CALL(BPF_FUNC_sk_storage_get),
		IF_ZERO(0, 1),
		STORE_IMM(BPF_W, 0, offsetof(struct sw_session, client_next), 0),
		MOVE(1, 6),
		MAP_FD(2, tail),
		SET(3, 0),
		CALL(BPF_FUNC_tail_call),
		SET(0, TAIL_FAILED),
		EXIT,
	};

	if (given < 0 || sessions < 0 || tail < 0)
		return -EBADF;
	begun->dialogue.client = SMTP_CONTENT;
	return program_load(type, tc ? 0 : BPF_CGROUP_INET_EGRESS, instructions,
			    ARRAY_SIZE(instructions));
}

#endif
