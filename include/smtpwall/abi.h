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

#define SW_ABI_VERSION 2

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

/* An attempt of a local process answers for one subject of each local kind; see sw_tag.order. */
enum sw_kind { SW_KIND_UID, SW_KIND_UNIT, SW_KIND_DIR, SW_LOCAL_KINDS, SW_KIND_IP = 3, SW_KINDS };

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

/*
 * A folder. The number of its inode is given again to another when it is removed, with another
 * generation where the file system knows such. Inode 0 is no folder: it is what user `uid` does in
 * folders that have no row of their own (more than SW_DIRS_OF_UID, or too deep below their site).
 */
#define SW_DIRS_OF_UID 256
struct sw_dir {
	__u64 inode;  /* as the kernel has it: not always what stat(2) tells (overlayfs, btrfs) */
	__u32 device; /* s_dev: major << 20 | minor */
	union {
		__u32 generation; /* i_generation of its inode; 0: the file system has none */
		__u32 uid;	  /* if inode is 0; of containers, which share one: SW_UID_OVERFLOW */
	};
};
_Static_assert(sizeof(struct sw_dir) == 16, "sw_dir is in keys");

/* Whom we count. Only the member that belongs to the kind is set, the others are zero. */
struct sw_subject {
	__u32 kind;	/* enum sw_kind */
	__u32 uid;	/* in the machine's user namespace; with `addr` (user space only): the bits
			 * of the network whose shared row is meant, 0: none */
	__u64 unit;	/* sw_path_hash() of its cgroup's path: a restart makes no new subject */
	struct sw_dir dir;
	__u8 addr[16];	/* IPv6 is cut to control.ipv6_prefix bits */
};
_Static_assert(sizeof(struct sw_subject) == 48, "sw_subject is in events");

/* ---- ledgers: what each subject did since the map was made. Writes: kernel ---- */

struct sw_uid {
	__u32 uid;
};

struct sw_unit {
	__u64 unit; /* sw_subject.unit */
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
 * device and namespace. The rows of ip_ledger are filled at TC egress instead. An attempt counts in
 * the row of each of its local kinds; bytes and packets reach those of its unit and dir only with
 * every SW_SETTLE_PACKETS-th packet and when a side of the session closes.
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

#define SW_SETTLE_PACKETS 32

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
	__u64 noted; /* attempts whose evidence is kept by this subject (see sw_evidence_key) */
	__u32 quota_of; /* of a dir: the uid on whose quota it is, if `in_quota` */
	__u32 in_quota;
};
_Static_assert(sizeof(struct sw_ledger) == SW_ROADS * sizeof(struct sw_tally) + 56,
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

/*
 * The one entry of the map `judgement`: its lock is held over every change of any sw_windows, for
 * an attempt may answer for several subjects, and is admitted by all of them or charged to none.
 */
struct sw_judgement {
	struct bpf_spin_lock lock;
	__u32 pad;
	__u64 clock_ns; /* the latest time seen under the lock: it never runs backwards */
};

/* Everything that one policy limits of one subject on one road. */
struct sw_windows {
	__u32 dead;	   /* retired: look the row up again */
	__u32 over;	   /* bit 0: what was last judged by it was too much; 1: and before that */
	__u64 told_ns;	   /* when the last refusal was told: one event a second */
	struct sw_cell cell[SW_LIMITS];
};
_Static_assert(sizeof(struct sw_windows) == 16 + SW_LIMITS * 168, "sw_windows is pinned");

/*
 * Key of the map `windows`. Kind SW_KINDS: the row of those who found no room, where `policy` is the
 * policy's place in the order; user space makes these rows.
 */
struct sw_windows_key {
	__u64 id; /* uid, unit or inode */
	__u32 device; /* of a dir, else 0 */
	__u32 rest;   /* likewise: sw_dir.generation or .uid */
	__u32 policy; /* sw_policy.id */
	__u16 road;   /* enum sw_road */
	__u16 kind;   /* enum sw_kind */
};
_Static_assert(sizeof(struct sw_windows_key) == 24, "sw_windows_key is pinned");

/* ---- blocks and allowances. Written by the kernel (policies) and by user space (by hand) ---- */

struct sw_uid_road {
	__u32 uid;
	__u32 road;
};

struct sw_unit_road {
	__u64 unit;
	__u64 road;
};

struct sw_dir_road {
	struct sw_dir dir;
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
	__u64 evidence; /* sw_evidence.id of the attempt that did it; 0: none was taken */
	__u32 policy;	/* sw_policy.id; 0 by hand */
	__u8 by;	/* enum sw_by */
	__u8 flags;	/* SW_BLOCK_* */
	__u16 level;	/* escalation steps taken so far */
	char note[SW_NOTE_LEN]; /* an administrator's reason, UTF-8 without control characters */
};
_Static_assert(sizeof(struct sw_block) == 136, "sw_block is pinned");

/*
 * The two entries of the map `block_epoch`: how many blocks the kernel has set (0), and user space
 * (1). A session that had no block looks again only when their sum changes: who writes a block
 * counts it here afterwards.
 */
enum sw_epoch { SW_EPOCH_KERNEL, SW_EPOCH_HAND, SW_EPOCHS };

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
	__u8 subject;	/* enum sw_kind, local: whom it counts. A container is a unit to `uid` too */
	__u8 pad[4];
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
	__u64 any_unit;		 /* policies that name no unit */
	__u64 any_dir;		 /* policies that name no dir */
	__u64 judges[SW_LOCAL_KINDS]; /* policies whose subject is of this kind */
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

/*
 * Maps `units` (by cgroup id) and `places` (by sw_dir): what is known of a cgroup or folder and of
 * all below it; the nearest one counts, so `set` has what those above it match as well.
 * SW_EXEMPT_BIT: `exempt.units`. The daemon adds and removes entries of the live generation as
 * cgroups and folders come and go.
 */
struct sw_cgroup {
	__u64 id; /* the inode number of its directory, never used again until the next boot */
};

struct sw_unit_match {
	__u64 set;
	__u64 unit; /* what it and all below it count as: the hash of the outermost whole unit */
};

#define SW_PLACE_SITE (1u << 0) /* matched by `site_roots`: the first one upwards is the subject */

struct sw_place {
	__u64 set;   /* policies whose `dirs` it matches */
	__u32 flags; /* SW_PLACE_* */
	__u32 owner; /* uid of the folder's owner: who makes sites uses his own quota */
};

/*
 * Map `sketches`: which rows `units` and `places` may have, by a bit for each cgroup id or inode.
 * Most walks upwards meet none, and a bit costs a tenth of a look-up. Bits are set before their row
 * comes, and last as long as the generation.
 */
#define SW_SKETCH_WORDS 1024
struct sw_sketch {
	__u64 bits[SW_SKETCH_WORDS];
};

static inline __u32 sw_sketch_bit(__u64 id)
{
	return id * 0x9e3779b97f4a7c15ULL >> 48;
}
_Static_assert(SW_SKETCH_WORDS * 64 == 1 << 16, "sw_sketch_bit() has 16 bits");

/* May there be a row of this cgroup, or folder? */
static inline __u32 sw_sketch_has(const struct sw_sketch *sketch, __u64 id)
{
	__u32 bit = sw_sketch_bit(id);

	/* The verifier must see the bounds. */
	return sketch->bits[bit / 64 % SW_SKETCH_WORDS] >> bit % 64 & 1;
}

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
	__u32 held_until_s; /* read by the programs too: until then SMTP waits (see is_held) */
	__u64 started_ns; /* when the daemon last started */
	char version[16];
	char config[256]; /* path of the configuration file */
	char cgroup[256]; /* path where the cgroup programs are attached */
};
_Static_assert(sizeof(struct sw_control) == 608, "sw_control is pinned");

/* Blocks that policies made within the last hour: the map `guard`, by enum sw_kind. */
struct sw_guard {
	struct bpf_spin_lock lock;
	__u32 pad;
	__u64 clock_ns; /* the latest time seen under the lock */
	struct sw_window window;
};

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
	__u64 evidence_overflow; /* attempts whose evidence found no room */
};

/* ---- socket storage. Its layout is kept across versions: live sockets carry it ---- */

enum sw_tag_state {
	SW_TAG_NONE,	 /* connected to a port that is not SMTP: judged if packets say otherwise */
	SW_TAG_ADMITTED,
	SW_TAG_REFUSED,
};

#define SW_TAG_UNIT (1u << 0)	 /* a container: its unit stands where others have their uid */
#define SW_TAG_FOREIGN (1u << 1) /* its pid, user or network namespace is not the machine's */
#define SW_TAG_NETNS (1u << 2)	 /* its network namespace is not the machine's */
#define SW_TAG_ELDER (1u << 3)	 /* older than the program: known by inet_diag only */
#define SW_TAG_WIRED (1u << 4)	 /* its connection was counted on the wire */
#define SW_TAG_EXEMPT (1u << 5)	 /* by its user or unit, in the generation of `generation` */
#define SW_TAG_TO_EXEMPT (1u << 6) /* its destination is exempt */
#define SW_TAG_WEIGHED (1u << 7)   /* a policy limits bytes, in the generation of `generation` */
#define SW_TAG_RAW (1u << 8)	   /* no connect() announces what it sends: each SYN is judged */
#define SW_TAG_COUNTED (1u << 9)   /* a policy limits messages or recipients, likewise */
#define SW_TAG_SPREADS (1u << 10)  /* a policy limits destinations, likewise */
#define SW_TAG_REDIRECTED (1u << 11) /* it reaches the relay and believes otherwise */
#define SW_TAG_COUNTS_TLS (1u << 12) /* a policy's limits count estimates too, likewise */
#define SW_TAG_DIR (1u << 13)	   /* `dir` is known: it called connect() to an SMTP port */
#define SW_TAG_SITE (1u << 14)	   /* and is a site: it has evidence of its own */
#define SW_TAG_HELD (1u << 15)	   /* connect() could not judge it: its SYN is judged */

#define SW_HEARD_HELO (1u << 0) /* the evidence has its HELO */
#define SW_HEARD_MAIL (1u << 1) /* and its first MAIL FROM */

struct sw_tag {
	__u8 version; /* 1 */
	__u8 state;   /* enum sw_tag_state */
	__u8 road;    /* enum sw_road, once the state is not NONE */
	/* Of the policy that judges each local kind, in `generation`; SW_POLICIES: none. */
	__u8 order[SW_LOCAL_KINDS];
	__u16 asked_port; /* of `asked`, host order */
	__u32 flags;	  /* SW_TAG_* */
	__u32 uid;	  /* of the person behind it, in the machine's user namespace */
	__u32 gid;	  /* effective, at connect() */
	__u32 pid;	  /* of the task that called connect(), in the machine's namespace */
	__u64 unit;	  /* sw_subject.unit; 0: not known */
	struct sw_dir dir;
	struct sw_dir place; /* the nearest folder above it that `places` has; inode 0: none */
	__u64 cgroup;	     /* likewise in `units`, else its own id */
	__u64 admitted_ns;
	__u64 evidence;	  /* sw_evidence.id */
	__u32 generation; /* of the rules that `order` is from */
	__u32 block_epoch; /* 1 + the sum at which none of its subjects had a block; 0: look */
	__u32 unsettled_bytes; /* what its unit and dir have not been given yet */
	__u32 unsettled_packets;
	__u8 asked[16]; /* with SW_TAG_REDIRECTED: the address that connect() asked for */
	char comm[SW_COMM_LEN]; /* of that task: the attacker's text */
	__u8 heard;		/* SW_HEARD_* */
	__u8 opened;		/* its SYN was seen: */
	__u8 pad[2];
	__u32 client_first; /* TCP sequence number of the client's first byte */
	__u8 reserved[16];
};
_Static_assert(sizeof(struct sw_tag) == 160, "sw_tag is carried by live sockets");

enum sw_reading {
	SW_READING_NOTHING,
	SW_READING_NOW,	      /* a CPU does: no other may */
	SW_READING_IN_ROUNDS, /* what is longer than one round, and TCP has not got it */
};

/*
 * A session, from its first payload on: how far its two sides were read, and where its dialogue is.
 * Both sides may be read at once on two CPUs, hence the lock.
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
#define SW_KINDS_TOGETHER (~0U) /* `kind` for the ledgers: all that a sender is, mixed into `id` */
struct sw_destination_key {
	__u64 id; /* uid, unit or inode */
	__u32 device; /* of a dir */
	__u32 rest;   /* of a dir: sw_dir.generation or .uid */
	__u32 kind;
	__u32 policy; /* sw_policy.id; 0: for the ledger */
	__u8 addr[16];
};

struct sw_destination {
	__u64 charged_ns[SW_LIMITS]; /* by cell: when it was last charged to that window */
	__u64 limit[SW_LIMITS];	     /* and of which limit that window was */
};

/*
 * Who has, or had, sessions in another network namespace than the machine's, so that it is known
 * where to cut them. LRU: the arm holds those that were forgotten.
 */
struct sw_abroad {
	__u64 netns_cookie;
	__u64 unit; /* this and the rest: as in sw_tag */
	struct sw_dir dir;
	__u32 uid;
	__u32 flags; /* SW_TAG_UNIT, SW_TAG_DIR */
	__u32 road;
	__u32 pad;
};
_Static_assert(sizeof(struct sw_abroad) == 48, "sw_abroad is a key");

/* ---- evidence: who called connect() to an SMTP port. Telemetry: no verdict depends on it ---- */

#define SW_EVIDENCE_LAST 8 /* the last attempts: number n is in slot n % 8 */
#define SW_EVIDENCE_FIRST 8 /* the first one of the window that runs */
#define SW_EVIDENCE_TRIP 9 /* the one that went over the limit */
#define SW_EVIDENCE_SLOTS 10

/*
 * Map `evidence`. The last attempts are kept by dir where that is a site, else by unit for a
 * container and by uid for others; the other subjects of an attempt are found by its members. The
 * first one and what went over are kept by each subject whose policy judged it.
 */
struct sw_evidence_key {
	__u64 id; /* uid, unit or inode */
	__u32 device; /* of a dir */
	__u32 kind;   /* enum sw_kind */
	__u32 slot;
	__u32 rest; /* of a dir: sw_dir.generation or .uid */
};

/*
 * A path as the kernel walks it, from its end to the root: each name with its NUL, the deepest
 * first. So "/var/www/shop" is "shop\0www\0var\0". The attacker's text.
 */
#define SW_PATH_LEN 512
#define SW_PATH_NAMES 32
#define SW_PATH_NAME 256 /* octets of a name with its NUL */
#define SW_PATH_TRUNCATED (1u << 0) /* more names follow towards the root */
#define SW_PATH_DELETED (1u << 1)   /* it was removed from its folder */
struct sw_path {
	__u16 len; /* octets of `names` in use */
	__u8 count; /* how many names */
	__u8 flags; /* SW_PATH_* */
	__u32 pad;
	char names[SW_PATH_LEN];
};

#define SW_ARGV_LEN 256
#define SW_LINE_LEN 128
struct sw_evidence {
	__u64 id; /* of the attempt, never 0; written last, 0 meanwhile */
	__u64 time_ns;
	__u64 unit; /* sw_subject.unit */
	__u64 cgroup;
	struct sw_dir dir; /* the subject */
	struct sw_dir cwd; /* the folder itself */
	__u32 depth;	   /* names from cwd up to the subject dir */
	__u32 pid;	   /* in the machine's pid namespace */
	__u32 ppid;
	__u32 uid; /* the person: sw_tag.uid */
	__u32 gid;
	__u32 tag_flags; /* SW_TAG_* */
	__u16 port;
	__u8 road;
	__u8 verdict; /* enum sw_verdict */
	__u32 argv_len;
	__u8 daddr[16];
	char comm[SW_COMM_LEN];
	char argv[SW_ARGV_LEN];	     /* each with its NUL; best effort */
	char helo[SW_LINE_LEN];	     /* "EHLO mail.example.org", without the line's end */
	char mail_from[SW_LINE_LEN]; /* "MAIL FROM:<a@example.org>" */
	struct sw_path exe_path;
	struct sw_path cwd_path;
	char spill[SW_PATH_NAME]; /* for the kernel: where a last name that is too long ends */
};
_Static_assert(sizeof(struct sw_evidence) == 128 + SW_ARGV_LEN + 2 * SW_LINE_LEN +
						     2 * sizeof(struct sw_path) + SW_PATH_NAME,
	       "sw_evidence is pinned");

enum sw_verdict {
	SW_VERDICT_ADMITTED,
	SW_VERDICT_REFUSED,
	SW_VERDICT_WOULD_REFUSE,
	SW_VERDICT_REDIRECTED,
};

/* Maps `dir_names` (by sw_dir) and `unit_names` (by sw_unit): how a subject was last called. */
struct sw_name {
	__u32 skip; /* names that belong to folders below it */
	__u32 pad;
	struct sw_path path;
	char spill[SW_PATH_NAME];
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
	__u64 evidence; /* sw_evidence.id, or 0 */
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
_Static_assert(sizeof(struct sw_event) == 144, "sw_event is in the ring");

/* ---- the `retire` program: run by user space with BPF_PROG_TEST_RUN, this as its packet ---- */

struct sw_retire {
	__u8 ethernet[14];  /* a packet must have it */
	__u8 pad[2];
	__u64 now_ns;
	__u32 only_idle;    /* 1: only if every window has run out, or it was not seen since now_ns */
	__u32 pad2;
	struct sw_windows_key key; /* of windows; kind SW_KIND_IP: of `addr`'s row of the ledger */
	__u8 addr[16];
};
_Static_assert(sizeof(struct sw_retire) == 72, "sw_retire is a packet");

/* ---- the `where` program: run likewise, this as its context ---- */

struct sw_where {
	struct sw_dir cwd; /* the working directory of the task that runs it, as the kernel has it */
};

#endif
