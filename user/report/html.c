/*
 * Writing HTML; see html.h. Called by page.c and chart.c.
 *
 * What is printed was chosen by workloads in the end. It must never become markup, and never look
 * like something else than it is. The page has no script, and its content security policy forbids
 * any: this is the first wall of two.
 */
#include "report/html.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/parse.h"

static uint32_t decode(const unsigned char *s, size_t n)
{
	uint32_t c = n == 1 ? s[0] : s[0] & (0xffU >> (n + 1));

	for (size_t i = 1; i < n; i++)
		c = c << 6 | (s[i] & 0x3f);
	return c;
}

/* Seen by nobody, or changing how the rest of the line looks. */
static bool is_deceptive(uint32_t c)
{
	return c == 0xad || c == 0x61c || c == 0x115f || c == 0x1160 || c == 0x180e ||
	       (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2060 && c <= 0x206f) || c == 0x3164 || (c >= 0xfe00 && c <= 0xfe0f) ||
	       c == 0xfeff || c == 0xffa0 || (c >= 0xe0000 && c <= 0xe0fff) ||
	       (c >= 0xe000 && c <= 0xf8ff);
}

static void put_char(struct ig_buf *b, const unsigned char *s, size_t n)
{
	uint32_t c = decode(s, n);

	switch (c) {
	case '&': ig_buf_puts(b, "&amp;"); return;
	case '<': ig_buf_puts(b, "&lt;"); return;
	case '>': ig_buf_puts(b, "&gt;"); return;
	case '"': ig_buf_puts(b, "&quot;"); return;
	case '\'': ig_buf_puts(b, "&#39;"); return;
	default: break;
	}
	if (c < 0x20 || (c >= 0x7f && c < 0xa0))
		ig_buf_printf(b, "\\x%02x", c);
	else if (is_deceptive(c))
		ig_buf_printf(b, "\\u%04x", c);
	else
		ig_buf_append(b, s, n);
	if (c == '/' || c == '.' || c == '-' || c == '_')
		ig_buf_puts(b, "<wbr>");
}

void ig_html_text(struct ig_buf *b, const char *s)
{
	const unsigned char *p = (const unsigned char *)s;
	size_t left = strlen(s), used = 0;

	while (left && used < IG_HTML_TEXT_BYTES) {
		size_t n = ig_utf8_sequence(p, left);

		if (n)
			put_char(b, p, n);
		else
			ig_buf_printf(b, "\\x%02x", *p);
		n = n ? n : 1;
		p += n;
		left -= n;
		used += n;
	}
	if (left)
		ig_buf_puts(b, "…");
}

void ig_html_number(struct ig_buf *b, uint64_t n)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);

	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			ig_buf_puts(b, "&#8239;");
		ig_buf_putc(b, digits[i]);
	}
}

void ig_html_time(struct ig_buf *b, uint64_t usec)
{
	char text[IG_RFC3339_BYTES];

	if (!usec) {
		ig_buf_puts(b, "–");
		return;
	}
	(void)ig_clock_format_rfc3339(usec, text);
	ig_buf_printf(b, "<time datetime=\"%s\">%.10s&#160;%.8s</time>", text, text, text + 11);
}

void ig_html_section(struct ig_buf *b, const char *id, const char *title, const char *intro)
{
	ig_buf_printf(b, "<section id=\"%s\" aria-labelledby=\"%s-title\">\n", id, id);
	ig_buf_printf(b, "<h2 id=\"%s-title\">%s</h2>\n", id, title);
	if (intro)
		ig_buf_printf(b, "<p>%s</p>\n", intro);
}

void ig_html_section_end(struct ig_buf *b)
{
	ig_buf_puts(b, "</section>\n");
}

void ig_html_table(
	struct ig_buf *b, const char *id, const char *caption, const char *const *columns, size_t n)
{
	ig_buf_printf(b,
		"<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"%s\">\n<table id=\"%s\"><caption>%s</caption>\n<thead><tr>",
		caption, id, caption);
	for (size_t i = 0; i < n; i++)
		ig_buf_printf(b, "<th scope=\"col\"%s>%s</th>",
			columns[i][0] == '#' ? " class=\"n\"" : "",
			columns[i] + (columns[i][0] == '#'));
	ig_buf_puts(b, "</tr></thead>\n<tbody>\n");
}

void ig_html_table_end(struct ig_buf *b)
{
	ig_buf_puts(b, "</tbody></table></div>\n");
}

void ig_html_more(struct ig_buf *b, size_t n, size_t shown, const char *what)
{
	if (n <= shown)
		return;
	ig_buf_puts(b, "<p>And ");
	ig_html_number(b, n - shown);
	ig_buf_printf(b, " more %s.</p>\n", what);
}

static void put_text_cell(struct ig_buf *b, const char *open, const char *s)
{
	ig_buf_puts(b, open);
	if (s[0])
		ig_html_text(b, s);
	else
		ig_buf_puts(b, "–");
	ig_buf_puts(b, "</td>");
}

void ig_html_cell_text(struct ig_buf *b, const char *s)
{
	put_text_cell(b, "<td>", s);
}

void ig_html_cell_long(struct ig_buf *b, const char *s)
{
	put_text_cell(b, "<td class=\"w\">", s);
}

void ig_html_cell_number(struct ig_buf *b, uint64_t n)
{
	ig_buf_puts(b, "<td class=\"n\">");
	ig_html_number(b, n);
	ig_buf_puts(b, "</td>");
}

void ig_html_cell_time(struct ig_buf *b, uint64_t usec)
{
	ig_buf_puts(b, "<td class=\"t\">");
	ig_html_time(b, usec);
	ig_buf_puts(b, "</td>");
}
