// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall unblock: lifts blocks, and forgets what was used of the limits. */
#include <errno.h>
#include <string.h>

#include "cli.h"
#include "escalate.h"
#include "log.h"
#include "view.h"

static int unblock_one(struct maps *maps, const struct sw_subject *subject)
{
	enum sw_road road;
	int r = 0;

	for (road = 0; r == 0 && road < SW_ROADS; road++)
		r = maps_block_remove(maps, subject, road);
	return r < 0 ? r : maps_windows_clear(maps, subject);
}

static int unblock_all(struct maps *maps)
{
	_cleanup_free_ struct block_row *row = NULL;
	size_t i, n;
	int r;

	r = maps_blocks(maps, &row, &n);
	for (i = 0; r == 0 && i < n; i++)
		r = maps_block_remove(maps, &row[i].subject, row[i].road);
	return r < 0 ? r : maps_windows_clear_all(maps);
}

/* Blocks before this one do not make the next one longer. `subject`: NULL is everyone. */
static void forgive(const struct cli *cli, const struct view *view,
		    const struct sw_subject *subject)
{
	struct history *history;
	char text[SUBJECT_SAVED_LEN];
	int r = history_edit(cli->state_dir, &history);

	if (r == -ENOENT)
		return;
	if (subject)
		subject_offender(&view->names, subject, text);
	if (r == 0) {
		r = escalate_forgive(history, subject ? text : NULL);
		history_close(history);
	}
	if (r < 0)
		log_warning(
			"earlier blocks are not forgotten: cannot write the history in '%s': %s",
			cli->state_dir, strerror(-r));
}

static void say_done(const struct view *view, const struct sw_subject *subject)
{
	char text[SUBJECT_LEN];

	if (!subject) {
		puts("Nobody is blocked, and all limits begin anew.");
		return;
	}
	view_subject_text(view, subject, text);
	printf("%s is not blocked, and its limits begin anew.\n", text);
}

/* `subject`: NULL is everyone. */
static int unblock(const struct cli *cli, const struct view *view, const struct sw_subject *subject)
{
	int r;

	r = maps_lock(view->maps);
	if (r < 0) {
		log_errno(r, "cannot lock the maps");
		return FAILED;
	}
	r = subject ? unblock_one(view->maps, subject) : unblock_all(view->maps);
	maps_unlock(view->maps);
	if (r < 0) {
		log_errno(r, "cannot unblock");
		return FAILED;
	}
	forgive(cli, view, subject);
	if (!cli->json)
		say_done(view, subject);
	return DONE;
}

int verb_unblock(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	_cleanup_view_ struct view view = {};
	struct sw_subject subject;
	bool all = false;
	int c, r;

	while ((c = cli_option(cli, argc, argv, "j", options)) != -1) {
		all |= c == 'a';
		if (c == '?')
			return cli_usage(cli);
	}
	if (argc - optind != (all ? 0 : 1))
		return cli_usage(cli);
	if (view_open(cli, &view) < 0)
		return FAILED;
	if (all)
		return unblock(cli, &view, NULL);
	r = view_sender(&view, argv[optind], &subject);
	return r == DONE ? unblock(cli, &view, &subject) : r;
}
