/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Attaching one program at one place, so that it outlives us: by a pinned link, or by a clsact
 * filter where the kernel has no TCX links. Functions are silent; 0 or negative errno.
 */
#ifndef SMTPWALL_HOOK_H
#define SMTPWALL_HOOK_H

#include <linux/bpf.h>
#include <stdbool.h>
#include <stdint.h>

/* Pins under another name first: at each moment something is pinned there, old or new. */
int pin_over(int fd, const char *pin);

/* The cgroup hooks: programs, their places, their pins. */
enum { HOOK_CONNECT4, HOOK_CONNECT6, HOOK_SOCKET_OUT, HOOK_SOCKET_IN,
       HOOK_PEERNAME4, HOOK_PEERNAME6, CGROUP_HOOKS };

extern const struct cgroup_hook {
	const char *program;
	enum bpf_attach_type type;
	const char *pin;
} cgroup_hooks[CGROUP_HOOKS];

/* Is the link's target still there? It dies with its cgroup or interface. */
bool link_lives(int link);

/*
 * The link pinned at `pin`, to the cgroup `cgroup_fd`: taken over with the new program put in
 * its place, or made and pinned. One that is attached elsewhere is replaced, the new one first.
 */
int hook_cgroup(int program, int cgroup_fd, enum bpf_attach_type type, const char *pin,
		int *ret_link);

/* The program of a pinned link. -ENOENT: there is none, or its target is gone. */
int hook_program(const char *pin, int *ret_program);

/* TCX egress of an interface, at the head of the chain; likewise. -EOPNOTSUPP: no TCX here. */
int hook_tcx(int program, unsigned int ifindex, const char *pin, int *ret_link);
/* Likewise, but always by a new link: for a program that is not in the chain yet. */
int hook_tcx_first(int program, unsigned int ifindex, const char *pin, int *ret_link);
/* Is `program` the first that TCX egress runs there? */
bool tcx_is_first(int program, unsigned int ifindex);

/* The qdisc that filters need. 1: made, 0: it was there. */
int make_clsact(unsigned int ifindex);
/* A clsact filter with our own handle and priority; replaces the program in place. */
int hook_clsact(int program, unsigned int ifindex);
bool clsact_is_attached(unsigned int ifindex);
/* Does no other filter have a lower preference? */
bool clsact_is_first(unsigned int ifindex);
int unhook_clsact(unsigned int ifindex);
/* Removes the clsact qdisc itself. Only for who made it, when nobody else uses it. */
int remove_clsact(unsigned int ifindex);

#endif
