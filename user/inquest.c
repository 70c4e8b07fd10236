// SPDX-License-Identifier: GPL-2.0-or-later
#include "inquest.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "cleanup.h"
#include "culprit.h"
#include "log.h"

#define ROUND CULPRIT_FOLDERS
#define WAITING 64
#define OF_KEY 8       /* in the queue */
#define OF_KEY_ROUND 2 /* in one round */
#define LINE_MOST (256 << 10)
#define PATIENCE_USEC 3000000ULL /* with one question: a folder alone may take a second */
#define NICE 10

struct question {
	struct sw_evidence_key key;
	struct sw_evidence record;
};

struct inquest {
	sd_event *loop;
	void (*found)(const char *json, void *userdata);
	void *userdata;
	struct question queue[ROUND + WAITING];
	size_t n;
	size_t round;	 /* of them, the first, the one that runs was asked */
	size_t answered; /* of these, one after the other */
	/* The one that runs; 0: none. */
	pid_t pid;
	int fd;
	char *line; /* what was read of it, LINE_MOST */
	size_t length;
	sd_event_source *readable, *ended, *late;
	bool complained;
};

/* ---- in the process of its own ---- */

static void only_look(void)
{
	setpriority(PRIO_PROCESS, 0, NICE);
	capng_clear(CAPNG_SELECT_CAPS);
	capng_updatev(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SYS_PTRACE,
		      CAP_DAC_READ_SEARCH, -1);
	if (capng_apply(CAPNG_SELECT_CAPS) < 0)
		_exit(EXIT_FAILURE);
}

/* What the daemon holds, locks too, must not outlive it here. Allocates nothing. */
static int keep_only(int fd)
{
	if (dup2(fd, STDOUT_FILENO) < 0)
		return -errno;
	close(STDIN_FILENO);
	return close_range(STDERR_FILENO + 1, ~0U, 0) < 0 ? -errno : STDOUT_FILENO;
}

static void tell_line(int fd, const char *text)
{
	size_t length = strlen(text), told = 0;
	ssize_t n;

	for (; told < length; told += n) {
		n = write(fd, text + told, length - told);
		if (n < 0)
			_exit(EXIT_FAILURE);
	}
}

__attribute__((__noreturn__)) static void look_at_all(const struct inquest *inquest, int fd)
{
	struct culprit_folders *folders;
	struct json_object *found;
	size_t i;

	/* First of all: whatever this waits for, memory too, it must not hold the daemon's lock. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd = keep_only(fd);
	only_look();
	folders = calloc(1, sizeof(*folders));
	fd = folders ? fd : -ENOMEM;
	for (i = 0; fd >= 0 && i < inquest->round; i++) {
		found = culprit_look(&inquest->queue[i].record, folders);
		if (!found)
			break;
		tell_line(fd,
			  json_object_to_json_string_ext(
				  found, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
		tell_line(fd, "\n");
		json_object_put(found);
	}
	_exit(EXIT_SUCCESS);
}

/* ---- the queue ---- */

static bool same_key(const struct question *a, const struct question *b)
{
	return memcmp(&a->key, &b->key, sizeof(a->key)) == 0;
}

/* Who has many sites has many keys. A container's uid is nobody's here. */
static bool same_person(const struct question *a, const struct question *b)
{
	return same_key(a, b) || (!((a->record.tag_flags | b->record.tag_flags) & SW_TAG_FOREIGN) &&
				  a->record.uid == b->record.uid);
}

/* How many of the first `n` are of the same key. */
static size_t of_key(const struct inquest *inquest, const struct question *question, size_t n)
{
	size_t i, of = 0;

	for (i = 0; i < n; i++)
		of += same_key(&inquest->queue[i], question);
	return of;
}

/* Brings to the front, in their order, what is to be asked now. */
static void choose_round(struct inquest *inquest)
{
	struct question *queue = inquest->queue, chosen;
	size_t i, n = 0;

	for (i = 0; i < inquest->n && n < ROUND; i++) {
		if (of_key(inquest, &queue[i], n) == OF_KEY_ROUND)
			continue;
		chosen = queue[i];
		memmove(&queue[n + 1], &queue[n], (i - n) * sizeof(*queue));
		queue[n++] = chosen;
	}
	inquest->round = n;
	inquest->answered = 0;
}

/* At what it did not answer it hung, or worse: he who did that is not asked about, others are. */
static void end_round(struct inquest *inquest)
{
	struct question *queue = inquest->queue;
	size_t i, n = 0, hung = inquest->answered;
	const struct question culprit = queue[hung];

	for (i = hung; i < inquest->n; i++)
		if (hung == inquest->round || !same_person(&queue[i], &culprit))
			queue[n++] = queue[i];
	inquest->n = n;
	inquest->round = inquest->answered = 0;
}

/* ---- in the daemon ---- */

static void forget(struct inquest *inquest)
{
	inquest->readable = sd_event_source_disable_unref(inquest->readable);
	inquest->ended = sd_event_source_disable_unref(inquest->ended);
	inquest->late = sd_event_source_disable_unref(inquest->late);
	closep(&inquest->fd);
	inquest->fd = -1;
	inquest->pid = 0;
	inquest->length = 0;
}

static void take_lines(struct inquest *inquest)
{
	char *start = inquest->line, *end;

	while ((end = memchr(start, '\n', inquest->line + inquest->length - start))) {
		*end = '\0';
		inquest->found(start, inquest->userdata);
		inquest->answered += inquest->answered < inquest->round;
		sd_event_source_set_time_relative(inquest->late, PATIENCE_USEC);
		start = end + 1;
	}
	inquest->length -= start - inquest->line;
	memmove(inquest->line, start, inquest->length);
}

/* Takes what is there. False: there is no more to come. */
static bool take(struct inquest *inquest)
{
	ssize_t n;

	for (;;) {
		if (inquest->length == LINE_MOST)
			return false;
		n = read(inquest->fd, inquest->line + inquest->length, LINE_MOST - inquest->length);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (n == 0)
			return false;
		inquest->length += n;
		take_lines(inquest);
	}
}

static int on_readable(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
	struct inquest *inquest = userdata;

	(void)fd, (void)revents;
	if (!take(inquest))
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return 0;
}

static int on_end(sd_event_source *source, const siginfo_t *info, void *userdata)
{
	struct inquest *inquest = userdata;

	(void)source, (void)info;
	take(inquest);
	forget(inquest);
	end_round(inquest);
	inquest_go(inquest);
	return 0;
}

static int on_late(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct inquest *inquest = userdata;

	(void)source, (void)usec;
	kill(inquest->pid, SIGKILL);
	return 0;
}

static int watch(struct inquest *inquest)
{
	int r;

	r = sd_event_add_io(inquest->loop, &inquest->readable, inquest->fd, EPOLLIN, on_readable,
			    inquest);
	if (r >= 0)
		r = sd_event_add_child(inquest->loop, &inquest->ended, inquest->pid, WEXITED,
				       on_end, inquest);
	if (r >= 0)
		r = sd_event_add_time_relative(inquest->loop, &inquest->late, CLOCK_MONOTONIC,
					       PATIENCE_USEC, 0, on_late, inquest);
	return r;
}

static int start(struct inquest *inquest)
{
	int end[2], r;

	if (pipe2(end, O_CLOEXEC) < 0)
		return -errno;
	inquest->pid = fork();
	if (inquest->pid == 0)
		look_at_all(inquest, end[1]);
	r = inquest->pid < 0 ? -errno : 0;
	close(end[1]);
	inquest->fd = end[0];
	if (r == 0 && fcntl(inquest->fd, F_SETFL, O_NONBLOCK) < 0)
		r = -errno;
	return r < 0 ? r : watch(inquest);
}

static void end_at_once(struct inquest *inquest)
{
	pid_t pid = inquest->pid;

	forget(inquest);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, WNOHANG);
	}
}

void inquest_go(struct inquest *inquest)
{
	int r;

	if (inquest->pid || inquest->n == 0)
		return;
	choose_round(inquest);
	r = start(inquest);
	if (r < 0) {
		end_at_once(inquest);
		inquest->n = inquest->round = 0;
	}
	if (r < 0 && !inquest->complained)
		log_errno(r, "cannot look at the processes that evidence is about (the evidence "
			     "itself is kept)");
	inquest->complained = r < 0;
}

void inquest_ask(struct inquest *inquest, const struct sw_evidence_key *key,
		 const struct sw_evidence *record)
{
	const struct question question = { *key, *record };

	if (inquest->n - inquest->round < WAITING &&
	    of_key(inquest, &question, inquest->n) < OF_KEY)
		inquest->queue[inquest->n++] = question;
}

int inquest_new(sd_event *loop, void (*found)(const char *json, void *userdata), void *userdata,
		struct inquest **ret)
{
	struct inquest *inquest = calloc(1, sizeof(*inquest));
	sigset_t set;

	if (!inquest)
		return -ENOMEM;
	*inquest = (struct inquest){ .loop = loop, .found = found, .userdata = userdata, .fd = -1 };
	inquest->line = malloc(LINE_MOST);
	if (!inquest->line) {
		free(inquest);
		return -ENOMEM;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD); /* what the loop asks for */
	sigprocmask(SIG_BLOCK, &set, NULL);

	*ret = inquest;
	return 0;
}

void inquest_free(struct inquest *inquest)
{
	if (!inquest)
		return;
	end_at_once(inquest);
	free(inquest->line);
	free(inquest);
}
