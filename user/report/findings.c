/*
 * Findings; see findings.h. Pure.
 */
#include "report/findings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RARE_PARTS 100 /* less than one in so many is rare */

static const char *workload_of(const struct ig_report_row *use)
{
	const char *account = use->field[IG_USE_ACCOUNT];

	return account[0] && strcmp(account, "default") != 0 ? account : use->field[IG_USE_POD];
}

static int add_new(const struct ig_report_row *use, struct ig_report_table *table)
{
	const char *fields[_IG_NEW_MAX] = {
		[IG_NEW_NAMESPACE] = use->field[IG_USE_NAMESPACE],
		[IG_NEW_WORKLOAD] = workload_of(use),
		[IG_NEW_IDENTITY] = use->field[IG_USE_IDENTITY],
		[IG_NEW_TARGET] = use->field[IG_USE_TARGET],
		[IG_NEW_EXE] = use->field[IG_USE_EXE],
	};

	return ig_report_table_merge(table, fields, use);
}

static int add_odd(const struct ig_report_row *use, struct ig_report_table *table)
{
	const char *fields[_IG_ODD_MAX] = {
		[IG_ODD_NAMESPACE] = use->field[IG_USE_NAMESPACE],
		[IG_ODD_WORKLOAD] = workload_of(use),
		[IG_ODD_EXE] = use->field[IG_USE_EXE],
	};

	return ig_report_table_merge(table, fields, use);
}

static int add_workload(const struct ig_report_row *use, struct ig_report_table *table)
{
	const char *fields[] = {use->field[IG_USE_NAMESPACE], workload_of(use)};

	return ig_report_table_merge(table, fields, use);
}

static int regroup(const struct ig_report_table *uses,
	int (*add)(const struct ig_report_row *use, struct ig_report_table *table), size_t n_fields,
	struct ig_report_table *ret)
{
	*ret = ig_report_table_init(n_fields);
	for (const struct ig_report_row *use = uses->rows; use; use = use->hh.next) {
		int r = add(use, ret);

		if (r < 0)
			return r;
	}
	return 0;
}

int ig_report_find_new(const struct ig_report_summary *summary, struct ig_report_table *ret)
{
	_cleanup_(ig_report_table_done) struct ig_report_table known = {}, all = {};
	int r = regroup(&summary->known, add_new, _IG_NEW_MAX, &known);

	*ret = ig_report_table_init(_IG_NEW_MAX);
	if (r == 0)
		r = regroup(&summary->uses, add_new, _IG_NEW_MAX, &all);
	for (const struct ig_report_row *row = all.rows; r == 0 && row; row = row->hh.next) {
		if (!row->tally.by_decision[IG_AUDIT_ALLOW] && !row->field[IG_NEW_IDENTITY][0])
			continue;
		if (!ig_report_table_find(&known, row->field))
			r = ig_report_table_merge(ret, row->field, row);
	}
	return r;
}

int ig_report_find_odd(const struct ig_report_summary *summary, struct ig_report_table *ret_table,
	struct ig_report_odd_exe **ret, size_t *ret_n)
{
	_cleanup_(ig_report_table_done) struct ig_report_table known = {}, workloads = {};
	_cleanup_(ig_report_table_done) struct ig_report_table known_workloads = {};
	_cleanup_free_ const struct ig_report_row **list = NULL;
	_cleanup_free_ struct ig_report_odd_exe *odd = NULL;
	size_t n = 0;
	int r = regroup(&summary->uses, add_odd, _IG_ODD_MAX, ret_table);

	if (r == 0)
		r = regroup(&summary->uses, add_workload, 2, &workloads);
	if (r == 0)
		r = regroup(&summary->known, add_odd, _IG_ODD_MAX, &known);
	if (r == 0)
		r = regroup(&summary->known, add_workload, 2, &known_workloads);
	if (r == 0)
		r = ig_report_table_sort(ret_table, IG_REPORT_BY_FIELDS, &list);
	odd = calloc(ret_table->n_rows + 1, sizeof(*odd));
	if (r < 0 || !odd)
		return -ENOMEM;
	for (size_t i = 0; i < ret_table->n_rows; i++) {
		const struct ig_report_row *whole =
			ig_report_table_find(&workloads, list[i]->field);
		uint64_t all = whole ? ig_report_tally_total(&whole->tally) : 0;
		struct ig_report_odd_exe o = {.row = list[i], .workload_total = all};

		o.rare = ig_report_tally_total(&list[i]->tally) * RARE_PARTS < all;
		o.unknown = ig_report_table_find(&known_workloads, list[i]->field) &&
			    !ig_report_table_find(&known, list[i]->field);
		if (o.rare || o.unknown)
			odd[n++] = o;
	}
	*ret = TAKE_PTR(odd);
	*ret_n = n;
	return 0;
}
