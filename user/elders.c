// SPDX-License-Identifier: GPL-2.0-or-later
#include "elders.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <string.h>

#include "cleanup.h"
#include "log.h"
#include "maps.h"

#define PORT_DIRECT 25
#define NOBODY 65534 /* who owns what no process holds any more */
#define NO_GROUP ((__u32)-1)

#define BIT(n) (1u << (n))
#define SESSIONS                                                                                   \
	(BIT(TCP_ESTABLISHED) | BIT(TCP_SYN_SENT) | BIT(TCP_FIN_WAIT1) | BIT(TCP_FIN_WAIT2) |      \
	 BIT(TCP_CLOSE_WAIT))

struct search {
	struct kernel *kernel;
	const struct config *config;
	const struct ruleset *ruleset;
	const struct sw_ip *own;
	size_t n_own;
	bool listening[65536]; /* by local port */
	size_t tagged;
	int error;
};

/* ---- roads: pure ---- */

static int by_address(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

static bool within(const __u8 *address, const struct sw_network *network)
{
	unsigned int bytes = network->prefix_len / 8, bits = network->prefix_len % 8;
	__u8 mask = bits ? 0xff << (8 - bits) : 0;

	if (network->prefix_len > 128 || memcmp(address, network->addr, bytes))
		return false;
	return !bits || (address[bytes] & mask) == (network->addr[bytes] & mask);
}

static __u32 network_flags(const struct ruleset *ruleset, const __u8 *address)
{
	const struct network_rule *longest = NULL;

	for (size_t i = 0; i < ruleset->n_networks; i++) {
		const struct network_rule *rule = &ruleset->network[i];

		if (within(address, &rule->network) &&
		    (!longest || rule->network.prefix_len > longest->network.prefix_len))
			longest = rule;
	}
	return longest ? longest->flags : 0;
}

static bool is_loopback(const __u8 *address)
{
	static const __u8 v4[13] = { [10] = 0xff, [11] = 0xff, [12] = 127 };
	static const __u8 v6[16] = { [15] = 1 };

	return !memcmp(address, v4, sizeof(v4)) || !memcmp(address, v6, sizeof(v6));
}

enum sw_road elders_road(const struct ruleset *ruleset, const struct sw_ip *own, size_t n_own,
			 const __u8 address[static 16], __u16 port)
{
	if (is_loopback(address) || network_flags(ruleset, address) & SW_NET_RELAY ||
	    (n_own && bsearch(address, own, n_own, sizeof(*own), by_address)))
		return SW_ROAD_RELAY;
	return port == PORT_DIRECT ? SW_ROAD_DIRECT : SW_ROAD_SUBMISSION;
}

/* ---- the kernel's list ---- */

static bool is_smtp(const struct config *config, __u16 port)
{
	for (size_t i = 0; i < config->n_ports; i++)
		if (config->ports[i] == port)
			return true;
	return false;
}

static const struct inet_diag_msg *diag_of(struct nl_msg *msg)
{
	struct nlmsghdr *header = nlmsg_hdr(msg);

	return nlmsg_datalen(header) < (int)sizeof(struct inet_diag_msg) ? NULL
									 : nlmsg_data(header);
}

static void remote_of(const struct inet_diag_msg *diag, __u8 address[static 16])
{
	if (diag->idiag_family == AF_INET6) {
		memcpy(address, diag->id.idiag_dst, 16);
		return;
	}
	memset(address, 0, 10);
	address[10] = address[11] = 0xff;
	memcpy(address + 12, diag->id.idiag_dst, 4);
}

static int note_listener(struct nl_msg *msg, void *userdata)
{
	const struct inet_diag_msg *diag = diag_of(msg);
	struct search *search = userdata;

	if (diag)
		search->listening[ntohs(diag->id.idiag_sport)] = true;
	return NL_OK;
}

/* Who comes from port 25 to a service of ours is no SMTP client of ours. */
static int note_session(struct nl_msg *msg, void *userdata)
{
	const struct inet_diag_msg *diag = diag_of(msg);
	struct search *search = userdata;
	struct sw_tag tag = { .version = 1, .state = SW_TAG_ADMITTED, .flags = SW_TAG_ELDER };
	uint64_t cookie;
	__u8 remote[16];
	__u16 port;

	if (!diag || search->error)
		return NL_OK;
	port = ntohs(diag->id.idiag_dport);
	if (!is_smtp(search->config, port) || search->listening[ntohs(diag->id.idiag_sport)])
		return NL_OK;
	remote_of(diag, remote);
	cookie = diag->id.idiag_cookie[0] | (uint64_t)diag->id.idiag_cookie[1] << 32;
	/* Closed by its process, still sending what is left: the kernel says uid 0, inode 0. */
	tag.uid = diag->idiag_inode ? diag->idiag_uid : NOBODY;
	tag.gid = NO_GROUP;
	tag.road = elders_road(search->ruleset, search->own, search->n_own, remote, port);
	tag.admitted_ns = boot_ns();
	search->error = kernel_elder(search->kernel, cookie, &tag);
	if (search->error >= 0)
		search->tagged++;
	return NL_OK;
}

static int dump(struct search *search, int family, unsigned int states, nl_recvmsg_msg_cb_t each)
{
	struct inet_diag_req_v2 request = {
		.sdiag_family = family,
		.sdiag_protocol = IPPROTO_TCP,
		.idiag_states = states,
	};
	struct nl_sock *sock = nl_socket_alloc();
	int r;

	if (!sock)
		return -ENOMEM;
	nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, each, search);
	r = nl_connect(sock, NETLINK_SOCK_DIAG);
	if (r >= 0)
		r = nl_send_simple(sock, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &request,
				   sizeof(request));
	if (r >= 0)
		r = nl_recvmsgs_default(sock);
	nl_socket_free(sock);
	if (r < 0 && r != -NLE_DUMP_INTR) {
		log_error("cannot list the sockets older than the gate: %s", nl_geterror(r));
		return -EIO;
	}
	return search->error;
}

int elders_tag(struct kernel *kernel, const struct config *config, const struct ruleset *ruleset,
	       const struct sw_ip *own, size_t n_own)
{
	_cleanup_free_ struct search *search = calloc(1, sizeof(*search));
	int r;

	if (!search)
		return -ENOMEM;
	search->kernel = kernel;
	search->config = config;
	search->ruleset = ruleset;
	search->own = own;
	search->n_own = n_own;

	r = dump(search, AF_INET, BIT(TCP_LISTEN), note_listener);
	r = r < 0 ? r : dump(search, AF_INET6, BIT(TCP_LISTEN), note_listener);
	r = r < 0 ? r : dump(search, AF_INET, SESSIONS, note_session);
	r = r < 0 ? r : dump(search, AF_INET6, SESSIONS, note_session);
	if (search->tagged)
		log_info("%zu sessions are older than the gate: their senders were taken from the "
			 "kernel's list of sockets",
			 search->tagged);
	return r;
}
