// SPDX-License-Identifier: GPL-2.0-or-later
#include "hook.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/pkt_sched.h>
#include <netlink/cache.h>
#include <netlink/netlink.h>
#include <netlink/route/classifier.h>
#include <netlink/socket.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <smtpwall/names.h>

#include "cleanup.h"

/* Linux 6.6; newer than the headers of the oldest distribution that we build on. */
#define TCX_EGRESS 47
#define TCX_BEFORE (1u << 3) /* BPF_F_BEFORE; relative to nothing: at the head */

const struct cgroup_hook cgroup_hooks[CGROUP_HOOKS] = {
	[HOOK_CONNECT4] = { "connect4", BPF_CGROUP_INET4_CONNECT, SW_PIN_CONNECT4 },
	[HOOK_CONNECT6] = { "connect6", BPF_CGROUP_INET6_CONNECT, SW_PIN_CONNECT6 },
	[HOOK_SOCKET_OUT] = { "socket_out", BPF_CGROUP_INET_EGRESS, SW_PIN_SOCKET_OUT },
	[HOOK_SOCKET_IN] = { "socket_in", BPF_CGROUP_INET_INGRESS, SW_PIN_SOCKET_IN },
	[HOOK_PEERNAME4] = { "peername4", BPF_CGROUP_INET4_GETPEERNAME, SW_PIN_PEERNAME4 },
	[HOOK_PEERNAME6] = { "peername6", BPF_CGROUP_INET6_GETPEERNAME, SW_PIN_PEERNAME6 },
};

/* What of struct bpf_link_info we need: the target of a TCX link begins as that of XDP does. */
static int link_target(int link, uint64_t *ret)
{
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);

	if (bpf_obj_get_info_by_fd(link, &info, &size) < 0)
		return -errno;
	*ret = info.type == BPF_LINK_TYPE_CGROUP ? info.cgroup.cgroup_id : info.xdp.ifindex;
	return 0;
}

bool link_lives(int link)
{
	uint64_t target = 0;

	return link_target(link, &target) == 0 && target != 0;
}

int pin_over(int fd, const char *pin)
{
	char next[4096];
	int r;

	snprintf(next, sizeof(next), "%s_next", pin);
	unlink(next);
	if (bpf_obj_pin(fd, next) < 0)
		return -errno;
	if (rename(next, pin) == 0)
		return 0;
	r = -errno;
	unlink(next);
	return r;
}

static int pin_link(int link, const char *pin)
{
	if (bpf_obj_pin(link, pin) == 0)
		return 0;
	return errno == EEXIST ? pin_over(link, pin) : -errno;
}

/* Takes the pinned link over if it leads to `target`. -ENOENT: there is none such. */
static int take_over(int program, uint64_t target, const char *pin, int *ret_link)
{
	_cleanup_close_ int link = bpf_obj_get(pin);
	uint64_t old = 0;
	int r;

	if (link < 0)
		return -ENOENT;
	r = link_target(link, &old);
	if (r < 0 || old != target)
		return -ENOENT;
	if (bpf_link_update(link, program, NULL) < 0)
		return -errno;
	*ret_link = take_fd(&link);
	return 0;
}

static int make(int program, int target_fd, enum bpf_attach_type type,
		const struct bpf_link_create_opts *options, const char *pin, int *ret_link)
{
	_cleanup_close_ int link = bpf_link_create(program, target_fd, type, options);
	int r;

	if (link < 0)
		return -errno;
	r = pin_link(link, pin);
	if (r < 0)
		return r;
	*ret_link = take_fd(&link);
	return 0;
}

int hook_cgroup(int program, int cgroup_fd, enum bpf_attach_type type, const char *pin,
		int *ret_link)
{
	struct stat st;
	int r;

	if (fstat(cgroup_fd, &st) < 0)
		return -errno;
	r = take_over(program, st.st_ino, pin, ret_link);
	if (r != -ENOENT)
		return r;
	return make(program, cgroup_fd, type, NULL, pin, ret_link);
}

int hook_program(const char *pin, int *ret_program)
{
	_cleanup_close_ int link = bpf_obj_get(pin);
	struct bpf_link_info info = {};
	__u32 size = sizeof(info);
	uint64_t target = 0;
	int program;

	if (link < 0 || link_target(link, &target) < 0 || !target)
		return -ENOENT;
	if (bpf_obj_get_info_by_fd(link, &info, &size) < 0)
		return -errno;
	program = bpf_prog_get_fd_by_id(info.prog_id);
	if (program < 0)
		return -errno;
	*ret_program = program;
	return 0;
}

static bool has_tcx(unsigned int ifindex)
{
	uint32_t n = 0;

	return bpf_prog_query(ifindex, (enum bpf_attach_type)TCX_EGRESS, 0, NULL, NULL, &n) !=
	       -EINVAL;
}

int hook_tcx_first(int program, unsigned int ifindex, const char *pin, int *ret_link)
{
	LIBBPF_OPTS(bpf_link_create_opts, first, .flags = TCX_BEFORE);
	int r = make(program, ifindex, (enum bpf_attach_type)TCX_EGRESS, &first, pin, ret_link);

	return r == -EINVAL && !has_tcx(ifindex) ? -EOPNOTSUPP : r;
}

int hook_tcx(int program, unsigned int ifindex, const char *pin, int *ret_link)
{
	int r = take_over(program, ifindex, pin, ret_link);

	return r == -ENOENT ? hook_tcx_first(program, ifindex, pin, ret_link) : r;
}

static uint32_t program_id(int program)
{
	struct bpf_prog_info info = {};
	__u32 size = sizeof(info);

	return bpf_obj_get_info_by_fd(program, &info, &size) < 0 ? 0 : info.id;
}

bool tcx_is_first(int program, unsigned int ifindex)
{
	uint32_t ids[64] = {}, n = ARRAY_SIZE(ids);

	if (bpf_prog_query(ifindex, (enum bpf_attach_type)TCX_EGRESS, 0, NULL, ids, &n) < 0)
		return false;
	return n > 0 && ids[0] == program_id(program);
}

#define EGRESS_OF(ifindex_)                                                                        \
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)(ifindex_), .attach_point = BPF_TC_EGRESS)
#define OUR_FILTER(...)                                                                            \
	LIBBPF_OPTS(bpf_tc_opts, filter, .handle = SW_TC_HANDLE, .priority = SW_TC_PRIORITY,       \
		    ##__VA_ARGS__)

int make_clsact(unsigned int ifindex)
{
	EGRESS_OF(ifindex);
	int r = bpf_tc_hook_create(&hook);

	return r == -EEXIST ? 0 : r < 0 ? r : 1;
}

int hook_clsact(int program, unsigned int ifindex)
{
	EGRESS_OF(ifindex);
	OUR_FILTER(.prog_fd = program, .flags = BPF_TC_F_REPLACE);

	return bpf_tc_attach(&hook, &filter);
}

bool clsact_is_attached(unsigned int ifindex)
{
	EGRESS_OF(ifindex);
	OUR_FILTER();

	return bpf_tc_query(&hook, &filter) == 0;
}

int unhook_clsact(unsigned int ifindex)
{
	EGRESS_OF(ifindex);
	OUR_FILTER();

	return bpf_tc_detach(&hook, &filter);
}

static void nl_cachep(struct nl_cache **cache)
{
	nl_cache_free(*cache);
}

/* Filters on one side of the qdisc; NULL if that cannot be told. */
static struct nl_cache *list_filters(unsigned int ifindex, uint32_t side)
{
	struct nl_cache *filters = NULL;
	struct nl_sock *sock = nl_socket_alloc();

	if (!sock || nl_connect(sock, NETLINK_ROUTE) < 0 ||
	    rtnl_cls_alloc_cache(sock, (int)ifindex, TC_H_MAKE(TC_H_CLSACT, side), &filters) < 0)
		filters = NULL;
	nl_socket_free(sock);
	return filters;
}

/* -1 if that cannot be told. */
static int count_filters(unsigned int ifindex, uint32_t side)
{
	_cleanup_(nl_cachep) struct nl_cache *filters = list_filters(ifindex, side);

	return filters ? nl_cache_nitems(filters) : -1;
}

bool clsact_is_first(unsigned int ifindex)
{
	_cleanup_(nl_cachep) struct nl_cache *filters = list_filters(ifindex, TC_H_MIN_EGRESS);
	struct nl_object *filter = filters ? nl_cache_get_first(filters) : NULL;

	for (; filter; filter = nl_cache_get_next(filter))
		if (rtnl_cls_get_prio((struct rtnl_cls *)filter) < SW_TC_PRIORITY)
			return false;
	return true;
}

int remove_clsact(unsigned int ifindex)
{
	if (count_filters(ifindex, TC_H_MIN_INGRESS) || count_filters(ifindex, TC_H_MIN_EGRESS))
		return -EBUSY;

	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = (int)ifindex,
		    .attach_point = BPF_TC_EGRESS | BPF_TC_INGRESS);

	return bpf_tc_hook_destroy(&hook);
}
