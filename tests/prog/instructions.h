/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The few instructions that the tests' own programs are made of. BPF_PROG_TEST_RUN gives a packet
 * a socket that nobody connected; these programs give it another past, and then hand it on.
 */
#ifndef PROG_INSTRUCTIONS_H
#define PROG_INSTRUCTIONS_H

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stddef.h>

#define I(code_, dst_, src_, off_, imm_)                                                           \
	((struct bpf_insn){ .code = (code_),                                                       \
			    .dst_reg = (dst_),                                                     \
			    .src_reg = (src_),                                                     \
			    .off = (off_),                                                         \
			    .imm = (imm_) })

#define MOVE(dst, src) I(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define SET(dst, imm) I(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, imm)
#define ADD(dst, imm) I(BPF_ALU64 | BPF_ADD | BPF_K, dst, 0, 0, imm)
#define LOAD(size, dst, src, off) I(BPF_LDX | BPF_MEM | (size), dst, src, off, 0)
#define STORE(size, dst, off, src) I(BPF_STX | BPF_MEM | (size), dst, src, off, 0)
#define STORE_IMM(size, dst, off, imm) I(BPF_ST | BPF_MEM | (size), dst, 0, off, imm)
#define IF_ZERO(reg, skip) I(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, skip, 0)
#define CALL(helper) I(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define EXIT I(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
/* Two instructions each. */
#define MAP_FD(dst, fd)                                                                            \
	I(BPF_LD | BPF_DW | BPF_IMM, dst, BPF_PSEUDO_MAP_FD, 0, fd), I(0, 0, 0, 0, 0)
#define MAP_VALUE(dst, fd)                                                                         \
	I(BPF_LD | BPF_DW | BPF_IMM, dst, BPF_PSEUDO_MAP_VALUE, 0, fd), I(0, 0, 0, 0, 0)

/* Returns a descriptor or negative errno. */
static inline int program_load(enum bpf_prog_type type, enum bpf_attach_type attach,
			       const struct bpf_insn *instructions, size_t n)
{
	LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = attach);
	int fd = bpf_prog_load(type, NULL, "GPL", instructions, n, &options);

	return fd < 0 ? -errno : fd;
}

#endif
