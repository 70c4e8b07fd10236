// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/bpf.h>

#include "cut.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "log.h"
#include "netns.h"
#include "subject.h"

#define BIT(n) (1u << (n))
#define SESSIONS                                                                                   \
	(BIT(TCP_ESTABLISHED) | BIT(TCP_SYN_SENT) | BIT(TCP_FIN_WAIT1) | BIT(TCP_FIN_WAIT2) |      \
	 BIT(TCP_CLOSE_WAIT) | BIT(TCP_LAST_ACK) | BIT(TCP_CLOSING))

#define BUFFER 32768	/* the kernel lists as much at a time as we take */
#define AT_ONCE 64	/* sockets ended by one message: so many answers fit in a socket's buffer */
#define NAMESPACES 1024 /* looked into at most; their processes are strangers' */

struct search {
	struct maps *maps;
	const struct cut_target *target;
	size_t n_targets;
	struct sw_ports ports;
	__u8 code[CUT_CODE_LEN];
	size_t code_len;
	int networks;
	struct inet_diag_req_v2 *found;
	size_t n_found, room;
	size_t answers; /* awaited */
	struct cut_result result;
	int error;
};

/* ---- targets ---- */

static int by_target(const void *a, const void *b)
{
	const struct cut_target *x = a, *y = b;

	return subject_compare(&x->subject, &y->subject);
}

size_t cut_subjects(const struct sw_tag *session, struct sw_subject ret[static SW_LOCAL_KINDS])
{
	size_t n = 0;

	if (!(session->flags & SW_TAG_UNIT))
		ret[n++] = (struct sw_subject){ .kind = SW_KIND_UID, .uid = session->uid };
	if (session->unit)
		ret[n++] = (struct sw_subject){ .kind = SW_KIND_UNIT, .unit = session->unit };
	if (session->flags & SW_TAG_DIR)
		ret[n++] = (struct sw_subject){ .kind = SW_KIND_DIR, .dir = session->dir };
	return n;
}

bool cut_enforced(const struct sw_block *block, const struct sw_policy *policy, enum sw_mode mode)
{
	if (mode != SW_MODE_ENFORCE || (block->flags & SW_BLOCK_OBSERVED))
		return false;
	return block->by == SW_BY_HAND || (policy && policy->mode == SW_MODE_ENFORCE);
}

/* ---- ports ---- */

/*
 * For each port: is it the remote one? Yes: on to a jump to the end, which selects. No: past that
 * jump. The last has no jump: its yes ends where the program does, its no four bytes behind, which
 * is how such a program says no.
 */
size_t cut_code(const __u16 *port, size_t n, __u8 code[static CUT_CODE_LEN])
{
	const size_t length = n ? n * 12 - 4 : 0;
	struct inet_diag_bc_op op[3];
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		op[0] = (struct inet_diag_bc_op){ INET_DIAG_BC_D_EQ, 8, 12 };
		op[1] = (struct inet_diag_bc_op){ .no = port[i] };
		op[2] = (struct inet_diag_bc_op){ INET_DIAG_BC_JMP, 4, length - at - 8 };
		memcpy(code + at, op, i + 1 < n ? 12 : 8);
		at += 12;
	}
	return length;
}

/* A redirected session goes to the port of its relay. */
static int add_redirects(struct maps *maps, struct sw_ports *ports)
{
	_cleanup_free_ struct sw_rules *rules = malloc(sizeof(*rules));
	int r = rules ? maps_rules(maps, rules) : -ENOMEM;

	if (r < 0)
		return r;
	for (__u32 i = 0; i < rules->n_policies; i++) {
		__u16 port = rules->policy[i].redirect.port,
		      port6 = rules->policy[i].redirect6.port;

		ports->bits[port / 64] |= 1ULL << port % 64;
		ports->bits[port6 / 64] |= 1ULL << port6 % 64;
	}
	ports->bits[0] &= ~1ULL; /* none */
	return 0;
}

static bool is_port(const struct sw_ports *ports, __u16 port)
{
	return ports->bits[port / 64] >> port % 64 & 1;
}

static int select_ports(struct search *s)
{
	__u16 port[CUT_PORTS];
	size_t n = 0;
	int r = maps_ports(s->maps, &s->ports);

	r = r < 0 ? r : add_redirects(s->maps, &s->ports);
	if (r < 0)
		return r;
	for (unsigned int i = 1; i < 65536; i++) {
		if (!is_port(&s->ports, i))
			continue;
		if (n == CUT_PORTS)
			return 0; /* without a program: each session is looked at */
		port[n++] = i;
	}
	s->code_len = cut_code(port, n, s->code);
	return 0;
}

/* ---- which sockets ---- */

static bool is_spared(const struct search *s, const struct inet_diag_msg *diag)
{
	struct sw_network key = { .prefix_len = 128, .addr = { [10] = 0xff, [11] = 0xff } };
	__u32 flags = 0;

	if (diag->idiag_family == AF_INET6)
		memcpy(key.addr, diag->id.idiag_dst, 16);
	else
		memcpy(key.addr + 12, diag->id.idiag_dst, 4);
	return s->networks >= 0 && bpf_map_lookup_elem(s->networks, &key, &flags) == 0 &&
	       (flags & SW_NET_EXEMPT);
}

/* Does a block end this socket? NULL: any that may be its session's. */
static bool ends(const struct search *s, const struct cut_target *target,
		 const struct inet_diag_msg *diag)
{
	if (!diag)
		return true;
	if (diag->idiag_state == TCP_SYN_SENT && !target->opening)
		return false;
	return !target->by_policy || !is_spared(s, diag);
}

/* A subject may be there several times, for other roads. */
static bool subject_ends(const struct search *s, const struct sw_subject *subject, __u32 road,
			 const struct inet_diag_msg *diag)
{
	size_t low = 0, high = s->n_targets;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (subject_compare(subject, &s->target[middle].subject) > 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < s->n_targets && !subject_compare(subject, &s->target[low].subject); low++)
		if (s->target[low].roads >> road & 1 && ends(s, &s->target[low], diag))
			return true;
	return false;
}

static bool session_ends(const struct search *s, const struct sw_tag *session,
			 const struct inet_diag_msg *diag)
{
	struct sw_subject subject[SW_LOCAL_KINDS];
	size_t n = session->road < SW_ROADS ? cut_subjects(session, subject) : 0;

	for (size_t i = 0; i < n; i++)
		if (subject_ends(s, &subject[i], session->road, diag))
			return true;
	return false;
}

static int find_add(struct search *s, const struct inet_diag_msg *diag)
{
	size_t room = s->room ? 2 * s->room : 256;
	struct inet_diag_req_v2 *grown;

	if (s->n_found == s->room) {
		grown = reallocarray(s->found, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		s->found = grown;
		s->room = room;
	}
	s->found[s->n_found++] = (struct inet_diag_req_v2){
		.sdiag_family = diag->idiag_family,
		.sdiag_protocol = IPPROTO_TCP,
		.idiag_states = ~0u,
		.id = diag->id,
	};
	return 0;
}

static const struct nlattr *find_within(const struct nlattr *nest, int type)
{
	return nest ? nla_find(nla_data(nest), nla_len(nest), type) : NULL;
}

/* Of the one map that was asked for. It is not aligned. NULL: the socket has none. */
static const struct nlattr *tag_on(struct nlmsghdr *header)
{
	const struct nlattr *attr =
		nlmsg_find_attr(header, sizeof(struct inet_diag_msg), INET_DIAG_SK_BPF_STORAGES);

	attr = find_within(attr, SK_DIAG_BPF_STORAGE);
	return find_within(attr, SK_DIAG_BPF_STORAGE_MAP_VALUE);
}

/*
 * Was it admitted, and whose is it? That it is refused by now may be why it is to be cut: what goes
 * over a limit is refused from there on. One older than the gate has no tag until it sends.
 */
static bool is_session(const struct search *s, struct nlmsghdr *header, struct sw_tag *ret)
{
	const struct inet_diag_msg *diag = nlmsg_data(header);
	const struct nlattr *tag = tag_on(header);
	uint64_t cookie = diag->id.idiag_cookie[0] | (uint64_t)diag->id.idiag_cookie[1] << 32;

	if (tag ? nla_memcpy(ret, tag, sizeof(*ret)) != sizeof(*ret)
		: maps_elder(s->maps, cookie, ret) < 0)
		return false;
	return ret->version == 1 && ret->state != SW_TAG_NONE && ret->admitted_ns;
}

static int look_at(struct nl_msg *msg, void *userdata)
{
	struct nlmsghdr *header = nlmsg_hdr(msg);
	const struct inet_diag_msg *diag = nlmsg_data(header);
	struct search *s = userdata;
	struct sw_tag session;

	if (nlmsg_datalen(header) < (int)sizeof(*diag) || s->error < 0 ||
	    !is_port(&s->ports, ntohs(diag->id.idiag_dport)))
		return NL_OK;
	if (is_session(s, header, &session) && session_ends(s, &session, diag))
		s->error = find_add(s, diag);
	return NL_OK;
}

/* That the list is to bring the tag of each socket. */
static int ask_for_tags(const struct search *s, struct nl_msg *msg)
{
	struct nlattr *nest = nla_nest_start(msg, INET_DIAG_REQ_SK_BPF_STORAGES);

	if (!nest || nla_put_u32(msg, SK_DIAG_BPF_STORAGE_REQ_MAP_FD, maps_tags(s->maps)) < 0)
		return -ENOMEM;
	return nla_nest_end(msg, nest);
}

static struct nl_msg *list_request(const struct search *s, int family)
{
	struct inet_diag_req_v2 request = {
		.sdiag_family = family,
		.sdiag_protocol = IPPROTO_TCP,
		.idiag_states = SESSIONS,
	};
	struct nl_msg *msg = nlmsg_alloc_size(2 * CUT_CODE_LEN); /* a page is not enough for it */

	if (msg && nlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, SOCK_DIAG_BY_FAMILY, 0, NLM_F_DUMP) &&
	    nlmsg_append(msg, &request, sizeof(request), NLMSG_ALIGNTO) == 0 &&
	    (!s->code_len || nla_put(msg, INET_DIAG_REQ_BYTECODE, s->code_len, s->code) == 0) &&
	    ask_for_tags(s, msg) == 0)
		return msg;
	nlmsg_free(msg);
	return NULL;
}

static int list(struct search *s, struct nl_sock *sock, int family)
{
	struct nl_msg *msg = list_request(s, family);
	int r;

	if (!msg)
		return -ENOMEM;
	r = nl_send_auto(sock, msg);
	nlmsg_free(msg);
	if (r >= 0)
		r = nl_recvmsgs_default(sock);
	if (r == -NLE_OBJ_NOTFOUND) /* no IPv6 here */
		r = 0;
	return r < 0 && r != -NLE_DUMP_INTR ? -EIO : s->error;
}

/* ---- ending them ---- */

static int on_ended(struct nl_msg *msg, void *userdata)
{
	struct search *s = userdata;

	(void)msg;
	s->answers--;
	s->result.cut++;
	return NL_OK;
}

/* ENOENT: it has ended by itself. */
static int on_not_ended(struct sockaddr_nl *from, struct nlmsgerr *error, void *userdata)
{
	struct search *s = userdata;

	(void)from;
	s->answers--;
	if (error->error == -EOPNOTSUPP)
		s->result.not_supported = true;
	else if (error->error != -ENOENT)
		s->error = error->error;
	return NL_SKIP;
}

static int end_some(struct search *s, struct nl_sock *sock, const struct inet_diag_req_v2 *found,
		    size_t n)
{
	struct {
		struct nlmsghdr header;
		struct inet_diag_req_v2 request;
	} message[AT_ONCE];
	int r;

	for (size_t i = 0; i < n; i++) {
		message[i].header = (struct nlmsghdr){
			.nlmsg_len = sizeof(message[i]),
			.nlmsg_type = SOCK_DESTROY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
		};
		message[i].request = found[i];
	}
	r = nl_sendto(sock, message, n * sizeof(*message));
	for (s->answers = n; r >= 0 && s->answers;)
		r = nl_recvmsgs_default(sock);
	return r < 0 ? -EIO : s->error;
}
_Static_assert((sizeof(struct nlmsghdr) + sizeof(struct inet_diag_req_v2)) % NLMSG_ALIGNTO == 0,
	       "messages stand one behind the other");

static int end_found(struct search *s, struct nl_sock *sock)
{
	int r = 0;

	nl_socket_disable_seq_check(sock);
	nl_socket_modify_cb(sock, NL_CB_ACK, NL_CB_CUSTOM, on_ended, s);
	nl_socket_modify_err_cb(sock, NL_CB_CUSTOM, on_not_ended, s);
	for (size_t i = 0; i < s->n_found && r >= 0; i += AT_ONCE)
		r = end_some(s, sock, s->found + i,
			     s->n_found - i < AT_ONCE ? s->n_found - i : AT_ONCE);
	s->n_found = 0;
	return r;
}

/* In the network namespace that the socket is of. */
static int cut_by(struct search *s, struct nl_sock *sock)
{
	int r;

	nl_socket_set_msg_buf_size(sock, BUFFER);
	nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, look_at, s);
	r = list(s, sock, AF_INET);
	r = r < 0 ? r : list(s, sock, AF_INET6);
	return r < 0 ? r : end_found(s, sock);
}

static struct nl_sock *diag_socket(void)
{
	struct nl_sock *sock = nl_socket_alloc();

	if (sock && nl_connect(sock, NETLINK_SOCK_DIAG) >= 0)
		return sock;
	nl_socket_free(sock);
	return NULL;
}

static int cut_here(struct search *s)
{
	struct nl_sock *sock = diag_socket();
	int r = sock ? cut_by(s, sock) : -EIO;

	nl_socket_free(sock);
	return r;
}

/* ---- other network namespaces ---- */

struct away {
	int home;	  /* our own namespace */
	uint64_t *cookie; /* of those where targets may have sessions, some several times; sorted */
	size_t n;
	ino_t seen[NAMESPACES + 1];
	size_t n_seen;
};

static int by_cookie(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static bool may_have_sessions(const struct search *s, const struct sw_abroad *abroad)
{
	const struct sw_tag session = {
		.unit = abroad->unit,
		.dir = abroad->dir,
		.uid = abroad->uid,
		.flags = abroad->flags,
		.road = abroad->road,
	};

	return session_ends(s, &session, NULL);
}

/* Sessions elsewhere. They may have ended: the map forgets only when it is full. */
static int find_away(struct search *s, uint64_t own, struct away *away)
{
	_cleanup_free_ struct sw_abroad *abroad = NULL;
	struct sw_control control;
	size_t n = 0;
	int r = maps_abroad(s->maps, &abroad, &n);

	r = r < 0 ? r : maps_control(s->maps, &control);
	if (r < 0)
		return r;
	away->cookie = calloc(n + 1, sizeof(*away->cookie));
	if (!away->cookie)
		return -ENOMEM;
	if (control.netns_cookie != own) /* of sessions in the machine's own there is no list */
		away->cookie[away->n++] = control.netns_cookie;
	for (size_t i = 0; i < n; i++)
		if (abroad[i].netns_cookie != own && may_have_sessions(s, &abroad[i]))
			away->cookie[away->n++] = abroad[i].netns_cookie;
	qsort(away->cookie, away->n, sizeof(*away->cookie), by_cookie);
	return 0;
}

/* Takes the sessions of a namespace off the list. True: there were some. */
static bool away_take(struct away *away, uint64_t cookie)
{
	size_t n = 0;
	bool found;

	for (size_t i = 0; i < away->n; i++)
		if (away->cookie[i] != cookie)
			away->cookie[n++] = away->cookie[i];
	found = n < away->n;
	away->n = n;
	return found;
}

/*
 * A netlink socket stays in the namespace where it was made, so we are there for a moment only.
 * To be left there would be worse than to end: the gate stands without us.
 */
static int cut_in(struct search *s, struct away *away, int netns)
{
	struct nl_sock *sock = NULL;
	uint64_t cookie;
	int r = 0;

	if (setns(netns, CLONE_NEWNET) < 0)
		return -errno;
	cookie = netns_cookie();
	if (bsearch(&cookie, away->cookie, away->n, sizeof(cookie), by_cookie))
		sock = diag_socket();
	if (setns(away->home, CLONE_NEWNET) < 0) {
		log_errno(-errno, "cannot come back from another network namespace");
		abort();
	}
	if (!sock)
		return 0;
	r = cut_by(s, sock);
	nl_socket_free(sock);
	if (r >= 0)
		away_take(away, cookie);
	return r;
}

static bool is_new(struct away *away, int netns)
{
	struct stat st;

	if (fstat(netns, &st) < 0 || away->n_seen > NAMESPACES)
		return false;
	for (size_t i = 0; i < away->n_seen; i++)
		if (away->seen[i] == st.st_ino)
			return false;
	away->seen[away->n_seen++] = st.st_ino;
	return true;
}

/* By the processes in them: whoever has a session has, nearly always, one there. */
static void cut_away(struct search *s, struct away *away)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	char path[300];

	if (!proc)
		return;
	away->home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (away->home >= 0)
		is_new(away, away->home);
	while (away->home >= 0 && away->n && (entry = readdir(proc))) {
		_cleanup_close_ int netns = -1;

		if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/ns/net", entry->d_name);
		netns = open(path, O_RDONLY | O_CLOEXEC);
		if (netns >= 0 && is_new(away, netns))
			cut_in(s, away, netns);
	}
	closep(&away->home);
	closedir(proc);
}

static int cut_elsewhere(struct search *s)
{
	_cleanup_free_ struct away *away = calloc(1, sizeof(*away));
	uint64_t own = netns_cookie();
	int r = away ? find_away(s, own, away) : -ENOMEM;

	if (r >= 0 && away->n)
		cut_away(s, away);
	if (away) {
		s->result.out_of_reach = away->n > 0;
		free(away->cookie);
	}
	return r;
}

/* ---- the whole ---- */

int cut(struct maps *maps, struct cut_target *target, size_t n, struct cut_result *ret)
{
	_cleanup_free_ struct search *s = calloc(1, sizeof(*s));
	int r;

	*ret = (struct cut_result){};
	if (!n || !s)
		return n ? -ENOMEM : 0;
	qsort(target, n, sizeof(*target), by_target);
	*s = (struct search){ .maps = maps, .target = target, .n_targets = n, .networks = -1 };
	maps_networks(maps, &s->networks); /* without it none is exempt */
	r = select_ports(s);
	r = r < 0 ? r : cut_here(s);
	r = r < 0 ? r : cut_elsewhere(s);
	closep(&s->networks);
	free(s->found);

	*ret = s->result;
	return r;
}
