// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include <smtpwall/names.h>

#include "attach.h"
#include "cleanup.h"
#include "hook.h"
#include "log.h"
#include "maps.h"
#include "mounts.h"
#include "netns.h"
#include "smtpwall.skel.h"

#define PATH_LEN 4096
#define INTERFACES_MAX 1024

/* The tables of one generation are inner maps, made anew for each. */
enum table { TABLE_RULES, TABLE_USERS, TABLE_SUBIDS, TABLE_GROUPS, TABLE_NETWORKS, TABLES };

static const struct {
	const char *name;	 /* of the outer map */
	const char *key, *value; /* types, for readable dumps */
} tables[TABLES] = {
	[TABLE_RULES] = { "rules", "__u32", "sw_rules" },
	[TABLE_USERS] = { "users", "__u32", "sw_intervals" },
	[TABLE_SUBIDS] = { "subids", "__u32", "sw_subids" },
	[TABLE_GROUPS] = { "groups", "__u32", "sw_gid_intervals" },
	[TABLE_NETWORKS] = { "networks", "sw_network", "__u32" },
};

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
	uint32_t mounted; /* SW_MOUNTED_* */
	enum outside_hook outside_hook;
	struct smtpwall *programs;
	struct shape shape[TABLES];
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

/* ---- what libbpf says: kept until something fails, then told ---- */

static char libbpf_said[1024];

static int hear_libbpf(enum libbpf_print_level level, const char *format, va_list args)
{
	if (level == LIBBPF_WARN)
		vsnprintf(libbpf_said, sizeof(libbpf_said), format, args);
	return 0;
}

static int log_libbpf(int error, const char *what)
{
	libbpf_said[strcspn(libbpf_said, "\n")] = '\0';
	return log_errno(error, "%s%s%s%s", what, libbpf_said[0] ? " (" : "", libbpf_said,
			 libbpf_said[0] ? ")" : "");
}

static void pin_path(const struct kernel *kernel, const char *name, char path[static PATH_LEN])
{
	snprintf(path, PATH_LEN, "%s/%s", kernel->pin_dir, name);
}

/* ---- opening ---- */

static int check_kernel(void)
{
	if (geteuid() != 0) {
		log_error("must run as root: the kernel loads such programs for nobody else");
		return -EPERM;
	}
	if (access("/sys/kernel/btf/vmlinux", R_OK) < 0) {
		log_error("this kernel does not describe itself (no /sys/kernel/btf/vmlinux): use "
			  "one built with CONFIG_DEBUG_INFO_BTF=y, 5.14 or newer");
		return -ENOTSUP;
	}
	return 0;
}

static int make_dir(const char *path)
{
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return log_errno(-errno, "cannot make the directory '%s'", path);
	return 0;
}

static int make_pin_dirs(const struct kernel *kernel)
{
	char path[PATH_LEN];
	int r = make_dir(kernel->pin_dir);

	if (r < 0)
		return r;
	pin_path(kernel, SW_PIN_LINKS, path);
	return make_dir(path);
}

/* `smtpwall status` takes the lock for microseconds to see whether a daemon lives. */
static int flock_patiently(int fd)
{
	const struct timespec pause = { .tv_nsec = 10000000 };

	for (int i = 0; i < 100; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK)
			return -errno;
		nanosleep(&pause, NULL);
	}
	return -EWOULDBLOCK;
}

static int lock_pin_dir(const char *path, int *ret_fd)
{
	_cleanup_close_ int fd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	int r;

	if (fd < 0)
		return log_errno(-errno, "cannot open the pin directory '%s'", path);
	r = flock_patiently(fd);
	if (r < 0) {
		if (r != -EWOULDBLOCK)
			return log_errno(r, "cannot lock the pin directory '%s'", path);
		log_error("'%s' is held by another smtpwalld: stop it first, or give this one a "
			  "pin_dir of its own",
			  path);
		return -EBUSY;
	}
	*ret_fd = take_fd(&fd);
	return 0;
}

/* Pinned maps of another version cannot be read: better told than misread. */
static int check_version(struct kernel *kernel)
{
	uint32_t abi = 0;
	int r = maps_abi(kernel->pin_dir, &abi);

	/* Unsigned: a start was killed half-way. */
	kernel->fresh = r == -ENOENT || (r == 0 && !abi);
	if (r < 0 && r != -ENOENT && r != -EPROTO)
		return log_errno(r, "cannot look at the map 'control' in '%s'", kernel->pin_dir);
	if (kernel->fresh || abi == SW_ABI_VERSION)
		return 0;
	log_error("'%s' was made by another version of smtpwall (ABI %u, this is %u): `smtpwall "
		  "detach` removes it (counters and windows are lost, blocks come back), then "
		  "start again",
		  kernel->pin_dir, abi, SW_ABI_VERSION);
	return -EPROTO;
}

/* The maps that are pinned have their size; another one is for those made anew. */
static void set_sizes(struct smtpwall *programs, const struct config *config)
{
	bpf_map__set_max_entries(programs->maps.uid_ledger, config->max_users);
	bpf_map__set_max_entries(programs->maps.uid_windows, config->max_users * 2);
	bpf_map__set_max_entries(programs->maps.unit_ledger, config->max_users / 4 + 1);
	bpf_map__set_max_entries(programs->maps.unit_windows, config->max_users / 2 + 1);
	bpf_map__set_max_entries(programs->maps.ip_ledger, config->max_users);
	bpf_map__set_max_entries(programs->maps.net_ledger, config->max_users / 4 + 1);
}

static int keep_pinned_size(struct bpf_map *map, const char *path)
{
	struct bpf_map_info info = {};
	__u32 size = sizeof(info);
	_cleanup_close_ int fd = bpf_obj_get(path);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) < 0)
		return 0;
	if (info.max_entries != bpf_map__max_entries(map))
		log_warning("the map '%s' keeps its %u rows: `smtpwall detach` and a start make it "
			    "anew",
			    bpf_map__name(map), info.max_entries);
	return bpf_map__set_max_entries(map, info.max_entries);
}

static int set_pins(struct kernel *kernel)
{
	char path[PATH_LEN];
	struct bpf_map *map;
	int r = 0;

	bpf_object__for_each_map (map, kernel->programs->obj) {
		if (bpf_map__is_internal(map) || strchr(bpf_map__name(map), '.'))
			continue;
		pin_path(kernel, bpf_map__name(map), path);
		r = bpf_map__set_pin_path(map, path);
		if (r >= 0)
			r = keep_pinned_size(map, path);
		if (r < 0)
			return log_errno(r, "cannot prepare the map '%s'", bpf_map__name(map));
	}
	return 0;
}

static struct bpf_map *table_map(const struct kernel *kernel, size_t table)
{
	return bpf_object__find_map_by_name(kernel->programs->obj, tables[table].name);
}

static void note_shapes(struct kernel *kernel)
{
	for (size_t i = 0; i < TABLES; i++) {
		const struct bpf_map *inner = bpf_map__inner_map(table_map(kernel, i));

		kernel->shape[i] = (struct shape){
			.type = bpf_map__type(inner),
			.key_size = bpf_map__key_size(inner),
			.value_size = bpf_map__value_size(inner),
			.max_entries = bpf_map__max_entries(inner),
			.flags = bpf_map__map_flags(inner),
		};
	}
}

static int load(struct kernel *kernel, const struct config *config)
{
	int r;

	kernel->programs = smtpwall__open();
	if (!kernel->programs)
		return log_libbpf(-errno, "cannot open the programs");
	set_sizes(kernel->programs, config);
	r = set_pins(kernel);
	if (r < 0)
		return r;
	note_shapes(kernel);
	r = smtpwall__load(kernel->programs);
	if (r < 0)
		return log_libbpf(r, "the kernel does not take the programs");
	for (size_t i = 0; i < TABLES; i++)
		kernel->shape[i].outer = bpf_map__fd(table_map(kernel, i));
	return 0;
}

/* At each moment something is pinned there: the old, then the new. */
static int pin_over(int fd, const char *path)
{
	char next[PATH_LEN + 8];

	snprintf(next, sizeof(next), "%s_next", path);
	unlink(next);
	return bpf_obj_pin(fd, next) < 0 || rename(next, path) < 0 ? -errno : 0;
}

/* The program for retiring rows belongs to the maps: the newest is pinned over the old. */
static int pin_retire(struct kernel *kernel)
{
	char path[PATH_LEN];
	int r;

	pin_path(kernel, SW_PIN_RETIRE, path);
	r = pin_over(bpf_program__fd(kernel->programs->progs.retire), path);
	return r < 0 ? log_errno(r, "cannot pin '%s'", path) : 0;
}

/* ---- the control entry ---- */

static uint32_t namespace_inode(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? 0 : (uint32_t)st.st_ino;
}

/* Never 0: that is what every packet begins with. */
static uint32_t random_mark(void)
{
	uint16_t mark = 0;

	while (!(mark & 0xfff0))
		if (getrandom(&mark, sizeof(mark), 0) < 0)
			mark = 0x2500;
	return mark & 0xfff0;
}

static void control_here(struct sw_control *control, const struct kernel *kernel,
			 const struct config *config)
{
	control->abi = SW_ABI_VERSION;
	control->daemon_pid = getpid(); /* we hold the lock: nobody may signal an old pid for it */
	control->netns_cookie = netns_cookie();
	control->pid_ns = namespace_inode("/proc/self/ns/pid");
	control->user_ns = namespace_inode("/proc/self/ns/user");
	control->ipv6_prefix = config->ipv6_prefix;
	if (!control->wire_mark)
		control->wire_mark = random_mark();
	control->mounted |= kernel->mounted;
	snprintf(control->cgroup, sizeof(control->cgroup), "%s", kernel->cgroup);
}

static int edit_control(struct kernel *kernel, const struct config *config,
			void (*edit)(struct sw_control *, const struct kernel *,
				     const struct config *))
{
	struct sw_control control = {};
	int r = maps_lock(kernel->maps);

	if (r >= 0) {
		r = maps_control(kernel->maps, &control);
		if (r >= 0) {
			edit(&control, kernel, config);
			r = maps_control_write(kernel->maps, &control);
		}
		maps_unlock(kernel->maps);
	}
	return r < 0 ? log_errno(r, "cannot write the map 'control'") : 0;
}

/* Always there, so that a full ledger has a row for who comes too late. */
static int make_overflow_rows(struct kernel *kernel)
{
	const struct sw_uid uid = { SW_UID_OVERFLOW };
	const struct sw_ip ip = {};
	const struct sw_ledger empty = { .first_seen_ns = boot_ns() };

	if ((bpf_map_update_elem(bpf_map__fd(kernel->programs->maps.uid_ledger), &uid, &empty,
				 BPF_NOEXIST) < 0 &&
	     errno != EEXIST) ||
	    (bpf_map_update_elem(bpf_map__fd(kernel->programs->maps.ip_ledger), &ip, &empty,
				 BPF_NOEXIST) < 0 &&
	     errno != EEXIST))
		return log_errno(-errno, "cannot make the overflow rows");
	return 0;
}

static int on_event(void *userdata, void *data, size_t size)
{
	struct kernel *kernel = userdata;

	if (size < sizeof(struct sw_event))
		return 0;
	return kernel->each(data, kernel->userdata);
}

static int open_ring(struct kernel *kernel)
{
	kernel->ring = ring_buffer__new(bpf_map__fd(kernel->programs->maps.events), on_event,
					kernel, NULL);
	return kernel->ring ? 0 : log_errno(-errno, "cannot read the ring of events");
}

static int open_cgroup(struct kernel *kernel, const struct config *config)
{
	bool mounted = false;
	int r = mount_cgroup2(config->cgroup, &kernel->cgroup, &mounted);

	if (r < 0)
		return r;
	if (mounted)
		kernel->mounted |= SW_MOUNTED_CGROUP2;
	kernel->cgroup_fd = open(kernel->cgroup, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (kernel->cgroup_fd < 0)
		return log_errno(-errno, "cannot open the cgroup '%s'", kernel->cgroup);
	return 0;
}

static int open_pin_dir(struct kernel *kernel)
{
	bool mounted = false;
	int r = check_pin_dir(kernel->pin_dir);

	r = r < 0 ? r : mount_bpffs(kernel->pin_dir, &mounted);
	if (r < 0)
		return r;
	if (mounted)
		kernel->mounted |= SW_MOUNTED_BPFFS;
	r = make_pin_dirs(kernel);
	return r < 0 ? r : lock_pin_dir(kernel->pin_dir, &kernel->dir);
}

/* Signs fresh maps with our version: nobody opens unsigned ones. */
static int sign_maps(struct kernel *kernel)
{
	const struct sw_control control = { .abi = SW_ABI_VERSION };
	uint32_t zero = 0;

	if (kernel->fresh && bpf_map_update_elem(bpf_map__fd(kernel->programs->maps.control), &zero,
						 &control, BPF_ANY) < 0)
		return log_errno(-errno, "cannot write the map 'control'");
	return 0;
}

static int open_maps(struct kernel *kernel)
{
	int r = sign_maps(kernel);

	if (r < 0)
		return r;
	r = maps_open(kernel->pin_dir, &kernel->maps);
	return r < 0 ? log_errno(r, "cannot open the maps in '%s'", kernel->pin_dir) : 0;
}

/* What a start that failed has made for nothing; we hold the lock. */
static void remove_fresh_pins(struct kernel *kernel)
{
	struct bpf_map *map;
	char path[PATH_LEN];

	if (kernel->dir < 0)
		return;
	if (kernel->fresh && kernel->programs) {
		bpf_object__for_each_map (map, kernel->programs->obj)
			if (bpf_map__is_pinned(map))
				bpf_map__unpin(map, NULL);
		pin_path(kernel, SW_PIN_RETIRE, path);
		unlink(path);
	}
	pin_path(kernel, SW_PIN_LINKS, path);
	rmdir(path); /* what is in use is not empty */
	rmdir(kernel->pin_dir);
	closep(&kernel->dir);
	if (kernel->mounted & SW_MOUNTED_BPFFS)
		unmount_bpffs();
}

static int open_all(struct kernel *kernel, const struct config *config)
{
	int r = check_kernel();

	r = r < 0 ? r : open_pin_dir(kernel);
	r = r < 0 ? r : open_cgroup(kernel, config);
	r = r < 0 ? r : check_version(kernel);
	r = r < 0 ? r : load(kernel, config);
	r = r < 0 ? r : pin_retire(kernel);
	r = r < 0 ? r : open_maps(kernel);
	r = r < 0 ? r : edit_control(kernel, config, control_here);
	r = r < 0 ? r : make_overflow_rows(kernel);
	r = r < 0 ? r : open_ring(kernel);
	if (r < 0)
		remove_fresh_pins(kernel);
	return r;
}

int kernel_open(const struct config *config, struct kernel **ret)
{
	struct kernel *kernel = calloc(1, sizeof(*kernel));
	int r;

	if (!kernel)
		return log_errno(-ENOMEM, "cannot open the gate");
	kernel->dir = kernel->cgroup_fd = -1;
	for (size_t i = 0; i < CGROUP_HOOKS; i++)
		kernel->links[i] = -1;
	kernel->outside_hook = config->outside_hook;
	kernel->pin_dir = strdup(config->pin_dir);
	libbpf_set_print(hear_libbpf);
	r = kernel->pin_dir ? open_all(kernel, config) : log_errno(-ENOMEM, "cannot open the gate");
	if (r < 0) {
		kernel_close(kernel);
		return r;
	}
	*ret = kernel;
	return 0;
}

void kernel_close(struct kernel *kernel)
{
	if (!kernel)
		return;
	ring_buffer__free(kernel->ring);
	if (kernel->maps)
		maps_close(kernel->maps);
	for (size_t i = 0; i < CGROUP_HOOKS; i++)
		closep(&kernel->links[i]);
	for (size_t i = 0; i < kernel->n_wires; i++)
		closep(&kernel->wire[i].link);
	smtpwall__destroy(kernel->programs);
	closep(&kernel->cgroup_fd);
	closep(&kernel->dir);
	free(kernel->cgroup);
	free(kernel->pin_dir);
	free(kernel);
}

bool kernel_fresh(const struct kernel *kernel)
{
	return kernel->fresh;
}

/* ---- rules ---- */

int kernel_live_rules(struct kernel *kernel, struct sw_rules *ret)
{
	struct sw_control control;
	int r = maps_control(kernel->maps, &control);

	if (r >= 0 && !control.generation)
		return -ENOENT;
	r = r < 0 ? r : maps_rules(kernel->maps, ret);
	return r < 0 ? log_errno(r, "cannot read the rules in force") : 0;
}

/* A table of a new generation, empty. */
static int make_table(struct kernel *kernel, enum table table)
{
	const struct btf *btf = bpf_object__btf(kernel->programs->obj);
	const struct shape *shape = &kernel->shape[table];
	int key = btf__find_by_name(btf, tables[table].key);
	int value = btf__find_by_name(btf, tables[table].value);
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = shape->flags);
	int fd;

	if (key > 0 && value > 0) {
		options.btf_fd = bpf_object__btf_fd(kernel->programs->obj);
		options.btf_key_type_id = key;
		options.btf_value_type_id = value;
	}
	fd = bpf_map_create(shape->type, tables[table].name, shape->key_size, shape->value_size,
			    shape->max_entries, &options);
	return fd < 0 ? -errno : fd;
}

/* Makes a table with one value and puts it into a slot. */
static int put_table(struct kernel *kernel, enum table table, uint32_t slot, const void *value)
{
	_cleanup_close_ int fd = make_table(kernel, table);
	uint32_t zero = 0;

	if (fd < 0)
		return fd;
	if (bpf_map_update_elem(fd, &zero, value, BPF_ANY) < 0 ||
	    bpf_map_update_elem(kernel->shape[table].outer, &slot, &fd, BPF_ANY) < 0)
		return -errno;
	return 0;
}

static int put_networks(struct kernel *kernel, uint32_t slot, const struct ruleset *ruleset)
{
	_cleanup_close_ int fd = make_table(kernel, TABLE_NETWORKS);

	if (fd < 0)
		return fd;
	for (size_t i = 0; i < ruleset->n_networks; i++) {
		const struct network_rule *rule = &ruleset->network[i];

		if (bpf_map_update_elem(fd, &rule->network, &rule->flags, BPF_ANY) < 0)
			return -errno;
	}
	return bpf_map_update_elem(kernel->shape[TABLE_NETWORKS].outer, &slot, &fd, BPF_ANY) < 0
		       ? -errno
		       : 0;
}

static int put_generation(struct kernel *kernel, uint32_t generation, const struct ruleset *ruleset)
{
	uint32_t slot = generation % SW_GENERATIONS;
	int r;

	r = put_table(kernel, TABLE_RULES, slot, &ruleset->rules);
	r = r < 0 ? r : put_table(kernel, TABLE_USERS, slot, ruleset->users);
	r = r < 0 ? r : put_table(kernel, TABLE_SUBIDS, slot, ruleset->subids);
	r = r < 0 ? r : put_table(kernel, TABLE_GROUPS, slot, ruleset->groups);
	r = r < 0 ? r : put_networks(kernel, slot, ruleset);
	if (r >= 0 && bpf_map_update_elem(bpf_map__fd(kernel->programs->maps.ports), &slot,
					  &ruleset->ports, BPF_ANY) < 0)
		r = -errno;
	return r;
}

/* Whose block is it? NULL: of a policy that is no more. */
static const struct sw_policy *policy_of(const struct sw_rules *rules, uint32_t id)
{
	for (uint32_t i = 0; i < rules->n_policies; i++)
		if (rules->policy[i].id == id)
			return &rules->policy[i];
	return NULL;
}

static const struct sw_limit *limit_of(const struct sw_policy *policy, uint64_t id)
{
	for (uint32_t i = 0; i < policy->n_limits; i++)
		if (policy->limit[i].id == id && !policy->limit[i].warn)
			return &policy->limit[i];
	return NULL;
}

/* Was the limit that made the block raised or taken away? Then the next attempt is judged anew. */
static bool limit_was_raised(const struct sw_policy *policy, const struct sw_policy *old,
			     uint64_t id)
{
	const struct sw_limit *now = limit_of(policy, id), *before = old ? limit_of(old, id) : NULL;

	return !now || (before && (now->max > before->max || now->percent > before->percent));
}

/*
 * A block of a policy that is gone goes with it, and one whose limit was raised; that of a policy
 * that only observes refuses nothing.
 */
static int adapt_block(struct kernel *kernel, const struct sw_rules *rules,
		       const struct sw_rules *old, struct block_row *row)
{
	const struct sw_policy *policy = policy_of(rules, row->block.policy);

	if (row->block.by != SW_BY_LIMIT)
		return 0;
	if (!policy || !(policy->roads >> row->road & 1) ||
	    limit_was_raised(policy, policy_of(old, row->block.policy), row->block.limit))
		return maps_block_remove(kernel->maps, &row->subject, row->road);
	if (policy->mode == SW_MODE_ENFORCE || (row->block.flags & SW_BLOCK_OBSERVED))
		return 0;
	row->block.flags |= SW_BLOCK_OBSERVED;
	return maps_block_set(kernel->maps, &row->subject, row->road, &row->block);
}

static int adapt_blocks(struct kernel *kernel, const struct sw_rules *rules,
			const struct sw_rules *old)
{
	_cleanup_free_ struct block_row *row = NULL;
	size_t n = 0;
	int r = maps_blocks(kernel->maps, &row, &n);

	for (size_t i = 0; i < n && r >= 0; i++)
		r = adapt_block(kernel, rules, old, &row[i]);
	return r;
}

/* From here on every program reads the new generation; the old one's tables stay for those that
 * are still running in it. */
static int switch_generation(struct kernel *kernel, const struct config *config,
			     const struct ruleset *ruleset, uint32_t generation)
{
	_cleanup_free_ struct sw_rules *old = calloc(1, sizeof(*old));
	struct sw_control control;
	int r = old ? maps_lock(kernel->maps) : -ENOMEM;

	if (r < 0)
		return r;
	r = maps_control(kernel->maps, &control);
	if (r >= 0 && control.generation)
		r = maps_rules(kernel->maps, old);
	if (r >= 0) {
		control.generation = generation;
		control.ipv6_prefix = config->ipv6_prefix;
		r = maps_control_write(kernel->maps, &control);
	}
	r = r < 0 ? r : adapt_blocks(kernel, &ruleset->rules, old);
	maps_unlock(kernel->maps);
	return r;
}

int kernel_publish(struct kernel *kernel, const struct config *config,
		   const struct ruleset *ruleset)
{
	struct sw_control control;
	uint32_t generation;
	int r = maps_control(kernel->maps, &control);

	if (r < 0)
		return log_errno(r, "cannot read the map 'control'");
	generation = control.generation + 1;
	if (!generation) /* 0 is: no rules yet */
		generation = SW_GENERATIONS;
	r = put_generation(kernel, generation, ruleset);
	if (r < 0)
		return log_errno(r, "cannot write the rules, the old ones stay");
	r = switch_generation(kernel, config, ruleset, generation);
	return r < 0 ? log_errno(r, "cannot switch to the new rules") : 0;
}

/* ---- addresses and elders ---- */

static bool among(const struct sw_ip *address, size_t n, const struct sw_ip *one)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(&address[i], one, sizeof(*one)) == 0)
			return true;
	return false;
}

int kernel_own_addresses(struct kernel *kernel, const struct sw_ip *address, size_t n)
{
	int fd = bpf_map__fd(kernel->programs->maps.own_addresses);
	struct sw_ip key, next;
	uint32_t yes = 1;
	bool more;

	for (size_t i = 0; i < n; i++)
		if (bpf_map_update_elem(fd, &address[i], &yes, BPF_ANY) < 0)
			return log_errno(-errno, "cannot note an address of this machine");
	more = bpf_map_get_next_key(fd, NULL, &key) == 0;
	while (more) {
		more = bpf_map_get_next_key(fd, &key, &next) == 0;
		if (!among(address, n, &key))
			bpf_map_delete_elem(fd, &key);
		key = next;
	}
	return 0;
}

int kernel_elder(struct kernel *kernel, uint64_t cookie, const struct sw_tag *tag)
{
	if (bpf_map_update_elem(bpf_map__fd(kernel->programs->maps.elders), &cookie, tag, BPF_ANY) <
	    0)
		return log_errno(-errno, "cannot note a session that is older than the gate");
	return 0;
}

/* ---- hooks ---- */

static int program_fd(const struct kernel *kernel, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(kernel->programs->obj, name));
}

static int attach_cgroup(struct kernel *kernel, size_t hook)
{
	char path[PATH_LEN];
	int link, r;

	pin_path(kernel, cgroup_hooks[hook].pin, path);
	r = hook_cgroup(program_fd(kernel, cgroup_hooks[hook].program), kernel->cgroup_fd,
			cgroup_hooks[hook].type, path, &link);
	if (r < 0)
		return log_errno(r, "cannot attach '%s' to the cgroup '%s'",
				 cgroup_hooks[hook].program, kernel->cgroup);
	closep(&kernel->links[hook]);
	kernel->links[hook] = link;
	return 0;
}

int kernel_attach(struct kernel *kernel)
{
	int r = 0;

	for (size_t i = 0; i < CGROUP_HOOKS && r >= 0; i++)
		r = attach_cgroup(kernel, i);
	return r;
}

static void egress_pin(const struct kernel *kernel, unsigned int ifindex, const char *format,
		       char path[static PATH_LEN])
{
	char name[64];

	snprintf(name, sizeof(name), format, ifindex);
	pin_path(kernel, name, path);
}

static void wire_pin(const struct wire *wire, char *name, size_t size)
{
	snprintf(name, size, wire->clsact ? SW_PIN_CLSACT : SW_PIN_EGRESS, wire->ifindex);
}

static bool is_pinned(const struct kernel *kernel, const char *name)
{
	char path[PATH_LEN];

	pin_path(kernel, name, path);
	return access(path, F_OK) == 0;
}

/* `detach` has to find the filters again, and whether the qdisc was ours: pins mark both. */
static int mark_clsact(struct kernel *kernel, const struct wire *wire)
{
	int fd = bpf_program__fd(kernel->programs->progs.egress), r;
	char path[PATH_LEN];

	egress_pin(kernel, wire->ifindex, SW_PIN_CLSACT, path);
	r = pin_over(fd, path);
	egress_pin(kernel, wire->ifindex, SW_PIN_CLSACT_OURS, path);
	return r < 0 || !wire->qdisc_ours ? r : pin_over(fd, path);
}

static int attach_clsact(struct kernel *kernel, struct wire *wire)
{
	char path[PATH_LEN];
	bool made = false;
	int r = hook_clsact(bpf_program__fd(kernel->programs->progs.egress), wire->ifindex, &made);

	if (r < 0)
		return r;
	egress_pin(kernel, wire->ifindex, SW_PIN_CLSACT_OURS, path);
	wire->clsact = true;
	wire->qdisc_ours = made || access(path, F_OK) == 0;
	return mark_clsact(kernel, wire);
}

static int attach_tcx(struct kernel *kernel, struct wire *wire)
{
	char path[PATH_LEN];
	int link, r;

	egress_pin(kernel, wire->ifindex, SW_PIN_EGRESS, path);
	r = hook_tcx(bpf_program__fd(kernel->programs->progs.egress), wire->ifindex, path, &link);
	if (r < 0)
		return r;
	closep(&wire->link);
	wire->link = link;
	return 0;
}

static int attach_wire(struct kernel *kernel, struct wire *wire)
{
	int r = -ENOTSUP;

	if (kernel->outside_hook != OUTSIDE_CLSACT && !wire->clsact)
		r = attach_tcx(kernel, wire);
	if (r < 0 && r != -ENODEV && kernel->outside_hook != OUTSIDE_TCX)
		r = attach_clsact(kernel, wire);
	return r;
}

static struct wire *find_wire(struct kernel *kernel, unsigned int ifindex)
{
	for (size_t i = 0; i < kernel->n_wires; i++)
		if (kernel->wire[i].ifindex == ifindex)
			return &kernel->wire[i];
	return NULL;
}

int kernel_attach_interface(struct kernel *kernel, unsigned int ifindex, const char *name)
{
	struct wire wire = { .ifindex = ifindex, .link = -1 };
	int r;

	if (find_wire(kernel, ifindex))
		return 0;
	if (kernel->n_wires == INTERFACES_MAX)
		return log_errno(-ENOSPC, "cannot count what leaves by '%s'", name);
	r = attach_wire(kernel, &wire);
	if (r < 0)
		return log_errno(r, "cannot attach to the egress of '%s'", name);
	snprintf(wire.name, sizeof(wire.name), "%s", name);
	kernel->wire[kernel->n_wires++] = wire;
	return 0;
}

int kernel_detach_interface(struct kernel *kernel, unsigned int ifindex)
{
	static const char *const pins[] = { SW_PIN_EGRESS, SW_PIN_CLSACT, SW_PIN_CLSACT_OURS };
	struct wire *wire = find_wire(kernel, ifindex);
	char path[PATH_LEN];

	if (!wire)
		return 0;
	if (wire->clsact)
		unhook_clsact(ifindex);
	if (wire->qdisc_ours)
		remove_clsact(ifindex);
	closep(&wire->link);
	*wire = kernel->wire[--kernel->n_wires];
	for (size_t i = 0; i < ARRAY_SIZE(pins); i++) {
		egress_pin(kernel, ifindex, pins[i], path);
		unlink(path);
	}
	return 0;
}

/* The name of a pin below links/: does a wire need it? */
static bool is_pin_of_a_wire(const char *name, const void *userdata)
{
	const struct kernel *kernel = userdata;
	char path[64], pin[64];

	snprintf(path, sizeof(path), SW_PIN_LINKS "/%.40s", name);
	for (size_t i = 0; i < kernel->n_wires; i++) {
		const struct wire *wire = &kernel->wire[i];

		wire_pin(wire, pin, sizeof(pin));
		if (strcmp(path, pin) == 0)
			return true;
		snprintf(pin, sizeof(pin), SW_PIN_CLSACT_OURS, wire->ifindex);
		if (wire->qdisc_ours && strcmp(path, pin) == 0)
			return true;
	}
	return false;
}

void kernel_forget_interfaces(struct kernel *kernel)
{
	detach_interfaces(kernel->pin_dir, is_pin_of_a_wire, kernel);
}

/* ---- verifying ---- */

/* What cannot be put back is told, and tried again, once a minute. */
#define FAILED_AGAIN_NS 60000000000ULL

static bool failed_lately(uint64_t failed_ns)
{
	return failed_ns && boot_ns() - failed_ns < FAILED_AGAIN_NS;
}

static int pin_again(const struct kernel *kernel, int fd, const char *name)
{
	char path[PATH_LEN];

	pin_path(kernel, name, path);
	if (access(path, F_OK) < 0 && bpf_obj_pin(fd, path) < 0)
		return log_errno(-errno, "cannot pin '%s' again", path);
	return 0;
}

static bool wire_pins_stand(const struct kernel *kernel)
{
	char name[64];

	for (size_t i = 0; i < kernel->n_wires; i++) {
		wire_pin(&kernel->wire[i], name, sizeof(name));
		if ((kernel->wire[i].clsact || kernel->wire[i].link >= 0) &&
		    !is_pinned(kernel, name))
			return false;
	}
	return true;
}

static bool pins_stand(const struct kernel *kernel)
{
	struct bpf_map *map;

	bpf_object__for_each_map (map, kernel->programs->obj)
		if (bpf_map__pin_path(map) && access(bpf_map__pin_path(map), F_OK) < 0)
			return false;
	for (size_t i = 0; i < CGROUP_HOOKS; i++)
		if (kernel->links[i] >= 0 && !is_pinned(kernel, cgroup_hooks[i].pin))
			return false;
	return is_pinned(kernel, SW_PIN_RETIRE) && wire_pins_stand(kernel);
}

static int pin_wire_again(struct kernel *kernel, const struct wire *wire)
{
	char name[64];

	wire_pin(wire, name, sizeof(name));
	if (wire->clsact)
		return mark_clsact(kernel, wire);
	return wire->link < 0 ? 0 : pin_again(kernel, wire->link, name);
}

/* A directory that was made anew is not the one whose lock we hold. */
static int lock_again(struct kernel *kernel)
{
	_cleanup_close_ int dir = -1;
	struct stat held, there;
	int r;

	if (fstat(kernel->dir, &held) == 0 && stat(kernel->pin_dir, &there) == 0 &&
	    held.st_dev == there.st_dev && held.st_ino == there.st_ino)
		return 0;
	r = lock_pin_dir(kernel->pin_dir, &dir);
	if (r < 0)
		return r;
	closep(&kernel->dir);
	kernel->dir = take_fd(&dir);
	return 0;
}

/* The held descriptors keep everything alive while the pins are gone. */
static int put_pins_back(struct kernel *kernel)
{
	struct bpf_map *map;
	bool mounted = false;
	int r = mount_bpffs(kernel->pin_dir, &mounted);

	r = r < 0 ? r : make_pin_dirs(kernel);
	r = r < 0 ? r : lock_again(kernel);
	if (r < 0)
		return r;
	bpf_object__for_each_map (map, kernel->programs->obj)
		if (r >= 0 && bpf_map__pin_path(map))
			r = pin_again(kernel, bpf_map__fd(map), bpf_map__name(map));
	r = r < 0 ? r
		  : pin_again(kernel, bpf_program__fd(kernel->programs->progs.retire),
			      SW_PIN_RETIRE);
	for (size_t i = 0; i < CGROUP_HOOKS && r >= 0; i++)
		if (kernel->links[i] >= 0)
			r = pin_again(kernel, kernel->links[i], cgroup_hooks[i].pin);
	for (size_t i = 0; i < kernel->n_wires && r >= 0; i++)
		r = pin_wire_again(kernel, &kernel->wire[i]);
	return r;
}

/* The locks of editors are on a directory that may be a new one. */
static int reopen_maps(struct kernel *kernel)
{
	struct maps *maps;
	int r = maps_open(kernel->pin_dir, &maps);

	if (r < 0)
		return log_errno(r, "cannot open the maps in '%s' again", kernel->pin_dir);
	maps_close(kernel->maps);
	kernel->maps = maps;
	return 0;
}

static int verify_pins(struct kernel *kernel)
{
	bool on_bpffs;

	if (pins_stand(kernel)) {
		kernel->pins_failed_ns = 0;
		return 0;
	}
	/* A bpffs that was mounted since the last failure is worth another try at once. */
	on_bpffs = is_on_bpffs(kernel->pin_dir);
	if (failed_lately(kernel->pins_failed_ns) && on_bpffs == kernel->failed_on_bpffs)
		return 0;
	if (put_pins_back(kernel) >= 0 && reopen_maps(kernel) >= 0) {
		log_warning("somebody took pins in '%s' away: they are put back; nothing was let "
			    "through meanwhile",
			    kernel->pin_dir);
		return 1;
	}
	log_warning("somebody took pins in '%s' away: the gate stands on, and they are put back as "
		    "soon as that is possible",
		    kernel->pin_dir);
	kernel->pins_failed_ns = boot_ns();
	kernel->failed_on_bpffs = on_bpffs;
	return 0;
}

static int verify_cgroup(struct kernel *kernel, size_t hook)
{
	if (kernel->links[hook] < 0 || link_lives(kernel->links[hook])) {
		kernel->link_failed_ns[hook] = 0;
		return 0;
	}
	if (failed_lately(kernel->link_failed_ns[hook]))
		return 0;
	if (attach_cgroup(kernel, hook) >= 0) {
		log_warning("'%s' was taken off the cgroup '%s': it is put back",
			    cgroup_hooks[hook].program, kernel->cgroup);
		return 1;
	}
	kernel->link_failed_ns[hook] = boot_ns();
	return 0;
}

/* What was done is told when it is done: whoever reads it may rely on it. */
static int attach_wire_again(struct kernel *kernel, struct wire *wire, const char *found,
			     const char *done)
{
	int r = attach_wire(kernel, wire);

	wire->failed_ns = r < 0 ? boot_ns() : 0;
	if (r < 0)
		return log_errno(r, "cannot attach to the egress of '%s' again", wire->name);
	log_warning("%s the egress of '%s': %s", found, wire->name, done);
	return 1;
}

#define PUT_FIRST_EVERY_NS 10000000000ULL /* two that both want to be first must not fight */

/* Another program before ours may let packets pass it. One program cannot be there twice: for a
 * moment there is none. */
static int verify_first(struct kernel *kernel, struct wire *wire)
{
	uint64_t now_ns = boot_ns();
	char path[PATH_LEN];

	if (tcx_is_first(bpf_program__fd(kernel->programs->progs.egress), wire->ifindex) ||
	    (wire->put_first_ns && now_ns - wire->put_first_ns < PUT_FIRST_EVERY_NS))
		return 0;
	wire->put_first_ns = now_ns;
	egress_pin(kernel, wire->ifindex, SW_PIN_EGRESS, path);
	unlink(path);
	closep(&wire->link);
	return attach_wire_again(kernel, wire, "another program was put before ours on",
				 "ours goes first again");
}

/* The preferences of filters are the administrator's: told, once. */
static void verify_order(struct wire *wire)
{
	bool first = clsact_is_first(wire->ifindex);

	if (!first && !wire->told_order)
		log_warning(
			"another filter stands before ours on the egress of '%s' (its preference "
			"is below %d): what it passes is not counted on the wire; users of this "
			"machine are judged all the same",
			wire->name, SW_TC_PRIORITY);
	wire->told_order = !first;
}

static int verify_attached(struct kernel *kernel, struct wire *wire)
{
	if (!wire->clsact)
		return verify_first(kernel, wire);
	verify_order(wire);
	return 0;
}

static int verify_wire(struct kernel *kernel, struct wire *wire)
{
	char name[IF_NAMESIZE];

	if (!if_indextoname(wire->ifindex, name) || failed_lately(wire->failed_ns))
		return 0; /* gone: news of it is on its way */
	if (wire->clsact ? clsact_is_attached(wire->ifindex) : link_lives(wire->link))
		return verify_attached(kernel, wire);
	return attach_wire_again(kernel, wire, "our program was taken off", "it is put back");
}

int kernel_verify(struct kernel *kernel)
{
	int repairs = verify_pins(kernel), r;

	for (size_t i = 0; i < CGROUP_HOOKS; i++)
		repairs += verify_cgroup(kernel, i);
	for (size_t i = 0; i < kernel->n_wires; i++) {
		r = verify_wire(kernel, &kernel->wire[i]);
		repairs += r > 0;
	}
	return repairs;
}

/* ---- events ---- */

int kernel_events_fd(struct kernel *kernel)
{
	return ring_buffer__epoll_fd(kernel->ring);
}

int kernel_events_consume(struct kernel *kernel,
			  int (*each)(const struct sw_event *event, void *userdata), void *userdata)
{
	int r;

	kernel->each = each;
	kernel->userdata = userdata;
	r = ring_buffer__consume(kernel->ring);
	return r < 0 ? log_errno(r, "cannot read the ring of events") : 0;
}
