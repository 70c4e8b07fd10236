/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the kernel programs (bpf/) and user space (user/) share: the pinned maps' keys and
 * values. They outlive the daemon and are read by other versions of it, so every structure
 * is asserted, and a changed one is a new SW_ABI_VERSION.
 *
 * Times are CLOCK_BOOTTIME nanoseconds (they go on through suspend and ignore the wall clock).
 * Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d. Everything else is in host
 * order. "Writes: kernel" means that user space only reads.
 */
#ifndef SMTPWALL_ABI_H
#define SMTPWALL_ABI_H

#include <linux/bpf.h>
#include <linux/types.h>

#include <smtpwall/dialogue.h>

#define SW_ABI_VERSION 1

#define SW_NAME_LEN 64	     /* a policy's name with its NUL */
#define SW_NOTE_LEN 80	     /* an administrator's reason with its NUL */
#define SW_COMM_LEN 16	     /* the kernel's TASK_COMM_LEN */
#define SW_POLICIES 63	     /* bits 0..62 of a policy set; bit 63 is SW_EXEMPT_BIT */
#define SW_LIMITS 8	     /* limits and warnings of one policy together */
#define SW_SLOTS 16	     /* of a window, each T/15 wide (see window.h) */
#define SW_INTERVALS 262144  /* of a table of ids; a power of two: the search is branch-free */
#define SW_GENERATIONS 4     /* rule sets kept at once; the live one is generation % 4 */
#define SW_UID_OVERFLOW ((__u32)-1) /* the uid that no user has: the row of those who found no room,
					* and of what nobody can be named for */

#define SW_EXEMPT_BIT (1ULL << 63)

enum sw_kind { SW_KIND_UID, SW_KIND_UNIT, SW_KIND_IP, SW_KINDS };

enum sw_road { SW_ROAD_DIRECT, SW_ROAD_SUBMISSION, SW_ROAD_RELAY, SW_ROAD_SENDMAIL, SW_ROADS };

enum sw_metric {
	SW_METRIC_CONNECTIONS,
	SW_METRIC_MESSAGES,
	SW_METRIC_RECIPIENTS,
	SW_METRIC_BYTES,
	SW_METRIC_REJECTS,
	SW_METRIC_DEFERRALS,
	SW_METRIC_DESTINATIONS,
	SW_METRICS
};

enum sw_mode { SW_MODE_OBSERVE, SW_MODE_ENFORCE };

enum sw_action { SW_ACTION_DENY, SW_ACTION_BLOCK, SW_ACTION_REDIRECT };

/* Whom we count. Only the member that belongs to the kind is set, the others are zero. */
struct sw_subject {
	__u32 kind;	/* enum sw_kind */
	__u32 uid;	/* in the machine's user namespace; with `addr` (user space only): the bits
			 * of the network whose shared row is meant, 0: none */
	__u64 unit;	/* cgroup v2 id: the inode number of its directory */
	__u8 addr[16];	/* IPv6 is cut to control.ipv6_prefix bits */
};
_Static_assert(sizeof(struct sw_subject) == 32, "sw_subject is in events");

/* ---- ledgers: what each subject did since the map was made. Writes: kernel ---- */

struct sw_uid {
	__u32 uid;
};

struct sw_unit {
	__u64 cgroup;
};

struct sw_ip {
	__u8 addr[16];
};

/* Networks whose addresses share a row when the ledger of addresses is full: bits of the address. */
#define SW_SHARED_V4 24
#define SW_SHARED_V6 48 /* but always 16 less than control.ipv6_prefix */

/*
 * One road of one subject. Each number has one home: connections, refused and would_refuse
 * are counted at connect(); bytes and packets at the socket (cgroup_skb), which sees every
 * device and namespace. The rows of ip_ledger are filled at TC egress instead.
 *   connections	attempts that were admitted
 *   bytes		TCP payload sent, retransmissions included (tcpi_bytes_sent)
 *   packets		segments sent, SYN and pure ACK included (tcpi_segs_out); a GSO packet
 *			counts as the segments that it becomes
 *   refused		attempts refused; would_refuse: that observe mode let pass
 */
struct sw_tally {
	__u64 connections;
	__u64 messages;
	__u64 messages_tls_estimated;
	__u64 recipients;
	__u64 bytes;
	__u64 packets;
	__u64 rejects;
	__u64 deferrals;
	__u64 destinations;
	__u64 refused;
	__u64 would_refuse;
};

/* What left by an outside interface, all roads, counted at TC egress. */
struct sw_wire {
	__u64 connections; /* SYNs, a retransmitted one once */
	__u64 bytes;	   /* TCP payload */
	__u64 packets;	   /* segments */
};

struct sw_ledger {
	struct sw_tally direct;
	struct sw_tally submission;
	struct sw_tally relay;
	struct sw_tally sendmail;
	struct sw_wire wire;
	__u64 first_seen_ns;
	__u64 last_seen_ns;
};
_Static_assert(sizeof(struct sw_ledger) == SW_ROADS * sizeof(struct sw_tally) + 40,
	       "the four roads of sw_ledger are read as an array in the order of enum sw_road");

/* ---- windows: what each limit has used. Writes: kernel; retired by the `retire` program ---- */

struct sw_window {
	__u64 newest; /* number of the newest slot: now_ns / slot_ns */
	__u64 total;  /* sum of the slots */
	__u64 slot[SW_SLOTS];
};

struct sw_cell {
	__u64 limit;   /* sw_limit.id that the window belongs to; another one starts it anew */
	__u64 slot_ns; /* of that limit: says when the window has run out */
	__u64 warned;  /* a warning was told, and the window has been over since */
	struct sw_window window;
};
_Static_assert(sizeof(struct sw_cell) == 168, "sw_cell is pinned");

/* Everything that one policy limits of one subject on one road, under one lock. */
struct sw_windows {
	struct bpf_spin_lock lock;
	__u32 dead;	   /* retired: look the row up again */
	__u64 clock_ns;	   /* the latest time seen under the lock: it never runs backwards */
	__u64 told_ns;	   /* when the last refusal was told: one event a second */
	struct sw_cell cell[SW_LIMITS];
};
_Static_assert(sizeof(struct sw_windows) == 24 + SW_LIMITS * 168, "sw_windows is pinned");

struct sw_uid_policy {
	__u32 uid;
	__u32 policy; /* sw_policy.id */
	__u32 road;   /* enum sw_road */
};

struct sw_unit_policy {
	__u64 cgroup;
	__u32 policy;
	__u32 road;
};

/* ---- blocks and allowances. Written by the kernel (policies) and by user space (by hand) ---- */

struct sw_uid_road {
	__u32 uid;
	__u32 road;
};

struct sw_unit_road {
	__u64 cgroup;
	__u64 road;
};

struct sw_ip_road {
	__u8 addr[16];
	__u32 road;
};

enum sw_by { SW_BY_LIMIT, SW_BY_HAND };

#define SW_BLOCK_OBSERVED (1u << 0) /* computed in observe mode: refuses nothing */
#define SW_BLOCK_TRIAL (1u << 1)    /* made while `mode enforce --for T` ran: ends with it */
#define SW_BLOCK_RESTORED (1u << 2) /* by the daemon, from before the last boot: `since_ns` may be
				     * before it, and is then less than 0 as a signed number */

struct sw_block {
	__u64 until_ns; /* 0: until it is lifted */
	__u64 since_ns;
	__u64 hits;	/* attempts refused by this block */
	__u64 told_ns;	/* when the last of them was told: one event a second */
	__u64 limit;	/* sw_limit.id that was gone over; 0 by hand */
	__u32 policy;	/* sw_policy.id; 0 by hand */
	__u8 by;	/* enum sw_by */
	__u8 flags;	/* SW_BLOCK_* */
	__u16 level;	/* escalation steps taken so far */
	char note[SW_NOTE_LEN]; /* an administrator's reason, UTF-8 without control characters */
};
_Static_assert(sizeof(struct sw_block) == 128, "sw_block is pinned");

/* While it lasts, no limit of any road refuses the subject (blocks by hand still do). */
struct sw_allowance {
	__u64 until_ns; /* 0: until it is taken back */
	__u64 since_ns;
	char note[SW_NOTE_LEN];
};
_Static_assert(sizeof(struct sw_allowance) == 96, "sw_allowance is pinned");

/* ---- rules: one generation. Written by user space into a slot that is not live ---- */

/* What a limit does with what is over: refuse, tell, or nothing: it is there to be divided by. */
enum sw_warn { SW_WARN_NOT, SW_WARN_ONLY, SW_WARN_BASE };

struct sw_limit {
	__u64 id;	 /* 64-bit hash of (policy, metric, T); with the key's road its identity */
	__u64 max;	 /* 0: not even one */
	__u64 window_ns; /* T */
	__u64 slot_ns;	 /* ceil(T / 15) */
	__u8 metric;	 /* enum sw_metric */
	__u8 cell;	 /* index in sw_windows.cell; kept over reloads while the id lives */
	__u8 warn;	 /* enum sw_warn */
	__u8 percent;	 /* not 0: `max` is unused, the metric is this share of the window in `base` */
	__u8 base;	 /* a cell: the messages of the same T */
	__u8 pad;
	__u16 floor;	 /* and holds only if there are at least so many of them */
};
_Static_assert(sizeof(struct sw_limit) == 40, "sw_limit is pinned");

struct sw_endpoint {
	__u8 addr[16];
	__u16 port; /* host order */
	__u16 pad;
};

struct sw_policy {
	char name[SW_NAME_LEN];
	__u32 id;	/* 32-bit hash of the name, never 0 */
	__u8 action;	/* enum sw_action */
	__u8 mode;	/* enum sw_mode; SW_MODE_ENFORCE where the policy names none: the milder wins */
	__u8 roads;	/* bit 1 << enum sw_road */
	__u8 n_limits;
	__u8 metrics;	/* bit 1 << enum sw_metric: what its limits and warnings ask for */
	__u8 limited;	/* likewise, its limits alone */
	__u8 count_tls; /* limits also hold for messages that are estimated inside TLS */
	__u8 pad[5];
	__u64 block_ns; /* block_for; 0: until it is lifted */
	struct sw_endpoint redirect;  /* of IPv4 and mapped; port 0: none */
	struct sw_endpoint redirect6; /* of IPv6; port 0: `redirect`, as a mapped address */
	struct sw_limit limit[SW_LIMITS];
};
_Static_assert(sizeof(struct sw_policy) == 128 + SW_LIMITS * 40, "sw_policy is pinned");

/* Value of the one entry of a rule set. A set of policies is a word: bit i is policy[i]. */
struct sw_rules {
	__u32 n_policies;
	__u32 max_blocks_per_hour; /* 0: no guard */
	__u64 on_road[SW_ROADS]; /* policies about this road */
	__u64 anyone;		 /* policies that name no user and no group: also for containers */
	/* In the order of the files: the first match decides. The last is never used: a masked index
	 * stays inside. */
	struct sw_policy policy[SW_POLICIES + 1];
};

/*
 * Sorted disjoint intervals of ids (uids or gids): interval i is start[i] .. start[i+1]-1 and
 * its members are matched by the policies set[i] (which has SW_EXEMPT_BIT for the exempt).
 * start[0] is 0; unused entries at the end start at 0xffffffff, which is nobody's id.
 */
struct sw_intervals {
	__u32 start[SW_INTERVALS];
	__u64 set[SW_INTERVALS];
};

/*
 * Subordinate uids (subuid(5)): range i is start[i] .. end[i]-1 and belongs to owner[i]. Sorted;
 * start[0] is 0 with an empty range, and unused ones at the end start at 0xffffffff. A set-uid
 * program of a subordinate uid runs outside of user namespaces, so the kernel's ids do not tell.
 */
#define SW_SUBIDS 65536
struct sw_subids {
	__u32 start[SW_SUBIDS];
	__u32 end[SW_SUBIDS];
	__u32 owner[SW_SUBIDS];
};

#define SW_GID_INTERVALS 8192
struct sw_gid_intervals {
	__u32 start[SW_GID_INTERVALS];
	__u64 set[SW_GID_INTERVALS];
};

struct sw_network {
	__u32 prefix_len; /* bits, of the v4-mapped form: 96 + n for IPv4 */
	__u8 addr[16];
};

#define SW_NET_RELAY (1u << 0)	/* `relays`, loopback */
#define SW_NET_EXEMPT (1u << 1) /* `exempt.destinations` */

struct sw_ports {
	__u64 bits[1024]; /* bit port: it is an SMTP port. 25 is `direct`, the others `submission` */
};

/* ---- control: the one entry of the map `control` ---- */

#define SW_MOUNTED_BPFFS (1u << 0)
#define SW_MOUNTED_CGROUP2 (1u << 1)

struct sw_control {
	__u32 abi;	  /* SW_ABI_VERSION of who made the maps */
	__u32 generation; /* of the rules; user space raises it when a new set is complete */
	__u32 mode;	  /* enum sw_mode, now */
	__u32 trial_mode; /* mode until trial_until_ns */
	__u64 trial_until_ns; /* 0: no trial */
	__u64 netns_cookie;   /* the network namespace that smtpwalld was started in */
	__u32 pid_ns;	  /* inode number of its pid namespace */
	__u32 user_ns;	  /* and of its user namespace */
	__u32 ipv6_prefix; /* bits */
	__u32 wire_mark;  /* upper 12 of the 16 bits of tc_index: this packet was counted */
	/* From here on only user space reads. */
	__u32 file_mode;  /* mode as the configuration file had it at the last load */
	__u32 mounted;	  /* SW_MOUNTED_*: `detach` unmounts what we mounted */
	__u32 daemon_pid; /* of the last daemon; it lives if pin_dir is locked */
	__u32 reloads;	  /* answered reload requests */
	__u32 reload_error; /* errno of the last one, 0: taken */
	__u32 pad;
	__u64 started_ns; /* when the daemon last started */
	char version[16];
	char config[256]; /* path of the configuration file */
	char cgroup[256]; /* path where the cgroup programs are attached */
};
_Static_assert(sizeof(struct sw_control) == 608, "sw_control is pinned");

/* What went wrong without changing a verdict. One entry, map `health`. Writes: kernel */
struct sw_health {
	__u64 lost_events;     /* the ring was full */
	__u64 no_storage;      /* no socket storage at connect(): refused if enforcing */
	__u64 ledger_overflow; /* attempts and packets charged to a shared row */
	__u64 window_overflow; /* attempts judged by the shared overflow windows */
	__u64 block_overflow;  /* blocks that found no room: the window goes on refusing */
	__u64 unparsed;	       /* SMTP packets whose TCP header could not be read */
	__u64 guarded;	       /* blocks that max_blocks_per_hour turned into warnings */
	__u64 renamed;	       /* sessions whose port was changed after connect(): told by packets */
};

/* ---- socket storage. Its layout is kept across versions: live sockets carry it ---- */

enum sw_tag_state {
	SW_TAG_NONE,	 /* connected to a port that is not SMTP: judged if packets say otherwise */
	SW_TAG_ADMITTED,
	SW_TAG_REFUSED,
};

#define SW_TAG_UNIT (1u << 0)	 /* the subject is `unit`, not `uid` */
#define SW_TAG_FOREIGN (1u << 1) /* its pid, user or network namespace is not the machine's */
#define SW_TAG_NETNS (1u << 2)	 /* its network namespace is not the machine's */
#define SW_TAG_ELDER (1u << 3)	 /* older than the program: known by inet_diag only */
#define SW_TAG_WIRED (1u << 4)	 /* its connection was counted on the wire */
#define SW_TAG_EXEMPT (1u << 5)	 /* by its user, in the generation of `generation` */
#define SW_TAG_TO_EXEMPT (1u << 6) /* its destination is exempt */
#define SW_TAG_RAW (1u << 8)	   /* no connect() announces what it sends: each SYN is judged */
#define SW_TAG_COUNTED (1u << 9)   /* its policy limits messages or recipients, likewise */
#define SW_TAG_SPREADS (1u << 10)  /* its policy limits destinations, likewise */
#define SW_TAG_REDIRECTED (1u << 11) /* it reaches the relay and believes otherwise */
#define SW_TAG_COUNTS_TLS (1u << 12) /* its policy's limits count estimates too, likewise */
#define SW_TAG_WEIGHED (1u << 7)   /* its policy limits bytes, in the generation of `generation` */

struct sw_tag {
	__u8 version; /* 1 */
	__u8 state;   /* enum sw_tag_state */
	__u8 road;    /* enum sw_road, once the state is not NONE */
	__u8 pad;
	__u32 flags; /* SW_TAG_* */
	__u32 uid;   /* of the person behind it, in the machine's user namespace */
	__u32 gid;   /* effective, at connect() */
	__u64 unit;  /* cgroup id */
	__u64 admitted_ns;
	__u32 generation; /* of the rules that `order` is from */
	__u32 order;	  /* of the policy that decides for it; SW_POLICIES: none */
	__u8 asked[16];	  /* with SW_TAG_REDIRECTED: the address that connect() asked for */
	__u16 asked_port; /* host order */
	__u16 pad2;
	__u32 pid;		/* of the task that called connect(), in the machine's namespace */
	char comm[SW_COMM_LEN]; /* and its name: the attacker's text */
};
_Static_assert(sizeof(struct sw_tag) == 80, "sw_tag is carried by live sockets");

enum sw_reading {
	SW_READING_NOTHING,
	SW_READING_NOW,	      /* a CPU does: no other may */
	SW_READING_IN_ROUNDS, /* what is longer than one round, and TCP has not got it */
};

/*
 * A session, from its SYN on: how far its two sides were read, and where its dialogue is. Both
 * sides may be read at once on two CPUs, hence the lock.
 */
struct sw_session {
	struct bpf_spin_lock lock;
	__u32 client_next; /* TCP sequence number of the client's next unread byte */
	__u32 server_next; /* of the server's; valid once server_seen */
	__u8 server_seen;
	__u8 server_reading; /* enum sw_reading */
	__u8 pad[2];
	__u64 charged_ns; /* when the last message was charged: where a refund goes */
	struct sw_dialogue dialogue;
	__u64 skipped; /* bytes of content that the dialogue was not told of yet: atomic, no lock */
	__u64 reserved[3];
};
_Static_assert(sizeof(struct sw_session) == 168, "sw_session is carried by live sockets");

/* Whom a subject has sent to. LRU: one that is forgotten is counted again, never missed. */
struct sw_destination_key {
	__u64 id; /* uid or cgroup */
	__u32 kind;
	__u32 policy; /* sw_policy.id; 0: for the ledger */
	__u8 addr[16];
};

struct sw_destination {
	__u64 charged_ns[SW_LIMITS]; /* by cell: when it was last charged to that window */
	__u64 limit[SW_LIMITS];	     /* and of which limit that window was */
};

/* Sessions that were admitted, for cutting them. LRU: the arm holds those that were forgotten. */
struct sw_live {
	__u64 id; /* uid or cgroup */
	__u32 kind;
	__u32 road;
	__u64 netns_cookie;
};

/* ---- events: hints for the daemon; the facts are in the maps ---- */

enum sw_event_type {
	SW_EVENT_WARN,
	SW_EVENT_BLOCK,
	SW_EVENT_REFUSE,
	SW_EVENT_WOULD_REFUSE,
	SW_EVENT_REDIRECT,
	SW_EVENT_GUARD, /* a block that the guard turned into a warning */
};

enum sw_reason {
	SW_REASON_LIMIT,   /* over a limit */
	SW_REASON_BLOCKED, /* by a block */
	SW_REASON_CLOSED,  /* the policy closes the road */
	SW_REASON_STORAGE, /* the socket's memory was exhausted */
};

struct sw_event {
	__u64 time_ns;
	struct sw_subject subject;
	__u64 limit;  /* sw_limit.id, or 0 */
	__u64 used;   /* of the limit, with this attempt */
	__u64 max;
	__u32 policy; /* sw_policy.id, or 0 */
	__u8 type;    /* enum sw_event_type */
	__u8 reason;  /* enum sw_reason */
	__u8 road;
	__u8 pad;
	__u32 pid;    /* in the machine's pid namespace; 0 if not known */
	__u32 uid;    /* real, of the task */
	__u16 port;
	__u8 pad2[6];
	__u8 daddr[16];
	char comm[SW_COMM_LEN]; /* the attacker's text */
};
_Static_assert(sizeof(struct sw_event) == 120, "sw_event is in the ring");

/* ---- the `retire` program: run by user space with BPF_PROG_TEST_RUN, this as its packet ---- */

struct sw_retire {
	__u8 ethernet[14];  /* a packet must have it */
	__u8 pad[2];
	__u32 kind;	    /* enum sw_kind; of an address its row of the ledger, else of windows */
	__u32 only_idle;    /* 1: only if every window has run out, or it was not seen since now_ns */
	__u64 now_ns;
	__u64 id;	    /* uid or cgroup */
	__u32 policy;
	__u32 road;
	__u8 addr[16];
};
_Static_assert(sizeof(struct sw_retire) == 64, "sw_retire is a packet");

#endif
