/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where smtpwall's things are: one place for every path and pin name. */
#ifndef SMTPWALL_NAMES_H
#define SMTPWALL_NAMES_H

#define SW_DEFAULT_CONFIG "/etc/smtpwall/smtpwall.conf"
#define SW_DEFAULT_PIN_DIR "/sys/fs/bpf/smtpwall"
#define SW_DEFAULT_STATE_DIR "/var/lib/smtpwall"
#define SW_HISTORY_FILE "smtpwall.db" /* in state_dir */

/*
 * Pins, below pin_dir. Maps are pinned under their own names (bpf/lib/maps.h), links below
 * `links/`, the program that user space runs to retire a row of windows as `retire`.
 * Locks are flock(2) on directories: the daemon holds pin_dir for its life, and who edits
 * the maps (block, unblock, mode, a sweep) holds links/ for the moment.
 */
#define SW_PIN_LINKS "links"
#define SW_PIN_CONNECT4 "links/connect4"
#define SW_PIN_CONNECT6 "links/connect6"
#define SW_PIN_SOCKET_OUT "links/socket_out"
#define SW_PIN_SOCKET_IN "links/socket_in"
#define SW_PIN_PEERNAME4 "links/peername4"
#define SW_PIN_PEERNAME6 "links/peername6"
#define SW_PIN_EGRESS "links/egress_%u" /* ifindex; TCX links only */
#define SW_PIN_CLSACT "links/clsact_%u"		  /* marks: our filter is on this interface */
#define SW_PIN_CLSACT_OURS "links/clsact_made_%u" /* and: the qdisc is ours too */
#define SW_PIN_RETIRE "retire"
#define SW_PIN_WHERE "where" /* tells a folder's struct sw_dir (see sw_where) */
#define SW_PIN_NEXT "next" /* the maps of a version that takes over, until they are the maps */

/* Our clsact filters where the kernel has no TCX: a preference and handle nobody else uses. */
#define SW_TC_PRIORITY 25
#define SW_TC_HANDLE 0x25

#endif
