/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Sites as they come and go, told by the thread that looks for them. */
#include "world.h"

#include "expand.h"
#include "places.h"

/* ---- the kernel's map ---- */

#define ROWS 64
static struct place_row map[ROWS];
static size_t n_map, n_puts;
static struct globs globs;
static sd_event *loop;

static int put(const struct sw_dir *of, const struct sw_place *place, void *userdata)
{
	size_t i;

	(void)userdata;
	n_puts++;
	for (i = 0; i < n_map && map[i].dir.inode != of->inode; i++)
		;
	if (place && i < ROWS) {
		map[i] = (struct place_row){ *of, *place };
		n_map += i == n_map;
	} else if (!place && i < n_map) {
		map[i] = map[--n_map];
	}
	return 0;
}

static const struct sw_place *place(uint64_t inode)
{
	size_t i;

	for (i = 0; i < n_map; i++)
		if (map[i].dir.inode == inode)
			return &map[i].place;
	return NULL;
}

static void glob(const char *text, __u64 set, __u32 flags)
{
	if (globs_add(&globs, at(text), set, flags))
		abort();
}

static void take_rows(struct places *places)
{
	const struct place_row *rows;
	size_t n = 0;

	if (!CHECK_EQ(places_rows(places, &globs, &rows, &n), 0) || !CHECK(n <= ROWS))
		exit(EXIT_FAILURE);
	memcpy(map, rows, n * sizeof(*rows));
	n_map = n;
	n_puts = 0;
}

static struct places *start(void)
{
	struct places *places = NULL;

	if (!CHECK_EQ(places_new(NULL, put, NULL, &places), 0))
		exit(EXIT_FAILURE);
	take_rows(places);
	if (!CHECK(sd_event_new(&loop) >= 0) || !CHECK_EQ(places_watch(places, loop), 0))
		exit(EXIT_FAILURE);
	return places;
}

static void stop(struct places *places)
{
	places_free(places);
	sd_event_unref(loop);
	globs_clear(&globs);
	n_map = 0;
}

/* Until there are so many rows; a busy machine may take its time. */
static bool hear(size_t rows)
{
	double end = seconds() + 10;

	while (n_map != rows && seconds() < end)
		sd_event_run(loop, 10000);
	return n_map == rows;
}

/* ---- */

TEST(a_new_site_is_known_within_a_second_and_so_is_its_end)
{
	struct places *places;
	uint64_t one, two;

	make("/www");
	one = make("/www/one");
	glob("/www/*", 1, SW_PLACE_SITE);
	places = start();
	CHECK(n_map == 1 && place(one));
	two = make("/www/two");
	CHECK(hear(2) && place(two));
	CHECK_EQ(place(two)->set, 1);
	CHECK_EQ(n_puts, 1);
	if (rename(at("/www/two"), at("/www/three")))
		abort();
	make("/www/four");
	CHECK(hear(3) && place(two)); /* the same folder by another name */
	if (rename(at("/www/three"), at("/two")))
		abort();
	CHECK(hear(2) && !place(two));
	if (rmdir(at("/www/four")) || rmdir(at("/two")))
		abort();
	CHECK(hear(1) && place(one));
	stop(places);
	world_clear();
}

TEST(what_has_to_come_first_is_waited_for_as_well)
{
	struct places *places;
	uint64_t site;

	glob("/home/*/public_html", 0, SW_PLACE_SITE);
	places = start();
	CHECK_EQ(n_map, 0);
	make("/home");
	make("/home/alice");
	site = make("/home/alice/public_html");
	CHECK(hear(1) && place(site));
	make("/home/bob");
	make("/home/bob/public_html");
	CHECK(hear(2));
	stop(places);
	world_clear();
}

TEST(other_globs_have_other_rows)
{
	struct places *places;
	uint64_t one, two;

	one = make("/one");
	two = make("/two");
	glob("/one", 1, 0);
	places = start();
	CHECK(n_map == 1 && place(one));
	globs_clear(&globs);
	glob("/two", 2, 0);
	glob("/t*", 4, SW_PLACE_SITE);
	take_rows(places);
	if (CHECK(n_map == 1 && place(two))) {
		CHECK_EQ(place(two)->set, 6);
		CHECK_EQ(place(two)->flags, SW_PLACE_SITE);
	}
	make("/three");
	CHECK(hear(2));
	stop(places);
	world_clear();
}

TEST(the_kernel_hears_only_of_what_has_changed)
{
	struct places *places;
	char path[64];
	int i;

	make("/www");
	for (i = 0; i < 50; i++) {
		snprintf(path, sizeof(path), "/www/%d", i);
		make(path);
	}
	glob("/www/*", 0, SW_PLACE_SITE);
	places = start();
	CHECK_EQ(n_map, 50);
	make("/www/new");
	CHECK(hear(51));
	CHECK_EQ(n_puts, 1);
	if (chown(at("/www/7"), 1000, 1000))
		return skip("chown needs root");
	if (rmdir(at("/www/new")))
		abort();
	CHECK(hear(50));
	CHECK_EQ(n_puts, 3);
	stop(places);
	world_clear();
}

/* A user who does this costs little, and the sites of others are found all the same. */
TEST(a_flood_of_folders_that_come_and_go_is_survived)
{
	struct places *places;
	double end;

	make("/www");
	glob("/www/*", 0, SW_PLACE_SITE);
	places = start();
	for (end = seconds() + 1; seconds() < end;) {
		make("/www/x");
		sd_event_run(loop, 0);
		if (rmdir(at("/www/x")))
			abort();
	}
	make("/www/site");
	CHECK(hear(1));
	printf("# heard of %zu changes\n", n_puts);
	CHECK(n_puts < 1000);
	stop(places);
	world_clear();
}
