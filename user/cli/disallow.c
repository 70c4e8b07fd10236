// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall disallow: takes an allowance back. */
#include "cli.h"
#include "log.h"
#include "view.h"

int verb_disallow(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { NULL, 0, NULL, 0 } };
	_cleanup_view_ struct view view = {};
	struct sw_subject subject;
	int r;

	if (cli_option(cli, argc, argv, "j", options) != -1 || argc - optind != 1)
		return cli_usage(cli);
	if (view_open(cli, &view) < 0)
		return FAILED;
	r = view_sender(&view, argv[optind], &subject);
	if (r != DONE)
		return r;
	r = maps_lock(view.maps);
	if (r < 0) {
		log_errno(r, "cannot lock the maps");
		return FAILED;
	}
	r = maps_allowance_remove(view.maps, &subject);
	maps_unlock(view.maps);
	if (r < 0)
		log_errno(r, "cannot take the allowance back");
	return r < 0 ? FAILED : DONE;
}
