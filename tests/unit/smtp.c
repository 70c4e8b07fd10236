// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The dialogue: scripts of both sides, and what they must count, however they are cut in pieces.
 * tests/fuzz/smtp.c does the same against servers that are made up as it goes.
 */
#include "../../bpf/lib/smtp.h"
#include "test.h"

#define STEPS 32

/* "C" steps are the client's, "S" steps the server's. */
struct step {
	const char *who;
	const char *says; /* C steps: \1 stands for NUL */
};

struct counts {
	__u32 charged; /* less what was refunded */
	__u32 accepted, recipients, rejects, deferrals;
};

struct script {
	const char *name;
	struct counts counts;
	struct step step[STEPS];
};

static void sum(struct counts *total, const struct smtp_news *news)
{
	total->charged += news->charged - news->refunded;
	total->accepted += news->accepted;
	total->recipients += news->recipients;
	total->rejects += news->rejects;
	total->deferrals += news->deferrals;
}

/* What a hook does with a packet. */
static void say(struct sw_dialogue *d, char who, const char *bytes, size_t len,
		struct counts *total)
{
	struct smtp_news news = {};
	__u8 shown[SMTP_SHOWN];
	size_t off = 0, n;

	while (off < len) {
		off += who == 'C' ? smtp_client_passes(d, len - off, &news)
				  : smtp_server_passes(d, len - off);
		n = len - off < sizeof(shown) ? len - off : sizeof(shown);
		memcpy(shown, bytes + off, n);
		off += who == 'C' ? smtp_client_says(d, shown, n, &news)
				  : smtp_server_says(d, shown, n, &news);
	}
	sum(total, &news);
}

static size_t decode(const char *says, char *bytes)
{
	size_t len = strlen(says), i;

	for (i = 0; i < len; i++)
		bytes[i] = says[i] == 1 ? 0 : says[i];
	return len;
}

/* Each step is cut at `cut`, or in pieces of one byte where that is SIZE_MAX. */
static void play(const struct step *step, size_t cut, struct sw_dialogue *d, struct counts *total)
{
	char bytes[4096];
	size_t len, i;

	for (; step->who; step++) {
		len = decode(step->says, bytes);
		if (cut == SIZE_MAX) {
			for (i = 0; i < len; i++)
				say(d, *step->who, bytes + i, 1, total);
			continue;
		}
		say(d, *step->who, bytes, cut < len ? cut : len, total);
		if (cut < len)
			say(d, *step->who, bytes + cut, len - cut, total);
	}
}

static bool counts_are(const struct script *s, size_t cut, const struct counts *is)
{
	const struct counts *want = &s->counts;

	if (!memcmp(is, want, sizeof(*is)))
		return true;
	return test_fail(__FILE__, __LINE__,
			 "%s, cut at %zd: charged %u/%u accepted %u/%u recipients %u/%u rejects "
			 "%u/%u deferrals %u/%u",
			 s->name, (ssize_t)cut, is->charged, want->charged, is->accepted,
			 want->accepted, is->recipients, want->recipients, is->rejects,
			 want->rejects, is->deferrals, want->deferrals);
}

static size_t longest(const struct step *step)
{
	size_t most = 0, len;

	for (; step->who; step++) {
		len = strlen(step->says);
		most = len > most ? len : most;
	}
	return most;
}

static void check_script(const struct script *s)
{
	size_t cuts = longest(s->step) + 2, i;

	for (i = 0; i < cuts; i++) {
		struct counts total = {};
		struct sw_dialogue d;

		smtp_begin(&d, 0);
		play(s->step, i == cuts - 1 ? SIZE_MAX : i, &d, &total);
		if (!counts_are(s, i == cuts - 1 ? SIZE_MAX : i, &total))
			return;
	}
}

#define CHECK_SCRIPTS(table)                                                                       \
	do {                                                                                       \
		for (size_t n_ = 0; n_ < sizeof(table) / sizeof(*(table)); n_++)                   \
			check_script(&(table)[n_]);                                                \
	} while (0)

#define HELLO                                                                                      \
	{ "S", "220-mx.example.org ESMTP\r\n220 ready\r\n" }, { "C", "EHLO client\r\n" },          \
	{                                                                                          \
		"S", "250-mx.example.org\r\n250-PIPELINING\r\n250 8BITMIME\r\n"                    \
	}
#define HELLO_CHUNKING                                                                             \
	{ "S", "220 mx.example.org ESMTP\r\n" }, { "C", "EHLO client\r\n" },                       \
	{                                                                                          \
		"S", "250-mx.example.org\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 8BITMIME\r\n"    \
	}
#define ENVELOPE                                                                                   \
	{ "C", "MAIL FROM:<a@example.net>\r\n" }, { "S", "250 2.1.0 Ok\r\n" },                     \
		{ "C", "RCPT TO:<b@example.org>\r\n" },                                            \
	{                                                                                          \
		"S", "250 2.1.5 Ok\r\n"                                                            \
	}
#define DATA                                                                                       \
	{ "C", "DATA\r\n" },                                                                       \
	{                                                                                          \
		"S", "354 End data with <CR><LF>.<CR><LF>\r\n"                                     \
	}
#define CONTENT                                                                                    \
	{                                                                                          \
		"C", "From: a\r\nMAIL FROM:<x>\r\nRCPT TO:<y>\r\nDATA\r\n..\r\nhello\r\n.\r\n"     \
	}
#define TAKEN                                                                                      \
	{                                                                                          \
		"S", "250 2.0.0 Ok: queued as 4F00B\r\n"                                           \
	}
#define MESSAGE ENVELOPE, DATA, CONTENT, TAKEN
#define QUIT                                                                                       \
	{ "C", "QUIT\r\n" },                                                                       \
	{                                                                                          \
		"S", "221 2.0.0 Bye\r\n"                                                           \
	}

static const struct script plain[] = {
	{ "one message", { 1, 1, 1, 0, 0 }, { HELLO, MESSAGE, QUIT } },
	{ "two messages", { 2, 2, 2, 0, 0 }, { HELLO, MESSAGE, MESSAGE, QUIT } },
	{ "two messages where CHUNKING is offered",
	  { 2, 2, 2, 0, 0 },
	  { HELLO_CHUNKING, MESSAGE, MESSAGE, QUIT } },
	{ "RSET between them",
	  { 2, 2, 2, 0, 0 },
	  { HELLO_CHUNKING,
	    MESSAGE,
	    { "C", "RSET\r\n" },
	    { "S", "250 2.0.0 Ok\r\n" },
	    MESSAGE,
	    { "C", "NOOP\r\n" },
	    { "S", "250 2.0.0 Ok\r\n" } } },
	{ "lower case, and a blank before it",
	  { 1, 1, 1, 0, 0 },
	  { { "S", "220 mx\r\n" },
	    { "C", "ehlo client\r\n" },
	    { "S", "250 mx\r\n" },
	    { "C", "mail from:<a>\r\n  rcpt to:<b>\r\n \tdata\r\n" },
	    { "S", "250 Ok\r\n250 Ok\r\n354 go\r\n" },
	    CONTENT,
	    TAKEN } },
	{ "pipelined, replies in multiple lines",
	  { 1, 1, 3, 1, 1 },
	  { HELLO,
	    { "C", "MAIL FROM:<a>\r\nRCPT TO:<b>\r\nRCPT TO:<c>\r\nRCPT TO:<d>\r\n"
		   "RCPT TO:<e>\r\nRCPT TO:<f>\r\nDATA\r\n" },
	    { "S", "250-one\r\n250-two\r\n250 Ok\r\n250 Ok\r\n550-no\r\n550 no\r\n"
		   "251 will forward\r\n450 later\r\n250 Ok\r\n354-a\r\n354 b\r\n" },
	    CONTENT,
	    { "S", "250-a\r\n250-b\r\n250 c\r\n" } } },
	{ "the greeting comes late, and the hello is pipelined",
	  { 1, 1, 1, 0, 0 },
	  { { "C", "EHLO client\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n" },
	    { "S", "220 mx\r\n250-mx\r\n250 PIPECONNECT\r\n250 Ok\r\n250 Ok\r\n354 go\r\n" },
	    CONTENT,
	    TAKEN } },
	{ "QUIT behind the final dot",
	  { 1, 1, 1, 0, 0 },
	  { HELLO_CHUNKING,
	    ENVELOPE,
	    DATA,
	    { "C", "hello\r\n.\r\nQUIT\r\n" },
	    { "S", "250 2.0.0 Ok: queued as 1\r\n221 2.0.0 Bye\r\n" } } },
	{ "the next envelope behind the final dot",
	  { 2, 2, 3, 1, 0 },
	  { HELLO_CHUNKING,
	    ENVELOPE,
	    DATA,
	    { "C", "hello, hello, hello, hello\r\n.\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\n"
		   "RCPT TO:<c>\r\nRCPT TO:<d>\r\nDATA\r\n" },
	    { "S", "250 2.0.0 Ok: queued as 1\r\n250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n550 no\r\n"
		   "250 2.1.5 Ok\r\n354 go\r\n" },
	    CONTENT,
	    TAKEN } },
	{ "rejected: the recipient, DATA, the dot",
	  { 1, 1, 3, 3, 0 },
	  { HELLO,
	    { "C", "MAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n" },
	    { "S", "250 Ok\r\n550 no\r\n554 no valid recipients\r\n" },
	    { "C", "RSET\r\n" },
	    { "S", "250 Ok\r\n" },
	    ENVELOPE,
	    DATA,
	    CONTENT,
	    { "S", "554 spam\r\n" },
	    ENVELOPE,
	    { "C", "RCPT TO:<c>\r\n" },
	    { "S", "250 Ok\r\n" },
	    DATA,
	    CONTENT,
	    TAKEN } },
	{ "deferred: the recipient, DATA, the dot",
	  { 0, 0, 1, 0, 3 },
	  { HELLO,
	    { "C", "MAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n" },
	    { "S", "250 Ok\r\n450 greylisted\r\n451 no\r\n" },
	    ENVELOPE,
	    DATA,
	    CONTENT,
	    { "S", "451 try again\r\n" } } },
	{ "MAIL refused is no reject",
	  { 0, 0, 0, 0, 0 },
	  { HELLO,
	    { "C", "MAIL FROM:<a>\r\n" },
	    { "S", "550 no\r\n" },
	    { "C", "VRFY <a>\r\n" },
	    { "S", "550 no\r\n" },
	    QUIT } },
	{ "an envelope that was given up",
	  { 1, 1, 2, 0, 0 },
	  { HELLO_CHUNKING, ENVELOPE, { "C", "RSET\r\n" }, { "S", "250 Ok\r\n" }, MESSAGE, QUIT } },
	{ "AUTH: lines after 334 are no commands",
	  { 1, 1, 1, 0, 0 },
	  { HELLO,
	    { "C", "AUTH LOGIN\r\n" },
	    { "S", "334 VXNlcm5hbWU6\r\n" },
	    { "C", "DATA\r\n" },
	    { "S", "334 UGFzc3dvcmQ6\r\n" },
	    { "C", "\r\n" },
	    { "S", "235 2.7.0 Authentication successful\r\n" },
	    MESSAGE } },
	{ "AUTH with its response, refused, then cancelled",
	  { 1, 1, 1, 0, 0 },
	  { HELLO,
	    { "C", "AUTH PLAIN AGEAYg==\r\n" },
	    { "S", "535 5.7.8 no\r\n" },
	    { "C", "AUTH PLAIN\r\n" },
	    { "S", "334 \r\n" },
	    { "C", "*\r\n" },
	    { "S", "501 cancelled\r\n" },
	    MESSAGE } },
	{ "STARTTLS refused",
	  { 1, 1, 1, 0, 0 },
	  { HELLO, { "C", "STARTTLS\r\n" }, { "S", "454 not now\r\n" }, MESSAGE } },
	{ "LMTP: a reply for each recipient",
	  { 2, 2, 4, 1, 0 },
	  { { "S", "220 mx LMTP\r\n" },
	    { "C", "LHLO client\r\n" },
	    { "S", "250-mx\r\n250 PIPELINING\r\n" },
	    { "C", "MAIL FROM:<a>\r\nRCPT TO:<b>\r\nRCPT TO:<c>\r\nRCPT TO:<d>\r\nDATA\r\n" },
	    { "S", "250 Ok\r\n250 Ok\r\n250 Ok\r\n250 Ok\r\n354 go\r\n" },
	    CONTENT,
	    { "S", "250 b\r\n550 c\r\n250 d\r\n" },
	    ENVELOPE,
	    DATA,
	    CONTENT,
	    { "S", "250 b\r\n" } } },
	{ "8 bit, and no sense in it",
	  { 1, 1, 1, 0, 0 },
	  { HELLO,
	    { "C", "\xff\xfe\x80\r\nX\r\n\xc3\xa9HLO\r\n" },
	    { "S", "500 what\r\n500 what\r\n500 what\r\n" },
	    MESSAGE } },
};

TEST(plain_dialogues_are_counted_exactly)
{
	CHECK_SCRIPTS(plain);
}

static const struct script chunked[] = {
	{ "one chunk",
	  { 1, 1, 1, 0, 0 },
	  { HELLO_CHUNKING,
	    ENVELOPE,
	    { "C", "BDAT 14 LAST\r\nDATA\r\nRSET\r\n.\r" },
	    { "S", "250 2.0.0 Ok: 14 bytes queued as 1\r\n" },
	    QUIT } },
	{ "three chunks, pipelined with the envelope, twice",
	  { 2, 2, 2, 0, 0 },
	  { HELLO_CHUNKING,
	    { "C", "MAIL FROM:<a>\r\nRCPT TO:<b>\r\nBDAT 3\r\n\1\1\1bdat 6\r\nDATA\r\n"
		   "BDAT 0 LAST\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nBDAT 2 last\r\nxx" },
	    { "S", "250 Ok\r\n250 Ok\r\n250 3\r\n250 6\r\n250 queued\r\n250 Ok\r\n250 Ok\r\n"
		   "250 queued\r\n" },
	    QUIT } },
	{ "refused at its end, then taken",
	  { 1, 1, 2, 1, 0 },
	  { HELLO_CHUNKING,
	    ENVELOPE,
	    { "C", "BDAT 2\r\nxxBDAT 3 LAST\r\nxxx" },
	    { "S", "250 Ok\r\n554 spam\r\n" },
	    ENVELOPE,
	    { "C", "BDAT 2 LAST\r\nxx" },
	    { "S", "250 queued\r\n" } } },
	{ "no recipient was good: RFC 3030 reads the chunk all the same",
	  { 1, 1, 1, 2, 0 },
	  { HELLO_CHUNKING,
	    { "C", "MAIL FROM:<a>\r\nRCPT TO:<b>\r\nBDAT 6\r\nDATA\r\nBDAT 6 LAST\r\nDATA\r\n" },
	    { "S", "250 Ok\r\n550 no\r\n503 no recipients\r\n503 no recipients\r\n" },
	    { "C", "RSET\r\n" },
	    { "S", "250 Ok\r\n" },
	    ENVELOPE,
	    { "C", "BDAT 2 LAST\r\nxx" },
	    { "S", "250 queued\r\n" } } },
	{ "given up with RSET",
	  { 1, 1, 2, 0, 0 },
	  { HELLO_CHUNKING,
	    ENVELOPE,
	    { "C", "BDAT 2\r\nxx" },
	    { "S", "250 Ok\r\n" },
	    { "C", "RSET\r\n" },
	    { "S", "250 Ok\r\n" },
	    ENVELOPE,
	    { "C", "BDAT 2 LAST\r\nxx" },
	    { "S", "250 queued\r\n" } } },
};

TEST(chunks_are_skipped_exactly_and_counted_once_a_message)
{
	CHECK_SCRIPTS(chunked);
}

/* A client that misleads us and a server that says the truth: the counts may be high, not low. */
static const struct script hostile_clients[] = {
	{ "a whole transaction behind the final dot",
	  { 2, 2, 2, 0, 0 },
	  { HELLO,
	    ENVELOPE,
	    DATA,
	    { "C", "x\r\n.\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\ny\r\n.\r\n" },
	    { "S", "250 Ok: queued\r\n250 Ok\r\n250 Ok\r\n354 go\r\n250 Ok: queued\r\n" } } },
	{ "smuggled behind an end that only this server takes for one",
	  { 2, 2, 2, 0, 0 },
	  { HELLO,
	    ENVELOPE,
	    DATA,
	    { "C", "x\n.\nMAIL FROM:<a>\nRCPT TO:<b>\nDATA\ny\n.\r\n" },
	    { "S", "250 Ok: queued\r\n250 Ok\r\n250 Ok\r\n354 go\r\n250 Ok: queued\r\n" } } },
	{ "BDAT behind the final dot",
	  { 2, 1, 2, 0, 0 },
	  { HELLO_CHUNKING,
	    ENVELOPE,
	    DATA,
	    { "C", "x\r\n.\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nBDAT 3 LAST\r\nxyz" },
	    { "S", "250 Ok: queued\r\n250 Ok\r\n250 Ok\r\n" },
	    { "S", "250 Ok: queued\r\n" } } },
	{ "BDAT behind the final dot, its replies explained by commands the server never sees",
	  { 2, 1, 3, 0, 0 },
	  { HELLO_CHUNKING,
	    ENVELOPE,
	    DATA,
	    { "C", "x\r\n.\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nBDAT 42 LAST\r\n" },
	    { "S", "250 Ok: queued\r\n" },
	    { "C", "MAIL FROM:<a>\r\nRCPT TO:<b>\r\nRCPT TO:<c>\r\n" },
	    { "S", "250 Ok\r\n250 Ok\r\n250 Ok: queued\r\n" } } },
	{ "a hidden command shifts the replies: the refusal of a recipient is no chunk's",
	  { 2, 1, 2, 0, 0 },
	  { HELLO_CHUNKING,
	    ENVELOPE,
	    DATA,
	    { "C", "x\r\n.\r\nX\r\n" },
	    { "S", "250 Ok: queued\r\n" },
	    { "C", "MAIL FROM:<a>\r\nRCPT TO:<b>\r\nRCPT TO:<c>\r\nBDAT 1 LAST\r\nxNOOP\r\n" },
	    { "S", "500 what\r\n250 Ok\r\n250 Ok\r\n550 no\r\n250 Ok: queued\r\n250 Ok\r\n" } } },
	{ "a hidden DATA, ended by a dot that we take for a command",
	  { 3, 3, 3, 0, 0 },
	  { HELLO_CHUNKING,
	    ENVELOPE,
	    DATA,
	    { "C", "x\r\n.\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nNOOP\r\nDATA\r\n" },
	    { "S", "250 Ok: queued\r\n" },
	    { "C", ".\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\n" },
	    { "S", "250 Ok\r\n250 Ok\r\n250 Ok\r\n354 go\r\n250 Ok: queued\r\n" },
	    { "S", "250 Ok\r\n250 Ok\r\n354 go\r\n" },
	    { "C", "x\r\n.\r\n" },
	    { "S", "250 Ok: queued\r\n" } } },
	{ "a chunk of 010 that is 8 to this server",
	  { 2, 1, 2, 0, 0 },
	  { HELLO_CHUNKING,
	    ENVELOPE,
	    { "C", "BDAT 010 LAST\r\n12345678MAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\nx\r\n.\r\n" },
	    { "S", "250 Ok: queued\r\n250 Ok\r\n250 Ok\r\n354 go\r\n250 Ok: queued\r\n" } } },
	{ "a refused chunk that the server did not read",
	  { 2, 1, 2, 1, 0 },
	  { HELLO,
	    ENVELOPE,
	    { "C", "BDAT 1000\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\nx\r\n.\r\n" },
	    { "S", "502 what\r\n" },
	    { "S", "250 Ok\r\n250 Ok\r\n354 go\r\n250 queued\r\n" } } },
	{ "BDAT that says LAST in its own way",
	  { 1, 0, 1, 0, 0 },
	  { HELLO_CHUNKING,
	    ENVELOPE,
	    { "C", "BDAT 1\tLAST\r\nxyzxyz" },
	    { "S", "250 queued\r\n" } } },
	{ "content that does not wait for the 354",
	  { 1, 1, 1, 0, 0 },
	  { HELLO, ENVELOPE, { "C", "DATA\r\nx\r\n.\r\n" }, { "S", "354 go\r\n250 queued\r\n" } } },
	{ "nor for the 503, and then commands",
	  { 1, 1, 2, 1, 0 },
	  { HELLO,
	    { "C", "DATA\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\nx\r\n.\r\n" },
	    { "S", "503 no\r\n250 Ok\r\n250 Ok\r\n354 go\r\n250 queued\r\n" },
	    { "C", "MAIL FROM:<a>\r\nRCPT TO:<b>\r\n" },
	    { "S", "250 Ok\r\n250 Ok\r\n" } } },
	{ "bare LF",
	  { 1, 1, 2, 0, 0 },
	  { { "S", "220 mx\r\n" },
	    { "C", "EHLO x\nMAIL FROM:<a>\nRCPT TO:<b>\nDATA\nx\n.\n" },
	    { "S", "250 mx\r\n250 Ok\r\n250 Ok\r\n354 go\r\n250 queued\r\n" } } },
	{ "bare CR",
	  { 1, 1, 1, 0, 0 },
	  { HELLO,
	    { "C", "NOOP x\rMAIL FROM:<a>\rRCPT TO:<b>\rDATA\rx\r.\r" },
	    { "S", "250 Ok\r\n" },
	    { "S", "250 Ok\r\n" },
	    { "S", "354 go\r\n250 queued\r\n" } } },
	{ "NUL",
	  { 1, 1, 1, 0, 0 },
	  { HELLO,
	    ENVELOPE,
	    { "C", "DA\1TA\r\nx\r\n.\r\n" },
	    { "S", "354 go\r\n250 queued\r\n" } } },
	{ "a verb of its own",
	  { 1, 1, 1, 0, 0 },
	  { HELLO,
	    ENVELOPE,
	    { "C", "XTAD\r\n" },
	    { "S", "354 go\r\n" },
	    { "C", "x\r\n.\r\n" },
	    { "S", "250 queued\r\n" } } },
	{ "STARTTLS to a server that goes on in clear",
	  { 1, 1, 1, 0, 0 },
	  { HELLO,
	    { "C", "STARTTLS\r\n" },
	    { "S", "220 go ahead\r\n" },
	    { "C", "MAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r\nx\r\n.\r\n" },
	    { "S", "250 Ok\r\n250 Ok\r\n354 go\r\n250 queued\r\n" } } },
	{ "a first byte that looks like TLS",
	  { 1, 1, 2, 1, 0 },
	  { { "C", "\x16\x03\x01\r\n" },
	    { "S", "220 mx\r\n500 what\r\n" },
	    { "C", "HELO x\r\n" },
	    { "S", "250 mx\r\n" },
	    { "C", "MAIL FROM:<a>\r\n\1" },
	    { "S", "250 Ok\r\n" },
	    { "C", "RCPT TO:<b>\r\n" },
	    { "S", "250 Ok\r\n" },
	    { "C", "DATA\r\n" },
	    { "S", "354 go\r\n" },
	    CONTENT,
	    TAKEN } },
};

static bool not_low(const struct script *s, const struct counts *is)
{
	return (is->charged >= s->counts.charged && is->accepted >= s->counts.accepted) ||
	       test_fail(__FILE__, __LINE__, "%s: charged %u of %u, accepted %u of %u", s->name,
			 is->charged, s->counts.charged, is->accepted, s->counts.accepted);
}

TEST(no_client_makes_the_count_too_low)
{
	size_t n, cut;

	for (n = 0; n < sizeof(hostile_clients) / sizeof(*hostile_clients); n++)
		for (cut = 0; cut < 100; cut++) {
			const struct script *s = &hostile_clients[n];
			struct counts total = {};
			struct sw_dialogue d;

			smtp_begin(&d, 0);
			play(s->step, cut == 99 ? SIZE_MAX : cut, &d, &total);
			if (!not_low(s, &total))
				break;
		}
}

/* A server that makes things up: never more than the client asked for. */
static const struct script hostile_servers[] = {
	{ "replies to nothing",
	  { 0, 0, 0, 0, 0 },
	  { HELLO, { "S", "354 go\r\n250 Ok\r\n354 go\r\n250 Ok\r\n550 no\r\n" }, QUIT } },
	{ "354 for a greeting",
	  { 0, 0, 0, 0, 0 },
	  { { "S", "354 go\r\n250 Ok\r\n250 Ok\r\n" }, { "C", "EHLO x\r\n" } } },
	{ "354 to MAIL",
	  { 0, 0, 0, 0, 0 },
	  { HELLO,
	    { "C", "MAIL FROM:<a>\r\n" },
	    { "S", "354 go\r\n250 Ok\r\n" },
	    { "C", "RSET\r\n" },
	    { "S", "354 go\r\n250 Ok\r\n" },
	    QUIT } },
	{ "250 to DATA, and more",
	  { 0, 0, 1, 0, 0 },
	  { HELLO,
	    ENVELOPE,
	    { "C", "DATA\r\n" },
	    { "S", "250 Ok\r\n250 Ok\r\n250 Ok\r\n" },
	    QUIT } },
	{ "many replies to one recipient",
	  { 0, 0, 1, 0, 0 },
	  { HELLO,
	    { "C", "MAIL FROM:<a>\r\nRCPT TO:<b>\r\n" },
	    { "S", "250 Ok\r\n250 Ok\r\n250 Ok\r\n250 Ok\r\n550 no\r\n" } } },
	{ "250 before any content was sent",
	  { 1, 1, 1, 0, 0 },
	  { HELLO, ENVELOPE, DATA, { "S", "250 Ok\r\n250 Ok\r\n354 go\r\n" }, CONTENT, TAKEN } },
	{ "two replies to a short content",
	  { 1, 1, 1, 0, 0 },
	  { HELLO,
	    ENVELOPE,
	    DATA,
	    { "C", ".\r\n" },
	    { "S", "250 Ok\r\n354 go\r\n250 Ok\r\n354 go\r\n250 Ok\r\n" } } },
	{ "no codes at all",
	  { 0, 0, 0, 0, 0 },
	  { { "S", "\r\n\r\n\1\x80\x80\r\n999 x\r\n35\r\n2500\r\n-250 x\r\n" }, { "S", "250" } } },
};

TEST(no_server_makes_the_count_higher_than_what_was_asked)
{
	CHECK_SCRIPTS(hostile_servers);
}

static void begin(struct sw_dialogue *d, struct counts *total)
{
	static const struct step hello[] = { HELLO, {} };

	memset(total, 0, sizeof(*total));
	smtp_begin(d, 0);
	play(hello, 0, d, total);
}

static void says(struct sw_dialogue *d, char who, const char *text, struct counts *total)
{
	say(d, who, text, strlen(text), total);
}

TEST(payload_is_held_from_DATA_to_its_reply)
{
	struct counts total;
	struct sw_dialogue d;

	begin(&d, &total);
	says(&d, 'C', "MAIL FROM:<a>\r\nRCPT TO:<b>\r\nDATA\r", &total);
	CHECK(!smtp_holds(&d));
	says(&d, 'C', "\n", &total);
	CHECK(smtp_holds(&d));
	says(&d, 'S', "250 Ok\r\n250 Ok\r\n354-go\r\n354 ", &total);
	CHECK(smtp_holds(&d));
	CHECK_EQ(total.charged, 0);
	says(&d, 'S', "go\r\n", &total);
	CHECK(!smtp_holds(&d));
	CHECK_EQ(total.charged, 1);
	CHECK_EQ(total.accepted, 0);
}

TEST(content_is_not_shown)
{
	struct smtp_news news = {};
	struct counts total;
	struct sw_dialogue d;

	begin(&d, &total);
	says(&d, 'C', "DATA\r\n", &total);
	says(&d, 'S', "354 go\r\n", &total);
	CHECK_EQ(smtp_client_passes(&d, 65536, &news), 65536);
	says(&d, 'S', "250 Ok\r\n", &total);
	CHECK_EQ(smtp_client_passes(&d, 10, &news), 0);
	says(&d, 'C', "BDAT 1000\r\n", &total);
	CHECK_EQ(smtp_client_passes(&d, 600, &news), 600);
	CHECK_EQ(smtp_client_passes(&d, 600, &news), 400);
	CHECK_EQ(smtp_client_passes(&d, 200, &news), 0);
}

TEST(content_may_be_told_of_when_the_server_answers_it)
{
	static const char *const before[] = { "DATA\r\n", "354 go\r\n" };
	struct smtp_news news = {};
	struct sw_dialogue at_once, later;
	struct counts total;

	begin(&at_once, &total);
	CHECK(!smtp_client_is_skipped(&at_once));
	say(&at_once, 'C', before[0], strlen(before[0]), &total);
	CHECK(!smtp_client_is_skipped(&at_once));
	say(&at_once, 'S', before[1], strlen(before[1]), &total);
	for (int lost = 0; lost < 2; lost++) {
		if (lost)
			smtp_lose(&at_once);
		CHECK(smtp_client_is_skipped(&at_once));
		later = at_once;
		CHECK_EQ(smtp_client_passes(&at_once, 1000, &news), 1000);
		CHECK_EQ(smtp_client_passes(&at_once, 500, &news), 500);
		smtp_client_passed(&later, 1500);
		CHECK(memcmp(&at_once, &later, sizeof(later)) == 0);
	}
	CHECK_EQ(news.charged, 0);
}

TEST(a_354_that_the_client_leaves_alone_is_no_message_but_content_may_be)
{
	struct smtp_news news = {};
	struct counts total;
	struct sw_dialogue d;

	begin(&d, &total);
	says(&d, 'C', "DATA\r\n", &total);
	says(&d, 'S', "354 go\r\n", &total);
	smtp_closes(&d, &news);
	CHECK_EQ(news.refunded, 1);
	smtp_closes(&d, &news);
	CHECK_EQ(news.refunded, 1);

	begin(&d, &total);
	says(&d, 'C', "DATA\r\n", &total);
	says(&d, 'S', "354 go\r\n", &total);
	says(&d, 'C', "x", &total);
	smtp_closes(&d, &news);
	CHECK_EQ(news.refunded, 1);
}

TEST(many_recipients_in_one_pipeline)
{
	struct counts total;
	struct sw_dialogue d;
	int i;

	begin(&d, &total);
	says(&d, 'C', "MAIL FROM:<a>\r\n", &total);
	for (i = 0; i < 400; i++)
		says(&d, 'C', "RCPT TO:<b>\r\n", &total);
	says(&d, 'C', "DATA\r\n", &total);
	CHECK_EQ(d.client, SMTP_WAITING);
	for (i = 0; i < 401; i++)
		says(&d, 'S', "250 Ok\r\n", &total);
	says(&d, 'S', "354 go\r\n", &total);
	says(&d, 'C', "x\r\n.\r\n", &total);
	says(&d, 'S', "250 Ok\r\n", &total);
	CHECK_EQ(total.recipients, 400);
	CHECK_EQ(total.accepted, 1);
	CHECK_EQ(d.client, SMTP_COMMANDS);
}

TEST(more_unanswered_commands_than_are_remembered_lose_no_message)
{
	struct counts total;
	struct sw_dialogue d;
	int i;

	begin(&d, &total);
	d.chunking = 1;
	for (i = 0; i < 40; i++)
		says(&d, 'C', "NOOP\r\nMAIL FROM:<a>\r\nRCPT TO:<b>\r\nBDAT 1 LAST\r\nx", &total);
	CHECK_EQ(d.client, SMTP_LOST);
	for (i = 0; i < 40; i++)
		says(&d, 'S', "250 Ok\r\n250 Ok\r\n250 Ok\r\n250 Ok\r\n", &total);
	CHECK(total.charged >= 40);
}

TEST(floods_and_long_lines_lose_no_message)
{
	static const struct step message[] = { MESSAGE, {} };
	struct counts total;
	struct sw_dialogue d;
	int i;

	begin(&d, &total);
	for (i = 0; i < 20000; i++)
		says(&d, 'C', "NOOP\r\n", &total);
	for (i = 0; i < 20000; i++)
		says(&d, 'S', "250 Ok\r\n", &total);
	for (i = 0; i < 10000; i++)
		says(&d, 'C', "0123456789", &total);
	says(&d, 'C', "\r\n", &total);
	says(&d, 'S', "500 too long\r\n", &total);
	play(message, 0, &d, &total);
	for (i = 0; i < 10000; i++)
		says(&d, 'S', "0123456789", &total);
	says(&d, 'S', "\r\n", &total);
	play(message, 0, &d, &total);
	CHECK_EQ(total.charged, 2);
	CHECK_EQ(total.accepted, 2);
}

TEST(a_session_that_we_find_in_its_middle_counts_what_may_be_under_way)
{
	static const struct step rest[] = { { "S", "250 Ok: queued\r\n" }, MESSAGE, MESSAGE, {} };
	struct counts total = {};
	struct sw_dialogue d;

	smtp_begin(&d, 1);
	play(rest, SIZE_MAX, &d, &total);
	CHECK(total.charged >= 3);
	CHECK(total.charged <= 4);
}

TEST(a_session_that_was_not_begun_is_not_followed)
{
	static const struct step some[] = { MESSAGE, {} };
	struct counts total = {};
	struct sw_dialogue d = {};

	play(some, SIZE_MAX, &d, &total);
	CHECK_EQ(total.charged, 0);
}

TEST(TLS_is_what_the_server_speaks)
{
	struct counts total;
	struct sw_dialogue d;

	begin(&d, &total);
	says(&d, 'C', "STARTTLS\r\n", &total);
	says(&d, 'S', "220 go\r\n", &total);
	CHECK_EQ(d.client, SMTP_SECURING);
	says(&d, 'C', "\x16\x03\x01", &total);
	says(&d, 'S', "\x16", &total);
	CHECK_EQ(d.client, SMTP_SECURING);
	says(&d, 'S', "\x03\x03", &total);
	CHECK_EQ(d.client, SMTP_TLS);

	smtp_begin(&d, 0);
	says(&d, 'C', "\x16\x03\x01", &total);
	says(&d, 'S', "\x16\x03\x03", &total);
	CHECK_EQ(d.client, SMTP_TLS);
}
