// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <linux/bpf.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include "culprit.h"
#include "scope.h"
#include "world.h"

/* ---- cgroups ---- */

static const char *container(const char *path)
{
	static char name[SCOPE_LEN];

	return scope_container(path, name) ? name : "none";
}

static const char *unit(const char *path)
{
	static char name[SCOPE_LEN];

	return scope_unit(path, name) ? name : "none";
}

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

TEST(containers_are_known_by_their_cgroup)
{
	CHECK_STR(container("/system.slice/docker-" ID ".scope"), ID);
	CHECK_STR(container("/docker/" ID), ID);
	CHECK_STR(container("/machine.slice/libpod-" ID ".scope/container"), ID);
	CHECK_STR(container("/kubepods.slice/kubepods-pod1.slice/cri-containerd-" ID ".scope"), ID);
	CHECK_STR(container("/lxc.payload.shop/system.slice/cron.service"), "shop");
	CHECK_STR(container("/machine.slice/machine-web.scope"), "web");
	CHECK_STR(container("/system.slice/docker-abc.scope"), "abc");
	CHECK_STR(container("/system.slice/php8.2-fpm.service"), "none");
	CHECK_STR(container("/user.slice/session-0123456789.scope"), "none");
	CHECK_STR(container(""), "none");
}

TEST(the_systems_unit_is_the_outermost)
{
	CHECK_STR(unit("/system.slice/php8.2-fpm.service"), "php8.2-fpm.service");
	CHECK_STR(unit("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service"),
		  "user@1000.service");
	CHECK_STR(unit("/machine.slice/machine-web.scope/system.slice/cron.service"),
		  "machine-web.scope");
	CHECK_STR(unit("/system.slice/.service"), "none");
	CHECK_STR(unit("/"), "none");
}

TEST(a_name_without_end_is_none)
{
	char path[SCOPE_LEN + 32] = "/";

	memset(path + 1, 'a', SCOPE_LEN);
	strcpy(path + 1 + SCOPE_LEN, ".service");
	CHECK_STR(unit(path), "none");
}

/* ---- CGI ---- */

#define SCRIPT(environment) (culprit_script(environment, sizeof(environment) - 1))

TEST(the_script_of_a_cgi_program_is_in_its_environment)
{
	CHECK_STR(SCRIPT("A=b\0SCRIPT_FILENAME=/srv/x.php\0C=d\0"), "/srv/x.php");
	CHECK_STR(SCRIPT("SCRIPT_FILENAME=/usr/bin/php-cgi\0REDIRECT_URL=/x.php\0"
			 "PATH_TRANSLATED=/srv/x.php\0"),
		  "/srv/x.php");
	CHECK_STR(SCRIPT("SCRIPT_FILENAME=/srv/x.php\0PATH_TRANSLATED=/srv/path\0"), "/srv/x.php");
	CHECK(!SCRIPT("XSCRIPT_FILENAME=/srv/x.php\0"));
	CHECK(!SCRIPT("SCRIPT_FILENAME=x.php\0"));
	CHECK(!SCRIPT(""));
}

/* ---- folders ---- */

#define SECOND 1000000000ULL

static size_t find(struct script *script)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t n = scripts_find(fd, SECOND, script);

	close(fd);
	return n;
}

static bool calls(const struct script *script, const char *name)
{
	unsigned int bit;

	for (bit = 0; script_call(bit); bit++)
		if (strcmp(script_call(bit), name) == 0)
			return script->calls >> bit & 1;
	return false;
}

TEST(scripts_that_send_are_found_two_levels_down)
{
	struct script script[SCRIPTS];
	make_file("/index.php", "<?php echo 'hello';");
	make_file("/sends.php", "<?php Mail ('a'); mail('x');");
	make("/a");
	make("/a/b");
	make("/a/b/c");
	make_file("/a/b/deep.php", "<?php $s = FSockOpen('x', 25);");
	make_file("/a/b/c/too-deep.php", "<?php mail('x');");
	CHECK_EQ(symlink("sends.php", at("/link.php")), 0);
	CHECK_EQ(mkfifo(at("/fifo.php"), 0644), 0);

	if (CHECK_EQ(find(script), 2)) {
		bool first = strcmp(script[0].path, "sends.php") == 0;
		const struct script *sends = &script[first ? 0 : 1], *deep = &script[first ? 1 : 0];

		CHECK_STR(sends->path, "sends.php");
		CHECK(calls(sends, "mail"));
		CHECK(!calls(sends, "fsockopen"));
		CHECK_STR(deep->path, "a/b/deep.php");
		CHECK(calls(deep, "fsockopen"));
	}
	world_clear();
}

TEST(other_functions_are_not_taken_for_mail)
{
	struct script script[SCRIPTS];

	make_file("/a.php", "<?php sendmail('x'); $this->mail('x'); x_mail('x'); Foo::mail('y');");
	CHECK_EQ(find(script), 0);
	world_clear();
}

TEST(the_latest_five_of_many)
{
	struct script script[SCRIPTS];
	char name[32];
	int i;

	for (i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "/%d.php", i);
		make_file(name, "<?php mail('x');");
	}
	CHECK_EQ(find(script), SCRIPTS);
	world_clear();
}

TEST(when_its_time_is_over_a_search_ends)
{
	struct script script[SCRIPTS];
	int fd;

	make_file("/spam.php", "<?php mail('x');");
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CHECK_EQ(scripts_find(fd, 0, script), 0);
	CHECK_EQ(scripts_find(fd, SECOND, script), 1);
	close(fd);
	world_clear();
}

/* ---- processes ---- */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return now.tv_sec * SECOND + now.tv_nsec;
}

static struct json_object *look(const struct sw_evidence *record)
{
	static struct culprit_folders folders;

	folders.n = 0;
	return culprit_look(record, &folders);
}

static void becomes(pid_t pid, const char *name)
{
	char path[64], comm[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	for (int tries = 1000; strcmp(comm, name) && tries > 0; tries--) {
		usleep(10000);
		f = fopen(path, "r");
		if (!f || !fgets(comm, sizeof(comm), f))
			abort();
		fclose(f);
	}
}

/* Evidence of a child in `dir` with this environment, until its standard input ends. */
static void child_start(struct sw_evidence *record, const char *variable, int *ret_stdin)
{
	char *const argv[] = { "cat", NULL }, *const environment[] = { (char *)variable, NULL };
	struct stat st;
	int end[2];
	pid_t pid;

	if (pipe(end) < 0)
		abort();
	pid = fork();
	if (pid == 0) {
		dup2(end[0], STDIN_FILENO);
		close(end[0]);
		close(end[1]);
		if (chdir(dir) == 0)
			execve("/bin/cat", argv, environment);
		_exit(1);
	}
	close(end[0]);
	*ret_stdin = end[1];
	becomes(pid, "cat\n");
	stat(dir, &st);
	record->pid = pid;
	record->time_ns = now_ns();
	record->cwd = (struct sw_dir){ .inode = st.st_ino,
				       .device = major(st.st_dev) << 20 | minor(st.st_dev) };
}

static const char *text(struct json_object *in, const char *key)
{
	const char *t = json_object_get_string(json_object_object_get(in, key));

	return t ? t : "";
}

TEST(of_a_living_process_its_script_parents_and_folder_are_found)
{
	struct sw_evidence record = { .id = 0xfffffffffffffff8, .time_ns = now_ns() };
	struct json_object *found, *list;
	int input;

	make_file("/spam.php", "<?php mail('x');");
	child_start(&record, "SCRIPT_FILENAME=/srv/a\033b.php", &input);
	record.cwd_path.flags = SW_PATH_TRUNCATED;

	found = look(&record);
	CHECK_EQ(json_object_get_uint64(json_object_object_get(found, "id")), record.id);
	CHECK_STR(text(found, "script"), "/srv/a\033b.php");
	CHECK_STR(text(found, "cwd"), dir);
	list = json_object_object_get(found, "parents");
	CHECK_EQ(json_object_get_int(
			 json_object_object_get(json_object_array_get_idx(list, 0), "pid")),
		 getpid());
	list = json_object_object_get(found, "candidates");
	CHECK_EQ(json_object_array_length(list), 1);
	json_object_put(found);

	/* Not the process that made the attempt: it began later. */
	record.time_ns = 1;
	found = look(&record);
	CHECK(!json_object_object_get(found, "script"));
	CHECK(!json_object_object_get(found, "candidates"));
	json_object_put(found);
	close(input);
	waitpid(record.pid, NULL, 0);
	world_clear();
}

TEST(a_process_that_moved_on_tells_nothing_of_the_folder)
{
	struct sw_evidence record = { .id = 1 };
	struct json_object *found;
	int input;

	make_file("/spam.php", "<?php mail('x');");
	child_start(&record, "A=b", &input);
	record.cwd = (struct sw_dir){ .inode = 1, .device = 1 };
	memcpy(record.cwd_path.names, "elsewhere", 10);
	record.cwd_path.len = 10;
	record.cwd_path.count = 1;
	found = look(&record);
	CHECK(!json_object_object_get(found, "candidates"));
	json_object_put(found);
	close(input);
	waitpid(record.pid, NULL, 0);
	world_clear();
}

/* The numbers of its folder are others, as on overlayfs; of the path so many names are known. */
static struct json_object *look_by_path(struct sw_evidence *record, __u32 names)
{
	char path[sizeof(dir)], *slash;
	struct sw_path *known = &record->cwd_path;

	strcpy(path, dir);
	known->len = known->count = 0;
	while (known->count < names && (slash = strrchr(path, '/'))) {
		strcpy(known->names + known->len, slash + 1);
		known->len += strlen(slash + 1) + 1;
		known->count++;
		*slash = '\0';
	}
	record->cwd = (struct sw_dir){ .inode = 1, .device = 1 };
	strcpy(record->exe_path.names, "php");
	record->exe_path.count = 1;
	record->exe_path.len = 4;
	return look(record);
}

TEST(by_the_end_of_a_path_no_script_is_guessed)
{
	struct sw_evidence record = { .id = 1 };
	struct json_object *found;
	int input;

	make_file("/spam.php", "<?php mail('x');");
	child_start(&record, "A=b", &input);
	found = look_by_path(&record, PATH_MAX);
	CHECK_STR(text(found, "guess"), at("/spam.php"));
	json_object_put(found);

	record.cwd_path.flags = SW_PATH_TRUNCATED;
	found = look_by_path(&record, 1);
	CHECK_EQ(json_object_array_length(json_object_object_get(found, "candidates")), 1);
	CHECK(!json_object_object_get(found, "guess"));
	CHECK(!json_object_object_get(found, "cwd"));
	json_object_put(found);
	close(input);
	waitpid(record.pid, NULL, 0);
	world_clear();
}

TEST(an_executable_is_completed_if_it_ends_like_what_is_known)
{
	struct sw_evidence record = { .id = 1 };
	struct sw_path *known = &record.exe_path;
	struct json_object *found;
	char program[PATH_MAX] = "", *tail;
	int input;

	child_start(&record, "A=b", &input);
	if (!realpath("/bin/cat", program))
		abort();
	tail = strrchr(program, '/') + 1;
	*known = (struct sw_path){ .count = 1, .flags = SW_PATH_TRUNCATED };
	known->len = strlen(strcpy(known->names, tail)) + 1;
	found = look(&record);
	CHECK_STR(text(found, "exe"), program);
	json_object_put(found);

	known->names[0] = 'X'; /* it executes another program now */
	found = look(&record);
	CHECK(!json_object_object_get(found, "exe"));
	json_object_put(found);

	known->names[0] = *tail;
	known->flags = 0; /* it is whole */
	found = look(&record);
	CHECK(!json_object_object_get(found, "exe"));
	json_object_put(found);
	close(input);
	waitpid(record.pid, NULL, 0);
}

static size_t candidates(const struct sw_evidence *record, struct culprit_folders *folders)
{
	struct json_object *found = culprit_look(record, folders);
	size_t n = json_object_array_length(json_object_object_get(found, "candidates"));

	json_object_put(found);
	return n;
}

TEST(a_folder_is_searched_once_in_a_round)
{
	static struct culprit_folders folders;
	struct sw_evidence record = { .id = 1 };
	int input;

	make_file("/one.php", "<?php mail('x');");
	child_start(&record, "A=b", &input);
	CHECK_EQ(candidates(&record, &folders), 1);
	make_file("/two.php", "<?php mail('x');");
	CHECK_EQ(candidates(&record, &folders), 1);
	CHECK_EQ(folders.n, 1);
	folders.n = 0;
	CHECK_EQ(candidates(&record, &folders), 2);
	close(input);
	waitpid(record.pid, NULL, 0);
	world_clear();
}

TEST(nobody_is_no_process)
{
	struct sw_evidence record = { .id = 1, .time_ns = UINT64_MAX };
	struct json_object *found = look(&record);

	CHECK(!json_object_object_get(found, "parents"));
	json_object_put(found);
}
