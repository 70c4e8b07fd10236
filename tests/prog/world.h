/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A private machine for the programs: network and mount namespace, a bpffs, an empty cgroup and
 * two devices that lead nowhere. The gate is put up in it as the daemon does it, through kernel.h;
 * what runs under BPF_PROG_TEST_RUN are the very programs that are attached. The names are those
 * of tools/lab, which removes what a killed run has left.
 */
#ifndef PROG_WORLD_H
#define PROG_WORLD_H

#include "test.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <smtpwall/names.h>

#include "cleanup.h"
#include "config.h"
#include "kernel.h"
#include "maps.h"
#include "mounts.h"
#include "policy.h"

struct world {
	char dir[64], cgroup[256];
	struct config *config;
	struct kernel *kernel;
	struct maps *maps;
	unsigned int wire; /* the device whose egress we hook */
	int egress, socket_out, retire;
};

static struct world world;

static inline int world_run(const char *format, ...)
{
	char command[512];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	return system(command) == 0 ? 0 : -EIO;
}

static inline void world_path(char *path, size_t size, const char *name)
{
	snprintf(path, size, "%s/bpf/smtpwall/%s", world.dir, name);
}

static inline int world_map(const char *name)
{
	char path[256];
	int fd;

	world_path(path, sizeof(path), name);
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}

/* The program behind a pinned link; or pinned itself, where there is no such link. */
static inline int world_program(const char *pin)
{
	_cleanup_close_ int link = world_map(pin);
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);

	if (link < 0)
		return link;
	if (bpf_obj_get_info_by_fd(link, &info, &size) < 0)
		return -errno;
	return bpf_prog_get_fd_by_id(info.prog_id);
}

static inline int write_file(const char *path, const char *text)
{
	_cleanup_fclose_ FILE *f = fopen(path, "we");

	return f && fputs(text, f) >= 0 && fflush(f) == 0 ? 0 : -errno;
}

static inline void world_close(void)
{
	char path[128];

	maps_close(world.maps);
	kernel_close(world.kernel);
	config_free(world.config);
	snprintf(path, sizeof(path), "%s/bpf", world.dir);
	umount2(path, MNT_DETACH);
	if (world.dir[0])
		world_run("rm -rf --one-file-system %s", world.dir);
	if (world.cgroup[0])
		rmdir(world.cgroup);
}

static inline int make_places(void)
{
	_cleanup_free_ char *cgroup2 = NULL;
	char path[128];

	snprintf(world.dir, sizeof(world.dir), "/tmp/swl-%d.XXXXXX", getpid());
	if (!mkdtemp(world.dir) || cgroup2_mount(&cgroup2) < 0)
		return -errno;
	snprintf(world.cgroup, sizeof(world.cgroup), "%s/swl-%d", cgroup2, getpid());
	if (mkdir(world.cgroup, 0755) < 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -errno;
	snprintf(path, sizeof(path), "%s/bpf", world.dir);
	if (mkdir(path, 0700) < 0 || mount("bpf", path, "bpf", 0, "mode=0700") < 0)
		return -errno;
	return 0;
}

static inline int read_config(const char *settings, const char *policies)
{
	struct findings findings = {};
	char path[128], text[4096];
	int r;

	snprintf(text, sizeof(text),
		 "pin_dir = \"%s/bpf/smtpwall\"\nstate_dir = \"%s\"\n"
		 "cgroup = \"%s\"\n%s\n",
		 world.dir, world.dir, world.cgroup, settings);
	snprintf(path, sizeof(path), "%s/conf.d", world.dir);
	mkdir(path, 0755);
	snprintf(path, sizeof(path), "%s/conf.d/10-test.conf", world.dir);
	write_file(path, policies);
	snprintf(path, sizeof(path), "%s/smtpwall.conf", world.dir);
	write_file(path, text);
	r = config_load(path, &findings, &world.config);
	for (size_t i = 0; i < findings.n_errors; i++)
		printf("# %s\n", findings.error[i]);
	findings_clear(&findings);
	return r;
}

static inline int publish(void)
{
	struct findings findings = {};
	const struct scene nowhere = {};
	struct ruleset *rules = NULL;
	int r = policy_compile(world.config, NULL, &findings, &rules);

	r = r < 0 ? r : kernel_publish(world.kernel, world.config, rules, &nowhere);
	ruleset_free(rules);
	findings_clear(&findings);
	return r;
}

static inline int put_up(void)
{
	char pin[64];
	int r;

	r = kernel_open(world.config, &world.kernel);
	r = r < 0 ? r : publish();
	r = r < 0 ? r : kernel_attach(world.kernel);
	r = r < 0 ? r
		  : world_run("ip link add wire0 mtu 9000 type veth peer name far0 mtu 9000 && ip "
			      "link set wire0 up && "
			      "ip link set lo up");
	if (r < 0)
		return r;
	world.wire = if_nametoindex("wire0");
	r = kernel_attach_interface(world.kernel, world.wire, "wire0");
	if (r < 0)
		return r;
	snprintf(pin, sizeof(pin), SW_PIN_EGRESS, world.wire);
	world.egress = world_program(pin);
	if (world.egress < 0) {
		snprintf(pin, sizeof(pin), SW_PIN_CLSACT, world.wire);
		world.egress = world_map(pin);
	}
	world.socket_out = world_program(SW_PIN_SOCKET_OUT);
	world.retire = world_map(SW_PIN_RETIRE);
	return maps_open(world.config->pin_dir, &world.maps);
}

/* The gate stands, or false and why. Once a process. */
static inline bool world_open(const char *settings, const char *policies)
{
	int r;

	if (world.maps)
		return true;
	if (world.dir[0])
		return test_fail(__FILE__, __LINE__, "the gate does not stand");
	atexit(world_close);
	r = make_places();
	r = r < 0 ? r : read_config(settings, policies);
	r = r < 0 ? r : put_up();
	if (r < 0 || world.egress < 0 || world.socket_out < 0 || world.retire < 0)
		return test_fail(__FILE__, __LINE__, "cannot put the gate up: %s", strerror(-r));
	return true;
}

static inline bool set_mode(enum sw_mode mode)
{
	struct sw_control control;

	return CHECK_EQ(maps_control(world.maps, &control), 0) &&
	       (control.mode = mode, CHECK_EQ(maps_control_write(world.maps, &control), 0));
}

#endif
