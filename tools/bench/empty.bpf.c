// SPDX-License-Identifier: GPL-2.0-or-later
/* Programs that do nothing: what any program costs, to be taken off what ours cost. */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>

#include <bpf/bpf_helpers.h>

SEC("cgroup_skb/egress")
int empty_socket_out(struct __sk_buff *skb)
{
	return 1;
}

SEC("tc")
int empty_egress(struct __sk_buff *skb)
{
	return TC_ACT_UNSPEC;
}

SEC("cgroup/connect4")
int empty_connect4(struct bpf_sock_addr *ctx)
{
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
