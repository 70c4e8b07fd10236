// SPDX-License-Identifier: GPL-2.0-or-later
#include "hosts.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cleanup.h"
#include "maps.h"

#define MSEC_NS 1000000ULL

struct host {
	struct host *next;
	char *name;
	struct gaicb request; /* the library's while `asked` */
	bool asked;
	int error; /* EAI_*: why there is no address */
	struct sw_ip *address;
	size_t n;
};

static struct host *hosts;

static const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };

static struct host *find(const char *name)
{
	struct host *host;

	for (host = hosts; host && strcasecmp(host->name, name); host = host->next)
		;
	return host;
}

static struct host *find_or_add(const char *name)
{
	struct host *host = find(name);

	if (host)
		return host;
	host = calloc(1, sizeof(*host));
	if (!host)
		return NULL;
	host->name = strdup(name);
	if (!host->name) {
		free(host);
		return NULL;
	}
	host->error = EAI_INPROGRESS;
	host->next = hosts;
	return hosts = host;
}

static void ask(struct host *host)
{
	struct gaicb *request = &host->request;
	int error;

	if (host->asked)
		return;
	*request = (struct gaicb){ .ar_name = host->name, .ar_request = &hints };
	error = getaddrinfo_a(GAI_NOWAIT, &request, 1, NULL);
	host->asked = !error;
	if (error && !host->n)
		host->error = error;
}

/* ---- answers ---- */

static bool address_of(const struct addrinfo *info, struct sw_ip *ret)
{
	*ret = (struct sw_ip){ .addr = { [10] = 0xff, [11] = 0xff } };
	if (info->ai_family == AF_INET)
		memcpy(ret->addr + 12, &((struct sockaddr_in *)info->ai_addr)->sin_addr, 4);
	else if (info->ai_family == AF_INET6)
		memcpy(ret->addr, &((struct sockaddr_in6 *)info->ai_addr)->sin6_addr, 16);
	else
		return false;
	return true;
}

/* True: these are others than before. */
static bool take_addresses(struct host *host, const struct addrinfo *found)
{
	const struct addrinfo *info;
	struct sw_ip *address;
	size_t n = 0;
	bool same;

	for (info = found; info; info = info->ai_next)
		n++;
	address = calloc(n + 1, sizeof(*address));
	if (!address)
		return false;
	for (info = found, n = 0; info; info = info->ai_next)
		n += address_of(info, &address[n]);
	same = n == host->n && (!n || !memcmp(address, host->address, n * sizeof(*address)));
	free(host->address);
	host->address = address;
	host->n = n;
	return !same;
}

/* A resolver that fails does not take away what it said before. */
static bool take_answer(struct host *host)
{
	int error = host->asked ? gai_error(&host->request) : EAI_INPROGRESS;
	bool news = false;

	if (error == EAI_INPROGRESS)
		return false;
	host->asked = false;
	host->error = error;
	if (!error) {
		news = take_addresses(host, host->request.ar_result);
		freeaddrinfo(host->request.ar_result);
	}
	return news;
}

bool hosts_news(void)
{
	bool news = false;

	for (struct host *host = hosts; host; host = host->next)
		news |= take_answer(host);
	return news;
}

/* ---- asking ---- */

/* Until all have answered that are asked now, or the time is over. */
static void await(struct host **asked, size_t n, unsigned int wait_ms)
{
	uint64_t until_ns = boot_ns() + wait_ms * MSEC_NS, now_ns;
	const struct gaicb *list[n + 1];
	size_t waiting = n;

	while (waiting && (now_ns = boot_ns()) < until_ns) {
		const struct timespec left = { .tv_sec = (until_ns - now_ns) / (1000 * MSEC_NS),
					       .tv_nsec = (until_ns - now_ns) % (1000 * MSEC_NS) };

		waiting = 0;
		for (size_t i = 0; i < n; i++)
			if (asked[i]->asked && gai_error(&asked[i]->request) == EAI_INPROGRESS)
				list[waiting++] = &asked[i]->request;
		if (waiting)
			gai_suspend(list, waiting, &left);
	}
}

int hosts_ask(const char *const *name, size_t n, unsigned int wait_ms)
{
	_cleanup_free_ struct host **asked = calloc(n + 1, sizeof(*asked));

	if (!asked)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		asked[i] = find_or_add(name[i]);
		if (!asked[i])
			return -ENOMEM;
		ask(asked[i]);
	}
	await(asked, n, wait_ms);
	for (size_t i = 0; i < n; i++)
		take_answer(asked[i]);
	return 0;
}

void hosts_ask_again(void)
{
	for (struct host *host = hosts; host; host = host->next)
		if (!host->n)
			ask(host);
}

struct host_answer hosts_answer(const char *name)
{
	const struct host *host = find(name);

	if (!host)
		return (struct host_answer){ .why = "it was not asked for" };
	if (!host->n)
		return (struct host_answer){ .why = host->error == EAI_INPROGRESS
							    ? "the resolver has not answered yet"
							    : gai_strerror(host->error) };
	return (struct host_answer){ .address = host->address, .n = host->n };
}
