/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ends live mail sessions of those who are blocked: their process gets ECONNABORTED, the remote
 * an RST. Whose a session is says the tag on its socket, which the kernel's list of sockets brings;
 * what that list calls its uid is only who created it.
 */
#ifndef SMTPWALL_CUT_H
#define SMTPWALL_CUT_H

#include <linux/inet_diag.h>

#include "maps.h"

struct cut_target {
	struct sw_subject subject;
	__u8 roads;	/* bit 1 << enum sw_road */
	bool by_policy; /* then sessions to exempt destinations go on */
	bool opening;	/* also sessions that are not established yet */
};

struct cut_result {
	size_t cut;
	bool out_of_reach;  /* some may be in network namespaces that could not be entered */
	bool not_supported; /* this kernel ends no sockets: their packets are dropped, no more */
};

/*
 * Sorts `target`. What was done is in `ret` even if it fails: negative errno, told by the caller.
 * Sessions that are not ended send nothing either: their packets stop at the socket.
 */
int cut(struct maps *maps, struct cut_target *target, size_t n, struct cut_result *ret);

/* Which blocks cut, and from when on they do it for connects that hang, too. */
bool cut_enforced(const struct sw_block *block, const struct sw_policy *policy, enum sw_mode mode);

/* Pure. Whose session it is: the subjects whose block ends it. Returns how many. */
size_t cut_subjects(const struct sw_tag *session, struct sw_subject ret[static SW_LOCAL_KINDS]);

#define CUT_PORTS 512 /* that the kernel selects by; if there are more we look at each session */
#define CUT_CODE_LEN (CUT_PORTS * 12)

/*
 * Pure. The program for the kernel's list that selects sockets by these remote ports: their
 * number of bytes, 0 without ports.
 */
size_t cut_code(const __u16 *port, size_t n, __u8 code[static CUT_CODE_LEN]);

#endif
