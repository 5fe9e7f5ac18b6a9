/*
 * JSON tokeniser; see scan.h. One state for the structure, one for the text inside of a string or
 * number, one bit for each open container. It must never look ahead or keep a pointer into a piece.
 */
#include "kube/scan.h"

#include <errno.h>
#include <string.h>

#include "base/parse.h"

enum state {
	TOP,	       /* between values */
	VALUE,	       /* after ':' or after ',' in an array */
	FIRST_ELEMENT, /* after '[' */
	FIRST_KEY,     /* after '{' */
	NEXT_KEY,      /* after ',' in an object */
	COLON,
	AFTER, /* a value inside a container */
	STRING,
	NUMBER,
	LITERAL
};

enum text_state { PLAIN, ESCAPE, HEX, UTF8 };

enum number_state { MINUS, ZERO, INTEGER, POINT, FRACTION, EXPONENT, SIGN, POWER, NO_NUMBER };

void ig_kube_scan_init(
	struct ig_kube_scan *scan, const struct ig_kube_scan_ops *ops, void *userdata)
{
	memset(scan, 0, sizeof(*scan));
	scan->ops = ops;
	scan->userdata = userdata;
}

bool ig_kube_scan_idle(const struct ig_kube_scan *scan)
{
	return scan->state == TOP && scan->error == 0;
}

static bool in_array(const struct ig_kube_scan *scan)
{
	unsigned int level = scan->depth - 1;

	return scan->is_array[level / 8] >> level % 8 & 1;
}

/* ---- texts ----------------------------------------------------------------------------------- */

static int end_text(struct ig_kube_scan *scan, enum ig_kube_token token)
{
	if (scan->in_key)
		scan->state = COLON;
	else
		scan->state = scan->depth ? AFTER : TOP;
	scan->in_key = false;
	return scan->ops->end(token, scan->userdata);
}

static int begin_utf8(struct ig_kube_scan *scan, unsigned char c)
{
	if (c < 0xc2 || c > 0xf4)
		return -EBADMSG;
	scan->text_state = UTF8;
	scan->utf8_left = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
	/* no overlong forms, no surrogates, nothing above U+10FFFF */
	scan->utf8_min = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
	scan->utf8_max = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
	return 0;
}

/* A byte of a string that is not its closing quote. */
static int string_byte(struct ig_kube_scan *scan, unsigned char c)
{
	switch (scan->text_state) {
	case ESCAPE:
		if (c == 'u') {
			scan->text_state = HEX;
			scan->hex_left = 4;
			return 0;
		}
		scan->text_state = PLAIN;
		return c && strchr("\"\\/bfnrt", c) ? 0 : -EBADMSG;
	case HEX:
		if (--scan->hex_left == 0)
			scan->text_state = PLAIN;
		return ig_parse_hex_digit((char)c) < 0 ? -EBADMSG : 0;
	case UTF8:
		if (c < scan->utf8_min || c > scan->utf8_max)
			return -EBADMSG;
		scan->utf8_min = 0x80;
		scan->utf8_max = 0xbf;
		if (--scan->utf8_left == 0)
			scan->text_state = PLAIN;
		return 0;
	default:
		if (c < 0x20)
			return -EBADMSG;
		if (c == '\\')
			scan->text_state = ESCAPE;
		return c < 0x80 ? 0 : begin_utf8(scan, c);
	}
}

/* How many bytes need no looking at: neither quote, escape, control character nor UTF-8. */
static size_t plain_run(const char *data, size_t len)
{
	size_t i = 0;

	while (i < len && (unsigned char)data[i] >= 0x20 && (unsigned char)data[i] < 0x80 &&
		data[i] != '"' && data[i] != '\\')
		i++;
	return i;
}

static int string_run(struct ig_kube_scan *scan, const char *data, size_t len, size_t *ret_used)
{
	size_t i = 0;
	int r = 0;

	while (r == 0) {
		if (scan->text_state == PLAIN)
			i += plain_run(data + i, len - i);
		if (i == len || (scan->text_state == PLAIN && data[i] == '"'))
			break;
		r = string_byte(scan, (unsigned char)data[i++]);
	}
	if (r == 0 && i > 0)
		r = scan->ops->text(data, i, scan->userdata);
	if (r == 0 && i < len) {
		i++;
		r = end_text(scan, scan->in_key ? IG_KUBE_TOKEN_KEY : IG_KUBE_TOKEN_STRING);
	}
	*ret_used = i;
	return r;
}

static enum number_state number_next(enum number_state state, char c)
{
	bool digit = c >= '0' && c <= '9';

	switch (state) {
	case MINUS: return c == '0' ? ZERO : digit ? INTEGER : NO_NUMBER;
	case INTEGER:
		if (digit)
			return INTEGER;
		/* fall through */
	case ZERO: return c == '.' ? POINT : c == 'e' || c == 'E' ? EXPONENT : NO_NUMBER;
	case POINT: return digit ? FRACTION : NO_NUMBER;
	case FRACTION: return digit ? FRACTION : c == 'e' || c == 'E' ? EXPONENT : NO_NUMBER;
	case EXPONENT: return digit ? POWER : c == '+' || c == '-' ? SIGN : NO_NUMBER;
	case SIGN:
	case POWER: return digit ? POWER : NO_NUMBER;
	default: return NO_NUMBER;
	}
}

/* A number ends with the first byte that does not belong to it, which is not used. */
static int number_run(struct ig_kube_scan *scan, const char *data, size_t len, size_t *ret_used)
{
	size_t i = 0;
	int r = 0;

	for (; i < len; i++) {
		enum number_state next = number_next(scan->text_state, data[i]);

		if (next == NO_NUMBER)
			break;
		scan->text_state = (uint8_t)next;
	}
	*ret_used = i;
	if (i > 0)
		r = scan->ops->text(data, i, scan->userdata);
	if (r < 0 || i == len)
		return r;
	switch (scan->text_state) {
	case ZERO:
	case INTEGER:
	case FRACTION:
	case POWER: return end_text(scan, IG_KUBE_TOKEN_NUMBER);
	default: return -EBADMSG;
	}
}

static int literal_run(struct ig_kube_scan *scan, const char *data, size_t len, size_t *ret_used)
{
	size_t i = 0;
	int r;

	while (i < len && scan->literal[0] && data[i] == scan->literal[0]) {
		i++;
		scan->literal++;
	}
	*ret_used = i;
	if (i == 0)
		return -EBADMSG;
	r = scan->ops->text(data, i, scan->userdata);
	if (r == 0 && !scan->literal[0])
		r = end_text(scan, IG_KUBE_TOKEN_LITERAL);
	return r;
}

/* ---- structure ------------------------------------------------------------------------------- */

static int open_container(struct ig_kube_scan *scan, bool array)
{
	uint8_t bit = (uint8_t)(1 << scan->depth % 8);

	if (scan->depth == IG_KUBE_JSON_DEPTH_MAX)
		return -EBADMSG;
	if (array)
		scan->is_array[scan->depth / 8] |= bit;
	else
		scan->is_array[scan->depth / 8] &= (uint8_t)~bit;
	scan->depth++;
	scan->state = array ? FIRST_ELEMENT : FIRST_KEY;
	return scan->ops->begin(array ? IG_KUBE_TOKEN_ARRAY : IG_KUBE_TOKEN_OBJECT, scan->userdata);
}

static int close_container(struct ig_kube_scan *scan, char c)
{
	bool array = in_array(scan);

	if (c != (array ? ']' : '}'))
		return -EBADMSG;
	scan->depth--;
	scan->state = scan->depth ? AFTER : TOP;
	return scan->ops->end(array ? IG_KUBE_TOKEN_ARRAY : IG_KUBE_TOKEN_OBJECT, scan->userdata);
}

static int begin_string(struct ig_kube_scan *scan, bool key)
{
	scan->state = STRING;
	scan->text_state = PLAIN;
	scan->in_key = key;
	return scan->ops->begin(key ? IG_KUBE_TOKEN_KEY : IG_KUBE_TOKEN_STRING, scan->userdata);
}

/* The first byte of a number or literal is left to be read again as a part of it. */
static int begin_value(struct ig_kube_scan *scan, char c, size_t *ret_used)
{
	switch (c) {
	case '{': return open_container(scan, false);
	case '[': return open_container(scan, true);
	case '"': return begin_string(scan, false);
	case 't': scan->literal = "true"; break;
	case 'f': scan->literal = "false"; break;
	case 'n': scan->literal = "null"; break;
	default:
		if (c != '-' && (c < '0' || c > '9'))
			return -EBADMSG;
		/* a digit is what may follow a minus */
		*ret_used = c == '-' ? 1 : 0;
		scan->state = NUMBER;
		scan->text_state = MINUS;
		return scan->ops->begin(IG_KUBE_TOKEN_NUMBER, scan->userdata);
	}
	*ret_used = 0;
	scan->state = LITERAL;
	return scan->ops->begin(IG_KUBE_TOKEN_LITERAL, scan->userdata);
}

static int structure_byte(struct ig_kube_scan *scan, char c, size_t *ret_used)
{
	*ret_used = 1;
	if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
		return 0;
	switch (scan->state) {
	case FIRST_ELEMENT:
		if (c == ']')
			return close_container(scan, c);
		/* fall through */
	case TOP:
	case VALUE: {
		int r = begin_value(scan, c, ret_used);

		/* the minus belongs to the text, too */
		return r == 0 && c == '-' ? scan->ops->text("-", 1, scan->userdata) : r;
	}
	case FIRST_KEY:
		if (c == '}')
			return close_container(scan, c);
		/* fall through */
	case NEXT_KEY: return c == '"' ? begin_string(scan, true) : -EBADMSG;
	case COLON: scan->state = VALUE; return c == ':' ? 0 : -EBADMSG;
	default: /* AFTER */
		if (c != ',')
			return close_container(scan, c);
		scan->state = in_array(scan) ? VALUE : NEXT_KEY;
		return 0;
	}
}

int ig_kube_scan_feed(struct ig_kube_scan *scan, const char *data, size_t len)
{
	size_t i = 0, used = 0;

	while (scan->error == 0 && i < len) {
		switch (scan->state) {
		case STRING: scan->error = string_run(scan, data + i, len - i, &used); break;
		case NUMBER: scan->error = number_run(scan, data + i, len - i, &used); break;
		case LITERAL: scan->error = literal_run(scan, data + i, len - i, &used); break;
		default: scan->error = structure_byte(scan, data[i], &used); break;
		}
		i += used;
	}
	return scan->error;
}
