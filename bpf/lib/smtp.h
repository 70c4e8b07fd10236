/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The SMTP dialogue: what a session's bytes mean. It knows no map, helper, clock or packet, so
 * the kernel programs, the unit tests and whatever else sees both sides of a session include
 * this very file. It is all inlined: the caller may hold a spin lock around it.
 *
 * The caller shows each side's new bytes in order, each byte once:
 *
 *	off += smtp_client_passes(d, end - off, &news);		bytes that nobody need read
 *	off += smtp_client_says(d, buf, len, &news);		len <= SMTP_SHOWN; how many it took
 *
 * and smtp_server_passes/says likewise, until the packet is done.
 *
 * Who is believed. The server is the witness: a message is charged at its 354 (or when the
 * client sends the first chunk of a BDAT, or content that waits for no 354), and the charge is
 * taken back only when it refuses. The client says only what it asked: replies are matched with
 * the commands that it sent, so that a server cannot count up what nobody sent. That holds while
 * both understand the client's bytes as we do. Therefore only what no two servers read
 * differently is read at all: a bare CR or LF, a NUL, an empty or an overlong line, a BDAT that
 * is not spelled as RFC 3030 has it, bytes that do not wait where they must, more unanswered
 * commands than we remember: the client is LOST, for the rest of the session, and the replies
 * alone are counted, high.
 *
 * Content is skipped, not read: the server's reply ends it. Commands may hide behind it (after
 * an end that only this server takes for one, too). Their DATA shows in its 354. A hidden BDAT
 * shows as a third 25x (MAIL, RCPT and BDAT each have one) that reads like the acceptance of a
 * message: smtp_cover(). Replies that no command of the client explains are believed only as far
 * as the bytes that it sent could hold their commands: smtp_spend().
 * So messages are never counted too low once the replies are in. What can be uncounted for a
 * while is one burst in flight: commands behind a content whose replies are not there yet.
 *
 * Where each state comes from:
 *	SMTP_COMMANDS	RFC 5321 2.3.8, 4.1.1: lines ended by CRLF; 4.5.3.1.4: their length.
 *			RFC 2920 3.1: commands need not wait for replies, which keep their order
 *	SMTP_WAITING	RFC 2920 3.1: DATA is the last of its group; RFC 3207 4: so is STARTTLS,
 *			and RFC 4954 4: AUTH
 *	SMTP_SASL	RFC 4954 4: after 334 a line is no command but the client's response
 *	SMTP_CONTENT	RFC 5321 4.1.1.4: from the 354 to the reply to the final dot;
 *			RFC 2033 4.2: in LMTP, to as many replies as recipients were taken
 *	SMTP_CHUNK	RFC 3030 2: as many octets as BDAT said; LAST ends the message
 *	SMTP_SECURING	RFC 3207 4: from the 220 on the client speaks TLS, if the server does
 *	SMTP_TLS	RFC 8446 5.1: the server began a TLS record where a reply should begin
 *	replies		RFC 5321 4.2, 4.2.1: "250-" is continued, "250 " ends; 4.2.2: codes
 */
#ifndef SMTPWALL_SMTP_H
#define SMTPWALL_SMTP_H

#include <smtpwall/dialogue.h>

#include "rhythm.h"

#ifndef __always_inline
#define __always_inline inline __attribute__((__always_inline__))
#endif

#define SMTP_SHOWN 64	   /* bytes shown at once */
#define SMTP_LINE_MAX 1000 /* RFC 5321 has 512, extensions a few more each */
#define SMTP_RUN_MAX 15	   /* commands of one kind in one run of the queue */
#define SMTP_READS 9	   /* octets of a reply's text that tell its meaning */

/* The shortest that a server could take, in octets with a bare LF. */
#define SMTP_LEAST_COMMAND 5  /* NOOP */
#define SMTP_LEAST_CHUNKED 33 /* MAIL FROM:, RCPT TO:a, BDAT 0 LAST */
#define SMTP_LEAST_DATA 16    /* DATA, and what MAIL FROM: and RCPT TO:a have above two NOOPs */
#define SMTP_LEAST_CONTENT 2  /* the final dot */

enum smtp_client {
	SMTP_UNFOLLOWED, /* smtp_begin() was not called */
	SMTP_COMMANDS,
	SMTP_SASL,
	SMTP_WAITING,
	SMTP_CONTENT,
	SMTP_CHUNK,
	SMTP_SECURING,
	SMTP_TLS,
	SMTP_LOST,
};

/* Commands that replies are matched with: four bits of a run. */
enum smtp_command {
	SMTP_OTHER,
	SMTP_MAIL,
	SMTP_RCPT,
	SMTP_DATA,
	SMTP_BDAT,
	SMTP_BDAT_LAST,
	SMTP_RSET,
	SMTP_EHLO,
	SMTP_LHLO,
	SMTP_HELO,
	SMTP_AUTH,
	SMTP_STARTTLS,
	SMTP_KNOWN, /* some other command of RFC 5321, which no server answers with 354 */
};

/* What was read of "BDAT 123 LAST" behind the verb. */
enum smtp_argument {
	SMTP_ARG_NONE,
	SMTP_ARG_SPACE,
	SMTP_ARG_ZERO, /* "0" is a number, "01" is octal to some */
	SMTP_ARG_NUMBER,
	SMTP_ARG_WORD, /* .. +3: letters of LAST */
	SMTP_ARG_LAST = SMTP_ARG_WORD + 4,
	SMTP_ARG_BAD,
};

/* What an octet is to its line. */
enum smtp_octet {
	SMTP_GOES_ON,
	SMTP_ENDS_LINE,
	SMTP_ODD, /* no two servers read it alike */
};

/* Places in a line of the server. */
enum {
	SMTP_AT_DASH = 3,
	SMTP_AT_TEXT = 4,
	SMTP_AT_REST = SMTP_AT_TEXT + SMTP_READS,
	SMTP_AT_RECORD, /* its first octet could be TLS */
	SMTP_AT_JUNK,	/* no reply begins like that */
};

/*
 * What the bytes shown meant. The count of a session's messages is what was charged less what
 * was refunded: it is never too low, and holds what is under way. `accepted` are those that the
 * server has taken (less those that it takes unseen because the client left before its reply).
 */
struct smtp_news {
	__u32 charged;
	__u32 refunded;
	__u32 accepted;
	__u16 recipients; /* 2xx to RCPT */
	__u16 rejects;	  /* 5xx to RCPT, DATA, the final dot or BDAT */
	__u16 deferrals;  /* 4xx to these */
	__u16 estimated;  /* messages inside TLS, by rhythm.h */
};

/* The verifier is to see the same registers in each round of a loop: state stays in memory. */
#define smtp_forget() asm volatile("" ::: "memory")

#define SMTP_VERB(a, b, c, d) ((__u32)(a) << 24 | (b) << 16 | (c) << 8 | (d))

static __always_inline __u32 smtp_add(__u32 a, __u32 b)
{
	return a + b < a ? ~0U : a + b;
}

static __always_inline void smtp_bump(__u16 *counter)
{
	if (*counter < 0xffff)
		(*counter)++;
}

static __always_inline __u8 smtp_upper(__u8 c)
{
	return c >= 'a' && c <= 'z' ? c - 32 : c;
}

/*
 * Follow a session from its first byte, or from somewhere in its middle: then a message may be
 * under way, and nothing is known of what the client sent.
 */
static __always_inline void smtp_begin(struct sw_dialogue *d, int from_the_middle)
{
	struct sw_dialogue fresh = {};

	fresh.client = SMTP_COMMANDS;
	fresh.runs = 1;
	fresh.run[0] = SMTP_KNOWN << 4 | 1; /* the greeting: RFC 5321 3.1 */
	if (from_the_middle) {
		fresh.client = SMTP_LOST;
		fresh.dark = ~0U;
		fresh.envelope = fresh.covers = 2;
	}
	*d = fresh;
}

/* The client's payload is to be held back until the server answers DATA. */
static __always_inline int smtp_holds(const struct sw_dialogue *d)
{
	return d->client == SMTP_WAITING && d->awaited == SMTP_DATA;
}

/* ---- lost: the replies alone are counted ---- */

/* Covers begin with what the transaction has: its next reply may end it. */
static __always_inline void smtp_lose(struct sw_dialogue *d)
{
	if (d->client == SMTP_LOST)
		return;
	if (!d->shadow)
		d->covers = d->envelope;
	d->client = SMTP_LOST;
}

/* Could the client have sent a command of so many octets besides those explained? Then it did. */
static __always_inline int smtp_spend(struct sw_dialogue *d, __u32 octets)
{
	if (d->dark < octets)
		return 0;
	d->dark -= octets;
	return 1;
}

static __always_inline __u32 smtp_least(__u32 a, __u32 b)
{
	return a < b ? a : b;
}

/* The server has said what it can. */
static __always_inline int smtp_offers(const struct sw_dialogue *d)
{
	return d->hello == SMTP_EHLO || d->hello == SMTP_LHLO;
}

/*
 * Does the reply read like the acceptance of a message? Before this server has accepted one we
 * know only what does not: RFC 3463 3.2 keeps 2.1.x for addresses, to answer MAIL and RCPT.
 * A server that says the same to everything is believed to know no BDAT, unless it offers it.
 */
static __always_inline int smtp_reads_like_acceptance(const struct sw_dialogue *d)
{
	if (!d->chunking && d->reads == d->recipient_taken)
		return 0;
	return d->acceptance ? d->reads == d->acceptance : !d->addressing;
}

/*
 * A 25x that may have answered a hidden command, whatever the client shows for it. Each message
 * that a server takes by BDAT has three, one of which reads as its acceptances read. (Servers say
 * the same of a message taken by DATA and by BDAT, in the first octets; most say something else
 * of a recipient.) A server that does not offer CHUNKING takes none.
 */
static __always_inline void smtp_cover(struct sw_dialogue *d, struct smtp_news *news)
{
	__u32 may, room;

	if (smtp_offers(d) && !d->chunking)
		return;
	smtp_bump(&d->covers);
	if (smtp_reads_like_acceptance(d))
		smtp_bump(&d->alike);
	room = smtp_add(d->dark, (__u32)d->covers * SMTP_LEAST_COMMAND) / SMTP_LEAST_CHUNKED;
	may = smtp_least(smtp_least(d->alike, d->covers / 3), room);
	if (may > d->hidden) {
		news->charged += may - d->hidden;
		news->accepted += may - d->hidden;
		d->hidden = may;
	}
}

/* A 354 explains two of the covers: it has a MAIL and a RCPT of its own. */
static __always_inline void smtp_settle_covers(struct sw_dialogue *d, struct smtp_news *news)
{
	__u32 hidden = d->covers < 2 ? 0 : (d->covers - 2) / 3;

	hidden = smtp_least(hidden, d->hidden);
	news->refunded += d->hidden - hidden;
	d->dark -= smtp_least(d->dark, hidden * (SMTP_LEAST_CHUNKED - 3 * SMTP_LEAST_COMMAND));
	d->covers = d->alike = d->hidden = 0;
}

/* ---- the queue of commands that were not answered ---- */

static __always_inline void smtp_ask(struct sw_dialogue *d, __u8 kind)
{
	__u8 *run = &d->run[(d->first + d->runs - 1U) % SW_DIALOGUE_RUNS];

	if (d->runs && *run >> 4 == kind && (*run & 15) < SMTP_RUN_MAX) {
		(*run)++;
	} else if (d->runs < SW_DIALOGUE_RUNS) {
		d->run[(d->first + d->runs) % SW_DIALOGUE_RUNS] = kind << 4 | 1;
		d->runs++;
	} else {
		smtp_lose(d);
	}
}

static __always_inline __u8 smtp_answer(struct sw_dialogue *d)
{
	__u8 *run = &d->run[d->first % SW_DIALOGUE_RUNS], kind = *run >> 4;

	(*run)--;
	if (!(*run & 15)) {
		d->first = (d->first + 1) % SW_DIALOGUE_RUNS;
		d->runs--;
	}
	return kind;
}

/* ---- the client's side ---- */

static __always_inline int smtp_is_chunk(__u8 kind)
{
	return kind == SMTP_BDAT || kind == SMTP_BDAT_LAST;
}

static __always_inline __u8 smtp_kind(__u32 verb)
{
	switch (verb) {
	case SMTP_VERB('M', 'A', 'I', 'L'):
		return SMTP_MAIL;
	case SMTP_VERB('R', 'C', 'P', 'T'):
		return SMTP_RCPT;
	case SMTP_VERB('D', 'A', 'T', 'A'):
		return SMTP_DATA;
	case SMTP_VERB('B', 'D', 'A', 'T'):
		return SMTP_BDAT;
	case SMTP_VERB('B', 'U', 'R', 'L'): /* RFC 4468: a content that the server fetches */
		return SMTP_BDAT_LAST;
	case SMTP_VERB('E', 'H', 'L', 'O'):
		return SMTP_EHLO;
	case SMTP_VERB('L', 'H', 'L', 'O'):
		return SMTP_LHLO;
	case SMTP_VERB('H', 'E', 'L', 'O'):
		return SMTP_HELO;
	case SMTP_VERB('R', 'S', 'E', 'T'):
		return SMTP_RSET;
	case SMTP_VERB('A', 'U', 'T', 'H'):
		return SMTP_AUTH;
	case SMTP_VERB('S', 'T', 'A', 'R'):
		return SMTP_STARTTLS;
	case SMTP_VERB('N', 'O', 'O', 'P'):
	case SMTP_VERB('Q', 'U', 'I', 'T'):
	case SMTP_VERB('V', 'R', 'F', 'Y'):
	case SMTP_VERB('E', 'X', 'P', 'N'):
	case SMTP_VERB('H', 'E', 'L', 'P'):
		return SMTP_KNOWN;
	}
	return SMTP_OTHER;
}

/* RFC 3030 2: the chunk follows at once; the first of a message is where it is charged. */
static __always_inline void smtp_chunk_begins(struct sw_dialogue *d, __u8 kind,
					      struct smtp_news *news)
{
	if (!d->sequence)
		news->charged++;
	d->sequence = kind == SMTP_BDAT;
	d->chunks = smtp_add(d->chunks, d->chunk);
	if (d->chunk)
		d->client = SMTP_CHUNK;
}

/* What follows means something only when the server has answered. */
static __always_inline void smtp_waits(struct sw_dialogue *d, __u8 kind)
{
	d->client = SMTP_WAITING;
	d->awaited = kind;
	d->early = d->early_charge = 0;
	d->content = 0;
}

static __always_inline int smtp_bdat_is_plain(const struct sw_dialogue *d)
{
	return d->argument == SMTP_ARG_ZERO || d->argument == SMTP_ARG_NUMBER;
}

static __always_inline void smtp_line_anew(struct sw_dialogue *d)
{
	d->last = d->letters = d->argument = 0;
	d->line = 0;
	d->verb = 0;
}

/* What the line that was read asks for. */
static __always_inline __u8 smtp_asked(const struct sw_dialogue *d)
{
	__u8 kind = d->letters < 4 ? SMTP_OTHER : smtp_kind(d->verb);

	if (d->client == SMTP_SASL)
		return SMTP_AUTH;
	return kind == SMTP_BDAT && d->argument == SMTP_ARG_LAST ? SMTP_BDAT_LAST : kind;
}

/* A whole line of the client. */
static __always_inline void smtp_line(struct sw_dialogue *d, struct smtp_news *news)
{
	__u8 kind = smtp_asked(d);

	if (kind == SMTP_BDAT && !smtp_bdat_is_plain(d))
		smtp_lose(d);
	else
		smtp_ask(d, kind);
	smtp_line_anew(d);
	if (d->client == SMTP_LOST)
		return;
	d->client = SMTP_COMMANDS;
	if (smtp_is_chunk(kind))
		smtp_chunk_begins(d, kind, news);
	else if (kind == SMTP_DATA || kind == SMTP_AUTH || kind == SMTP_STARTTLS)
		smtp_waits(d, kind);
	else if (kind != SMTP_RCPT && kind != SMTP_KNOWN)
		d->sequence = 0;
}

static __always_inline void smtp_number(struct sw_dialogue *d, __u8 digit)
{
	if (d->chunk > 400000000) {
		d->argument = SMTP_ARG_BAD;
		return;
	}
	d->chunk = d->chunk * 10 + digit;
	d->argument = d->chunk ? SMTP_ARG_NUMBER : SMTP_ARG_ZERO;
}

/* RFC 3030 2: "BDAT" SP chunk-size [ SP "LAST" ], and not one octet more. */
static __always_inline void smtp_bdat_octet(struct sw_dialogue *d, __u8 c)
{
	__u8 digit = c - '0', argument = d->argument, letter = argument - SMTP_ARG_WORD;
	__u32 last = SMTP_VERB('L', 'A', 'S', 'T');

	d->argument = SMTP_ARG_BAD;
	if (argument == SMTP_ARG_NONE && c == ' ')
		d->argument = SMTP_ARG_SPACE;
	else if ((argument == SMTP_ARG_SPACE || argument == SMTP_ARG_NUMBER) && digit < 10)
		smtp_number(d, digit);
	else if ((argument == SMTP_ARG_ZERO || argument == SMTP_ARG_NUMBER) && c == ' ')
		d->argument = SMTP_ARG_WORD;
	else if (letter < 4 && smtp_upper(c) == (__u8)(last >> (24 - 8 * letter)))
		d->argument = argument + 1;
}

/* An octet of a line that is neither CR nor LF. Some servers overlook blanks before the verb. */
static __always_inline void smtp_line_octet(struct sw_dialogue *d, __u8 c)
{
	d->line++;
	if (!d->letters && (c == ' ' || c == '\t'))
		return;
	if (d->letters < 4) {
		d->verb = d->verb << 8 | smtp_upper(c);
		if (++d->letters == 4)
			d->chunk = 0;
	} else if (d->verb == SMTP_VERB('B', 'D', 'A', 'T')) {
		smtp_bdat_octet(d, c);
	}
}

static __always_inline enum smtp_octet smtp_client_octet(struct sw_dialogue *d, __u8 c)
{
	__u8 last = d->last;

	d->last = c;
	if (c == '\n' && last == '\r' && (d->letters || d->client == SMTP_SASL))
		return SMTP_ENDS_LINE;
	if (c == '\n' || !c || last == '\r' || d->line > SMTP_LINE_MAX)
		return SMTP_ODD;
	if (c != '\r')
		smtp_line_octet(d, c);
	return SMTP_GOES_ON;
}

/*
 * Bytes that do not wait for the reply that they must wait for. Behind DATA they may be content
 * (RFC 5321 4.1.1.4 would have them wait for the 354): charged before they leave.
 */
static __always_inline void smtp_client_is_early(struct sw_dialogue *d, __u32 len,
						 struct smtp_news *news)
{
	d->early = 1;
	d->content = smtp_add(d->content, len);
	if (d->awaited == SMTP_DATA && !d->early_charge) {
		d->early_charge = 1;
		news->charged++;
	}
}

static __always_inline __u32 smtp_chunk_passes(struct sw_dialogue *d, __u32 left)
{
	__u32 n = smtp_least(left, d->chunk);

	d->chunk -= n;
	if (d->shadow) /* perhaps only we see a chunk here */
		d->dark = smtp_add(d->dark, n);
	if (!d->chunk)
		d->client = SMTP_COMMANDS;
	return n;
}

/*
 * Will the next bytes of the client, however many, not be shown? Then they may be told of later, by
 * smtp_client_passed(): before the next bytes of the server, which may answer them.
 */
static __always_inline int smtp_client_is_skipped(const struct sw_dialogue *d)
{
	return d->client == SMTP_CONTENT || d->client == SMTP_LOST;
}

static __always_inline void smtp_client_passed(struct sw_dialogue *d, __u32 n)
{
	if (d->client == SMTP_CONTENT)
		d->content = smtp_add(d->content, n);
	d->dark = smtp_add(d->dark, n);
}

static __always_inline int smtp_client_is_read(const struct sw_dialogue *d)
{
	return d->client == SMTP_COMMANDS || d->client == SMTP_SASL;
}

/* How many of the next `left` bytes of the client need not be shown. They count as seen. */
static __always_inline __u32 smtp_client_passes(struct sw_dialogue *d, __u32 left,
						struct smtp_news *news)
{
	if (smtp_client_is_read(d))
		return 0;
	if (d->client == SMTP_TLS)
		return rhythm_passes(&d->tls.sent, left);
	if (d->client == SMTP_CHUNK)
		return smtp_chunk_passes(d, left);
	if (d->client == SMTP_WAITING)
		smtp_client_is_early(d, left, news);
	smtp_client_passed(d, left);
	return left;
}

/* That was no TLS, after all, and nobody knows what it was. */
static __always_inline void smtp_no_tls(struct sw_dialogue *d)
{
	d->client = SMTP_LOST;
	d->dark = ~0U;
	d->covers = 2;
	d->at = SMTP_AT_JUNK;
}

static __always_inline __u32 smtp_client_record(struct sw_dialogue *d, const __u8 *buf, __u32 len,
						struct smtp_news *news)
{
	struct sw_record *r = &d->tls.sent;
	enum rhythm_octet what;
	__u32 n = rhythm_says(r, buf, len, &what);

	if (what == RHYTHM_NO_TLS)
		smtp_no_tls(d);
	else if (what == RHYTHM_RECORD)
		news->estimated += rhythm_client_record(&d->tls, r->type, r->left);
	return n;
}

/*
 * What the client says. Returns how many of the `len` bytes it took: to the end of the line.
 * Here as in smtp_server_says() the loop over octets is kept small: the verifier walks through
 * each of its rounds.
 */
static __always_inline __u32 smtp_client_says(struct sw_dialogue *d, const __u8 *buf, __u32 len,
					      struct smtp_news *news)
{
	enum smtp_octet what = SMTP_GOES_ON;
	__u32 i;

	if (d->client == SMTP_TLS)
		return smtp_client_record(d, buf, len, news);
	if (!smtp_client_is_read(d))
		return 0;
	for (i = 0; i < SMTP_SHOWN && i < len && what == SMTP_GOES_ON; i++) {
		what = smtp_client_octet(d, buf[i]);
		smtp_forget();
	}
	d->dark = smtp_add(d->dark, i);
	if (what == SMTP_ODD)
		smtp_lose(d);
	else if (what == SMTP_ENDS_LINE)
		smtp_line(d, news);
	return i;
}

/* ---- the server's side ---- */

/* 354: content follows. */
static __always_inline void smtp_content_begins(struct sw_dialogue *d, struct smtp_news *news)
{
	smtp_settle_covers(d, news);
	if (!d->early_charge)
		news->charged++;
	d->early_charge = 0;
	d->final = 1;
	d->taken = 0;
	d->finals = d->hello == SMTP_LHLO && d->recipients > 1 ? d->recipients : 1;
	if (d->client != SMTP_LOST)
		d->client = SMTP_CONTENT;
}

static __always_inline void smtp_transaction_ends(struct sw_dialogue *d)
{
	d->envelope = 0;
	d->recipients = 0;
	d->answered = 0;
	d->chunk_refused = 0;
}

/* RFC 5321 4.2.1: what the first digit says. */
static __always_inline __u32 smtp_class(const struct sw_dialogue *d)
{
	return d->code / 100;
}

static __always_inline int smtp_refuses(const struct sw_dialogue *d)
{
	return d->code >= 400;
}

static __always_inline void smtp_count_refusal(const struct sw_dialogue *d, struct smtp_news *news)
{
	if (d->code >= 500)
		news->rejects++;
	else
		news->deferrals++;
}

static __always_inline void smtp_accepts(struct sw_dialogue *d, struct smtp_news *news)
{
	news->accepted++;
	if (d->final || !d->shadow) /* surely the reply to a message */
		d->acceptance = d->reads;
}

static __always_inline int smtp_content_was_sent(const struct sw_dialogue *d)
{
	return d->client == SMTP_LOST || d->shadow || d->content >= SMTP_LEAST_CONTENT;
}

/* Was that the last? LMTP has as many as recipients, of which some may have been hidden. */
static __always_inline int smtp_finals_are_known(const struct sw_dialogue *d)
{
	return d->hello == SMTP_EHLO || d->hello == SMTP_HELO ||
	       (!d->shadow && d->client != SMTP_LOST);
}

/* What was explained exactly until now holds nothing more; the content may. */
static __always_inline void smtp_content_ends(struct sw_dialogue *d)
{
	if (d->client == SMTP_CONTENT) {
		d->client = SMTP_COMMANDS;
		if (!d->shadow)
			d->dark = d->content;
	}
	d->final = 0;
	d->shadow = 1;
}

/* A reply to content. Nobody can have taken one that was not sent, nor asks twice for it. */
static __always_inline void smtp_final(struct sw_dialogue *d, struct smtp_news *news)
{
	if (smtp_class(d) == 3 || (smtp_class(d) == 2 && !smtp_content_was_sent(d)))
		return;
	smtp_spend(d, SMTP_LEAST_CONTENT);
	if (smtp_refuses(d))
		smtp_count_refusal(d, news);
	else if (!d->taken)
		smtp_accepts(d, news);
	else if (d->shadow) /* another copy, says LMTP */
		smtp_cover(d, news);
	d->taken |= !smtp_refuses(d);
	if (--d->finals)
		return;
	if (!d->taken && smtp_finals_are_known(d))
		news->refunded++;
	smtp_content_ends(d);
	smtp_transaction_ends(d);
}

/* A reply that no command explains: its command is one that nobody read. */
static __always_inline void smtp_unexplained(struct sw_dialogue *d, struct smtp_news *news)
{
	if (d->code == 354) {
		if (smtp_spend(d, SMTP_LEAST_DATA))
			smtp_content_begins(d, news);
	} else if (d->code / 10 == 25) {
		if (!smtp_spend(d, SMTP_LEAST_COMMAND))
			return;
		if (d->envelope) /* the first that a transaction needs is its MAIL */
			news->recipients++;
		d->envelope = d->envelope ? 2 : 1;
		smtp_cover(d, news);
	} else if (smtp_refuses(d) && d->code != 421 && smtp_spend(d, 1)) {
		smtp_count_refusal(d, news);
	}
}

/* After DATA, AUTH or STARTTLS the client waited, or did not: then nobody knows what it said. */
static __always_inline void smtp_client_goes_on(struct sw_dialogue *d, __u8 how)
{
	if (d->early)
		smtp_lose(d);
	else
		d->client = how;
}

static __always_inline void smtp_data_answered(struct sw_dialogue *d, struct smtp_news *news)
{
	if (d->code == 354) {
		smtp_content_begins(d, news);
		return;
	}
	if (smtp_refuses(d)) {
		smtp_count_refusal(d, news);
		news->refunded += d->early_charge;
		d->early_charge = 0;
	} else if (d->shadow) { /* that was the reply to something else */
		smtp_lose(d);
		return;
	}
	smtp_client_goes_on(d, SMTP_COMMANDS);
}

/*
 * RFC 3030 2: a chunk that is refused is read all the same, but not by a server that knows no
 * BDAT. A refusal is counted once for each message; what is hidden may have been refused instead.
 */
static __always_inline void smtp_chunk_is_refused(struct sw_dialogue *d, struct smtp_news *news)
{
	if (!d->chunk_refused)
		smtp_count_refusal(d, news);
	d->chunk_refused = 1;
	if (d->chunking && (d->code < 500 || d->code > 502))
		return;
	d->dark = smtp_add(d->dark, d->chunks);
	smtp_lose(d);
}

static __always_inline void smtp_chunk_answered(struct sw_dialogue *d, __u8 kind,
						struct smtp_news *news)
{
	d->answered = 1;
	if (smtp_refuses(d))
		smtp_chunk_is_refused(d, news);
	if (kind == SMTP_BDAT)
		return;
	if (smtp_class(d) == 2) {
		smtp_accepts(d, news);
		d->envelope = 0;
	} else if (!d->shadow) {
		news->refunded++;
	}
	d->answered = d->chunk_refused = 0;
}

/* A new transaction, or none: chunks without a LAST come to nothing. */
static __always_inline void smtp_abandons(struct sw_dialogue *d, struct smtp_news *news, __u8 anew)
{
	if (smtp_class(d) != 2)
		return;
	if (d->answered && !d->shadow)
		news->refunded++;
	smtp_transaction_ends(d);
	d->envelope = anew;
}

static __always_inline void smtp_hello_answered(struct sw_dialogue *d, __u8 kind)
{
	if (smtp_class(d) == 2 && !d->shadow)
		d->hello = kind;
}

static __always_inline void smtp_recipient_answered(struct sw_dialogue *d, struct smtp_news *news)
{
	if (smtp_refuses(d)) {
		smtp_count_refusal(d, news);
	} else if (smtp_class(d) == 2) {
		news->recipients++;
		smtp_bump(&d->recipients);
		d->envelope = 2;
		if (!d->shadow)
			d->recipient_taken = d->reads;
	}
}

static __always_inline void smtp_auth_answered(struct sw_dialogue *d)
{
	smtp_client_goes_on(d, d->code == 334 ? SMTP_SASL : SMTP_COMMANDS);
}

/* The server is to speak TLS next: its first octet will show. */
static __always_inline void smtp_starttls_answered(struct sw_dialogue *d)
{
	if (d->code == 220)
		d->client = SMTP_SECURING;
	else
		smtp_client_goes_on(d, SMTP_COMMANDS);
}

static __always_inline void smtp_answered(struct sw_dialogue *d, __u8 kind, struct smtp_news *news)
{
	switch ((enum smtp_command)kind) {
	case SMTP_DATA:
		smtp_data_answered(d, news);
		break;
	case SMTP_BDAT:
	case SMTP_BDAT_LAST:
		smtp_chunk_answered(d, kind, news);
		break;
	case SMTP_RCPT:
		smtp_recipient_answered(d, news);
		break;
	case SMTP_EHLO:
	case SMTP_LHLO:
	case SMTP_HELO:
		smtp_hello_answered(d, kind);
		smtp_abandons(d, news, 0);
		break;
	case SMTP_MAIL:
	case SMTP_RSET:
		smtp_abandons(d, news, kind == SMTP_MAIL);
		break;
	case SMTP_AUTH:
		smtp_auth_answered(d);
		break;
	case SMTP_STARTTLS:
		smtp_starttls_answered(d);
		break;
	case SMTP_OTHER:
	case SMTP_KNOWN:
		break;
	}
	if (d->shadow && d->code / 10 == 25 && !smtp_is_chunk(kind))
		smtp_cover(d, news);
}

/*
 * The client takes it for the next command's. A 354 to what is no DATA is true if the server
 * knows more of the client's bytes, or commands, than we do; else the server is making it up,
 * as it is with a reply to nothing. Only a farewell (221, 421) may come unasked. How many replies
 * a chunk has in LMTP, nobody has written down.
 */
static __always_inline void smtp_in_step(struct sw_dialogue *d, struct smtp_news *news)
{
	int asked = d->runs, strange;
	__u8 kind = asked ? smtp_answer(d) : SMTP_KNOWN;

	if (!asked)
		strange = d->shadow && d->code != 221 && d->code != 421;
	else if (d->code == 354 && kind != SMTP_DATA)
		strange = d->shadow || kind == SMTP_OTHER;
	else
		strange = d->hello == SMTP_LHLO && smtp_is_chunk(kind);
	if (strange) {
		smtp_lose(d);
		smtp_unexplained(d, news);
	} else if (asked && (d->code != 354 || kind == SMTP_DATA)) {
		smtp_answered(d, kind, news);
	}
}

static __always_inline void smtp_reply(struct sw_dialogue *d, struct smtp_news *news)
{
	if (d->client == SMTP_SECURING) /* a server that goes on in clear */
		smtp_lose(d);
	if (d->final && !(d->code == 354 && d->taken))
		smtp_final(d, news);
	else if (d->client == SMTP_LOST)
		smtp_unexplained(d, news);
	else
		smtp_in_step(d, news);
}

static __always_inline void smtp_code_octet(struct sw_dialogue *d, __u8 c)
{
	__u8 digit = c - '0';

	if (digit < 10) {
		d->code = d->code * 10 + digit;
		d->at++;
	} else {
		d->at = d->at == 0 && c >= 20 && c <= 23 ? SMTP_AT_RECORD : SMTP_AT_JUNK;
	}
}

#define SMTP_HASH(hash, c) (((hash) ^ (c)) * 16777619U | 1)
#define SMTP_READS_ADDRESSING SMTP_HASH(SMTP_HASH(SMTP_HASH(SMTP_HASH(0U, '2'), '.'), '1'), '.')

/* RFC 3030 2: CHUNKING, a line of its own in the reply to EHLO. */
static __always_inline void smtp_text_octet(struct sw_dialogue *d, __u8 c)
{
	const __u64 word =
		(__u64)SMTP_VERB('C', 'H', 'U', 'N') << 32 | SMTP_VERB('K', 'I', 'N', 'G');
	__u8 letter = d->at - SMTP_AT_TEXT;

	if (letter < 8 && d->chunking_at == letter &&
	    smtp_upper(c) == (__u8)(word >> (56 - 8 * letter)))
		d->chunking_at++;
	d->reads = SMTP_HASH(d->reads, c);
	if (letter == 3)
		d->addressing = d->reads == SMTP_READS_ADDRESSING;
	d->at = c == '<' ? SMTP_AT_REST : d->at + 1; /* no addresses: the client has chosen them */
}

static __always_inline void smtp_server_line(struct sw_dialogue *d, struct smtp_news *news)
{
	if (d->at >= SMTP_AT_DASH && d->at <= SMTP_AT_REST) {
		if (d->chunking_at == 8)
			d->chunking = 1;
		if (!d->more && d->code >= 200 && d->code < 600)
			smtp_reply(d, news);
	}
	d->at = d->more = d->chunking_at = d->addressing = 0;
	d->code = 0;
	d->reads = 0;
}

static __always_inline enum smtp_octet smtp_server_octet(struct sw_dialogue *d, __u8 c)
{
	if (c == '\n')
		return SMTP_ENDS_LINE;
	if (d->at < SMTP_AT_DASH) {
		smtp_code_octet(d, c);
	} else if (d->at == SMTP_AT_DASH) {
		d->more = c == '-';
		d->at = SMTP_AT_TEXT;
	} else if (d->at < SMTP_AT_REST) {
		smtp_text_octet(d, c);
	} else if (d->at == SMTP_AT_RECORD) {
		d->at = SMTP_AT_JUNK;
		return c == 3 ? SMTP_ODD : SMTP_GOES_ON; /* TLS */
	}
	return SMTP_GOES_ON;
}

/* How many of the next `left` bytes of the server need not be shown. */
static __always_inline __u32 smtp_server_passes(struct sw_dialogue *d, __u32 left)
{
	if (d->client == SMTP_TLS)
		return rhythm_passes(&d->tls.received, left);
	return d->client == SMTP_UNFOLLOWED ? left : 0;
}

static __always_inline __u32 smtp_server_record(struct sw_dialogue *d, const __u8 *buf, __u32 len,
						struct smtp_news *news)
{
	struct sw_record *r = &d->tls.received;
	enum rhythm_octet what;
	__u32 n = rhythm_says(r, buf, len, &what);

	if (what == RHYTHM_NO_TLS)
		smtp_no_tls(d);
	else if (what == RHYTHM_RECORD)
		news->estimated += rhythm_server_record(&d->tls, r->type, r->left);
	return n;
}

static __always_inline void smtp_tls_begins(struct sw_dialogue *d)
{
	d->client = SMTP_TLS;
	d->at = 0;
	rhythm_begin(&d->tls);
}

static __always_inline __u32 smtp_server_says(struct sw_dialogue *d, const __u8 *buf, __u32 len,
					      struct smtp_news *news)
{
	enum smtp_octet what = SMTP_GOES_ON;
	__u32 i;

	if (d->client == SMTP_TLS)
		return smtp_server_record(d, buf, len, news);
	if (d->client == SMTP_UNFOLLOWED)
		return 0;
	for (i = 0; i < SMTP_SHOWN && i < len && what == SMTP_GOES_ON; i++) {
		what = smtp_server_octet(d, buf[i]);
		smtp_forget();
	}
	if (what == SMTP_ODD)
		smtp_tls_begins(d);
	else if (what == SMTP_ENDS_LINE)
		smtp_server_line(d, news);
	return i;
}

/*
 * The client's FIN or RST went out, behind all its bytes. A 354 that it left unanswered brought no
 * message; a content that was begun stays charged: the server may take it, and nobody hears.
 */
static __always_inline void smtp_closes(struct sw_dialogue *d, struct smtp_news *news)
{
	if (d->client == SMTP_TLS) {
		news->estimated += rhythm_closes(&d->tls);
	} else if (d->client == SMTP_CONTENT && !d->shadow && !d->content && !d->taken) {
		news->refunded++;
		d->client = SMTP_UNFOLLOWED;
	}
}

#endif
