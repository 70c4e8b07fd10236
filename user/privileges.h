/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the daemon keeps of root's powers once it is up. */
#ifndef SMTPWALL_PRIVILEGES_H
#define SMTPWALL_PRIVILEGES_H

/* Keeps what a reload, a repair and a new interface need; drops the rest for good. */
int privileges_drop(void);
/* In this thread: keeps no more than it takes to find folders and ask the kernel of them. */
int privileges_keep_reading(void);

#endif
