/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "places.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "cleanup.h"
#include "clock.h"
#include "expand.h"
#include "log.h"
#include "maps.h"
#include "privileges.h"

#define SECOND 1000000000ULL
#define WAIT_SECONDS 5		/* of a start or reload */
#define LEAVE_SECONDS 2		/* of the end */
#define EACH_NS (60 * SECOND)	/* looked at everything again, news or not */
#define PAUSE_NS (SECOND / 100) /* between two looks at the news */
#define ARRIVALS 64		/* added one by one; when there are more everything is looked at */
#define HANGS_NS (60 * SECOND)
#define WATCHED (IN_CREATE | IN_DELETE | IN_MOVE | IN_ATTRIB | IN_ONLYDIR | IN_EXCL_UNLINK)

/* A folder where names matter. A folder may be watched for several. */
struct watch {
	int wd;
	char *path;
	const struct glob *glob; /* one of `globs` */
	const char *part;	 /* of it, that names are to match */
};

struct watches {
	struct watch *watch;
	size_t n, room;
};

/* A folder that has come where one was sought. */
struct arrival {
	int wd;
	char name[NAME_MAX + 1];
};

/* The thread's own. */
struct finder {
	struct maps *maps; /* NULL: without */
	struct globs globs;
	struct expansion *found; /* NULL: nothing yet */
	unsigned int number;	 /* of the wish that it was for */
	struct watches watches;	 /* by wd */
	int inotify;		 /* -1: without */
	struct arrival arrival[ARRIVALS];
	size_t arrivals;
	size_t watches_most;
	bool told_watches, told_full, told_greedy, told_wide, told_where;
	uint64_t arrived_ns, gone_ns, news_ns; /* when to look for what; UINT64_MAX: not */
	uint64_t ended_ns, took_ns;	       /* the last look at everything */
	uint64_t added_ns, adding_ns;	       /* the last one at arrivals: when it ended, took */
};

struct places {
	int (*put)(const struct sw_dir *dir, const struct sw_place *place, void *userdata);
	void *userdata;
	char *pin_dir;
	sd_event_source *source;
	struct place_row *row; /* as the kernel has them */
	size_t n;
	bool told_hang;

	pthread_t thread;
	bool started;
	int wake, news; /* eventfds: to the thread, and from it */
	atomic_bool stop;
	struct finder finder;

	pthread_mutex_t lock; /* over what follows */
	pthread_cond_t answer;
	struct globs wanted;
	unsigned int asked;	 /* how often `wanted` was set */
	unsigned int answered;	 /* which of them `found` is for */
	struct place_row *found; /* NULL: it could not be looked for */
	size_t n_found;
	uint64_t began_ns; /* 0: it does not look for anything */
	char at[PATH_MAX]; /* where it is */
};

/* ---- the thread: what a folder is ---- */

/* 0: the file system has none, or keeps it to itself. */
static __u32 generation_of(int fd)
{
	_cleanup_close_ int folder = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	__u32 version[2] = {}; /* the request is named for a long, and answered with an int */

	return folder >= 0 && ioctl(folder, FS_IOC_GETVERSION, version) == 0 ? version[0] : 0;
}

/*
 * As user space has it: the kernel's own numbers but for overlayfs, btrfs and their like, and for
 * what tells no generation, as tmpfs.
 */
static int identify_by_stat(int fd, struct sw_dir *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	*ret = (struct sw_dir){ .inode = st.st_ino,
				.device = major(st.st_dev) << 20 | minor(st.st_dev),
				.generation = generation_of(fd) };
	return 0;
}

static int identify(int fd, struct sw_dir *ret, void *userdata)
{
	struct places *places = userdata;
	struct finder *f = &places->finder;
	int r;

	if (!f->maps)
		return identify_by_stat(fd, ret);
	r = maps_where(f->maps, fd, ret);
	if (r < 0 && !f->told_where && r != -ENOENT && r != -EACCES) {
		log_warning(
			"the kernel does not tell what folders are to it (%s): on overlayfs, btrfs "
			"and tmpfs sites may not be known",
			strerror(-r));
		f->told_where = true;
	}
	return r < 0 ? identify_by_stat(fd, ret) : 0;
}

/* ---- the thread: watching ---- */

static int order_watch(const void *a, const void *b)
{
	const struct watch *x = a, *y = b;

	return (x->wd > y->wd) - (x->wd < y->wd);
}

static bool watches_add(struct watches *watches, const struct watch *watch)
{
	struct watch *grown;
	size_t room = watches->room ? 2 * watches->room : 64;

	if (watches->n == watches->room) {
		grown = reallocarray(watches->watch, room, sizeof(*grown));
		if (!grown)
			return false;
		watches->watch = grown;
		watches->room = room;
	}
	watches->watch[watches->n++] = *watch;
	return true;
}

static void watches_sort(struct watches *watches)
{
	if (watches->n)
		qsort(watches->watch, watches->n, sizeof(*watches->watch), order_watch);
}

static void watches_clear(struct watches *watches)
{
	size_t i;

	for (i = 0; i < watches->n; i++)
		free(watches->watch[i].path);
	free(watches->watch);
	*watches = (struct watches){};
}

/* The first one of a descriptor, or NULL; those that follow are its as long as their `wd` is. */
static const struct watch *watches_find(const struct watches *watches, int wd)
{
	const struct watch key = { .wd = wd }, *w;

	if (!watches->n)
		return NULL;
	w = bsearch(&key, watches->watch, watches->n, sizeof(key), order_watch);
	while (w && w > watches->watch && w[-1].wd == wd)
		w--;
	return w;
}

#define for_each_watch(w, watches, of)                                                             \
	for (w = watches_find(watches, of);                                                        \
	     w && w < (watches)->watch + (watches)->n && w->wd == (of); w++)

/* The limit is one for all that root's processes watch: half of it is left to the others. */
static size_t watches_most(void)
{
	_cleanup_fclose_ FILE *file = fopen("/proc/sys/fs/inotify/max_user_watches", "re");
	size_t most;

	return file && fscanf(file, "%zu", &most) == 1 ? most / 2 : SIZE_MAX;
}

static void tell_watches(struct finder *f, int error)
{
	if (!f->told_watches)
		log_warning("not every folder where sites may appear can be watched (%s): new ones "
			    "there are found within a minute; raise fs.inotify.max_user_watches",
			    strerror(-error));
	f->told_watches = true;
}

static void seek(int fd, const char *path, const struct glob *glob, const char *part,
		 void *userdata)
{
	struct places *places = userdata;
	struct finder *f = &places->finder;
	struct watch watch = { .glob = glob, .part = part };
	char name[64];

	pthread_mutex_lock(&places->lock);
	snprintf(places->at, sizeof(places->at), "%s/", path);
	pthread_mutex_unlock(&places->lock);
	if (f->inotify < 0)
		return;
	if (f->watches.n >= f->watches_most)
		return tell_watches(f, -ENOSPC);
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	watch.wd = inotify_add_watch(f->inotify, name, WATCHED);
	if (watch.wd < 0)
		return tell_watches(f, -errno);
	watch.path = strdup(path);
	if (!watch.path || !watches_add(&f->watches, &watch))
		free(watch.path);
}

/* Those that were not asked for this time. */
static void watches_drop(struct finder *f, const struct watches *before)
{
	size_t i;

	for (i = 0; i < before->n; i++)
		if ((!i || before->watch[i].wd != before->watch[i - 1].wd) &&
		    !watches_find(&f->watches, before->watch[i].wd))
			inotify_rm_watch(f->inotify, before->watch[i].wd);
}

static bool is_sought(const struct watches *watches, const struct inotify_event *event)
{
	const struct watch *w;

	for_each_watch (w, watches, event->wd)
		if (glob_part_matches(w->part, event->name))
			return true;
	return false;
}

static uint64_t latest(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static void arrived(struct finder *f, const struct inotify_event *event)
{
	struct arrival *arrival = &f->arrival[f->arrivals];

	arrival->wd = event->wd;
	snprintf(arrival->name, sizeof(arrival->name), "%s", event->name);
	f->arrivals++;
	f->arrived_ns = f->added_ns + latest(PAUSE_NS, 9 * f->adding_ns);
}

/*
 * Who makes folders in a circle has at most a tenth of a processor looked for them, twice, and who
 * makes files (one of which might be a link) a hundredth.
 */
static void hear(struct finder *f, const struct inotify_event *event)
{
	bool lost = event->mask & (IN_Q_OVERFLOW | IN_UNMOUNT);
	bool sought = !lost && event->len && is_sought(&f->watches, event);

	if (sought && !(event->mask & IN_ISDIR))
		f->news_ns = f->ended_ns + latest(SECOND, 99 * f->took_ns);
	else if (sought && event->mask & (IN_CREATE | IN_MOVED_TO) && f->arrivals < ARRIVALS)
		arrived(f, event);
	else if (sought || lost)
		f->gone_ns = f->ended_ns + latest(PAUSE_NS, 9 * f->took_ns);
}

static void hear_all(struct finder *f)
{
	_Alignas(struct inotify_event) char buffer[64 * 1024];
	const struct inotify_event *event;
	ssize_t n, at;

	n = read(f->inotify, buffer, sizeof(buffer));
	for (at = 0; at < n; at += sizeof(*event) + event->len) {
		event = (const struct inotify_event *)(buffer + at);
		hear(f, event);
	}
}

/* ---- the thread: looking ---- */

static void tell_limits(struct finder *f)
{
	__u32 uid;

	if (expansion_is_full(f->found) && !f->told_full) {
		log_warning("there are more than %d sites and folders that policies name: the "
			    "others count by themselves; narrow site_roots",
			    PLACES_MOST);
		f->told_full = true;
	}
	if (expansion_is_greedy(f->found, &uid) && !f->told_greedy) {
		log_warning("user %u has more folders that would be sites than one may (%d): the "
			    "others are none",
			    uid, PLACES_OF_USER);
		f->told_greedy = true;
	}
	if (expansion_is_wide(f->found, &uid) && !f->told_wide) {
		log_warning("user %u has more than %d folders in which sites may appear: in the "
			    "others new ones are found within a minute",
			    uid, SEEKS_AT_USER);
		f->told_wide = true;
	}
}

/* Of an answer: is there news in it? Takes the rows. Under the lock. */
static bool take_answer(struct places *places, struct place_row *row, size_t n)
{
	unsigned int number = places->finder.number;
	bool same = row && places->found && number == places->answered && n == places->n_found &&
		    !memcmp(row, places->found, n * sizeof(*row));

	free(places->found);
	places->found = row;
	places->n_found = n;
	places->answered = number;
	places->began_ns = 0;
	return row && !same;
}

/* NULL: it could not be looked for. */
static void answer(struct places *places, struct place_row *row, size_t n)
{
	const uint64_t one = 1;
	bool news;

	pthread_mutex_lock(&places->lock);
	news = take_answer(places, row, n);
	pthread_cond_broadcast(&places->answer);
	pthread_mutex_unlock(&places->lock);
	if (news && write(places->news, &one, sizeof(one)) < 0)
		log_errno(-errno, "cannot tell of new sites");
}

static void answer_with_found(struct places *places, int error)
{
	struct finder *f = &places->finder;
	struct place_row *row = NULL;
	size_t n = 0;

	if (!error)
		error = expansion_rows(f->found, &row, &n);
	if (error)
		log_errno(error, "cannot look for sites");
	answer(places, row, n);
}

/* From here on places_check() sees how long it takes. */
static void begin(struct places *places)
{
	pthread_mutex_lock(&places->lock);
	places->began_ns = now_ns();
	pthread_mutex_unlock(&places->lock);
}

/* Takes what is wanted now. -ENOMEM. */
static int take_wish(struct places *places)
{
	struct finder *f = &places->finder;
	int r;

	pthread_mutex_lock(&places->lock);
	r = globs_copy(&places->wanted, &f->globs);
	f->number = places->asked;
	pthread_mutex_unlock(&places->lock);
	return r;
}

static struct expander helper(struct places *places)
{
	return (struct expander){
		.identify = identify, .seek = seek, .userdata = places, .stop = &places->stop
	};
}

static void find_all(struct places *places)
{
	const struct expander by = helper(places);
	struct finder *f = &places->finder;
	struct watches before = f->watches;
	struct globs old = f->globs;
	uint64_t began_ns = now_ns();
	int r = take_wish(places);

	begin(places);
	f->watches = (struct watches){};
	f->arrivals = 0;
	f->arrived_ns = f->gone_ns = f->news_ns = UINT64_MAX;
	expansion_free(f->found);
	f->found = NULL;
	r = r < 0 ? r : expand(&f->globs, &by, &f->found);
	watches_sort(&f->watches);
	watches_drop(f, &before);
	watches_clear(&before);
	globs_clear(&old);
	f->ended_ns = now_ns();
	f->took_ns = f->ended_ns - began_ns;
	if (r == 0)
		tell_limits(f);
	answer_with_found(places, r);
}

/* What is watched grows meanwhile: the watches that bring it are copied. */
static int add_arrival(struct places *places, const struct arrival *arrival)
{
	const struct expander by = helper(places);
	struct finder *f = &places->finder;
	struct watches ways = {};
	const struct watch *w;
	int r = 0;

	for_each_watch (w, &f->watches, arrival->wd)
		if (glob_part_matches(w->part, arrival->name) && !watches_add(&ways, w))
			r = -ENOMEM;
	if (ways.n)
		expansion_forget(f->found, ways.watch->path, arrival->name);
	for (size_t i = 0; i < ways.n && r == 0; i++)
		r = expand_more(f->found, &by, ways.watch[i].path, ways.watch[i].glob,
				ways.watch[i].part, arrival->name);
	free(ways.watch); /* their paths are the others' */
	watches_sort(&f->watches);
	return r;
}

static void find_arrivals(struct places *places)
{
	struct finder *f = &places->finder;
	uint64_t began_ns = now_ns();
	int r = f->found ? 0 : -ENOMEM;
	size_t i;

	begin(places);
	for (i = 0; i < f->arrivals && r == 0; i++)
		r = add_arrival(places, &f->arrival[i]);
	f->arrivals = 0;
	f->arrived_ns = UINT64_MAX;
	answer_with_found(places, r);
	f->added_ns = now_ns();
	f->adding_ns = f->added_ns - began_ns;
}

static bool is_asked(struct places *places)
{
	bool asked;

	pthread_mutex_lock(&places->lock);
	asked = places->asked != places->answered;
	pthread_mutex_unlock(&places->lock);
	return asked;
}

static uint64_t earliest(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When to look at everything again. */
static uint64_t due_ns(const struct finder *f)
{
	uint64_t due = f->ended_ns + latest(EACH_NS, 29 * f->took_ns);

	return earliest(due, earliest(f->gone_ns, f->news_ns));
}

static void wait_for(struct places *places, int inotify, uint64_t until_ns)
{
	struct pollfd on[] = { { .fd = places->wake, .events = POLLIN },
			       { .fd = inotify, .events = POLLIN } };
	uint64_t now = now_ns(), counted;
	struct timespec span = {};

	if (until_ns > now) {
		span.tv_sec = (until_ns - now) / SECOND;
		span.tv_nsec = (until_ns - now) % SECOND;
	}
	ppoll(on, 2, &span, NULL);
	if (on[0].revents && read(places->wake, &counted, sizeof(counted)) < 0)
		log_errno(-errno, "cannot wait for news of sites");
	if (on[1].revents)
		hear_all(&places->finder);
}

static void finder_start(struct places *places)
{
	struct finder *f = &places->finder;
	int r;

	f->watches_most = watches_most();
	f->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (f->inotify < 0)
		tell_watches(f, -errno);
	f->arrived_ns = f->gone_ns = f->news_ns = UINT64_MAX;
	f->ended_ns = now_ns();
	if (!places->pin_dir)
		return;
	/* To ask the kernel of a folder one has to be there: this thread alone goes. */
	r = unshare(CLONE_FS) < 0 ? -errno : maps_open(places->pin_dir, &f->maps);
	if (r < 0)
		log_errno(r, "cannot ask the kernel what folders are to it");
	privileges_keep_reading();
}

static void finder_clear(struct finder *f)
{
	if (f->maps)
		maps_close(f->maps);
	expansion_free(f->found);
	watches_clear(&f->watches);
	globs_clear(&f->globs);
	closep(&f->inotify);
}

/* Is there something to look for now? */
static bool look(struct places *places)
{
	struct finder *f = &places->finder;

	if (is_asked(places) || now_ns() >= due_ns(f))
		find_all(places);
	else if (f->arrivals && now_ns() >= f->arrived_ns)
		find_arrivals(places);
	else
		return false;
	return true;
}

static void *work(void *userdata)
{
	struct places *places = userdata;
	struct finder *f = &places->finder;

	finder_start(places);
	while (!atomic_load(&places->stop)) {
		if (look(places))
			continue;
		wait_for(places, f->inotify, earliest(due_ns(f), f->arrived_ns));
		/* News come in crowds, and somebody may make them on purpose. */
		wait_for(places, -1, now_ns() + PAUSE_NS);
	}
	finder_clear(f);
	return NULL;
}

/* ---- the daemon ---- */

/* Rows as they were found, by dir. */
struct rows {
	struct place_row *row;
	size_t n;
};

/* What is not as the kernel has it is put there: both lists are sorted. */
static void put_changes(struct places *places, const struct rows *found)
{
	size_t i = 0, j = 0;

	while (i < places->n || j < found->n) {
		const struct place_row *old = i < places->n ? &places->row[i] : NULL;
		const struct place_row *new = j < found->n ? &found->row[j] : NULL;
		int order = !old ? 1 : !new ? -1 : place_row_order(old, new);

		if (order < 0)
			places->put(&old->dir, NULL, places->userdata);
		else if (order > 0 || memcmp(&old->place, &new->place, sizeof(old->place)))
			places->put(&new->dir, &new->place, places->userdata);
		i += order <= 0;
		j += order >= 0;
	}
}

/* A copy of what was found for what is wanted now; false: nothing yet. Under the lock. */
static bool take_found(struct places *places, struct rows *ret)
{
	if (!places->found || places->answered != places->asked)
		return false;
	ret->n = places->n_found;
	ret->row = malloc((ret->n + 1) * sizeof(*ret->row));
	if (!ret->row)
		return false;
	memcpy(ret->row, places->found, ret->n * sizeof(*ret->row));
	return true;
}

static void keep(struct places *places, const struct rows *found)
{
	free(places->row);
	places->row = found->row;
	places->n = found->n;
}

static int on_news(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct places *places = userdata;
	struct rows found;
	uint64_t counted;
	bool news;

	(void)source, (void)revents;
	if (read(fd, &counted, sizeof(counted)) < 0)
		return 0;
	pthread_mutex_lock(&places->lock);
	news = take_found(places, &found);
	pthread_mutex_unlock(&places->lock);
	if (!news)
		return 0;
	put_changes(places, &found);
	keep(places, &found);
	return 0;
}

static int ask(struct places *places, const struct globs *globs)
{
	const uint64_t one = 1;
	struct globs wanted;
	int r = globs_copy(globs, &wanted);

	if (r < 0)
		return r;
	globs_clear(&places->wanted);
	places->wanted = wanted;
	places->asked++;
	return write(places->wake, &one, sizeof(one)) < 0 ? -errno : 0;
}

/* Under the lock. */
static bool wait_for_answer(struct places *places, struct rows *ret)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WAIT_SECONDS;
	while (places->answered != places->asked &&
	       pthread_cond_timedwait(&places->answer, &places->lock, &until) == 0)
		;
	return take_found(places, ret);
}

int places_rows(struct places *places, const struct globs *globs, const struct place_row **ret,
		size_t *ret_n)
{
	struct rows found;
	bool news = false;
	int r;

	pthread_mutex_lock(&places->lock);
	r = ask(places, globs);
	if (r >= 0)
		news = wait_for_answer(places, &found);
	pthread_mutex_unlock(&places->lock);
	if (r < 0)
		return r;
	if (news) {
		keep(places, &found);
	} else {
		for (size_t i = 0; i < places->n; i++)
			places->row[i].place.set = 0; /* of the rules before */
		log_warning("sites are still being looked for: until they are known folders count "
			    "one by one");
	}
	*ret = places->row;
	*ret_n = places->n;
	return 0;
}

int places_watch(struct places *places, sd_event *loop)
{
	int r = sd_event_add_io(loop, &places->source, places->news, EPOLLIN, on_news, places);

	return r < 0 ? log_errno(r, "cannot watch for sites") : 0;
}

void places_check(struct places *places)
{
	bool hangs;

	pthread_mutex_lock(&places->lock);
	hangs = places->began_ns && now_ns() - places->began_ns > HANGS_NS;
	if (hangs && !places->told_hang)
		log_warning("to look for sites takes more than a minute, now in '%s': new ones are "
			    "not known until it ends",
			    places->at);
	pthread_mutex_unlock(&places->lock);
	places->told_hang = hangs;
}

/* ---- the whole ---- */

static int start_thread(struct places *places)
{
	pthread_condattr_t attributes;
	int r;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_mutex_init(&places->lock, NULL);
	pthread_cond_init(&places->answer, &attributes);
	pthread_condattr_destroy(&attributes);
	r = -pthread_create(&places->thread, NULL, work, places);
	places->started = r == 0;
	return r;
}

int places_new(const char *pin_dir,
	       int (*put)(const struct sw_dir *dir, const struct sw_place *place, void *userdata),
	       void *userdata, struct places **ret)
{
	struct places *places = calloc(1, sizeof(*places));
	int r = 0;

	if (!places)
		return log_errno(-ENOMEM, "cannot look for sites");
	places->put = put;
	places->userdata = userdata;
	places->finder.inotify = -1;
	places->pin_dir = pin_dir ? strdup(pin_dir) : NULL;
	places->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	places->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (places->wake < 0 || places->news < 0)
		r = -errno;
	if (pin_dir && !places->pin_dir)
		r = -ENOMEM;
	r = r < 0 ? r : start_thread(places);
	if (r < 0) {
		places_free(places);
		return log_errno(r, "cannot look for sites");
	}
	*ret = places;
	return 0;
}

/* False: it hangs in somebody's filesystem, and ends with the process. */
static bool join(struct places *places)
{
	const uint64_t one = 1;
	struct timespec until;

	if (!places->started)
		return true;
	atomic_store(&places->stop, true);
	if (write(places->wake, &one, sizeof(one)) < 0)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += LEAVE_SECONDS;
	return pthread_clockjoin_np(places->thread, NULL, CLOCK_MONOTONIC, &until) == 0;
}

void places_free(struct places *places)
{
	if (!places)
		return;
	sd_event_source_disable_unref(places->source);
	if (!join(places))
		return;
	closep(&places->wake);
	closep(&places->news);
	globs_clear(&places->wanted);
	free(places->found);
	free(places->row);
	free(places->pin_dir);
	free(places);
}
