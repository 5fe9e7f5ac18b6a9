/*
 * Reading one mapping of a declared object: which fields it may have, of which shape, and errors
 * that say where and what was expected. Internal to user/objects (validate.c).
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "objects/object.h"
#include "objects/validate.h"

struct ig_fields {
	const struct ig_validate_options *options;
	const json_t *node; /* the mapping; borrowed from the tree */
	const char *where;  /* a literal: "spec", "metadata.annotations"; "" at the top */
	struct ig_err *err; /* the caller's */
};

enum ig_field_shape {
	IG_FIELD_ANY,
	IG_FIELD_STRING, /* without control characters, at most IG_SELECTOR_BYTES */
	IG_FIELD_INTEGER,
	IG_FIELD_BOOLEAN,
	IG_FIELD_MAPPING,
	IG_FIELD_STRINGS,  /* a sequence of such strings */
	IG_FIELD_MAPPINGS, /* a sequence of mappings */
};

struct ig_field {
	const char *name;
	enum ig_field_shape shape;
	bool nullable; /* null is the same as absent */
};

/* -EINVAL with the place of `key`, or of the mapping itself with key == NULL. */
int ig_fields_fail(const struct ig_fields *f, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Checks every member against the table. A field that is not in it is an error when `strict`, and
 * otherwise only when it differs from one that is in it by letter case alone. */
int ig_fields_check(const struct ig_fields *f, const struct ig_field *table, size_t n, bool strict);
#define IG_FIELDS_CHECK(f, table, strict)                                                          \
	ig_fields_check((f), (table), IG_ARRAY_SIZE(table), (strict))

/* The following expect that ig_fields_check() has passed; an absent field is no error. */

/* The mapping inside; `where` is its full name, a literal. false: absent (or null). */
bool ig_fields_enter(
	const struct ig_fields *f, const char *key, const char *where, struct ig_fields *ret_sub);
const char *ig_fields_peek(const struct ig_fields *f, const char *key); /* NULL when absent */
bool ig_fields_bool(const struct ig_fields *f, const char *key);	/* false when absent */

/* Element i of a sequence of mappings, with the whole sequence's name as `where`. */
struct ig_fields ig_fields_item(
	const struct ig_fields *f, const char *key, const char *where, size_t i);
size_t ig_fields_count(const struct ig_fields *f, const char *key); /* 0 when absent */

/* A copy, "" when absent. */
int ig_fields_copy(const struct ig_fields *f, const char *key, char **ret);

/* A member of a mapping that ig_fields_check() has not seen (annotations): *ret is NULL when it is
 * absent; -EINVAL when it is no valid string. */
int ig_fields_string(const struct ig_fields *f, const char *key, const char **ret);

/* The whole mapping as labels, sorted by key. */
int ig_fields_labels(const struct ig_fields *f, struct ig_label **ret, size_t *ret_n);
