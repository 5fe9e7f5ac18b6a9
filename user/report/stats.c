/*
 * Numbers out of a summary; see stats.h. Called by the command-line tool. The member names are part
 * of the interface.
 */
#include "report/stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static const struct {
	const char *name;
	size_t n;
	size_t map[_IG_USE_MAX]; /* fields of `uses`; room for the executable behind them */
} shapes[_IG_REPORT_BY_MAX] = {
	[IG_REPORT_BY_USE] = {"use", 5,
		{IG_USE_NAMESPACE, IG_USE_POD, IG_USE_ACCOUNT, IG_USE_IDENTITY, IG_USE_TARGET}},
	[IG_REPORT_BY_POD] = {"pod", 3, {IG_USE_NAMESPACE, IG_USE_POD, IG_USE_ACCOUNT}},
	[IG_REPORT_BY_ACCOUNT] = {"service-account", 2, {IG_USE_NAMESPACE, IG_USE_ACCOUNT}},
	[IG_REPORT_BY_IDENTITY] = {"identity", 1, {IG_USE_IDENTITY}},
	[IG_REPORT_BY_RESOURCE] = {"resource", 1, {IG_USE_TARGET}},
	[IG_REPORT_BY_EXECUTABLE] = {"executable", 1, {IG_USE_EXE}},
};

static const char *const field_names[_IG_USE_MAX] = {
	[IG_USE_NAMESPACE] = "namespace",
	[IG_USE_POD] = "pod",
	[IG_USE_ACCOUNT] = "service_account",
	[IG_USE_IDENTITY] = "identity",
	[IG_USE_TARGET] = "target",
	[IG_USE_EXE] = "executable",
};

const char *ig_report_by_name(enum ig_report_by by)
{
	return shapes[by].name;
}

int ig_report_by_parse(const char *name, enum ig_report_by *ret)
{
	for (unsigned int i = 0; i < _IG_REPORT_BY_MAX; i++)
		if (strcmp(shapes[i].name, name) == 0) {
			*ret = (enum ig_report_by)i;
			return 0;
		}
	return -EINVAL;
}

json_t *ig_report_time(uint64_t usec)
{
	char text[IG_RFC3339_BYTES];

	return usec ? json_string(ig_clock_format_rfc3339(usec, text)) : json_null();
}

json_t *ig_report_number(uint64_t n)
{
	return json_integer((json_int_t)(n > INT64_MAX ? INT64_MAX : n));
}

/* jansson refuses texts that are not UTF-8, and those that were parsed are; a cut may leave one. */
static json_t *text(const char *s)
{
	json_t *value = json_string(s);

	return value ? value : json_string("?");
}

static int put_tally(json_t *object, const struct ig_report_tally *tally)
{
	const struct {
		const char *name;
		uint64_t n;
	} members[] = {
		{"total", ig_report_tally_total(tally)},
		{"allowed", tally->by_decision[IG_AUDIT_ALLOW]},
		{"denied", tally->by_decision[IG_AUDIT_DENY]},
		{"failed", tally->by_decision[IG_AUDIT_ERROR]},
		{"undecided", tally->by_decision[IG_AUDIT_DECISION_NONE]},
	};

	for (size_t i = 0; i < IG_ARRAY_SIZE(members); i++)
		if (json_object_set_new(object, members[i].name, ig_report_number(members[i].n)))
			return -ENOMEM;
	return 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Rows by everything and the executable, in the order of their fields. */
struct exes {
	struct ig_report_table table;
	const struct ig_report_row **list; /* owned */
	size_t n_fields;		   /* before the executable */
};

static void exes_done(struct exes *exes)
{
	free(exes->list);
	ig_report_table_done(&exes->table);
}

static int compare_prefix(
	const struct ig_report_row *a, const struct ig_report_row *b, size_t n_fields)
{
	int c = 0;

	for (size_t i = 0; c == 0 && i < n_fields; i++)
		c = strcmp(a->field[i], b->field[i]);
	return c;
}

static size_t first_exe(const struct exes *exes, const struct ig_report_row *row)
{
	size_t low = 0, high = exes->table.n_rows;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_prefix(exes->list[middle], row, exes->n_fields) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int put_exes(json_t *object, const struct exes *exes, const struct ig_report_row *row)
{
	json_t *list = json_array();
	size_t at = first_exe(exes, row), n = 0;

	if (json_object_set_new(object, "executables", list) < 0)
		return -ENOMEM;
	for (; at < exes->table.n_rows && compare_prefix(exes->list[at], row, exes->n_fields) == 0;
		at++, n++)
		if (n < IG_REPORT_ROW_EXES_MAX &&
			json_array_append_new(list, text(exes->list[at]->field[exes->n_fields])))
			return -ENOMEM;
	n = n > IG_REPORT_ROW_EXES_MAX ? n - IG_REPORT_ROW_EXES_MAX : 0;
	return json_object_set_new(object, "executables_more", ig_report_number(n)) ? -ENOMEM : 0;
}

static int put_row(json_t *rows, enum ig_report_by by, const struct exes *exes,
	const struct ig_report_row *row)
{
	json_t *object = json_object();
	int r;

	if (json_array_append_new(rows, object) < 0)
		return -ENOMEM;
	for (size_t i = 0; i < shapes[by].n; i++)
		if (json_object_set_new(
			    object, field_names[shapes[by].map[i]], text(row->field[i])) < 0)
			return -ENOMEM;
	r = put_tally(object, &row->tally);
	if (r < 0 || json_object_set_new(object, "first", ig_report_time(row->tally.first_usec)) ||
		json_object_set_new(object, "last", ig_report_time(row->tally.last_usec)) ||
		json_object_set_new(object, "missed_max", ig_report_number(row->missed_max)))
		return -ENOMEM;
	return by == IG_REPORT_BY_EXECUTABLE ? 0 : put_exes(object, exes, row);
}

static int collect_exes(
	const struct ig_report_summary *summary, enum ig_report_by by, struct exes *ret)
{
	size_t map[IG_REPORT_FIELDS_MAX], n = shapes[by].n;
	int r;

	memcpy(map, shapes[by].map, sizeof(shapes[by].map));
	map[n] = IG_USE_EXE;
	ret->n_fields = n;
	ret->table = ig_report_table_init(n + 1);
	r = ig_report_table_fold(&summary->uses, map, &ret->table);
	return r < 0 ? r : ig_report_table_sort(&ret->table, IG_REPORT_BY_FIELDS, &ret->list);
}

static int put_rows(
	json_t *all, const struct ig_report_summary *summary, enum ig_report_by by, size_t top)
{
	_cleanup_(ig_report_table_done) struct ig_report_table table =
		ig_report_table_init(shapes[by].n);
	_cleanup_free_ const struct ig_report_row **list = NULL;
	_cleanup_(exes_done) struct exes exes = {};
	json_t *rows = json_array();
	int r = json_object_set_new(all, "rows", rows) ? -ENOMEM : 0;

	if (r == 0)
		r = ig_report_table_fold(&summary->uses, shapes[by].map, &table);
	if (r == 0)
		r = ig_report_table_sort(&table, IG_REPORT_BY_EVENTS, &list);
	if (r == 0 && by != IG_REPORT_BY_EXECUTABLE)
		r = collect_exes(summary, by, &exes);
	for (size_t i = 0; r == 0 && i < table.n_rows && i < top; i++)
		r = put_row(rows, by, &exes, list[i]);
	if (r < 0)
		return r;
	return json_object_set_new(all, "rows_total", ig_report_number(table.n_rows)) ? -ENOMEM : 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int put_kinds(json_t *all, const struct ig_report_summary *summary, size_t top)
{
	_cleanup_free_ const struct ig_report_row **list = NULL;
	json_t *kinds = json_array();
	int r = ig_report_table_sort(&summary->kinds, IG_REPORT_BY_EVENTS, &list);

	if (json_object_set_new(all, "kinds", kinds) || r < 0)
		return -ENOMEM;
	for (size_t i = 0; i < summary->kinds.n_rows && i < top; i++) {
		const struct ig_report_row *row = list[i];

		if (json_array_append_new(kinds,
			    json_pack("{s:o,s:o,s:o}", "kind", text(row->field[IG_KIND_KIND]),
				    "reason", text(row->field[IG_KIND_REASON]), "count",
				    ig_report_number(ig_report_tally_total(&row->tally)))))
			return -ENOMEM;
	}
	return 0;
}

static int put_lost(json_t *all, const struct ig_report_summary *s)
{
	json_t *losses = json_array();

	if (json_object_set_new(all, "lost",
		    json_pack("{s:o,s:o,s:o}", "events", ig_report_number(s->lost_events),
			    "reports", ig_report_number(s->lost_reports), "first", losses)))
		return -ENOMEM;
	for (size_t i = 0; i < s->n_losses; i++)
		if (json_array_append_new(losses,
			    json_pack("{s:o,s:o,s:o,s:o,s:o}", "time",
				    ig_report_time(s->losses[i].time_usec), "count",
				    ig_report_number(s->losses[i].count), "reason",
				    text(s->losses[i].reason), "run", text(s->losses[i].run),
				    "node", text(s->losses[i].node))))
			return -ENOMEM;
	return 0;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return !a || (b && b < a) ? b : a;
}

static int put_head(
	json_t *all, const struct ig_report_summary *s, const struct ig_report_counts *counts)
{
	const struct ig_report_tally *a = &s->attempts, *o = &s->others;
	json_t *period = json_pack("{s:o,s:o}", "first",
		ig_report_time(earlier(a->first_usec, o->first_usec)), "last",
		ig_report_time(a->last_usec > o->last_usec ? a->last_usec : o->last_usec));
	json_t *attempts = json_object();

	if (json_object_set_new(all, "period", period) ||
		json_object_set_new(all, "files", ig_report_number(counts->files)) ||
		json_object_set_new(all, "lines", ig_report_number(counts->lines)) ||
		json_object_set_new(all, "records", ig_report_number(counts->records)) ||
		json_object_set_new(all, "bad_lines", ig_report_number(counts->bad_lines)) ||
		json_object_set_new(all, "agent_starts", ig_report_number(s->agent_starts)) ||
		json_object_set_new(all, "attempts", attempts) ||
		json_object_set_new(all, "unrecorded", ig_report_number(s->unrecorded)))
		return -ENOMEM;
	return put_tally(attempts, a);
}

static int put_dropped(json_t *all, const struct ig_report_summary *s)
{
	const struct ig_report_table *uses = &s->uses;
	json_t *dropped = json_pack("{s:o,s:o,s:o}", "rows", ig_report_number(uses->dropped_rows),
		"events", ig_report_number(ig_report_tally_total(&uses->dropped)), "missed_max",
		ig_report_number(uses->missed_max));

	return json_object_set_new(all, "dropped", dropped) ? -ENOMEM : 0;
}

int ig_report_stats(const struct ig_report_summary *summary, const struct ig_report_counts *counts,
	enum ig_report_by by, size_t top, json_t **ret)
{
	_cleanup_(json_decrefp) json_t *all = json_object();
	int r = all ? put_head(all, summary, counts) : -ENOMEM;

	if (r == 0)
		r = put_lost(all, summary);
	if (r == 0)
		r = put_kinds(all, summary, top);
	if (r == 0 && json_object_set_new(all, "by", json_string(shapes[by].name)))
		r = -ENOMEM;
	if (r == 0)
		r = put_rows(all, summary, by, top);
	if (r == 0)
		r = put_dropped(all, summary);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(all);
	return 0;
}
