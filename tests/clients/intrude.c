// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What other users of BPF may do to us. The first two last as long as the process:
 *	intrude port CGROUP FROM TO	a connect4 program behind ours sends port FROM to port TO
 *	intrude pass INTERFACE		a TCX program before ours ends the chain: pass
 *	intrude detach CGROUP INTERFACE	takes every program off, and tells what the kernel said
 */
#include "client.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

/* Linux 6.6; newer than the headers of the oldest distribution that we build on. */
#define TCX_EGRESS 47
#define TCX_BEFORE (1u << 3)

/* union bpf_attr of BPF_LINK_CREATE as of 6.6 */
struct link_create {
	uint32_t prog_fd, target, attach_type, flags, relative_fd, pad;
	uint64_t expected_revision;
};

static int bpf(int command, void *attr, unsigned int size)
{
	return syscall(__NR_bpf, command, attr, size);
}

static int load(enum bpf_prog_type type, enum bpf_attach_type attach, const struct bpf_insn *insns,
		unsigned int n)
{
	union bpf_attr attr = {};
	int fd;

	attr.prog_type = type;
	attr.expected_attach_type = attach;
	attr.insns = (uintptr_t)insns;
	attr.insn_cnt = n;
	attr.license = (uintptr_t) "GPL";
	fd = bpf(BPF_PROG_LOAD, &attr, sizeof(attr));
	if (fd < 0)
		exit(end_errno("BPF_PROG_LOAD"));
	return fd;
}

#define INSN(code_, dst, src, off_, imm_)                                                          \
	{                                                                                          \
		.code = (code_), .dst_reg = (dst), .src_reg = (src), .off = (off_), .imm = (imm_)  \
	}

static int port_program(int from, int to)
{
	const int port = offsetof(struct bpf_sock_addr, user_port);
	const struct bpf_insn insns[] = {
		INSN(BPF_LDX | BPF_MEM | BPF_W, 2, 1, port, 0), /* r2 = ctx->user_port */
		INSN(BPF_JMP | BPF_JNE | BPF_K, 2, 0, 2, htons(from)),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, htons(to)),
		INSN(BPF_STX | BPF_MEM | BPF_W, 1, 2, port, 0),
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1),
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};

	return load(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT, insns,
		    sizeof(insns) / sizeof(*insns));
}

static int pass_program(void)
{
	const struct bpf_insn insns[] = {
		INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0), /* TCX_PASS */
		INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0),
	};

	return load(BPF_PROG_TYPE_SCHED_CLS, 0, insns, sizeof(insns) / sizeof(*insns));
}

static int stay(struct link_create *link)
{
	if (bpf(BPF_LINK_CREATE, link, sizeof(*link)) < 0) {
		perror("BPF_LINK_CREATE");
		return FAILED;
	}
	puts("there");
	fflush(stdout);
	return pause();
}

static int open_cgroup(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		perror(path);
	return fd;
}

static void try_detach(const char *name, uint32_t target, uint32_t type)
{
	union bpf_attr attr = {};

	attr.target_fd = target;
	attr.attach_type = type;
	printf("%s %s\n", name,
	       bpf(BPF_PROG_DETACH, &attr, sizeof(attr)) < 0 ? strerror(errno) : "detached");
}

static int detach(const char *cgroup, const char *interface)
{
	int fd = open_cgroup(cgroup);

	try_detach("connect4", fd, BPF_CGROUP_INET4_CONNECT);
	try_detach("connect6", fd, BPF_CGROUP_INET6_CONNECT);
	try_detach("socket_out", fd, BPF_CGROUP_INET_EGRESS);
	try_detach("egress", if_nametoindex(interface), TCX_EGRESS);
	return 0;
}

int main(int argc, char **argv)
{
	struct link_create link = {};

	if (argc == 5 && !strcmp(argv[1], "port")) {
		link.prog_fd = port_program(atoi(argv[3]), atoi(argv[4]));
		link.target = open_cgroup(argv[2]);
		link.attach_type = BPF_CGROUP_INET4_CONNECT;
		return stay(&link);
	}
	if (argc == 3 && !strcmp(argv[1], "pass")) {
		link.prog_fd = pass_program();
		link.target = if_nametoindex(argv[2]);
		link.attach_type = TCX_EGRESS;
		link.flags = TCX_BEFORE;
		return stay(&link);
	}
	if (argc == 4 && !strcmp(argv[1], "detach"))
		return detach(argv[2], argv[3]);
	return FAILED;
}
