// SPDX-License-Identifier: GPL-2.0-or-later
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "gate.h"
#include "log.h"

/* Those of another version stay in its maps. -ENOENT: none were published yet. */
static int rules_in_force(struct kernel *kernel, struct sw_rules *ret)
{
	struct sw_control control;
	int r = maps_control(kernel->maps, &control);

	if (r >= 0 && !control.generation)
		return -ENOENT;
	if (r >= 0 && kernel->conversion)
		return convert_rules(kernel->conversion, ret);
	return r < 0 ? r : maps_rules(kernel->maps, ret);
}

int kernel_live_rules(struct kernel *kernel, struct sw_rules *ret)
{
	int r = rules_in_force(kernel, ret);

	return r < 0 && r != -ENOENT ? log_errno(r, "cannot read the rules in force") : r;
}

/* Makes a table with one value and puts it into a slot. */
static int put_table(struct kernel *kernel, enum table table, uint32_t slot, const void *value)
{
	_cleanup_close_ int fd = gate_make_table(kernel, table);
	uint32_t zero = 0;

	if (fd < 0)
		return fd;
	if (bpf_map_update_elem(fd, &zero, value, BPF_ANY) < 0 ||
	    bpf_map_update_elem(kernel->shape[table].outer, &slot, &fd, BPF_ANY) < 0)
		return -errno;
	return 0;
}

/* Makes a table of rows, each a key with its value behind it, and puts it into a slot. */
static int put_rows(struct kernel *kernel, enum table table, uint32_t slot, const void *rows,
		    size_t n, size_t size, size_t value)
{
	_cleanup_close_ int fd = gate_make_table(kernel, table);
	const char *row = rows;

	if (fd < 0)
		return fd;
	for (size_t i = 0; i < n; i++, row += size)
		if (bpf_map_update_elem(fd, row, row + value, BPF_ANY) < 0)
			return -errno;
	if (bpf_map_update_elem(kernel->shape[table].outer, &slot, &fd, BPF_ANY) < 0)
		return -errno;
	closep(&kernel->made[table]);
	kernel->made[table] = take_fd(&fd);
	return 0;
}

static int put_networks(struct kernel *kernel, uint32_t slot, const struct ruleset *ruleset)
{
	return put_rows(kernel, TABLE_NETWORKS, slot, ruleset->network, ruleset->n_networks,
			sizeof(*ruleset->network), offsetof(struct network_rule, flags));
}

static void sketch_add(struct sw_sketch *sketch, uint64_t id)
{
	uint32_t bit = sw_sketch_bit(id);

	sketch->bits[bit / 64] |= 1ULL << bit % 64;
}

static int put_sketch(struct kernel *kernel, uint32_t slot, const struct sw_sketch *sketch)
{
	return bpf_map_update_elem(gate_map(kernel, "sketches"), &slot, sketch, BPF_ANY) < 0
		       ? -errno
		       : 0;
}

static void sketch_scene(const struct scene *scene, struct sw_sketch *ret)
{
	*ret = (struct sw_sketch){};
	for (size_t i = 0; i < scene->n_units; i++)
		sketch_add(ret, scene->unit[i].cgroup.id);
	for (size_t i = 0; i < scene->n_places; i++)
		sketch_add(ret, scene->place[i].dir.inode);
}

static int put_scene(struct kernel *kernel, uint32_t slot, const struct scene *scene)
{
	int r;

	sketch_scene(scene, &kernel->made_sketch);
	r = put_sketch(kernel, slot, &kernel->made_sketch);
	r = r < 0 ? r
		  : put_rows(kernel, TABLE_UNITS, slot, scene->unit, scene->n_units,
			     sizeof(*scene->unit), offsetof(struct unit_row, match));
	return r < 0 ? r
		     : put_rows(kernel, TABLE_PLACES, slot, scene->place, scene->n_places,
				sizeof(*scene->place), offsetof(struct place_row, place));
}

static int put_generation(struct kernel *kernel, uint32_t generation, const struct ruleset *ruleset,
			  const struct scene *scene)
{
	uint32_t slot = generation % SW_GENERATIONS;
	int r;

	r = put_table(kernel, TABLE_RULES, slot, &ruleset->rules);
	r = r < 0 ? r : put_table(kernel, TABLE_USERS, slot, ruleset->users);
	r = r < 0 ? r : put_table(kernel, TABLE_SUBIDS, slot, ruleset->subids);
	r = r < 0 ? r : put_table(kernel, TABLE_GROUPS, slot, ruleset->groups);
	r = r < 0 ? r : put_networks(kernel, slot, ruleset);
	r = r < 0 ? r : put_scene(kernel, slot, scene);
	if (r >= 0 && bpf_map_update_elem(gate_map(kernel, "ports"), &slot,
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

/* A container is the unit that stands where others have their uid. */
static bool judges(const struct sw_policy *policy, const struct sw_subject *subject)
{
	return policy->subject == subject->kind ||
	       (policy->subject == SW_KIND_UID && subject->kind == SW_KIND_UNIT);
}

/*
 * A block of a policy that is gone goes with it, one whose limit was raised, and one of a subject
 * that it does not judge any more; that of a policy that only observes refuses nothing.
 */
static int adapt_block(struct kernel *kernel, const struct sw_rules *rules,
		       const struct sw_rules *old, struct block_row *row)
{
	const struct sw_policy *policy = policy_of(rules, row->block.policy);

	if (row->block.by != SW_BY_LIMIT)
		return 0;
	if (!policy || !(policy->roads >> row->road & 1) || !judges(policy, &row->subject) ||
	    limit_was_raised(policy, policy_of(old, row->block.policy), row->block.limit))
		return maps_block_remove(kernel->maps, &row->subject, row->road);
	if (policy->mode == SW_MODE_ENFORCE || (row->block.flags & SW_BLOCK_OBSERVED))
		return 0;
	row->block.flags |= SW_BLOCK_OBSERVED;
	return maps_block_set(kernel->maps, &row->subject, row->road, &row->block);
}

int adapt_blocks(struct kernel *kernel, const struct sw_rules *rules, const struct sw_rules *before)
{
	_cleanup_free_ struct block_row *row = NULL;
	size_t n = 0;
	int r = maps_blocks(kernel->maps, &row, &n);

	for (size_t i = 0; i < n && r >= 0; i++)
		r = adapt_block(kernel, rules, before, &row[i]);
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
	r = rules_in_force(kernel, old);
	if (r >= 0 || r == -ENOENT)
		r = maps_control(kernel->maps, &control);
	if (r >= 0) {
		control.generation = generation;
		control.ipv6_prefix = config->ipv6_prefix;
		r = maps_control_write(kernel->maps, &control);
	}
	r = r < 0 ? r : adapt_blocks(kernel, &ruleset->rules, old);
	maps_unlock(kernel->maps);
	return r;
}

static void keep_tables(struct kernel *kernel)
{
	for (size_t i = 0; i < TABLES; i++) {
		closep(&kernel->live[i]);
		kernel->live[i] = take_fd(&kernel->made[i]);
	}
}

int kernel_publish(struct kernel *kernel, const struct config *config,
		   const struct ruleset *ruleset, const struct scene *scene)
{
	struct sw_control control;
	uint32_t generation;
	int r = maps_control(kernel->maps, &control);

	if (r < 0)
		return log_errno(r, "cannot read the map 'control'");
	generation = control.generation + 1;
	if (!generation) /* 0 is: no rules yet */
		generation = SW_GENERATIONS;
	r = put_generation(kernel, generation, ruleset, scene);
	if (r < 0)
		return log_errno(r, "cannot write the rules, the old ones stay");
	r = switch_generation(kernel, config, ruleset, generation);
	if (r < 0)
		return log_errno(r, "cannot switch to the new rules");
	keep_tables(kernel);
	kernel->slot = generation % SW_GENERATIONS;
	kernel->live_sketch = kernel->made_sketch;
	return 0;
}

static int put_row(struct kernel *kernel, enum table table, uint64_t id, const void *key,
		   const void *value)
{
	struct sw_sketch sketch = kernel->live_sketch;
	int r;

	if (value && !sw_sketch_has(&sketch, id)) {
		sketch_add(&sketch, id);
		r = put_sketch(kernel, kernel->slot, &sketch);
		if (r < 0)
			return log_errno(r, "cannot change the map 'sketches'");
		kernel->live_sketch = sketch;
	}
	r = value ? bpf_map_update_elem(kernel->live[table], key, value, BPF_ANY)
		  : bpf_map_delete_elem(kernel->live[table], key);
	if (r == 0 || (!value && errno == ENOENT))
		return 0;
	return log_errno(-errno, "cannot change a row of the map '%s'", gate_table_name(table));
}

int kernel_put_unit(struct kernel *kernel, const struct sw_cgroup *cgroup,
		    const struct sw_unit_match *match)
{
	return put_row(kernel, TABLE_UNITS, cgroup->id, cgroup, match);
}

int kernel_put_place(struct kernel *kernel, const struct sw_dir *dir, const struct sw_place *place)
{
	return put_row(kernel, TABLE_PLACES, dir->inode, dir, place);
}
