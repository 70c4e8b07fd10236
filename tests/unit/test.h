/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A test program is one file of TEST()s. It prints TAP and fails as a whole if one fails.
 *
 *	TEST(a_duration_without_a_unit_is_refused)
 *	{
 *		CHECK_EQ(duration_parse("90", &ns), -EINVAL);
 *	}
 *
 * A failed check says where and with which values, answers false, and the test goes on; what
 * cannot go on returns: `if (!CHECK(p)) return;`. So does `return skip("kernel lacks TCX");`.
 * Skips for other reasons than a missing part of the kernel count as failures.
 */
#ifndef SMTPWALL_TEST_H
#define SMTPWALL_TEST_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test {
	const char *name;
	void (*run)(void);
	struct test *next;
};

static struct test *test_first, **test_last = &test_first;
static unsigned int test_failures; /* of the test that runs */
static const char *test_skipped;

/* Registered before main(), in the order of the file. */
#define TEST(id)                                                                                   \
	static void test_##id(void);                                                               \
	static struct test test_entry_##id = { #id, test_##id, NULL };                             \
	__attribute__((__constructor__)) static void test_register_##id(void)                      \
	{                                                                                          \
		*test_last = &test_entry_##id;                                                     \
		test_last = &test_entry_##id.next;                                                 \
	}                                                                                          \
	static void test_##id(void)

#define CHECK(condition) test_check(__FILE__, __LINE__, #condition, !!(condition))
#define CHECK_EQ(actual, expected)                                                                 \
	test_check_eq(__FILE__, __LINE__, #actual, (intmax_t)(actual), (intmax_t)(expected))
#define CHECK_STR(actual, expected)                                                                \
	test_check_str(__FILE__, __LINE__, #actual, (actual), (expected))
#define CHECK_CONTAINS(actual, part)                                                               \
	test_check_contains(__FILE__, __LINE__, #actual, (actual), (part))

__attribute__((__format__(__printf__, 3, 4))) static inline bool
test_fail(const char *file, int line, const char *format, ...)
{
	va_list args;

	test_failures++;
	printf("# %s:%d: ", file, line);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	return false;
}

static inline bool test_check(const char *file, int line, const char *what, bool holds)
{
	return holds || test_fail(file, line, "not so: %s", what);
}

static inline bool test_check_eq(const char *file, int line, const char *what, intmax_t actual,
				 intmax_t expected)
{
	return actual == expected ||
	       test_fail(file, line, "%s is %jd, not %jd", what, actual, expected);
}

static inline const char *test_shown(const char *text)
{
	return text ? text : "(null)";
}

static inline bool test_check_str(const char *file, int line, const char *what, const char *actual,
				  const char *expected)
{
	bool same = actual && expected ? !strcmp(actual, expected) : actual == expected;

	return same || test_fail(file, line, "%s is \"%s\", not \"%s\"", what, test_shown(actual),
				 test_shown(expected));
}

static inline bool test_check_contains(const char *file, int line, const char *what,
				       const char *actual, const char *part)
{
	return (actual && strstr(actual, part)) ||
	       test_fail(file, line, "%s is \"%s\", without \"%s\"", what, test_shown(actual),
			 part);
}

/* For `return skip("kernel lacks TCX");` */
static inline void skip(const char *reason)
{
	test_skipped = reason;
}

static const char *test_sentence(const char *name)
{
	static char text[256];
	size_t i;

	snprintf(text, sizeof(text), "%s", name);
	for (i = 0; text[i]; i++)
		if (text[i] == '_')
			text[i] = ' ';
	return text;
}

static int test_run(struct test *t, unsigned int number)
{
	test_failures = 0;
	test_skipped = NULL;
	t->run();
	printf("%s %u - %s%s%s\n", test_failures ? "not ok" : "ok", number, test_sentence(t->name),
	       test_skipped ? " # SKIP " : "", test_skipped ? test_skipped : "");
	fflush(stdout);
	return test_failures != 0;
}

int main(void)
{
	unsigned int number = 0, failed = 0;
	struct test *t;

	for (t = test_first; t; t = t->next)
		failed += test_run(t, ++number);
	printf("1..%u\n", number);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
