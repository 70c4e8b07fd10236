/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where an SMTP session is. Carried by live sockets (and later by flows of hosts behind us), so
 * its layout is kept across versions. Only bpf/lib/smtp.h reads and writes it, under the lock of
 * whoever holds it; zeroed it is a session that nobody follows: smtp_begin() starts one.
 * Counters stop at their largest value.
 */
#ifndef SMTPWALL_DIALOGUE_H
#define SMTPWALL_DIALOGUE_H

#include <linux/types.h>

#define SW_DIALOGUE_RUNS 32 /* a power of two */

/* One side of a TLS session: where it is in its records. */
struct sw_record {
	__u8 at; /* octets of the header that were read: 0..5 */
	__u8 type;
	__u16 left; /* octets of the body to come; of its length while that is read */
};

/* Only bpf/lib/rhythm.h reads and writes it. Lengths are those of plaintext. */
struct sw_tls {
	struct sw_record sent, received;
	__u8 state;    /* enum rhythm */
	__u8 turn;     /* it is the client's */
	__u8 ciphered; /* the client has changed to its new cipher */
	__u8 overhead; /* octets that encryption adds; 0: not known, the handshake goes on */
	__u8 known;    /* the length of a short reply was seen */
	__u8 apart;    /* the client sends DATA in a turn of its own */
	__u8 any;      /* a message was counted */
	__u8 records;  /* of the client's turn */
	__u8 pad[2];
	__u16 last;   /* octets of its last record */
	__u16 reply;  /* octets of the shortest reply */
	__u16 answer; /* octets of this reply */
	__u32 octets; /* of the client's turn */
	__u16 before; /* of the last long one, at most 65535 */
	__u16 mail;   /* of the turn that began the last envelope */
};

struct sw_dialogue {
	/* The client's side. */
	__u8 client;	   /* enum smtp_client: how its next byte is to be read */
	__u8 awaited;	   /* enum smtp_command: what must be answered first, while waiting */
	__u8 early;	   /* bytes came behind it */
	__u8 early_charge; /* they may be a content: the message is charged */
	__u8 last;	   /* the line's last octet */
	__u8 letters;	   /* of its verb, 0..4 */
	__u8 argument;	   /* enum smtp_argument, of a BDAT */
	__u8 sequence;	   /* the chunks of a message have begun, and its LAST was not sent */
	__u8 first;	   /* of the runs */
	__u8 runs;
	__u16 line;    /* octets of the line */
	__u32 verb;    /* the first four letters, in upper case */
	__u32 chunk;   /* while BDAT is read: its number; then the bytes still to come */
	__u32 chunks;  /* bytes of all chunks */
	__u32 content; /* bytes since DATA */
	__u32 dark;    /* bytes sent that may hold commands which nothing explains */

	/* The server's side. */
	__u8 at;	  /* place in the line: 0..2 code, 3 dash, then text */
	__u8 more;	  /* another line of this reply follows */
	__u8 chunking_at; /* octets of "CHUNKING" that the line begins with */
	__u8 addressing;  /* it begins with 2.1.: no message's acceptance */
	__u8 final;	  /* the next reply ends a content */
	__u8 taken;	  /* a reply that ended this content was 2xx */
	__u8 shadow;	  /* a content was skipped: commands may have hidden behind it */
	__u8 hello; /* enum smtp_command: which of EHLO, LHLO, HELO the server took, 0: none yet */
	__u8 chunking; /* CHUNKING was offered */
	__u8 answered; /* a BDAT of an open sequence was answered */
	__u8 chunk_refused;
	__u8 envelope; /* replies that this transaction took: MAIL 1, and RCPT 2 */
	__u16 code;
	__u16 finals;	       /* replies that still end this content */
	__u16 recipients;      /* of this transaction */
	__u16 covers;	       /* 25x since the last 354 that may have answered hidden commands */
	__u16 alike;	       /* those of them that read like the acceptance of a message */
	__u16 hidden;	       /* messages charged because of them */
	__u32 reads;	       /* hash of the line's first octets behind the code, odd */
	__u32 acceptance;      /* that of the reply that took the last content; 0: none yet */
	__u32 recipient_taken; /* that of a 25x to RCPT, while nothing could hide */

	union {
		__u8 run[SW_DIALOGUE_RUNS]; /* unanswered commands: kind << 4 | how many */
		struct sw_tls tls;
	};
	__u64 reserved[1];
};
_Static_assert(sizeof(struct sw_tls) == SW_DIALOGUE_RUNS, "sw_tls takes the place of the queue");
_Static_assert(sizeof(struct sw_dialogue) == 112, "sw_dialogue is carried by live sockets");

#endif
