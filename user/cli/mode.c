// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall mode: shows the mode or sets it, with the daemon dead or the file broken, too. */
#include <errno.h>
#include <string.h>

#include "cli.h"
#include "log.h"
#include "quantity.h"
#include "span.h"
#include "view.h"
#include "writer.h"

static int show(const struct cli *cli)
{
	_cleanup_view_ struct view view = {};
	_cleanup_writer_ struct writer *w = NULL;
	char left[WRITER_SPAN_LEN];
	bool trial;

	if (view_open(cli, &view) < 0)
		return FAILED;
	trial = view.now_ns < view.control.trial_until_ns;
	w = writer_new(cli->json);
	writer_text(w, "mode", mode_name(view.mode));
	writer_time(w, "trial_until", trial ? view_wall(&view, view.control.trial_until_ns) : 0);
	writer_text(w, "then", trial ? mode_name(view.control.mode) : NULL);
	writer_text(w, "configured", mode_name(view.control.file_mode));
	span_format(left, (int64_t)(view.control.trial_until_ns - view.now_ns));
	if (trial)
		writer_say(w, "%s (for another %s, then %s)", mode_name(view.mode), left,
			   mode_name(view.control.mode));
	else
		writer_say(w, "%s", mode_name(view.mode));
	return writer_finish(w, false) < 0 ? FAILED : DONE;
}

/* Blocks that a trial made end with it; when it is left for enforcing they run out as set. */
static int end_trial_blocks(struct maps *maps)
{
	_cleanup_free_ struct block_row *row = NULL;
	size_t i, n;
	int r;

	r = maps_blocks(maps, &row, &n);
	for (i = 0; r == 0 && i < n; i++)
		if (row[i].block.flags & SW_BLOCK_TRIAL)
			r = maps_block_remove(maps, &row[i].subject, row[i].road);
	return r;
}

/*
 * Blocks that observe mode has computed refuse nobody when it ends: the next attempt is judged
 * anew. `--apply` makes them real, with the time that they have left.
 */
static int apply_observed(struct maps *maps)
{
	_cleanup_free_ struct block_row *row = NULL;
	size_t n = 0;
	int r = maps_blocks(maps, &row, &n);

	for (size_t i = 0; r == 0 && i < n; i++) {
		if (!(row[i].block.flags & SW_BLOCK_OBSERVED))
			continue;
		row[i].block.flags &= ~SW_BLOCK_OBSERVED;
		r = maps_block_set(maps, &row[i].subject, row[i].road, &row[i].block);
	}
	return r;
}

static int write_mode(struct maps *maps, enum sw_mode mode, uint64_t for_ns, bool apply)
{
	struct sw_control control;
	int r;

	r = maps_control(maps, &control);
	if (r < 0)
		return r;
	if (for_ns) {
		control.trial_mode = mode;
		control.trial_until_ns = boot_ns() + for_ns;
	} else {
		control.mode = mode;
		control.trial_until_ns = 0;
	}
	r = maps_control_write(maps, &control);
	if (r == 0 && mode == SW_MODE_OBSERVE)
		r = end_trial_blocks(maps);
	return r == 0 && apply ? apply_observed(maps) : r;
}

static int set(const struct cli *cli, enum sw_mode mode, uint64_t for_ns, bool apply)
{
	_cleanup_view_ struct view view = {};
	char span[QUANTITY_LEN];
	int r;

	if (view_open(cli, &view) < 0)
		return FAILED;
	r = maps_lock(view.maps);
	if (r == 0) {
		r = write_mode(view.maps, mode, for_ns, apply);
		maps_unlock(view.maps);
	}
	if (r < 0) {
		log_errno(r, "cannot set the mode");
		return FAILED;
	}
	if (cli->json)
		return show(cli);
	if (for_ns) {
		duration_format(span, for_ns);
		printf("mode %s for %s, then %s again\n", mode_name(mode), span,
		       mode_name(view.control.mode));
	} else {
		printf("mode %s\n", mode_name(mode));
	}
	return DONE;
}

static int mode_parse(const char *text, enum sw_mode *ret)
{
	enum sw_mode mode;

	for (mode = SW_MODE_OBSERVE; mode <= SW_MODE_ENFORCE; mode++) {
		if (strcmp(text, mode_name(mode)) == 0) {
			*ret = mode;
			return 0;
		}
	}
	log_error("'%s' is no mode: write observe or enforce", text);
	return -EINVAL;
}

int verb_mode(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "for", required_argument, NULL, 't' },
		{ "apply", no_argument, NULL, 'a' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t for_ns = 0;
	bool apply = false;
	enum sw_mode mode;
	int c;

	while ((c = cli_option(cli, argc, argv, "j", options)) != -1) {
		if (c == 't' && span_option(optarg, &for_ns) < 0)
			return USAGE;
		apply |= c == 'a';
		if (c == '?')
			return cli_usage(cli);
	}
	if (argc - optind > 1 || (optind == argc && (for_ns || apply)))
		return cli_usage(cli);
	if (optind == argc)
		return show(cli);
	if (mode_parse(argv[optind], &mode) < 0)
		return USAGE;
	if (apply && (mode == SW_MODE_OBSERVE || for_ns)) {
		log_error("--apply goes with `mode enforce` alone: a trial makes its own blocks");
		return USAGE;
	}
	return set(cli, mode, for_ns, apply);
}
