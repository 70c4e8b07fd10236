// SPDX-License-Identifier: GPL-2.0-or-later
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include <smtpwall/names.h>

#include "attach.h"
#include "cleanup.h"
#include "gate.h"
#include "log.h"

static void egress_pin(const struct kernel *kernel, unsigned int ifindex, const char *format,
		       char path[static PATH_LEN])
{
	char name[64];

	snprintf(name, sizeof(name), format, ifindex);
	gate_path(kernel, name, path);
}

static void wire_pin(const struct wire *wire, char *name, size_t size)
{
	snprintf(name, size, wire->clsact ? SW_PIN_CLSACT : SW_PIN_EGRESS, wire->ifindex);
}

static int egress_program(struct kernel *kernel, bool twin, int *ret_fd)
{
	if (twin)
		return gate_twin(kernel, "egress", ret_fd);
	*ret_fd = gate_program(kernel, "egress");
	return 0;
}

/* `detach` has to find the filters again, and whether the qdisc was ours: pins mark both. */
static int mark_clsact(struct kernel *kernel, const struct wire *wire)
{
	int fd = gate_program(kernel, "egress"), r;
	char path[PATH_LEN];

	egress_pin(kernel, wire->ifindex, SW_PIN_CLSACT_OURS, path);
	r = wire->qdisc_ours ? pin_over(fd, path) : 0;
	egress_pin(kernel, wire->ifindex, SW_PIN_CLSACT, path);
	return r < 0 ? r : pin_over(fd, path);
}

/* Marked before it is attached: who is killed in between leaves no filter that nobody finds. */
static int attach_clsact(struct kernel *kernel, struct wire *wire)
{
	int made = make_clsact(wire->ifindex), r;
	char path[PATH_LEN];

	if (made < 0)
		return made;
	egress_pin(kernel, wire->ifindex, SW_PIN_CLSACT_OURS, path);
	wire->clsact = true;
	wire->qdisc_ours = made || access(path, F_OK) == 0;
	r = mark_clsact(kernel, wire);
	return r < 0 ? r : hook_clsact(gate_program(kernel, "egress"), wire->ifindex);
}

static int attach_tcx(struct kernel *kernel, struct wire *wire)
{
	char path[PATH_LEN];
	int link, r;

	egress_pin(kernel, wire->ifindex, SW_PIN_EGRESS, path);
	r = hook_tcx(gate_program(kernel, "egress"), wire->ifindex, path, &link);
	if (r < 0)
		return r;
	closep(&wire->link);
	wire->link = link;
	wire->twin = false;
	return 0;
}

static int attach_wire(struct kernel *kernel, struct wire *wire)
{
	int r = -EOPNOTSUPP;

	if (kernel->outside_hook != OUTSIDE_CLSACT && !wire->clsact)
		r = attach_tcx(kernel, wire);
	if (r == -EOPNOTSUPP && kernel->outside_hook != OUTSIDE_TCX)
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

/* ---- another version's ---- */

static void forget_replaced(struct replaced *one)
{
	closep(&one->link);
	closep(&one->program);
}

static int note_replaced(struct replaced **list, size_t *n, const struct replaced *one)
{
	struct replaced *grown = reallocarray(*list, *n + 1, sizeof(*one));

	if (!grown)
		return -ENOMEM;
	*list = grown;
	grown[(*n)++] = *one;
	return 0;
}

/* One whose interface is gone is left to kernel_forget_interfaces(). */
static int replace_link(struct kernel *kernel, const char *path, struct replaced *one)
{
	int r = hook_program(path, &one->program);

	if (r == -ENOENT)
		return 0;
	one->link = r < 0 ? -1 : bpf_obj_get(path);
	if (r >= 0 && one->link < 0)
		r = -errno;
	if (r >= 0 && bpf_link_update(one->link, gate_program(kernel, "egress"), NULL) < 0)
		r = -errno;
	return r < 0 ? r : 1;
}

static int put_filter(unsigned int ifindex, int program, const char *path)
{
	int r = make_clsact(ifindex);

	r = r < 0 ? r : hook_clsact(program, ifindex);
	return r < 0 ? r : pin_over(program, path);
}

/* Its pin is the program itself. */
static int replace_filter(struct kernel *kernel, const char *path, struct replaced *one)
{
	int r;

	if (!clsact_is_attached(one->ifindex))
		return 0;
	one->program = bpf_obj_get(path);
	if (one->program < 0)
		return -errno;
	r = put_filter(one->ifindex, gate_program(kernel, "egress"), path);
	return r < 0 ? r : 1;
}

static int replace_at(struct kernel *kernel, unsigned int ifindex, struct replaced **list,
		      size_t *n)
{
	struct replaced one = { .ifindex = ifindex, .link = -1, .program = -1 };
	char path[PATH_LEN];
	int r;

	egress_pin(kernel, ifindex, SW_PIN_EGRESS, path);
	if (access(path, F_OK) == 0) {
		r = replace_link(kernel, path, &one);
	} else {
		egress_pin(kernel, ifindex, SW_PIN_CLSACT, path);
		r = access(path, F_OK) == 0 ? replace_filter(kernel, path, &one) : 0;
	}
	if (r > 0)
		r = note_replaced(list, n, &one);
	else
		forget_replaced(&one);
	return r < 0 ? log_errno(r, "cannot attach to the egress of interface %u", ifindex) : 0;
}

int wires_replace(struct kernel *kernel, struct replaced **ret, size_t *ret_n)
{
	struct if_nameindex *all = if_nameindex();
	int r = all ? 0 : log_errno(-errno, "cannot list the interfaces");

	for (struct if_nameindex *i = all; r >= 0 && i && i->if_index; i++)
		r = replace_at(kernel, i->if_index, ret, ret_n);
	if_freenameindex(all);
	return r;
}

void wires_give_back(struct kernel *kernel, const struct replaced *replaced, size_t n)
{
	char path[PATH_LEN];

	for (size_t i = 0; i < n; i++) {
		egress_pin(kernel, replaced[i].ifindex, SW_PIN_CLSACT, path);
		if (replaced[i].link >= 0)
			bpf_link_update(replaced[i].link, replaced[i].program, NULL);
		else
			put_filter(replaced[i].ifindex, replaced[i].program, path);
	}
}

void wires_forget(struct replaced *replaced, size_t n)
{
	for (size_t i = 0; i < n; i++)
		forget_replaced(&replaced[i]);
	free(replaced);
}

/* ---- */

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

static bool is_needed(const char *name, const void *userdata)
{
	return !is_interface_pin(name) || is_pin_of_a_wire(name, userdata);
}

void kernel_forget_interfaces(struct kernel *kernel)
{
	detach_others(kernel->pin_dir, is_needed, kernel);
}

/* ---- verifying ---- */

bool wire_is_pinned(const struct kernel *kernel, const struct wire *wire)
{
	char name[64];

	wire_pin(wire, name, sizeof(name));
	return (!wire->clsact && wire->link < 0) || gate_is_pinned(kernel, name);
}

int wire_pin_again(struct kernel *kernel, const struct wire *wire)
{
	char name[64];

	wire_pin(wire, name, sizeof(name));
	if (wire->clsact)
		return mark_clsact(kernel, wire);
	return wire->link < 0 ? 0 : pin_again(kernel, wire->link, name);
}

/* What was done is told when it is done: whoever reads it may rely on it. */
static int tell_again(struct wire *wire, int r, const char *found, const char *done)
{
	wire->failed_ns = r < 0 ? boot_ns() : 0;
	if (r < 0)
		return log_errno(r, "cannot attach to the egress of '%s' again", wire->name);
	log_warning("%s the egress of '%s': %s", found, wire->name, done);
	return 1;
}

#define PUT_FIRST_EVERY_NS 10000000000ULL /* two that both want to be first must not fight */

/* The other instance goes first, then the one behind goes: packets that meet both count once. */
static int go_first(struct kernel *kernel, struct wire *wire)
{
	char path[PATH_LEN];
	int program, link, r;

	r = egress_program(kernel, !wire->twin, &program);
	if (r < 0)
		return r;
	egress_pin(kernel, wire->ifindex, SW_PIN_EGRESS, path);
	r = hook_tcx_first(program, wire->ifindex, path, &link);
	if (r < 0)
		return r;
	closep(&wire->link);
	wire->link = link;
	wire->twin = !wire->twin;
	return 0;
}

/* Another program before ours may let packets pass it. */
static int verify_first(struct kernel *kernel, struct wire *wire)
{
	uint64_t now_ns = boot_ns();
	int program, r;

	r = egress_program(kernel, wire->twin, &program);
	if (r < 0 || tcx_is_first(program, wire->ifindex) ||
	    (wire->put_first_ns && now_ns - wire->put_first_ns < PUT_FIRST_EVERY_NS))
		return 0;
	wire->put_first_ns = now_ns;
	return tell_again(wire, go_first(kernel, wire), "another program was put before ours on",
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

int wire_verify(struct kernel *kernel, struct wire *wire)
{
	char name[IF_NAMESIZE];

	if (!if_indextoname(wire->ifindex, name) || failed_lately(wire->failed_ns))
		return 0; /* gone: news of it is on its way */
	if (wire->clsact ? clsact_is_attached(wire->ifindex) : link_lives(wire->link))
		return verify_attached(kernel, wire);
	return tell_again(wire, attach_wire(kernel, wire), "our program was taken off",
			  "it is put back");
}
