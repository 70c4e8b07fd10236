// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Any client against any honest server: is a message ever counted too low? And an honest client:
 * is anything not counted exactly? The server here is written without a look at bpf/lib/smtp.h,
 * line by line, and keeps the true log. How lax it is (line ends, ends of content, verbs, chunks),
 * what the client sends, and how both sides' bytes interleave is drawn from the input.
 *
 *	clang -fsanitize=fuzzer,address,undefined -Iinclude ...		libFuzzer
 *	cc -DRANDOM_SESSIONS=1000000 -Iinclude ...			that many random sessions
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "../../bpf/lib/smtp.h"

/* ---- choices ---- */

struct choices {
	const unsigned char *at, *end;
};

static unsigned int choose(struct choices *c, unsigned int below)
{
	return c->at < c->end ? *c->at++ % below : 0;
}

static bool perhaps(struct choices *c, unsigned int of_256)
{
	return choose(c, 256) >= 256 - of_256;
}

/* ---- bytes on their way ---- */

#define ROOM 65536

struct pipe {
	char byte[ROOM];
	size_t from, to;
};

static void put(struct pipe *p, const char *bytes, size_t len)
{
	if (len > ROOM - p->to)
		return;
	memcpy(p->byte + p->to, bytes, len);
	p->to += len;
}

static void put_text(struct pipe *p, const char *text)
{
	put(p, text, strlen(text));
}

static size_t held(const struct pipe *p)
{
	return p->to - p->from;
}

/*
 * ---- an honest server ----
 *
 * It may be lax, but what it takes by BDAT it reads as RFC 3030 has it; it does not take it where
 * EHLO was answered without CHUNKING, nor before, if it says the same to everything.
 */

enum laxness {
	LAX_LF = 1 << 0,     /* a line may end with a bare LF */
	LAX_CR = 1 << 1,     /* or with a bare CR */
	LAX_DOT_LF = 1 << 2, /* content may end with LF.LF and its mixtures */
	LAX_DOT_CR = 1 << 3, /* or CR.CR */
	LAX_NUL = 1 << 4,    /* NULs are overlooked */
	LAX_BLANKS = 1 << 5, /* blanks before a verb are overlooked */
	LAX_PREFIX = 1 << 6, /* the first four letters make the verb */
	LAX_EMPTY = 1 << 7,  /* an empty line has no reply */
	LAX_LONG = 1 << 8,   /* an overlong line is several */
	LAX_OCTAL = 1 << 9,  /* "010" is 8 */
	LAX_LAST = 1 << 10,  /* LAST anywhere behind BDAT, by blanks of any kind */
	LAX_ALL = (1 << 11) - 1,
};

struct server {
	unsigned int lax;
	bool knows_bdat, lmtp, one_text, long_replies;
	struct pipe in, out;
	enum { LINES, CONTENT, CHUNK, SASL, GONE } mode;
	unsigned int content_seen; /* state of the search for the lone dot */
	bool greeted, offered, mailed, chunking;
	unsigned int rcpts;
	unsigned long chunk;
	bool chunk_last, chunk_good, chunk_refused;
	unsigned int sasl;
	/* the true log */
	unsigned int messages, recipients, rejects, deferrals;
};

static void reply(struct server *s, const char *code, const char *text)
{
	if (s->long_replies) {
		put_text(&s->out, code);
		put_text(&s->out, "-and\r\n");
	}
	put_text(&s->out, code);
	put_text(&s->out, " ");
	put_text(&s->out, s->one_text && *code == '2' ? "OK" : text);
	put_text(&s->out, "\r\n");
}

static void reset(struct server *s)
{
	s->mailed = s->chunking = s->chunk_refused = false;
	s->rcpts = 0;
}

static bool refuses(struct server *s, struct choices *c, unsigned int of_256)
{
	if (!perhaps(c, of_256))
		return false;
	if (perhaps(c, 128)) {
		s->rejects++;
		reply(s, "550", "5.7.1 no");
	} else {
		s->deferrals++;
		reply(s, "451", "4.7.1 later");
	}
	return true;
}

static void take_message(struct server *s, struct choices *c)
{
	bool any = false;
	unsigned int i, n = s->lmtp ? s->rcpts : 1;

	for (i = 0; i < n; i++)
		if (!refuses(s, c, 40)) {
			reply(s, "250", "2.0.0 Ok: queued as 4F1");
			any = true;
		}
	s->messages += any;
	reset(s);
}

static void hello(struct server *s, bool extended)
{
	reset(s);
	s->greeted = true;
	if (!extended) {
		reply(s, "250", "mx");
		return;
	}
	put_text(&s->out, "250-mx.example.org\r\n250-PIPELINING\r\n");
	if (s->knows_bdat)
		put_text(&s->out, "250-CHUNKING\r\n");
	s->offered = s->knows_bdat;
	put_text(&s->out, "250 SMTPUTF8\r\n");
}

static bool number_of(const struct server *s, const char *text, unsigned long *ret)
{
	char *end;

	while (*text == ' ' || *text == '\t')
		text++;
	if (*text < '0' || *text > '9')
		return false;
	*ret = strtoul(text, &end, s->lax & LAX_OCTAL ? 0 : 10);
	return *end == '\0' || *end == ' ' || (*end == '\t' && (s->lax & LAX_LAST));
}

static bool is_last(const struct server *s, const char *text)
{
	const char *at = strpbrk(text, "lL");

	if (s->lax & LAX_LAST)
		return at && !strncasecmp(at, "last", 4);
	return at && !strcasecmp(at, "last");
}

static void bdat(struct server *s, const char *text)
{
	if (!s->knows_bdat || (s->one_text && !s->offered)) {
		reply(s, "502", "5.5.1 what");
		return;
	}
	if (!number_of(s, text, &s->chunk)) {
		reply(s, "501", "5.5.4 how many");
		return;
	}
	s->chunk_good = s->mailed && s->rcpts;
	s->chunk_last = is_last(s, text);
	s->mode = CHUNK;
}

static void chunk_done(struct server *s, struct choices *c)
{
	s->mode = LINES;
	if (!s->chunk_good) {
		s->rejects += !s->chunk_refused; /* once a message */
		s->chunk_refused = !s->chunk_last;
		reply(s, "503", "5.5.1 not now");
	} else if (s->chunk_last) {
		take_message(s, c);
	} else {
		s->chunking = true;
		reply(s, "250", "2.0.0 Ok: 1 bytes");
	}
}

static void data(struct server *s, struct choices *c)
{
	if (!s->mailed || !s->rcpts || s->chunking) {
		s->rejects++;
		reply(s, "503", "5.5.1 not now");
	} else if (!refuses(s, c, 16)) {
		reply(s, "354", "End data with <CR><LF>.<CR><LF>");
		s->mode = CONTENT;
		s->content_seen = 2; /* as behind a CRLF */
	}
}

static void mail(struct server *s, struct choices *c)
{
	if (s->mailed || (s->lmtp && !s->greeted)) {
		reply(s, "503", "5.5.1 not now");
	} else if (perhaps(c, 16)) {
		reply(s, "550", "5.1.0 no");
	} else {
		s->mailed = true;
		reply(s, "250", "2.1.0 Ok");
	}
}

static void rcpt(struct server *s, struct choices *c)
{
	if (!s->mailed || s->chunking) {
		s->rejects++;
		reply(s, "503", "5.5.1 not now");
	} else if (!refuses(s, c, 30)) {
		s->recipients++;
		s->rcpts++;
		reply(s, "250", "2.1.5 Ok");
	}
}

static void auth(struct server *s, struct choices *c)
{
	if (perhaps(c, 128)) {
		reply(s, "535", "5.7.8 no");
		return;
	}
	s->sasl = choose(c, 3);
	s->mode = s->sasl ? SASL : LINES;
	reply(s, s->sasl ? "334" : "235", s->sasl ? "VXNlcm5hbWU6" : "2.7.0 welcome");
}

static void sasl(struct server *s, const char *line)
{
	if (!strcmp(line, "*")) {
		s->mode = LINES;
		reply(s, "501", "5.7.0 cancelled");
	} else if (--s->sasl) {
		reply(s, "334", "UGFzc3dvcmQ6");
	} else {
		s->mode = LINES;
		reply(s, "235", "2.7.0 welcome");
	}
}

static bool is_verb(const struct server *s, const char *line, const char *verb)
{
	size_t n = strlen(verb);

	if (s->lax & LAX_PREFIX)
		return !strncasecmp(line, verb, 4);
	return !strncasecmp(line, verb, n) && (!line[n] || line[n] == ' ' || line[n] == '\t');
}

static void command(struct server *s, struct choices *c, char *line)
{
	if (s->lax & LAX_BLANKS)
		line += strspn(line, " \t");
	if (!*line && (s->lax & LAX_EMPTY))
		return;
	if (is_verb(s, line, s->lmtp ? "LHLO" : "EHLO"))
		hello(s, true);
	else if (is_verb(s, line, "HELO") && !s->lmtp)
		hello(s, false);
	else if (is_verb(s, line, "MAIL"))
		mail(s, c);
	else if (is_verb(s, line, "RCPT"))
		rcpt(s, c);
	else if (is_verb(s, line, "DATA"))
		data(s, c);
	else if (is_verb(s, line, "BDAT"))
		bdat(s, line + 4);
	else if (is_verb(s, line, "AUTH"))
		auth(s, c);
	else if (is_verb(s, line, "RSET"))
		reset(s), reply(s, "250", "2.0.0 Ok");
	else if (is_verb(s, line, "NOOP"))
		reply(s, "250", "2.0.0 Ok");
	else if (is_verb(s, line, "VRFY"))
		reply(s, "252", "2.0.0 perhaps");
	else if (is_verb(s, line, "QUIT"))
		reply(s, "221", "2.0.0 bye"), s->mode = GONE;
	else
		reply(s, "500", "5.5.2 what");
}

/* Takes a line off the input; false if there is no whole one. */
static bool line_of(struct server *s, char *line)
{
	size_t i, n = 0;

	for (i = s->in.from; i < s->in.to; i++) {
		char c = s->in.byte[i], next = i + 1 < s->in.to ? s->in.byte[i + 1] : 'x';
		bool ends = (c == '\n' && (s->lax & LAX_LF)) ||
			    (c == '\n' && n && line[n - 1] == '\r') ||
			    (c == '\r' && next != '\n' && (s->lax & LAX_CR) && i + 1 < s->in.to);

		if (ends || ((s->lax & LAX_LONG) && n >= 1500)) {
			if (n && line[n - 1] == '\r')
				n--;
			line[n] = '\0';
			s->in.from = i + 1;
			return true;
		}
		if (c || !(s->lax & LAX_NUL))
			line[n++] = c;
	}
	return false;
}

/* The lone dot: content_seen is 0 in a line, 1 behind CR, 2 behind a line end, 3 behind its dot,
 * 4 behind a CR behind that. */
static bool content_ends(struct server *s, char c)
{
	bool lf = s->lax & LAX_DOT_LF, cr = s->lax & LAX_DOT_CR;
	unsigned int was = s->content_seen;

	if (!c && (s->lax & LAX_NUL))
		return false;
	if (c == '\n' && (was == 4 || (was == 3 && lf)))
		return true;
	if (c == '\n')
		s->content_seen = was == 1 || lf ? 2 : 0;
	else if (c == '\r' && was == 3 && cr)
		return true;
	else if (c == '\r')
		s->content_seen = was == 3 ? 4 : cr ? 2 : 1;
	else
		s->content_seen = c == '.' && was == 2 ? 3 : 0;
	if (c == '\n' && was == 2 && cr)
		s->content_seen = 2;
	return false;
}

/* One step: a line, or an octet of content, or what there is of a chunk. False: nothing to do. */
static bool serve(struct server *s, struct choices *c)
{
	static char line[ROOM + 1];

	if (s->out.to > ROOM - 4096) /* no reply may be lost */
		return false;
	if (s->mode == CHUNK && !s->chunk) {
		chunk_done(s, c);
		return true;
	}
	if (s->mode == GONE || !held(&s->in))
		return false;
	if (s->mode == CHUNK) {
		size_t n = held(&s->in) < s->chunk ? held(&s->in) : s->chunk;

		s->in.from += n;
		s->chunk -= n;
		return true;
	}
	if (s->mode == CONTENT) {
		if (content_ends(s, s->in.byte[s->in.from++])) {
			s->mode = LINES;
			take_message(s, c);
		}
		return true;
	}
	if (!line_of(s, line))
		return false;
	if (s->mode == SASL)
		sasl(s, line);
	else
		command(s, c, line);
	return true;
}

/* ---- a client ---- */

static const char *const words[] = {
	"MAIL FROM:<>\r\n",
	"RCPT TO:<a@b>\r\n",
	"DATA\r\n",
	"\r\n.\r\n",
	"RSET\r\n",
	"NOOP\r\n",
	"X\r\n",
	"\n.\n",
	"\r.\r",
	"\n.\r\n",
	"\r\n.\n",
	".\r\n",
	"MAIL FROM:\n",
	"RCPT TO:a\n",
	"DATA\n",
	"BDAT 0 LAST\n",
	"  data\r\n",
	"DATAX\r\n",
	"DA",
	"TA\r\n",
	"EHLO x\r\n",
	"HELO x\r\n",
	"LHLO x\r\n",
	"AUTH LOGIN\r\n",
	"*\r\n",
	"STARTTLS\r\n",
	"QUIT\r\n",
	"\r",
	"\n",
	"\r\n",
	"x",
	"BDAT 5\r\n",
	"BDAT 010 LAST\r\n",
	"BDAT 12\tLAST\r\n",
	"BDAT  3  LAST\r\n",
	"BDAT 99999999999 LAST\r\n",
	"BDAT -1 LAST\r\n",
	"BDAT 0 LAST\r\n",
	"VRFY a\r\n",
	"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n",
	"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 1 LAST\r\nx",
	"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 6 LAST\r\nNOOP\r\n",
	"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\n",
	"NOOP\r\nNOOP\r\nNOOP\r\n",
};

#define WORDS (sizeof(words) / sizeof(*words))

static void say_long(struct choices *c, struct pipe *p)
{
	unsigned int n = choose(c, 40);

	while (n--)
		put_text(p, "0123456789012345678901234567890123456789012345678901234567890");
	put_text(p, perhaps(c, 128) ? "\r\n" : "");
}

/* A transaction by BDAT whose chunk is as long as some words that follow, true or not. */
static void say_chunk(struct choices *c, struct pipe *p)
{
	const char *a = words[choose(c, WORDS)], *b = words[choose(c, WORDS)];
	char text[64];

	snprintf(text, sizeof(text), "BDAT %zu%s\r\n",
		 strlen(a) + (perhaps(c, 128) ? strlen(b) : 0), perhaps(c, 160) ? " LAST" : "");
	put_text(p, text);
	put_text(p, a);
	put_text(p, b);
}

static void say_word(struct choices *c, struct pipe *p)
{
	unsigned int n = choose(c, WORDS + 8);

	if (n < WORDS)
		put_text(p, words[n]);
	else if (n < WORDS + 5)
		say_chunk(c, p);
	else if (n < WORDS + 6)
		put(p, "\0", 1);
	else
		say_long(c, p);
}

/* ---- between them: the dialogue, as a hook feeds it ---- */

struct session {
	struct server server;
	struct pipe client; /* what the client wants to send */
	struct sw_dialogue d;
	struct smtp_news total;
	size_t skipped; /* bytes of the client that the dialogue was not told of yet */
	bool holding;
	bool late; /* and is not until the server has read them */
};

static void count(struct smtp_news *total, const struct smtp_news *news)
{
	total->charged += news->charged - news->refunded;
	total->accepted += news->accepted;
	total->recipients += news->recipients;
	total->rejects += news->rejects;
	total->deferrals += news->deferrals;
}

static bool tracing; /* the failure is played again */

static void trace(const struct session *s, bool client, const char *bytes, size_t len)
{
	const struct sw_dialogue *d = &s->d;
	size_t i;

	printf("%c: ", client ? 'C' : 'S');
	for (i = 0; i < len; i++)
		printf(bytes[i] >= ' ' && bytes[i] < 127 ? "%c" : "\\%02o", bytes[i] & 255);
	printf("\n\tstate %u runs %u dark %u shadow %u covers %u alike %u hidden %u envelope %u "
	       "charged %u; true %u\n",
	       d->client, d->runs, d->dark, d->shadow, d->covers, d->alike, d->hidden, d->envelope,
	       s->total.charged, s->server.messages);
}

static void tell_skipped(struct session *s, size_t keep)
{
	size_t n = s->skipped > keep ? s->skipped - keep : 0;

	smtp_client_passed(&s->d, n);
	s->skipped -= n;
}

static void hear(struct session *s, bool client, const char *bytes, size_t len)
{
	struct smtp_news news = {};
	__u8 shown[SMTP_SHOWN];
	size_t off = 0, n;

	if (client && smtp_client_is_skipped(&s->d)) {
		s->skipped += len;
		off = len;
	} else {
		tell_skipped(s, !client && s->late ? held(&s->server.in) : 0);
	}
	while (off < len) {
		off += client ? smtp_client_passes(&s->d, len - off, &news)
			      : smtp_server_passes(&s->d, len - off);
		n = len - off < sizeof(shown) ? len - off : sizeof(shown);
		memcpy(shown, bytes + off, n);
		off += client ? smtp_client_says(&s->d, shown, n, &news)
			      : smtp_server_says(&s->d, shown, n, &news);
	}
	count(&s->total, &news);
	if (tracing && len)
		trace(s, client, bytes, len);
}

static void client_sends(struct session *s, size_t len)
{
	if (len > held(&s->client))
		len = held(&s->client);
	if ((s->holding && smtp_holds(&s->d)) || s->server.in.to + len > ROOM)
		return;
	hear(s, true, s->client.byte + s->client.from, len);
	put(&s->server.in, s->client.byte + s->client.from, len);
	s->client.from += len;
}

static void server_sends(struct session *s, size_t len)
{
	struct pipe *out = &s->server.out;

	if (len > held(out))
		len = held(out);
	hear(s, false, out->byte + out->from, len);
	out->from += len;
}

static void settle(struct session *s, struct choices *c)
{
	size_t was;

	do {
		was = held(&s->client) + held(&s->server.out) + held(&s->server.in);
		client_sends(s, ROOM);
		while (serve(&s->server, c))
			;
		server_sends(s, ROOM);
	} while (held(&s->client) + held(&s->server.out) + held(&s->server.in) != was);
}

static void step(struct session *s, struct choices *c)
{
	unsigned int n;

	switch (choose(c, 8)) {
	case 0:
	case 1:
	case 2:
		say_word(c, &s->client);
		break;
	case 3:
		client_sends(s, ROOM);
		break;
	case 4:
		client_sends(s, choose(c, 30));
		break;
	case 5:
		for (n = choose(c, 30); n && serve(&s->server, c); n--)
			;
		break;
	case 6:
		server_sends(s, choose(c, 80));
		break;
	case 7:
		settle(s, c);
		break;
	}
}

static void begin(struct session *s, struct choices *c)
{
	struct server *v = &s->server;

	memset(s, 0, sizeof(*s));
	v->lax = (choose(c, 256) | choose(c, 256) << 8) & LAX_ALL;
	if (perhaps(c, 64))
		v->lax = 0;
	v->knows_bdat = perhaps(c, 160);
	v->lmtp = perhaps(c, 24);
	v->one_text = perhaps(c, 48);
	v->long_replies = perhaps(c, 48);
	s->holding = perhaps(c, 128);
	s->late = perhaps(c, 128);
	reply(v, "220", "mx.example.org ESMTP");
	smtp_begin(&s->d, 0);
	if (perhaps(c, 192))
		put_text(&s->client, v->lmtp ? "LHLO x\r\n" : "EHLO x\r\n");
	if (perhaps(c, 128)) /* something for commands to hide behind */
		put_text(&s->client, "MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n");
}

static unsigned long long sessions, messages, counted;

/* ---- an honest client, which waits where it must: everything is counted exactly ---- */

/* All that was said arrives, in pieces, and is answered. */
static void pump(struct session *s, struct choices *c)
{
	unsigned int i, n;

	for (i = choose(c, 16); i; i--) {
		client_sends(s, choose(c, 40));
		for (n = choose(c, 4); n && serve(&s->server, c); n--)
			;
		server_sends(s, choose(c, 60));
	}
	settle(s, c);
}

static void say(struct session *s, struct choices *c, const char *text, bool pipelined)
{
	put_text(&s->client, text);
	if (!pipelined)
		pump(s, c);
}

static void honest_content(struct session *s, struct choices *c)
{
	pump(s, c);
	if (s->server.mode != CONTENT)
		return;
	say(s, c, "From: a\r\nMAIL FROM:<x>\r\nDATA\r\n", perhaps(c, 128));
	say(s, c, "..\r\n. \r\nRSET\r\n", perhaps(c, 128));
	say(s, c, ".\r\n", false);
}

static void honest_chunks(struct session *s, struct choices *c, bool pipelined)
{
	unsigned int n = choose(c, 3);

	while (n--) {
		put_text(&s->client, "BDAT 12\r\n");
		say(s, c, "DATA\r\nRSET\r\n", pipelined);
	}
	put_text(&s->client, "BDAT 5 LAST\r\n");
	say(s, c, "\r\n.\r\n", false);
}

static void honest_message(struct session *s, struct choices *c, bool chunks)
{
	bool pipelined = perhaps(c, 128);
	unsigned int n = 1 + choose(c, 20);

	if (s->server.mailed || perhaps(c, 64))
		say(s, c, "RSET\r\n", false);
	say(s, c, "MAIL FROM:<a@b>\r\n", pipelined);
	while (n--)
		say(s, c, "RCPT TO:<a@b>\r\n", pipelined);
	if (chunks) {
		honest_chunks(s, c, pipelined);
		return;
	}
	say(s, c, "DATA\r\n", true);
	honest_content(s, c);
}

static void honest_auth(struct session *s, struct choices *c)
{
	say(s, c, "AUTH LOGIN\r\n", false);
	while (s->server.mode == SASL)
		say(s, c, "DATA\r\n", false);
}

/*
 * Where the replies do not tell a hidden BDAT from honest commands, what follows is counted high:
 * while no acceptance shows how one reads here, and in LMTP.
 */
static bool counted_high(const struct session *s)
{
	return s->d.shadow && (!s->server.messages || s->server.lmtp);
}

static bool miscounted(const unsigned char *input, size_t size)
{
	static struct session s;
	struct choices c = { input, input + size };
	struct server *v = &s.server;
	bool extended, chunks;

	begin(&s, &c);
	s.client.to = 0;       /* what it may hide */
	v->lax &= ~LAX_DOT_CR; /* leaves the LF of CR.CRLF behind */
	extended = v->lmtp || perhaps(&c, 192);
	if (v->knows_bdat && extended)
		v->one_text = false; /* there are 250s that only their text tells apart */
	chunks = v->knows_bdat && extended && !v->lmtp && perhaps(&c, 128);
	say(&s, &c, v->lmtp ? "LHLO x\r\n" : extended ? "EHLO x\r\n" : "HELO x\r\n", false);
	if (perhaps(&c, 32))
		honest_auth(&s, &c);
	while (c.at < c.end && !counted_high(&s))
		honest_message(&s, &c, chunks);
	say(&s, &c, "QUIT\r\n", false);
	if (tracing)
		printf("lmtp %d: counted %u, %u taken, %u recipients %u rejects %u deferrals; "
		       "true %u, %u, %u, %u\n",
		       v->lmtp, s.total.charged, s.total.accepted, s.total.recipients,
		       s.total.rejects, s.total.deferrals, v->messages, v->recipients, v->rejects,
		       v->deferrals);
	return s.total.charged != v->messages || s.total.accepted != v->messages ||
	       s.total.recipients != v->recipients || s.total.rejects != v->rejects ||
	       s.total.deferrals != v->deferrals;
}

static bool too_low(const unsigned char *input, size_t size)
{
	static struct session s;
	struct choices c = { input, input + size };

	begin(&s, &c);
	while (c.at < c.end)
		step(&s, &c);
	settle(&s, &c);
	sessions++;
	messages += s.server.messages;
	counted += s.total.charged;
	if (tracing)
		printf("lax %#x, bdat %d, lmtp %d, one text %d: counted %u of %u\n", s.server.lax,
		       s.server.knows_bdat, s.server.lmtp, s.server.one_text, s.total.charged,
		       s.server.messages);
	return s.total.charged < s.server.messages;
}

/* Both sides say anything: every byte is taken, and no more is refunded than was charged. */
static bool stuck_or_below_zero(const unsigned char *input, size_t size)
{
	struct choices c = { input, input + size };
	struct smtp_news news = {};
	struct sw_dialogue d;
	__u8 shown[SMTP_SHOWN];
	bool client = false;
	size_t left, n;

	smtp_begin(&d, perhaps(&c, 32));
	while (c.at < c.end) {
		client ^= perhaps(&c, 128);
		left = choose(&c, 100);
		left = left < (size_t)(c.end - c.at) ? left : (size_t)(c.end - c.at);
		while (left) {
			n = client ? smtp_client_passes(&d, left, &news)
				   : smtp_server_passes(&d, left);
			c.at += n;
			left -= n;
			n = left < sizeof(shown) ? left : sizeof(shown);
			memcpy(shown, c.at, n);
			n = client ? smtp_client_says(&d, shown, n, &news)
				   : smtp_server_says(&d, shown, n, &news);
			c.at += n;
			left -= n;
		}
	}
	smtp_closes(&d, &news);
	return news.refunded > news.charged || news.accepted > news.charged;
}

int LLVMFuzzerTestOneInput(const unsigned char *input, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *input, size_t size)
{
	static bool (*const properties[])(const unsigned char *, size_t) = {
		miscounted, stuck_or_below_zero, too_low, too_low, too_low,
	};
	bool (*wrong)(const unsigned char *, size_t) = properties[size ? input[0] % 5 : 0];

	if (!size || !wrong(input + 1, size - 1))
		return 0;
	tracing = true;
	wrong(input + 1, size - 1);
	fflush(stdout);
	abort();
}

#ifdef RANDOM_SESSIONS
int main(int argc, char **argv)
{
	unsigned long n = argc > 1 ? strtoul(argv[1], NULL, 0) : RANDOM_SESSIONS;
	unsigned long long seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	unsigned char input[400];
	size_t i;

	while (n--) {
		for (i = 0; i < sizeof(input); i++) {
			seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
			input[i] = seed >> 33;
		}
		LLVMFuzzerTestOneInput(input, 50 + seed % 350);
	}
	printf("%llu sessions, %llu messages taken, %llu counted\n", sessions, messages, counted);
	return 0;
}
#endif
