/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The arm and the scale, packet by packet: which packets of a socket stop, what is weighed and
 * whose it is, and that a packet that is no SMTP is let alone.
 */
#include "oracle.h"
#include "run.h"

#define SETTINGS "relays = {\"192.0.2.0/24\", \"2001:db8:25::/48\"}"
#define POLICIES                                                                                   \
	"policy \"weighed\" { users = {7003} limits = {\"10kB per 1h\"} }\n"                       \
	"policy \"limited\" { users = {7004} limits = {\"2 connections per 1h\"} }\n"

#define STOP 0
#define PASS 1

#define FREE_UID 7001
#define BLOCKED_UID 7002 /* on the roads direct and submission */
#define WEIGHED_UID 7003

static struct {
	int tagging;
	struct sw_tag *tag;
	int uid_ledger, uid_blocks, health;
	__u32 generation;
	size_t weighed, stopped, cut;
} t;

static void block(__u32 uid, enum sw_road road, const struct sw_block *block)
{
	const struct sw_uid_road key = { uid, road };

	CHECK_EQ(bpf_map_update_elem(t.uid_blocks, &key, block, BPF_ANY), 0);
}

static bool up(void)
{
	const struct sw_block by_hand = { .since_ns = 1, .by = SW_BY_HAND };
	struct sw_control control;

	if (t.tagging)
		return t.tagging > 0;
	if (!world_open(SETTINGS, POLICIES) || !CHECK_EQ(maps_control(world.maps, &control), 0))
		return false;
	t.generation = control.generation;
	t.uid_ledger = world_map("uid_ledger");
	t.uid_blocks = world_map("uid_blocks");
	t.health = world_map("health");
	t.tagging = tagging_program(world.socket_out, BPF_PROG_TYPE_CGROUP_SKB, world_map("tags"),
				    &t.tag);
	if (!CHECK(t.tagging >= 0))
		return false;
	block(BLOCKED_UID, SW_ROAD_DIRECT, &by_hand);
	block(BLOCKED_UID, SW_ROAD_SUBMISSION, &by_hand);
	return true;
}

static struct sw_tag admitted(__u32 uid, enum sw_road road)
{
	return (struct sw_tag){ .version = 1,
				.state = SW_TAG_ADMITTED,
				.road = road,
				.uid = uid,
				.generation = t.generation,
				.order = { SW_POLICIES, SW_POLICIES, SW_POLICIES } };
}

static const struct sw_tag no_tag; /* of a socket that never saw connect() */

static int send_as(const struct sw_tag *tag, const struct frame *f)
{
	*t.tag = *tag;
	return run(t.tagging, f, 0, 1);
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

/* Takes the row, so that the next packet finds none. The overflow row stays, and is emptied. */
static bool take_row(__u32 uid, struct sw_ledger *ret)
{
	static const struct sw_ledger empty;
	const struct sw_uid key = { uid };

	if (uid != SW_UID_OVERFLOW)
		return bpf_map_lookup_and_delete_elem(t.uid_ledger, &key, ret) == 0;
	return bpf_map_lookup_elem(t.uid_ledger, &key, ret) == 0 &&
	       bpf_map_update_elem(t.uid_ledger, &key, &empty, BPF_ANY) == 0 &&
	       (ret->direct.packets || ret->submission.packets || ret->relay.packets);
}

static size_t rows(void)
{
	struct sw_uid key, next;
	size_t n = 0;

	for (; bpf_map_get_next_key(t.uid_ledger, n ? &key : NULL, &next) == 0; n++)
		key = next;
	return n;
}

/* ---- one packet of a socket with this tag, and what must come of it ---- */

static bool stops(const struct sw_tag *tag, const struct truth *truth, bool enforce)
{
	bool young = boot_ns() - tag->admitted_ns < 500000000;

	if (!truth->smtp || !enforce)
		return false;
	if (tag->state == SW_TAG_REFUSED)
		return !truth->resets; /* the remote is to learn of a cut */
	return tag->uid == BLOCKED_UID && tag->road != SW_ROAD_RELAY && !truth->resets &&
	       !(truth->opens && young);
}

static bool check_weighed(const struct sw_ledger *row, const struct truth *truth, __u8 road,
			  bool connects)
{
	const struct sw_tally *tally = &row->direct + road;

	return CHECK_EQ(tally->packets, truth->segments) && CHECK_EQ(tally->bytes, truth->bytes) &&
	       CHECK_EQ(tally->connections, connects);
}

static bool check_packet(const struct sw_tag *tag, const struct frame *f, bool enforce)
{
	const struct truth truth = truth_of(f, 0);
	bool nobodys = !tag->version;
	bool stop = stops(tag, &truth, enforce);
	bool weighed =
		truth.smtp && !stop && (tag->state != SW_TAG_REFUSED || truth.resets) &&
		(!nobodys || truth.opens);
	struct sw_ledger row = {};
	int r = send_as(tag, f);

	if (r == -EINVAL) /* an IP packet without an IP header: TEST_RUN makes none */
		return true;
	t.stopped += stop;
	t.weighed += weighed;
	t.cut += truth.smtp && truth.cut;
	if (!CHECK_EQ(r, stop ? STOP : PASS) ||
	    !CHECK_EQ(take_row(nobodys ? SW_UID_OVERFLOW : tag->uid, &row), weighed))
		return show(f);
	return !weighed || check_weighed(&row, &truth, nobodys ? truth.road : tag->road, nobodys) ||
	       show(f);
}

static struct recipe usual(unsigned int version)
{
	struct recipe r = { .version = version,
			    .sport = 40000,
			    .dport = 25,
			    .flags = ACK | PUSH,
			    .payload = 1000 };

	random_addresses(&r);
	memcpy(r.dst, version == 4 ? "\xcb\0\x71\1" : "\x20\x01\x0d\xb8\0\2", version == 4 ? 4 : 6);
	return r;
}

static struct frame usual_frame(unsigned int version, __u8 flags)
{
	struct recipe r = usual(version);
	struct frame f = {};

	r.flags = flags;
	build(&f, &r);
	return f;
}

/* ---- the scale ---- */

TEST(each_packet_of_a_session_is_weighed_once_on_its_road)
{
	static const __u8 flags[] = { SYN, ACK, ACK | PUSH, FIN | ACK, RST };

	if (!up())
		return;
	for (unsigned int version = 4; version <= 6; version += 2)
		for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
			for (enum sw_road road = SW_ROAD_DIRECT; road <= SW_ROAD_RELAY; road++) {
				struct sw_tag tag = admitted(FREE_UID, road);
				struct frame f = usual_frame(version, flags[i]);

				check_packet(&tag, &f, false);
			}
	CHECK_EQ(t.weighed, 2 * ARRAY_SIZE(flags) * 3);
}

TEST(a_packet_of_many_segments_weighs_as_those)
{
	struct sw_tag tag;
	struct frame f;

	if (!up())
		return;
	tag = admitted(FREE_UID, SW_ROAD_DIRECT);
	f = usual_frame(4, ACK);
	f.gso_size = 300;
	CHECK_EQ(truth_of(&f, 0).segments, 4);
	check_packet(&tag, &f, false);
	f.gso_segs = 9;
	CHECK_EQ(truth_of(&f, 0).segments, 9);
	check_packet(&tag, &f, false);
}

TEST(a_packet_that_does_not_tell_its_length_weighs_what_it_is)
{
	struct recipe r = usual(4), r6 = usual(6);
	struct frame f = {};
	struct sw_tag tag;

	if (!up())
		return;
	tag = admitted(FREE_UID, SW_ROAD_DIRECT);
	r.big = r6.big = true;
	build(&f, &r);
	CHECK_EQ(truth_of(&f, 0).bytes, 1000);
	check_packet(&tag, &f, false);
	build(&f, &r6);
	CHECK_EQ(truth_of(&f, 0).bytes, 1000);
	check_packet(&tag, &f, false);
}

TEST(what_goes_to_other_ports_or_is_no_TCP_is_let_alone)
{
	static const __u16 ports[] = { 0, 24, 26, 80, 443, 464, 466, 586, 588, 2525, 6400, 65535 };
	struct sw_tag tag;

	if (!up())
		return;
	tag = admitted(BLOCKED_UID, SW_ROAD_DIRECT);
	set_mode(SW_MODE_ENFORCE);
	for (unsigned int version = 4; version <= 6; version += 2) {
		struct recipe r = usual(version);
		struct frame f = {};

		for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
			r.dport = ports[i];
			build(&f, &r);
			CHECK(!truth_of(&f, 0).smtp);
			check_packet(&tag, &f, true);
			check_packet(&no_tag, &f, true);
		}
		r.dport = 25;
		r.protocol = IPPROTO_UDP;
		build(&f, &r);
		check_packet(&tag, &f, true);
		check_packet(&no_tag, &f, true);
	}
	set_mode(SW_MODE_OBSERVE);
}

/* ---- the arm ---- */

TEST(a_blocked_sender_is_stopped_but_for_RST_and_only_on_the_roads_of_its_block)
{
	static const struct {
		__u8 flags;
		int answer;
	} packets[] = {
		{ SYN, STOP },	     { ACK, STOP }, { ACK | PUSH, STOP },
		{ FIN | ACK, STOP }, { RST, PASS }, { RST | ACK, PASS },
	};

	if (!up())
		return;
	set_mode(SW_MODE_ENFORCE);
	for (size_t i = 0; i < ARRAY_SIZE(packets); i++)
		for (unsigned int version = 4; version <= 6; version += 2) {
			struct frame f = usual_frame(version, packets[i].flags);
			struct sw_tag tag = admitted(BLOCKED_UID, SW_ROAD_SUBMISSION);

			CHECK_EQ(send_as(&tag, &f), packets[i].answer);
			tag.road = SW_ROAD_RELAY;
			CHECK_EQ(send_as(&tag, &f), PASS);
			tag = admitted(FREE_UID, SW_ROAD_SUBMISSION);
			CHECK_EQ(send_as(&tag, &f), PASS);
		}
	set_mode(SW_MODE_OBSERVE);
	take_row(BLOCKED_UID, &(struct sw_ledger){});
	take_row(FREE_UID, &(struct sw_ledger){});
}

TEST(the_SYN_of_an_attempt_that_was_just_admitted_is_spared_and_nothing_else_of_it)
{
	struct frame syn = usual_frame(4, SYN), data = usual_frame(4, ACK | PUSH);
	struct sw_tag tag;

	if (!up())
		return;
	set_mode(SW_MODE_ENFORCE);
	tag = admitted(BLOCKED_UID, SW_ROAD_DIRECT);
	tag.admitted_ns = boot_ns();
	CHECK_EQ(send_as(&tag, &syn), PASS);
	CHECK_EQ(send_as(&tag, &data), STOP);
	tag.admitted_ns = boot_ns() - 2000000000;
	CHECK_EQ(send_as(&tag, &syn), STOP);
	set_mode(SW_MODE_OBSERVE);
	take_row(BLOCKED_UID, &(struct sw_ledger){});
}

TEST(a_block_by_policy_spares_the_exempt_and_the_allowed_and_one_by_hand_spares_nobody)
{
	const __u32 uid = 7010;
	const struct sw_subject subject = { .kind = SW_KIND_UID, .uid = uid };
	const struct sw_allowance allowance = {};
	struct sw_block block_of = { .since_ns = 1, .by = SW_BY_LIMIT };
	struct frame f = usual_frame(4, ACK);
	struct sw_tag tag, exempt;

	if (!up())
		return;
	set_mode(SW_MODE_ENFORCE);
	tag = exempt = admitted(uid, SW_ROAD_DIRECT);
	exempt.flags = SW_TAG_EXEMPT;
	block(uid, SW_ROAD_DIRECT, &block_of);
	CHECK_EQ(send_as(&tag, &f), STOP);
	CHECK_EQ(send_as(&exempt, &f), PASS);
	exempt.flags = SW_TAG_TO_EXEMPT;
	CHECK_EQ(send_as(&exempt, &f), PASS);
	maps_allowance_set(world.maps, &subject, &allowance);
	CHECK_EQ(send_as(&tag, &f), PASS);
	block_of.by = SW_BY_HAND;
	block(uid, SW_ROAD_DIRECT, &block_of);
	CHECK_EQ(send_as(&tag, &f), STOP);
	CHECK_EQ(send_as(&exempt, &f), STOP);
	maps_allowance_remove(world.maps, &subject);
	maps_block_remove(world.maps, &subject, SW_ROAD_DIRECT);
	set_mode(SW_MODE_OBSERVE);
	take_row(uid, &(struct sw_ledger){});
}

TEST(a_block_ends_by_its_own_time_and_one_computed_while_observing_refuses_nothing)
{
	const __u32 uid = 7011;
	struct sw_block block_of = { .since_ns = 1,
				     .by = SW_BY_LIMIT,
				     .until_ns = boot_ns() + 3600000000000 };
	struct frame f = usual_frame(4, ACK);
	struct sw_tag tag;

	if (!up())
		return;
	set_mode(SW_MODE_ENFORCE);
	tag = admitted(uid, SW_ROAD_DIRECT);
	block(uid, SW_ROAD_DIRECT, &block_of);
	CHECK_EQ(send_as(&tag, &f), STOP);
	set_mode(SW_MODE_OBSERVE);
	CHECK_EQ(send_as(&tag, &f), PASS);
	set_mode(SW_MODE_ENFORCE);
	block_of.until_ns = boot_ns();
	block(uid, SW_ROAD_DIRECT, &block_of);
	CHECK_EQ(send_as(&tag, &f), PASS);
	block_of.until_ns = 0;
	block_of.flags = SW_BLOCK_OBSERVED;
	block(uid, SW_ROAD_DIRECT, &block_of);
	CHECK_EQ(send_as(&tag, &f), PASS);
	set_mode(SW_MODE_OBSERVE);
	take_row(uid, &(struct sw_ledger){});
}

/* ---- bytes: the policy is found for the tag, and its window weighs every packet ---- */

static void send_weighed(bool enforce)
{
	struct frame data = usual_frame(4, ACK), ack = {};
	struct recipe r = usual(4);
	struct sw_tag tag = admitted(WEIGHED_UID, SW_ROAD_DIRECT);

	tag.generation = 0; /* of another set of rules: to be looked up */
	for (int i = 0; i < 10; i++)
		CHECK_EQ(send_as(&tag, &data), PASS);
	CHECK_EQ(send_as(&tag, &data), enforce ? STOP : PASS);
	r.payload = 0;
	build(&ack, &r);
	CHECK_EQ(send_as(&tag, &ack), PASS);
	tag.road = SW_ROAD_RELAY; /* the policy is about direct */
	CHECK_EQ(send_as(&tag, &data), PASS);
}

TEST(bytes_over_the_limit_stop_at_the_packet_that_goes_over_it)
{
	const struct sw_subject subject = { .kind = SW_KIND_UID, .uid = WEIGHED_UID };
	struct sw_ledger row = {};

	if (!up())
		return;
	set_mode(SW_MODE_ENFORCE);
	send_weighed(true);
	CHECK(take_row(WEIGHED_UID, &row));
	CHECK_EQ(row.direct.bytes, 10000);
	CHECK_EQ(row.direct.packets, 11);
	CHECK_EQ(row.relay.bytes, 1000);
	set_mode(SW_MODE_OBSERVE);
	CHECK_EQ(maps_windows_clear(world.maps, &subject), 0);
	send_weighed(false);
	CHECK(take_row(WEIGHED_UID, &row));
	CHECK_EQ(row.direct.bytes, 11000);
}

/* ---- sockets that connect() never saw ---- */

TEST(a_SYN_that_nobody_announced_is_nobodys_connection)
{
	struct frame syn = usual_frame(6, SYN);

	if (!up())
		return;
	check_packet(&no_tag, &syn, false);
	set_mode(SW_MODE_ENFORCE);
	check_packet(&no_tag, &syn, true);
	set_mode(SW_MODE_OBSERVE);
}

TEST(the_answers_of_a_service_to_a_caller_from_an_SMTP_port_pass_and_are_not_weighed)
{
	struct frame answer = usual_frame(4, SYN | ACK), data = usual_frame(4, ACK | PUSH);
	size_t weighed = t.weighed;

	if (!up())
		return;
	set_mode(SW_MODE_ENFORCE);
	check_packet(&no_tag, &answer, true);
	check_packet(&no_tag, &data, true);
	CHECK_EQ(t.weighed, weighed);
	set_mode(SW_MODE_OBSERVE);
}

TEST(a_session_that_was_refused_sends_nothing_while_enforcing)
{
	struct frame f = usual_frame(4, ACK);
	struct sw_tag tag;

	if (!up())
		return;
	tag = admitted(FREE_UID, SW_ROAD_DIRECT);
	tag.state = SW_TAG_REFUSED;
	check_packet(&tag, &f, false);
	set_mode(SW_MODE_ENFORCE);
	check_packet(&tag, &f, true);
	set_mode(SW_MODE_OBSERVE);
}

static void hold(__u64 until_ns)
{
	struct sw_control control;

	CHECK_EQ(maps_control(world.maps, &control), 0);
	control.held_until_s = until_ns / 1000000000;
	CHECK_EQ(maps_control_write(world.maps, &control), 0);
}

/* While another version takes over nothing that is SMTP is judged, weighed or let through. */
TEST(what_is_held_waits_but_for_RST_and_other_ports_and_not_for_ever)
{
	struct frame data = usual_frame(4, ACK | PUSH), syn = usual_frame(6, SYN),
		     rst = usual_frame(4, RST), web = {};
	const struct sw_tag held = { .version = 1, .uid = 7005, .flags = SW_TAG_HELD };
	struct recipe r = usual(4);
	struct sw_ledger row = {};
	struct sw_tag tag;

	if (!up())
		return;
	tag = admitted(FREE_UID, SW_ROAD_DIRECT);
	r.dport = 80;
	build(&web, &r);
	hold(boot_ns() + 60000000000);
	CHECK_EQ(send_as(&tag, &data), STOP);
	CHECK_EQ(send_as(&tag, &syn), STOP);
	CHECK_EQ(send_as(&held, &syn), STOP);
	CHECK_EQ(send_as(&no_tag, &syn), STOP);
	CHECK_EQ(send_as(&tag, &web), PASS);
	CHECK_EQ(rows(), 1); /* the overflow row */
	CHECK_EQ(send_as(&tag, &rst), PASS);
	hold(boot_ns() - 1000000000);
	CHECK_EQ(send_as(&tag, &data), PASS);
	CHECK_EQ(send_as(&held, &syn), PASS);
	hold(0);
	CHECK(take_row(7005, &row));
	CHECK_EQ(row.direct.connections, 1);
	take_row(FREE_UID, &row);
	CHECK_EQ(row.direct.packets, 1);
}

/* A NAT rule changed the port behind connect(): the packets tell, and the connection is judged. */
TEST(a_session_that_only_its_packets_show_to_be_SMTP_is_judged_by_the_limit_of_its_user)
{
	const struct sw_tag tag = { .version = 1, .uid = 7004 };
	struct frame f = usual_frame(4, ACK), web;
	struct recipe r = usual(4);
	struct sw_ledger row = {};

	if (!up())
		return;
	r.dport = 80;
	build(&web, &r);
	set_mode(SW_MODE_ENFORCE);
	CHECK_EQ(send_as(&tag, &web), PASS);
	CHECK_EQ(send_as(&tag, &f), PASS);
	CHECK_EQ(send_as(&tag, &f), PASS);
	CHECK_EQ(send_as(&tag, &f), STOP); /* each run has a socket of its own: the third session */
	CHECK_EQ(send_as(&tag, &web), PASS);
	set_mode(SW_MODE_OBSERVE);
	CHECK(take_row(7004, &row));
	CHECK_EQ(row.direct.connections, 2);
	CHECK_EQ(row.direct.refused, 1);
	CHECK_EQ(row.direct.packets, 2);
}

/* ---- against the oracle ---- */

static struct sw_tag random_tag(void)
{
	struct sw_tag tag = admitted(once_in(3) ? BLOCKED_UID : FREE_UID, below(3));

	if (once_in(8))
		return no_tag;
	if (once_in(10))
		tag.state = SW_TAG_REFUSED;
	if (once_in(4))
		tag.admitted_ns = boot_ns();
	return tag;
}

static __u64 unparsed(void)
{
	struct sw_health health = {};
	__u32 zero = 0;

	bpf_map_lookup_elem(t.health, &zero, &health);
	return health.unparsed;
}

TEST(random_packets_are_weighed_and_stopped_as_an_independent_parser_says)
{
	unsigned long i, n = random_frames();
	struct frame f;
	__u64 before;

	if (!up())
		return;
	t.weighed = t.stopped = t.cut = 0;
	before = unparsed();
	for (i = 0; i < n; i++) {
		struct sw_tag tag = random_tag();

		if (i == n / 2)
			set_mode(SW_MODE_ENFORCE);
		random_frame(&f);
		if (!check_packet(&tag, &f, i >= n / 2))
			break;
	}
	set_mode(SW_MODE_OBSERVE);
	CHECK_EQ(unparsed() - before, t.cut);
	CHECK_EQ(rows(), 1);
	printf("# %lu frames: %zu weighed, %zu stopped, %zu cut\n", i, t.weighed, t.stopped, t.cut);
}
