/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of kernel.h: what its files share. Each has one part of the gate: load.c programs and
 * maps, kernel.c the opening and the control entry, rules.c the rules, takeover.c the hooks at the
 * cgroup, wires.c the interfaces, verify.c pins and hooks that others took away.
 */
#ifndef SMTPWALL_GATE_H
#define SMTPWALL_GATE_H

#include <bpf/libbpf.h>
#include <net/if.h>

#include "convert.h"
#include "hook.h"
#include "kernel.h"
#include "maps.h"

#define PATH_LEN 4096
#define INTERFACES_MAX 1024

/* The tables of one generation are inner maps, made anew for each. */
enum table { TABLE_RULES, TABLE_USERS, TABLE_SUBIDS, TABLE_GROUPS, TABLE_NETWORKS, TABLE_UNITS,
	     TABLE_PLACES, TABLES };

/* libbpf forgets what inner maps look like when it has loaded the programs. */
struct shape {
	enum bpf_map_type type;
	__u32 key_size, value_size, max_entries, flags;
	int outer;
};

/* An interface whose egress we hook. */
struct wire {
	unsigned int ifindex;
	int link; /* TCX; -1: a clsact filter, or nothing at the moment */
	bool clsact;
	bool twin; /* the other instance of the program is attached */
	bool qdisc_ours;
	bool told_order;
	char name[IF_NAMESIZE];
	uint64_t put_first_ns; /* when we last went to the head of its chain */
	uint64_t failed_ns;    /* when it could not be put back; 0: nothing failed */
};

struct kernel {
	char *pin_dir;
	char *cgroup;
	int dir; /* pin_dir, locked for the daemon's life */
	int cgroup_fd;
	bool fresh;
	bool is_other;	    /* what is pinned was made by another version */
	uint32_t other_abi; /* which */
	struct conversion *conversion; /* until it is done */
	uint32_t mounted; /* SW_MOUNTED_* */
	enum outside_hook outside_hook;
	struct smtpwall *programs;
	struct bpf_object *object; /* of the programs */
	struct smtpwall *twins;	   /* gate_twin(); NULL: not needed yet */
	struct shape shape[TABLES];
	int made[TABLES], live[TABLES]; /* tables with rows: of the next generation, of this one */
	struct sw_sketch made_sketch, live_sketch;
	uint32_t slot; /* of this generation */
	struct maps *maps;
	int links[CGROUP_HOOKS];
	/* When these could not be put back; 0: nothing failed. */
	uint64_t link_failed_ns[CGROUP_HOOKS], pins_failed_ns;
	bool failed_on_bpffs;
	struct wire wire[INTERFACES_MAX];
	size_t n_wires;
	struct ring_buffer *ring;
	int (*each)(const struct sw_event *event, void *userdata);
	void *userdata;
};

/* Programs that user space runs: attached nowhere, they belong to the maps. */
struct tool {
	const char *program;
	const char *pin;
};
#define TOOLS 2
extern const struct tool tools[TOOLS];

/* ---- load.c ---- */

/* Loads the programs; makes the maps, or takes the pinned ones. */
int gate_load(struct kernel *kernel, const struct config *config);
void gate_unload(struct kernel *kernel);
int gate_map(const struct kernel *kernel, const char *name);
int gate_program(const struct kernel *kernel, const char *name);
/* Another instance of the program, over the same maps: one that is attached already cannot be
 * attached once more at the same place. */
int gate_twin(struct kernel *kernel, const char *name, int *ret_fd);
/* Of a pin, below pin_dir. */
void gate_path(const struct kernel *kernel, const char *name, char path[static PATH_LEN]);
bool gate_is_pinned(const struct kernel *kernel, const char *name);
const char *gate_table_name(enum table table);
/* An empty table of a new generation: its descriptor. */
int gate_make_table(struct kernel *kernel, enum table table);

/* ---- kernel.c ---- */

int make_pin_dirs(const struct kernel *kernel);
int lock_pin_dir(const char *path, int *ret_fd);
/* What a start that failed has made for nothing; we hold the lock. */
void remove_fresh_pins(struct kernel *kernel);

/* ---- takeover.c ---- */

int attach_cgroup(struct kernel *kernel, size_t hook);

/* ---- rules.c ---- */

/* Blocks of the policies in force before are adapted to those in force now. Under the lock. */
int adapt_blocks(struct kernel *kernel, const struct sw_rules *rules,
		 const struct sw_rules *before);

/* ---- wires.c ---- */

/* A wire has a pin: the link's, or the mark of a filter. */
bool wire_is_pinned(const struct kernel *kernel, const struct wire *wire);
int wire_pin_again(struct kernel *kernel, const struct wire *wire);
/* What was attached to an interface before. */
struct replaced {
	unsigned int ifindex;
	int link; /* -1: a clsact filter */
	int program;
};
/* Puts our program in the place of each that is pinned. The caller gives back or forgets. */
int wires_replace(struct kernel *kernel, struct replaced **ret, size_t *ret_n);
void wires_give_back(struct kernel *kernel, const struct replaced *replaced, size_t n);
void wires_forget(struct replaced *replaced, size_t n);
/* 1: something was put right. */
int wire_verify(struct kernel *kernel, struct wire *wire);

/* ---- verify.c ---- */

/* What cannot be put back is told, and tried again, once a minute. */
bool failed_lately(uint64_t failed_ns);
int pin_again(const struct kernel *kernel, int fd, const char *name);

#endif
