/*
 * Writing HTML: text that stays text, whatever it is, and the few elements that the report is made
 * of.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define IG_HTML_TEXT_BYTES 400 /* of one text; the rest is cut off, and "…" says so */

/* For element content: lines may break behind / . - and _ there. Markup becomes entities; control
 * characters, bytes that are not UTF-8 and characters that reorder or hide text become \xNN and
 * \uNNNN. */
void ig_html_text(struct ig_buf *b, const char *s);

/* "1 234 567" with thin spaces that are not broken. */
void ig_html_number(struct ig_buf *b, uint64_t n);
/* "2026-01-02 03:04:05" in a time element. 0: a dash. */
void ig_html_time(struct ig_buf *b, uint64_t usec);

/* A section with its heading and an introduction (our own markup, not escaped; NULL without). */
void ig_html_section(struct ig_buf *b, const char *id, const char *title, const char *intro);
void ig_html_section_end(struct ig_buf *b);

/* A table; columns: a title each, those of numbers begin with '#'. */
void ig_html_table(struct ig_buf *b, const char *id, const char *caption,
	const char *const *columns, size_t n);
void ig_html_table_end(struct ig_buf *b);
/* "And 7 more rows.", where not all are shown. what: our own markup. */
void ig_html_more(struct ig_buf *b, size_t n, size_t shown, const char *what);
/* Cells of a row that the caller opens and closes. */
void ig_html_cell_text(struct ig_buf *b, const char *s); /* "": a dash */
void ig_html_cell_long(struct ig_buf *b, const char *s); /* the same; may break anywhere */
void ig_html_cell_number(struct ig_buf *b, uint64_t n);
void ig_html_cell_time(struct ig_buf *b, uint64_t usec);
