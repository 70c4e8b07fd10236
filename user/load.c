// SPDX-License-Identifier: GPL-2.0-or-later
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <smtpwall/names.h>

#include "cleanup.h"
#include "gate.h"
#include "log.h"
#include "smtpwall.skel.h"

static const struct {
	const char *name;	 /* of the outer map */
	const char *key, *value; /* types, for readable dumps */
} tables[TABLES] = {
	[TABLE_RULES] = { "rules", "__u32", "sw_rules" },
	[TABLE_USERS] = { "users", "__u32", "sw_intervals" },
	[TABLE_SUBIDS] = { "subids", "__u32", "sw_subids" },
	[TABLE_GROUPS] = { "groups", "__u32", "sw_gid_intervals" },
	[TABLE_NETWORKS] = { "networks", "sw_network", "__u32" },
	[TABLE_UNITS] = { "units", "sw_cgroup", "sw_unit_match" },
	[TABLE_PLACES] = { "places", "sw_dir", "sw_place" },
};

const char *gate_table_name(enum table table)
{
	return tables[table].name;
}

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

/* Without it no program may call a function of the kernel, and that is all that it says. */
static bool jit_is_off(void)
{
	_cleanup_close_ int fd = open("/proc/sys/net/core/bpf_jit_enable", O_RDONLY | O_CLOEXEC);
	char setting = '1';

	return fd >= 0 && read(fd, &setting, 1) == 1 && setting == '0';
}

/* ---- names ---- */

void gate_path(const struct kernel *kernel, const char *name, char path[static PATH_LEN])
{
	snprintf(path, PATH_LEN, "%s/%s", kernel->pin_dir, name);
}

bool gate_is_pinned(const struct kernel *kernel, const char *name)
{
	char path[PATH_LEN];

	gate_path(kernel, name, path);
	return access(path, F_OK) == 0;
}

int gate_map(const struct kernel *kernel, const char *name)
{
	return bpf_map__fd(bpf_object__find_map_by_name(kernel->object, name));
}

int gate_program(const struct kernel *kernel, const char *name)
{
	return bpf_program__fd(bpf_object__find_program_by_name(kernel->object, name));
}

/* ---- loading ---- */

#define SHARED_WINDOWS ((SW_POLICIES + 1) * SW_ROADS)

/* The maps that are pinned have their size; another one is for those made anew. */
static void set_sizes(struct smtpwall *programs, const struct config *config)
{
	bpf_map__set_max_entries(programs->maps.uid_ledger, config->max_users);
	bpf_map__set_max_entries(programs->maps.windows, 4 * config->max_users + SHARED_WINDOWS);
	bpf_map__set_max_entries(programs->maps.unit_ledger, config->max_users / 4 + 1);
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

	bpf_object__for_each_map (map, kernel->object) {
		if (bpf_map__is_internal(map) || strchr(bpf_map__name(map), '.'))
			continue;
		snprintf(path, sizeof(path), "%s/%s", kernel_maps_dir(kernel), bpf_map__name(map));
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
	return bpf_object__find_map_by_name(kernel->object, tables[table].name);
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

int gate_load(struct kernel *kernel, const struct config *config)
{
	int r;

	libbpf_set_print(hear_libbpf);
	kernel->programs = smtpwall__open();
	if (!kernel->programs)
		return log_libbpf(-errno, "cannot open the programs");
	kernel->object = kernel->programs->obj;
	set_sizes(kernel->programs, config);
	r = kernel->is_other ? convert_begin(kernel->pin_dir, kernel->other_abi, kernel->object,
					     &kernel->conversion)
			     : 0;
	r = r < 0 ? r : set_pins(kernel);
	if (r < 0)
		return r;
	note_shapes(kernel);
	r = smtpwall__load(kernel->programs);
	if (r < 0)
		return log_libbpf(r, jit_is_off() ? "the kernel does not take the programs while its "
						    "JIT is off: sysctl net.core.bpf_jit_enable=1"
						  : "the kernel does not take the programs");
	for (size_t i = 0; i < TABLES; i++)
		kernel->shape[i].outer = bpf_map__fd(table_map(kernel, i));
	return 0;
}

void gate_unload(struct kernel *kernel)
{
	smtpwall__destroy(kernel->twins);
	smtpwall__destroy(kernel->programs);
}

static int share_maps(struct bpf_object *from, struct bpf_object *to)
{
	const struct bpf_map *shared;
	struct bpf_map *map;
	int r = 0;

	bpf_object__for_each_map (map, to) {
		shared = bpf_object__find_map_by_name(from, bpf_map__name(map));
		if (r >= 0 && shared && bpf_map__fd(shared) >= 0)
			r = bpf_map__reuse_fd(map, bpf_map__fd(shared));
	}
	return r;
}

static int load_twin(struct kernel *kernel, const char *name)
{
	struct bpf_program *program;
	int r = share_maps(kernel->object, kernel->twins->obj);

	if (r < 0)
		return r;
	bpf_object__for_each_program (program, kernel->twins->obj)
		bpf_program__set_autoload(program, strcmp(bpf_program__name(program), name) == 0);
	return smtpwall__load(kernel->twins);
}

int gate_twin(struct kernel *kernel, const char *name, int *ret_fd)
{
	int r = 0;

	if (!kernel->twins) {
		kernel->twins = smtpwall__open();
		r = kernel->twins ? load_twin(kernel, name) : -errno;
	}
	if (r < 0) {
		smtpwall__destroy(kernel->twins);
		kernel->twins = NULL;
		return log_libbpf(r, "the kernel does not take a program once more");
	}
	*ret_fd = bpf_program__fd(bpf_object__find_program_by_name(kernel->twins->obj, name));
	return 0;
}

int gate_make_table(struct kernel *kernel, enum table table)
{
	const struct btf *btf = bpf_object__btf(kernel->object);
	const struct shape *shape = &kernel->shape[table];
	int key = btf__find_by_name(btf, tables[table].key);
	int value = btf__find_by_name(btf, tables[table].value);
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = shape->flags);
	int fd;

	if (key > 0 && value > 0) {
		options.btf_fd = bpf_object__btf_fd(kernel->object);
		options.btf_key_type_id = key;
		options.btf_value_type_id = value;
	}
	fd = bpf_map_create(shape->type, tables[table].name, shape->key_size, shape->value_size,
			    shape->max_entries, &options);
	return fd < 0 ? -errno : fd;
}
