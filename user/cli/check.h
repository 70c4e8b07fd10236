/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The checks of a configuration that check-config and reload share with a start. */
#ifndef SMTPWALL_CLI_CHECK_H
#define SMTPWALL_CLI_CHECK_H

#include <stddef.h>

/* Tells errors and warnings as they are, a line each. Less than 0: it would be refused. */
int config_check(const char *path, size_t *ret_policies);

#endif
