/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From globs to folders: which are found, and what users cannot make of it. */
#include "world.h"

#include <fcntl.h>

#include "expand.h"

#define ALICE 1000
#define BOB 1001

static uint64_t make_of(const char *path, uid_t owner)
{
	uint64_t inode = make(path);

	if (chown(at(path), owner, owner))
		abort();
	return inode;
}

static void link_to(const char *target, const char *path, uid_t owner)
{
	if (symlink(target, at(path)) || lchown(at(path), owner, owner))
		abort();
}

/* ---- what is found ---- */

static struct globs globs;
static struct {
	struct expansion *all;
	struct place_row *row;
	size_t n;
} found;
static char sought[8192]; /* "/srv for *\n" … */
static size_t n_sought;
static atomic_bool stop;

static int identify(int fd, struct sw_dir *ret, void *userdata)
{
	struct stat st;

	(void)userdata;
	if (fstat(fd, &st))
		abort();
	*ret = (struct sw_dir){ .inode = st.st_ino };
	return 0;
}

static void seek(int fd, const char *path, const struct glob *of, const char *part, void *userdata)
{
	size_t used = strlen(sought);

	n_sought++;
	(void)fd, (void)of, (void)userdata;
	if (!strncmp(path, dir, strlen(dir)) && used < sizeof(sought) / 2)
		snprintf(sought + used, sizeof(sought) - used, "%s for %.*s\n", path + strlen(dir),
			 (int)strcspn(part, "/"), part);
}

static void glob(const char *text, __u64 set, __u32 flags)
{
	if (globs_add(&globs, at(text), set, flags))
		abort();
}

static const struct expander by = { .identify = identify, .seek = seek, .stop = &stop };

static void take_rows(void)
{
	free(found.row);
	if (!CHECK_EQ(expansion_rows(found.all, &found.row, &found.n), 0))
		exit(EXIT_FAILURE);
}

static void look(void)
{
	expansion_free(found.all);
	sought[0] = '\0';
	n_sought = 0;
	if (!CHECK_EQ(expand(&globs, &by, &found.all), 0))
		exit(EXIT_FAILURE);
	globs_clear(&globs);
	take_rows();
}

static const struct sw_place *place(uint64_t inode)
{
	size_t i;

	for (i = 0; i < found.n; i++)
		if (found.row[i].dir.inode == inode)
			return &found.row[i].place;
	return NULL;
}

TEST(folders_that_match_are_found_with_their_owners)
{
	uint64_t one, two, hidden, deep;

	make("/www");
	one = make_of("/www/one", ALICE);
	two = make("/www/two");
	hidden = make("/www/.git");
	deep = make_of("/www/one/deep", ALICE);
	close(creat(at("/www/file"), 0600));
	glob("/www/*", 0, SW_PLACE_SITE);
	look();
	CHECK_EQ(found.n, 2);
	if (!CHECK(place(one) && place(two)))
		return;
	CHECK_EQ(place(one)->owner, ALICE);
	CHECK_EQ(place(one)->flags, SW_PLACE_SITE);
	CHECK_EQ(place(one)->set, 0);
	CHECK_EQ(place(two)->owner, 0);
	CHECK(!place(hidden) && !place(deep));
	CHECK_CONTAINS(sought, "/www for *\n");
	CHECK_CONTAINS(sought, " for www\n");
	world_clear();
}

TEST(globs_may_be_anywhere_in_a_path_and_nowhere)
{
	uint64_t one, two;

	make("/home");
	make_of("/home/alice", ALICE);
	make_of("/home/bob", BOB);
	one = make_of("/home/alice/public_html", ALICE);
	two = make_of("/home/bob/public_html", BOB);
	make_of("/home/bob/other", BOB);
	glob("/home/*/public_html", 0, SW_PLACE_SITE);
	look();
	CHECK_EQ(found.n, 2);
	CHECK(place(one) && place(two));
	CHECK_CONTAINS(sought, "/home/bob for public_html\n");
	glob("/home/alice/public_html", 0, SW_PLACE_SITE);
	look();
	CHECK(found.n == 1 && place(one));
	glob("/nowhere/*", 0, SW_PLACE_SITE);
	look();
	CHECK_EQ(found.n, 0);
	CHECK_CONTAINS(sought, " for nowhere\n"); /* which may come */
	world_clear();
}

TEST(what_matches_a_folder_matches_those_in_it)
{
	uint64_t site, uploads, sibling;

	make("/w");
	site = make("/w/site");
	sibling = make("/w/site-b"); /* between the folder and those in it by strcmp(3) */
	uploads = make("/w/site/uploads");
	glob("/w/*", 0, SW_PLACE_SITE);
	glob("/w/*/uploads", 1, 0);
	glob("/w/site", 2, 0);
	glob("/w/si[t]e", 4, 0);
	look();
	CHECK_EQ(found.n, 3);
	CHECK_EQ(place(site)->set, 6);
	CHECK_EQ(place(site)->flags, SW_PLACE_SITE);
	CHECK_EQ(place(uploads)->set, 7);
	CHECK_EQ(place(uploads)->flags, 0);
	CHECK_EQ(place(sibling)->set, 0);
	world_clear();
}

/* ---- what comes later ---- */

TEST(what_has_come_is_added_with_what_is_below_it)
{
	const struct glob sites = { strdup(at("/w/*")), 1, SW_PLACE_SITE };
	const struct glob uploads = { strdup(at("/w/*/uploads")), 2, 0 };
	const char *star = strchr(sites.text, '*'), *below = strchr(uploads.text, '*');
	uint64_t one, two, deep, again;

	make("/w");
	one = make("/w/one");
	glob("/w/*", 1, SW_PLACE_SITE);
	glob("/w/*/uploads", 2, 0);
	look();
	CHECK(found.n == 1 && place(one));
	two = make_of("/w/two", ALICE);
	deep = make_of("/w/two/uploads", ALICE);
	CHECK_EQ(expand_more(found.all, &by, at("/w"), &sites, star, "two"), 0);
	CHECK_EQ(expand_more(found.all, &by, at("/w"), &uploads, below, "two"), 0);
	take_rows();
	if (!CHECK(found.n == 3 && place(two) && place(deep)))
		return;
	CHECK_EQ(place(two)->owner, ALICE);
	CHECK_EQ(place(deep)->set, 3);
	CHECK_CONTAINS(sought, "/w/two for uploads\n");
	/* Another one in its place. */
	if (rename(at("/w/two"), at("/gone")))
		abort();
	again = make_of("/w/two", ALICE);
	expansion_forget(found.all, at("/w"), "two");
	CHECK_EQ(expand_more(found.all, &by, at("/w"), &sites, star, "two"), 0);
	take_rows();
	CHECK(found.n == 2 && place(one) && place(again));
	free(sites.text);
	free(uploads.text);
	world_clear();
}

/* ---- links ---- */

TEST(a_link_of_roots_is_followed_to_where_the_folder_is)
{
	uint64_t one, two;

	make("/srv");
	make("/srv/www");
	one = make_of("/srv/www/one", ALICE);
	two = make_of("/srv/www/two", ALICE);
	make("/var");
	link_to("../srv/./www", "/var/www", 0);
	link_to(at("/srv/www/two"), "/var/shop", 0);
	glob("/var/www/*", 1, SW_PLACE_SITE);
	glob("/var/shop", 2, SW_PLACE_SITE);
	look();
	CHECK_EQ(found.n, 2);
	if (!CHECK(place(one) && place(two)))
		return;
	CHECK_EQ(place(one)->set, 1);
	CHECK_EQ(place(two)->set, 3);
	CHECK_CONTAINS(sought, "/srv/www for *\n");
	world_clear();
}

TEST(no_link_that_others_could_have_put_there_is_followed)
{
	uint64_t victim;

	make("/www");
	victim = make_of("/www/bob", BOB);
	make("/home");
	make_of("/home/alice", ALICE);
	link_to(at("/www/bob"), "/home/alice/public_html", ALICE);
	glob("/home/*/public_html", 1, SW_PLACE_SITE);
	look();
	CHECK_EQ(found.n, 0);
	unlink(at("/home/alice/public_html"));

	/* Root's own, but it lies where she may call it as she likes. */
	link_to(at("/www/bob"), "/home/alice/public_html", 0);
	glob("/home/*/public_html", 1, SW_PLACE_SITE);
	look();
	CHECK_EQ(found.n, 0);

	/* Root's link, whose way leads by hers. */
	make("/links");
	link_to(at("/home/alice/public_html"), "/links/alice", 0);
	unlink(at("/home/alice/public_html"));
	link_to(at("/www/bob"), "/home/alice/public_html", ALICE);
	glob("/links/alice", 1, SW_PLACE_SITE);
	look();
	CHECK_EQ(found.n, 0);

	/* Where all may write. */
	make("/open");
	link_to(at("/www/bob"), "/open/site", 0);
	if (chmod(at("/open"), 01777))
		abort();
	glob("/open/*", 1, SW_PLACE_SITE);
	look();
	CHECK_EQ(found.n, 0);
	CHECK(!place(victim));
	world_clear();
}

TEST(links_in_a_circle_end)
{
	make("/w");
	link_to("b", "/w/a", 0);
	link_to("a", "/w/b", 0);
	link_to(".", "/w/here", 0);
	link_to("here/here/../../nowhere", "/w/c", 0);
	glob("/w/*", 1, SW_PLACE_SITE);
	look();
	CHECK_EQ(found.n, 1); /* by `here` */
	world_clear();
}

/* ---- how many ---- */

static void make_many_of(const char *format, int n, uid_t owner)
{
	char path[64];
	int i;

	for (i = 0; i < n; i++) {
		snprintf(path, sizeof(path), format, i);
		make_of(path, owner);
	}
}

TEST(a_user_makes_no_more_places_than_he_may)
{
	uint64_t bob;
	__u32 uid;

	make("/home");
	make_of("/home/alice", ALICE);
	make_of("/home/alice/sites", ALICE);
	make_many_of("/home/alice/sites/%d", PLACES_OF_USER + 100, ALICE);
	make_of("/home/bob", BOB);
	make_of("/home/bob/sites", BOB);
	bob = make_of("/home/bob/sites/one", BOB);
	glob("/home/*/sites/*", 0, SW_PLACE_SITE);
	look();
	CHECK_EQ(found.n, PLACES_OF_USER + 1);
	CHECK(place(bob));
	CHECK(expansion_is_greedy(found.all, &uid) && uid == ALICE);
	CHECK(!expansion_is_full(found.all));
	world_clear();
}

TEST(of_a_user_s_folders_only_so_many_are_watched_and_all_are_looked_into)
{
	size_t others;
	uint64_t last;
	__u32 uid;

	make("/home");
	make_of("/home/alice", ALICE);
	make_of("/home/alice/sites", ALICE);
	glob("/home/*/sites/*/public", 0, SW_PLACE_SITE);
	look();
	others = n_sought;
	make_many_of("/home/alice/sites/%d", SEEKS_AT_USER, ALICE);
	make_of("/home/bob", BOB);
	make_of("/home/bob/sites", BOB);
	make_of("/home/bob/sites/one", BOB);
	glob("/home/*/sites/*/public", 0, SW_PLACE_SITE);
	look();
	CHECK_EQ(found.n, 0);
	CHECK(expansion_is_wide(found.all, &uid) && uid == ALICE);
	/* Of hers `sites` is one, of his there are three, and his home is root's to have made. */
	CHECK_EQ(n_sought, others - 1 + SEEKS_AT_USER + 3);
	CHECK_CONTAINS(sought, "/home/bob for sites\n");
	make_many_of("/home/alice/sites/%d/public", SEEKS_AT_USER, ALICE);
	last = make_of("/home/bob/sites/one/public", BOB);
	glob("/home/*/sites/*/public", 0, SW_PLACE_SITE);
	look();
	CHECK_EQ(found.n, SEEKS_AT_USER + 1);
	CHECK(place(last));
	CHECK(!expansion_is_greedy(found.all, &uid));
	world_clear();
}

TEST(a_hundred_thousand_sites_of_root_s_are_found)
{
	double before;
	__u32 uid;

	make("/www");
	make_many_of("/www/%d", 100000, ALICE);
	glob("/www/*", 0, SW_PLACE_SITE);
	before = seconds();
	look();
	printf("# 100 000 sites found in %.3f s\n", seconds() - before);
	CHECK_EQ(found.n, 100000);
	CHECK(!expansion_is_greedy(found.all, &uid) && !expansion_is_full(found.all));
	before = seconds();
	take_rows();
	printf("# their rows made in %.3f s\n", seconds() - before);
	world_clear();
	free(found.row);
	expansion_free(found.all);
}
