// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * beside PIN_DIR CGROUP IFINDEX EMPTY_OBJECT COMMAND…: runs a command and tells what the gate's
 * programs cost each time they ran meanwhile, above empty ones that are attached beside them: by
 * the kernel's own clock of programs, which is on as long as this holds it.
 *
 * Others stand before them, where the kernel knows how: the first to run finds the clock itself
 * cold, 15 to 30 ns that would be ours alone.
 */
#include "programs.h"

#include <fcntl.h>
#include <sys/wait.h>

struct program {
	const char *name;
	int gate, empty;
	__u64 gate_runs, gate_ns, empty_runs, empty_ns;
};

static void take_off(int program, __u64 *runs, __u64 *ns)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(program, &info, &size) < 0)
		die("cannot look at a program");
	*runs = info.run_cnt - *runs;
	*ns = info.run_time_ns - *ns;
}

/* Called twice: what was before is taken off. */
static void read_clocks(struct program *programs, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		take_off(programs[i].gate, &programs[i].gate_runs, &programs[i].gate_ns);
		take_off(programs[i].empty, &programs[i].empty_runs, &programs[i].empty_ns);
	}
}

#define TCX_EGRESS ((enum bpf_attach_type)47)
#define FIRST_IN_CGROUP (1 << 6) /* BPF_F_PREORDER, Linux 6.15 */
#define FIRST_AT_TCX (1 << 3)	 /* BPF_F_BEFORE */

static void attach(int program, int where, enum bpf_attach_type type)
{
	if (bpf_link_create(program, where, type, NULL) < 0) /* until the process ends */
		die("cannot attach an empty program");
}

static void attach_first(int program, int where, enum bpf_attach_type type, __u32 how)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = how);

	bpf_link_create(program, where, type, &options);
}

static int run(char **command)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		die("cannot fork");
	if (child == 0) {
		execvp(command[0], command);
		die("cannot run '%s'", command[0]);
	}
	if (waitpid(child, &status, 0) < 0)
		die("cannot wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}

static void print(const struct program *p)
{
	double gate = p->gate_runs ? (double)p->gate_ns / p->gate_runs : 0;
	double empty = p->empty_runs ? (double)p->empty_ns / p->empty_runs : 0;

	if (p->gate_runs)
		printf("%s %llu %.0f %.0f %.0f\n", p->name, (unsigned long long)p->gate_runs, empty,
		       gate, gate - empty);
}

int main(int argc, char **argv)
{
	enum { SOCKET_OUT, EGRESS, CONNECT };
	struct program programs[] = { { .name = "socket_out" },
				      { .name = "egress" },
				      { .name = "connect4" } };
	struct bpf_object *empty, *first;
	int cgroup, wire, r;

	if (argc < 6) {
		fputs("usage: beside PIN_DIR CGROUP IFINDEX EMPTY_OBJECT COMMAND…\n", stderr);
		return 2;
	}
	cgroup = open(argv[2], O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (cgroup < 0)
		die("cannot open '%s'", argv[2]);
	wire = atoi(argv[3]);
	empty = load_empty(argv[4]);
	first = load_empty(argv[4]);
	programs[SOCKET_OUT].gate = gate_program(argv[1], SW_PIN_SOCKET_OUT);
	programs[SOCKET_OUT].empty = empty_program(empty, "empty_socket_out");
	programs[EGRESS].gate = egress_program(argv[1], wire);
	programs[EGRESS].empty = empty_program(empty, "empty_egress");
	programs[CONNECT].gate = gate_program(argv[1], SW_PIN_CONNECT4);
	programs[CONNECT].empty = empty_program(empty, "empty_connect4");
	attach(programs[SOCKET_OUT].empty, cgroup, BPF_CGROUP_INET_EGRESS);
	attach(programs[EGRESS].empty, wire, TCX_EGRESS);
	attach(programs[CONNECT].empty, cgroup, BPF_CGROUP_INET4_CONNECT);
	attach_first(empty_program(first, "empty_socket_out"), cgroup, BPF_CGROUP_INET_EGRESS,
		     FIRST_IN_CGROUP);
	attach_first(empty_program(first, "empty_egress"), wire, TCX_EGRESS, FIRST_AT_TCX);
	attach_first(empty_program(first, "empty_connect4"), cgroup, BPF_CGROUP_INET4_CONNECT,
		     FIRST_IN_CGROUP);
	if (bpf_enable_stats(BPF_STATS_RUN_TIME) < 0)
		die("cannot start the clock of programs");
	read_clocks(programs, ARRAY_SIZE(programs));
	r = run(argv + 5);
	read_clocks(programs, ARRAY_SIZE(programs));
	for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
		print(&programs[i]);
	bpf_object__close(first);
	bpf_object__close(empty);
	return r;
}
