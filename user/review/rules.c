/*
 * Candidate rules; see rules.h. The agent's own reader reads them, so that they mean the same.
 */
#include "review/rules.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "objects/manifest_scan.h"

IG_DEFINE_CLEANUP(struct ig_store *, ig_store_free);

struct reading {
	ig_rules_problem *problem;
	void *userdata;
};

static void on_file(const struct ig_manifest_report *report, void *userdata)
{
	const struct reading *reading = userdata;

	if (report->error)
		reading->problem(report->detail, reading->userdata);
}

int ig_rules_load(const struct ig_manifest_source *source, ig_rules_problem *problem,
	void *userdata, struct ig_store **ret, struct ig_err *reterr_err)
{
	struct reading reading = {.problem = problem, .userdata = userdata};
	/* the store is declared first and so freed last */
	_cleanup_(ig_store_freep) struct ig_store *store = NULL;
	_cleanup_(ig_manifest_scan_freep) struct ig_manifest_scan *scan = NULL;
	int r = ig_store_new(&store);

	if (r == 0)
		r = ig_manifest_scan_new(source, store, on_file, &reading, &scan);
	if (r < 0)
		return ig_err_at(reterr_err, r, source->path, 0, 0, "out of memory");
	r = ig_manifest_scan_run(scan, true, reterr_err);
	if (r < 0)
		return r;
	if (ig_manifest_scan_bad(scan))
		return ig_err_at(reterr_err, -EINVAL, source->path, 0, 0,
			"%zu files are wrong: nothing can be said about a set of which parts are missing",
			ig_manifest_scan_bad(scan));
	*ret = TAKE_PTR(store);
	return 0;
}
