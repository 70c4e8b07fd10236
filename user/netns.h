/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network namespaces, as the kernel numbers them for BPF programs. */
#ifndef SMTPWALL_NETNS_H
#define SMTPWALL_NETNS_H

#include <stdint.h>

/* The cookie of the one that the calling thread is in; 0 if it cannot be told. */
uint64_t netns_cookie(void);

#endif
