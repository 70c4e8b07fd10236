/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What main.c and the verbs know of each other. */
#ifndef SMTPWALL_CLI_H
#define SMTPWALL_CLI_H

#include <getopt.h>
#include <stdbool.h>

/* Of the program, and so of each verb. */
enum outcome { DONE = 0, FAILED = 1, USAGE = 2, NO_SUBJECT = 3 };

struct command;

struct cli {
	const struct command *command; /* that runs */
	const char *config;	       /* path of the file */
	char *pin_dir;
	char *state_dir;
	bool json;
};

struct command {
	const char *name;
	const char *usage; /* what follows the name */
	const char *help;
	int (*run)(struct cli *cli, int argc, char **argv);
};

extern const struct command commands[];

/* Reads the next option of a verb as getopt_long() does; -j means the same behind the verb. */
int cli_option(struct cli *cli, int argc, char **argv, const char *letters,
	       const struct option *options);
/* Tells how the verb is written. Returns USAGE. */
int cli_usage(const struct cli *cli);
/* Reads arguments where none but -j is known. Returns DONE, or USAGE as told. */
int cli_no_arguments(struct cli *cli, int argc, char **argv);

int verb_status(struct cli *cli, int argc, char **argv);
int verb_list(struct cli *cli, int argc, char **argv);
int verb_show(struct cli *cli, int argc, char **argv);
int verb_top(struct cli *cli, int argc, char **argv);
int verb_who(struct cli *cli, int argc, char **argv);
int verb_blocks(struct cli *cli, int argc, char **argv);
int verb_block(struct cli *cli, int argc, char **argv);
int verb_unblock(struct cli *cli, int argc, char **argv);
int verb_allow(struct cli *cli, int argc, char **argv);
int verb_disallow(struct cli *cli, int argc, char **argv);
int verb_allowed(struct cli *cli, int argc, char **argv);
int verb_events(struct cli *cli, int argc, char **argv);
int verb_mode(struct cli *cli, int argc, char **argv);
int verb_test(struct cli *cli, int argc, char **argv);
int verb_check_config(struct cli *cli, int argc, char **argv);
int verb_reload(struct cli *cli, int argc, char **argv);
int verb_detach(struct cli *cli, int argc, char **argv);

#endif
