/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The socket that BPF_PROG_TEST_RUN gives a packet is a full one without a port, a protocol or a
 * tag: a program that gives it a tag, and then becomes the one that is tested.
 */
#ifndef PROG_TAGGING_H
#define PROG_TAGGING_H

#include <stdbool.h>
#include <sys/mman.h>

#include <smtpwall/abi.h>

#include "cleanup.h"
#include "frame.h"
#include "instructions.h"

/* An array with one value that both sides see. */
static inline int shared_map(const char *name, size_t size, void **ret)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, name, 4, size, 1, &options);

	if (fd < 0)
		return -errno;
	*ret = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return *ret == MAP_FAILED ? -errno : fd;
}

static inline int tail_map(int program)
{
	int fd = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "tail", 4, 4, 1, NULL);
	__u32 zero = 0;

	if (fd < 0 || bpf_map_update_elem(fd, &zero, &program, BPF_ANY) < 0)
		return -errno;
	return fd;
}

#define TAIL_FAILED 3 /* neither program answers this */

/*
 * A program that gives the packet's socket the tag in *ret_tag (in the map `tags`), unless its
 * version is 0, sets tc_index to the lower half of the packet's mark if there is one (TC only),
 * and becomes `program`.
 */
static inline int tagging_program(int program, enum bpf_prog_type type, int tags,
				  struct sw_tag **ret_tag)
{
	bool tc = type == BPF_PROG_TYPE_SCHED_CLS;
	int given = shared_map("given", sizeof(struct sw_tag), (void **)ret_tag);
	int tail = tail_map(program);
	const struct bpf_insn instructions[] = {
		MOVE(6, 1),
		LOAD(BPF_W, 2, 6, offsetof(struct __sk_buff, mark)),
		IF_ZERO(2, 1),
		tc ? STORE(BPF_W, 6, offsetof(struct __sk_buff, tc_index), 2) : SET(2, 0),
		MAP_VALUE(3, given),
		LOAD(BPF_DW, 2, 6, offsetof(struct __sk_buff, sk)),
		IF_ZERO(2, 6),
		LOAD(BPF_B, 4, 3, offsetof(struct sw_tag, version)),
		IF_ZERO(4, 4),
		SET(4, BPF_SK_STORAGE_GET_F_CREATE),
		MAP_FD(1, tags),
		CALL(BPF_FUNC_sk_storage_get),
		MOVE(1, 6),
		MAP_FD(2, tail),
		SET(3, 0),
		CALL(BPF_FUNC_tail_call),
		SET(0, TAIL_FAILED),
		EXIT,
	};

	if (given < 0 || tags < 0 || tail < 0)
		return -EBADF;
	return program_load(type, tc ? 0 : BPF_CGROUP_INET_EGRESS, instructions,
			    ARRAY_SIZE(instructions));
}

#endif
