/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * From packets to the dialogue: each side's new bytes, in order, each once. TCP keeps the order
 * of what it delivers, but not of what comes by: what was read already is passed over (a
 * duplicate may have other bytes), and what is ahead of what was read has to wait its turn, so it
 * is dropped here, and TCP sends it again in order.
 *
 * Where we cannot know what the other end reads, the dialogue is lost, which counts high: octets
 * that TCP calls urgent (servers pass over them), pages that the client can still change, and
 * replies that TCP refused when we had read them (a forgery, or broken on the way): it waits for
 * them still, so they are read again.
 */
#ifndef SMTPWALL_SESSION_H
#define SMTPWALL_SESSION_H

#include "maps.h"
#include "pages.h"
#include "parse.h"
#include "smtp.h"
#include "smtp_packet.h"

enum side { SIDE_CLIENT, SIDE_SERVER };

/* Where a segment stands to what was read of its side. */
enum order {
	ORDER_NEXT,  /* there are new bytes in it */
	ORDER_OLD,   /* none, or no payload */
	ORDER_AHEAD, /* bytes before it were not seen yet */
	ORDER_BUSY,  /* another CPU is reading the one before it */
};

/* Packets can hold more lines than the verifier lets us walk. See session_read_done(). */
#define ROUNDS_MAX 1024

#define SYN_PAYLOAD_MAX 65535

static __always_inline __u32 payload_seq(const struct segment *s)
{
	return s->seq + (s->opens || s->accepts ? 1 : 0);
}

/*
 * Most packets of the client are content, which nobody reads. It is only summed up, and this without
 * the lock, which would cost half as much again as all the rest of such a packet. Whoever takes the
 * lock next tells the dialogue of it: in time, for what answers it comes after it.
 */
static __always_inline bool session_skips(struct sw_session *session, const struct segment *s)
{
	__u32 seq = s->seq;

	if (!smtp_client_is_skipped(&session->dialogue) ||
	    __sync_val_compare_and_swap(&session->client_next, seq, seq + s->payload) != seq)
		return false;
	__sync_fetch_and_add(&session->skipped, s->payload);
	return true;
}

static __always_inline void session_lock(struct sw_session *session)
{
	__u64 skipped;

	bpf_spin_lock(&session->lock);
	if (!session->skipped)
		return;
	skipped = __sync_lock_test_and_set(&session->skipped, 0);
	smtp_client_passed(&session->dialogue, skipped < ~0U ? skipped : ~0U);
}

static __always_inline void session_unlock(struct sw_session *session)
{
	bpf_spin_unlock(&session->lock);
}

/* Anew, at the client's first byte. */
static __always_inline void session_begin(struct sw_session *session, __u32 first)
{
	session_lock(session);
	smtp_begin(&session->dialogue, false);
	session->client_next = first;
	session->server_seen = 0;
	session->server_reading = SW_READING_NOTHING;
	session_unlock(session);
}

/* A SYN that is sent again opens nothing anew. The first may have had payload. */
static __always_inline bool session_knows(const struct sw_session *session, const struct segment *s)
{
	return session->dialogue.client != SMTP_UNFOLLOWED && !session->server_seen &&
	       session->client_next - payload_seq(s) <= SYN_PAYLOAD_MAX;
}

/* The server's first payload: `next` is where TCP waits for it. */
static __always_inline void session_server_begins(struct sw_session *session, __u32 next)
{
	session_lock(session);
	session->server_seen = 1;
	session->server_next = next;
	session_unlock(session);
}

/*
 * Claims the segment's new bytes for the caller to read; *ret_skip of its payload are old, or the
 * client's inside a chunk or a TLS record, and need not be read. Of the server's, until
 * session_read_done(): its segments may come on several CPUs at once.
 */
static __always_inline enum order session_claim(struct sw_session *session, enum side side,
						const struct segment *s, __u32 *ret_skip,
						struct smtp_news *news)
{
	__u32 *next = side == SIDE_CLIENT ? &session->client_next : &session->server_next;
	__u32 seq = payload_seq(s), behind;
	enum order order = ORDER_NEXT;

	session_lock(session);
	behind = *next - seq;
	if ((__s32)behind < 0)
		order = ORDER_AHEAD;
	else if (behind >= s->payload)
		order = ORDER_OLD;
	else if (side == SIDE_SERVER && session->server_reading == SW_READING_NOW)
		order = ORDER_BUSY;
	else
		*next = seq + s->payload;
	if (side == SIDE_SERVER && order == ORDER_NEXT)
		session->server_reading = SW_READING_NOW;
	else if (order == ORDER_NEXT)
		behind += smtp_client_passes(&session->dialogue, s->payload - behind, news);
	session_unlock(session);
	*ret_skip = behind;
	return order;
}

/*
 * Ends a claim that left `unread` bytes. The server's wait for another round: the caller drops the
 * packet, and TCP sends it again. The client's go, as those of one that is lost.
 */
static __always_inline void session_read_done(struct sw_session *session, enum side side,
					      __u32 unread)
{
	struct smtp_news none;

	if (side == SIDE_CLIENT && !unread)
		return;
	session_lock(session);
	if (side == SIDE_SERVER) {
		session->server_next -= unread;
		session->server_reading = unread ? SW_READING_IN_ROUNDS : SW_READING_NOTHING;
	} else {
		smtp_lose(&session->dialogue);
		smtp_client_passes(&session->dialogue, unread, &none);
	}
	session_unlock(session);
}

/* The client's bytes before `seq` were lost for us, but not for the server: on behind them. */
static __always_inline void session_client_resumes(struct sw_session *session, __u32 seq)
{
	struct smtp_news none;

	session_lock(session);
	smtp_lose(&session->dialogue);
	smtp_client_passes(&session->dialogue, seq - session->client_next, &none);
	session->client_next = seq;
	session_unlock(session);
}

/* Where we are with the server is not where TCP is. */
static __always_inline void session_server_resumes(struct sw_session *session, __u32 seq)
{
	session_lock(session);
	smtp_lose(&session->dialogue);
	session->server_next = seq;
	session_unlock(session);
}

/* The client has sent its last byte. */
static __always_inline void session_closes(struct sw_session *session, struct smtp_news *news)
{
	session_lock(session);
	smtp_closes(&session->dialogue, news);
	session_unlock(session);
}

static __always_inline void session_lose(struct sw_session *session)
{
	session_lock(session);
	smtp_lose(&session->dialogue);
	session_unlock(session);
}

static __always_inline bool session_holds(const struct sw_session *session)
{
	return smtp_holds(&session->dialogue);
}

static __always_inline bool session_is_old(const struct sw_session *session,
					   const struct segment *s)
{
	return (__s32)(session->client_next - (s->seq + s->payload)) >= 0;
}

static __always_inline __u32 dialogue_passes(struct sw_session *session, __u32 side, __u32 left,
					     struct smtp_news *news)
{
	__u32 taken;

	session_lock(session);
	if (side == SIDE_CLIENT)
		taken = smtp_client_passes(&session->dialogue, left, news);
	else
		taken = smtp_server_passes(&session->dialogue, left);
	session_unlock(session);
	return taken;
}

static __always_inline bool may_be_read(const struct __sk_buff *skb, __u32 side)
{
	return side == SIDE_SERVER || !pages_may_change(skb);
}

/* Reads on at `offset` (from the network header). Returns how many bytes are done with. */
SUBPROGRAM __u32 session_step(struct __sk_buff *skb, __u32 side, __u32 offset, __u32 left,
			      struct smtp_news *news)
{
	struct bpf_sock *sk = skb->sk;
	struct sw_session *session;
	__u8 shown[SMTP_SHOWN] = {};
	__u32 taken, n = left;
	__u64 less;

	if (!sk || !news)
		return left;
	session = bpf_sk_storage_get(&sessions, sk, NULL, 0);
	if (!session)
		return left;
	taken = dialogue_passes(session, side, left, news);
	if (taken)
		return taken;
	if (!may_be_read(skb, side)) {
		session_lose(session);
		return dialogue_passes(session, side, left, news);
	}
	if (n < 1)
		return left;
	if (n > SMTP_SHOWN)
		n = SMTP_SHOWN;
	less = (n - 1) & (SMTP_SHOWN - 1);
	barrier_var(less); /* Linux 6.1 must see the bounds of what it is to read */
	/* Not `load`, which reads no pages; here, at a cgroup, the packet begins with its IP header. */
	if (bpf_skb_load_bytes(skb, offset, shown, less + 1))
		return left;
	session_lock(session);
	if (side == SIDE_CLIENT)
		taken = smtp_client_says(&session->dialogue, shown, n, news);
	else
		taken = smtp_server_says(&session->dialogue, shown, n, news);
	session_unlock(session);
	return taken;
}

/* Reads the new bytes of a segment, of which `skip` are old. Returns how many it has not read. */
SUBPROGRAM __u32 session_read(struct __sk_buff *skb, __u32 side, const struct smtp_packet *packet,
			      __u32 skip, struct smtp_news *news)
{
	__u32 offset, end, i;

	if (!packet || !news)
		return 0;
	offset = packet->segment.at + skip;
	end = packet->segment.at + packet->segment.payload;
	for (i = 0; i < ROUNDS_MAX && offset < end; i++)
		offset += session_step(skb, side, offset, end - offset, news);
	return offset < end ? end - offset : 0;
}

#endif
