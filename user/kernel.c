// SPDX-License-Identifier: GPL-2.0-or-later
#include "kernel.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include <smtpwall/names.h>

#include "attach.h"
#include "cleanup.h"
#include "gate.h"
#include "log.h"
#include "mounts.h"
#include "netns.h"

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

int make_pin_dirs(const struct kernel *kernel)
{
	char path[PATH_LEN];
	int r = make_dir(kernel->pin_dir);

	if (r < 0)
		return r;
	gate_path(kernel, SW_PIN_LINKS, path);
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

int lock_pin_dir(const char *path, int *ret_fd)
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

/* Pinned maps of another version cannot be read as they are: better converted than misread. */
static int check_version(struct kernel *kernel)
{
	uint32_t abi = 0;
	int r = maps_abi(kernel->pin_dir, &abi);

	/* Unsigned: a start was killed half-way. */
	kernel->fresh = r == -ENOENT || (r == 0 && !abi);
	if (r < 0 && r != -ENOENT && r != -EPROTO)
		return log_errno(r, "cannot look at the map 'control' in '%s'", kernel->pin_dir);
	kernel->is_other = !kernel->fresh && abi != SW_ABI_VERSION;
	kernel->other_abi = abi;
	return 0;
}

/* Of a takeover that was killed, by whichever version: the next one begins anew. */
static void remove_half_made(const struct kernel *kernel)
{
	char path[PATH_LEN];

	gate_path(kernel, SW_PIN_NEXT, path);
	unpin_all(path);
}

const struct tool tools[TOOLS] = {
	{ "retire", SW_PIN_RETIRE },
	{ "where", SW_PIN_WHERE },
};

/* The newest are pinned over the old. */
static int pin_tools(struct kernel *kernel)
{
	char path[PATH_LEN];
	int r;

	for (size_t i = 0; i < TOOLS; i++) {
		snprintf(path, sizeof(path), "%s/%s", kernel_maps_dir(kernel), tools[i].pin);
		r = pin_over(gate_program(kernel, tools[i].program), path);
		if (r < 0)
			return log_errno(r, "cannot pin '%s'", path);
	}
	return 0;
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
	control->held_until_s = 0; /* of a takeover that was killed after its last step */
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

static int make_overflow_windows(struct kernel *kernel)
{
	static const struct sw_windows empty;
	struct sw_windows_key key = { .kind = SW_KINDS };
	int fd = gate_map(kernel, "windows");

	for (key.policy = 0; key.policy <= SW_POLICIES; key.policy++)
		for (key.road = 0; key.road < SW_ROADS; key.road++)
			if (bpf_map_update_elem(fd, &key, &empty, BPF_NOEXIST) < 0 &&
			    errno != EEXIST)
				return log_errno(-errno, "cannot make the shared windows");
	return 0;
}

/* Always there, so that a full ledger has a row for who comes too late. */
static int make_overflow_rows(struct kernel *kernel)
{
	const struct sw_uid uid = { SW_UID_OVERFLOW };
	const struct sw_ip ip = {};
	const struct sw_ledger empty = { .first_seen_ns = boot_ns() };

	if ((bpf_map_update_elem(gate_map(kernel, "uid_ledger"), &uid, &empty, BPF_NOEXIST) < 0 &&
	     errno != EEXIST) ||
	    (bpf_map_update_elem(gate_map(kernel, "ip_ledger"), &ip, &empty, BPF_NOEXIST) < 0 &&
	     errno != EEXIST))
		return log_errno(-errno, "cannot make the overflow rows");
	return make_overflow_windows(kernel);
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
	kernel->ring = ring_buffer__new(gate_map(kernel, "events"), on_event, kernel, NULL);
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
	struct sw_control control = { .abi = SW_ABI_VERSION };
	uint32_t zero = 0;

	if (kernel->conversion && convert_control(kernel->conversion, &control) < 0)
		return -EPROTO; /* it was read before, and told of */
	if ((kernel->fresh || kernel->conversion) &&
	    bpf_map_update_elem(gate_map(kernel, "control"), &zero, &control, BPF_ANY) < 0)
		return log_errno(-errno, "cannot write the map 'control'");
	return 0;
}

static int open_maps(struct kernel *kernel)
{
	int r = sign_maps(kernel);

	if (r < 0)
		return r;
	r = maps_open(kernel_maps_dir(kernel), &kernel->maps);
	return r < 0 ? log_errno(r, "cannot open the maps in '%s'", kernel_maps_dir(kernel)) : 0;
}

/* What a start that failed has made for nothing; we hold the lock. */
void remove_fresh_pins(struct kernel *kernel)
{
	struct bpf_map *map;
	char path[PATH_LEN];

	if (kernel->dir < 0)
		return;
	if (kernel->conversion)
		convert_abort(kernel->conversion);
	if (kernel->fresh && kernel->programs) {
		bpf_object__for_each_map (map, kernel->object)
			if (bpf_map__is_pinned(map))
				bpf_map__unpin(map, NULL);
		for (size_t i = 0; i < TOOLS; i++) {
			gate_path(kernel, tools[i].pin, path);
			unlink(path);
		}
	}
	gate_path(kernel, SW_PIN_LINKS, path);
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
	if (r >= 0)
		remove_half_made(kernel);
	r = r < 0 ? r : gate_load(kernel, config);
	r = r < 0 ? r : pin_tools(kernel);
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
	for (size_t i = 0; i < TABLES; i++)
		kernel->made[i] = kernel->live[i] = -1;
	kernel->outside_hook = config->outside_hook;
	kernel->pin_dir = strdup(config->pin_dir);
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
	for (size_t i = 0; i < TABLES; i++) {
		closep(&kernel->made[i]);
		closep(&kernel->live[i]);
	}
	for (size_t i = 0; i < kernel->n_wires; i++)
		closep(&kernel->wire[i].link);
	convert_free(kernel->conversion);
	gate_unload(kernel);
	closep(&kernel->cgroup_fd);
	closep(&kernel->dir);
	free(kernel->cgroup);
	free(kernel->pin_dir);
	free(kernel);
}

const char *kernel_maps_dir(const struct kernel *kernel)
{
	return kernel->conversion ? convert_dir(kernel->conversion) : kernel->pin_dir;
}

bool kernel_fresh(const struct kernel *kernel)
{
	return kernel->fresh;
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
	int fd = gate_map(kernel, "own_addresses");
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
	if (bpf_map_update_elem(gate_map(kernel, "elders"), &cookie, tag, BPF_ANY) < 0)
		return log_errno(-errno, "cannot note a session that is older than the gate");
	return 0;
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
