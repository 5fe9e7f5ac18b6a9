/*
 * Capabilities; see capabilities.h. Called once by the monitor. What was not there to begin with (a
 * container without it, a kernel that does not know it) is missed where it is needed, and said
 * there.
 */
#include "sandbox/capabilities.h"

#include <cap-ng.h>
#include <errno.h>
#include <stdbool.h>

static bool is_kept(const unsigned int *keep, size_t n, unsigned int capability)
{
	for (size_t i = 0; i < n; i++)
		if (keep[i] == capability)
			return true;
	return false;
}

static int verify(const unsigned int *keep, size_t n)
{
	if (capng_get_caps_process() != 0)
		return -EPERM;
	for (unsigned int capability = 0; capability <= CAP_LAST_CAP; capability++)
		if (!is_kept(keep, n, capability) &&
			(capng_have_capability(CAPNG_PERMITTED, capability) ||
				capng_have_capability(CAPNG_EFFECTIVE, capability) ||
				capng_have_capability(CAPNG_INHERITABLE, capability) ||
				capng_have_capability(CAPNG_BOUNDING_SET, capability)))
			return -EPERM;
	return 0;
}

int ig_capabilities_keep(const unsigned int *keep, size_t n, struct ig_err *reterr_err)
{
	capng_type_t effective = CAPNG_EFFECTIVE | CAPNG_PERMITTED;
	bool has[CAP_LAST_CAP + 1] = {}, bounded[CAP_LAST_CAP + 1] = {};
	int r = capng_get_caps_process() == 0 ? 0 : -EPERM;

	for (size_t i = 0; r == 0 && i < n; i++) {
		has[keep[i]] = capng_have_capability(CAPNG_PERMITTED, keep[i]);
		bounded[keep[i]] = capng_have_capability(CAPNG_BOUNDING_SET, keep[i]);
	}
	capng_clear(CAPNG_SELECT_ALL);
	for (unsigned int i = 0; r == 0 && i <= CAP_LAST_CAP; i++) {
		if (has[i])
			(void)capng_update(CAPNG_ADD, effective, i);
		if (bounded[i])
			(void)capng_update(CAPNG_ADD, CAPNG_BOUNDING_SET, i);
	}
	/* the bounding set needs CAP_SETPCAP, which the rest may take away */
	if (r == 0 && capng_apply(CAPNG_SELECT_BOUNDS) != 0)
		r = -EPERM;
	if (r == 0 && capng_apply(CAPNG_SELECT_CAPS) != 0)
		r = -EPERM;
	if (r == 0)
		r = verify(keep, n);
	return r < 0 ? ig_err_set(reterr_err, r, "cannot give up capabilities") : 0;
}
