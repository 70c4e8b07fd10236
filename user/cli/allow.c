// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall allow: lifts the limits of a sender for a while. Blocks by hand still hold. */
#include <errno.h>
#include <stdio.h>

#include "cli.h"
#include "log.h"
#include "quantity.h"
#include "span.h"
#include "view.h"

static int remove_blocks_of_limits(struct maps *maps, const struct sw_subject *subject)
{
	_cleanup_free_ struct block_row *row = NULL;
	size_t i, n;
	int r;

	r = maps_blocks(maps, &row, &n);
	for (i = 0; r == 0 && i < n; i++)
		if (subject_compare(&row[i].subject, subject) == 0 &&
		    row[i].block.by == SW_BY_LIMIT)
			r = maps_block_remove(maps, subject, row[i].road);
	return r;
}

/* The allowance first: no new block can come between. */
static int set(const struct view *view, const char *text, const struct sw_subject *subject,
	       const struct sw_allowance *allowance)
{
	struct maps *maps = view->maps;
	int r;

	r = maps_lock(maps);
	if (r < 0)
		return log_errno(r, "cannot lock the maps");
	view_subject_note(view, text, subject);
	r = maps_allowance_set(maps, subject, allowance);
	if (r == 0)
		r = remove_blocks_of_limits(maps, subject);
	maps_unlock(maps);
	return r < 0 ? log_errno(r, "cannot write the allowance") : 0;
}

static void say_done(const struct view *view, const struct sw_subject *subject, uint64_t for_ns)
{
	char text[SUBJECT_LEN], span[QUANTITY_LEN];

	view_subject_text(view, subject, text);
	duration_format(span, for_ns);
	printf("The limits of %s are lifted %s%s.\n", text,
	       for_ns ? "for " : "until 'smtpwall disallow'", for_ns ? span : "");
}

static int allow(struct cli *cli, const char *text, uint64_t for_ns, const char *reason)
{
	_cleanup_view_ struct view view = {};
	struct sw_allowance allowance = {};
	struct sw_subject subject;
	int r;

	if (view_open(cli, &view) < 0)
		return FAILED;
	r = view_sender(&view, text, &subject);
	if (r != DONE)
		return r;
	if (subject.kind == SW_KIND_IP) {
		log_error("'%s' has no limits to lift: addresses are only counted; a block by hand "
			  "is lifted with 'smtpwall unblock'",
			  text);
		return FAILED;
	}
	allowance.since_ns = view.now_ns;
	allowance.until_ns = for_ns ? view.now_ns + for_ns : 0;
	note_set(allowance.note, reason);
	if (set(&view, text, &subject, &allowance) < 0)
		return FAILED;
	if (!cli->json)
		say_done(&view, &subject, for_ns);
	return DONE;
}

int verb_allow(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "for", required_argument, NULL, 't' },
		{ "reason", required_argument, NULL, 'm' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	const char *reason = "";
	uint64_t for_ns = 0;
	int c;

	while ((c = cli_option(cli, argc, argv, "j", options)) != -1) {
		if (c == 't' && span_option(optarg, &for_ns) < 0)
			return USAGE;
		if (c == 'm')
			reason = optarg;
		if (c == '?')
			return cli_usage(cli);
	}
	if (argc - optind != 1)
		return cli_usage(cli);
	return allow(cli, argv[optind], for_ns, reason);
}
