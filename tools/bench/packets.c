// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * packets PIN_DIR IFINDEX EMPTY_OBJECT: what a packet costs above an empty program of the same
 * kind, by BPF_PROG_TEST_RUN. Rounds of both take turns; the median of their differences counts.
 * Packets of a sender with payload are content: each is the next of a session whose server has
 * said 354.
 */
#include "programs.h"

#include <stdbool.h>

#include <smtpwall/abi.h>

#include "content.h"

#define ROUNDS 9
#define REPEAT 1000000

struct kind {
	const char *name;
	struct recipe recipe;
	__u32 uid; /* of its sender; 0: it has none */
};

/* As tools/bench/run sets the policies. */
#define FREE 700
#define WEIGHED 2001

#define V4 .version = 4, .src = { 10, 1, 0, 1 }, .dst = { 203, 0, 113, 1 }
#define V6                                                                                         \
	.version = 6, .src = { 0x20, 1, 0xd, 0xb8, [15] = 1 },                                     \
	.dst = { 0x20, 1, 0xd, 0xb8, 0, 2, [15] = 1 }

static const struct kind kinds[] = {
	{ "TCP v4, port 443", { V4, .dport = 443, .flags = ACK, .payload = 100 }, 0 },
	{ "TCP v6, port 443", { V6, .dport = 443, .flags = ACK, .payload = 100 }, 0 },
	{ "UDP v4", { V4, .dport = 53, .protocol = IPPROTO_UDP, .payload = 100 }, 0 },
	{ "UDP v6", { V6, .dport = 53, .protocol = IPPROTO_UDP, .payload = 100 }, 0 },
	{ "SMTP v4, no sender", { V4, .dport = 25, .flags = ACK, .payload = 100 }, 0 },
	{ "SMTP v4, ACK alone", { V4, .dport = 25, .flags = ACK }, FREE },
	{ "SMTP v4, content", { V4, .dport = 25, .flags = ACK, .payload = 100 }, FREE },
	{ "SMTP v6, content", { V6, .dport = 25, .flags = ACK, .payload = 100 }, FREE },
	{ "content, bytes limited", { V4, .dport = 25, .flags = ACK, .payload = 100 }, WEIGHED },
};

/* One program of ours and the empty one, bare and behind those that give a tag and a session. */
struct pair {
	const char *name;
	int gate[2], empty[2];
	struct sw_tag *gate_tag, *empty_tag;
};

static int known(int program, enum bpf_prog_type type, const char *pin_dir, struct sw_tag **ret)
{
	int fd = content_program(program, type, open_pin(pin_dir, "sessions"));

	fd = fd < 0 ? fd : tagging_program(fd, type, open_pin(pin_dir, "tags"), ret);
	if (fd < 0) {
		errno = -fd;
		die("cannot load the programs that give a packet its past");
	}
	return fd;
}

static struct pair make_pair(const char *name, enum bpf_prog_type type, int gate, int empty,
			     const char *pin_dir)
{
	struct pair pair = { .name = name, .gate = { gate }, .empty = { empty } };

	pair.gate[1] = known(gate, type, pin_dir, &pair.gate_tag);
	pair.empty[1] = known(empty, type, pin_dir, &pair.empty_tag);
	return pair;
}

static double ns_of(int program, const struct frame *f, bool is_tagged)
{
	/* A tagged packet is made one that no device has counted yet: tc_index 0. */
	struct __sk_buff ctx = { .mark = is_tagged ? 0x10000 : 0 };
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = f->data, .data_size_in = f->size,
		    .ctx_in = &ctx, .ctx_size_in = sizeof(ctx), .repeat = REPEAT);

	if (bpf_prog_test_run_opts(program, &opts) < 0)
		die("cannot run a program");
	return opts.duration; /* of one run, in whole nanoseconds */
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), by_size);
	return values[n / 2];
}

static void measure(const struct pair *pair, const struct kind *kind)
{
	double gate[ROUNDS], empty[ROUNDS], added[ROUNDS];
	bool is_tagged = kind->uid;
	struct frame f = {};

	build(&f, &kind->recipe);
	*pair->gate_tag = *pair->empty_tag = (struct sw_tag){
		.version = 1,
		.state = SW_TAG_ADMITTED,
		.road = SW_ROAD_DIRECT,
		.uid = kind->uid,
		.order = { SW_POLICIES, SW_POLICIES, SW_POLICIES },
	};
	for (size_t i = 0; i < ROUNDS; i++) {
		empty[i] = ns_of(pair->empty[is_tagged], &f, is_tagged);
		gate[i] = ns_of(pair->gate[is_tagged], &f, is_tagged);
		added[i] = gate[i] - empty[i];
	}
	printf("%-12s %-24s %8.0f %8.0f %8.0f\n", pair->name, kind->name, median(empty, ROUNDS),
	       median(gate, ROUNDS), median(added, ROUNDS));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	struct bpf_object *empty;
	struct pair pairs[2];

	if (argc != 4) {
		fputs("usage: packets PIN_DIR IFINDEX EMPTY_OBJECT\n", stderr);
		return 2;
	}
	empty = load_empty(argv[3]);
	pairs[0] = make_pair("socket_out", BPF_PROG_TYPE_CGROUP_SKB,
			     gate_program(argv[1], SW_PIN_SOCKET_OUT),
			     empty_program(empty, "empty_socket_out"), argv[1]);
	pairs[1] =
		make_pair("egress", BPF_PROG_TYPE_SCHED_CLS, egress_program(argv[1], atoi(argv[2])),
			  empty_program(empty, "empty_egress"), argv[1]);
	printf("%-12s %-24s %8s %8s %8s\n", "program", "packet", "empty", "ours", "added");
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
		for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
			measure(&pairs[i], &kinds[k]);
	bpf_object__close(empty);
	return 0;
}
