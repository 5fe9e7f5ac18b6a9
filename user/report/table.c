/*
 * Bounded counting; see table.h. Called by the reports for every record, so a row that is there
 * costs one lookup.
 *
 * What a workload puts into a request must not decide what is kept: a flood of requests for things
 * that do not exist makes rows of one denied event each, and these go first.
 */
#include "report/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

uint64_t ig_report_tally_total(const struct ig_report_tally *tally)
{
	uint64_t n = 0;

	for (size_t i = 0; i < IG_ARRAY_SIZE(tally->by_decision); i++)
		n += tally->by_decision[i];
	return n;
}

static void widen(struct ig_report_tally *tally, uint64_t first_usec, uint64_t last_usec)
{
	if (!tally->first_usec || (first_usec && first_usec < tally->first_usec))
		tally->first_usec = first_usec;
	if (last_usec > tally->last_usec)
		tally->last_usec = last_usec;
}

void ig_report_tally_add(struct ig_report_tally *tally, enum ig_audit_decision decision,
	uint64_t time_usec, uint64_t n)
{
	tally->by_decision[decision] += n;
	widen(tally, time_usec, time_usec);
}

void ig_report_tally_merge(struct ig_report_tally *to, const struct ig_report_tally *from)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(to->by_decision); i++)
		to->by_decision[i] += from->by_decision[i];
	widen(to, from->first_usec, from->last_usec);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Every field with the NUL behind it, one after the other: nothing else looks the same. */
static size_t key_length(const struct ig_report_table *table, const char *const *fields)
{
	size_t len = 0;

	for (size_t i = 0; i < table->n_fields; i++)
		len += strlen(fields[i]) + 1;
	return len;
}

static void write_key(const struct ig_report_table *table, const char *const *fields, char *key)
{
	for (size_t i = 0; i < table->n_fields; i++)
		key = stpcpy(key, fields[i]) + 1;
}

static struct ig_report_row *row_new(
	const struct ig_report_table *table, const char *const *fields, size_t key_len)
{
	struct ig_report_row *row = calloc(1, sizeof(*row) + key_len);
	const char *p;

	if (!row)
		return NULL;
	write_key(table, fields, row->key);
	row->key_len = key_len;
	row->missed_max = table->missed_max;
	p = row->key;
	for (size_t i = 0; i < IG_REPORT_FIELDS_MAX; i++) {
		row->field[i] = i < table->n_fields ? p : "";
		if (i < table->n_fields)
			p += strlen(p) + 1;
	}
	return row;
}

static size_t row_bytes(const struct ig_report_row *row)
{
	return sizeof(*row) + row->key_len;
}

/* *ret NULL: there is none. 0 or -ENOMEM. */
static int find(const struct ig_report_table *table, const char *const *fields, size_t *ret_len,
	struct ig_report_row **ret)
{
	char small[1024];
	size_t len = key_length(table, fields);
	_cleanup_free_ char *large = len > sizeof(small) ? malloc(len) : NULL;
	char *key = len > sizeof(small) ? large : small;

	*ret_len = len;
	*ret = NULL;
	if (!key)
		return -ENOMEM;
	write_key(table, fields, key);
	HASH_FIND(hh, table->rows, key, len, *ret);
	return 0;
}

const struct ig_report_row *ig_report_table_find(
	const struct ig_report_table *table, const char *const *fields)
{
	struct ig_report_row *row = NULL;
	size_t len;

	(void)find(table, fields, &len, &row);
	return row;
}

/* ---- order ----------------------------------------------------------------------------------- */

static int compare_fields(const struct ig_report_row *a, const struct ig_report_row *b)
{
	for (size_t i = 0; i < IG_REPORT_FIELDS_MAX; i++) {
		int c = strcmp(a->field[i], b->field[i]);

		if (c)
			return c;
	}
	return 0;
}

static int more_first(uint64_t a, uint64_t b)
{
	return a < b ? 1 : a > b ? -1 : 0;
}

static int compare(
	const struct ig_report_row *a, const struct ig_report_row *b, enum ig_report_order order)
{
	const uint64_t *da = a->tally.by_decision, *db = b->tally.by_decision;
	int c = 0;

	switch (order) {
	case IG_REPORT_BY_EVENTS:
		c = more_first(ig_report_tally_total(&a->tally), ig_report_tally_total(&b->tally));
		break;
	case IG_REPORT_BY_DENIED:
		c = more_first(da[IG_AUDIT_DENY] + da[IG_AUDIT_ERROR],
			db[IG_AUDIT_DENY] + db[IG_AUDIT_ERROR]);
		break;
	case IG_REPORT_BY_FIRST: c = more_first(a->tally.first_usec, b->tally.first_usec); break;
	case IG_REPORT_BY_FIELDS: break;
	}
	return c ? c : compare_fields(a, b);
}

static int compare_pointers(const void *a, const void *b, void *order)
{
	return compare(*(const struct ig_report_row *const *)a,
		*(const struct ig_report_row *const *)b, *(const enum ig_report_order *)order);
}

/* What is to be kept comes first. */
static int compare_worth(const void *a, const void *b, void *unused)
{
	const struct ig_report_row *x = *(const struct ig_report_row *const *)a;
	const struct ig_report_row *y = *(const struct ig_report_row *const *)b;
	bool allowed_x = x->tally.by_decision[IG_AUDIT_ALLOW];
	bool allowed_y = y->tally.by_decision[IG_AUDIT_ALLOW];

	(void)unused;
	if (allowed_x != allowed_y)
		return allowed_x ? -1 : 1;
	return compare(x, y, IG_REPORT_BY_EVENTS);
}

static int sorted(const struct ig_report_table *table,
	int (*compare_rows)(const void *a, const void *b, void *arg), void *arg,
	const struct ig_report_row ***ret)
{
	const struct ig_report_row **list;
	size_t n = 0;

	*ret = NULL;
	if (table->n_rows == 0)
		return 0;
	list = calloc(table->n_rows, sizeof(*list));
	if (!list)
		return -ENOMEM;
	for (const struct ig_report_row *row = table->rows; row; row = row->hh.next)
		list[n++] = row;
	qsort_r(list, n, sizeof(*list), compare_rows, arg);
	*ret = list;
	return 0;
}

int ig_report_table_sort(const struct ig_report_table *table, enum ig_report_order order,
	const struct ig_report_row ***ret)
{
	return sorted(table, compare_pointers, &order, ret);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static void remove_row(struct ig_report_table *table, struct ig_report_row *row)
{
	table->n_rows--;
	table->bytes -= row_bytes(row);
	HASH_DEL(table->rows, row);
	free(row);
}

/* Drops the less important half. */
static int make_room(struct ig_report_table *table)
{
	_cleanup_free_ const struct ig_report_row **list = NULL;
	size_t n = table->n_rows, keep = n / 2;
	uint64_t most = 0;
	int r = sorted(table, compare_worth, NULL, &list);

	if (r < 0)
		return r;
	for (size_t i = keep; i < n; i++) {
		struct ig_report_row *row = (struct ig_report_row *)list[i];
		uint64_t total = ig_report_tally_total(&row->tally) + row->missed_max;

		most = total > most ? total : most;
		ig_report_tally_merge(&table->dropped, &row->tally);
		table->dropped_rows++;
		remove_row(table, row);
	}
	/* a row that is not there has had at most as many events as the largest that was dropped */
	table->missed_max = most > table->missed_max ? most : table->missed_max;
	return 0;
}

static int insert(struct ig_report_table *table, const char *const *fields, size_t key_len,
	struct ig_report_row **ret)
{
	size_t bytes = sizeof(struct ig_report_row) + key_len;
	struct ig_report_row *row;

	while (table->n_rows > 1 &&
		(table->n_rows >= table->rows_max || table->bytes + bytes > table->bytes_max)) {
		int r = make_room(table);

		if (r < 0)
			return r;
	}
	row = row_new(table, fields, key_len);
	if (!row)
		return -ENOMEM;
	HASH_ADD_KEYPTR(hh, table->rows, row->key, row->key_len, row);
	if (!ig_table_has(row)) {
		free(row);
		return -ENOMEM;
	}
	table->n_rows++;
	table->bytes += row_bytes(row);
	*ret = row;
	return 0;
}

static int get(struct ig_report_table *table, const char *const *fields, struct ig_report_row **ret)
{
	size_t key_len;
	int r = find(table, fields, &key_len, ret);

	return r < 0 || *ret ? r : insert(table, fields, key_len, ret);
}

int ig_report_table_add(struct ig_report_table *table, const char *const *fields,
	enum ig_audit_decision decision, uint64_t time_usec, uint64_t n)
{
	struct ig_report_row *row = NULL;
	int r = get(table, fields, &row);

	if (r == 0)
		ig_report_tally_add(&row->tally, decision, time_usec, n);
	return r;
}

int ig_report_table_merge(
	struct ig_report_table *table, const char *const *fields, const struct ig_report_row *from)
{
	struct ig_report_row *row = NULL;
	int r = get(table, fields, &row);

	if (r < 0)
		return r;
	ig_report_tally_merge(&row->tally, &from->tally);
	row->missed_max += from->missed_max;
	return 0;
}

int ig_report_table_fold(
	const struct ig_report_table *from, const size_t *map, struct ig_report_table *to)
{
	const char *fields[IG_REPORT_FIELDS_MAX];

	to->dropped_rows += from->dropped_rows;
	ig_report_tally_merge(&to->dropped, &from->dropped);
	for (const struct ig_report_row *row = from->rows; row; row = row->hh.next) {
		struct ig_report_row *sum = NULL;
		int r;

		for (size_t i = 0; i < to->n_fields; i++)
			fields[i] = row->field[map[i]];
		r = get(to, fields, &sum);
		if (r < 0)
			return r;
		ig_report_tally_merge(&sum->tally, &row->tally);
		/* any of what was dropped may belong here */
		sum->missed_max = from->dropped_rows ? ig_report_tally_total(&from->dropped) : 0;
	}
	return 0;
}

void ig_report_table_done(struct ig_report_table *table)
{
	struct ig_report_row *row, *next;

	HASH_ITER (hh, table->rows, row, next)
		remove_row(table, row);
}
