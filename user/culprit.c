// SPDX-License-Identifier: GPL-2.0-or-later
#include "culprit.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "cleanup.h"
#include "evidence.h"
#include "path.h"
#include "scope.h"

#define PARENTS 16
#define ENVIRONMENT_LEN (256 << 10)
#define NS_PER_SECOND 1000000000ULL
#define FOLDER_NS NS_PER_SECOND
#define FOUND_MOST (64 << 10)

/* ---- processes ---- */

struct stat_line {
	uint32_t ppid;
	uint64_t started_ns; /* CLOCK_BOOTTIME, as coarse as the kernel's ticks */
	char comm[64];
};

/* The whole of a file of /proc, cut to `size` - 1; its length, -1: gone. */
static ssize_t read_file(int process, const char *name, char *text, size_t size)
{
	_cleanup_close_ int fd = openat(process, name, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t n = 0;

	if (fd < 0)
		return -1;
	while (length < size - 1 && (n = read(fd, text + length, size - 1 - length)) > 0)
		length += n;
	text[length] = '\0';
	return n < 0 ? -1 : (ssize_t)length;
}

/* "812 (name) S 1 …": the name may have anything, also a parenthesis. */
static bool read_stat(int process, struct stat_line *ret)
{
	char text[1024], *name, *end;
	unsigned long long started;
	uint32_t ppid;

	if (read_file(process, "stat", text, sizeof(text)) < 0)
		return false;
	name = strchr(text, '(');
	end = strrchr(text, ')');
	if (!name || !end || end < name ||
	    sscanf(end + 1,
		   " %*c %u %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s"
		   " %llu",
		   &ppid, &started) != 2)
		return false;
	*end = '\0';
	ret->ppid = ppid;
	ret->started_ns = started * (NS_PER_SECOND / sysconf(_SC_CLK_TCK));
	snprintf(ret->comm, sizeof(ret->comm), "%s", name + 1);
	return true;
}

/* A descriptor goes on meaning the same process, whoever gets its number next. */
static int open_process(uint32_t pid)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%u", pid);
	return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

/* Whose number it was then was started before; whoever has it now and was started before is it. */
static int open_culprit(const struct sw_evidence *record, struct stat_line *ret)
{
	_cleanup_close_ int process = record->pid ? open_process(record->pid) : -1;

	if (process < 0 || !read_stat(process, ret) || ret->started_ns > record->time_ns)
		return -1;
	return take_fd(&process);
}

/* ---- what is told ---- */

static void add_text(struct json_object *to, const char *key, const char *text)
{
	json_object_object_add(to, key, json_object_new_string(text));
}

static void add_parents(struct json_object *to, const struct stat_line *culprit)
{
	struct json_object *list = json_object_new_array(), *parent;
	struct stat_line line, child = *culprit;
	int i;

	for (i = 0; i < PARENTS && child.ppid; i++) {
		_cleanup_close_ int process = open_process(child.ppid);

		if (process < 0 || !read_stat(process, &line) || line.started_ns > child.started_ns)
			break;
		parent = json_object_new_object();
		json_object_object_add(parent, "pid", json_object_new_int64(child.ppid));
		add_text(parent, "comm", line.comm);
		json_object_array_add(list, parent);
		child = line;
	}
	json_object_object_add(to, "parents", list);
}

static const char *variable(const char *environment, size_t length, const char *name)
{
	const char *at = environment, *end = environment + length;
	size_t n = strlen(name);

	for (; at < end; at += strnlen(at, end - at) + 1)
		if (strncmp(at, name, n) == 0 && at[n] == '=')
			return at + n + 1;
	return NULL;
}

/* Behind an Action of Apache, SCRIPT_FILENAME is php-cgi itself. */
const char *culprit_script(const char *environment, size_t length)
{
	const char *script = variable(environment, length, "SCRIPT_FILENAME");
	const char *translated = variable(environment, length, "PATH_TRANSLATED");

	if (translated && variable(environment, length, "REDIRECT_URL"))
		script = translated;
	return script && script[0] == '/' && strlen(script) < PATH_MAX ? script : NULL;
}

static void add_script(struct json_object *to, int process)
{
	_cleanup_free_ char *environment = malloc(ENVIRONMENT_LEN);
	const char *script;
	ssize_t length;

	length = environment ? read_file(process, "environ", environment, ENVIRONMENT_LEN) : -1;
	script = length > 0 ? culprit_script(environment, length) : NULL;
	if (script)
		add_text(to, "script", script);
}

/* The line of cgroup2: "0::/system.slice/x.service". */
static void add_scope(struct json_object *to, int process)
{
	char text[PATH_MAX + 256], name[SCOPE_LEN], *path;

	if (read_file(process, "cgroup", text, sizeof(text)) < 0)
		return;
	path = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
	if (!path)
		return;
	path = strchr(path, '/');
	if (!path)
		return;
	path[strcspn(path, "\n")] = '\0';
	if (scope_container(path, name))
		add_text(to, "container", name);
	if (scope_unit(path, name))
		add_text(to, "systemd_unit", name);
}

/* ---- the folder ---- */

/* As sure as it is that this is the folder of the evidence. */
enum likeness {
	OTHER,
	ALIKE, /* its path ends like what is known of the path */
	SAME,  /* its numbers are, or its whole path */
};

/* stat(2) does not tell the kernel's numbers on every filesystem: then they differ. */
static bool is_folder(int folder, const struct sw_dir *dir)
{
	struct stat st;

	return fstat(folder, &st) == 0 && st.st_ino == dir->inode &&
	       (major(st.st_dev) << 20 | minor(st.st_dev)) == dir->device;
}

static enum likeness path_likeness(const char *path, const struct sw_path *known)
{
	char text[PATH_TEXT_LEN];
	const char *tail = text;
	size_t length;

	if (path_text(known, 0, text, sizeof(text)) < 0)
		return OTHER;
	if (!(known->flags & SW_PATH_TRUNCATED))
		return strcmp(path, text) == 0 ? SAME : OTHER;
	tail = strchr(text, '/');
	length = tail ? strlen(tail) : 0;
	return length > 1 && strlen(path) > length &&
			       strcmp(path + strlen(path) - length, tail) == 0
		       ? ALIKE
		       : OTHER;
}

/*
 * The kernel does not note its numbers: what ends like the path that was cut is the program, unless
 * it was exchanged for one of the same name and place by an exec() meanwhile.
 */
static void add_exe(struct json_object *to, int process, const struct sw_evidence *record)
{
	static const char removed[] = " (deleted)"; /* as procfs marks it */
	char path[PATH_MAX];
	ssize_t length;

	if (!(record->exe_path.flags & SW_PATH_TRUNCATED) || !record->exe_path.count)
		return;
	length = readlinkat(process, "exe", path, sizeof(path) - 1);
	if (length <= 0)
		return;
	path[length] = '\0';
	if (path_likeness(path, &record->exe_path) == OTHER && length > (ssize_t)strlen(removed) &&
	    strcmp(path + length - strlen(removed), removed) == 0)
		path[length - strlen(removed)] = '\0';
	if (path_likeness(path, &record->exe_path) == ALIKE)
		add_text(to, "exe", path);
}

/* The folder that it works in now, if that is still the one of the evidence; -1: it is not. */
static int open_cwd(int process, const struct sw_evidence *record, char path[static PATH_MAX],
		    enum likeness *ret)
{
	enum likeness likeness;
	_cleanup_close_ int folder = -1;
	ssize_t length = readlinkat(process, "cwd", path, PATH_MAX - 1);

	path[length > 0 ? length : 0] = '\0';
	folder = openat(process, "cwd", O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
	if (folder < 0 || length <= 0)
		return -1;
	likeness = is_folder(folder, &record->cwd) ? SAME : path_likeness(path, &record->cwd_path);
	if (likeness == OTHER)
		return -1;

	*ret = likeness;
	return take_fd(&folder);
}

/* By its path, also when the process has gone or moved on: a worker of php-fpm goes back. */
static int open_by_path(const struct sw_evidence *record, char path[static PATH_MAX])
{
	_cleanup_close_ int folder = -1;

	if (record->cwd_path.flags || path_text(&record->cwd_path, 0, path, PATH_MAX) < 0)
		return -1;
	folder = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	return folder >= 0 && is_folder(folder, &record->cwd) ? take_fd(&folder) : -1;
}

static void add_calls(struct json_object *to, const struct script *script)
{
	struct json_object *list = json_object_new_array();
	unsigned int bit;

	for (bit = 0; script_call(bit); bit++)
		if (script->calls >> bit & 1)
			json_object_array_add(list, json_object_new_string(script_call(bit)));
	json_object_object_add(to, "calls", list);
}

/* What runs no scripts was called by none, and a folder that is only alike has none to tell of. */
static void add_guess(struct json_object *to, struct json_object *candidates,
		      const struct sw_evidence *record, enum likeness likeness)
{
	struct json_object *first = json_object_array_get_idx(candidates, 0);

	if (first && likeness == SAME && evidence_interprets(record))
		add_text(to, "guess",
			 json_object_get_string(json_object_object_get(first, "path")));
}

/* NULL: there are too many folders already. */
static const struct culprit_folder *search(struct culprit_folders *folders, int folder)
{
	struct culprit_folder *at = folders->folder, *end = at + folders->n;
	struct stat st;

	if (fstat(folder, &st) < 0)
		return NULL;
	while (at < end && (at->inode != st.st_ino || at->device != st.st_dev))
		at++;
	if (at < end)
		return at;
	if (folders->n == CULPRIT_FOLDERS)
		return NULL;
	folders->n++;
	*at = (struct culprit_folder){ .device = st.st_dev, .inode = st.st_ino };
	at->n = scripts_find(folder, FOLDER_NS, at->script);
	return at;
}

static void add_candidates(struct json_object *to, const struct culprit_folder *folder,
			   const char *path, const struct sw_evidence *record,
			   enum likeness likeness)
{
	struct json_object *list = json_object_new_array(), *candidate;
	char full[PATH_MAX + SCRIPT_PATH_LEN];
	struct script script;
	size_t i;

	for (i = 0; i < folder->n; i++) {
		script = folder->script[i];
		snprintf(full, sizeof(full), "%s/%s", strcmp(path, "/") ? path : "", script.path);
		candidate = json_object_new_object();
		add_text(candidate, "path", full);
		json_object_object_add(candidate, "changed",
				       json_object_new_int64(script.changed_s));
		add_calls(candidate, &script);
		json_object_array_add(list, candidate);
	}
	add_guess(to, list, record, likeness);
	json_object_object_add(to, "candidates", list);
}

static void add_folder(struct json_object *to, int process, const struct sw_evidence *record,
		       struct culprit_folders *folders)
{
	const struct culprit_folder *searched;
	enum likeness likeness = SAME;
	_cleanup_close_ int folder = -1;
	char path[PATH_MAX];

	if (process >= 0)
		folder = open_cwd(process, record, path, &likeness);
	if (folder >= 0 && likeness == SAME && (record->cwd_path.flags & SW_PATH_TRUNCATED))
		add_text(to, "cwd", path);
	if (folder < 0)
		folder = open_by_path(record, path);
	searched = folder >= 0 ? search(folders, folder) : NULL;
	if (searched)
		add_candidates(to, searched, path, record, likeness);
}

/* Only what is full of escapes gets so long, and is not worth its room in the history. */
static void cap(struct json_object *found)
{
	size_t length;

	json_object_to_json_string_length(found, JSON_C_TO_STRING_PLAIN, &length);
	if (length > FOUND_MOST)
		json_object_object_del(found, "candidates");
}

struct json_object *culprit_look(const struct sw_evidence *record, struct culprit_folders *folders)
{
	struct json_object *found = json_object_new_object();
	_cleanup_close_ int process = -1;
	struct stat_line line;

	if (!found)
		return NULL;
	json_object_object_add(found, "id", json_object_new_uint64(record->id));
	process = open_culprit(record, &line);
	if (process >= 0) {
		add_parents(found, &line);
		add_scope(found, process);
		add_script(found, process);
		add_exe(found, process, record);
	}
	add_folder(found, process, record, folders);
	cap(found);
	return found;
}
