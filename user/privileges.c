// SPDX-License-Identifier: GPL-2.0-or-later
#include "privileges.h"

#include <cap-ng.h>
#include <errno.h>
#include <stdbool.h>

#include "cleanup.h"
#include "log.h"

static const struct {
	unsigned int capability;
	const char *why;
	bool to_read;
} needed[] = {
	{ CAP_BPF, "make the maps of a new generation, attach, pin; ask of a folder", true },
	{ CAP_PERFMON, "programs that read the kernel's memory", false },
	{ CAP_NET_ADMIN, "attach to interfaces and cgroups, see every socket", false },
	{ CAP_SYS_ADMIN, "mount bpffs again, open maps by their number", false },
	{ CAP_SYS_PTRACE, "look at processes: their namespaces, to cut sessions, and for evidence", false },
	{ CAP_SYS_RESOURCE, "kernels that charge maps to the memlock limit", false },
	{ CAP_DAC_READ_SEARCH, "find a cgroup by its number, sites in users' folders", true },
	{ CAP_DAC_OVERRIDE, "user lists and a state directory that root does not own", false },
};

/* Of this thread. */
static int drop(bool only_to_read)
{
	bool have[ARRAY_SIZE(needed)];
	int r = capng_get_caps_process();

	/* In a container root may lack some: what is not there cannot be kept. */
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		have[i] = capng_have_capability(CAPNG_PERMITTED, needed[i].capability);
	capng_clear(CAPNG_SELECT_BOTH);
	for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
		if (have[i] && (needed[i].to_read || !only_to_read))
			r |= capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED,
					  needed[i].capability);
	/* The bounding set matters to what we execute: nothing. */
	if (r || capng_apply(CAPNG_SELECT_CAPS))
		return log_errno(-EPERM, "cannot give up the capabilities that are not needed");
	return 0;
}

int privileges_drop(void)
{
	return drop(false);
}

int privileges_keep_reading(void)
{
	return drop(true);
}
