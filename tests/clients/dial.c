// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * dial HOW HOST PORT [SOURCE-PORT]: opens one mail session, each HOW by another way through the
 * kernel, and tells whether the server answered.
 */
#include "client.h"

#include <linux/io_uring.h>
#include <linux/tcp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define HELLO "EHLO dial\r\n"

static int tcp(const union address *to)
{
	return socket(to->any.sa_family, SOCK_STREAM, IPPROTO_TCP);
}

static int mptcp(const union address *to)
{
	return socket(to->any.sa_family, SOCK_STREAM, IPPROTO_MPTCP);
}

/* SMC falls back to TCP where no peer can do it. */
static int smc(const union address *to)
{
	return socket(43 /* AF_SMC */, SOCK_STREAM, to->any.sa_family == AF_INET6);
}

static int with_ip_options(const union address *to)
{
	unsigned char nops[40];
	int fd = tcp(to);

	memset(nops, 1, sizeof(nops));
	if (setsockopt(fd, IPPROTO_IP, IP_OPTIONS, nops, sizeof(nops)) < 0)
		exit(end_errno("IP_OPTIONS"));
	return fd;
}

/* A segment routing header whose only segment is the destination; no capability is needed. */
static int with_routing_header(const union address *to)
{
	unsigned char header[24] = { 0, 2, 4, 0, 0 };
	int fd = tcp(to);

	memcpy(header + 8, &to->v6.sin6_addr, 16);
	if (setsockopt(fd, IPPROTO_IPV6, IPV6_RTHDR, header, sizeof(header)) < 0)
		exit(end_errno("IPV6_RTHDR"));
	return fd;
}

static int on_device(const union address *to)
{
	int fd = tcp(to);

	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "eth0", 5) < 0)
		exit(end_errno("SO_BINDTODEVICE"));
	return fd;
}

static int marked(const union address *to)
{
	int fd = tcp(to), mark = 0x25;

	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0)
		exit(end_errno("SO_MARK"));
	return fd;
}

/* In a user namespace with more than one uid: the socket is another's now. */
static int given_away(const union address *to)
{
	int fd = tcp(to);

	if (fchown(fd, 1, -1) < 0) {
		perror("fchown");
		exit(FAILED);
	}
	return fd;
}

/* Keys for TCP_MD5SIG fill the memory that socket storage is taken from. */
static int exhausted(const union address *to)
{
	struct tcp_md5sig key = { .tcpm_keylen = 1 };
	struct sockaddr_in *peer = (void *)&key.tcpm_addr;
	int fd = tcp(to), n;

	peer->sin_family = AF_INET;
	for (n = 0; n < 100000; n++) {
		peer->sin_addr.s_addr = htonl(0x0a000000 + n);
		if (setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof(key)) < 0)
			break;
	}
	if (errno != ENOMEM)
		exit(end_errno("TCP_MD5SIG"));
	fprintf(stderr, "%d keys\n", n);
	return fd;
}

static int plainly(int fd, const union address *to, socklen_t size)
{
	return connect_within(fd, to, size);
}

static int with_data(int fd, const union address *to, socklen_t size)
{
	return sendto(fd, HELLO, strlen(HELLO), MSG_FASTOPEN, &to->any, size) < 0 ? -1 : 0;
}

/* connect() says yes and sends nothing; the SYN leaves with the first write. */
static int deferred(int fd, const union address *to, socklen_t size)
{
	int on = 1;
	char go;

	if (setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on)) < 0 ||
	    connect_within(fd, to, size) < 0)
		return -1;
	puts("connected");
	fflush(stdout);
	if (read(STDIN_FILENO, &go, 1) < 0)
		return -1;
	return write(fd, HELLO, strlen(HELLO)) < 0 ? -1 : 0;
}

/* By a worker thread of io_uring. */
static int by_ring(int fd, const union address *to, socklen_t size)
{
	struct io_uring_params p = {};
	int ring = syscall(__NR_io_uring_setup, 4, &p);
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	char *sq, *cq;

	if (ring < 0)
		exit(end(LACKING, "io_uring"));
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		  IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(*cqe), PROT_READ | PROT_WRITE,
		  MAP_SHARED, ring, IORING_OFF_CQ_RING);
	sqe = mmap(NULL, p.sq_entries * sizeof(*sqe), PROT_READ | PROT_WRITE, MAP_SHARED, ring,
		   IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || sqe == MAP_FAILED)
		return -1;
	*sqe = (struct io_uring_sqe){ .opcode = IORING_OP_CONNECT, .flags = IOSQE_ASYNC, .fd = fd };
	sqe->addr = (uintptr_t)to;
	sqe->off = size;
	*(unsigned int *)(sq + p.sq_off.array) = 0;
	__atomic_store_n((unsigned int *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return -1;
	cqe = (void *)(cq + p.cq_off.cqes);
	errno = -cqe->res;
	return cqe->res < 0 ? -1 : 0;
}

static const struct way {
	const char *name;
	int (*open)(const union address *to);
	int (*connect)(int fd, const union address *to, socklen_t size);
} ways[] = {
	{ "plain", tcp, plainly },
	{ "fastopen", tcp, with_data },
	{ "deferred", tcp, deferred },
	{ "mptcp", mptcp, plainly },
	{ "mptcp-fastopen", mptcp, with_data },
	{ "io_uring", tcp, by_ring },
	{ "smc", smc, plainly },
	{ "ip-options", with_ip_options, plainly },
	{ "routing-header", with_routing_header, plainly },
	{ "device", on_device, plainly },
	{ "mark", marked, plainly },
	{ "fchown", given_away, plainly },
	{ "exhausted", exhausted, plainly },
};

static const struct way *way_of(const char *name)
{
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
		if (!strcmp(ways[i].name, name))
			return &ways[i];
	fprintf(stderr, "no way '%s'\n", name);
	exit(FAILED);
}

/* In the family of the destination. */
static int bind_port(int fd, const union address *to, const char *port)
{
	union address from;
	socklen_t size = address_of(to->any.sa_family == AF_INET6 ? "::" : "0.0.0.0", port, &from);
	int on = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	return bind(fd, &from.any, size);
}

int main(int argc, char **argv)
{
	const struct way *way;
	union address to;
	socklen_t size;
	int fd;

	if (argc < 4)
		return FAILED;
	way = way_of(argv[1]);
	size = address_of(argv[2], argv[3], &to);
	fd = way->open(&to);
	if (fd < 0)
		return end_errno("socket");
	if (argc > 4 && bind_port(fd, &to, argv[4]) < 0) {
		perror("bind");
		return FAILED;
	}
	if (way->connect(fd, &to, size) < 0)
		return end_errno("connect");
	return answer(fd);
}
