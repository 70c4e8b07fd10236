// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall blocks: who is blocked, why, and until when. */
#include "blocked.h"
#include "cli.h"

static int latest_first(const void *a, const void *b)
{
	const struct blocked *one = a, *other = b;

	int64_t ahead_ns =
		one->block.since_ns - other->block.since_ns; /* either may be before the boot */

	if (ahead_ns)
		return ahead_ns > 0 ? -1 : 1;
	return subject_compare(&one->subject, &other->subject);
}

int verb_blocks(struct cli *cli, int argc, char **argv)
{
	static const struct column columns[] = {
		{ "SUBJECT", "subject", FORM_TEXT }, { "NAME", "called", FORM_TEXT },
		{ "ROADS", "roads", FORM_LIST },     { "BY", "by", FORM_TEXT },
		{ "SINCE", "since", FORM_AGO },	     { "LEFT", "until", FORM_LEFT },
		{ "HITS", "hits", FORM_NUMBER },     { "REFUSES", "refuses", FORM_TEXT },
		{ "POLICY", "policy", FORM_TEXT },   { "REASON", "reason", FORM_TEXT },
	};
	_cleanup_view_ struct view view = {};
	_cleanup_writer_ struct writer *w = NULL;
	_cleanup_free_ struct blocked *blocked = NULL;
	size_t i, n = 0;

	if (cli_no_arguments(cli, argc, argv) != DONE)
		return USAGE;
	if (view_open(cli, &view) < 0 || blocked_load(&view, &blocked, &n) < 0)
		return FAILED;
	if (n)
		qsort(blocked, n, sizeof(*blocked), latest_first);
	w = writer_new(cli->json);
	writer_list(w, "blocks");
	for (i = 0; i < n; i++)
		blocked_write(w, NULL, &view, &blocked[i]);
	writer_end(w);
	if (n)
		writer_table(w, "blocks", columns, ARRAY_SIZE(columns), writer_width(), stdout);
	else
		writer_say(w, "Nobody is blocked.");
	return writer_finish(w, false) < 0 ? FAILED : DONE;
}
