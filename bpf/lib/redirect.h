/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sending a connection to the relay instead. Only where it would arrive: a socket that is bound to
 * an address or device, takes IPv6 only, or lives in another network namespace, has to be refused.
 */
#ifndef SMTPWALL_REDIRECT_H
#define SMTPWALL_REDIRECT_H

#include <bpf/bpf_core_read.h>

#include "kernel.h"
#include "judge.h"
#include "parse.h"

/* A native IPv6 socket reaches an IPv4 relay by its mapped address, if it takes IPv4 at all. */
static __always_inline bool takes_ipv4(struct bpf_sock *sk)
{
	struct sock_common *common = (void *)bpf_skc_to_tcp_sock(sk);

	return common && !BPF_CORE_READ_BITFIELD_PROBED(common, skc_ipv6only);
}

static __always_inline bool is_bound(const struct bpf_sock *sk)
{
	return sk->bound_dev_if || sk->src_ip4 || sk->src_ip6[0] || sk->src_ip6[1] ||
	       sk->src_ip6[2] || sk->src_ip6[3];
}

/* Where to; false: it cannot be redirected. */
static __always_inline bool redirect_target(struct bpf_sock *sk, const struct sw_tag *tag,
					    const struct attempt *a, __u32 kind,
					    struct sw_endpoint *ret)
{
	const struct sw_policy *policy = policy_for(tag, kind, a->generation);

	if (!policy || (tag->flags & SW_TAG_NETNS) || is_bound(sk))
		return false;
	*ret = policy->redirect;
	if (is_v4(&a->daddr))
		return ret->port;
	if (policy->redirect6.port) {
		*ret = policy->redirect6;
		return true;
	}
	return ret->port && takes_ipv4(sk);
}

/*
 * Leads the attempt to the relay: from here on it is a session on the road `relay`, which other
 * policies may limit. False: it has to be refused.
 */
static __always_inline bool redirect(struct bpf_sock *sk, struct sw_tag *tag, struct attempt *a,
				     struct outcome *o)
{
	__u8 kind = o->kind, opens = o->opens;
	bool trips = o->trips, passes;
	struct sw_endpoint to;

	if (!redirect_target(sk, tag, a, o->kind, &to)) {
		count_verdict(tag, a, true, true);
		o->over = true;
		return false;
	}
	__builtin_memcpy(tag->asked, a->daddr.addr, sizeof(tag->asked));
	tag->asked_port = a->port;
	__builtin_memcpy(a->daddr.addr, to.addr, sizeof(a->daddr.addr));
	a->port = to.port;
	a->road = SW_ROAD_RELAY;
	*o = (struct outcome){};
	passes = judge(tag, a, o) == FATE_PASS;
	/* Evidence is of what it did before it was led elsewhere. */
	o->opens |= opens;
	if (passes || !o->trips) {
		o->kind = kind;
		o->trips = trips;
	}
	o->over = true;
	if (!passes)
		return false;
	tag->flags |= SW_TAG_REDIRECTED;
	return true;
}

#endif
