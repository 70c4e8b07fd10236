// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The first and only process of a guest: does this kernel take the programs as they are shipped?
 * Loads build/smtpwall.bpf.o, attaches the cgroup hooks to the root cgroup by link, makes a
 * connection to an SMTP port through them, and tells what the verifier went through. Everything is
 * refused that the daemon would refuse: no fallback hides a program that does not load.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#define CGROUP "/cgroup"

static char verifier_log[1 << 20];

static int say_warnings(enum libbpf_print_level level, const char *format, va_list args)
{
	return level == LIBBPF_WARN ? vprintf(format, args) : 0;
}

static void prepare(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir(CGROUP, 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("cgroup2", CGROUP, "cgroup2", 0, NULL);
	ioctl(fd, SIOCSIFFLAGS, &lo);
	close(fd);
}

static int attach(struct bpf_program *program, int cgroup)
{
	LIBBPF_OPTS(bpf_link_create_opts, options);
	int link = bpf_link_create(bpf_program__fd(program), cgroup,
				   bpf_program__expected_attach_type(program), &options);

	return link < 0 ? -errno : 0; /* for as long as the guest lives */
}

static int attach_all(struct bpf_object *object)
{
	int cgroup = open(CGROUP, O_RDONLY | O_DIRECTORY), r;
	struct bpf_program *program;

	bpf_object__for_each_program(program, object) {
		if (bpf_program__type(program) == BPF_PROG_TYPE_SCHED_CLS ||
		    bpf_program__type(program) == BPF_PROG_TYPE_SYSCALL)
			continue; /* the one is the interfaces', the other user space runs */
		r = attach(program, cgroup);
		if (r < 0)
			printf("FAILED to attach %s: %s\n", bpf_program__name(program),
			       strerror(-r));
		if (r < 0)
			return r;
	}
	return 0;
}

static void tell_programs(struct bpf_object *object)
{
	struct bpf_program *program;
	struct bpf_prog_info info;
	__u32 size;

	bpf_object__for_each_program(program, object) {
		memset(&info, 0, size = sizeof(info));
		bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &size);
		printf("verified %-12s %7u instructions\n", bpf_program__name(program),
		       info.verified_insns);
	}
}

/* Without rules the hooks let everything pass; that they run at all is what is asked. */
static int connect_through(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(25),
				  .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(server, (struct sockaddr *)&to, sizeof(to)) < 0 || listen(server, 1) < 0 ||
	    connect(client, (struct sockaddr *)&to, sizeof(to)) < 0 ||
	    write(client, "QUIT\r\n", 6) != 6)
		return -errno;
	return 0;
}

static int try(void)
{
	LIBBPF_OPTS(bpf_object_open_opts, options, .kernel_log_buf = verifier_log,
		    .kernel_log_size = sizeof(verifier_log), .kernel_log_level = 4);
	struct bpf_object *object = bpf_object__open_file("/smtpwall.bpf.o", &options);
	size_t length;
	int r;

	if (!object)
		return -errno;
	r = bpf_object__load(object);
	if (r < 0) {
		length = strlen(verifier_log);
		printf("%s\n", verifier_log + (length > 2000 ? length - 2000 : 0));
		return r;
	}
	tell_programs(object);
	r = attach_all(object);
	return r < 0 ? r : connect_through();
}

int main(void)
{
	struct utsname kernel;
	int r;

	setvbuf(stdout, NULL, _IONBF, 0);
	libbpf_set_print(say_warnings);
	prepare();
	uname(&kernel);
	r = try();
	printf("%s on Linux %s%s%s\n", r < 0 ? "REFUSED" : "TAKEN", kernel.release,
	       r < 0 ? ": " : "", r < 0 ? strerror(-r) : "");
	sync();
	reboot(RB_POWER_OFF);
	return 0;
}
