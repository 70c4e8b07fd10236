// SPDX-License-Identifier: GPL-2.0-or-later
/* The program that selects sockets, run as the kernel does; and which blocks cut. */
#include "cut.h"
#include "test.h"

/* As inet_diag_bc_run(), of which only this is used. */
static bool selects(const __u8 *code, size_t length, __u16 port)
{
	long left = length;

	while (left > 0) {
		struct inet_diag_bc_op op[2] = {};
		bool yes = true;

		memcpy(op, code + length - left,
		       left < (long)sizeof(op) ? (size_t)left : sizeof(op));
		if (op->code == INET_DIAG_BC_D_EQ)
			yes = op[1].no == port;
		else if (op->code == INET_DIAG_BC_JMP)
			yes = false;
		left -= yes ? op->yes : op->no;
	}
	return left == 0;
}

TEST(the_ports_and_no_others_are_selected)
{
	static __u8 code[CUT_CODE_LEN];
	__u16 port[CUT_PORTS] = {};
	size_t length, i, n;
	unsigned int p, wrong;

	CHECK_EQ(cut_code(port, 0, code), 0);
	for (n = 1; n <= CUT_PORTS; n = n < 4 ? n + 1 : n * 4) {
		for (i = 0; i < n; i++)
			port[i] = 25 + 7 * i;
		length = cut_code(port, n, code);
		CHECK(length <= sizeof(code));
		for (p = wrong = 0; p < 65536; p++)
			wrong += selects(code, length, p) !=
				 (p >= 25 && p < 25 + 7 * n && (p - 25) % 7 == 0);
		CHECK_EQ(wrong, 0);
	}
}

TEST(only_what_refuses_cuts)
{
	struct sw_policy enforces = { .mode = SW_MODE_ENFORCE },
			 observes = { .mode = SW_MODE_OBSERVE };
	struct sw_block by_hand = { .by = SW_BY_HAND }, by_limit = { .by = SW_BY_LIMIT };

	CHECK(cut_enforced(&by_hand, NULL, SW_MODE_ENFORCE));
	CHECK(!cut_enforced(&by_hand, NULL, SW_MODE_OBSERVE));
	CHECK(cut_enforced(&by_limit, &enforces, SW_MODE_ENFORCE));
	CHECK(!cut_enforced(&by_limit, &observes, SW_MODE_ENFORCE));
	CHECK(!cut_enforced(&by_limit, NULL, SW_MODE_ENFORCE));
	by_limit.flags = SW_BLOCK_OBSERVED;
	CHECK(!cut_enforced(&by_limit, &enforces, SW_MODE_ENFORCE));
}

TEST(a_session_ends_with_the_block_of_its_user_its_unit_or_its_folder)
{
	struct sw_tag session = { .uid = 1004, .unit = 7, .dir = { 9, 1, { 0 } } };
	struct sw_subject subject[SW_LOCAL_KINDS];

	CHECK_EQ(cut_subjects(&session, subject), 2);
	CHECK_EQ(subject[0].kind, SW_KIND_UID);
	CHECK_EQ(subject[0].uid, 1004);
	CHECK_EQ(subject[1].kind, SW_KIND_UNIT);
	CHECK_EQ(subject[1].unit, 7);
	session.flags = SW_TAG_DIR;
	CHECK_EQ(cut_subjects(&session, subject), 3);
	CHECK_EQ(subject[2].kind, SW_KIND_DIR);
	CHECK_EQ(subject[2].dir.inode, 9);
}

TEST(a_containers_session_is_no_users)
{
	struct sw_tag session = { .uid = 1004, .unit = 7, .flags = SW_TAG_UNIT };
	struct sw_subject subject[SW_LOCAL_KINDS];

	CHECK_EQ(cut_subjects(&session, subject), 1);
	CHECK_EQ(subject[0].kind, SW_KIND_UNIT);
	session.flags = 0;
	session.unit = 0; /* older than the gate */
	CHECK_EQ(cut_subjects(&session, subject), 1);
	CHECK_EQ(subject[0].kind, SW_KIND_UID);
}
