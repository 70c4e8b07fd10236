/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The programs that are compared: those of the gate, by their pins, and the empty ones. */
#ifndef BENCH_PROGRAMS_H
#define BENCH_PROGRAMS_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <smtpwall/names.h>

#include "cleanup.h"

__attribute__((__noreturn__, __format__(__printf__, 1, 2))) static inline void
die(const char *format, ...)
{
	int error = errno;
	va_list args;

	va_start(args, format);
	fputs("bench: ", stderr);
	vfprintf(stderr, format, args);
	fprintf(stderr, ": %s\n", strerror(error));
	va_end(args);
	exit(EXIT_FAILURE);
}

static inline int open_pin(const char *pin_dir, const char *pin)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", pin_dir, pin);
	fd = bpf_obj_get(path);
	if (fd < 0)
		die("cannot open '%s'", path);
	return fd;
}

/* The program that a pinned link runs. */
static inline int gate_program(const char *pin_dir, const char *pin)
{
	_cleanup_close_ int link = open_pin(pin_dir, pin);
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);
	int fd;

	if (bpf_obj_get_info_by_fd(link, &info, &size) < 0)
		die("cannot look at the link '%s'", pin);
	fd = bpf_prog_get_fd_by_id(info.prog_id);
	if (fd < 0)
		die("cannot open the program of '%s'", pin);
	return fd;
}

static inline int egress_program(const char *pin_dir, unsigned int ifindex)
{
	char pin[64];

	snprintf(pin, sizeof(pin), SW_PIN_EGRESS, ifindex);
	return gate_program(pin_dir, pin);
}

static inline struct bpf_object *load_empty(const char *path)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);

	if (!object || bpf_object__load(object) < 0)
		die("cannot load '%s'", path);
	return object;
}

static inline int empty_program(const struct bpf_object *object, const char *name)
{
	const struct bpf_program *program = bpf_object__find_program_by_name(object, name);

	if (!program)
		die("no program '%s'", name);
	return bpf_program__fd(program);
}

#endif
