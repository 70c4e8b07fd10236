/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <stdarg.h>
#include <string.h>

#include "cleanup.h"
#include "config.h"

#define FINDINGS 100 /* that are worth reading */

static void findings_append(char ***list, size_t *n, const char *format, va_list args)
{
	char **grown, *text;

	if (*n > FINDINGS)
		return;
	grown = reallocarray(*list, *n + 1, sizeof(*grown));
	if (!grown)
		return;
	*list = grown;
	if (*n == FINDINGS)
		text = strdup("and more of them, which are not told");
	else if (vasprintf(&text, format, args) < 0)
		text = NULL;
	if (text)
		grown[(*n)++] = text;
}

void findings_add(struct findings *f, bool error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	findings_append(error ? &f->error : &f->warning, error ? &f->n_errors : &f->n_warnings,
			format, args);
	va_end(args);
}

void findings_clear(struct findings *f)
{
	size_t i;

	for (i = 0; i < f->n_errors; i++)
		free(f->error[i]);
	for (i = 0; i < f->n_warnings; i++)
		free(f->warning[i]);
	free(f->error);
	free(f->warning);
	*f = (struct findings){};
}
