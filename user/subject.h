/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Subjects as people write them: uid:1004, user:alice, unit:/system.slice/x.service, ip:10.8.0.7 */
#ifndef SMTPWALL_SUBJECT_H
#define SMTPWALL_SUBJECT_H

#include <stddef.h>

#include <smtpwall/abi.h>

#define SUBJECT_LEN 512

/*
 * -EINVAL: not a subject (*ret_hint says what to write instead; static text). -ENOENT: the user
 * or cgroup does not exist. `ipv6_prefix` cuts IPv6; `cgroup_root` finds units (NULL: none).
 */
int subject_parse(const char *text, unsigned int ipv6_prefix, const char *cgroup_root,
		  struct sw_subject *ret, const char **ret_hint);
/* The canonical text: "uid:1004", "unit:/machine.slice/x", "ip:2001:db8::/64". */
void subject_format(const struct sw_subject *subject, unsigned int ipv6_prefix,
		    const char *cgroup_root, char text[static SUBJECT_LEN]);
/* The user's name, or NULL. The caller frees. */
char *subject_name(const struct sw_subject *subject);

#endif
