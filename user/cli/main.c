// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall: the command. One table says which verbs there are, and how they are written. */
#include <bpf/libbpf.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include <smtpwall/names.h>

#include "cleanup.h"
#include "cli.h"
#include "config.h"
#include "log.h"

const struct command commands[] = {
	{ "status", "[--nagios]", "what is attached, which policies run, how full the maps are",
	  verb_status },
	{ "list", "[uid|dir|unit|ip] [--sort METRIC] [-n N]", "who sent how much", verb_list },
	{ "show", "SUBJECT", "all that is known of one sender, and why it is refused or not",
	  verb_show },
	{ "top", "[--sort METRIC]", "who sends now; keys: c m t b p x d h r sort, q quits",
	  verb_top },
	{ "who", "[--since T] [-n N]",
	  "who sent most lately (T: 1h): users, folders, scripts, units, destinations", verb_who },
	{ "blocks", "", "who is blocked, why, and until when", verb_blocks },
	{ "block", "SUBJECT [--for T] [--roads R[,R]] [--reason TEXT] [--force]",
	  "refuse a sender at once", verb_block },
	{ "unblock", "SUBJECT|--all", "lift blocks, and forget what was used of the limits",
	  verb_unblock },
	{ "allow", "SUBJECT [--for T] [--reason TEXT]", "lift the limits of a sender for a while",
	  verb_allow },
	{ "disallow", "SUBJECT", "take an allowance back", verb_disallow },
	{ "allowed", "", "whose limits are lifted", verb_allowed },
	{ "events", "[-f] [--since T]", "what happened; -f waits for more", verb_events },
	{ "mode", "[observe|enforce] [--for T] [--apply]",
	  "show the mode or set it; --for tries it and falls back by itself; --apply makes the "
	  "blocks that observe mode computed real",
	  verb_mode },
	{ "test", "--as USER", "what a user can really reach, and who answers if not", verb_test },
	{ "check-config", "", "check the configuration as a start would", verb_check_config },
	{ "reload", "", "check the configuration, then have the daemon take it", verb_reload },
	{ "detach", "", "stop the daemon and remove everything from the kernel", verb_detach },
	{ NULL, NULL, NULL, NULL },
};

static void print_help(void)
{
	const struct command *c;

	puts("usage: smtpwall [-c FILE] [--pin-dir DIR] [-j] VERB ...\n");
	for (c = commands; c->name; c++)
		printf("  %s%s%s\n        %s\n", c->name, *c->usage ? " " : "", c->usage, c->help);
	puts("\n"
	     "SUBJECT is uid:1004, user:alice, dir:/var/www/shop, unit:/system.slice/cron.service\n"
	     "or ip:10.8.0.7;\n"
	     "T a span as 90s, 30m, 2h, 7d; R a road: direct, submission, relay, sendmail.\n"
	     "-j prints JSON. Exit: 0 done, 1 failed, 2 usage, 3 no such subject.\n"
	     "See smtpwall(8).");
}

/* For the completion: a verb a line, with how it goes on. */
static void print_verbs(void)
{
	const struct command *c;

	for (c = commands; c->name; c++)
		printf("%s %s\n", c->name, c->usage);
}

int cli_option(struct cli *cli, int argc, char **argv, const char *letters,
	       const struct option *options)
{
	int c;

	do {
		c = getopt_long(argc, argv, letters, options, NULL);
		cli->json |= c == 'j';
	} while (c == 'j');
	return c;
}

int cli_usage(const struct cli *cli)
{
	fprintf(stderr, "usage: smtpwall %s%s%s\n", cli->command->name,
		*cli->command->usage ? " " : "", cli->command->usage);
	return USAGE;
}

int cli_no_arguments(struct cli *cli, int argc, char **argv)
{
	static const struct option none[] = { { NULL, 0, NULL, 0 } };

	if (cli_option(cli, argc, argv, "j", none) != -1 || optind != argc)
		return cli_usage(cli);
	return DONE;
}

/* From what can be read of the file: verbs work with a broken one. */
static int find_paths(struct cli *cli, const char *pin_dir)
{
	char *given = pin_dir ? strdup(pin_dir) : NULL;

	if (pin_dir && !given)
		return log_errno(-ENOMEM, "cannot begin");
	if (config_paths(cli->config, &cli->pin_dir, &cli->state_dir) < 0) {
		free(given);
		return log_errno(-ENOMEM, "cannot begin");
	}
	if (given) {
		free(cli->pin_dir);
		cli->pin_dir = given;
	}
	return 0;
}

static const struct command *find_command(const char *name)
{
	const struct command *c;

	for (c = commands; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

static int run_verb(struct cli *cli, const char *pin_dir, int argc, char **argv)
{
	char name[64];
	int r;

	if (argc == 0) {
		log_error("a verb is missing: see 'smtpwall --help'");
		return USAGE;
	}
	cli->command = find_command(argv[0]);
	if (!cli->command) {
		log_error("there is no verb '%s': see 'smtpwall --help'", argv[0]);
		return USAGE;
	}
	if (find_paths(cli, pin_dir) < 0)
		return FAILED;
	snprintf(name, sizeof(name), "smtpwall %s", cli->command->name);
	argv[0] = name; /* what getopt_long() calls us */
	optind = 0;
	r = cli->command->run(cli, argc, argv);
	free(cli->pin_dir);
	free(cli->state_dir);
	return r;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' },
		{ "pin-dir", required_argument, NULL, 'p' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ "list-verbs", no_argument, NULL, 'L' },
		{ NULL, 0, NULL, 0 },
	};
	struct cli cli = { .config = SW_DEFAULT_CONFIG };
	const char *pin_dir = NULL;
	int c;

	setlocale(LC_CTYPE, "");
	unsetenv("JOURNAL_STREAM"); /* a command speaks to who calls it */
	log_open("smtpwall");
	libbpf_set_print(NULL); /* we say ourselves what failed */
	while ((c = getopt_long(argc, argv, "+c:jhV", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			cli.config = optarg;
			break;
		case 'p':
			pin_dir = optarg;
			break;
		case 'j':
			cli.json = true;
			break;
		case 'h':
			print_help();
			return DONE;
		case 'V':
			puts("smtpwall " SW_VERSION);
			return DONE;
		case 'L':
			print_verbs();
			return DONE;
		default:
			log_error("see 'smtpwall --help'");
			return USAGE;
		}
	}
	return run_verb(&cli, pin_dir, argc - optind, argv + optind);
}
