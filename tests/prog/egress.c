/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ledger of the wire, packet by packet: what is counted to whom, what is refused, and that a
 * packet that is no SMTP is neither. Forwarded packets (without a socket) come by a program that
 * sends a copy out of the device; those of a sender run with a tag on their socket.
 */
#include "oracle.h"
#include "run.h"

#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <linux/virtio_net.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define SETTINGS "relays = {\"192.0.2.0/24\", \"2001:db8:25::/48\"}"
#define POLICIES                                                                                   \
	"policy \"sender\" { users = {7001} limits = {\"100 connections per 1h\"} }\n"             \
	"policy \"packets\" { limits = {\"3 connections per 1h\"} }\n"

#define TAGGED_UID 7001
#define MARK_BITS 0xfff0
#define MAGIC 0x5eed0000 /* in the mark of our own packets: the devices have others */

/* Written by a program that stands behind `egress` on the device. */
struct witness {
	__u32 seen;
	__u32 tc_index;
};

static struct {
	int forward, tagging;
	struct sw_tag *tag;
	volatile struct witness *witness;
	int ip_ledger, uid_ledger, ip_blocks, syns, health;
	__u32 wire_mark;
	bool lacks_tcx;
	size_t counted, refused, cut;
} t;

/* ---- the programs around ours ---- */

static int witness_program(int map)
{
	const struct bpf_insn instructions[] = {
		LOAD(BPF_W, 2, 1, offsetof(struct __sk_buff, mark)),
		I(BPF_ALU64 | BPF_RSH | BPF_K, 2, 0, 0, 16),
		I(BPF_JMP | BPF_JNE | BPF_K, 2, 0, 7, MAGIC >> 16),
		MAP_VALUE(3, map),
		LOAD(BPF_W, 4, 3, offsetof(struct witness, seen)),
		ADD(4, 1),
		STORE(BPF_W, 3, offsetof(struct witness, seen), 4),
		LOAD(BPF_W, 4, 1, offsetof(struct __sk_buff, tc_index)),
		STORE(BPF_W, 3, offsetof(struct witness, tc_index), 4),
		SET(0, TC_ACT_SHOT), /* no device is bothered with it */
		EXIT,
	};

	return program_load(BPF_PROG_TYPE_SCHED_CLS, 0, instructions, ARRAY_SIZE(instructions));
}

/* A copy has no socket, as what other hosts send through us. */
static int forward_program(void)
{
	const struct bpf_insn instructions[] = {
		MOVE(6, 1),
		LOAD(BPF_W, 2, 6, offsetof(struct __sk_buff, mark)),
		STORE(BPF_W, 6, offsetof(struct __sk_buff, tc_index), 2),
		SET(2, world.wire),
		SET(3, 0),
		CALL(BPF_FUNC_clone_redirect),
		SET(0, 0),
		EXIT,
	};

	return program_load(BPF_PROG_TYPE_SCHED_CLS, 0, instructions, ARRAY_SIZE(instructions));
}

static int stand_witness(void)
{
	int map = shared_map("witness", sizeof(struct witness), (void **)&t.witness);
	int program = map < 0 ? map : witness_program(map);
	int link = program < 0
			   ? program
			   : bpf_link_create(program, world.wire, (enum bpf_attach_type)47, NULL);

	return link < 0 ? -errno : 0;
}

/* ---- the world ---- */

static void block_source(const char *address, size_t size, enum sw_road road)
{
	struct sw_ip_road key = { .road = road };
	const struct sw_block block = { .since_ns = 1, .by = SW_BY_HAND };

	memcpy(key.addr, address, size);
	CHECK_EQ(bpf_map_update_elem(t.ip_blocks, &key, &block, BPF_ANY), 0);
}

/* 10.1.0.1 on two roads, 2001:db8:0:1::/64 (the key of its network) on one. */
static void block_sources(void)
{
	block_source("\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\1\0\1", 16, SW_ROAD_DIRECT);
	block_source("\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\1\0\1", 16, SW_ROAD_SUBMISSION);
	block_source("\x20\x01\x0d\xb8\0\1\0\1\0\0\0\0\0\0\0\0", 16, SW_ROAD_DIRECT);
}

static bool is_blocked(const struct sw_ip *source, enum sw_road road)
{
	if (memcmp(source->addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\1\0\1", 16) == 0)
		return road == SW_ROAD_DIRECT || road == SW_ROAD_SUBMISSION;
	return road == SW_ROAD_DIRECT && memcmp(source->addr, "\x20\x01\x0d\xb8\0\1\0\1", 8) == 0;
}

static bool up(void)
{
	struct sw_control control;
	int r;

	if (t.lacks_tcx)
		skip("kernel lacks TCX, by which the test looks at what has passed");
	if (t.forward || t.lacks_tcx)
		return t.forward > 0;
	if (!world_open(SETTINGS, POLICIES))
		return false;
	t.ip_ledger = world_map("ip_ledger");
	t.uid_ledger = world_map("uid_ledger");
	t.ip_blocks = world_map("ip_blocks");
	t.syns = world_map("syns");
	t.health = world_map("health");
	r = stand_witness();
	t.lacks_tcx = r == -EINVAL;
	if (t.lacks_tcx)
		return up();
	if (!CHECK_EQ(r, 0) || !CHECK_EQ(maps_control(world.maps, &control), 0))
		return false;
	t.wire_mark = control.wire_mark;
	t.tagging =
		tagging_program(world.egress, BPF_PROG_TYPE_SCHED_CLS, world_map("tags"), &t.tag);
	t.forward = forward_program();
	if (!CHECK(t.tagging >= 0) || !CHECK(t.forward >= 0))
		return false;
	block_sources();
	return true;
}

/* ---- what came of it ---- */

static struct sw_ip key_of(const struct sw_ip *source)
{
	struct sw_ip key = *source;

	if (memcmp(source->addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) != 0)
		memset(key.addr + 8, 0, 8);
	return key;
}

/* Takes the row, so that the next packet finds none. The overflow row stays, and is emptied. */
static bool take_row(const struct sw_ip *source, struct sw_ledger *ret)
{
	static const struct sw_ip overflow;
	static const struct sw_ledger empty;
	struct sw_ip key = key_of(source);

	if (memcmp(&key, &overflow, sizeof(key)) != 0)
		return bpf_map_lookup_and_delete_elem(t.ip_ledger, &key, ret) == 0;
	return bpf_map_lookup_elem(t.ip_ledger, &key, ret) == 0 &&
	       bpf_map_update_elem(t.ip_ledger, &key, &empty, BPF_ANY) == 0;
}

/* As in bpf/lib/maps.h. */
struct syn {
	__u8 saddr[16], daddr[16];
	__u16 sport, dport;
	__u32 seq;
};

static void forget_syn(const struct truth *truth)
{
	struct syn syn = { .sport = truth->sport, .dport = truth->port, .seq = truth->seq };

	memcpy(syn.saddr, truth->src.addr, sizeof(syn.saddr));
	memcpy(syn.daddr, truth->dst.addr, sizeof(syn.daddr));
	bpf_map_delete_elem(t.syns, &syn);
}

static bool check_row(const struct truth *truth, enum sw_road road, __u64 connections)
{
	struct sw_ledger row = {};
	const struct sw_tally *tally = &row.direct + road;

	return CHECK(take_row(&truth->src, &row)) && CHECK_EQ(tally->packets, truth->segments) &&
	       CHECK_EQ(tally->bytes, truth->bytes) && CHECK_EQ(tally->connections, connections);
}

static size_t rows(int map, size_t key_size)
{
	__u8 key[32], next[32];
	void *from = NULL;
	size_t n = 0;

	for (; bpf_map_get_next_key(map, from, next) == 0; n++) {
		memcpy(key, next, key_size);
		from = key;
	}
	return n;
}

static __u64 unparsed(void)
{
	struct sw_health health = {};
	__u32 zero = 0;

	bpf_map_lookup_elem(t.health, &zero, &health);
	return health.unparsed;
}

static bool show(const struct frame *f)
{
	size_t i;

	printf("# frame of %zu, gso %u x %u:", f->size, f->gso_segs, f->gso_size);
	for (i = 0; i < f->size && i < 160; i++)
		printf("%s%02x", i % 4 == 2 ? " " : "", f->data[i]);
	putchar('\n');
	return false;
}

/* ---- one forwarded packet, and what must come of it ---- */

static bool check_forwarded(const struct frame *f, __u32 tc_index, bool enforce)
{
	const struct truth truth = truth_of(f, ETH_HLEN);
	const struct sw_ip key = key_of(&truth.src);
	bool shot = truth.smtp && enforce &&
		    (truth.cut || (is_blocked(&key, truth.road) && !truth.resets));
	bool counted = truth.smtp && !shot && (tc_index & MARK_BITS) != t.wire_mark;
	__u32 seen = t.witness->seen;
	int r = run(t.forward, f, MAGIC | tc_index, 1);

	if (r == -EINVAL) /* an IP packet without an IP header: TEST_RUN makes none */
		return true;
	t.refused += shot;
	t.counted += counted;
	t.cut += truth.smtp && truth.cut;
	if (!CHECK_EQ(r, 0) || !CHECK_EQ(t.witness->seen - seen, !shot))
		return show(f);
	if (shot)
		return true;
	if (!CHECK_EQ(t.witness->tc_index,
		      counted ? (tc_index & ~MARK_BITS) | t.wire_mark : tc_index))
		return show(f);
	if (!counted)
		return true;
	if (truth.opens)
		forget_syn(&truth);
	return check_row(&truth, truth.road, truth.opens) || show(f);
}

/* ---- the same from a sender whose connection was admitted by connect() ---- */

static bool check_sent(const struct frame *f, bool enforce, enum sw_road road)
{
	const struct truth truth = truth_of(f, ETH_HLEN);
	const struct sw_ip key = key_of(&truth.src);
	bool shot = truth.smtp && enforce && is_blocked(&key, road) && !truth.resets;
	const struct sw_uid uid = { TAGGED_UID };
	struct sw_ledger row = {};
	int r;

	*t.tag = (struct sw_tag){
		.version = 1, .state = SW_TAG_ADMITTED, .road = road, .uid = TAGGED_UID
	};
	r = run(t.tagging, f, 0, 2); /* twice: as by a second device below the first */
	if (r == -EINVAL)
		return true;
	if (!CHECK_EQ(r, shot ? TC_ACT_SHOT : TC_ACT_UNSPEC))
		return show(f);
	t.cut += truth.smtp && truth.cut ? 2 : 0;
	t.refused += shot;
	t.counted += truth.smtp && !shot;
	r = bpf_map_lookup_and_delete_elem(t.uid_ledger, &uid, &row);
	if (!CHECK_EQ(r == 0, truth.smtp && !shot))
		return show(f);
	if (!truth.smtp || shot)
		return true;
	return (CHECK_EQ(row.wire.packets, truth.segments) &&
		CHECK_EQ(row.wire.bytes, truth.bytes) &&
		CHECK_EQ(row.wire.connections, truth.opens) &&
		check_row(&truth, road, truth.opens)) ||
	       show(f);
}

/* ---- tests: what a parser may stumble over, one by one ---- */

static struct recipe usual(unsigned int version)
{
	struct recipe r = {
		.version = version, .sport = 40000, .dport = 25, .flags = ACK | PUSH, .payload = 7
	};

	random_addresses(&r);
	r.src[version == 4 ? 3 : 7] = 5; /* not blocked */
	memcpy(r.dst, version == 4 ? "\xcb\0\x71\1" : "\x20\x01\x0d\xb8\0\2", version == 4 ? 4 : 6);
	r.seq = chance();
	return r;
}

static bool check_recipe(const struct recipe *r, bool counted)
{
	struct frame f = {};
	size_t before = t.counted;
	bool ok;

	build(&f, r);
	ok = check_forwarded(&f, 0, false) && check_sent(&f, false, SW_ROAD_DIRECT);
	return ok && CHECK_EQ(t.counted - before, counted ? 2 : 0);
}

TEST(options_of_IPv4_and_TCP_of_every_length_are_skipped)
{
	if (!up())
		return;
	for (unsigned int ihl = 5; ihl < 16; ihl++)
		for (unsigned int doff = 5; doff < 16; doff++) {
			struct recipe r = usual(4);

			r.ihl = ihl;
			r.doff = doff;
			check_recipe(&r, true);
		}
}

TEST(an_IPv4_header_that_says_it_is_shorter_than_it_can_be_is_none)
{
	struct recipe r = usual(4);

	if (!up())
		return;
	memcpy(r.src, "\xa\1\0\x19", 4); /* where a header of 12 bytes would have the ports */
	for (r.ihl = 1; r.ihl < 5; r.ihl++)
		check_recipe(&r, false);
}

TEST(each_extension_header_of_IPv6_is_skipped)
{
	static const __u8 types[] = { IPPROTO_HOPOPTS, IPPROTO_ROUTING, IPPROTO_DSTOPTS,
				      IPPROTO_FRAGMENT /* an atomic one */, IPPROTO_AH };

	if (!up())
		return;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		for (unsigned int length = 0; length < 40; length += 13) {
			struct recipe r = usual(6);

			r.extensions = 1;
			r.extension[0] = types[i];
			r.extension_length[0] = length;
			check_recipe(&r, true);
		}
}

TEST(a_chain_of_eight_headers_is_followed_and_one_of_nine_is_not)
{
	struct recipe r = usual(6);

	if (!up())
		return;
	memset(r.extension, IPPROTO_DSTOPTS, sizeof(r.extension));
	r.extensions = 8;
	check_recipe(&r, true);
	r.extensions = 9;
	check_recipe(&r, false);
}

TEST(tags_of_VLANs_in_the_way_are_skipped)
{
	static const __u16 control[] = { 0, 1, 100, 0x4005, 0x4500, 0x6000, 0xefff };

	if (!up())
		return;
	for (size_t i = 0; i < ARRAY_SIZE(control); i++)
		for (unsigned int version = 4; version <= 6; version += 2) {
			struct recipe r = usual(version);

			r.tags = 1;
			r.tag_type[0] = ETH_P_8021Q;
			r.tag_control[0] = control[i];
			check_recipe(&r, true);
			r.tags = 2;
			r.tag_type[0] = ETH_P_8021AD;
			r.tag_type[1] = ETH_P_8021Q;
			r.tag_control[1] = control[i];
			check_recipe(&r, true);
		}
}

TEST(later_fragments_tell_no_port_and_first_ones_do)
{
	struct recipe r = usual(4), r6 = usual(6);

	if (!up())
		return;
	r.fragment = 0x2000; /* the first, more follow */
	check_recipe(&r, true);
	r.fragment = 1;
	check_recipe(&r, false);
	r6.extensions = 1;
	r6.extension[0] = IPPROTO_FRAGMENT;
	r6.fragment = 0;
	check_recipe(&r6, true);
	r6.fragment = 185;
	check_recipe(&r6, false);
}

TEST(other_ports_and_protocols_are_neither_counted_nor_refused)
{
	static const __u16 ports[] = { 0, 24, 26, 80, 443, 464, 466, 586, 588, 2525, 6400, 65535 };

	if (!up())
		return;
	set_mode(SW_MODE_ENFORCE);
	for (unsigned int version = 4; version <= 6; version += 2) {
		struct recipe r = usual(version);

		r.src[version == 4 ? 3 : 7] = 1; /* blocked */
		for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
			r.dport = ports[i];
			check_recipe(&r, false);
		}
		r.dport = 25;
		r.protocol = IPPROTO_UDP;
		check_recipe(&r, false);
		r.protocol = 132; /* SCTP */
		check_recipe(&r, false);
	}
	set_mode(SW_MODE_OBSERVE);
}

TEST(a_packet_that_does_not_tell_its_length_is_as_long_as_it_is)
{
	struct recipe r = usual(4), r6 = usual(6);

	if (!up())
		return;
	r.big = r6.big = true;
	r.payload = r6.payload = 1000;
	check_recipe(&r, true);
	check_recipe(&r6, true);
}

TEST(a_packet_of_many_segments_counts_as_those)
{
	static const struct {
		__u32 segs, size, payload, segments;
	} gso[] = {
		{ 0, 0, 1000, 1 },    { 7, 1448, 1000, 7 }, { 0, 100, 1000, 10 },
		{ 0, 100, 1001, 11 }, { 0, 1448, 1000, 1 }, { 0, 1448, 0, 1 },
		{ 3, 0, 10, 3 },
	};
	struct recipe r = usual(4);

	if (!up())
		return;
	for (size_t i = 0; i < ARRAY_SIZE(gso); i++) {
		struct frame f = { .gso_segs = gso[i].segs, .gso_size = gso[i].size };

		r.payload = gso[i].payload;
		build(&f, &r);
		CHECK_EQ(truth_of(&f, 0).segments, gso[i].segments);
		check_sent(&f, false, SW_ROAD_DIRECT);
	}
}

TEST(a_packet_cut_short_anywhere_does_no_harm)
{
	struct recipe r = usual(4), r6 = usual(6);
	struct frame f = {};

	if (!up())
		return;
	r.ihl = 7;
	r6.extensions = 2;
	r6.extension[0] = r6.extension[1] = IPPROTO_DSTOPTS;
	for (int enforce = 0; enforce < 2; enforce++) {
		set_mode(enforce ? SW_MODE_ENFORCE : SW_MODE_OBSERVE);
		for (build(&f, &r); f.size > ETH_HLEN; f.size--)
			check_forwarded(&f, 0, enforce);
		for (build(&f, &r6); f.size > ETH_HLEN; f.size--)
			check_forwarded(&f, 0, enforce);
	}
	set_mode(SW_MODE_OBSERVE);
}

/* ---- what is a connection, and what was counted before ---- */

static __u64 forward_and_count(const struct recipe *r, const struct sw_ip *source)
{
	struct sw_ip key = key_of(source);
	struct sw_ledger row = {};
	struct frame f = {};

	build(&f, r);
	CHECK_EQ(run(t.forward, &f, MAGIC, 1), 0);
	bpf_map_lookup_elem(t.ip_ledger, &key, &row);
	return row.direct.connections;
}

TEST(a_SYN_sent_again_is_the_same_connection_and_another_is_a_new_one)
{
	struct recipe r = usual(4);
	struct frame f = {};
	struct truth truth;
	struct sw_ledger row = {};

	if (!up())
		return;
	r.flags = SYN;
	build(&f, &r);
	truth = truth_of(&f, 0);
	CHECK_EQ(forward_and_count(&r, &truth.src), 1);
	CHECK_EQ(forward_and_count(&r, &truth.src), 1);
	r.flags = SYN | ACK; /* the answer of a service of ours */
	CHECK_EQ(forward_and_count(&r, &truth.src), 1);
	r.flags = SYN;
	r.seq++;
	CHECK_EQ(forward_and_count(&r, &truth.src), 2);
	r.sport++; /* a sender of its own making may number all of its connections alike */
	CHECK_EQ(forward_and_count(&r, &truth.src), 3);
	r.dst[3]++;
	CHECK_EQ(forward_and_count(&r, &truth.src), 4);
	CHECK(take_row(&truth.src, &row));
	CHECK_EQ(row.direct.packets, 6);
}

TEST(a_packet_with_our_mark_was_counted_and_other_bits_of_tc_index_stay)
{
	struct recipe r = usual(6);
	struct frame f = {};

	if (!up())
		return;
	build(&f, &r);
	check_forwarded(&f, t.wire_mark, false);
	check_forwarded(&f, t.wire_mark | 5, false);
	check_forwarded(&f, 5, false);
	check_forwarded(&f, (t.wire_mark ^ 0x10) | 15, false);
	CHECK_EQ(rows(t.ip_ledger, sizeof(struct sw_ip)), 1);
}

/* ---- blocks ---- */

TEST(a_blocked_source_is_stopped_but_for_RST_and_only_on_its_roads)
{
	static const __u8 flags[] = { SYN, ACK, ACK | PUSH, FIN | ACK, RST, RST | ACK };
	size_t before;

	if (!up())
		return;
	set_mode(SW_MODE_ENFORCE);
	before = t.refused;
	for (unsigned int version = 4; version <= 6; version += 2)
		for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
			struct recipe r = usual(version);
			struct frame f = {};

			r.flags = flags[i];
			r.src[version == 4 ? 3 : 7] = 1;
			build(&f, &r);
			check_forwarded(&f, 0, true);
			check_sent(&f, true, SW_ROAD_DIRECT);
			check_sent(&f, true, SW_ROAD_RELAY);
			/* Our mark says that it was counted, not that it may pass. */
			check_forwarded(&f, t.wire_mark, true);
			if (version == 4)
				memcpy(r.dst, "\xc0\0\2\1", 4);
			else
				r.dst[5] = 0x25;
			build(&f, &r);
			check_forwarded(&f, 0, true);
		}
	CHECK_EQ(t.refused - before, 2 * 4 * 3);
	set_mode(SW_MODE_OBSERVE);
}

TEST(in_observe_mode_a_block_refuses_nothing_and_tells_its_hits)
{
	struct sw_ip_road key = { .road = SW_ROAD_DIRECT };
	struct sw_block before = {}, after = {};
	struct recipe r = usual(4);
	struct frame f = {};

	if (!up())
		return;
	memcpy(key.addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\1\0\1", 16);
	r.src[3] = 1;
	build(&f, &r);
	bpf_map_lookup_elem(t.ip_blocks, &key, &before);
	check_forwarded(&f, 0, false);
	bpf_map_lookup_elem(t.ip_blocks, &key, &after);
	CHECK_EQ(after.hits - before.hits, 1);
}

TEST(a_block_ends_by_its_own_time)
{
	struct sw_ip_road key = { .addr = { [10] = 0xff, 0xff, 10, 1, 0, 6 },
				  .road = SW_ROAD_DIRECT };
	struct sw_block block = { .since_ns = 1,
				  .by = SW_BY_HAND,
				  .until_ns = boot_ns() + 3600000000000 };
	struct recipe r = usual(4);
	struct frame f = {};
	__u32 seen;

	if (!up())
		return;
	set_mode(SW_MODE_ENFORCE);
	r.src[3] = 6;
	build(&f, &r);
	seen = t.witness->seen;
	bpf_map_update_elem(t.ip_blocks, &key, &block, BPF_ANY);
	CHECK_EQ(run(t.forward, &f, MAGIC, 1), 0);
	CHECK_EQ(t.witness->seen, seen);
	block.until_ns = boot_ns();
	bpf_map_update_elem(t.ip_blocks, &key, &block, BPF_ANY);
	CHECK_EQ(run(t.forward, &f, MAGIC, 1), 0);
	CHECK_EQ(t.witness->seen, seen + 1);
	bpf_map_delete_elem(t.ip_blocks, &key);
	take_row(&(struct sw_ip){ { [10] = 0xff, 0xff, 10, 1, 0, 6 } }, &(struct sw_ledger){});
	set_mode(SW_MODE_OBSERVE);
}

/* ---- AF_PACKET sockets: no cgroup hook sees what they send ---- */

static int packet_socket(void)
{
	const struct sockaddr_ll wire = { .sll_family = AF_PACKET,
					  .sll_ifindex = world.wire,
					  .sll_protocol = htons(ETH_P_ALL) };
	const unsigned int mark = MAGIC, yes = 1;
	_cleanup_close_ int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const void *)&wire, sizeof(wire)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &yes, sizeof(yes)) < 0)
		return -errno;
	return take_fd(&fd);
}

/* Did it pass? With the first `linear` bytes where drivers read them, the rest in other pages. */
static bool packet_sent(int fd, const struct frame *f, size_t linear)
{
	struct virtio_net_hdr header = { .hdr_len = linear };
	struct iovec part[] = { { &header, sizeof(header) }, { (void *)f->data, f->size } };
	__u32 seen = t.witness->seen;

	if (writev(fd, part, ARRAY_SIZE(part)) < 0 &&
	    errno != ENOBUFS) /* also of what the witness drops */
		return CHECK_EQ(errno, 0);
	return t.witness->seen != seen;
}

TEST(what_an_AF_PACKET_socket_sends_is_charged_to_its_user_and_judged)
{
	const struct sw_uid root = { 0 };
	struct sw_ledger row = {}, source = {};
	struct recipe r = usual(4);
	struct frame f = {};
	struct truth truth;
	_cleanup_close_ int fd = -1;

	if (!up())
		return;
	fd = packet_socket();
	if (!CHECK(fd >= 0))
		return;
	set_mode(SW_MODE_ENFORCE);
	r.flags = SYN;
	for (int i = 0; i < 5; i++) {
		r.seq++;
		build(&f, &r);
		CHECK_EQ(packet_sent(fd, &f, f.size), i < 3);
	}
	set_mode(SW_MODE_OBSERVE);
	CHECK_EQ(bpf_map_lookup_and_delete_elem(t.uid_ledger, &root, &row), 0);
	CHECK_EQ(row.direct.connections, 3);
	CHECK_EQ(row.direct.refused, 2);
	CHECK_EQ(row.wire.connections, 3);
	CHECK_EQ(row.wire.packets, 3);
	truth = truth_of(&f, 0);
	CHECK(take_row(&truth.src, &source));
	CHECK_EQ(source.direct.packets, 3);
}

TEST(headers_beyond_the_linear_part_of_a_packet_are_read)
{
	static const size_t linear[] = { ETH_HLEN, ETH_HLEN + 20, ETH_HLEN + 40, ETH_HLEN + 59 };
	_cleanup_close_ int fd = -1;

	if (!up())
		return;
	fd = packet_socket();
	if (!CHECK(fd >= 0))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(linear); i++)
		for (unsigned int version = 4; version <= 6; version += 2) {
			struct recipe r = usual(version);
			struct frame f = {};
			struct truth truth;

			r.payload = 4200; /* smaller ones are linear whatever the sender wants */
			build(&f, &r);
			truth = truth_of(&f, 0);
			CHECK(packet_sent(fd, &f, linear[i]));
			CHECK_EQ(t.witness->tc_index, t.wire_mark);
			check_row(&truth, SW_ROAD_DIRECT, 0);
		}
	bpf_map_delete_elem(t.uid_ledger, &(struct sw_uid){ 0 });
}

/* ---- against the oracle ---- */

static void check_random(unsigned long n, bool (*check)(const struct frame *f, bool enforce))
{
	__u64 unparsed_before = unparsed();
	size_t counted = t.counted, refused = t.refused, cut = t.cut;
	unsigned long i;
	struct frame f;

	for (i = 0; i < n; i++) {
		if (i == n / 2)
			set_mode(SW_MODE_ENFORCE);
		random_frame(&f);
		if (!check(&f, i >= n / 2))
			break;
	}
	set_mode(SW_MODE_OBSERVE);
	CHECK_EQ(unparsed() - unparsed_before, t.cut - cut);
	CHECK_EQ(rows(t.ip_ledger, sizeof(struct sw_ip)), 1);
	CHECK_EQ(rows(t.uid_ledger, sizeof(struct sw_uid)), 1);
	printf("# %lu frames: %zu counted, %zu refused, %zu cut\n", i, t.counted - counted,
	       t.refused - refused, t.cut - cut);
}

/* No GSO: a copy of TEST_RUN's packets of many segments goes out of no device. */
static bool random_forwarded(const struct frame *f, bool enforce)
{
	__u32 tc_index = once_in(4) ? t.wire_mark | below(16) : once_in(4) ? chance() & 0xffff : 0;
	struct frame single = *f;

	single.gso_segs = single.gso_size = 0;
	return check_forwarded(&single, tc_index, enforce);
}

static bool random_sent(const struct frame *f, bool enforce)
{
	return check_sent(f, enforce, below(3));
}

TEST(random_forwarded_packets_are_counted_and_refused_as_an_independent_parser_says)
{
	if (up())
		check_random(random_frames() / 2, random_forwarded);
}

TEST(random_packets_of_a_sender_are_counted_and_refused_as_an_independent_parser_says)
{
	if (up())
		check_random(random_frames() / 2, random_sent);
}
