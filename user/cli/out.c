/*
 * Printing for the command-line tool; see out.h. Called by the commands.
 *
 * It must never hand a byte to a terminal that the terminal would obey: what is printed comes from
 * workloads in the end. The agent escapes as well; this is the second wall.
 */
#include "cli/out.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Decodes one character. Its length, or 0 when the bytes are not UTF-8 (RFC 3629). */
static size_t decode(const unsigned char *s, size_t left, uint32_t *ret)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	uint32_t c = s[0];

	if (n == 0 || n > left || s[0] > 0xf4)
		return 0;
	if (n > 1)
		c &= 0xffU >> (n + 1);
	for (size_t i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*ret = c;
	return n;
}

static bool is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

/* Characters that one does not see but that change how the rest of the line looks. */
static bool is_deceptive(uint32_t c)
{
	return c == 0xad || c == 0x61c || (c >= 0x200b && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff;
}

void ig_out_text(struct ig_buf *b, const char *s, size_t len)
{
	const unsigned char *p = (const unsigned char *)s;

	while (len) {
		uint32_t c = 0;
		size_t n = decode(p, len, &c);

		if (n == 0) {
			ig_buf_printf(b, "\\x%02x", *p);
			n = 1;
		} else if (is_control(c)) {
			ig_buf_printf(b, "\\x%02x", c);
		} else if (is_deceptive(c)) {
			ig_buf_printf(b, "\\u%04x", c);
		} else if (c == '\\') {
			ig_buf_puts(b, "\\\\");
		} else {
			ig_buf_append(b, p, n);
		}
		p += n;
		len -= n;
	}
}

void ig_out_value(struct ig_buf *b, const json_t *value)
{
	if (json_is_string(value) && json_string_length(value))
		ig_out_text(b, json_string_value(value), json_string_length(value));
	else if (json_is_integer(value))
		ig_buf_printf(b, "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		ig_buf_printf(b, "%g", json_real_value(value));
	else if (json_is_boolean(value))
		ig_buf_puts(b, json_is_true(value) ? "yes" : "no");
	else if (json_is_array(value))
		ig_buf_printf(b, "%zu", json_array_size(value));
	else if (json_is_object(value))
		ig_buf_printf(b, "%zu", json_object_size(value));
	else
		ig_buf_putc(b, '-');
}

const json_t *ig_out_get(const json_t *object, const char *path)
{
	for (;;) {
		const char *dot = strchrnul(path, '.');

		object = json_object_getn(object, path, (size_t)(dot - path));
		if (!*dot)
			return object;
		path = dot + 1;
	}
}

const char *ig_out_get_string(const json_t *object, const char *path)
{
	const char *s = json_string_value(ig_out_get(object, path));

	return s && s[0] ? s : NULL;
}

/* Columns that valid UTF-8 takes, wide characters counting as one. */
static size_t width_of(const char *s, size_t len)
{
	size_t width = 0;

	for (size_t i = 0; i < len; i++)
		width += ((unsigned char)s[i] & 0xc0) != 0x80;
	return width;
}

static void put_spaces(struct ig_buf *b, size_t n)
{
	ig_buf_printf(b, "%*s", (int)n, "");
}

void ig_out_pad(struct ig_buf *b, size_t start, size_t width)
{
	size_t used = b->len > start ? width_of(b->data + start, b->len - start) : 0;

	put_spaces(b, used < width ? width - used : 1);
}

void ig_out_table_done(struct ig_out_table *table)
{
	for (size_t i = 0; i < table->n_cells; i++)
		free(table->cells[i]);
	free(table->cells);
	ig_buf_done(&table->cell);
	*table = IG_OUT_TABLE(table->n_columns);
}

void ig_out_cell(struct ig_out_table *table)
{
	size_t cap = table->cap ? table->cap * 2 : 64;

	ig_buf_append(&table->cell, "", 0); /* an empty cell is a string too */
	if (!table->error)
		table->error = ig_buf_finish(&table->cell);
	if (!table->error && table->n_cells == table->cap) {
		char **cells = reallocarray(table->cells, cap, sizeof(*cells));

		if (cells) {
			table->cells = cells;
			table->cap = cap;
		} else {
			table->error = -ENOMEM;
		}
	}
	if (table->error)
		return;
	table->cells[table->n_cells++] = TAKE_PTR(table->cell.data);
	ig_buf_init(&table->cell, table->cell.limit);
}

void ig_out_cell_text(struct ig_out_table *table, const char *text)
{
	ig_buf_puts(&table->cell, text);
	ig_out_cell(table);
}

void ig_out_cell_value(struct ig_out_table *table, const json_t *value)
{
	ig_out_value(&table->cell, value);
	ig_out_cell(table);
}

static size_t column_width(const struct ig_out_table *table, size_t column)
{
	size_t width = 0;

	for (size_t i = column; i < table->n_cells; i += table->n_columns) {
		size_t w = width_of(table->cells[i], strlen(table->cells[i]));

		width = w > width ? w : width;
	}
	return width;
}

void ig_out_table_format(const struct ig_out_table *table, struct ig_buf *b)
{
	_cleanup_free_ size_t *widths = calloc(table->n_columns, sizeof(*widths));

	if (table->error || !widths) {
		if (!b->error)
			b->error = table->error ? table->error : -ENOMEM;
		return;
	}
	for (size_t column = 0; column < table->n_columns; column++)
		widths[column] = column_width(table, column);
	for (size_t i = 0; i < table->n_cells; i++) {
		size_t column = i % table->n_columns, start = b->len;

		ig_buf_puts(b, table->cells[i]);
		if (column + 1 == table->n_columns)
			ig_buf_putc(b, '\n');
		else
			ig_out_pad(b, start, widths[column] + 2);
	}
}

int ig_out_json(struct ig_buf *b, const json_t *value)
{
	_cleanup_free_ char *text =
		json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);

	if (!text)
		return -ENOMEM;
	/* jansson takes DEL for a printable character */
	for (const char *p = text; *p; p++) {
		if (*p == 0x7f)
			ig_buf_puts(b, "\\u007f");
		else
			ig_buf_putc(b, *p);
	}
	ig_buf_putc(b, '\n');
	return ig_buf_finish(b);
}

int ig_out_flush(FILE *stream, struct ig_buf *b)
{
	int r = ig_buf_finish(b);

	if (r < 0)
		return r;
	errno = 0;
	if (b->len && fwrite(b->data, 1, b->len, stream) != b->len)
		r = errno ? -errno : -EIO;
	else if (fflush(stream) != 0)
		r = errno ? -errno : -EIO;
	ig_buf_reset(b);
	return r;
}
