/*
 * What the command-line tool prints: text that is safe on a terminal, aligned tables, JSON values.
 * Buffers here fail only for want of memory; ig_out_flush() tells.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"

/* only where struct ig_cli's color says so */
#define IG_OUT_RED    "\033[31m"
#define IG_OUT_GREEN  "\033[32m"
#define IG_OUT_YELLOW "\033[33m"
#define IG_OUT_DIM    "\033[2m"
#define IG_OUT_OFF    "\033[0m"

#define IG_OUT_BYTES (64 * 1024 * 1024) /* limit of what one command prints at once */

/* Control characters (C0, DEL, C1), bytes that are not UTF-8 and backslashes become \xNN and \\;
 * characters that reorder or hide text (line separators, bidirectional and zero-width controls)
 * become \uNNNN. */
void ig_out_text(struct ig_buf *b, const char *s, size_t len);

/* A JSON value for people: strings as they are, yes and no, the number of elements of an array or
 * object; "-" for what is missing, null or "". */
void ig_out_value(struct ig_buf *b, const json_t *value);
/* The member of `object` at a dotted path ("tokens.hits"), borrowed; NULL when there is none. */
const json_t *ig_out_get(const json_t *object, const char *path);
/* The string there, or NULL when there is none or an empty one. */
const char *ig_out_get_string(const json_t *object, const char *path);

/* Spaces until `width` columns have been written since `start`; at least one. */
void ig_out_pad(struct ig_buf *b, size_t start, size_t width);

/* A table is written column by column: cells are appended to `cell` and taken by ig_out_cell(). */
struct ig_out_table {
	struct ig_buf cell; /* the cell under construction */
	char **cells;	    /* owned, each too */
	size_t n_cells, cap, n_columns;
	int error;
};

#define IG_OUT_TABLE(columns)                                                                      \
	((struct ig_out_table){.n_columns = (columns), .cell.limit = IG_OUT_BYTES})

void ig_out_table_done(struct ig_out_table *table);
void ig_out_cell(struct ig_out_table *table);			     /* ends the cell */
void ig_out_cell_text(struct ig_out_table *table, const char *text); /* a whole cell; trusted */
void ig_out_cell_value(struct ig_out_table *table, const json_t *value);
/* Rows of cells, two spaces between columns, nothing behind the last one. */
void ig_out_table_format(const struct ig_out_table *table, struct ig_buf *b);

/* One line of ASCII. 0 or -ENOMEM. */
int ig_out_json(struct ig_buf *b, const json_t *value);

/* Writes the buffer and empties it. 0, -ENOMEM when the buffer is broken, or what the write gave.
 */
int ig_out_flush(FILE *stream, struct ig_buf *b);
