/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "units.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/queue.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "clock.h"
#include "log.h"
#include "path.h"

#define CGROUPS_MOST 65536 /* rows of a map `units` */
#define DEPTH_MOST 64	   /* levels; a container may nest cgroups as it likes */
#define MILLISECOND 1000000ULL
/* Whoever makes cgroups in a flood has a fifth of the loop, a piece at a time. */
#define PIECE_NS (20 * MILLISECOND)
#define PAUSES_EACH 4 /* as long as the piece before it */
#define PAUSE_LEAST_NS (10 * MILLISECOND)
#define PAUSE_MOST_NS (150 * MILLISECOND)
#define ACCURACY_USEC 1000
#define NAMES_MOST 256 /* looked at one by one in a piece; of more, the folder that they are in */
#define WATCHED (IN_CREATE | IN_DELETE | IN_MOVE | IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK)

struct cgroup {
	char *path; /* below the mount, "/system.slice"; the mount itself: "" */
	uint64_t id;
	int wd; /* -1: not watched */
	unsigned int depth;
	unsigned int round; /* of looks: when it was last seen */
	struct sw_unit_match match;
	bool within;  /* a whole unit, itself or one above it */
	bool service; /* likewise one that ends in .service or .scope */
	bool whole;   /* has a row */
	bool stale;   /* in the list of those */
	struct cgroup *parent;
	LIST_HEAD(, cgroup) children;
	LIST_ENTRY(cgroup) sibling;
	TAILQ_ENTRY(cgroup) next_stale;
};

struct units {
	int mount; /* descriptor */
	char *attached;
	const struct globs *globs; /* NULL: no rows yet */
	int (*put)(const struct sw_cgroup *cgroup, const struct sw_unit_match *match, void *u);
	void *userdata;
	void *by_path, *by_wd; /* trees of struct cgroup, see tsearch(3) */
	struct cgroup *top;
	size_t n;
	unsigned int round;
	int inotify; /* -1: nothing is watched */
	bool told_watches, told_many;
	sd_event_source *source, *pause;
	TAILQ_HEAD(, cgroup) stale; /* what is in them is to be looked at again */
	struct cgroup *listed;	    /* is being looked at again; NULL: none */
	DIR *listing;
	uint64_t until_ns; /* the end of the piece; 0: it takes as long as it takes */
};

static int order_path(const void *a, const void *b)
{
	return strcmp(((const struct cgroup *)a)->path, ((const struct cgroup *)b)->path);
}

static int order_wd(const void *a, const void *b)
{
	const struct cgroup *x = a, *y = b;

	return (x->wd > y->wd) - (x->wd < y->wd);
}

static struct cgroup *find_path(struct units *units, char *path)
{
	const struct cgroup key = { .path = path };
	struct cgroup **found = tfind(&key, &units->by_path, order_path);

	return found ? *found : NULL;
}

static struct cgroup *find_wd(struct units *units, int wd)
{
	const struct cgroup key = { .wd = wd };
	struct cgroup **found = tfind(&key, &units->by_wd, order_wd);

	return found ? *found : NULL;
}

/* ---- what a cgroup is ---- */

static bool is_service(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot && (!strcmp(dot, ".service") || !strcmp(dot, ".scope"));
}

/* By its path, and by what was found out of those above it. */
static void judge(const struct globs *globs, struct cgroup *cgroup)
{
	const struct cgroup *up = cgroup->parent;
	__u64 here = up ? unit_globs_match(globs, cgroup->path) : 0;

	if (up && up->service) /* what a service makes below itself it names as it likes */
		here &= ~SW_EXEMPT_BIT;
	cgroup->match.set = here | (up ? up->match.set : 0);
	cgroup->whole = here || (up && !up->service && is_service(cgroup->path));
	cgroup->service = up && (up->service || is_service(cgroup->path));
	cgroup->within = cgroup->whole || (up && up->within);
	cgroup->match.unit = up && up->within ? up->match.unit
			     : cgroup->whole  ? unit_hash(cgroup->path)
					      : 0;
}

static void judge_and_put(struct units *units, struct cgroup *cgroup)
{
	const struct sw_cgroup key = { cgroup->id };

	if (!units->globs)
		return;
	judge(units->globs, cgroup);
	if (cgroup->whole)
		units->put(&key, &cgroup->match, units->userdata);
}

/* ---- coming and going ---- */

static void set_stale(struct units *units, struct cgroup *cgroup)
{
	if (!cgroup->stale)
		TAILQ_INSERT_TAIL(&units->stale, cgroup, next_stale);
	cgroup->stale = true;
}

static void list_end(struct units *units)
{
	if (units->listed)
		closedir(units->listing);
	units->listed = NULL;
}

static void set_fresh(struct units *units, struct cgroup *cgroup)
{
	if (cgroup->stale)
		TAILQ_REMOVE(&units->stale, cgroup, next_stale);
	cgroup->stale = false;
	if (units->listed == cgroup)
		list_end(units);
}

static void set_all_stale(struct units *units, struct cgroup *cgroup)
{
	struct cgroup *child;

	set_stale(units, cgroup);
	LIST_FOREACH (child, &cgroup->children, sibling)
		set_all_stale(units, child);
}

static void unwatch(struct units *units, struct cgroup *cgroup)
{
	if (cgroup->wd < 0)
		return;
	tdelete(cgroup, &units->by_wd, order_wd);
	inotify_rm_watch(units->inotify, cgroup->wd); /* the inode stays as long as it is watched */
	cgroup->wd = -1;
}

/* With all below it. */
static void forget(struct units *units, struct cgroup *cgroup)
{
	const struct sw_cgroup key = { cgroup->id };

	while (!LIST_EMPTY(&cgroup->children))
		forget(units, LIST_FIRST(&cgroup->children));
	if (cgroup->whole && units->globs)
		units->put(&key, NULL, units->userdata);
	unwatch(units, cgroup);
	set_fresh(units, cgroup);
	tdelete(cgroup, &units->by_path, order_path);
	if (cgroup->parent)
		LIST_REMOVE(cgroup, sibling);
	units->n--;
	free(cgroup->path);
	free(cgroup);
}

static void tell_watches(struct units *units, int error)
{
	if (!units->told_watches)
		log_warning("not every cgroup can be watched (%s): new ones there are seen within "
			    "a minute; raise fs.inotify.max_user_watches",
			    strerror(-error));
	units->told_watches = true;
}

/* This very one: at its path there may be another by now. */
static void watch(struct units *units, struct cgroup *cgroup, int fd)
{
	char path[64];

	if (units->inotify < 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	cgroup->wd = inotify_add_watch(units->inotify, path, WATCHED & ~IN_DONT_FOLLOW);
	if (cgroup->wd < 0)
		return tell_watches(units, -errno);
	if (!tsearch(cgroup, &units->by_wd, order_wd)) {
		inotify_rm_watch(units->inotify, cgroup->wd);
		cgroup->wd = -1;
	}
}

static struct cgroup *cgroup_new(struct units *units, struct cgroup *parent, char *path,
				 uint64_t id)
{
	struct cgroup *cgroup = calloc(1, sizeof(*cgroup));

	if (!cgroup)
		return NULL;
	*cgroup = (struct cgroup){ .path = path, .id = id, .wd = -1, .parent = parent };
	cgroup->depth = parent ? parent->depth + 1 : 0;
	LIST_INIT(&cgroup->children);
	if (!tsearch(cgroup, &units->by_path, order_path)) {
		free(cgroup);
		return NULL;
	}
	if (parent)
		LIST_INSERT_HEAD(&parent->children, cgroup, sibling);
	units->n++;
	return cgroup;
}

static bool has_room(struct units *units)
{
	if (units->n < CGROUPS_MOST)
		return true;
	if (!units->told_many)
		log_warning("there are more than %d cgroups: of those above policies know only "
			    "what their parents are",
			    CGROUPS_MOST);
	units->told_many = true;
	return false;
}

/* ---- looking ---- */

static bool is_below(const char *path, const char *dir)
{
	size_t length = strlen(dir);

	return !strncmp(path, dir, length) && (path[length] == '/' || !path[length]);
}

static bool is_relevant(const struct units *units, const char *path)
{
	return is_below(path, units->attached) || is_below(units->attached, path);
}

static void look(struct units *units, struct cgroup *parent, const char *name);

static bool is_late(const struct units *units)
{
	return units->until_ns && now_ns() >= units->until_ns;
}

/* Within a piece: what it was it is, and what happened in it is heard of by itself. */
static bool is_known(struct units *units, const struct cgroup *parent, const struct dirent *entry)
{
	_cleanup_free_ char *path = NULL;
	struct cgroup *cgroup;

	if (!units->until_ns)
		return false;
	if (asprintf(&path, "%s/%s", parent->path, entry->d_name) < 0) {
		path = NULL;
		return false;
	}
	cgroup = find_path(units, path);
	if (!cgroup || cgroup->id != entry->d_ino)
		return false;
	cgroup->round = units->round;
	return true;
}

static bool is_cgroup(const struct dirent *entry)
{
	return entry->d_type == DT_DIR && strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

static DIR *open_names(int fd)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);

	if (!dir)
		closep(&copy);
	return dir;
}

/* What a piece has no time for, a later one has. */
static void look_below(struct units *units, struct cgroup *cgroup, int fd)
{
	DIR *dir = open_names(fd);
	const struct dirent *entry;

	if (!dir)
		return;
	while (!cgroup->stale && (entry = readdir(dir))) {
		if (!is_cgroup(entry) || is_known(units, cgroup, entry))
			continue;
		look(units, cgroup, entry->d_name);
		if (is_late(units))
			set_stale(units, cgroup);
	}
	closedir(dir);
}

/* Whoever can make cgroups in it names them as he likes. */
static bool names_are_roots(const struct stat *st)
{
	return st->st_uid == 0 && !(st->st_mode & S_IWOTH) &&
	       (st->st_gid == 0 || !(st->st_mode & S_IWGRP));
}

static void forget_below(struct units *units, struct cgroup *cgroup)
{
	while (!LIST_EMPTY(&cgroup->children))
		forget(units, LIST_FIRST(&cgroup->children));
	unwatch(units, cgroup);
	set_fresh(units, cgroup);
}

/* Watched before it is read: what is made meanwhile is seen either way. False: it is not to be. */
static bool prepare(struct units *units, struct cgroup *cgroup, int fd)
{
	struct stat st;

	cgroup->round = units->round;
	if (fstat(fd, &st) < 0 || !names_are_roots(&st) || cgroup->depth >= DEPTH_MOST) {
		forget_below(units, cgroup);
		return false;
	}
	if (cgroup->wd < 0)
		watch(units, cgroup, fd);
	return true;
}

static void look_into(struct units *units, struct cgroup *cgroup, int fd)
{
	struct stat st;

	if (!prepare(units, cgroup, fd))
		return;
	/* Its links are its cgroups, `.` and its own name: most have none, and are many files. */
	if (fstat(fd, &st) < 0 || st.st_nlink != 2)
		look_below(units, cgroup, fd);
}

static struct cgroup *appeared(struct units *units, struct cgroup *parent, char **path, uint64_t id)
{
	struct cgroup *cgroup;

	if (!is_relevant(units, *path) || !has_room(units))
		return NULL;
	cgroup = cgroup_new(units, parent, *path, id);
	if (!cgroup)
		return NULL;
	*path = NULL;
	judge_and_put(units, cgroup);
	return cgroup;
}

/* What is there under this name now? What happened meanwhile does not matter. */
static void look(struct units *units, struct cgroup *parent, const char *name)
{
	_cleanup_free_ char *path = NULL;
	_cleanup_close_ int fd = -1;
	struct cgroup *cgroup;
	struct stat st;
	bool there;

	if (asprintf(&path, "%s/%s", parent->path, name) < 0) {
		path = NULL;
		return;
	}
	fd = openat(units->mount, path + 1, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	there = fd >= 0 && fstat(fd, &st) == 0;
	cgroup = find_path(units, path);
	if (cgroup && (!there || st.st_ino != cgroup->id)) {
		forget(units, cgroup);
		cgroup = NULL;
	}
	if (!there)
		return;
	if (!cgroup)
		cgroup = appeared(units, parent, &path, st.st_ino);
	if (cgroup)
		look_into(units, cgroup, fd);
}

static void forget_unseen(struct units *units, struct cgroup *cgroup)
{
	struct cgroup *child, *next;

	for (child = LIST_FIRST(&cgroup->children); child; child = next) {
		next = LIST_NEXT(child, sibling);
		if (child->round != units->round)
			forget(units, child);
		else
			forget_unseen(units, child);
	}
}

void units_look(struct units *units)
{
	list_end(units);
	while (!TAILQ_EMPTY(&units->stale))
		set_fresh(units, TAILQ_FIRST(&units->stale));
	units->round++;
	look_into(units, units->top, units->mount);
	forget_unseen(units, units->top);
}

/* ---- rows ---- */

static void judge_all(const struct globs *globs, struct cgroup *cgroup, struct unit_row *row,
		      size_t *n)
{
	struct cgroup *child;

	judge(globs, cgroup);
	if (cgroup->whole)
		row[(*n)++] = (struct unit_row){ { cgroup->id }, cgroup->match };
	LIST_FOREACH (child, &cgroup->children, sibling)
		judge_all(globs, child, row, n);
}

int units_rows(struct units *units, const struct globs *globs, struct unit_row **ret, size_t *ret_n)
{
	struct unit_row *row = calloc(units->n, sizeof(*row)); /* at least the top */
	size_t n = 0;

	if (!row)
		return -ENOMEM;
	judge_all(globs, units->top, row, &n);
	units->globs = globs;
	*ret = row;
	*ret_n = n;
	return 0;
}

/* ---- watching ---- */

/* It may have been given to somebody since it was made: systemd does so with what it delegates. */
static bool still_roots(const struct units *units, const struct cgroup *cgroup)
{
	struct stat st;

	return fstatat(units->mount, *cgroup->path ? cgroup->path + 1 : "", &st,
		       AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0 &&
	       names_are_roots(&st);
}

static void hear(struct units *units, const struct inotify_event *event, size_t heard)
{
	struct cgroup *cgroup;

	if (event->mask & IN_Q_OVERFLOW)
		return set_all_stale(units, units->top);
	cgroup = find_wd(units, event->wd);
	if (!cgroup)
		return;
	if (event->mask & IN_IGNORED) {
		tdelete(cgroup, &units->by_wd, order_wd);
		cgroup->wd = -1;
	} else if (event->mask & IN_ISDIR && event->len) {
		if (heard > NAMES_MOST || cgroup->stale)
			set_stale(units, cgroup);
		else if (still_roots(units, cgroup))
			look(units, cgroup, event->name);
		else
			forget_below(units, cgroup);
	}
}

/* Returns how many happened. */
static size_t hear_all(struct units *units)
{
	_Alignas(struct inotify_event) char buffer[64 * 1024];
	const struct inotify_event *event;
	size_t heard = 0;
	ssize_t n, at;

	do {
		n = read(units->inotify, buffer, sizeof(buffer));
		for (at = 0; at < n; at += sizeof(*event) + event->len) {
			event = (const struct inotify_event *)(buffer + at);
			hear(units, event, ++heard);
		}
	} while (n > 0 && !is_late(units));
	return heard;
}

/* ---- looking again, as far as a piece goes ---- */

/* Of one that has another's place its parent hears. */
static void list_begin(struct units *units, struct cgroup *cgroup)
{
	_cleanup_close_ int fd = openat(units->mount, *cgroup->path ? cgroup->path + 1 : ".",
					O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	set_fresh(units, cgroup);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_ino != cgroup->id)
		return;
	units->round++;
	if (!prepare(units, cgroup, fd))
		return;
	units->listing = open_names(fd);
	units->listed = units->listing ? cgroup : NULL;
}

/* What is made or goes behind it is heard of. */
static void list_on(struct units *units)
{
	struct cgroup *child, *next;
	const struct dirent *entry;

	while ((entry = readdir(units->listing))) {
		if (is_cgroup(entry) && !is_known(units, units->listed, entry))
			look(units, units->listed, entry->d_name);
		if (is_late(units))
			return;
	}
	for (child = LIST_FIRST(&units->listed->children); child; child = next) {
		next = LIST_NEXT(child, sibling);
		if (child->round != units->round)
			forget(units, child);
	}
	list_end(units);
}

/* True: there is more to do. */
static bool look_again(struct units *units)
{
	if (!units->listed && !TAILQ_EMPTY(&units->stale))
		list_begin(units, TAILQ_FIRST(&units->stale));
	if (units->listed)
		list_on(units);
	return units->listed || !TAILQ_EMPTY(&units->stale);
}

/* ---- pieces ---- */

static void rest(struct units *units, uint64_t took_ns)
{
	uint64_t pause_ns = PAUSES_EACH * took_ns;

	pause_ns = pause_ns < PAUSE_LEAST_NS ? PAUSE_LEAST_NS : pause_ns;
	pause_ns = pause_ns > PAUSE_MOST_NS ? PAUSE_MOST_NS : pause_ns;
	if (sd_event_source_set_time_relative(units->pause, pause_ns / 1000) >= 0 &&
	    sd_event_source_set_enabled(units->pause, SD_EVENT_ONESHOT) >= 0)
		sd_event_source_set_enabled(units->source, SD_EVENT_OFF);
}

/* A piece of what there is to do; after it others have their turn. */
static void work(struct units *units)
{
	uint64_t began_ns = now_ns();
	bool busy;

	units->until_ns = began_ns + PIECE_NS;
	busy = hear_all(units) > 0 || units->listed || !TAILQ_EMPTY(&units->stale);
	while (look_again(units) && !is_late(units))
		;
	units->until_ns = 0;
	if (busy)
		rest(units, now_ns() - began_ns);
	else
		sd_event_source_set_enabled(units->source, SD_EVENT_ON);
}

void units_hear(struct units *units)
{
	if (units->inotify >= 0)
		work(units);
}

static int on_inotify(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	(void)source, (void)fd, (void)revents;
	work(userdata);
	return 0;
}

static int on_pause(sd_event_source *source, uint64_t usec, void *userdata)
{
	(void)source, (void)usec;
	work(userdata);
	return 0;
}

int units_watch(struct units *units, sd_event *loop)
{
	int r;

	if (units->inotify < 0)
		return 0;
	r = sd_event_add_io(loop, &units->source, units->inotify, EPOLLIN, on_inotify, units);
	if (r >= 0)
		r = sd_event_add_time_relative(loop, &units->pause, CLOCK_MONOTONIC, 0,
					       ACCURACY_USEC, on_pause, units);
	return r < 0 ? log_errno(r, "cannot watch the cgroups") : 0;
}

/* ---- the whole ---- */

static int open_tree(struct units *units, const char *mount, const char *attached)
{
	struct stat st;
	char *path;

	units->mount = open(mount, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (units->mount < 0 || fstat(units->mount, &st) < 0)
		return log_errno(-errno, "cannot read the cgroups in '%s'", mount);
	units->attached = strdup(is_below(attached, mount) ? attached + strlen(mount) : "");
	path = strdup("");
	units->top = path ? cgroup_new(units, NULL, path, st.st_ino) : NULL;
	if (!units->top)
		free(path);
	if (!units->attached || !units->top)
		return log_errno(-ENOMEM, "cannot read the cgroups in '%s'", mount);
	units->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (units->inotify < 0)
		tell_watches(units, -errno);
	return 0;
}

int units_new(const char *mount, const char *attached,
	      int (*put)(const struct sw_cgroup *cgroup, const struct sw_unit_match *match,
			 void *userdata),
	      void *userdata, struct units **ret)
{
	struct units *units = calloc(1, sizeof(*units));
	int r;

	if (!units)
		return log_errno(-ENOMEM, "cannot read the cgroups in '%s'", mount);
	units->mount = units->inotify = -1;
	units->put = put;
	units->userdata = userdata;
	TAILQ_INIT(&units->stale);
	r = open_tree(units, mount, attached);
	if (r < 0) {
		units_free(units);
		return r;
	}
	units_look(units);
	*ret = units;
	return 0;
}

void units_free(struct units *units)
{
	if (!units)
		return;
	sd_event_source_disable_unref(units->source);
	sd_event_source_disable_unref(units->pause);
	units->globs = NULL; /* the rows stay */
	list_end(units);
	closep(&units->inotify);
	units->inotify = -1;
	if (units->top)
		forget(units, units->top);
	closep(&units->mount);
	free(units->attached);
	free(units);
}
