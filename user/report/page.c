/*
 * The report's page; see page.h. Called by the command-line tool. Every text that comes from a log
 * goes through ig_html_text(); what is written with ig_buf_puts() is ours.
 */
#include "report/page.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "report/chart.h"
#include "report/findings.h"
#include "report/html.h"
#include "report/matrix.h"

/* ---- above ----------------------------------------------------------------------------------- */

/* Only this style sheet, by its hash; nothing else, from nowhere. */
static int put_policy(struct ig_buf *b)
{
	unsigned char hash[EVP_MAX_MD_SIZE], text[2 * EVP_MAX_MD_SIZE];
	unsigned int len = 0;

	if (EVP_Digest(ig_report_style, strlen(ig_report_style), hash, &len, EVP_sha256(), NULL) !=
		1)
		return -ENOMEM;
	(void)EVP_EncodeBlock(text, hash, (int)len);
	ig_buf_printf(b,
		"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'\">\n",
		(const char *)text);
	return 0;
}

static int put_head(struct ig_buf *b)
{
	int r;

	ig_buf_puts(b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
	r = put_policy(b);
	ig_buf_puts(b,
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"referrer\" content=\"no-referrer\">\n<title>imdsgate audit report</title>\n<style>");
	ig_buf_puts(b, ig_report_style);
	ig_buf_puts(b,
		"</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#over-time\">To the report</a>\n");
	return r;
}

static void put_tile(struct ig_buf *b, const char *css, const char *title, uint64_t n)
{
	ig_buf_printf(b, "<div%s%s%s><dt>%s</dt><dd>", css[0] ? " class=\"" : "", css,
		css[0] ? "\"" : "", title);
	ig_html_number(b, n);
	ig_buf_puts(b, "</dd></div>\n");
}

static uint64_t sum_of(const struct ig_report_table *table)
{
	uint64_t n = ig_report_tally_total(&table->dropped);

	for (const struct ig_report_row *row = table->rows; row; row = row->hh.next)
		n += ig_report_tally_total(&row->tally);
	return n;
}

static void put_tiles(const struct ig_report_page *page, struct ig_buf *b)
{
	const struct ig_report_summary *s = page->summary;
	const uint64_t *d = s->attempts.by_decision;

	ig_buf_puts(b, "<dl class=\"tiles\">\n");
	put_tile(b, "", "Requests", ig_report_tally_total(&s->attempts));
	put_tile(b, "allow", "Allowed", d[IG_AUDIT_ALLOW]);
	put_tile(b, "deny", "Denied", d[IG_AUDIT_DENY]);
	put_tile(b, "fail", "Failed", d[IG_AUDIT_ERROR]);
	put_tile(b, "", "Only watched", sum_of(&s->remarks));
	put_tile(b, "lost", "Events lost", s->lost_events);
	put_tile(b, "", "Seen first", page->n_new);
	put_tile(b, "", "Unusual programs", page->n_odd);
	ig_buf_puts(b, "</dl>\n");
}

static void put_nav(struct ig_buf *b)
{
	static const char *const links[][2] = {{"over-time", "Over time"},
		{"matrix", "Identities and resources"}, {"refused", "Denied and failed"},
		{"watched", "Only watched"}, {"new", "First seen"}, {"odd", "Unusual programs"},
		{"lost", "Lost events"}};

	ig_buf_puts(b, "<nav aria-label=\"Sections\"><ul>\n");
	for (size_t i = 0; i < IG_ARRAY_SIZE(links); i++)
		ig_buf_printf(b, "<li><a href=\"#%s\">%s</a></li>\n", links[i][0], links[i][1]);
	ig_buf_puts(b, "</ul></nav>\n");
}

static void put_notes(const struct ig_report_page *page, struct ig_buf *b)
{
	const struct ig_report_summary *s = page->summary;

	if (page->counts->bad_lines) {
		ig_buf_puts(b, "<p class=\"note\">");
		ig_html_number(b, page->counts->bad_lines);
		ig_buf_puts(
			b, " lines of the log are no records and are not in this report.</p>\n");
	}
	if (s->unrecorded) {
		ig_buf_puts(b, "<p class=\"note\">");
		ig_html_number(b, s->unrecorded);
		ig_buf_puts(b,
			" more requests have no record of their own, because their workloads made too many that were refused: records count them, and they are in no other number here.</p>\n");
	}
	if (s->uses.dropped_rows) {
		ig_buf_puts(b,
			"<p class=\"note\">There were too many different requests to keep apart: ");
		ig_html_number(b, ig_report_tally_total(&s->uses.dropped));
		ig_buf_puts(b,
			" events are in the totals and the charts only, and numbers in the tables may lack some. No combination that is left out had more than ");
		ig_html_number(b, s->uses.missed_max);
		ig_buf_puts(b, " events.</p>\n");
	}
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return !a || (b && b < a) ? b : a;
}

static void put_header(const struct ig_report_page *page, struct ig_buf *b)
{
	const struct ig_report_summary *s = page->summary;
	const struct ig_report_tally *a = &s->attempts, *o = &s->others;

	ig_buf_puts(
		b, "<header>\n<h1>Audit report</h1>\n<p>Access to the instance metadata service, ");
	ig_html_time(b, earlier(a->first_usec, o->first_usec));
	ig_buf_puts(b, " to ");
	ig_html_time(b, a->last_usec > o->last_usec ? a->last_usec : o->last_usec);
	ig_buf_puts(b, " UTC. From ");
	ig_html_number(b, page->counts->records);
	ig_buf_puts(b, " records, with ");
	ig_html_number(b, s->agent_starts);
	ig_buf_puts(b, " starts of the agent.");
	if (page->selection[0]) {
		ig_buf_puts(b, " Only: ");
		ig_html_text(b, page->selection);
		ig_buf_putc(b, '.');
	}
	ig_buf_puts(b, "</p>\n");
	put_notes(page, b);
	put_tiles(page, b);
	put_nav(b);
	ig_buf_puts(b, "</header>\n<main>\n");
}

/* ---- over time ------------------------------------------------------------------------------- */

static uint64_t refused_part(const struct ig_report_bucket *bucket, int part)
{
	return bucket->by_decision[part ? IG_AUDIT_ERROR : IG_AUDIT_DENY];
}

static uint64_t allowed_part(const struct ig_report_bucket *bucket, int part)
{
	return part ? 0 : bucket->by_decision[IG_AUDIT_ALLOW];
}

static void put_over_time(const struct ig_report_page *page, struct ig_buf *b)
{
	static const struct ig_chart refused = {.id = "chart-refused",
		.title = "Denied and failed",
		.css = {"deny", "fail"},
		.name = {"denied", "failed"},
		.value = refused_part};
	static const struct ig_chart allowed = {.id = "chart-allowed",
		.title = "Allowed",
		.css = {"allow", NULL},
		.name = {"allowed", NULL},
		.value = allowed_part};
	const struct ig_report_series *series = page->summary->series;

	ig_html_section(b, "over-time", "Over time", NULL);
	if (series->n == 0) {
		ig_buf_puts(b, "<p>Nothing happened.</p>\n");
	} else {
		ig_chart_svg(b, series, &refused);
		ig_chart_svg(b, series, &allowed);
		ig_buf_puts(b,
			"<ul class=\"key\"><li class=\"deny\">denied</li><li class=\"fail\">failed</li><li class=\"allow\">allowed</li><li class=\"lost\">events were lost</li></ul>\n<details><summary>The numbers</summary>\n");
		ig_chart_table(b, series);
		ig_buf_puts(b, "</details>\n");
	}
	ig_html_section_end(b);
}

static size_t at_most(size_t n, size_t max)
{
	return n < max ? n : max;
}

/* ---- refusals -------------------------------------------------------------------------------- */

/* Where there is a namespace, NAMESPACE/NAME. */
static void put_who(struct ig_buf *b, const char *ns, const char *name)
{
	ig_buf_puts(b, "<td>");
	if (ns[0]) {
		ig_html_text(b, ns);
		ig_buf_putc(b, '/');
	}
	ig_html_text(b, name);
	ig_buf_puts(b, "</td>");
}

static int put_refused(const struct ig_report_page *page, struct ig_buf *b)
{
	static const char *const columns[] = {
		"Who", "What", "Why", "Target", "Identity", "#Requests", "First", "Last"};
	const struct ig_report_table *table = &page->summary->refusals;
	_cleanup_free_ const struct ig_report_row **list = NULL;
	size_t n = at_most(table->n_rows, page->top);
	int r = ig_report_table_sort(table, IG_REPORT_BY_DENIED, &list);

	if (r < 0)
		return r;
	ig_html_section(b, "refused", "Denied and failed", "Most frequent first.");
	if (n == 0)
		ig_buf_puts(b, "<p>Nothing was denied, and nothing failed.</p>\n");
	else
		ig_html_table(b, "refused-table", "Requests that were denied or failed", columns,
			IG_ARRAY_SIZE(columns));
	for (size_t i = 0; i < n; i++) {
		const char *const *f = list[i]->field;

		ig_buf_puts(b, "<tr>");
		put_who(b, f[IG_REFUSAL_NAMESPACE], f[IG_REFUSAL_POD]);
		ig_html_cell_text(b, f[IG_REFUSAL_KIND]);
		ig_html_cell_text(b, f[IG_REFUSAL_REASON]);
		ig_html_cell_long(b, f[IG_REFUSAL_TARGET]);
		ig_html_cell_text(b, f[IG_REFUSAL_IDENTITY]);
		ig_html_cell_number(b, ig_report_tally_total(&list[i]->tally));
		ig_html_cell_time(b, list[i]->tally.first_usec);
		ig_html_cell_time(b, list[i]->tally.last_usec);
		ig_buf_puts(b, "</tr>\n");
	}
	if (n)
		ig_html_table_end(b);
	ig_html_more(b, table->n_rows, n, "rows");
	ig_html_section_end(b);
	return 0;
}

static int put_watched(const struct ig_report_page *page, struct ig_buf *b)
{
	static const char *const columns[] = {
		"Policy", "Why", "Who", "Target", "#Requests", "Last"};
	const struct ig_report_table *table = &page->summary->remarks;
	_cleanup_free_ const struct ig_report_row **list = NULL;
	size_t n = at_most(table->n_rows, page->top);
	int r = ig_report_table_sort(table, IG_REPORT_BY_EVENTS, &list);

	if (r < 0)
		return r;
	ig_html_section(b, "watched", "Only watched",
		"What a policy in mode Audit would deny if its mode were Enforce.");
	if (n == 0)
		ig_buf_puts(b, "<p>Nothing.</p>\n");
	else
		ig_html_table(b, "watched-table", "Requests that a policy would deny", columns,
			IG_ARRAY_SIZE(columns));
	for (size_t i = 0; i < n; i++) {
		const char *const *f = list[i]->field;

		ig_buf_puts(b, "<tr>");
		ig_html_cell_text(b, f[IG_REMARK_POLICY]);
		ig_html_cell_text(b, f[IG_REMARK_REASON]);
		put_who(b, f[IG_REMARK_NAMESPACE], f[IG_REMARK_POD]);
		ig_html_cell_long(b, f[IG_REMARK_TARGET]);
		ig_html_cell_number(b, ig_report_tally_total(&list[i]->tally));
		ig_html_cell_time(b, list[i]->tally.last_usec);
		ig_buf_puts(b, "</tr>\n");
	}
	if (n)
		ig_html_table_end(b);
	ig_html_more(b, table->n_rows, n, "rows");
	ig_html_section_end(b);
	return 0;
}

/* ---- findings -------------------------------------------------------------------------------- */

static int put_new(
	const struct ig_report_page *page, const struct ig_report_table *table, struct ig_buf *b)
{
	static const char *const columns[] = {
		"First", "Workload", "Identity", "Target", "Program", "#Allowed", "#Refused"};
	_cleanup_free_ const struct ig_report_row **list = NULL;
	size_t n = at_most(table->n_rows, page->top);
	int r = ig_report_table_sort(table, IG_REPORT_BY_FIRST, &list);

	if (r < 0)
		return r;
	ig_html_section(b, "new", "First seen",
		page->summary->known_records
			? "Combinations of identity, target and program that are not in the records from before; latest first."
			: "Nothing from before to compare with (--since, --baseline), so everything is new: every combination of identity, target and program, latest first.");
	if (n == 0)
		ig_buf_puts(b, "<p>Nothing new.</p>\n");
	else
		ig_html_table(b, "new-table", "What was seen for the first time", columns,
			IG_ARRAY_SIZE(columns));
	for (size_t i = 0; i < n; i++) {
		uint64_t allowed = list[i]->tally.by_decision[IG_AUDIT_ALLOW];

		ig_buf_puts(b, "<tr>");
		ig_html_cell_time(b, list[i]->tally.first_usec);
		put_who(b, list[i]->field[IG_NEW_NAMESPACE], list[i]->field[IG_NEW_WORKLOAD]);
		ig_html_cell_text(b, list[i]->field[IG_NEW_IDENTITY]);
		ig_html_cell_long(b, list[i]->field[IG_NEW_TARGET]);
		ig_html_cell_long(b, list[i]->field[IG_NEW_EXE]);
		ig_html_cell_number(b, allowed);
		ig_html_cell_number(b, ig_report_tally_total(&list[i]->tally) - allowed);
		ig_buf_puts(b, "</tr>\n");
	}
	if (n)
		ig_html_table_end(b);
	ig_html_more(b, table->n_rows, n, "combinations");
	ig_html_section_end(b);
	return 0;
}

static void put_odd(const struct ig_report_page *page, const struct ig_report_odd_exe *odd,
	size_t n_odd, struct ig_buf *b)
{
	static const char *const columns[] = {
		"Workload", "Program", "#Requests", "#Of all", "Why", "First", "Last"};
	size_t n = at_most(n_odd, page->top);

	ig_html_section(b, "odd", "Unusual programs",
		"Programs that made less than one in a hundred of their workload's requests, or that this workload was not seen to use before. An interpreter is the program of all its scripts.");
	if (n == 0)
		ig_buf_puts(b, "<p>None.</p>\n");
	else
		ig_html_table(b, "odd-table", "Programs that are unusual for their workload",
			columns, IG_ARRAY_SIZE(columns));
	for (size_t i = 0; i < n; i++) {
		const struct ig_report_row *row = odd[i].row;

		ig_buf_puts(b, "<tr>");
		put_who(b, row->field[IG_ODD_NAMESPACE], row->field[IG_ODD_WORKLOAD]);
		ig_html_cell_long(b, row->field[IG_ODD_EXE]);
		ig_html_cell_number(b, ig_report_tally_total(&row->tally));
		ig_html_cell_number(b, odd[i].workload_total);
		ig_html_cell_text(b, odd[i].unknown && odd[i].rare ? "rare, not seen before"
				     : odd[i].unknown		   ? "not seen before"
								   : "rare");
		ig_html_cell_time(b, row->tally.first_usec);
		ig_html_cell_time(b, row->tally.last_usec);
		ig_buf_puts(b, "</tr>\n");
	}
	if (n)
		ig_html_table_end(b);
	ig_html_more(b, n_odd, n, "programs");
	ig_html_section_end(b);
}

static void put_lost(const struct ig_report_page *page, struct ig_buf *b)
{
	static const char *const columns[] = {"Reported", "#Events", "Lost by", "Run", "Node"};
	const struct ig_report_summary *s = page->summary;

	ig_html_section(b, "lost", "Lost events",
		"What the agent reported as lost. Whether anything else is missing is for <code>imdsgate audit verify</code> to say.");
	if (s->n_losses == 0)
		ig_buf_puts(b, "<p>None were reported.</p>\n");
	else
		ig_html_table(
			b, "lost-table", "Reports of losses", columns, IG_ARRAY_SIZE(columns));
	for (size_t i = 0; i < s->n_losses; i++) {
		ig_buf_puts(b, "<tr>");
		ig_html_cell_time(b, s->losses[i].time_usec);
		ig_html_cell_number(b, s->losses[i].count);
		ig_html_cell_text(b, s->losses[i].reason);
		ig_html_cell_text(b, s->losses[i].run);
		ig_html_cell_text(b, s->losses[i].node);
		ig_buf_puts(b, "</tr>\n");
	}
	if (s->n_losses)
		ig_html_table_end(b);
	ig_html_more(b, (size_t)s->lost_reports, s->n_losses, "reports");
	ig_html_section_end(b);
}

int ig_report_page_write(struct ig_report_page *page, struct ig_buf *b)
{
	_cleanup_(ig_report_table_done) struct ig_report_table fresh = {}, exes = {};
	_cleanup_free_ struct ig_report_odd_exe *odd = NULL;
	size_t n_odd = 0;
	int r = ig_report_find_new(page->summary, &fresh);

	if (r == 0)
		r = ig_report_find_odd(page->summary, &exes, &odd, &n_odd);
	if (r == 0)
		r = put_head(b);
	if (r < 0)
		return r;
	page->n_new = fresh.n_rows;
	page->n_odd = n_odd;
	put_header(page, b);
	put_over_time(page, b);
	r = ig_report_matrix(page->summary, b);
	if (r == 0)
		r = put_refused(page, b);
	if (r == 0)
		r = put_watched(page, b);
	if (r == 0)
		r = put_new(page, &fresh, b);
	if (r < 0)
		return r;
	put_odd(page, odd, n_odd, b);
	put_lost(page, b);
	ig_buf_puts(b,
		"</main>\n<footer>Made by imdsgate from its audit log. User agents, paths and resources are what callers sent.</footer>\n</body>\n</html>\n");
	return 0;
}
