/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An outside of our own: a network namespace behind a veth pair, with a listener on each port that
 * is asked for. Its addresses are of the ranges for benchmarks (RFC 2544, RFC 5180), which nobody
 * routes; nothing leaves the machine.
 */
#ifndef SMTPWALL_CLI_SINK_H
#define SMTPWALL_CLI_SINK_H

#include <stddef.h>
#include <stdint.h>

#define SINK_V4 "198.18.255.254"
#define SINK_V6 "2001:2:0:ffff::2"

struct sink;

/* Tells its failures. */
int sink_open(const uint16_t *ports, size_t n_ports, struct sink **ret);
void sink_close(struct sink *sink);

#endif
