// SPDX-License-Identifier: GPL-2.0-or-later
#include <errno.h>
#include <linux/bpf.h>
#include <sqlite3.h>
#include <unistd.h>

#include "collect.h"
#include "proof.h"
#include "test.h"

#define SECOND 1000000000ULL

static char dir[64];
static struct history *history;

static void world_make(void)
{
	snprintf(dir, sizeof(dir), "/tmp/smtpwall-proof-XXXXXX");
	if (!mkdtemp(dir) || history_open(dir, true, &history) < 0 || proof_begin(history) < 0)
		abort();
}

static void world_remove(void)
{
	char command[128];

	history_close(history);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	if (system(command) != 0)
		abort();
}

static struct proof proof_new(uint64_t id, uint32_t uid, int64_t time_ms)
{
	struct proof proof = {
		.row = { .key = { .kind = SW_KIND_UID, .id = uid },
			 .why = EVIDENCE_LAST,
			 .record = { .id = id,
				     .uid = uid,
				     .unit = 0xffffffff00000001,
				     .dir = { .inode = 5, .device = 6 },
				     .tag_flags = SW_TAG_DIR,
				     .time_ns = time_ms * 1000000 } },
		.time_ms = time_ms,
		.origin = "boot/1",
		.noted = id,
		.stands_for = 3,
		.unit = "unit:/x.service",
		.dir = "dir:/var/www/shop",
	};

	strcpy(proof.row.record.helo, "EHLO x");
	return proof;
}

struct seen {
	int n;
	uint64_t id[8];
	struct proof last;
	char found[64], script[64], guess[64];
};

static int note(const struct proof *proof, void *userdata)
{
	struct seen *seen = userdata;

	if (seen->n < 8)
		seen->id[seen->n] = proof->row.record.id;
	seen->n++;
	seen->last = *proof;
	snprintf(seen->found, sizeof(seen->found), "%s", proof->found ? proof->found : "");
	snprintf(seen->script, sizeof(seen->script), "%s", proof->script ? proof->script : "");
	snprintf(seen->guess, sizeof(seen->guess), "%s", proof->guess ? proof->guess : "");
	return 0;
}

static void add(uint64_t id, uint32_t uid, int64_t time_ms)
{
	struct proof proof = proof_new(id, uid, time_ms);

	CHECK_EQ(proof_add(history, &proof), 0);
}

TEST(what_is_kept_is_read_as_it_was)
{
	struct seen seen = {};

	world_make();
	add(UINT64_MAX - 7, 1004, 1000);
	CHECK_EQ(proof_read(history, 0, note, &seen), 0);
	CHECK_EQ(seen.n, 1);
	CHECK_EQ(seen.last.row.record.id, UINT64_MAX - 7);
	CHECK_STR(seen.last.row.record.helo, "EHLO x");
	CHECK_EQ(seen.last.stands_for, 3);
	CHECK_EQ(seen.last.noted, UINT64_MAX - 7);
	CHECK_EQ(seen.last.row.key.id, 1004);
	world_remove();
}

TEST(the_same_attempt_is_kept_once_but_not_if_of_other_maps)
{
	struct proof other = proof_new(8, 1004, 1000);
	struct seen seen = {};

	world_make();
	add(8, 1004, 1000);
	add(8, 1004, 1000);
	other.origin = "boot/2";
	CHECK_EQ(proof_add(history, &other), 0);
	proof_read(history, 0, note, &seen);
	CHECK_EQ(seen.n, 2);
	world_remove();
}

TEST(what_two_keep_is_counted_once_by_whose_it_is)
{
	struct proof other = proof_new(8, 1004, 1000);
	struct sw_evidence_key own = { .kind = SW_KIND_UID, .id = 1004 };
	uint64_t time_ns = 0, noted = 0;
	struct seen seen = {};

	world_make();
	other.row.key = (struct sw_evidence_key){ .kind = SW_KIND_DIR, .id = 5, .device = 6 };
	other.row.why = EVIDENCE_TRIP;
	other.stands_for = 0;
	other.noted = 0;
	CHECK(!proof_has_trip(history, "boot/1", 8));
	CHECK_EQ(proof_add(history, &other), 0);
	add(8, 1004, 1000);
	CHECK_EQ(proof_add(history, &other), 0);
	CHECK(proof_has_trip(history, "boot/1", 8));
	proof_read(history, 0, note, &seen);
	CHECK_EQ(seen.n, 1);
	CHECK_EQ(seen.last.stands_for, 3);
	CHECK_EQ(seen.last.row.key.kind, SW_KIND_UID);
	CHECK_EQ(seen.last.row.why, EVIDENCE_LAST | EVIDENCE_TRIP);
	CHECK_EQ(proof_latest(history, "boot/1", &own, &time_ns, &noted), 0);
	CHECK_EQ(noted, 8);
	world_remove();
}

TEST(what_was_found_first_stands)
{
	struct seen seen = {};

	world_make();
	add(8, 1004, 1000);
	CHECK_EQ(proof_found(history, "boot/1", 8, "{\"parents\":[]}", NULL, "/a.php"), 0);
	CHECK_EQ(proof_found(history, "boot/1", 8, "{}", NULL, "/decoy.php"), 0);
	proof_read(history, 0, note, &seen);
	CHECK_STR(seen.guess, "/a.php");
	world_remove();
}

TEST(what_is_found_out_is_added)
{
	struct seen seen = {};

	world_make();
	add(8, 1004, 1000);
	add(16, 1004, 1001);
	CHECK_EQ(proof_found(history, "boot/1", 8, "{}", "/srv/x.php", "/srv/y.php"), 0);
	CHECK_EQ(proof_one(history, 8, note, &seen), 0);
	CHECK_EQ(seen.n, 1);
	CHECK_STR(seen.found, "{}");
	CHECK_STR(seen.script, "/srv/x.php");
	CHECK_STR(seen.guess, "/srv/y.php");
	world_remove();
}

TEST(each_subject_has_its_own_the_latest_first)
{
	struct sw_subject user = { .kind = SW_KIND_UID, .uid = 1004 };
	struct sw_subject unit = { .kind = SW_KIND_UNIT, .unit = 0xffffffff00000001 };
	struct sw_subject folder = { .kind = SW_KIND_DIR, .dir = { .inode = 5, .device = 6 } };
	struct sw_subject address = { .kind = SW_KIND_IP };
	struct seen seen = {};

	world_make();
	add(8, 1004, 1000);
	add(16, 1005, 1001);
	add(24, 1004, 1002);
	CHECK_EQ(proof_of(history, &user, 10, note, &seen), 0);
	CHECK_EQ(seen.n, 2);
	CHECK_EQ(seen.id[0], 24);
	seen.n = 0;
	CHECK_EQ(proof_of(history, &unit, 2, note, &seen), 0);
	CHECK_EQ(seen.n, 2);
	seen.n = 0;
	CHECK_EQ(proof_of(history, &folder, 10, note, &seen), 0);
	CHECK_EQ(seen.n, 3);
	seen.n = 0;
	CHECK_EQ(proof_of(history, &address, 10, note, &seen), 0);
	CHECK_EQ(seen.n, 0);
	world_remove();
}

TEST(the_latest_of_a_key_is_of_these_maps)
{
	struct sw_evidence_key key = { .kind = SW_KIND_UID, .id = 1004 };
	uint64_t time_ns = 0, noted = 0;

	world_make();
	add(8, 1004, 1000);
	add(16, 1004, 1001);
	CHECK_EQ(proof_latest(history, "boot/1", &key, &time_ns, &noted), 0);
	CHECK_EQ(time_ns, 1001 * 1000000ULL);
	CHECK_EQ(noted, 16);
	CHECK_EQ(proof_latest(history, "boot/2", &key, &time_ns, &noted), -ENOENT);
	key.id = 1005;
	CHECK_EQ(proof_latest(history, "boot/1", &key, &time_ns, &noted), -ENOENT);
	world_remove();
}

TEST(a_folder_made_anew_has_none_of_the_old_one_s)
{
	struct proof old = proof_new(8, 1004, 1000);
	struct sw_subject folder = { .kind = SW_KIND_DIR };
	uint64_t time_ns = 0, noted = 0;
	struct seen seen = {};

	world_make();
	old.row.record.dir.generation = 9;
	old.row.key = (struct sw_evidence_key){
		.kind = SW_KIND_DIR, .id = 5, .device = 6, .rest = 9
	};
	CHECK_EQ(proof_add(history, &old), 0);
	CHECK_EQ(proof_latest(history, "boot/1", &old.row.key, &time_ns, &noted), 0);
	CHECK_EQ(proof_read(history, 0, note, &seen), 0);
	CHECK_EQ(seen.last.row.key.rest, 9);
	folder.dir = old.row.record.dir;
	CHECK_EQ(proof_of(history, &folder, 10, note, &seen), 0);
	CHECK_EQ(seen.n, 2);
	folder.dir.generation = old.row.key.rest = 10;
	CHECK_EQ(proof_of(history, &folder, 10, note, &seen), 0);
	CHECK_EQ(seen.n, 2);
	CHECK_EQ(proof_latest(history, "boot/1", &old.row.key, &time_ns, &noted), -ENOENT);
	world_remove();
}

TEST(what_is_old_or_too_much_is_forgotten)
{
	struct seen seen = {};
	int i;

	world_make();
	for (i = 1; i <= 6; i++)
		add(8 * i, 1004, 1000 + i);
	CHECK_EQ(proof_trim(history, 1002, 100), 0);
	proof_read(history, 0, note, &seen);
	CHECK_EQ(seen.n, 5);
	CHECK_EQ(proof_trim(history, 0, 2), 0);
	seen.n = 0;
	proof_read(history, 0, note, &seen);
	CHECK_EQ(seen.n, 2);
	CHECK_EQ(seen.id[0], 40);
	world_remove();
}

TEST(a_record_of_another_version_is_not_read)
{
	struct seen seen = {};

	world_make();
	add(8, 1004, 1000);
	add(16, 1004, 1001);
	sqlite3_exec(history_db(history), "UPDATE evidence SET abi = 99 WHERE attempt = 8", NULL,
		     NULL, NULL);
	sqlite3_exec(history_db(history), "UPDATE evidence SET record = x'00' WHERE attempt = 16",
		     NULL, NULL, NULL);
	CHECK_EQ(proof_read(history, 0, note, &seen), 0);
	CHECK_EQ(seen.n, 0);
	world_remove();
}

TEST(a_history_without_evidence_has_none)
{
	struct sw_subject user = { .kind = SW_KIND_UID, .uid = 1004 };
	struct seen seen = {};

	world_make();
	sqlite3_exec(history_db(history), "DROP TABLE evidence", NULL, NULL, NULL);
	CHECK_EQ(proof_read(history, 0, note, &seen), 0);
	CHECK_EQ(proof_of(history, &user, 10, note, &seen), 0);
	CHECK_EQ(proof_one(history, 8, note, &seen), 0);
	CHECK_EQ(seen.n, 0);
	world_remove();
}

/* ---- how much is kept ---- */

/* Takes what it may at this time. */
static int spend(struct collect_credit *credit, bool trip, uint64_t now_ns)
{
	int n = 0;

	while (collect_allowance(credit, trip, now_ns) > 0 && n < 1000) {
		credit->rows--;
		n++;
	}
	return n;
}

TEST(some_are_kept_at_once_then_one_in_a_while)
{
	struct collect_credit credit = {};

	CHECK_EQ(spend(&credit, false, 1000 * SECOND), 16);
	CHECK_EQ(spend(&credit, false, 1001 * SECOND), 0);
	CHECK_EQ(spend(&credit, false, 1030 * SECOND), 1);
	CHECK_EQ(spend(&credit, false, 1120 * SECOND), 3);
	CHECK_EQ(spend(&credit, false, 1000000 * SECOND), 16);
}

TEST(what_goes_over_a_limit_has_more_credit_but_not_without_end)
{
	struct collect_credit credit = {};

	CHECK_EQ(spend(&credit, false, 1000 * SECOND), 16);
	CHECK_EQ(spend(&credit, true, 1000 * SECOND), 48);
	CHECK_EQ(spend(&credit, true, 1001 * SECOND), 0);
	CHECK_EQ(spend(&credit, true, 1060 * SECOND), 2);
	CHECK_EQ(spend(&credit, false, 1000000 * SECOND), 16);
}
