/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "hosts.h"
#include "networks.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define RESOLVER_WAITS_MS 2000
#define MAPPED 96 /* bits of ::ffff:0:0, before those of an IPv4 address */

static const char *const private[] = {
	"10.0.0.0/8",	 "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
	"100.64.0.0/10", "fc00::/7",	  "fe80::/10",
};

/* A connection to the any-address reaches this machine, too. */
static const char *const this_machine[] = { "127.0.0.0/8", "::1", "0.0.0.0", "::" };

struct networks {
	struct network_rule *rule;
	size_t n, room;
};

static void networks_clear(struct networks *networks)
{
	free(networks->rule);
}

static int networks_add(struct networks *networks, const struct sw_network *network, __u32 flags)
{
	if (networks->n == networks->room) {
		size_t room = networks->room ? 2 * networks->room : 32;
		struct network_rule *grown = reallocarray(networks->rule, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		networks->rule = grown;
		networks->room = room;
	}
	networks->rule[networks->n++] = (struct network_rule){ *network, flags };
	return 0;
}

static void map_v4(__u8 addr[static 16], const void *v4)
{
	memset(addr, 0, 10);
	memset(addr + 10, 0xff, 2);
	memcpy(addr + 12, v4, 4);
}

static void cut(struct sw_network *network)
{
	unsigned int bit;

	for (bit = network->prefix_len; bit < 128; bit++)
		network->addr[bit / 8] &= ~(0x80 >> bit % 8);
}

static int prefix_parse(const char *text, unsigned int most, __u32 *ret)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || end - text > 3 || *end || n > most)
		return -EINVAL;
	*ret = n;
	return 0;
}

int network_parse(const char *text, struct sw_network *ret)
{
	struct sw_network network = { .prefix_len = 128 };
	const char *slash = strchrnul(text, '/');
	char address[INET6_ADDRSTRLEN];
	__u8 v4[4];
	__u32 bits;

	if ((size_t)(slash - text) >= sizeof(address))
		return -EINVAL;
	memcpy(address, text, slash - text);
	address[slash - text] = '\0';
	if (inet_pton(AF_INET, address, v4) == 1) {
		map_v4(network.addr, v4);
		if (*slash) {
			if (prefix_parse(slash + 1, 32, &bits) < 0)
				return -EINVAL;
			network.prefix_len = MAPPED + bits;
		}
	} else if (inet_pton(AF_INET6, address, network.addr) == 1) {
		if (*slash && prefix_parse(slash + 1, 128, &network.prefix_len) < 0)
			return -EINVAL;
	} else {
		return -EINVAL;
	}
	cut(&network);
	*ret = network;
	return 0;
}

/* All of IPv4, also as a part of IPv6: then nothing would be judged. */
static bool is_everything(const struct sw_network *network)
{
	struct sw_network v4 = { .prefix_len = network->prefix_len };

	map_v4(v4.addr, (__u8[4]){});
	cut(&v4);
	return network->prefix_len <= MAPPED && !memcmp(network->addr, v4.addr, 16);
}

static int add_texts(struct networks *networks, const char *const *text, size_t n, __u32 flags)
{
	struct sw_network network;
	int error = 0;
	size_t i;

	for (i = 0; !error && i < n; i++) {
		error = network_parse(text[i], &network);
		if (!error)
			error = networks_add(networks, &network, flags);
	}
	return error;
}

/* With a letter: the resolver would take "10.0.0" for 10.0.0.0. */
static bool is_host_name(const char *word)
{
	size_t length = strlen(word);

	return length < 256 && *word != '-' && strpbrk(word, LETTERS) &&
	       strspn(word, LETTERS "0123456789.-_") == length;
}

static int add_host(struct networks *networks, struct findings *findings, const char *name,
		    const char *at, __u32 flags)
{
	struct sw_network network = { .prefix_len = 128 };
	struct host_answer host = hosts_answer(name);
	int error = 0;

	if (!host.n)
		findings_add(findings, false,
			     "%s: the name '%s' has no address now (%s): write its address", at,
			     name, host.why);
	for (size_t i = 0; !error && i < host.n; i++) {
		memcpy(network.addr, host.address[i].addr, sizeof(network.addr));
		error = networks_add(networks, &network, flags);
	}
	return error;
}

static int add_word(struct networks *networks, struct findings *findings, const char *word,
		    const char *at, __u32 flags)
{
	struct sw_network network;

	if (!strcmp(word, "private"))
		return add_texts(networks, private, ARRAY_SIZE(private), flags);
	if (!network_parse(word, &network)) {
		if (!is_everything(&network))
			return networks_add(networks, &network, flags);
		findings_add(findings, true,
			     "%s: '%s' is every address there is: write the networks", at, word);
		return -EINVAL;
	}
	if (is_host_name(word))
		return add_host(networks, findings, word, at, flags);
	findings_add(findings, true,
		     "%s: '%s' is no address: write one, a network like 192.0.2.0/24, a host's "
		     "name or private",
		     at, word);
	return -EINVAL;
}

/* Of these words: is it one that add_word() would ask for? */
static size_t host_names(const struct words *words, const char **name)
{
	struct sw_network network;
	size_t n = 0;

	for (size_t i = 0; i < words->n; i++)
		if (strcmp(words->word[i], "private") && network_parse(words->word[i], &network) &&
		    is_host_name(words->word[i]))
			name[n++] = words->word[i];
	return n;
}

int networks_ask(const struct config *config)
{
	const struct words *relays = &config->relays, *exempt = &config->exempt_destinations;
	_cleanup_free_ const char **name = calloc(relays->n + exempt->n + 1, sizeof(*name));
	size_t n;

	if (!name)
		return -ENOMEM;
	n = host_names(relays, name);
	n += host_names(exempt, name + n);
	return hosts_ask(name, n, RESOLVER_WAITS_MS);
}

/* All words, so that all their errors are told. */
static int add_words(struct networks *networks, struct findings *findings,
		     const struct words *words, __u32 flags)
{
	int result = 0, error;
	size_t i;

	for (i = 0; i < words->n; i++) {
		error = add_word(networks, findings, words->word[i], words->at[i], flags);
		if (error)
			result = error;
	}
	return result;
}

/* A network comes before those in it. */
static int compare_networks(const void *a, const void *b)
{
	const struct sw_network *x = &((const struct network_rule *)a)->network;
	const struct sw_network *y = &((const struct network_rule *)b)->network;
	int order = memcmp(x->addr, y->addr, 16);

	return order ? order : (int)x->prefix_len - (int)y->prefix_len;
}

static bool contains(const struct sw_network *around, const struct sw_network *network)
{
	struct sw_network shortened = *network;

	if (around->prefix_len > network->prefix_len)
		return false;
	shortened.prefix_len = around->prefix_len;
	cut(&shortened);
	return !memcmp(shortened.addr, around->addr, 16);
}

/* The kernel looks at the longest prefix only: it gets the flags of those around it. */
static void networks_inherit(struct networks *networks)
{
	size_t i, n = 0, around[129], depth = 0;
	struct network_rule *rule = networks->rule;

	qsort(rule, networks->n, sizeof(*rule), compare_networks);
	for (i = 0; i < networks->n; i++) {
		while (depth && !contains(&rule[around[depth - 1]].network, &rule[i].network))
			depth--;
		if (depth &&
		    rule[around[depth - 1]].network.prefix_len == rule[i].network.prefix_len) {
			rule[around[depth - 1]].flags |= rule[i].flags;
			continue;
		}
		rule[n] = rule[i];
		if (depth)
			rule[n].flags |= rule[around[depth - 1]].flags;
		around[depth++] = n++;
	}
	networks->n = n;
}

int networks_compile(const struct config *config, struct findings *findings,
		     struct network_rule **ret, size_t *ret_n)
{
	_cleanup_(networks_clear) struct networks networks = {};
	int relays, exempt, error;

	error = add_texts(&networks, this_machine, ARRAY_SIZE(this_machine), SW_NET_RELAY);
	relays = add_words(&networks, findings, &config->relays, SW_NET_RELAY);
	exempt = add_words(&networks, findings, &config->exempt_destinations, SW_NET_EXEMPT);
	if (error || relays || exempt)
		return error ? error : relays ? relays : exempt;
	networks_inherit(&networks);
	*ret = take_pointer(&networks.rule);
	*ret_n = networks.n;
	return 0;
}
