// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * forge HOW SOURCE DESTINATION PORT N [INTERFACE MAC]: N SYNs without any connect(). HOW: "raw"
 * (an IP socket) or "packet" (AF_PACKET). SOURCE is counted up: each has another address.
 */
#include "client.h"

#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdint.h>

struct packet {
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

static uint32_t sum16(const void *data, size_t size, uint32_t sum)
{
	const unsigned char *bytes = data;

	for (size_t i = 0; i + 1 < size; i += 2)
		sum += bytes[i] << 8 | bytes[i + 1];
	return sum;
}

static uint16_t folded(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

static void make(struct packet *p, in_addr_t from, in_addr_t to, uint16_t port, unsigned int nth)
{
	*p = (struct packet){
		.ip = { .version = 4,
			.ihl = 5,
			.tot_len = htons(sizeof(*p)),
			.ttl = 64,
			.protocol = IPPROTO_TCP,
			.saddr = from,
			.daddr = to },
		.tcp = { .source = htons(20000 + nth),
			 .dest = htons(port),
			 .seq = htonl(nth),
			 .doff = 5,
			 .syn = 1,
			 .window = htons(1024) },
	};
	p->ip.check = folded(sum16(&p->ip, sizeof(p->ip), 0));
	p->tcp.check = folded(sum16(&p->tcp, sizeof(p->tcp),
				    sum16(&p->ip.saddr, 8, IPPROTO_TCP + sizeof(p->tcp))));
}

static int raw_socket(in_addr_t to, struct sockaddr_storage *where)
{
	struct sockaddr_in *there = (void *)where;

	*there = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = to };
	return socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
}

static int packet_socket(const char *interface, const char *mac, struct sockaddr_storage *where)
{
	struct sockaddr_ll *there = (void *)where;

	*there = (struct sockaddr_ll){ .sll_family = AF_PACKET,
				       .sll_protocol = htons(ETH_P_IP),
				       .sll_ifindex = if_nametoindex(interface),
				       .sll_halen = 6 };
	sscanf(mac, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &there->sll_addr[0], &there->sll_addr[1],
	       &there->sll_addr[2], &there->sll_addr[3], &there->sll_addr[4], &there->sll_addr[5]);
	return socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP));
}

int main(int argc, char **argv)
{
	struct sockaddr_storage where = {};
	struct packet packet;
	in_addr_t from, to;
	unsigned int n, sent = 0;
	int fd;

	if (argc < 6)
		return FAILED;
	from = inet_addr(argv[2]);
	to = inet_addr(argv[3]);
	n = atoi(argv[5]);
	fd = argc > 7 ? packet_socket(argv[6], argv[7], &where) : raw_socket(to, &where);
	if (fd < 0)
		return end_errno("socket");
	for (unsigned int i = 0; i < n; i++) {
		make(&packet, htonl(ntohl(from) + i), to, atoi(argv[4]), i);
		sent += sendto(fd, &packet, sizeof(packet), 0, (void *)&where, sizeof(where)) > 0;
	}
	printf("%u sent\n", sent);
	return 0;
}
