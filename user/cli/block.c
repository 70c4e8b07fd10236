// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall block: refuses a sender at once, daemon or not. */
#include <errno.h>
#include <string.h>

#include "cli.h"
#include "cut.h"
#include "log.h"
#include "quantity.h"
#include "span.h"
#include "view.h"

/* "direct,relay" */
static int roads_parse(char *text, __u8 *ret)
{
	enum sw_road road;
	__u8 roads = 0;
	char *name;

	while ((name = strsep(&text, ","))) {
		if (road_from_name(name, &road) < 0 || road >= SW_ROADS_COUNTED) {
			log_error("'%s' is no road that can be blocked: write direct, submission "
				  "or relay",
				  name);
			return -EINVAL;
		}
		roads |= 1 << road;
	}
	*ret = roads;
	return 0;
}

static int set(const struct view *view, const char *text, const struct sw_subject *subject,
	       __u8 roads, const struct sw_block *block)
{
	enum sw_road road;
	int r;

	r = maps_lock(view->maps);
	if (r < 0)
		return log_errno(r, "cannot lock the maps");
	view_subject_note(view, text, subject);
	for (road = 0; r == 0 && road < SW_ROADS; road++)
		if (roads >> road & 1)
			r = maps_block_set(view->maps, subject, road, block);
	maps_unlock(view->maps);
	return r < 0 ? log_errno(r, "cannot write the block") : 0;
}

/* The daemon would a second later, if it runs. */
static void end_sessions(const struct view *view, const struct sw_subject *subject, __u8 roads,
			 const struct sw_block *block)
{
	struct cut_target target = { .subject = *subject, .roads = roads };
	struct cut_result result;
	int r;

	if (!cut_enforced(block, NULL, view->mode))
		return;
	r = cut(view->maps, &target, 1, &result);
	if (r < 0 || result.not_supported)
		log_warning("its live sessions could not be ended; their packets are dropped: %s",
			    strerror(r < 0 ? -r : EOPNOTSUPP));
}

static void say_done(const struct view *view, const struct sw_subject *subject, uint64_t for_ns)
{
	char text[SUBJECT_LEN], span[QUANTITY_LEN];

	view_subject_text(view, subject, text);
	duration_format(span, for_ns);
	printf("%s is blocked %s%s.\n", text, for_ns ? "for " : "until it is unblocked",
	       for_ns ? span : "");
	if (view_is_new(view, subject))
		puts("Note: nobody has sent from there yet: is it written as 'smtpwall list' shows "
		     "it?");
	if (view->mode == SW_MODE_OBSERVE)
		puts("Note: the mode is observe, so nothing is refused until 'smtpwall mode "
		     "enforce'.");
}

static int block(struct cli *cli, const char *text, uint64_t for_ns, __u8 roads, const char *reason,
		 bool force)
{
	_cleanup_view_ struct view view = {};
	struct sw_block entry = { .by = SW_BY_HAND };
	struct sw_subject subject;
	int r;

	if (view_open(cli, &view) < 0)
		return FAILED;
	r = view_sender(&view, text, &subject);
	if (r != DONE)
		return r;
	if (view_exempt(&view, &subject) && !force) {
		log_error("'%s' is exempt; '--force' blocks it all the same", text);
		return FAILED;
	}
	entry.since_ns = view.now_ns;
	entry.until_ns = for_ns ? view.now_ns + for_ns : 0;
	note_set(entry.note, reason);
	if (set(&view, text, &subject, roads, &entry) < 0)
		return FAILED;
	end_sessions(&view, &subject, roads, &entry);
	if (!cli->json)
		say_done(&view, &subject, for_ns);
	return DONE;
}

int verb_block(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "for", required_argument, NULL, 't' },
		{ "roads", required_argument, NULL, 'r' },
		{ "reason", required_argument, NULL, 'm' },
		{ "force", no_argument, NULL, 'f' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	__u8 roads = 1 << SW_ROAD_DIRECT;
	const char *reason = "";
	uint64_t for_ns = 0;
	bool force = false;
	int c;

	while ((c = cli_option(cli, argc, argv, "j", options)) != -1) {
		if (c == 't' && span_option(optarg, &for_ns) < 0)
			return USAGE;
		if (c == 'r' && roads_parse(optarg, &roads) < 0)
			return USAGE;
		if (c == 'm')
			reason = optarg;
		force |= c == 'f';
		if (c == '?')
			return cli_usage(cli);
	}
	if (argc - optind != 1)
		return cli_usage(cli);
	return block(cli, argv[optind], for_ns, roads, reason, force);
}
