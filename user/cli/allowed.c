// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall allowed: whose limits are lifted. */
#include "cli.h"
#include "log.h"
#include "named.h"
#include "view.h"
#include "writer.h"

static void write_one(struct writer *w, const struct view *view, const struct allowance_row *row)
{
	writer_object(w, NULL);
	named_write(w, view, &row->subject);
	writer_text(w, "reason", *row->allowance.note ? row->allowance.note : NULL);
	writer_time(w, "since", view_wall(view, row->allowance.since_ns));
	writer_time(w, "until", view_wall(view, row->allowance.until_ns));
	writer_end(w);
}

int verb_allowed(struct cli *cli, int argc, char **argv)
{
	static const struct column columns[] = {
		{ "SUBJECT", "subject", FORM_TEXT }, { "NAME", "called", FORM_TEXT },
		{ "SINCE", "since", FORM_AGO },	     { "LEFT", "until", FORM_LEFT },
		{ "REASON", "reason", FORM_TEXT },
	};
	_cleanup_view_ struct view view = {};
	_cleanup_writer_ struct writer *w = NULL;
	_cleanup_free_ struct allowance_row *row = NULL;
	size_t i, n = 0, last = 0;
	int r;

	if (cli_no_arguments(cli, argc, argv) != DONE)
		return USAGE;
	if (view_open(cli, &view) < 0)
		return FAILED;
	r = maps_allowances(view.maps, &row, &n);
	if (r < 0) {
		log_errno(r, "cannot read the allowances");
		return FAILED;
	}
	w = writer_new(cli->json);
	writer_list(w, "allowed");
	for (i = 0; i < n; i++) {
		if (!lasts(row[i].allowance.until_ns, view.now_ns))
			continue;
		write_one(w, &view, &row[i]);
		last++;
	}
	writer_end(w);
	if (last)
		writer_table(w, "allowed", columns, ARRAY_SIZE(columns), writer_width(), stdout);
	else
		writer_say(w, "Nobody's limits are lifted.");
	return writer_finish(w, false) < 0 ? FAILED : DONE;
}
