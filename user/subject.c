// SPDX-License-Identifier: GPL-2.0-or-later
#include "subject.h"

#include <linux/openat2.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>

#include <smtpwall/path.h>

#include "clean.h"
#include "cleanup.h"
#include "path.h"

#define V4_MAPPED_BITS 96
#define DEVICE_MINOR_BITS 20

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

static int uid_parse(const struct subject_names *names, const char *text, struct sw_subject *ret)
{
	uint64_t uid;
	int r;

	(void)names;
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

static int user_parse(const struct subject_names *names, const char *text, struct sw_subject *ret)
{
	_cleanup_free_ char *buffer = NULL;
	struct passwd user;
	int r;

	(void)names;
	if (!*text)
		return -EINVAL;
	r = passwd_get(text, 0, &user, &buffer);
	if (r < 0)
		return r;

	ret->uid = user.pw_uid;
	return 0;
}

/* ---- units ---- */

static bool climbs(const char *path)
{
	size_t length;

	for (; *path; path += length) {
		path += strspn(path, "/");
		length = strcspn(path, "/");
		if ((length == 1 && path[0] == '.') || (length == 2 && !memcmp(path, "..", 2)))
			return true;
	}
	return false;
}

static int hex_parse(const char *text, __u64 *ret)
{
	size_t length = strlen(text);

	if (length == 0 || length > 16 || strspn(text, "0123456789abcdef") != length)
		return -EINVAL;
	*ret = strtoull(text, NULL, 16);
	return *ret ? 0 : -EINVAL;
}

/* A hash of the path alone: there need be no such cgroup now. */
static int unit_parse(const struct subject_names *names, const char *text, struct sw_subject *ret)
{
	(void)names;
	if (*text == '#')
		return hex_parse(text + 1, &ret->unit);
	if (*text != '/' || climbs(text))
		return -EINVAL;
	ret->unit = unit_hash(text);
	return 0;
}

/* ---- folders ---- */

/* Without waiting for a disk or a server, if that is wished for. */
static int open_folder(const struct subject_names *names, const char *path)
{
	struct open_how how = { .flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_CACHED };
	int fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

	if (fd < 0 && !names->hurried)
		fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int subject_dir(const struct subject_names *names, const char *path, struct sw_dir *ret)
{
	_cleanup_close_ int fd = -1;

	if (!names->maps)
		return -ENOENT;
	fd = open_folder(names, path);
	return fd < 0 ? fd : maps_where(names->maps, fd, ret);
}

/* One that is gone, by what it was last called. */
static int folder_recall(const struct subject_names *names, const char *path, struct sw_dir *ret)
{
	_cleanup_free_ struct name_row *row = NULL;
	char text[PATH_TEXT_LEN];
	size_t n = 0;
	int r = names->maps ? maps_names(names->maps, SW_KIND_DIR, &row, &n) : -ENOENT;

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++) {
		const struct sw_name *name = &row[i].name;

		if (path_text(&name->path, name->skip, text, sizeof(text)) < 0 ||
		    strcmp(text, path) != 0)
			continue;
		*ret = row[i].subject.dir;
		return 0;
	}
	return -ENOENT;
}

static int folder_parse(const struct subject_names *names, const char *path, struct sw_dir *ret)
{
	struct sw_dir dir;
	int r = subject_dir(names, path, &dir);

	if (r == -ENOENT || r == -ENOTDIR)
		r = folder_recall(names, path, &dir);
	if (r == 0)
		*ret = dir;
	return r;
}

/* "8:1/131074/3405691582" or, without a generation, "8:1/131074"; and what follows it. */
static int numbers_parse(const char *text, struct sw_dir *ret, const char **ret_end)
{
	unsigned long long inode, generation = 0;
	unsigned int major, minor;
	int n = 0;

	if (sscanf(text, "%12u:%12u/%20llu%n/%10llu%n", &major, &minor, &inode, &n, &generation,
		   &n) < 3 ||
	    strspn(text, "0123456789:/") < (size_t)n || !inode || generation > UINT32_MAX ||
	    major >= 1u << (32 - DEVICE_MINOR_BITS) || minor >= 1u << DEVICE_MINOR_BITS)
		return -EINVAL;
	*ret = (struct sw_dir){ .inode = inode,
				.device = major << DEVICE_MINOR_BITS | minor,
				.generation = generation };
	*ret_end = text + n;
	return 0;
}

static int dir_number_parse(const char *text, struct sw_dir *ret)
{
	struct sw_dir dir;
	const char *end;

	if (numbers_parse(text, &dir, &end) < 0 || *end)
		return -EINVAL;
	*ret = dir;
	return 0;
}

/* Whose other folders? */
static int others_parse(const struct subject_names *names, const char *text, struct sw_dir *ret)
{
	struct sw_subject user = {};
	int r = uid_parse(names, text, &user);

	r = r == -EINVAL ? user_parse(names, text, &user) : r;
	if (r == 0)
		*ret = (struct sw_dir){ .uid = user.uid };
	return r;
}

static int dir_parse(const struct subject_names *names, const char *text, struct sw_subject *ret)
{
	switch (*text) {
	case '/':
		return folder_parse(names, text, &ret->dir);
	case '~':
		return others_parse(names, text + 1, &ret->dir);
	case '#':
		return dir_number_parse(text + 1, &ret->dir);
	default:
		return -EINVAL;
	}
}

/* ---- addresses ---- */

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
static int ip_parse(const struct subject_names *names, const char *text, struct sw_subject *ret)
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
	bits = v4 ? 32 : names->ipv6_prefix;
	if (*slash && number_parse(slash + 1, 128, &prefix) < 0)
		return -EINVAL;
	if (*slash && prefix != bits)
		shared = bits = shared_bits(v4, names->ipv6_prefix);
	if (*slash && prefix != bits)
		return -EINVAL;
	addr_cut(addr, v4 ? V4_MAPPED_BITS + bits : bits);

	memcpy(ret->addr, addr, sizeof(ret->addr));
	ret->uid = shared && v4 ? V4_MAPPED_BITS + shared : shared;
	return 0;
}

/* ---- every kind ---- */

static const struct {
	const char *prefix;
	enum sw_kind kind;
	int (*parse)(const struct subject_names *names, const char *text, struct sw_subject *ret);
	const char *hint;
} forms[] = {
	{ "uid:", SW_KIND_UID, uid_parse,
	  "after 'uid:' comes a number from 0 to 4294967294, or 'overflow'" },
	{ "user:", SW_KIND_UID, user_parse,
	  "after 'user:' comes the name of a user, as user:alice" },
	{ "dir:", SW_KIND_DIR, dir_parse,
	  "after 'dir:' comes the absolute path of a folder, as dir:/var/www/shop; its device, "
	  "inode and generation, as dir:#8:1/131074/3405691582; or '~' and the user in whose other "
	  "folders it was, as dir:~1004" },
	{ "unit:", SW_KIND_UNIT, unit_parse,
	  "after 'unit:' comes a path below the cgroup root, as unit:/system.slice/cron.service, "
	  "or '#' and its number" },
	{ "ip:", SW_KIND_IP, ip_parse,
	  "after 'ip:' comes an IPv4 address, or an IPv6 address (its network of 'ipv6_prefix' "
	  "bits is meant), as ip:10.8.0.7 or ip:2001:db8::1" },
};

int subject_parse(const struct subject_names *names, const char *text, struct sw_subject *ret,
		  const char **ret_hint)
{
	struct sw_subject subject = {};
	size_t i, length;
	int r;

	for (i = 0; i < ARRAY_SIZE(forms); i++) {
		length = strlen(forms[i].prefix);
		if (strncmp(text, forms[i].prefix, length) != 0)
			continue;
		subject.kind = forms[i].kind;
		r = forms[i].parse(names, text + length, &subject);
		if (r == 0)
			*ret = subject;
		else
			*ret_hint = forms[i].hint;
		return r;
	}
	*ret_hint = "write uid:1004, user:alice, dir:/var/www/shop, "
		    "unit:/system.slice/cron.service or ip:10.8.0.7";
	return -EINVAL;
}

/* ---- writing ---- */

static void uid_format(const struct subject_names *names, const struct sw_subject *subject,
		       char text[static SUBJECT_LEN])
{
	(void)names;
	if (subject->uid == SW_UID_OVERFLOW)
		snprintf(text, SUBJECT_LEN, "uid:overflow");
	else
		snprintf(text, SUBJECT_LEN, "uid:%u", subject->uid);
}

/* A folder by the path it was last seen at; a unit by the part of a cgroup's path that it is. */
static unsigned int names_below(const struct sw_subject *subject, const struct sw_name *name)
{
	char path[PATH_TEXT_LEN];

	if (subject->kind != SW_KIND_UNIT)
		return name->skip;
	for (unsigned int skip = 0; skip < name->path.count && skip < SW_PATH_NAMES; skip++)
		if (path_text(&name->path, skip, path, sizeof(path)) >= 0 &&
		    unit_hash(path) == subject->unit)
			return skip;
	return name->skip;
}

/* What it is called: 0, or -ENOENT. */
static int path_of(const struct subject_names *names, const struct sw_subject *subject,
		   char path[static PATH_TEXT_LEN], __u8 *ret_flags)
{
	struct sw_name name;

	if (!names->maps || maps_name(names->maps, subject, &name) < 0 ||
	    path_text(&name.path, names_below(subject, &name), path, PATH_TEXT_LEN) < 0)
		return -ENOENT;
	*ret_flags = name.path.flags;
	return 0;
}

static void unit_format(const struct subject_names *names, const struct sw_subject *subject,
			char text[static SUBJECT_LEN])
{
	char path[PATH_TEXT_LEN];
	__u8 flags;

	if (subject->unit == SW_PATH_HASH_START)
		snprintf(text, SUBJECT_LEN, "unit:/");
	else if (path_of(names, subject, path, &flags) == 0 && unit_hash(path) == subject->unit &&
		 is_clean(path))
		snprintf(text, SUBJECT_LEN, "unit:%s", path);
	else
		snprintf(text, SUBJECT_LEN, "unit:#%016llx", subject->unit);
}

static bool leads_to(const struct subject_names *names, const char *path, const struct sw_dir *dir)
{
	struct sw_dir there;

	return subject_dir(names, path, &there) == 0 && memcmp(&there, dir, sizeof(there)) == 0;
}

static void dir_number(const struct sw_dir *dir, char *text, size_t size)
{
	int n = snprintf(text, size, "%u:%u/%llu", dir->device >> DEVICE_MINOR_BITS,
			 dir->device & ((1u << DEVICE_MINOR_BITS) - 1), dir->inode);

	if (dir->generation)
		snprintf(text + n, size - n, "/%u", dir->generation);
}

static void dir_format(const struct subject_names *names, const struct sw_subject *subject,
		       char text[static SUBJECT_LEN])
{
	char path[PATH_TEXT_LEN], number[64];
	__u8 flags;

	if (!subject->dir.inode && subject->dir.uid == SW_UID_OVERFLOW) {
		snprintf(text, SUBJECT_LEN, "dir:~overflow");
	} else if (!subject->dir.inode) {
		snprintf(text, SUBJECT_LEN, "dir:~%u", subject->dir.uid);
	} else if (path_of(names, subject, path, &flags) == 0 && *path == '/' && is_clean(path) &&
		   leads_to(names, path, &subject->dir)) {
		snprintf(text, SUBJECT_LEN, "dir:%s", path);
	} else {
		dir_number(&subject->dir, number, sizeof(number));
		snprintf(text, SUBJECT_LEN, "dir:#%s", number);
	}
}

static void ip_format(const struct subject_names *names, const struct sw_subject *subject,
		      char text[static SUBJECT_LEN])
{
	const __u8 *addr = subject->addr;
	char address[INET6_ADDRSTRLEN];
	bool v4 = addr_is_v4(addr);

	if (!subject->uid && IN6_IS_ADDR_UNSPECIFIED((const struct in6_addr *)addr)) {
		snprintf(text, SUBJECT_LEN, "ip:overflow");
		return;
	}
	if (v4)
		inet_ntop(AF_INET, addr + 12, address, sizeof(address));
	else
		inet_ntop(AF_INET6, addr, address, sizeof(address));
	if (subject->uid)
		snprintf(text, SUBJECT_LEN, "ip:%s/%u", address,
			 v4 ? subject->uid - V4_MAPPED_BITS : subject->uid);
	else if (v4 || names->ipv6_prefix == 128)
		snprintf(text, SUBJECT_LEN, "ip:%s", address);
	else
		snprintf(text, SUBJECT_LEN, "ip:%s/%u", address, names->ipv6_prefix);
}

/* ---- names for people ---- */

static char *user_name(__u32 uid)
{
	_cleanup_free_ char *buffer = NULL;
	struct passwd user;

	if (uid == SW_UID_OVERFLOW || passwd_get(NULL, uid, &user, &buffer) < 0)
		return NULL;
	return strdup(user.pw_name);
}

static char *uid_name(const struct subject_names *names, const struct sw_subject *subject)
{
	(void)names;
	return user_name(subject->uid);
}

static char *unit_name(const struct subject_names *names, const struct sw_subject *subject)
{
	char path[PATH_TEXT_LEN];
	const char *slash;
	__u8 flags;

	if (path_of(names, subject, path, &flags) < 0)
		return NULL;
	slash = strrchr(path, '/');
	return strdup(slash && slash[1] ? slash + 1 : path);
}

static char *others_name(__u32 uid)
{
	_cleanup_free_ char *user = user_name(uid);
	char *name;
	int r;

	if (uid == SW_UID_OVERFLOW)
		r = asprintf(&name, "other folders of containers");
	else if (user)
		r = asprintf(&name, "other folders of %s", user);
	else
		r = asprintf(&name, "other folders of uid %u", uid);
	return r < 0 ? NULL : name;
}

static char *dir_name(const struct subject_names *names, const struct sw_subject *subject)
{
	char path[PATH_TEXT_LEN], *name;
	__u8 flags;

	if (!subject->dir.inode)
		return others_name(subject->dir.uid);
	if (path_of(names, subject, path, &flags) < 0)
		return NULL;
	if (asprintf(&name, "%s%s", path, flags & SW_PATH_DELETED ? " (deleted)" : "") < 0)
		return NULL;
	return name;
}

static char *ip_name(const struct subject_names *names, const struct sw_subject *subject)
{
	(void)names, (void)subject;
	return NULL;
}

static const struct {
	const char *kind;
	void (*format)(const struct subject_names *names, const struct sw_subject *subject,
		       char text[static SUBJECT_LEN]);
	char *(*name)(const struct subject_names *names, const struct sw_subject *subject);
} kinds[SW_KINDS] = {
	[SW_KIND_UID] = { "uid", uid_format, uid_name },
	[SW_KIND_UNIT] = { "unit", unit_format, unit_name },
	[SW_KIND_DIR] = { "dir", dir_format, dir_name },
	[SW_KIND_IP] = { "ip", ip_format, ip_name },
};

void subject_format(const struct subject_names *names, const struct sw_subject *subject,
		    char text[static SUBJECT_LEN])
{
	if (subject->kind < SW_KINDS)
		kinds[subject->kind].format(names, subject, text);
	else
		snprintf(text, SUBJECT_LEN, "?");
}

char *subject_name(const struct subject_names *names, const struct sw_subject *subject)
{
	return subject->kind < SW_KINDS ? kinds[subject->kind].name(names, subject) : NULL;
}

const char *subject_kind(enum sw_kind kind)
{
	return kind < SW_KINDS ? kinds[kind].kind : "?";
}

/* ---- keeping a name ---- */

/* The deepest name first, as the kernel walks. */
static void path_set(const char *path, struct sw_path *ret)
{
	const char *end = path + strlen(path), *start;

	*ret = (struct sw_path){};
	while (end > path) {
		for (start = end; start > path && start[-1] != '/';)
			start--;
		if (start < end) {
			if (ret->count == SW_PATH_NAMES ||
			    ret->len + (end - start) + 1 > SW_PATH_LEN) {
				ret->flags |= SW_PATH_TRUNCATED;
				return;
			}
			memcpy(ret->names + ret->len, start, end - start);
			ret->len += end - start + 1;
			ret->count++;
		}
		end = start > path ? start - 1 : path;
	}
}

/* Where a folder really is, without links on the way. */
static int real_path(const struct subject_names *names, const char *path, char *ret, size_t size)
{
	_cleanup_close_ int fd = open_folder(names, path);
	char link[64];
	ssize_t length;

	if (fd < 0)
		return fd;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, ret, size - 1);
	if (length < 0)
		return -errno;
	ret[length] = '\0';
	return 0;
}

static void note_path(const struct subject_names *names, const char *path,
		      const struct sw_subject *subject)
{
	struct sw_name name = {};
	char real[PATH_MAX];

	if (*path != '/' || !names->maps)
		return;
	if (subject->kind == SW_KIND_DIR && real_path(names, path, real, sizeof(real)) == 0)
		path = real;
	path_set(path, &name.path);
	maps_name_set(names->maps, subject, &name); /* without it the subject is a number */
}

void subject_note(const struct subject_names *names, const char *text,
		  const struct sw_subject *subject)
{
	const char *colon = strchr(text, ':');

	if (colon && (subject->kind == SW_KIND_DIR || subject->kind == SW_KIND_UNIT))
		note_path(names, colon + 1, subject);
}

/* ---- in files ---- */

#define SAVED_DIR "dir:=" /* and its numbers, a blank, its path */

void subject_save(const struct subject_names *names, const struct sw_subject *subject,
		  char text[static SUBJECT_SAVED_LEN])
{
	char path[PATH_TEXT_LEN] = "", number[64];
	__u8 flags = 0;

	if (subject->kind != SW_KIND_DIR || !subject->dir.inode) {
		subject_format(names, subject, text);
		return;
	}
	if (path_of(names, subject, path, &flags) < 0 || *path != '/')
		path[0] = '\0';
	dir_number(&subject->dir, number, sizeof(number));
	snprintf(text, SUBJECT_SAVED_LEN, SAVED_DIR "%s %s", number, path);
}

/* Where no generation was saved (a file system, or a version, without them) the inode must do. */
static bool is_still(const struct sw_dir *then, const struct sw_dir *now)
{
	return now->inode == then->inode &&
	       (!then->generation || now->generation == then->generation);
}

/* The numbers of devices are of one boot; inode and generation are the folder's while it lives. */
static int dir_load(const struct subject_names *names, const char *saved, bool same_boot,
		    struct sw_subject *ret)
{
	struct sw_subject subject = { .kind = SW_KIND_DIR };
	struct sw_dir then, now;
	const char *path;
	int r = numbers_parse(saved, &then, &path);

	if (r < 0 || *path != ' ')
		return -EINVAL;
	path++;
	subject.dir = then;
	if (!same_boot || !then.device) {
		r = *path ? subject_dir(names, path, &subject.dir) : -ESTALE;
		r = r < 0 ? r : is_still(&then, &subject.dir) ? 0 : -ESTALE;
	} else if (!then.generation && *path && subject_dir(names, path, &now) == 0 &&
		   is_still(&then, &now) && now.device == then.device) {
		subject.dir = now;
	}
	if (r < 0)
		return r == -ENOTDIR ? -ENOENT : r;
	note_path(names, path, &subject);
	*ret = subject;
	return 0;
}

int subject_load(const struct subject_names *names, const char *saved, bool same_boot,
		 struct sw_subject *ret)
{
	const char *hint;
	int r;

	if (!strncmp(saved, SAVED_DIR, strlen(SAVED_DIR)))
		return dir_load(names, saved + strlen(SAVED_DIR), same_boot, ret);
	r = subject_parse(names, saved, ret, &hint);
	if (r == 0)
		subject_note(names, saved, ret);
	return r;
}

void subject_save_again(const char *saved, char text[static SUBJECT_SAVED_LEN])
{
	struct sw_dir then;
	const char *rest;
	char number[64];

	if (strncmp(saved, SAVED_DIR, strlen(SAVED_DIR)) != 0 ||
	    numbers_parse(saved + strlen(SAVED_DIR), &then, &rest) < 0) {
		snprintf(text, SUBJECT_SAVED_LEN, "%s", saved);
		return;
	}
	then.device = 0;
	dir_number(&then, number, sizeof(number));
	snprintf(text, SUBJECT_SAVED_LEN, SAVED_DIR "%s%s", number, rest);
}

void subject_offender(const struct subject_names *names, const struct sw_subject *subject,
		      char text[static SUBJECT_SAVED_LEN])
{
	char path[PATH_TEXT_LEN] = "", number[64];
	__u8 flags;

	if (subject->kind == SW_KIND_UNIT) {
		snprintf(text, SUBJECT_SAVED_LEN, "unit:#%016llx", subject->unit);
	} else if (subject->kind == SW_KIND_DIR && subject->dir.inode) {
		path_of(names, subject, path, &flags);
		dir_number(&subject->dir, number, sizeof(number)); /* without the device, as above */
		snprintf(text, SUBJECT_SAVED_LEN, SAVED_DIR "%s %s", strchr(number, '/') + 1, path);
	} else {
		subject_format(names, subject, text);
	}
}

/* ---- order ---- */

static int compare(__u64 a, __u64 b)
{
	return a < b ? -1 : a > b;
}

int subject_compare(const struct sw_subject *a, const struct sw_subject *b)
{
	int r = compare(a->kind, b->kind);

	r = r ? r : compare(a->uid, b->uid);
	r = r ? r : compare(a->unit, b->unit);
	r = r ? r : compare(a->dir.inode, b->dir.inode);
	r = r ? r : compare(a->dir.device, b->dir.device);
	r = r ? r : compare(a->dir.generation, b->dir.generation);
	return r ? r : memcmp(a->addr, b->addr, sizeof(a->addr));
}
