# SPDX-License-Identifier: GPL-2.0-or-later
# Makes of abi.h that of a version to come (see `make next`): its maps have other rows, its sockets
# carry the same. What is asserted of the sizes does not hold for it.
s/^#define SW_ABI_VERSION .*/#define SW_ABI_VERSION 99/
s/^_Static_assert(\(sizeof(struct sw_\(ledger\|cell\|windows\|block\|abroad\))\)/_Static_assert(1 || \1/
/^struct sw_uid {/,/^};/s/^};/\t__u32 of_the_next_version;\n};/
/^struct sw_ledger {/,/^};/s/^\tstruct sw_wire wire;/\t__u64 of_the_next_version;\n&/
/^struct sw_cell {/a\	__u64 of_the_next_version[3];
/^struct sw_windows {/,/^};/s/^\t__u64 told_ns;/\t__u32 of_the_next_version;\n&/
/^struct sw_block {/,/^};/s/^\t__u16 level;/\t__u32 level;/
/^struct sw_abroad {/,/^};/s/^\t__u32 uid;/\t__u64 of_the_next_version;\n&/
