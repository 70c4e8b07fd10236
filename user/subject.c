// SPDX-License-Identifier: GPL-2.0-or-later
#include "subject.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include "clean.h"
#include "cleanup.h"

#define KERNFS_HANDLE 0xfe /* type of a file handle that is a cgroup id */
#define V4_MAPPED_BITS 96

struct context {
	unsigned int ipv6_prefix;
	const char *cgroup_root;
};

/* Digits only: no sign, no space, nothing behind. */
static int number_parse(const char *text, uint64_t max, uint64_t *ret)
{
	uint64_t n = 0;

	if (!*text)
		return -EINVAL;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -EINVAL;
		if (n > (max - (*text - '0')) / 10)
			return -EINVAL;
		n = n * 10 + (*text - '0');
	}

	*ret = n;
	return 0;
}

static int uid_parse(const char *text, const struct context *context, struct sw_subject *ret)
{
	uint64_t uid;
	int r;

	(void)context;
	if (strcmp(text, "overflow") == 0) {
		ret->uid = SW_UID_OVERFLOW;
		return 0;
	}
	r = number_parse(text, SW_UID_OVERFLOW - 1, &uid);
	if (r < 0)
		return r;

	ret->uid = uid;
	return 0;
}

/* getpwnam_r() or getpwuid_r() with a buffer as large as the database asks for. */
static int passwd_get(const char *name, uid_t uid, struct passwd *ret, char **ret_buffer)
{
	_cleanup_free_ char *buffer = NULL;
	struct passwd *found;
	size_t size;
	int r;

	for (size = 1024; size <= 1 << 20; size *= 4) {
		free(buffer);
		buffer = malloc(size);
		if (!buffer)
			return -ENOMEM;
		r = name ? getpwnam_r(name, ret, buffer, size, &found)
			 : getpwuid_r(uid, ret, buffer, size, &found);
		if (r == ERANGE)
			continue;
		if (!found)
			return r == ENOMEM || r == EMFILE || r == ENFILE ? -r : -ENOENT;
		*ret_buffer = take_pointer(&buffer);
		return 0;
	}
	return -ENOENT;
}

static int user_parse(const char *text, const struct context *context, struct sw_subject *ret)
{
	_cleanup_free_ char *buffer = NULL;
	struct passwd user;
	int r;

	(void)context;
	if (!*text)
		return -EINVAL;
	r = passwd_get(text, 0, &user, &buffer);
	if (r < 0)
		return r;

	ret->uid = user.pw_uid;
	return 0;
}

static bool climbs(const char *path)
{
	const char *at;

	for (at = path; (at = strstr(at, "..")); at += 2)
		if ((at == path || at[-1] == '/') && (at[2] == '/' || at[2] == '\0'))
			return true;
	return false;
}

/* The cgroup's id is the inode number of its directory. */
static int unit_parse(const char *text, const struct context *context, struct sw_subject *ret)
{
	char path[PATH_MAX];
	struct stat root, unit;
	uint64_t id;

	if (*text == '#') {
		if (number_parse(text + 1, UINT64_MAX, &id) < 0 || id == 0)
			return -EINVAL;
		ret->unit = id;
		return 0;
	}
	if (*text != '/' || climbs(text))
		return -EINVAL;
	if (!context->cgroup_root)
		return -ENOENT;
	if (snprintf(path, sizeof(path), "%s%s", context->cgroup_root, text) >= (int)sizeof(path))
		return -EINVAL;
	if (stat(context->cgroup_root, &root) < 0 || stat(path, &unit) < 0)
		return -ENOENT;
	if (!S_ISDIR(unit.st_mode) || unit.st_dev != root.st_dev)
		return -ENOENT;

	ret->unit = unit.st_ino;
	return 0;
}

static void addr_cut(__u8 addr[static 16], unsigned int bits)
{
	unsigned int i;

	for (i = 0; i<16; i++, bits = bits> 8 ? bits - 8 : 0)
		addr[i] &= bits >= 8 ? 0xff : (__u8)(0xff00 >> bits);
}

static bool addr_is_v4(const __u8 addr[static 16])
{
	return IN6_IS_ADDR_V4MAPPED((const struct in6_addr *)addr);
}

static int addr_parse(const char *text, __u8 ret[static 16])
{
	struct in_addr v4;

	if (inet_pton(AF_INET6, text, ret) == 1)
		return 0;
	if (inet_pton(AF_INET, text, &v4) != 1)
		return -EINVAL;
	memset(ret, 0, 10);
	memset(ret + 10, 0xff, 2);
	memcpy(ret + 12, &v4, 4);
	return 0;
}

/* Of the networks whose addresses share a row. */
static unsigned int shared_bits(bool v4, unsigned int ipv6_prefix)
{
	if (v4)
		return SW_SHARED_V4;
	if (ipv6_prefix >= SW_SHARED_V6 + 16)
		return SW_SHARED_V6;
	return ipv6_prefix > 16 ? ipv6_prefix - 16 : 1;
}

/*
 * A subject is one address, or with IPv6 the one network of the configured size. Or one whose
 * addresses share a row, when they find no other: nothing but that row is meant.
 */
static int ip_parse(const char *text, const struct context *context, struct sw_subject *ret)
{
	char address[INET6_ADDRSTRLEN];
	const char *slash = strchrnul(text, '/');
	unsigned int bits, shared = 0;
	__u8 addr[16];
	uint64_t prefix;
	bool v4;

	if (strcmp(text, "overflow") == 0)
		return 0; /* the address that no host has: all zero */
	if ((size_t)(slash - text) >= sizeof(address))
		return -EINVAL;
	memcpy(address, text, slash - text);
	address[slash - text] = '\0';
	if (addr_parse(address, addr) < 0)
		return -EINVAL;
	v4 = addr_is_v4(addr);
	bits = v4 ? 32 : context->ipv6_prefix;
	if (*slash && number_parse(slash + 1, 128, &prefix) < 0)
		return -EINVAL;
	if (*slash && prefix != bits)
		shared = bits = shared_bits(v4, context->ipv6_prefix);
	if (*slash && prefix != bits)
		return -EINVAL;
	addr_cut(addr, v4 ? V4_MAPPED_BITS + bits : bits);

	memcpy(ret->addr, addr, sizeof(ret->addr));
	ret->uid = shared && v4 ? V4_MAPPED_BITS + shared : shared;
	return 0;
}

static const struct {
	const char *prefix;
	enum sw_kind kind;
	int (*parse)(const char *text, const struct context *context, struct sw_subject *ret);
	const char *hint;
} forms[] = {
	{ "uid:", SW_KIND_UID, uid_parse,
	  "after 'uid:' comes a number from 0 to 4294967294, or 'overflow'" },
	{ "user:", SW_KIND_UID, user_parse,
	  "after 'user:' comes the name of a user, as user:alice" },
	{ "unit:", SW_KIND_UNIT, unit_parse,
	  "after 'unit:' comes a path below the cgroup root, as unit:/system.slice/cron.service, "
	  "or '#' and its id" },
	{ "ip:", SW_KIND_IP, ip_parse,
	  "after 'ip:' comes an IPv4 address, or an IPv6 address (its network of 'ipv6_prefix' "
	  "bits "
	  "is meant), as ip:10.8.0.7 or ip:2001:db8::1" },
};

int subject_parse(const char *text, unsigned int ipv6_prefix, const char *cgroup_root,
		  struct sw_subject *ret, const char **ret_hint)
{
	const struct context context = { ipv6_prefix, cgroup_root };
	struct sw_subject subject = {};
	size_t i, length;
	int r;

	for (i = 0; i < ARRAY_SIZE(forms); i++) {
		length = strlen(forms[i].prefix);
		if (strncmp(text, forms[i].prefix, length) != 0)
			continue;
		subject.kind = forms[i].kind;
		r = forms[i].parse(text + length, &context, &subject);
		if (r == 0)
			*ret = subject;
		else
			*ret_hint = forms[i].hint;
		return r;
	}
	*ret_hint = "write uid:1004, user:alice, unit:/system.slice/cron.service or ip:10.8.0.7";
	return -EINVAL;
}

/*
 * kernfs opens a directory by its id, so no walk of the tree is needed. Needs
 * CAP_DAC_READ_SEARCH. Fails for a cgroup that is gone or not below `cgroup_root`.
 */
static int unit_path(__u64 unit, const char *cgroup_root, char *ret, size_t size)
{
	struct {
		struct file_handle handle;
		__u64 id;
	} by_id = { .handle = { .handle_bytes = sizeof(__u64), .handle_type = KERNFS_HANDLE } };
	_cleanup_close_ int root = -1, fd = -1;
	char link[64], path[PATH_MAX];
	size_t prefix = strlen(cgroup_root);
	ssize_t length;

	memcpy(by_id.handle.f_handle, &unit, sizeof(unit));
	root = open(cgroup_root, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	fd = open_by_handle_at(root, &by_id.handle, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, path, sizeof(path) - 1);
	if (length < 0)
		return -errno;
	path[length] = '\0';
	if (strncmp(path, cgroup_root, prefix) != 0 || (path[prefix] && path[prefix] != '/'))
		return -ENOENT;
	if (strlen(path + prefix) >= size || !is_clean(path))
		return -EINVAL;

	strcpy(ret, path[prefix] ? path + prefix : "/");
	return 0;
}

/* `bits`: of the network whose shared row is meant, or 0. */
static void ip_format(const __u8 addr[static 16], unsigned int bits, unsigned int ipv6_prefix,
		      char text[static SUBJECT_LEN])
{
	char address[INET6_ADDRSTRLEN];
	bool v4 = addr_is_v4(addr);

	if (!bits && IN6_IS_ADDR_UNSPECIFIED((const struct in6_addr *)addr)) {
		snprintf(text, SUBJECT_LEN, "ip:overflow");
		return;
	}
	if (v4)
		inet_ntop(AF_INET, addr + 12, address, sizeof(address));
	else
		inet_ntop(AF_INET6, addr, address, sizeof(address));
	if (bits)
		snprintf(text, SUBJECT_LEN, "ip:%s/%u", address, v4 ? bits - V4_MAPPED_BITS : bits);
	else if (v4 || ipv6_prefix == 128)
		snprintf(text, SUBJECT_LEN, "ip:%s", address);
	else
		snprintf(text, SUBJECT_LEN, "ip:%s/%u", address, ipv6_prefix);
}

void subject_format(const struct sw_subject *subject, unsigned int ipv6_prefix,
		    const char *cgroup_root, char text[static SUBJECT_LEN])
{
	char path[SUBJECT_LEN - sizeof("unit:")];

	switch ((enum sw_kind)subject->kind) {
	case SW_KIND_UID:
		if (subject->uid == SW_UID_OVERFLOW)
			snprintf(text, SUBJECT_LEN, "uid:overflow");
		else
			snprintf(text, SUBJECT_LEN, "uid:%u", subject->uid);
		return;
	case SW_KIND_UNIT:
		if (cgroup_root && unit_path(subject->unit, cgroup_root, path, sizeof(path)) == 0)
			snprintf(text, SUBJECT_LEN, "unit:%s", path);
		else
			snprintf(text, SUBJECT_LEN, "unit:#%llu", subject->unit);
		return;
	case SW_KIND_IP:
		ip_format(subject->addr, subject->uid, ipv6_prefix, text);
		return;
	case SW_KINDS:
		break;
	}
	snprintf(text, SUBJECT_LEN, "?");
}

char *subject_name(const struct sw_subject *subject)
{
	_cleanup_free_ char *buffer = NULL;
	struct passwd user;
	char *name;

	if (subject->kind != SW_KIND_UID || subject->uid == SW_UID_OVERFLOW)
		return NULL;
	if (passwd_get(NULL, subject->uid, &user, &buffer) < 0)
		return NULL;
	name = strdup(user.pw_name);
	if (name)
		clean(name);
	return name;
}
