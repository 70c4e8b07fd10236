// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall list: the ledger. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "log.h"
#include "row.h"
#include "span.h"

static int kinds_parse(const char *text, unsigned int *ret)
{
	enum sw_kind kind;

	for (kind = 0; kind < SW_KINDS; kind++) {
		if (strcmp(text, subject_kind(kind)) == 0) {
			*ret = 1u << kind;
			return 0;
		}
	}
	log_error("'%s' is no kind of sender: write uid, dir, unit or ip", text);
	return -EINVAL;
}

static void say_summary(struct writer *w, const struct view *view)
{
	if (view->mode != SW_MODE_OBSERVE)
		return;
	writer_say(w, "%s", "");
	writer_say(w, "Mode observe: nothing is refused; (n) would have been. "
		      "'smtpwall mode enforce --for 30m' tries it.");
}

int verb_list(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "sort", required_argument, NULL, 's' },
		{ "number", required_argument, NULL, 'n' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	const struct sorting *sorting = sortings;
	unsigned int kinds = (1u << SW_KINDS) - 1;
	_cleanup_view_ struct view view = {};
	_cleanup_writer_ struct writer *w = NULL;
	size_t most = 0;
	int c;

	while ((c = cli_option(cli, argc, argv, "jn:s:", options)) != -1) {
		if (c == 's' && !(sorting = sorting_by_name(optarg)))
			return USAGE;
		if (c == 'n' && rows_option(optarg, &most) < 0)
			return USAGE;
		if (c == '?')
			return cli_usage(cli);
	}
	if (argc - optind > 1)
		return cli_usage(cli);
	if (optind < argc && kinds_parse(argv[optind], &kinds) < 0)
		return USAGE;
	if (view_open(cli, &view) < 0)
		return FAILED;
	w = writer_new(cli->json);
	if (rows_write(w, &view, kinds, sorting, most) < 0)
		return FAILED;
	rows_table(w, writer_width(), stdout);
	say_summary(w, &view);
	return writer_finish(w, false) < 0 ? FAILED : DONE;
}
