// SPDX-License-Identifier: GPL-2.0-or-later
#include "sink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "log.h"

#define NEAR_V4 "198.18.255.253/30"
#define FAR_V4 SINK_V4 "/30"
#define NEAR_V6 "2001:2:0:ffff::1/126"
#define FAR_V6 SINK_V6 "/126"
#define NEAR_NAME "smtpwall-test"
#define FAR_NAME "outside"

struct sink {
	pid_t listener; /* the far side lives as long as it does */
	int near;	/* our end's index; 0: none was made */
};

static void nl_socket_freep(struct nl_sock **sock)
{
	nl_socket_free(*sock);
}

static int nl_error(int r)
{
	return r < 0 ? -EIO : 0;
}

static int add_address(struct nl_sock *sock, int ifindex, const char *text)
{
	struct nl_addr *local = NULL;
	struct rtnl_addr *address = rtnl_addr_alloc();
	int r = address ? nl_addr_parse(text, AF_UNSPEC, &local) : -NLE_NOMEM;

	if (r >= 0) {
		rtnl_addr_set_ifindex(address, ifindex);
		r = rtnl_addr_set_local(address, local);
	}
	if (r >= 0) {
		rtnl_addr_set_flags(address, IFA_F_NODAD); /* at once, not after a second */
		r = rtnl_addr_add(sock, address, NLM_F_REPLACE);
	}
	nl_addr_put(local);
	rtnl_addr_put(address);
	return nl_error(r);
}

static int set_up(struct nl_sock *sock, int ifindex)
{
	struct rtnl_link *link = rtnl_link_alloc(), *up = rtnl_link_alloc();
	int r = link && up ? 0 : -NLE_NOMEM;

	if (r >= 0) {
		rtnl_link_set_ifindex(link, ifindex);
		rtnl_link_set_flags(up, IFF_UP);
		r = rtnl_link_change(sock, link, up, 0);
	}
	rtnl_link_put(link);
	rtnl_link_put(up);
	return nl_error(r);
}

static int dress(const char *name, const char *v4, const char *v6)
{
	_cleanup_(nl_socket_freep) struct nl_sock *sock = nl_socket_alloc();
	int ifindex = (int)if_nametoindex(name), r;

	if (!ifindex)
		return -ENODEV;
	r = sock ? nl_error(nl_connect(sock, NETLINK_ROUTE)) : -ENOMEM;
	r = r < 0 ? r : set_up(sock, ifindex);
	r = r < 0 ? r : add_address(sock, ifindex, v4);
	return r < 0 ? r : add_address(sock, ifindex, v6);
}

/* The far end is made in the namespace of `pid`. */
static int make_pair(pid_t pid)
{
	_cleanup_(nl_socket_freep) struct nl_sock *sock = nl_socket_alloc();
	int r = sock ? nl_connect(sock, NETLINK_ROUTE) : -NLE_NOMEM;

	return nl_error(r < 0 ? r : rtnl_link_veth_add(sock, NEAR_NAME, FAR_NAME, pid));
}

/* ---- the far side ---- */

static int listen_on(uint16_t port)
{
	const struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0 ||
	    listen(fd, 16) < 0)
		return -errno;
	return 0; /* for as long as the process lives; the kernel completes the handshakes */
}

/* Says "n" when its namespace is there, waits for the veth, says "l" when it listens. */
static void far_side(int in, int out, const uint16_t *ports, size_t n_ports)
{
	char c;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWNET) < 0 || write(out, "n", 1) != 1 || read(in, &c, 1) != 1 ||
	    dress(FAR_NAME, FAR_V4, FAR_V6) < 0)
		_exit(1);
	for (size_t i = 0; i < n_ports; i++)
		if (listen_on(ports[i]) < 0)
			_exit(1);
	if (write(out, "l", 1) != 1)
		_exit(1);
	pause();
	_exit(0);
}

static bool hears(int fd, char wanted)
{
	char c;

	return read(fd, &c, 1) == 1 && c == wanted;
}

static int connect_sides(struct sink *sink, int to_far, int from_far)
{
	int r;

	if (!hears(from_far, 'n'))
		return -EIO;
	r = make_pair(sink->listener);
	sink->near = r < 0 ? 0 : (int)if_nametoindex(NEAR_NAME);
	if (r < 0 || write(to_far, "g", 1) != 1)
		return r < 0 ? r : -EIO;
	r = dress(NEAR_NAME, NEAR_V4, NEAR_V6);
	if (r < 0)
		return r;
	return hears(from_far, 'l') ? 0 : -EIO;
}

int sink_open(const uint16_t *ports, size_t n_ports, struct sink **ret)
{
	struct sink *sink = calloc(1, sizeof(*sink));
	int there[2] = { -1, -1 }, back[2] = { -1, -1 }, r;

	if (!sink || pipe2(there, O_CLOEXEC) < 0 || pipe2(back, O_CLOEXEC) < 0) {
		free(sink);
		return log_errno(-ENOMEM, "cannot make an outside to test with");
	}
	sink->listener = fork();
	if (sink->listener == 0) {
		close(there[1]);
		close(back[0]);
		far_side(there[0], back[1], ports, n_ports);
	}
	close(there[0]);
	close(back[1]);
	r = sink->listener < 0 ? -errno : connect_sides(sink, there[1], back[0]);
	close(there[1]);
	close(back[0]);
	if (r < 0) {
		sink_close(sink);
		return log_errno(r, "cannot make an outside to test with");
	}
	*ret = sink;
	return 0;
}

/*
 * One end takes the other with it, at once. The kernel, which does so with a namespace whose last
 * process has gone, takes its time: the next outside would find the name taken.
 */
static void remove_pair(int ifindex)
{
	_cleanup_(nl_socket_freep) struct nl_sock *sock = nl_socket_alloc();
	struct rtnl_link *link = rtnl_link_alloc();

	if (sock && link && nl_connect(sock, NETLINK_ROUTE) >= 0) {
		rtnl_link_set_ifindex(link, ifindex);
		rtnl_link_delete(sock, link);
	}
	rtnl_link_put(link);
}

void sink_close(struct sink *sink)
{
	if (!sink)
		return;
	if (sink->near)
		remove_pair(sink->near);
	if (sink->listener > 0) {
		kill(sink->listener, SIGKILL);
		waitpid(sink->listener, NULL, 0);
	}
	free(sink);
}
