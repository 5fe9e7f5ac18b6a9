/*
 * The matrix of the report; see matrix.h. Called by page.c.
 */
#include "report/matrix.h"

#include <stdlib.h>

#include "report/html.h"

#define MATRIX_MAX 12 /* identities, and resources */
#define HEATS	   5

struct matrix {
	struct ig_report_table cells, identities, targets;
	const struct ig_report_row **rows, **columns; /* owned */
};

static void matrix_done(struct matrix *m)
{
	free(m->rows);
	free(m->columns);
	ig_report_table_done(&m->cells);
	ig_report_table_done(&m->identities);
	ig_report_table_done(&m->targets);
}

/* What was done as an identity. */
static int matrix_init(struct matrix *m, const struct ig_report_table *uses)
{
	int r = 0;

	m->cells = ig_report_table_init(2);
	m->identities = m->targets = ig_report_table_init(1);
	for (const struct ig_report_row *use = uses->rows; r == 0 && use; use = use->hh.next) {
		const char *fields[] = {use->field[IG_USE_IDENTITY], use->field[IG_USE_TARGET]};

		if (!fields[0][0])
			continue;
		r = ig_report_table_merge(&m->cells, fields, use);
		if (r == 0)
			r = ig_report_table_merge(&m->identities, fields, use);
		if (r == 0)
			r = ig_report_table_merge(&m->targets, fields + 1, use);
	}
	if (r == 0)
		r = ig_report_table_sort(&m->identities, IG_REPORT_BY_EVENTS, &m->rows);
	return r < 0 ? r : ig_report_table_sort(&m->targets, IG_REPORT_BY_EVENTS, &m->columns);
}

static size_t at_most(size_t n, size_t max)
{
	return n < max ? n : max;
}

static void put_cell(struct ig_buf *b, const struct ig_report_row *cell, uint64_t most)
{
	uint64_t allowed = cell ? cell->tally.by_decision[IG_AUDIT_ALLOW] : 0;
	uint64_t refused = cell ? ig_report_tally_total(&cell->tally) - allowed : 0;
	unsigned int heat = 0;

	/* each step is a power of ten below the one above */
	for (uint64_t limit = most; allowed && heat < HEATS; limit /= 10, heat++)
		if (allowed > limit)
			break;
	heat = allowed ? HEATS + 1 - (heat ? heat : 1) : 0;
	ig_buf_printf(b, heat ? "<td class=\"n h%u\">" : "<td class=\"n\">", heat);
	if (!cell)
		ig_buf_puts(b, "–");
	else
		ig_html_number(b, allowed);
	if (refused) {
		ig_buf_puts(b, "<span class=\"deny\">");
		ig_html_number(b, refused);
		ig_buf_puts(b, " refused</span>");
	}
	ig_buf_puts(b, "</td>");
}

static void put_matrix_head(struct ig_buf *b, const struct matrix *m, size_t n_columns)
{
	ig_buf_puts(b,
		"<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"Identities by resource\">\n<table id=\"matrix-table\"><caption>Requests that were allowed, by identity and resource</caption>\n<thead><tr><th scope=\"col\">Identity</th>");
	for (size_t i = 0; i < n_columns; i++) {
		ig_buf_puts(b, "<th scope=\"col\">");
		ig_html_text(b, m->columns[i]->field[0]);
		ig_buf_puts(b, "</th>");
	}
	ig_buf_puts(b, "</tr></thead>\n<tbody>\n");
}

static void put_matrix_rows(
	struct ig_buf *b, const struct matrix *m, size_t n_rows, size_t n_columns)
{
	uint64_t most = 1;

	for (const struct ig_report_row *row = m->cells.rows; row; row = row->hh.next)
		if (row->tally.by_decision[IG_AUDIT_ALLOW] > most)
			most = row->tally.by_decision[IG_AUDIT_ALLOW];
	for (size_t i = 0; i < n_rows; i++) {
		ig_buf_puts(b, "<tr><th scope=\"row\">");
		ig_html_text(b, m->rows[i]->field[0]);
		ig_buf_puts(b, "</th>");
		for (size_t j = 0; j < n_columns; j++) {
			const char *fields[] = {m->rows[i]->field[0], m->columns[j]->field[0]};

			put_cell(b, ig_report_table_find(&m->cells, fields), most);
		}
		ig_buf_puts(b, "</tr>\n");
	}
}

int ig_report_matrix(const struct ig_report_summary *summary, struct ig_buf *b)
{
	_cleanup_(matrix_done) struct matrix m = {};
	size_t n_rows, n_columns;
	int r = matrix_init(&m, &summary->uses);

	if (r < 0)
		return r;
	n_rows = at_most(m.identities.n_rows, MATRIX_MAX);
	n_columns = at_most(m.targets.n_rows, MATRIX_MAX);
	ig_html_section(b, "matrix", "Identities and resources",
		"How often a token of each identity was handed out for each resource. The darker, the more, by powers of ten.");
	if (n_rows) {
		put_matrix_head(b, &m, n_columns);
		put_matrix_rows(b, &m, n_rows, n_columns);
		ig_html_table_end(b);
		ig_html_more(b, m.identities.n_rows, n_rows, "identities");
		ig_html_more(b, m.targets.n_rows, n_columns, "resources");
	} else {
		ig_buf_puts(b, "<p>No identity was asked for.</p>\n");
	}
	ig_html_section_end(b);
	return 0;
}
