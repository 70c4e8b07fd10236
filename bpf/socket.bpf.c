// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * cgroup_skb/egress: every packet of every local socket, whatever the device, tunnel or network
 * namespace, after NAT. The arm: packets of a blocked sender stop here, however its socket came
 * about. The scale: bytes and packets of each sender. And with cgroup_skb/ingress the ear: both
 * sides of the SMTP dialogue.
 */
#include <stdbool.h>
#include <stddef.h>

#include <linux/bpf.h>
#include <linux/in.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "lib/clock.h"
#include "lib/evidence.h"
#include "lib/glance.h"
#include "lib/judge.h"
#include "lib/kernel.h"
#include "lib/parse.h"
#include "lib/session.h"
#include "lib/smtp_packet.h"

#define STOP 0
#define PASS 1

/* A session older than the programs gets the tag that the daemon found for it. */
static __always_inline struct sw_tag *elder_tag(struct __sk_buff *skb, struct bpf_sock *sk)
{
	__u64 cookie = bpf_get_socket_cookie(skb);
	struct sw_tag *elder = bpf_map_lookup_elem(&elders, &cookie), *tag;

	if (!elder)
		return NULL;
	tag = bpf_sk_storage_get(&tags, sk, elder, BPF_SK_STORAGE_GET_F_CREATE);
	return tag ? tag : elder;
}

static __always_inline void attempt_of(const struct smtp_packet *packet, __u64 now_ns,
				       struct attempt *a)
{
	a->generation = packet->generation;
	a->now_ns = now_ns;
	a->port = packet->port;
	a->daddr = packet->segment.daddr;
}

/* A session that only its packets show to be SMTP: a NAT rule changed the port after connect(), or
 * connect() was held. */
SUBPROGRAM int judge_session(struct sw_tag *tag, const struct smtp_packet *packet)
{
	struct attempt a = {};
	struct outcome o = {};
	__u32 flags;

	if (!tag || !packet)
		return true;
	attempt_of(packet, bpf_ktime_get_boot_ns(), &a);
	if (!(tag->flags & SW_TAG_HELD))
		health_count(renamed);
	a.metric = SW_METRIC_CONNECTIONS;
	a.n = 1;
	flags = network_flags(a.generation, &a.daddr);
	a.road = road_of(flags, a.port);
	tag->flags &= ~SW_TAG_TO_EXEMPT; /* of a raw socket's SYN before */
	if (flags & SW_NET_EXEMPT)
		tag->flags |= SW_TAG_TO_EXEMPT;
	if (judge(tag, &a, &o) != FATE_PASS) /* too late to redirect it */
		return true;
	tag->admitted_ns = a.now_ns;
	tag->state = SW_TAG_ADMITTED;
	return false;
}

/* Of any socket: not all kernels have a helper that tells this here. */
SUBPROGRAM int is_of_this_netns(struct __sk_buff *skb)
{
	const struct sw_control *control = control_get();
	struct bpf_sock *sk = skb->sk;
	struct {
		__u8 bytes[160];
	} common;
	__u32 at = bpf_core_field_offset(struct sock_common, skc_net.net);
	struct net *net;

	if (!sk || !control || at > sizeof(common) - sizeof(net) ||
	    bpf_probe_read_kernel(&common, at + sizeof(net), sk))
		return true;
	net = *(struct net **)(common.bytes + at);
	return BPF_CORE_READ(net, net_cookie) == control->netns_cookie;
}

/*
 * Sends a SYN that nobody's connect() announced: a raw socket. Its uid proves nothing (a private
 * namespace can have any), so it is nobody's, and judged as that.
 */
static __always_inline struct sw_tag *raw_tag(struct bpf_sock *sk)
{
	struct sw_tag *tag = bpf_sk_storage_get(&tags, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);

	if (!tag)
		return NULL;
	tag->version = 1;
	tag->flags = SW_TAG_FOREIGN | SW_TAG_RAW;
	tag->uid = SW_UID_OVERFLOW;
	tag->gid = SW_UID_OVERFLOW;
	__builtin_memset(tag->order, SW_POLICIES, sizeof(tag->order));
	return tag;
}

static __always_inline bool must_judge(const struct sw_tag *tag, const struct segment *s)
{
	return tag->state == SW_TAG_NONE || ((tag->flags & SW_TAG_RAW) && s->opens);
}

/* The verdict on what an admitted session does: DEED_*. */
#define DEED_REFUSED (1 << 0) /* by a policy, if only one that observes */
#define DEED_STOPPED (1 << 1) /* and enforced */

SUBPROGRAM int judge_deed(struct sw_tag *tag, const struct attempt *a)
{
	struct outcome o = {};
	bool enforce;

	if (!tag || !a)
		return DEED_REFUSED | DEED_STOPPED;
	enforce = enforces(a->now_ns);
	if (tag->generation != a->generation)
		policy_resolve(tag, a);
	if (judge_policy(tag, a, &enforce, &o) == FATE_PASS)
		return 0;
	if (o.trips)
		evidence_trips(tag, a, o.kind, enforce);
	if (o.tell)
		tell(enforce ? SW_EVENT_REFUSE : SW_EVENT_WOULD_REFUSE, tag, a, &o);
	return enforce ? DEED_REFUSED | DEED_STOPPED : DEED_REFUSED;
}

static __always_inline bool is_weighed(const struct sw_tag *tag, const struct smtp_packet *packet)
{
	return (tag->flags & SW_TAG_WEIGHED) && packet->segment.payload;
}

/* Of one whose policy is not known, or weighs it. */
SUBPROGRAM int judge_bytes(struct sw_tag *tag, const struct smtp_packet *packet)
{
	struct attempt a = {};

	if (!tag || !packet)
		return true;
	a.road = tag->road;
	attempt_of(packet, lately_ns(), &a);
	if (tag->generation != a.generation)
		policy_resolve(tag, &a);
	if (!is_weighed(tag, packet))
		return false;
	a.metric = SW_METRIC_BYTES;
	a.n = packet->segment.payload;
	return judge_deed(tag, &a) & DEED_STOPPED;
}

static __always_inline bool over_bytes(struct sw_tag *tag, const struct smtp_packet *packet)
{
	return (tag->generation != packet->generation || is_weighed(tag, packet)) &&
	       judge_bytes(tag, packet);
}

/* The clock is dear (a third of what all this costs), so a long session looks now and then. */
#define SEEN_EVERY_PACKETS 64

static __always_inline void add_weight(struct sw_ledger *row, __u32 road, __u64 bytes,
				       __u64 packets)
{
	struct sw_tally *tally = tally_of(row, road);

	__sync_fetch_and_add(&tally->packets, packets);
	if (bytes)
		__sync_fetch_and_add(&tally->bytes, bytes);
}

/* Gives its other subjects what they were not given yet. */
SUBPROGRAM int settle(struct sw_tag *tag)
{
	struct sw_ledger *row;
	__u32 kind;

	if (!tag)
		return 0;
	for (kind = 0; kind < SW_LOCAL_KINDS; kind++) {
		row = kind != SW_KIND_UID && is_subject(tag, kind) ? ledger_of(tag, kind, 0) : NULL;
		if (row)
			add_weight(row, tag->road, tag->unsettled_bytes, tag->unsettled_packets);
	}
	tag->unsettled_bytes = 0;
	tag->unsettled_packets = 0;
	return 0;
}

#define UNSETTLED_BYTES_MAX (1u << 30)

static __always_inline void weigh(struct sw_tag *tag, const struct segment *s)
{
	struct sw_ledger *row = ledger_of(tag, SW_KIND_UID, 0);

	if (!row)
		return;
	add_weight(row, tag->road, s->payload, s->count);
	if (s->closes || tally_of(row, tag->road)->packets % SEEN_EVERY_PACKETS == 0)
		row->last_seen_ns = bpf_ktime_get_boot_ns();
	tag->unsettled_bytes += s->payload;
	tag->unsettled_packets += s->count;
	if (s->closes || s->resets || tag->unsettled_packets >= SW_SETTLE_PACKETS ||
	    tag->unsettled_bytes >= UNSETTLED_BYTES_MAX)
		settle(tag);
}

/* ---- the ear ---- */

static __always_inline void count_news_of(const struct sw_tag *tag, __u32 kind,
					  const struct smtp_news *news)
{
	struct sw_ledger *row = ledger_of(tag, kind, 0);
	struct sw_tally *tally;

	if (!row)
		return;
	tally = tally_of(row, tag->road);
	if (news->accepted)
		__sync_fetch_and_add(&tally->messages, news->accepted);
	if (news->recipients)
		__sync_fetch_and_add(&tally->recipients, news->recipients);
	if (news->rejects)
		__sync_fetch_and_add(&tally->rejects, news->rejects);
	if (news->deferrals)
		__sync_fetch_and_add(&tally->deferrals, news->deferrals);
	if (news->estimated)
		__sync_fetch_and_add(&tally->messages_tls_estimated, news->estimated);
}

SUBPROGRAM int count_news(const struct sw_tag *tag, const struct smtp_news *news)
{
	__u32 kind;

	if (!tag || !news)
		return 0;
	for (kind = 0; kind < SW_LOCAL_KINDS; kind++)
		if (is_subject(tag, kind))
			count_news_of(tag, kind, news);
	return 0;
}

static __always_inline __u64 news_of(const struct smtp_news *news, __u32 metric)
{
	switch (metric) {
	case SW_METRIC_MESSAGES:
		return news->charged;
	case SW_METRIC_RECIPIENTS:
		return news->recipients;
	case SW_METRIC_REJECTS:
		return news->rejects;
	case SW_METRIC_DEFERRALS:
		return news->deferrals;
	case METRIC_ESTIMATED:
		return news->estimated;
	default:
		return 0;
	}
}

/*
 * Charges what has happened already: where not all of it fits, as much as does. So who sends many
 * messages before the first reply is over his limit from then on, and cannot do it again.
 */
#define CHARGES_MAX 40 /* each halves what is left, or is the last of its size but one */

static __always_inline int judge_deeds(struct sw_tag *tag, struct attempt *a)
{
	__u32 left = a->n, i;
	int deeds = 0, one;

	for (i = 0; i < CHARGES_MAX && a->n; i++) {
		one = judge_deed(tag, a);
		deeds |= one;
		if ((one & DEED_STOPPED) && !is_fact(a->metric)) {
			a->n /= 2; /* it was charged nowhere */
		} else {
			left -= a->n;
			a->n = smtp_least(a->n, left);
		}
	}
	return deeds;
}

#define HEARD_ENOUGH (1 << 0) /* the session ends here */
#define HEARD_CHARGE (1 << 1) /* messages were charged to the windows */

/* What a packet said, counted and judged. Returns HEARD_*. */
SUBPROGRAM int judge_news(struct sw_tag *tag, const struct smtp_packet *packet,
			  const struct smtp_news *news, __u64 charged_ns)
{
	struct attempt a = {};
	int heard = 0, deeds = 0;
	__u32 i;

	if (!tag || !packet || !news)
		return HEARD_ENOUGH;
	count_news(tag, news);
	attempt_of(packet, bpf_ktime_get_boot_ns(), &a);
	a.road = tag->road;
	if (tag->generation != a.generation)
		policy_resolve(tag, &a);
	if (news->refunded)
		refund_messages(tag, &a, news->refunded, charged_ns);
	for (i = 0; i <= METRIC_ESTIMATED; i++) {
		a.metric = i == METRIC_ESTIMATED && (tag->flags & SW_TAG_COUNTS_TLS) ?
				   SW_METRIC_MESSAGES :
				   i;
		a.n = news_of(news, i);
		deeds |= judge_deeds(tag, &a);
		if (i == SW_METRIC_MESSAGES && news->charged && !(deeds & DEED_REFUSED))
			heard |= HEARD_CHARGE;
	}
	if (deeds)
		count_verdict(tag, &a, true, deeds & DEED_STOPPED);
	return deeds & DEED_STOPPED ? heard | HEARD_ENOUGH : heard;
}

static __always_inline bool is_news(const struct smtp_news *news)
{
	return news->charged || news->refunded || news->accepted || news->recipients ||
	       news->rejects || news->deferrals || news->estimated;
}

/* Does the client begin a line of which there is no evidence yet? */
static __always_inline bool begins_line(const struct sw_tag *tag, const struct sw_session *session)
{
	return tag->evidence && tag->heard != (SW_HEARD_HELO | SW_HEARD_MAIL) &&
	       session->dialogue.client == SMTP_COMMANDS && !session->dialogue.line;
}

/*
 * Reads what is new in the packet, but for the `skip` bytes that session_claim() was done with.
 * True: it must not go on.
 */
static __always_inline bool hear(struct __sk_buff *skb, struct sw_session *session,
				 struct sw_tag *tag, enum side side,
				 const struct smtp_packet *packet, __u32 skip,
				 struct smtp_news *news)
{
	__u32 unread = 0;
	int heard = 0;

	if (skip < packet->segment.payload) {
		if (side == SIDE_CLIENT && begins_line(tag, session))
			evidence_hears(skb, tag, packet->segment.at + skip,
				       packet->segment.payload - skip);
		unread = session_read(skb, side, packet, skip, news);
		session_read_done(session, side, unread);
	}
	if (side == SIDE_CLIENT && packet->segment.closes)
		session_closes(session, news);
	if (is_news(news))
		heard = judge_news(tag, packet, news, session->charged_ns);
	if (heard & HEARD_ENOUGH) {
		tag->state = SW_TAG_REFUSED;
		return true;
	}
	if (news->charged) /* what was not charged is not paid back */
		session->charged_ns = heard & HEARD_CHARGE ? bpf_ktime_get_boot_ns() : 0;
	return side == SIDE_SERVER && unread;
}

/*
 * Is the client to be held back? Only one whose messages are limited: behind a DATA it waits for
 * the 354 to be judged, and what it then sends waits for what was dropped.
 */
static __always_inline bool may_hold(const struct sw_tag *tag)
{
	return (tag->flags & SW_TAG_COUNTED) &&
	       !(tag->flags & (SW_TAG_EXEMPT | SW_TAG_TO_EXEMPT)) &&
	       enforces(bpf_ktime_get_boot_ns());
}

static __always_inline struct sw_session *session_get(struct bpf_sock *sk)
{
	return bpf_sk_storage_get(&sessions, sk, NULL, 0);
}

/*
 * Made with the first payload: its SYN alone, for which connect() waits, is noted in the tag. It is
 * begun when others can see it, for both sides may make it at once; then one of them fails, and
 * finds what the other made. `first`: the client's first byte, if that is known, else the next one.
 */
SUBPROGRAM int session_make(struct __sk_buff *skb, __u32 first, __u32 known)
{
	struct bpf_sock *sk = skb->sk;
	struct sw_session begun = {};

	smtp_begin(&begun.dialogue, !known);
	begun.client_next = first;
	if (sk)
		bpf_sk_storage_get(&sessions, sk, &begun, BPF_SK_STORAGE_GET_F_CREATE);
	return 0;
}

/*
 * There was no room to hear it. Once it went on unheard, the replies to come would be taken for one
 * another's.
 */
static __always_inline bool unheard_stops(struct sw_tag *tag)
{
	if (enforces(bpf_ktime_get_boot_ns()))
		return true;
	tag->opened = 0;
	return false;
}

/*
 * A SYN; `session`: of an earlier connection of its socket, or of this one: what is sent again
 * opens nothing anew.
 */
static __always_inline void session_opens(struct sw_session *session, struct sw_tag *tag,
					  const struct segment *s)
{
	tag->opened = 1;
	tag->client_first = payload_seq(s);
	if (session && !session_knows(session, s))
		session_begin(session, payload_seq(s));
}

static __always_inline bool client_stops(struct __sk_buff *skb, struct bpf_sock *sk,
					 struct sw_tag *tag, const struct smtp_packet *packet)
{
	const struct segment *s = &packet->segment;
	struct smtp_news news = {};
	struct sw_session *session;
	__u32 skip, opened;

	if (s->cut || (tag->flags & SW_TAG_RAW) || (!s->payload && !s->opens && !s->closes))
		return false;
	session = session_get(sk);
	if (s->opens)
		session_opens(session, tag, s);
	if (!session && !s->payload)
		return false;
	if (!session) {
		opened = tag->opened;
		session_make(skb, opened ? tag->client_first : payload_seq(s), opened);
		session = session_get(sk);
	}
	if (!session)
		return unheard_stops(tag);
	if (!s->payload && !s->closes)
		return false;
	if (!s->opens && !s->closes && !s->urgent && session_skips(session, s))
		return false;
	if (session_holds(session) && may_hold(tag) && !session_is_old(session, s))
		return true;
	if (s->urgent)
		session_lose(session);
	switch (session_claim(session, SIDE_CLIENT, s, &skip, &news)) {
	case ORDER_BUSY: /* the server's alone are */
	case ORDER_OLD:
		if (!s->closes)
			return false;
		skip = s->payload; /* nothing is new but the end */
		break;
	case ORDER_AHEAD:
		if (may_hold(tag))
			return true;
		session_client_resumes(session, s->seq);
		session_claim(session, SIDE_CLIENT, s, &skip, &news);
		break;
	case ORDER_NEXT:
		break;
	}
	return hear(skb, session, tag, SIDE_CLIENT, packet, skip, &news);
}

/* ---- */

static __always_inline int stop_if_enforcing(void)
{
	return enforces(bpf_ktime_get_boot_ns()) ? STOP : PASS;
}

static __always_inline int smtp_out(struct __sk_buff *skb, struct bpf_sock *sk,
				    const struct smtp_packet *packet)
{
	const struct segment *s = &packet->segment;
	struct sw_tag *tag = bpf_sk_storage_get(&tags, sk, NULL, 0);

	if (s->cut)
		health_count(unparsed);
	if (!tag)
		tag = elder_tag(skb, sk);
	if (!tag && !s->opens)
		return PASS; /* a service of ours answers one who called from an SMTP port */
	if (!tag && is_stream(sk)) {
		health_count(no_storage); /* its owner saw to it that connect() could not tag it */
		return stop_if_enforcing();
	}
	if (!tag && !is_of_this_netns(skb))
		return PASS; /* it reaches no one, or is seen on the wire as forwarded */
	if (!tag)
		tag = raw_tag(sk);
	if (!tag)
		return stop_if_enforcing();
	if (must_judge(tag, s) && judge_session(tag, packet))
		tag->state = SW_TAG_REFUSED;
	if (tag->state == SW_TAG_REFUSED && !s->resets) /* the remote must learn of a cut */
		return stop_if_enforcing();
	if (arm_stops(tag, s->opens, s->resets) || over_bytes(tag, packet) ||
	    client_stops(skb, sk, tag, packet))
		return STOP;
	weigh(tag, s);
	return PASS;
}

SEC("cgroup_skb/egress")
int socket_out(struct __sk_buff *skb)
{
	const struct view view = view_at_socket(skb);
	struct bpf_sock *sk = skb->sk;
	struct smtp_packet packet;

	if (!sk || !is_smtp(skb, &view, &packet))
		return PASS;
	if (may_be_held() && is_held())
		return packet.segment.resets ? PASS : STOP; /* all else is sent again */
	return smtp_out(skb, sk, &packet);
}

/*
 * Where does TCP wait for the server's next byte? What has passed here may still be before it, in
 * the backlog of the socket. False: it does not know yet.
 */
static __always_inline bool tcp_awaits(struct bpf_sock *sk, __u32 *ret_seq)
{
	struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);

	if (!tcp || sk->state == BPF_TCP_SYN_SENT)
		return false;
	*ret_seq = tcp->rcv_nxt;
	return true;
}

/* A duplicate that TCP does not take for one: it has refused what we have read. */
static __always_inline bool was_refused(const struct sw_session *session, const struct segment *s,
					__u32 awaited)
{
	return session->server_reading == SW_READING_NOTHING &&
	       (__s32)(session->server_next - awaited) > 0 && (__s32)(awaited - s->seq) >= 0 &&
	       (__s32)(s->seq + s->payload - awaited) > 0;
}

/* Puts us where TCP is, if it is elsewhere. What it has not got because we stopped it, we have. */
static __always_inline void follow_tcp(struct bpf_sock *sk, struct sw_session *session,
				       const struct sw_tag *tag, const struct segment *s)
{
	__u32 awaited, known = tcp_awaits(sk, &awaited);

	if (!session->server_seen)
		session_server_begins(session, known ? awaited : payload_seq(s));
	else if (known && ((__s32)(awaited - session->server_next) > 0 ||
			   (tag->state != SW_TAG_REFUSED && was_refused(session, s, awaited))))
		session_server_resumes(session, awaited);
}

static __always_inline bool server_stops(struct __sk_buff *skb, struct bpf_sock *sk,
					 struct sw_tag *tag, const struct smtp_packet *packet)
{
	const struct segment *s = &packet->segment;
	struct sw_session *session;
	struct smtp_news news = {};
	__u32 skip;

	if (s->cut || !s->payload)
		return false;
	session = session_get(sk);
	if (!session && !tag->opened)
		return false;
	if (!session) {
		session_make(skb, tag->client_first, true);
		session = session_get(sk);
	}
	if (!session)
		return unheard_stops(tag);
	follow_tcp(sk, session, tag, s);
	if (s->urgent)
		session_lose(session);
	switch (session_claim(session, SIDE_SERVER, s, &skip, &news)) {
	case ORDER_OLD:
		return false;
	case ORDER_AHEAD:
		/* The order inside TLS is worth a delay only where somebody is limited by it. */
		return session->dialogue.client != SMTP_TLS || may_hold(tag);
	case ORDER_BUSY:
		return true;
	case ORDER_NEXT:
		break;
	}
	return hear(skb, session, tag, SIDE_SERVER, packet, skip, &news);
}

/* Sessions whose port a NAT rule changed cannot be told by it: if there ever was one, all are asked. */
static __always_inline bool may_be_session(const struct sw_control *control, struct bpf_sock *sk)
{
	const struct sw_health *health = health_get();

	return is_smtp_port(control->generation, bpf_ntohs(sk->dst_port)) ||
	       (health && health->renamed);
}

static __always_inline int smtp_in(struct __sk_buff *skb, struct bpf_sock *sk, struct sw_tag *tag)
{
	struct smtp_packet packet = {};

	smtp_packet_take(skb, &packet);
	packet.segment.daddr = packet.segment.saddr; /* what is told of is the remote */
	if (packet.segment.resets)
		return PASS;
	if (may_be_held() && is_held())
		return STOP;
	/* Of what was under way when a session was refused the server still tells what it took. */
	if (server_stops(skb, sk, tag, &packet))
		return STOP;
	return tag->state == SW_TAG_REFUSED && packet.segment.payload ? stop_if_enforcing() : PASS;
}

SEC("cgroup_skb/ingress")
int socket_in(struct __sk_buff *skb)
{
	const struct sw_control *control = control_get();
	struct bpf_sock *sk = skb->sk;
	struct sw_tag *tag;

	if (!sk || !control || !may_be_session(control, sk))
		return PASS;
	sk = bpf_sk_fullsock(sk);
	tag = sk ? bpf_sk_storage_get(&tags, sk, NULL, 0) : NULL;
	if (!tag || tag->state == SW_TAG_NONE)
		return PASS;
	return smtp_in(skb, sk, tag);
}

char LICENSE[] SEC("license") __weak = "GPL";
