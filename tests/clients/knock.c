// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Connects and hangs up, again and again, and tells what connect() answered.
 *
 *	knock [-p PROCESSES] [-n TIMES | -s SECONDS] [-w MICROSECONDS] [-v] ADDRESS [PORT]
 *	admitted 20 refused 44 failed 0 refusal_us 4 slowest_us 37
 *
 * All processes start at once; each connects TIMES times, or for SECONDS, and waits for -w between.
 * Refused is EPERM, and took so long on average and at most; what fails otherwise is told on
 * stderr. -v tells of each that is admitted when connect() was called and when it returned, in
 * nanoseconds. SIGTERM ends it early, with the result.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NSEC 1000000000ULL

/* Told by all processes into one page. */
struct told {
	pthread_barrier_t start;
	volatile sig_atomic_t stop;
	unsigned long long admitted, refused, failed, refusals_ns, slowest_ns;
};

struct order {
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} to;
	socklen_t length;
	unsigned long processes, times, seconds, pause_us;
	bool verbose;
};

static unsigned long long now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NSEC + now.tv_nsec;
}

/* Hangs up with RST: no TIME_WAIT uses up the ports. A connect() that hangs ends after 20 s. */
static int connect_once(const struct order *order)
{
	const struct linger reset = { .l_onoff = 1 };
	const struct timeval patience = { .tv_sec = 20 };
	int fd = socket(order->to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int error;

	if (fd < 0)
		return errno;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	error = connect(fd, &order->to.any, order->length) < 0 ? errno : 0;
	close(fd);
	return error;
}

static void raise_to(unsigned long long *slowest, unsigned long long took)
{
	unsigned long long old = __atomic_load_n(slowest, __ATOMIC_RELAXED);

	while (took > old && !__atomic_compare_exchange_n(slowest, &old, took, false,
							  __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

static void knock(const struct order *order, struct told *told)
{
	unsigned long long start = now_ns(), end;
	int error = connect_once(order);

	end = now_ns();
	if (!error) {
		__atomic_fetch_add(&told->admitted, 1, __ATOMIC_RELAXED);
		if (order->verbose)
			printf("%llu %llu\n", start, end);
	} else if (error == EPERM) {
		__atomic_fetch_add(&told->refused, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&told->refusals_ns, end - start, __ATOMIC_RELAXED);
		raise_to(&told->slowest_ns, end - start);
	} else {
		__atomic_fetch_add(&told->failed, 1, __ATOMIC_RELAXED);
		fprintf(stderr, "knock: %s\n", strerror(error));
	}
}

static void rest(const struct order *order)
{
	if (order->pause_us)
		usleep(order->pause_us);
}

static struct told *shared; /* for the handler */

static void on_stop(int signal)
{
	(void)signal;
	shared->stop = 1;
}

static void knock_on(const struct order *order, struct told *told)
{
	unsigned long long end;
	unsigned long i;

	pthread_barrier_wait(&told->start);
	end = now_ns() + order->seconds * NSEC;
	if (order->seconds)
		for (; !told->stop && now_ns() < end; rest(order))
			knock(order, told);
	else
		for (i = 0; !told->stop && i < order->times; i++, rest(order))
			knock(order, told);
}

static struct told *told_new(unsigned int processes)
{
	struct told *told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t attributes;

	if (told == MAP_FAILED)
		return NULL;
	pthread_barrierattr_init(&attributes);
	pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&told->start, &attributes, processes);
	return told;
}

static int run(const struct order *order)
{
	struct told *told = told_new(order->processes);
	unsigned long i;

	if (!told)
		return EXIT_FAILURE;
	shared = told;
	signal(SIGTERM, on_stop);
	for (i = 0; i < order->processes; i++) {
		pid_t child = fork();

		if (child < 0) {
			perror("knock: fork");
			return EXIT_FAILURE;
		}
		if (child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL); /* or it waits for those that failed */
			knock_on(order, told);
			fflush(stdout);
			_exit(EXIT_SUCCESS);
		}
	}
	while (wait(NULL) >= 0 || errno == EINTR)
		;
	printf("admitted %llu refused %llu failed %llu refusal_us %llu slowest_us %llu\n",
	       told->admitted, told->refused, told->failed,
	       told->refused ? told->refusals_ns / told->refused / 1000 : 0,
	       told->slowest_ns / 1000);
	return EXIT_SUCCESS;
}

static bool address_parse(const char *address, const char *port, struct order *order)
{
	order->to.v4.sin_port = htons(atoi(port));
	if (inet_pton(AF_INET, address, &order->to.v4.sin_addr) == 1) {
		order->to.any.sa_family = AF_INET;
		order->length = sizeof(order->to.v4);
		return true;
	}
	order->to.any.sa_family = AF_INET6;
	order->length = sizeof(order->to.v6);
	return inet_pton(AF_INET6, address, &order->to.v6.sin6_addr) == 1;
}

int main(int argc, char **argv)
{
	struct order order = { .processes = 1, .times = 1 };
	int c;

	while ((c = getopt(argc, argv, "p:n:s:w:v")) >= 0) {
		if (c == 'p')
			order.processes = strtoul(optarg, NULL, 10);
		if (c == 'n')
			order.times = strtoul(optarg, NULL, 10);
		if (c == 's')
			order.seconds = strtoul(optarg, NULL, 10);
		if (c == 'w')
			order.pause_us = strtoul(optarg, NULL, 10);
		order.verbose |= c == 'v';
		if (c == '?')
			return 2;
	}
	if (optind == argc || order.processes == 0 ||
	    !address_parse(argv[optind], optind + 1 < argc ? argv[optind + 1] : "25", &order)) {
		fputs("usage: knock [-p PROCESSES] [-n TIMES | -s SECONDS] [-w MICROSECONDS] [-v] "
		      "ADDRESS [PORT]\n",
		      stderr);
		return 2;
	}
	return run(&order);
}
