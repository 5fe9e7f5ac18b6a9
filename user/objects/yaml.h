/*
 * YAML text to jansson trees that remember where everything stood. A strict subset on purpose: no
 * anchors and aliases, no tags, no duplicate or complex keys, with limits on depth and number of
 * nodes, so that a file means the same to a reader, to us and to kubectl, and cannot blow up.
 *
 * Plain scalars follow YAML 1.2's core schema as far as manifests need it: null, booleans and
 * decimal integers; everything else is a string ("yes", "on", 1.5 and 0x10 too). What is quoted is
 * a string.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

struct ig_yaml_document;

/* Called for each document that is not empty, in order. A negative return value ends the parsing
 * and is passed on. The document is gone afterwards. */
typedef int ig_yaml_each(
	const struct ig_yaml_document *doc, void *userdata, struct ig_err *reterr_err);

/* 0; -EINVAL (not in the subset), -E2BIG (a limit) or -ENOMEM with file, line and column in
 * *reterr_err; or what `each` returned. `name` is used in messages. */
int ig_yaml_parse(const char *name, const char *text, size_t len, ig_yaml_each *each,
	void *userdata, struct ig_err *reterr_err);

const json_t *ig_yaml_root(const struct ig_yaml_document *doc);

/* Where member `key` of the mapping `node` stands (its key, that is), or with key == NULL where the
 * mapping or sequence `node` itself begins. 1-based; 0, 0 when not known. */
void ig_yaml_locate(const struct ig_yaml_document *doc, const json_t *node, const char *key,
	unsigned int *ret_line, unsigned int *ret_column);
