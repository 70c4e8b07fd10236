// SPDX-License-Identifier: GPL-2.0-or-later
#include "ifaces.h"

#include <errno.h>
#include <fnmatch.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "log.h"

#define PAUSE_USEC 5000 /* between two looks, at least */
#define PAUSE_FACTOR 3	/* and three times what the last one took: big route tables */
#define LOOK_USEC (60 * 1000000ULL)

/* One look at the machine. */
struct view {
	struct iface *outside;
	size_t n_outside;
	unsigned int *link; /* every interface */
	size_t n_links;
	struct sw_ip *address; /* sorted */
	size_t n_addresses;
};

struct ifaces {
	const struct words *outside;
	struct ifaces_calls calls;
	struct nl_sock *news;
	struct view view;
	struct iface *attached;
	size_t n_attached;
	sd_event_source *on_news, *look;
	uint64_t looked_usec, took_usec; /* end and length of the last look */
};

static void nl_sockp(struct nl_sock **sock)
{
	nl_socket_free(*sock);
}

static void nl_cachep(struct nl_cache **cache)
{
	nl_cache_free(*cache);
}

static int nl_tell(int error, const char *what)
{
	log_error("cannot %s: %s", what, nl_geterror(error));
	return error == -NLE_NOMEM ? -ENOMEM : -EIO;
}

/* Room for one more. */
static void *grown(void *array, size_t n, size_t size)
{
	if (n % 16)
		return array;
	return reallocarray(array, n + 16, size);
}

static void view_clear(struct view *view)
{
	free(view->outside);
	free(view->link);
	free(view->address);
	*view = (struct view){};
}

/* ---- routes ---- */

struct routes {
	unsigned int *ifindex; /* by which a default route or one with a gateway leaves */
	size_t n;
	bool leads_out; /* of the route in hand: it is a default route */
	int error;
};

static void note_hop(struct rtnl_nexthop *hop, void *userdata)
{
	struct routes *routes = userdata;
	unsigned int ifindex = rtnl_route_nh_get_ifindex(hop);
	void *grew;

	if (!ifindex ||
	    (!routes->leads_out && !rtnl_route_nh_get_gateway(hop) && !rtnl_route_nh_get_via(hop)))
		return;
	for (size_t i = 0; i < routes->n; i++)
		if (routes->ifindex[i] == ifindex)
			return;
	grew = grown(routes->ifindex, routes->n, sizeof(*routes->ifindex));
	if (!grew) {
		routes->error = -ENOMEM;
		return;
	}
	routes->ifindex = grew;
	routes->ifindex[routes->n++] = ifindex;
}

/*
 * A default route, or one of the halves that tunnels lay over it (0.0.0.0/1 and 128.0.0.0/1).
 * Every table counts: marks and rules may send mail by any of them.
 */
static int note_route(struct nl_msg *msg, void *userdata)
{
	struct nlmsghdr *header = nlmsg_hdr(msg);
	struct rtmsg *rtm = nlmsg_data(header);
	struct routes *routes = userdata;
	struct rtnl_route *route;

	if (header->nlmsg_type != RTM_NEWROUTE || nlmsg_datalen(header) < (int)sizeof(*rtm) ||
	    (rtm->rtm_family != AF_INET && rtm->rtm_family != AF_INET6) ||
	    rtm->rtm_type != RTN_UNICAST || rtm->rtm_flags & RTM_F_CLONED)
		return NL_OK;
	if (rtnl_route_parse(header, &route) < 0)
		return NL_SKIP;
	routes->leads_out = rtm->rtm_dst_len <= 1;
	rtnl_route_foreach_nexthop(route, note_hop, routes);
	rtnl_route_put(route);
	return NL_OK;
}

/* Not kept in a cache: a router has a million of them. */
static int read_routes(struct nl_sock *sock, struct routes *routes)
{
	int r;

	nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, note_route, routes);
	r = nl_rtgen_request(sock, RTM_GETROUTE, AF_UNSPEC, NLM_F_DUMP);
	if (r >= 0)
		r = nl_recvmsgs_default(sock);
	/* Changed while it was read: that change is announced, and we look again. */
	if (r < 0 && r != -NLE_DUMP_INTR)
		return nl_tell(r, "list the routes");
	return routes->error;
}

/* ---- links and addresses ---- */

bool ifaces_named(const struct words *outside, const char *name)
{
	for (size_t i = 0; i < outside->n; i++)
		if (strcmp(outside->word[i], "auto") && !fnmatch(outside->word[i], name, 0))
			return true;
	return false;
}

static bool wants_auto(const struct words *outside)
{
	for (size_t i = 0; i < outside->n; i++)
		if (!strcmp(outside->word[i], "auto"))
			return true;
	return false;
}

static bool is_outside(struct rtnl_link *link, const struct words *outside,
		       const struct routes *routes)
{
	const char *name = rtnl_link_get_name(link);
	unsigned int ifindex = rtnl_link_get_ifindex(link);

	if (name && ifaces_named(outside, name))
		return true;
	if (rtnl_link_get_flags(link) & IFF_LOOPBACK)
		return false;
	for (size_t i = 0; i < routes->n; i++)
		if (routes->ifindex[i] == ifindex)
			return true;
	return false;
}

static int note_links(struct nl_cache *links, const struct words *outside,
		      const struct routes *routes, struct view *view)
{
	size_t room = nl_cache_nitems(links) + 1;
	struct nl_object *object;

	view->link = calloc(room, sizeof(*view->link));
	view->outside = calloc(room, sizeof(*view->outside));
	if (!view->link || !view->outside)
		return -ENOMEM;
	for (object = nl_cache_get_first(links); object; object = nl_cache_get_next(object)) {
		struct rtnl_link *link = (struct rtnl_link *)object;
		const char *name = rtnl_link_get_name(link);
		struct iface *iface;

		view->link[view->n_links++] = rtnl_link_get_ifindex(link);
		if (!is_outside(link, outside, routes))
			continue;
		iface = &view->outside[view->n_outside++];
		iface->index = rtnl_link_get_ifindex(link);
		snprintf(iface->name, sizeof(iface->name), "%s", name ? name : "?");
	}
	return 0;
}

static int by_address(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sw_ip));
}

static bool to_mapped(struct nl_addr *address, struct sw_ip *ret)
{
	const void *bytes = nl_addr_get_binary_addr(address);
	size_t len = nl_addr_get_len(address);

	*ret = (struct sw_ip){};
	if (nl_addr_get_family(address) == AF_INET && len == 4) {
		ret->addr[10] = ret->addr[11] = 0xff;
		memcpy(ret->addr + 12, bytes, 4);
		return true;
	}
	if (nl_addr_get_family(address) == AF_INET6 && len == 16) {
		memcpy(ret->addr, bytes, 16);
		return true;
	}
	return false;
}

static int note_addresses(struct nl_cache *addresses, struct view *view)
{
	struct nl_object *object;

	view->address = calloc(nl_cache_nitems(addresses) + 1, sizeof(*view->address));
	if (!view->address)
		return -ENOMEM;
	for (object = nl_cache_get_first(addresses); object; object = nl_cache_get_next(object)) {
		struct nl_addr *local = rtnl_addr_get_local((struct rtnl_addr *)object);

		if (local && to_mapped(local, &view->address[view->n_addresses]))
			view->n_addresses++;
	}
	qsort(view->address, view->n_addresses, sizeof(*view->address), by_address);
	return 0;
}

static int read_links(struct nl_sock *sock, const struct words *outside,
		      const struct routes *routes, struct view *view)
{
	_cleanup_(nl_cachep) struct nl_cache *links = NULL;
	_cleanup_(nl_cachep) struct nl_cache *addresses = NULL;
	int r;

	r = rtnl_link_alloc_cache(sock, AF_UNSPEC, &links);
	if (r < 0)
		return nl_tell(r, "list the interfaces");
	r = rtnl_addr_alloc_cache(sock, &addresses);
	if (r < 0)
		return nl_tell(r, "list the addresses");
	r = note_links(links, outside, routes, view);
	return r < 0 ? r : note_addresses(addresses, view);
}

static int view_take(const struct words *outside, struct view *ret)
{
	_cleanup_(nl_sockp) struct nl_sock *sock = nl_socket_alloc();
	/* Its own: the callback that reads routes stays on it. */
	_cleanup_(nl_sockp) struct nl_sock *dump = nl_socket_alloc();
	struct routes routes = {};
	struct view view = {};
	int r;

	if (!sock || !dump)
		return -ENOMEM;
	r = nl_connect(sock, NETLINK_ROUTE);
	r = r < 0 ? r : nl_connect(dump, NETLINK_ROUTE);
	if (r < 0)
		return nl_tell(r, "open a netlink socket");
	r = wants_auto(outside) ? read_routes(dump, &routes) : 0;
	r = r < 0 ? r : read_links(sock, outside, &routes, &view);
	free(routes.ifindex);
	if (r < 0) {
		view_clear(&view);
		return r;
	}

	*ret = view;
	return 0;
}

int ifaces_outside(const struct config *config, unsigned int **ret_ifindex, size_t *ret_n)
{
	unsigned int *ifindex;
	struct view view;
	int r = view_take(&config->interfaces, &view);

	if (r < 0)
		return r;
	ifindex = calloc(view.n_outside + 1, sizeof(*ifindex));
	for (size_t i = 0; ifindex && i < view.n_outside; i++)
		ifindex[i] = view.outside[i].index;
	if (ifindex) {
		*ret_ifindex = ifindex;
		*ret_n = view.n_outside;
	}
	view_clear(&view);
	return ifindex ? 0 : -ENOMEM;
}

/* ---- what changed ---- */

static bool among(const struct iface *list, size_t n, unsigned int index)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].index == index)
			return true;
	return false;
}

static bool exists(const struct view *view, unsigned int index)
{
	for (size_t i = 0; i < view->n_links; i++)
		if (view->link[i] == index)
			return true;
	return false;
}

static void leave(struct ifaces *ifaces)
{
	size_t n = 0;

	for (size_t i = 0; i < ifaces->n_attached; i++) {
		struct iface iface = ifaces->attached[i];

		if (among(ifaces->view.outside, ifaces->view.n_outside, iface.index))
			ifaces->attached[n++] = iface;
		else
			ifaces->calls.disappeared(&iface, !exists(&ifaces->view, iface.index),
						  ifaces->calls.userdata);
	}
	ifaces->n_attached = n;
}

static void enter(struct ifaces *ifaces)
{
	for (size_t i = 0; i < ifaces->view.n_outside; i++) {
		const struct iface *iface = &ifaces->view.outside[i];
		void *grew;

		if (among(ifaces->attached, ifaces->n_attached, iface->index))
			continue;
		grew = grown(ifaces->attached, ifaces->n_attached, sizeof(*ifaces->attached));
		if (!grew)
			return; /* the next look tries again */
		ifaces->attached = grew;
		if (ifaces->calls.appeared(iface, ifaces->calls.userdata) >= 0)
			ifaces->attached[ifaces->n_attached++] = *iface;
	}
}

static bool same_addresses(const struct view *a, const struct view *b)
{
	return a->n_addresses == b->n_addresses &&
	       !memcmp(a->address, b->address, a->n_addresses * sizeof(*a->address));
}

static uint64_t now_usec(sd_event *loop)
{
	uint64_t usec = 0;

	sd_event_now(loop, CLOCK_MONOTONIC, &usec);
	return usec;
}

static uint64_t clock_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ULL + now.tv_nsec / 1000;
}

static void look(struct ifaces *ifaces)
{
	uint64_t began_usec = clock_usec();
	bool changed;
	struct view view;

	if (view_take(ifaces->outside, &view) >= 0) {
		changed = !same_addresses(&view, &ifaces->view);
		view_clear(&ifaces->view);
		ifaces->view = view;
		if (changed)
			ifaces->calls.addresses(view.address, view.n_addresses,
						ifaces->calls.userdata);
		leave(ifaces);
		enter(ifaces);
	}
	ifaces->looked_usec = clock_usec();
	ifaces->took_usec = ifaces->looked_usec - began_usec;
}

/* ---- news ---- */

static int on_look(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct ifaces *ifaces = userdata;

	(void)usec;
	look(ifaces);
	sd_event_source_set_time_relative(source, LOOK_USEC);
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	return 0;
}

/* At once, or when the pause after the last look is over. */
static void look_soon(struct ifaces *ifaces)
{
	uint64_t pause_usec = ifaces->took_usec * PAUSE_FACTOR;
	uint64_t due_usec, at_usec;

	if (pause_usec < PAUSE_USEC)
		pause_usec = PAUSE_USEC;
	at_usec = ifaces->looked_usec + pause_usec;
	if (sd_event_source_get_time(ifaces->look, &due_usec) >= 0 && due_usec <= at_usec)
		return;
	sd_event_source_set_time(ifaces->look, at_usec);
	sd_event_source_set_enabled(ifaces->look, SD_EVENT_ONESHOT);
}

/* What the news say does not matter, nor that some were lost (ENOBUFS). */
static int on_news(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	char buffer[16384];

	(void)source, (void)revents;
	for (int i = 0; i < 1000; i++)
		if (recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT | MSG_TRUNC) < 0 &&
		    errno != ENOBUFS && errno != EINTR)
			break;
	look_soon(userdata);
	return 0;
}

static int subscribe(struct ifaces *ifaces)
{
	int r;

	ifaces->news = nl_socket_alloc();
	if (!ifaces->news)
		return -ENOMEM;
	nl_socket_disable_seq_check(ifaces->news);
	r = nl_connect(ifaces->news, NETLINK_ROUTE);
	r = r < 0 ? r : nl_socket_set_nonblocking(ifaces->news);
	r = r < 0 ? r
		  : nl_socket_add_memberships(ifaces->news, RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR,
					      RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
					      RTNLGRP_IPV6_ROUTE, 0);
	return r < 0 ? nl_tell(r, "watch interfaces and routes") : 0;
}

int ifaces_new(const struct words *outside, const struct ifaces_calls *calls, struct ifaces **ret)
{
	struct ifaces *ifaces = calloc(1, sizeof(*ifaces));
	int r;

	if (!ifaces)
		return -ENOMEM;
	ifaces->outside = outside;
	ifaces->calls = *calls;
	r = subscribe(ifaces); /* before the look, so that no change falls between */
	r = r < 0 ? r : view_take(outside, &ifaces->view);
	if (r < 0) {
		ifaces_free(ifaces);
		return r;
	}

	*ret = ifaces;
	return 0;
}

int ifaces_watch(struct ifaces *ifaces, sd_event *loop)
{
	int r;

	enter(ifaces);
	ifaces->looked_usec = now_usec(loop);
	r = sd_event_add_time_relative(loop, &ifaces->look, CLOCK_MONOTONIC, LOOK_USEC, 1000,
				       on_look, ifaces);
	if (r >= 0)
		r = sd_event_add_io(loop, &ifaces->on_news, nl_socket_get_fd(ifaces->news), EPOLLIN,
				    on_news, ifaces);
	return r < 0 ? log_errno(r, "cannot watch interfaces and routes") : 0;
}

void ifaces_follow(struct ifaces *ifaces, const struct words *outside)
{
	ifaces->outside = outside;
	look(ifaces);
}

void ifaces_free(struct ifaces *ifaces)
{
	if (!ifaces)
		return;
	sd_event_source_disable_unref(ifaces->look);
	sd_event_source_disable_unref(ifaces->on_news);
	nl_socket_free(ifaces->news);
	view_clear(&ifaces->view);
	free(ifaces->attached);
	free(ifaces);
}

const struct sw_ip *ifaces_addresses(const struct ifaces *ifaces, size_t *ret_n)
{
	*ret_n = ifaces->view.n_addresses;
	return ifaces->view.address;
}

const struct iface *ifaces_attached(const struct ifaces *ifaces, size_t *ret_n)
{
	*ret_n = ifaces->n_attached;
	return ifaces->attached;
}
