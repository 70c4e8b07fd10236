/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How many messages a session inside TLS sends, by the lengths and turns of its records. It is
 * an estimate. As bpf/lib/smtp.h, which feeds it, it knows no map, helper, clock or packet.
 *
 * Record headers are clear (RFC 8446 5.1), and what encryption adds to a plaintext is a constant
 * of the session: 17 octets in TLS 1.3; in TLS 1.2 it shows in the client's Finished, which has
 * 16 of its own. So the lengths of commands and replies are known, and SMTP goes by turns:
 *
 *	MAIL ... > 250 > RCPT > 250 > DATA > 354 > content > 250 > (RSET > 250 >) MAIL ...
 *	MAIL, RCPT, DATA > 250, 250, 354 > content > 250 ...		with PIPELINING
 *	MAIL, RCPT, BDAT and its chunk > 250, 250, 250 ...		with CHUNKING
 *
 * A turn of just six octets is DATA if something came before it, else RSET, NOOP or QUIT; a turn
 * whose reply is as long as several, for so few octets, asked for an envelope and DATA, too; and
 * what comes next is content. A long turn without any of these is an envelope, chunk and all.
 *
 * Exact for Postfix, Exim, curl, swaks, msmtp, PHPMailer and Python's smtplib against five kinds
 * of replies, but for one in two thousand messages. High, up to twice: refused recipients with
 * RSET and then another MAIL, a RSET before the first one, replies in a record each. Low: many
 * messages by BDAT in one session, small ones to many recipients, by half at most.
 */
#ifndef SMTPWALL_RHYTHM_H
#define SMTPWALL_RHYTHM_H

#include <smtpwall/dialogue.h>

#ifndef __always_inline
#define __always_inline inline __attribute__((__always_inline__))
#endif

#define RHYTHM_SHOWN 5		 /* of a record: its header */
#define RHYTHM_RECORD_MAX 18432	 /* RFC 5246 6.2.3: 2^14 + 2048 */
#define RHYTHM_OVERHEAD_TLS13 17 /* RFC 8446 5.2: content type and tag */
#define RHYTHM_FINISHED 16	 /* RFC 5246 7.4.9: a header and 12 octets */
#define RHYTHM_ALERT 2		 /* RFC 8446 6 */
#define RHYTHM_SIX 6		 /* DATA CRLF, and RSET, NOOP, QUIT */
#define RHYTHM_GROUP_LEAST 64	 /* octets of MAIL, RCPT and DATA together */
#define RHYTHM_LINE 64		 /* octets of one of these at most, on average */
#define RHYTHM_LINE_LEAST 11
#define RHYTHM_CONTENT_LEAST 150 /* octets of a turn that is no command */
#define RHYTHM_RECORDS_LEAST 3	 /* or records: some clients send line by line */
#define RHYTHM_CHUNK 8000	 /* octets of a chunk that follows the first one of its message */
#define RHYTHM_REPLY 12		 /* octets of a short reply, until one was seen */

enum rhythm {
	RHYTHM_HELLO,	 /* the first turn is EHLO */
	RHYTHM_START,	 /* an envelope may begin */
	RHYTHM_ENVELOPE, /* it has begun */
	RHYTHM_DATA,	 /* six octets: content follows, or that was RSET */
	RHYTHM_GROUP,	 /* content follows, unless it was a chunk in the turn itself */
	RHYTHM_PAID,	 /* content follows, and is counted */
	RHYTHM_CONTENT,	 /* this is content, and counted */
	RHYTHM_CHUNKED,	 /* the last turn was a long one and counted */
};

enum rhythm_record { RHYTHM_CIPHER = 20, RHYTHM_ALERTS, RHYTHM_HANDSHAKE, RHYTHM_APPLICATION };

/* TLS begins with a record of the server, of which the first two octets were read. */
static __always_inline void rhythm_begin(struct sw_tls *t)
{
	struct sw_tls fresh = {};

	fresh.received.at = 2;
	fresh.received.type = RHYTHM_HANDSHAKE;
	fresh.reply = RHYTHM_REPLY;
	*t = fresh;
}

static __always_inline __u16 rhythm_plain(const struct sw_tls *t, __u16 len)
{
	return len > t->overhead ? len - t->overhead : 0;
}

/* Block ciphers pad the Finished as they pad six octets, with one block more. */
static __always_inline void rhythm_finished(struct sw_tls *t, __u16 len)
{
	__u16 plain = len < 64 ? RHYTHM_FINISHED : RHYTHM_FINISHED + RHYTHM_SIX;

	t->overhead = len > plain && len < 256 ? len - plain : RHYTHM_OVERHEAD_TLS13;
}

static __always_inline __u32 rhythm_counts(struct sw_tls *t, __u8 state)
{
	t->state = state;
	t->any = 1;
	return 1;
}

/* Farewell: after an envelope that was a whole message. */
static __always_inline __u32 rhythm_closes(struct sw_tls *t)
{
	if (t->state == RHYTHM_GROUP)
		return rhythm_counts(t, RHYTHM_START);
	return 0;
}

static __always_inline int rhythm_is_six(const struct sw_tls *t)
{
	return t->records == 1 && t->octets == RHYTHM_SIX;
}

/* No command is as long as that, unless it has a very long address; some clients send lines. */
static __always_inline int rhythm_is_long(const struct sw_tls *t)
{
	return t->octets >= RHYTHM_CONTENT_LEAST || t->records >= RHYTHM_RECORDS_LEAST;
}

/* As long as the MAIL before it: what came between was RSET, not DATA. */
static __always_inline int rhythm_is_mail(const struct sw_tls *t)
{
	return t->octets + 4 >= t->mail && t->octets <= t->mail + 4U;
}

/* What may be content, is it? Who was seen to send DATA apart does not send groups. */
static __always_inline __u32 rhythm_follows(struct sw_tls *t)
{
	if (t->state == RHYTHM_PAID) {
		t->state = RHYTHM_CONTENT;
	} else if (t->state == RHYTHM_DATA && rhythm_is_long(t)) {
		t->apart = 1;
		return rhythm_counts(t, RHYTHM_CONTENT);
	} else if (t->state == RHYTHM_GROUP ||
		   (t->state == RHYTHM_DATA && (!t->any || !rhythm_is_mail(t)))) {
		if (!rhythm_is_six(t))
			return rhythm_counts(t, RHYTHM_CONTENT);
	}
	return 0;
}

static __always_inline __u32 rhythm_turn_goes_on(struct sw_tls *t, __u16 plain)
{
	if (!t->turn && plain <= RHYTHM_ALERT) /* in TLS 1.3 it looks like data */
		return rhythm_closes(t);
	if (!t->turn)
		t->octets = t->records = 0;
	t->turn = 1;
	t->octets = t->octets + plain < t->octets ? ~0U : t->octets + plain;
	t->records += t->records < 0xff;
	t->last = plain;
	return rhythm_follows(t);
}

/* A record of the client begins. Returns how many messages that makes. */
static __always_inline __u32 rhythm_client_record(struct sw_tls *t, __u8 type, __u16 len)
{
	if (type == RHYTHM_CIPHER) {
		t->ciphered = 1;
	} else if (type == RHYTHM_HANDSHAKE && t->ciphered && !t->overhead) {
		rhythm_finished(t, len);
	} else if (type == RHYTHM_APPLICATION && !t->overhead) {
		t->overhead = RHYTHM_OVERHEAD_TLS13; /* and this is the Finished */
	} else if (type == RHYTHM_APPLICATION) {
		return rhythm_turn_goes_on(t, rhythm_plain(t, len));
	} else if (type == RHYTHM_ALERTS) {
		return rhythm_closes(t);
	}
	return 0;
}

/* Were an envelope and DATA in the turn? Several lines were answered, or the last was DATA. */
static __always_inline int rhythm_is_group(const struct sw_tls *t)
{
	__u64 octets, answer;

	if (t->apart)
		return 0;
	if (t->records > 1 && t->last == RHYTHM_SIX)
		return 1;
	octets = (__u64)t->octets * t->reply;
	answer = (__u64)t->answer;
	return t->octets >= RHYTHM_GROUP_LEAST && 2U * t->answer >= 5U * t->reply &&
	       octets <= answer * RHYTHM_LINE &&
	       (!t->known || octets >= answer * RHYTHM_LINE_LEAST);
}

/* Is the answer longer than that of a plain 250: a 354, or one that names a queue? */
static __always_inline int rhythm_says_more(const struct sw_tls *t)
{
	return 2U * t->answer >= 3U * t->reply;
}

static __always_inline __u32 rhythm_long_turn(struct sw_tls *t)
{
	int more =
		t->state == RHYTHM_CHUNKED && t->octets >= RHYTHM_CHUNK && t->before < RHYTHM_CHUNK;

	t->before = t->octets < 0xffff ? t->octets : 0xffff;
	if (!more)
		return rhythm_counts(t, RHYTHM_CHUNKED);
	t->state = RHYTHM_START;
	return 0;
}

/* Six octets alone. After an envelope: DATA. Where content was due: none, or a very short one. */
static __always_inline __u32 rhythm_six(struct sw_tls *t)
{
	__u8 was = t->state;

	t->state = RHYTHM_START;
	if (was == RHYTHM_ENVELOPE) {
		t->state = RHYTHM_DATA;
	} else if ((was == RHYTHM_GROUP && !t->any) ||
		   ((was == RHYTHM_GROUP || was == RHYTHM_DATA) && rhythm_says_more(t))) {
		return rhythm_counts(t, RHYTHM_START);
	}
	return 0;
}

/* MAIL, or RCPT. */
static __always_inline void rhythm_short_turn(struct sw_tls *t)
{
	if (t->state != RHYTHM_ENVELOPE)
		t->mail = t->octets < 0xffff ? t->octets : 0xffff;
	t->state = RHYTHM_ENVELOPE;
}

/* What was the client's turn, now that the answer begins? */
static __always_inline __u32 rhythm_turn_ends(struct sw_tls *t)
{
	if (t->state == RHYTHM_HELLO || t->state == RHYTHM_CONTENT)
		t->state = RHYTHM_START;
	else if (rhythm_is_six(t))
		return rhythm_six(t);
	else if (rhythm_is_group(t))
		t->state = RHYTHM_GROUP;
	else if (rhythm_is_long(t) && !t->apart)
		return rhythm_long_turn(t);
	else
		rhythm_short_turn(t);
	return 0;
}

/* More of the answer: the turn may have been a group, after all. */
static __always_inline void rhythm_answer_goes_on(struct sw_tls *t)
{
	if (t->state == RHYTHM_CHUNKED && rhythm_is_group(t))
		t->state = RHYTHM_PAID;
	else if (t->state == RHYTHM_ENVELOPE && rhythm_is_group(t))
		t->state = RHYTHM_GROUP;
}

/* A record of the server begins. */
static __always_inline __u32 rhythm_server_record(struct sw_tls *t, __u8 type, __u16 len)
{
	__u16 plain = rhythm_plain(t, len);
	__u32 messages;
	int hello = t->state == RHYTHM_HELLO;

	if (type != RHYTHM_APPLICATION || !t->overhead)
		return 0;
	if (!t->turn) {
		t->answer = t->answer + plain < 0xffff ? t->answer + plain : 0xffff;
		rhythm_answer_goes_on(t);
		return 0;
	}
	t->turn = 0;
	t->answer = plain + !plain;
	messages = rhythm_turn_ends(t);
	if (!hello && (!t->known || t->answer < t->reply)) {
		t->reply = t->answer;
		t->known = 1;
	}
	return messages;
}

/* ---- records in a stream ---- */

/* How many of the next `left` bytes are inside a record. */
static __always_inline __u32 rhythm_passes(struct sw_record *r, __u32 left)
{
	__u32 n;

	if (r->at < RHYTHM_SHOWN)
		return 0;
	n = left < r->left ? left : r->left;
	r->left -= n;
	if (!r->left)
		r->at = 0;
	return n;
}

enum rhythm_octet { RHYTHM_GOES_ON, RHYTHM_RECORD, RHYTHM_NO_TLS };

/* RFC 8446 5.1: type, version, length. */
static __always_inline enum rhythm_octet rhythm_octet(struct sw_record *r, __u8 c)
{
	__u8 at = r->at++;

	if (at == 0)
		r->type = c;
	else if (at >= 3)
		r->left = r->left << 8 | c;
	if ((at == 0 && (c < 20 || c > 24)) || (at == 1 && c != 3))
		return RHYTHM_NO_TLS;
	if (at < RHYTHM_SHOWN - 1)
		return RHYTHM_GOES_ON;
	return r->left > RHYTHM_RECORD_MAX ? RHYTHM_NO_TLS : RHYTHM_RECORD;
}

/* What of `len` bytes is a record's header; *ret_what says whether it is complete. */
static __always_inline __u32 rhythm_says(struct sw_record *r, const __u8 *buf, __u32 len,
					 enum rhythm_octet *ret_what)
{
	__u32 i;

	*ret_what = RHYTHM_GOES_ON;
	for (i = 0; i < RHYTHM_SHOWN && i < len && *ret_what == RHYTHM_GOES_ON; i++)
		*ret_what = rhythm_octet(r, buf[i]);
	return i;
}

#endif
