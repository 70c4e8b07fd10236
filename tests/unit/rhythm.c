// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The estimate inside TLS, on records that real clients and servers exchanged: C the client's,
 * S the server's, with their lengths; /22/ is a content type other than application data, *3
 * three like that. The ClientHello and what was said before are left out.
 */
#include "../../bpf/lib/smtp.h"
#include "test.h"

struct recorded {
	const char *who;
	unsigned int messages;
	const char *records;
};

static const struct recorded recorded[] = {
	{ "Python smtplib, TLS 1.3", 10,
	  "S/22/122 S/20/1 S23 S821 S281 S69 C/20/1 C69 S250 C35 S250 S152 C52 "
	  "S38 C43 S41 C23 S63 C78 S191 C52 S38 C43 S41 C23 S63 C102 S191 C53 S38 "
	  "C43 S41 C23 S63 C138 S191 C53 S38 C43 S41 C23 S63 C138 S191 C52 S38 "
	  "C43 S41 C23 S63 C90 S191 C52 S38 C43 S41 C23 S63 C102 S191 C52 S38 C43 "
	  "S41 C23 S63 C118 S191 C52 S38 C43 S41 C23 S63 C74 S191 C52 S38 C43 S41 "
	  "C23 S63 C82 S191 C52 S38 C43 S41 C23 S63 C118 S191 C23 S26" },
	{ "Python smtplib, TLS 1.2", 10,
	  "S/22/65 S/22/801 S/22/300 S/22/4 C/22/37 C/20/1 C/22/40 S/22/186 "
	  "S/20/1 S/22/40 C42 S175 C60 S38 C50 S38 C50 S38 C50 S38 C50 S38 C50 "
	  "S38 C30 S61 C545 S61 C61 S38 C50 S38 C50 S38 C50 S38 C50 S38 C50 S38 "
	  "C30 S61 C3857 S61 C61 S38 C50 S38 C50 S38 C50 S38 C50 S38 C50 S38 C30 "
	  "S61 C1329 S61 C61 S38 C50 S38 C50 S38 C50 S38 C50 S38 C50 S38 C30 S61 "
	  "C2091 S61 C60 S38 C50 S38 C50 S38 C50 S38 C50 S38 C50 S38 C30 S61 C527 "
	  "S61 C61 S38 C50 S38 C50 S38 C50 S38 C50 S38 C50 S38 C30 S61 C3131 S61 "
	  "C61 S38 C50 S38 C50 S38 C50 S38 C50 S38 C50 S38 C30 S61 C1555 S61 C61 "
	  "S38 C50 S38 C50 S38 C50 S38 C50 S38 C50 S38 C30 S61 C1497 S61 C61 S38 "
	  "C50 S38 C50 S38 C50 S38 C50 S38 C50 S38 C30 S61 C1399 S61 C61 S38 C50 "
	  "S38 C50 S38 C50 S38 C50 S38 C50 S38 C30 S61 C1275 S61 C30 S39 S/21/26" },
	{ "Python smtplib, a CBC cipher", 20,
	  "S/22/69 S/22/801 S/22/300 S/22/4 C/22/37 C/20/1 C/22/68 S/22/186 "
	  "S/20/1 S/22/68 C68 S196 C84 S52 C68 S52 C68 S52 C52 S84 C1988 S84 C84 "
	  "S52 C68 S52 C52 S84 C948 S84 C84 S52 C68 S52 C52 S84 C1748 S84 C84 S52 "
	  "C68 S52 C68 S52 C68 S52 C68 S52 C52 S84 C1668 S84 C84 S52 C68 S52 C68 "
	  "S52 C68 S52 C68 S52 C52 S84 C788 S84 C84 S52 C68 S52 C52 S84 C1716 S84 "
	  "C84 S52 C68 S52 C52 S84 C1396 S84 C84 S52 C68 S52 C68 S52 C68 S52 C68 "
	  "S52 C52 S84 C2116 S84 C84 S52 C68 S52 C52 S84 C2420 S84 C84 S52 C68 "
	  "S52 C68 S52 C68 S52 C68 S52 C52 S84 C980 S84 C84 S52 C68 S52 C68 S52 "
	  "C52 S84 C2068 S84 C84 S52 C68 S52 C52 S84 C1156 S84 C84 S52 C68 S52 "
	  "C52 S84 C164 S84 C84 S52 C68 S52 C52 S84 C2260 S84 C84 S52 C68 S52 C52 "
	  "S84 C1364 S84 C84 S52 C68 S52 C68 S52 C52 S84 C1508 S84 C84 S52 C68 "
	  "S52 C52 S84 C1860 S84 C84 S52 C68 S52 C68 S52 C52 S84 C2644 S84 C84 "
	  "S52 C68 S52 C68 S52 C68 S52 C68 S52 C52 S84 C1748 S84 C84 S52 C68 S52 "
	  "C68 S52 C52 S84 C1252 S84 C52 S52 S/21/52" },
	{ "Python smtplib, half of the recipients refused", 15,
	  "S/22/122 S/20/1 S23 S821 S281 S69 C/20/1 C69 S250 C35 S168 C54 S31 C43 "
	  "S31 C43 S31 C44 S78 C23 S54 C2610 S54 C54 S31 C44 S78 C23 S31 C54 S31 "
	  "C43 S31 C43 S31 C43 S31 C43 S31 C44 S78 C23 S54 C1336 S54 C53 S31 C44 "
	  "S78 C23 S31 C54 S31 C43 S31 C43 S31 C43 S31 C43 S31 C44 S78 C23 S54 "
	  "C2610 S54 C53 S31 C43 S31 C23 S54 C959 S54 C53 S31 C43 S31 C43 S31 C44 "
	  "S78 C23 S54 C413 S54 C53 S31 C44 S78 C23 S31 C54 S31 C43 S31 C23 S54 "
	  "C1336 S54 C54 S31 C43 S31 C43 S31 C23 S54 C2480 S54 C54 S31 C43 S31 "
	  "C44 S78 C23 S54 C2610 S54 C54 S31 C43 S31 C43 S31 C43 S31 C43 S31 C23 "
	  "S54 C1908 S54 C54 S31 C43 S31 C43 S31 C44 S78 C23 S54 C2324 S54 C54 "
	  "S31 C43 S31 C43 S31 C23 S54 C1037 S54 C54 S31 C43 S31 C44 S78 C23 S54 "
	  "C1921 S54 C54 S31 C44 S78 C23 S31 C54 S31 C44 S78 C23 S31 C54 S31 C43 "
	  "S31 C43 S31 C43 S31 C43 S31 C44 S78 C23 S54 C2298 S54 C54 S31 C43 S31 "
	  "C43 S31 C44 S78 C23 S54 C2025 S54 C54 S31 C43 S31 C43 S31 C43 S31 C43 "
	  "S31 C23 S54 C1752 S54 C23 S32 S19" },
	{ "a message of six octets", 1,
	  "S/22/122 S/20/1 S23 S821 S281 S69 C/20/1 C69 S250 C35 S168 C51 S31 C43 "
	  "S31 C23 S54 C23 S54 C23 S32 S19" },
	{ "PHPMailer, line by line, RSET between", 10,
	  "S/22/122 S/20/1 S23 S821 S281 S69 C/20/1 C69 S250 C26 S250 S128 C44 "
	  "S90 C43 S90 C23 S90 C56 C37 C38 C34 C79 C85 C36 C63 C19 C91 C19 C20 "
	  "S102 C23 S95 C44 S90 C43 S90 C23 S90 C56 C37 C38 C34 C76 C85 C36 C63 "
	  "C19 C43 C19 C20 S102 C23 S95 C44 S90 C43 S90 C23 S90 C56 C37 C38 C34 "
	  "C79 C85 C36 C63 C19 C23 C19 C20 S102 C23 S95 C44 S90 C43 S90 C23 S90 "
	  "C56 C37 C38 C34 C78 C85 C36 C63 C19 C59 C19 C20 S102 C23 S95 C44 S90 "
	  "C43 S90 C23 S90 C56 C37 C38 C34 C79 C85 C36 C63 C19 C47 C19 C20 S102 "
	  "C23 S95 C44 S90 C43 S90 C23 S90 C56 C37 C38 C34 C78 C85 C36 C63 C19 "
	  "C27 C19 C20 S102 C23 S95 C44 S90 C43 S90 C23 S90 C56 C37 C38 C34 C78 "
	  "C85 C36 C63 C19 C71 C19 C20 S102 C23 S95 C44 S90 C43 S90 C23 S90 C56 "
	  "C37 C38 C34 C78 C85 C36 C63 C19 C59 C19 C20 S102 C23 S95 C44 S90 C43 "
	  "S90 C23 S90 C56 C37 C38 C34 C79 C85 C36 C63 C19 C95 C23 C19 C20 S102 "
	  "C23 S95 C44 S90 C43 S90 C23 S90 C56 C37 C38 C34 C79 C85 C36 C63 C19 "
	  "C23 C19 C20 S102 C23 S95 C23 S26 C19" },
	{ "curl", 10,
	  "S/22/122 S/20/1 S23 S821 S281 S69 C/20/1 C69 C27 S250 S168 C53 S31 C43 "
	  "S31 C23 S54 C133 C22 S54 C53 S31 C43 S31 C23 S54 C133 C22 S54 C53 S31 "
	  "C43 S31 C23 S54 C133 C22 S54 C53 S31 C43 S31 C23 S54 C133 C22 S54 C53 "
	  "S31 C43 S31 C23 S54 C133 C22 S54 C53 S31 C43 S31 C23 S54 C133 C22 S54 "
	  "C53 S31 C43 S31 C23 S54 C133 C22 S54 C53 S31 C43 S31 C23 S54 C133 C22 "
	  "S54 C53 S31 C43 S31 C23 S54 C133 C22 S54 C53 S31 C43 S31 C23 S54 C134 "
	  "C22 S54 C23 S32 S19 C19" },
	{ "swaks", 1,
	  "S/22/122 S/20/1 S23 S821 S281 S69 C/20/1 C69 S250 C26 S168 C44 S31 C43 "
	  "S31 C43 S31 C23 S54 C290 S54 C23 S32 S19" },
	{ "swaks, pipelined", 1,
	  "S/22/122 S/20/1 S23 S821 S281 S69 C/20/1 C69 S250 C26 S168 C102 S96 "
	  "C290 S54 C23 S32 S19" },
	{ "msmtp", 1,
	  "S/22/155 S/20/1 S39 S821 S281 S69 C/20/1 C69 C33 S250 S168 C44 S31 C42 "
	  "S31 C42 S31 C23 S54 C38 C56 C79 C29 C19 C24 C20 S54 C23 S32 S19 C19" },
	{ "Postfix, ten messages of ten recipients", 10,
	  "S/22/122 S/20/1 S23 S821 S281 S69 C/20/1 C69 S250 C42 S168 C599 S208 "
	  "C389 S54 C23 S31 C599 S208 C389 S54 C23 S31 C599 S208 C389 S54 C23 S31 "
	  "C599 S208 C389 S54 C23 S31 C599 S208 C389 S54 C23 S31 C599 S208 C389 "
	  "S54 C23 S31 C599 S208 C389 S54 C23 S31 C599 S208 C389 S54 C23 S31 C599 "
	  "S208 C389 S54 C23 S31 C599 S208 C389 S54 C19" },
	{ "Postfix to a server of long replies", 10,
	  "S/22/122 S/20/1 S23 S821 S281 S69 C/20/1 C69 S250 C42 S250 S128 C320 "
	  "S893 C3289 S102 C23 S95 C320 S893 C3289 S102 C23 S95 C320 S893 C3289 "
	  "S102 C23 S95 C320 S893 C3289 S102 C23 S95 C320 S893 C3289 S102 C23 S95 "
	  "C320 S893 C3289 S102 C23 S95 C320 S893 C3289 S102 C23 S95 C320 S893 "
	  "C3289 S102 C23 S95 C320 S893 C3289 S102 C23 S95 C320 S893 C3289 S102 "
	  "C19" },
	{ "Exim", 1,
	  "S/22/155 S/20/1 S39 S821 S281 S69 C/20/1 C69 C40 S250 S168 C321 S208 "
	  "C2322 S69 S19 C19" },
	{ "Exim with CHUNKING", 1,
	  "S/22/155 S/20/1 S39 S821 S281 S69 C/20/1 C69 C40 S250 S168 C4528 S45 "
	  "S65 C19" },
	{ "Exim with CHUNKING, in two chunks", 1,
	  "S/22/155 S/20/1 S39 S821 S281 S69 C/20/1 C69 S250 C40 S168 C396 S70 "
	  "C8224 C1270 S65 C19" },
};

static void say(struct sw_dialogue *d, char who, const __u8 *bytes, __u32 len,
		struct smtp_news *news)
{
	__u32 off = 0, n;

	while (off < len) {
		off += who == 'C' ? smtp_client_passes(d, len - off, news)
				  : smtp_server_passes(d, len - off);
		n = len - off < SMTP_SHOWN ? len - off : SMTP_SHOWN;
		off += who == 'C' ? smtp_client_says(d, bytes + off, n, news)
				  : smtp_server_says(d, bytes + off, n, news);
	}
}

/* One record, in pieces of `piece` bytes. */
static void say_record(struct sw_dialogue *d, char who, unsigned int type, unsigned int len,
		       __u32 piece, struct smtp_news *news)
{
	static __u8 bytes[5 + 65535];
	__u32 off, size = 5 + len;

	bytes[0] = type;
	bytes[1] = bytes[2] = 3;
	bytes[3] = len >> 8;
	bytes[4] = len;
	for (off = 0; off < size; off += piece)
		say(d, who, bytes + off, size - off < piece ? size - off : piece, news);
}

static void play_word(struct sw_dialogue *d, const char *word, __u32 piece, struct smtp_news *news)
{
	unsigned int type = 23, len = 0, times = 1;
	const char *star = strchr(word, '*');

	if (word[1] == '/')
		sscanf(word + 1, "/%u/%u", &type, &len);
	else
		sscanf(word + 1, "%u", &len);
	if (star)
		sscanf(star, "*%u", &times);
	while (times--)
		say_record(d, *word, type, len, piece, news);
}

static void play(struct sw_dialogue *d, const char *records, __u32 piece, struct smtp_news *news)
{
	char *copy = strdup(records), *rest = copy, *word;

	while ((word = strsep(&rest, " ")))
		play_word(d, word, piece, news);
	free(copy);
}

/* The server begins with TLS. */
static unsigned int estimate(const char *records, __u32 piece)
{
	struct smtp_news news = {};
	struct sw_dialogue d;

	smtp_begin(&d, 0);
	play(&d, records, piece, &news);
	smtp_closes(&d, &news);
	return news.estimated;
}

TEST(what_real_clients_send_is_counted)
{
	static const __u32 pieces[] = { 1, 3, 5, 7, 1448, 65536 };
	size_t i, p;

	for (i = 0; i < sizeof(recorded) / sizeof(*recorded); i++)
		for (p = 0; p < sizeof(pieces) / sizeof(*pieces); p++)
			if (estimate(recorded[i].records, pieces[p]) != recorded[i].messages)
				test_fail(__FILE__, __LINE__, "%s, in pieces of %u: %u, not %u",
					  recorded[i].who, pieces[p],
					  estimate(recorded[i].records, pieces[p]),
					  recorded[i].messages);
}

#define HANDSHAKE "S/22/122 S/20/1 S23 S821 S281 S69 C/20/1 C69 S250 "

TEST(a_session_without_a_message_has_none)
{
	CHECK_EQ(estimate("S/22/122 S/21/2", 65536), 0);
	CHECK_EQ(estimate(HANDSHAKE "C19", 65536), 0);
	CHECK_EQ(estimate(HANDSHAKE "C35 S168 C23 S32 C19", 65536), 0);
	CHECK_EQ(estimate(HANDSHAKE "C35 S168 C54 S31 C43 S80 C23 S31 C23 S32 C19", 65536), 0);
}

TEST(what_proves_to_be_no_TLS_is_read_in_clear)
{
	static const char clear[] = "\r\n250 Ok\r\n250 Ok\r\n354 go\r\n250 Ok\r\n";
	struct smtp_news news = {};
	struct sw_dialogue d;

	smtp_begin(&d, 0);
	play(&d, HANDSHAKE "C35 S168", 65536, &news);
	CHECK_EQ(d.client, SMTP_TLS);
	say(&d, 'S', (const __u8 *)clear, sizeof(clear) - 1, &news);
	CHECK_EQ(d.client, SMTP_LOST);
	CHECK(news.charged - news.refunded >= 1);
}

TEST(a_record_of_no_or_of_any_length_is_passed)
{
	struct smtp_news news = {};
	struct sw_dialogue d;

	smtp_begin(&d, 0);
	play(&d, HANDSHAKE "C0 S0 C0*3 S0 C18432 S18432", 100, &news);
	CHECK_EQ(d.client, SMTP_TLS);
	play(&d, "C18433", 100, &news);
	CHECK_EQ(d.client, SMTP_LOST);
}
