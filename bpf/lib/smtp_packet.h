/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is a packet SMTP? By the packet's port or the socket's: NAT changes the one, tunnels and long
 * chains of headers hide the other.
 */
#ifndef SMTPWALL_SMTP_PACKET_H
#define SMTPWALL_SMTP_PACKET_H

#include "maps.h"
#include "parse.h"
#include "policy.h"

struct smtp_packet {
	struct segment segment;
	__u32 generation; /* of the rules, read once */
	__u16 port; /* the SMTP port, host order */
	bool beyond; /* a header was not where it can be read */
};

/* A UDP socket may be connected to port 25 too. */
static __always_inline bool is_tcp_socket(struct bpf_sock *sk)
{
	struct bpf_sock *full = bpf_sk_fullsock(sk);

	return full && full->protocol == IPPROTO_TCP;
}

/* Raw sockets may say that their protocol is TCP. */
static __always_inline bool is_stream(struct bpf_sock *sk)
{
	struct bpf_sock *full = bpf_sk_fullsock(sk);

	return full && full->type == SOCK_STREAM;
}

/* False for what is not SMTP, and as quickly as can be. */
SUBPROGRAM int smtp_packet_read(struct __sk_buff *skb, struct smtp_packet *packet)
{
	const struct sw_control *control = control_get();
	struct bpf_sock *sk = skb->sk;
	enum found found;
	struct packet p = {};
	__u32 generation;

	if (!control || !packet)
		return false;
	generation = control->generation;
	found = find_tcp(skb, &p);
	packet->beyond = found == FOUND_BEYOND;
	packet->port = p.dport;
	if (found != FOUND_TCP || !is_smtp_port(generation, packet->port)) {
		if (!sk)
			return false;
		packet->port = bpf_ntohs(sk->dst_port);
		if (!is_smtp_port(generation, packet->port))
			return false;
		if (found != FOUND_TCP && !is_tcp_socket(sk))
			return false;
	}
	packet->generation = generation;
	read_segment(skb, &p, found, &packet->segment);
	packet->beyond = packet->beyond || packet->segment.cut;
	return true;
}

/* A packet of a session that is known by its socket; `generation` and `port` are the socket's. */
SUBPROGRAM int smtp_packet_take(struct __sk_buff *skb, struct smtp_packet *packet)
{
	const struct sw_control *control = control_get();
	struct bpf_sock *sk = skb->sk;
	struct packet p = {};

	if (!control || !packet || !sk)
		return 0;
	packet->generation = control->generation;
	packet->port = bpf_ntohs(sk->dst_port);
	read_segment(skb, &p, find_tcp(skb, &p), &packet->segment);
	return 0;
}

#endif
