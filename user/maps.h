/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The pinned maps as user space reads and edits them: the daemon and the command alike, so
 * that everything works with the daemon dead. Opens pins; loads nothing.
 */
#ifndef SMTPWALL_MAPS_H
#define SMTPWALL_MAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <smtpwall/abi.h>

struct maps; /* descriptors of every pinned map of one pin_dir */

/*
 * -ENOENT: nothing is loaded there. -EPROTO: made by another ABI version. Both told by the
 * caller. `maps_abi` says which version made them.
 */
int maps_open(const char *pin_dir, struct maps **ret);
int maps_abi(const char *pin_dir, uint32_t *ret);
void maps_close(struct maps *maps);

/* Who edits (control, blocks, allowances) holds this lock meanwhile. -ETIMEDOUT: somebody has
 * held it for five seconds. -ESTALE: another version took over since the maps were opened. */
int maps_lock(struct maps *maps);
void maps_unlock(struct maps *maps);

int maps_control(struct maps *maps, struct sw_control *ret);
int maps_control_write(struct maps *maps, const struct sw_control *control); /* under the lock */
int maps_health(struct maps *maps, struct sw_health *ret);
/* The live rule set; all of one generation. */
int maps_rules(struct maps *maps, struct sw_rules *ret);
int maps_users(struct maps *maps, struct sw_intervals *ret);
/* The mode in force at `now_ns`: the trial's while it runs. */
enum sw_mode control_mode(const struct sw_control *control, uint64_t now_ns);
/* Is the daemon alive? It holds the lock of pin_dir. */
bool maps_daemon_runs(struct maps *maps);

/* Rows, all at once, in no order. The caller frees. `limit`, `policy`: looked up in the rules. */
struct ledger_row {
	struct sw_subject subject;
	struct sw_ledger ledger;
};
struct windows_row {
	struct sw_subject subject;
	__u32 policy;
	__u16 road;
	bool idle; /* all its windows had run out */
};
struct block_row {
	struct sw_subject subject;
	__u32 road;
	struct sw_block block;
};
struct allowance_row {
	struct sw_subject subject;
	struct sw_allowance allowance;
};
/* Of addresses also the rows that networks share (see sw_subject.uid). */
int maps_ledger(struct maps *maps, enum sw_kind kind, struct ledger_row **ret, size_t *ret_n);
int maps_windows(struct maps *maps, uint64_t now_ns, struct windows_row **ret, size_t *ret_n);
int maps_blocks(struct maps *maps, struct block_row **ret, size_t *ret_n);	 /* every kind */
int maps_allowances(struct maps *maps, struct allowance_row **ret, size_t *ret_n); /* every kind */
/* One row; -ENOENT if there is none. */
int maps_ledger_get(struct maps *maps, const struct sw_subject *subject, struct sw_ledger *ret);
int maps_windows_get(struct maps *maps, const struct sw_subject *subject, __u32 policy, __u32 road,
		     struct sw_windows *ret);

int maps_block_get(struct maps *maps, const struct sw_subject *subject, __u32 road,
		   struct sw_block *ret);

/* The storage of sockets for their sw_tag: its descriptor, which is not given away. */
int maps_tags(struct maps *maps);
/* Of a socket older than the programs, by its cookie. -ENOENT: not known. */
int maps_elder(struct maps *maps, uint64_t cookie, struct sw_tag *ret);
/* All, also those whose sessions have ended. The caller frees. */
int maps_abroad(struct maps *maps, struct sw_abroad **ret, size_t *ret_n);
/* Of the live rules: the SMTP ports, and the networks (LPM, sw_network to SW_NET_*), to be closed. */
int maps_ports(struct maps *maps, struct sw_ports *ret);
int maps_networks(struct maps *maps, int *ret_fd);
/* Likewise what the rules know of folders (sw_dir to sw_place) and cgroups (sw_cgroup …). */
int maps_places(struct maps *maps, int *ret_fd);
int maps_units(struct maps *maps, int *ret_fd);
/* What they know of a folder, and of a cgroup by its id. -ENOENT: nothing. */
int maps_place(struct maps *maps, const struct sw_dir *dir, struct sw_place *ret);
int maps_unit_match(struct maps *maps, __u64 cgroup, struct sw_unit_match *ret);

/* ---- how units and dirs are called ---- */

/*
 * A folder as the kernel knows it. `fd` may be an O_PATH one. Is in it for a moment, so no other
 * thread may mind where it is.
 */
int maps_where(struct maps *maps, int fd, struct sw_dir *ret);
/* -ENOENT: not known; of uids and addresses none is kept here. */
int maps_name(struct maps *maps, const struct sw_subject *subject, struct sw_name *ret);
/* Under the lock. The kernel's own name, if there is one, is left as it is. */
int maps_name_set(struct maps *maps, const struct sw_subject *subject, const struct sw_name *name);
struct name_row {
	struct sw_subject subject;
	struct sw_name name;
};
int maps_names(struct maps *maps, enum sw_kind kind, struct name_row **ret, size_t *ret_n);

/* Edits; under the lock. Removing what is not there is 0. */
int maps_block_set(struct maps *maps, const struct sw_subject *subject, enum sw_road road,
		   const struct sw_block *block);
int maps_block_remove(struct maps *maps, const struct sw_subject *subject, enum sw_road road);
int maps_allowance_set(struct maps *maps, const struct sw_subject *subject,
		       const struct sw_allowance *allowance);
int maps_allowance_remove(struct maps *maps, const struct sw_subject *subject);
/* Clears the windows of a subject, on every policy in force and road; under the kernel's lock. */
int maps_windows_clear(struct maps *maps, const struct sw_subject *subject);
int maps_windows_clear_all(struct maps *maps);
/* Retires one row if all its windows have run out. 1: retired, 0: still in use. */
int maps_windows_retire(struct maps *maps, const struct windows_row *row, uint64_t now_ns);
/* Moves an address that was not seen since then into the row that its network shares. Likewise. */
int maps_address_retire(struct maps *maps, const struct sw_subject *subject, uint64_t since_ns);


/* Takes a subject's row out of its ledger; what the kernel counts meanwhile begins a new one. */
int maps_ledger_remove(struct maps *maps, const struct sw_subject *subject);
int maps_name_remove(struct maps *maps, const struct sw_subject *subject);
/* Forgets the evidence of those of these kinds (1 << enum sw_kind) whom `is_kept` does not keep. */
int maps_evidence_forget(struct maps *maps, unsigned int kinds,
			 bool (*is_kept)(const struct sw_subject *subject, void *userdata),
			 void *userdata);
/* Forgets the oldest evidence if its map is nearly full: what comes next finds room. */
int maps_evidence_thin(struct maps *maps);
/* How many folders are on each user's quota. */
struct quota_row {
	__u32 uid;
	__u64 dirs;
};
int maps_quotas(struct maps *maps, struct quota_row **ret, size_t *ret_n);
int maps_quota_set(struct maps *maps, const struct quota_row *row); /* 0 dirs: removed */
/* How many rows a ledger has room for. */
int maps_ledger_room(struct maps *maps, enum sw_kind kind, uint32_t *ret);

/* How full each map is, for `status`. */
struct map_fill {
	char name[16];
	uint32_t entries;
	uint32_t max;
};
int maps_fill(struct maps *maps, struct map_fill **ret, size_t *ret_n);

/* CLOCK_BOOTTIME. */
uint64_t boot_ns(void);

/* Of a window as it was read: what is used at `now_ns`, and when the next one would be admitted
 * (0: at once; UINT64_MAX: never; boot ns). */
uint64_t window_used(const struct sw_window *w, uint64_t slot_ns, uint64_t now_ns);
uint64_t window_frees_at(const struct sw_window *w, uint64_t max, uint64_t slot_ns,
			 uint64_t now_ns);
/* Have all windows of a row run out, as the kernel sees it? */
bool windows_idle(const struct sw_windows *windows, uint64_t now_ns);

#endif
