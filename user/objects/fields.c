/*
 * Reading one mapping of a declared object; see fields.h. Every error carries file, line and
 * column, the field's full name, what was found and what was expected. Never changes the tree and
 * never accepts what it does not know. Called by the validator only.
 */
#include "objects/fields.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "objects/names.h"

struct labels {
	struct ig_label *items; /* owned */
	size_t n;
};

static void labels_done(struct labels *labels)
{
	ig_labels_free(labels->items, labels->n);
}

int ig_fields_fail(const struct ig_fields *f, const char *key, const char *fmt, ...)
{
	char message[IG_ERR_MESSAGE_BYTES];
	unsigned int line = 0, column = 0;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (f->options->locate)
		f->options->locate(f->node, key, &line, &column, f->options->userdata);
	return ig_err_at(f->err, -EINVAL, f->options->file, line, column, "%s%s%s%s%s", f->where,
		f->where[0] && key ? "." : "", key ? key : "", f->where[0] || key ? ": " : "",
		message);
}

static const char *found_text(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT: return "a mapping";
	case JSON_ARRAY: return "a sequence";
	case JSON_STRING: return "a string";
	case JSON_INTEGER:
	case JSON_REAL: return "a number";
	case JSON_TRUE:
	case JSON_FALSE: return "a boolean";
	case JSON_NULL: break;
	}
	return "nothing";
}

static int check_string(const struct ig_fields *f, const char *key, const json_t *value)
{
	const char *text = json_string_value(value);

	if (!text && (json_is_number(value) || json_is_boolean(value)))
		return ig_fields_fail(
			f, key, "expected a string, found %s; put it in quotes", found_text(value));
	if (!text)
		return ig_fields_fail(f, key, "expected a string, found %s", found_text(value));
	if (json_string_length(value) > IG_SELECTOR_BYTES)
		return ig_fields_fail(
			f, key, "longer than the %d bytes that are allowed", IG_SELECTOR_BYTES);
	if (strlen(text) != json_string_length(value) || !ig_name_is_printable(text))
		return ig_fields_fail(f, key, "control characters are not allowed here");
	return 0;
}

static int check_strings(const struct ig_fields *f, const char *key, const json_t *value)
{
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		return ig_fields_fail(
			f, key, "expected a sequence of strings, found %s", found_text(value));
	json_array_foreach (value, i, item) {
		int r = check_string(f, key, item);

		if (r < 0)
			return r;
	}
	return 0;
}

static int check_mappings(const struct ig_fields *f, const char *key, const json_t *value)
{
	const json_t *item;
	size_t i;

	if (!json_is_array(value))
		return ig_fields_fail(
			f, key, "expected a sequence of mappings, found %s", found_text(value));
	json_array_foreach (value, i, item)
		if (!json_is_object(item))
			return ig_fields_fail(
				f, key, "expected a mapping, found %s", found_text(item));
	return 0;
}

static int check_shape(const struct ig_fields *f, const struct ig_field *field, const json_t *value)
{
	if (field->nullable && json_is_null(value))
		return 0;
	switch (field->shape) {
	case IG_FIELD_ANY: break;
	case IG_FIELD_STRING: return check_string(f, field->name, value);
	case IG_FIELD_STRINGS: return check_strings(f, field->name, value);
	case IG_FIELD_MAPPINGS: return check_mappings(f, field->name, value);
	case IG_FIELD_INTEGER:
		if (!json_is_integer(value))
			return ig_fields_fail(
				f, field->name, "expected an integer, found %s", found_text(value));
		break;
	case IG_FIELD_BOOLEAN:
		if (!json_is_boolean(value))
			return ig_fields_fail(f, field->name, "expected true or false, found %s",
				found_text(value));
		break;
	case IG_FIELD_MAPPING:
		if (!json_is_object(value))
			return ig_fields_fail(
				f, field->name, "expected a mapping, found %s", found_text(value));
		break;
	}
	return 0;
}

static const struct ig_field *find_field(
	const struct ig_field *table, size_t n, const char *name, bool *ret_exact)
{
	for (size_t i = 0; i < n; i++) {
		if (!ig_str_equal_nocase(table[i].name, name))
			continue;
		*ret_exact = strcmp(table[i].name, name) == 0;
		return &table[i];
	}
	return NULL;
}

int ig_fields_check(const struct ig_fields *f, const struct ig_field *table, size_t n, bool strict)
{
	const char *key;
	json_t *value;

	/* jansson's iterators take a pointer to what they may change; this one changes nothing */
	json_object_foreach ((json_t *)f->node, key, value) {
		bool exact = false;
		const struct ig_field *field = find_field(table, n, key, &exact);
		int r = 0;

		if (field && exact)
			r = check_shape(f, field, value);
		else if (field)
			r = ig_fields_fail(f, key, "unknown field \"%s\", did you mean \"%s\"?",
				key, field->name);
		else if (strict)
			r = ig_fields_fail(f, key, "unknown field \"%s\"", key);
		if (r < 0)
			return r;
	}
	return 0;
}

bool ig_fields_enter(
	const struct ig_fields *f, const char *key, const char *where, struct ig_fields *ret_sub)
{
	const json_t *node = json_object_get(f->node, key);

	if (!json_is_object(node))
		return false;
	*ret_sub = (struct ig_fields){
		.options = f->options, .node = node, .where = where, .err = f->err};
	return true;
}

struct ig_fields ig_fields_item(
	const struct ig_fields *f, const char *key, const char *where, size_t i)
{
	return (struct ig_fields){.options = f->options,
		.node = json_array_get(json_object_get(f->node, key), i),
		.where = where,
		.err = f->err};
}

size_t ig_fields_count(const struct ig_fields *f, const char *key)
{
	return json_array_size(json_object_get(f->node, key));
}

const char *ig_fields_peek(const struct ig_fields *f, const char *key)
{
	return json_string_value(json_object_get(f->node, key));
}

bool ig_fields_bool(const struct ig_fields *f, const char *key)
{
	return json_is_true(json_object_get(f->node, key));
}

int ig_fields_copy(const struct ig_fields *f, const char *key, char **ret)
{
	const char *text = ig_fields_peek(f, key);
	char *copy = strdup(text ? text : "");

	if (!copy)
		return ig_err_set(f->err, -ENOMEM, "out of memory");
	*ret = copy;
	return 0;
}

int ig_fields_string(const struct ig_fields *f, const char *key, const char **ret)
{
	const json_t *value = json_object_get(f->node, key);
	int r = value ? check_string(f, key, value) : 0;

	if (r < 0)
		return r;
	*ret = json_string_value(value);
	return 0;
}

static int check_label(const struct ig_fields *f, const char *key, const json_t *value)
{
	int r = check_string(f, key, value);

	if (r < 0)
		return r;
	if (!ig_name_is_label_key(key))
		return ig_fields_fail(f, key,
			"not a valid label key: expected [prefix/]name of letters, digits, '-', '_' and '.', at most 63");
	if (!ig_name_is_label_value(json_string_value(value)))
		return ig_fields_fail(f, key,
			"not a valid label value: expected at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit");
	return 0;
}

static int compare_labels(const void *a, const void *b)
{
	const struct ig_label *la = a, *lb = b;

	return strcmp(la->key, lb->key);
}

int ig_fields_labels(const struct ig_fields *f, struct ig_label **ret, size_t *ret_n)
{
	_cleanup_(labels_done) struct labels labels = {};
	size_t n = json_object_size(f->node);
	const char *key;
	json_t *value;

	if (n > IG_LABELS_MAX)
		return ig_fields_fail(
			f, NULL, "%zu labels are more than the %d allowed", n, IG_LABELS_MAX);
	labels.items = calloc(n + 1, sizeof(*labels.items));
	if (!labels.items)
		return ig_err_set(f->err, -ENOMEM, "out of memory");
	json_object_foreach ((json_t *)f->node, key, value) {
		struct ig_label *label = &labels.items[labels.n];
		int r = check_label(f, key, value);

		if (r < 0)
			return r;
		labels.n++;
		label->key = strdup(key);
		label->value = strdup(json_string_value(value));
		if (!label->key || !label->value)
			return ig_err_set(f->err, -ENOMEM, "out of memory");
	}
	qsort(labels.items, labels.n, sizeof(*labels.items), compare_labels);
	*ret_n = labels.n;
	*ret = TAKE_PTR(labels.items);
	labels.n = 0;
	return 0;
}
