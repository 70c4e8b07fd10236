// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall check-config: the same checks as a start makes. */
#include "check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clean.h"
#include "cli.h"
#include "config.h"
#include "networks.h"
#include "policy.h"

static void print_line(const char *kind, char *text)
{
	clean(text);
	fprintf(stderr, "%s%s\n", kind, text);
}

int config_check(const char *path, size_t *ret_policies)
{
	struct findings findings = {};
	struct ruleset *ruleset = NULL;
	struct config *config = NULL;
	size_t i;
	int r;

	r = config_load(path, &findings, &config);
	r = r < 0 ? r : networks_ask(config);
	if (r == 0)
		r = policy_compile(config, NULL, &findings, &ruleset);
	for (i = 0; i < findings.n_errors; i++)
		print_line("", findings.error[i]);
	for (i = 0; i < findings.n_warnings; i++)
		print_line("warning: ", findings.warning[i]);
	if (r < 0 && findings.n_errors == 0)
		fprintf(stderr, "%s: %s\n", path, strerror(-r));
	if (r == 0)
		*ret_policies = config->n_policies;
	findings_clear(&findings);
	ruleset_free(ruleset);
	config_free(config);
	return r;
}

int verb_check_config(struct cli *cli, int argc, char **argv)
{
	size_t policies = 0;

	if (cli_no_arguments(cli, argc, argv) != DONE)
		return USAGE;
	if (config_check(cli->config, &policies) < 0)
		return FAILED;
	printf("ok: %zu policies\n", policies);
	return DONE;
}
