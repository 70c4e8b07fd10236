// SPDX-License-Identifier: GPL-2.0-or-later
/* smtpwall top: who sends now, again each second. Not on a terminal: once, as `list`. */
#include <errno.h>
#include <ncurses.h>
#include <string.h>

#include "cli.h"
#include "log.h"
#include "quantity.h"
#include "row.h"

#define EACH_MS 1000
#define HEAD_LINES 2
#define LINE_LEN 512

/* The table as text, as wide as the screen. */
static int render(const struct cli *cli, const struct sorting *sorting, size_t rows, size_t width,
		  char heading[static LINE_LEN], char **ret)
{
	_cleanup_view_ struct view view = {};
	_cleanup_writer_ struct writer *w = NULL;
	char *text = NULL;
	size_t size;
	FILE *out;
	int r;

	r = view_open(cli, &view);
	if (r < 0)
		return r;
	w = writer_new(false);
	r = rows_write(w, &view, (1u << SW_KINDS) - 1, sorting, rows);
	if (r < 0)
		return r;
	out = open_memstream(&text, &size);
	if (!out)
		return log_errno(-errno, "cannot draw");
	rows_table(w, width, out);
	fclose(out);
	snprintf(heading, LINE_LEN, "smtpwall: mode %s, by %s   c m t b p x d h r: sort   q: quit",
		 mode_name(view.mode), sorting->name);

	*ret = text;
	return 0;
}

static void draw(const char *heading, char *table)
{
	char *line;
	int y = 0;

	erase();
	mvaddnstr(y++, 0, heading, COLS);
	while ((line = strsep(&table, "\n")) && y < LINES) {
		if (y == HEAD_LINES - 1)
			attron(A_REVERSE);
		mvaddstr(y++, 0, line);
		attroff(A_REVERSE);
	}
	refresh();
}

static const struct sorting *sorting_by_key(int key, const struct sorting *now)
{
	const struct sorting *s;

	for (s = sortings; s->name; s++)
		if (s->key && s->key == key)
			return s;
	return now;
}

static void screen_free(SCREEN **screen)
{
	if (*screen) {
		endwin();
		delscreen(*screen);
	}
	*screen = NULL;
}

/* Draws until 'q'. -EOPNOTSUPP: this is no terminal that can be drawn on. */
static int watch(const struct cli *cli, const struct sorting *sorting)
{
	_cleanup_(screen_free) SCREEN *screen = newterm(NULL, stdout, stdin);
	char heading[LINE_LEN];
	char *table;
	int key = 0, r;

	if (!screen)
		return -EOPNOTSUPP;
	cbreak();
	noecho();
	curs_set(0);
	timeout(EACH_MS);
	while (key != 'q') {
		r = render(cli, sorting, LINES > HEAD_LINES ? LINES - HEAD_LINES : 1, COLS, heading,
			   &table);
		if (r < 0) {
			screen_free(&screen);
			/* What was told is lost with the screen: once more. */
			render(cli, sorting, 1, 0, heading, &table);
			return r;
		}
		draw(heading, table);
		free(table);
		key = getch();
		sorting = sorting_by_key(key, sorting);
	}
	return 0;
}

static int print_once(const struct cli *cli, const struct sorting *sorting)
{
	char heading[LINE_LEN];
	char *table;

	if (render(cli, sorting, 0, 0, heading, &table) < 0)
		return FAILED;
	fputs(table, stdout);
	free(table);
	return fflush(stdout) == EOF ? FAILED : DONE;
}

int verb_top(struct cli *cli, int argc, char **argv)
{
	static const struct option options[] = {
		{ "sort", required_argument, NULL, 's' },
		{ NULL, 0, NULL, 0 },
	};
	const struct sorting *sorting = sortings;
	_cleanup_view_ struct view view = {};
	int c, r = -EOPNOTSUPP;

	while ((c = cli_option(cli, argc, argv, "s:", options)) != -1) {
		if (c == 's' && !(sorting = sorting_by_name(optarg)))
			return USAGE;
		if (c == '?')
			return cli_usage(cli);
	}
	if (optind != argc)
		return cli_usage(cli);
	if (cli->json) {
		log_error("'top' is for people: 'smtpwall -j list' has the same as JSON");
		return USAGE;
	}
	if (view_open(cli, &view) < 0) /* told before the screen is taken */
		return FAILED;
	if (isatty(STDOUT_FILENO) && isatty(STDIN_FILENO))
		r = watch(cli, sorting);
	if (r == -EOPNOTSUPP)
		return print_once(cli, sorting);
	return r < 0 ? FAILED : DONE;
}
