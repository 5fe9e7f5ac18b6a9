/*
 * YAML text to jansson trees; see yaml.h. Built on libyaml's events, one document at a time, with a
 * stack of fixed size instead of recursion, because the text may come from anywhere. Anything
 * outside the subset ends the parsing with its place; nothing is guessed or repaired. Knows nothing
 * of what the documents mean (see validate.c). Called by the manifest reader.
 */
#include "objects/yaml.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/parse.h"

struct place {
	const json_t *node;
	const char *key; /* owned by node; NULL for the place of node itself */
	yaml_mark_t mark;
};

struct ig_yaml_document {
	json_t *root;	      /* owned; NULL until the first node */
	struct place *places; /* owned */
	size_t n_places;
	size_t n_nodes;
};

struct level {
	json_t *node; /* owned by the tree */
	char *key;    /* owned; the member whose value comes next */
	yaml_mark_t key_mark;
};

struct builder {
	const char *name;
	struct ig_yaml_document doc;
	struct level levels[IG_MANIFEST_DEPTH_MAX];
	size_t depth;
	struct ig_err *err; /* the caller's */
};

static void builder_reset(struct builder *b)
{
	while (b->depth > 0)
		free(b->levels[--b->depth].key);
	json_decref(b->doc.root);
	free(b->doc.places);
	b->doc = (struct ig_yaml_document){};
	memset(b->levels, 0, sizeof(b->levels));
}

static int fail_at(struct builder *b, int code, yaml_mark_t mark, const char *message)
{
	return ig_err_at(b->err, code, b->name, (unsigned int)mark.line + 1,
		(unsigned int)mark.column + 1, "%s", message);
}

static int out_of_memory(struct builder *b)
{
	return ig_err_at(b->err, -ENOMEM, b->name, 0, 0, "out of memory");
}

static int add_place(struct builder *b, const json_t *node, const char *key, yaml_mark_t mark)
{
	struct ig_yaml_document *doc = &b->doc;

	/* the capacity is the next power of two: grow when n_places reaches one */
	if ((doc->n_places & (doc->n_places - 1)) == 0) {
		size_t n = doc->n_places ? doc->n_places * 2 : 1;
		struct place *more = reallocarray(doc->places, n, sizeof(*more));

		if (!more)
			return out_of_memory(b);
		doc->places = more;
	}
	doc->places[doc->n_places++] = (struct place){.node = node, .key = key, .mark = mark};
	return 0;
}

static const struct place *find_place(
	const struct ig_yaml_document *doc, const json_t *node, const char *key)
{
	for (size_t i = 0; i < doc->n_places; i++) {
		const struct place *p = &doc->places[i];

		if (p->node == node && (key ? p->key && strcmp(p->key, key) == 0 : !p->key))
			return p;
	}
	return NULL;
}

/* Puts a new node where the next one belongs. Takes `value` in any case; it stays valid after
 * success because the tree holds it. */
static int attach(struct builder *b, json_t *value, yaml_mark_t mark)
{
	struct level *top = b->depth ? &b->levels[b->depth - 1] : NULL;
	_cleanup_free_ char *key = NULL;
	int r;

	if (!value)
		return out_of_memory(b);
	if (!top) {
		b->doc.root = value;
		return add_place(b, value, NULL, mark);
	}
	if (json_is_array(top->node))
		return json_array_append_new(top->node, value) < 0 ? out_of_memory(b) : 0;
	key = TAKE_PTR(top->key);
	r = json_object_set_new(top->node, key, value);
	if (r < 0)
		return out_of_memory(b);
	/* jansson's own copy of the key lives as long as the member */
	return add_place(b, top->node, json_object_iter_key(json_object_iter_at(top->node, key)),
		top->key_mark);
}

static bool wants_key(const struct builder *b)
{
	const struct level *top = b->depth ? &b->levels[b->depth - 1] : NULL;

	return top && json_is_object(top->node) && !top->key;
}

/* What every node has to pass first. */
static int check_node(
	struct builder *b, const yaml_event_t *e, const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (++b->doc.n_nodes > IG_YAML_NODES_MAX)
		return fail_at(b, -E2BIG, e->start_mark, "more nodes than a document may have");
	if (anchor)
		return fail_at(b, -EINVAL, e->start_mark,
			"anchors (&) are not supported; write the value out");
	if (tag)
		return fail_at(b, -EINVAL, e->start_mark,
			"tags (!) are not supported; quote a value that has to be a string");
	return 0;
}

static int push(struct builder *b, const yaml_event_t *e, json_t *node)
{
	int r;

	if (wants_key(b) || b->depth == IG_MANIFEST_DEPTH_MAX) {
		bool deep = b->depth == IG_MANIFEST_DEPTH_MAX;

		json_decref(node);
		if (deep)
			return fail_at(b, -E2BIG, e->start_mark, "nested too deeply");
		return fail_at(b, -EINVAL, e->start_mark, "expected a plain key");
	}
	r = attach(b, node, e->start_mark);
	if (r < 0)
		return r;
	b->levels[b->depth++] = (struct level){.node = node};
	return node == b->doc.root ? 0 : add_place(b, node, NULL, e->start_mark);
}

static int take_key(struct builder *b, const yaml_event_t *e)
{
	struct level *top = &b->levels[b->depth - 1];
	const char *text = (const char *)e->data.scalar.value;
	size_t len = e->data.scalar.length;

	if (len == 0)
		return fail_at(b, -EINVAL, e->start_mark, "empty key");
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return fail_at(b, -EINVAL, e->start_mark, "control character in a key");
	if (json_object_get(top->node, text)) {
		const struct place *first = find_place(&b->doc, top->node, text);

		return ig_err_at(b->err, -EINVAL, b->name, (unsigned int)e->start_mark.line + 1,
			(unsigned int)e->start_mark.column + 1,
			"key \"%s\" stands here twice; the first is in line %u", text,
			first ? (unsigned int)first->mark.line + 1 : 0);
	}
	top->key = strdup(text);
	top->key_mark = e->start_mark;
	return top->key ? 0 : out_of_memory(b);
}

static bool is_one_of(const char *s, const char *a, const char *b, const char *c)
{
	return strcmp(s, a) == 0 || strcmp(s, b) == 0 || strcmp(s, c) == 0;
}

/* A decimal integer without leading zeros: 0, -1, 42. */
static bool looks_like_integer(const char *s)
{
	if (*s == '-')
		s++;
	if (*s == '0')
		return s[1] == '\0';
	return *s && s[strspn(s, "0123456789")] == '\0';
}

static int parse_integer(const char *s, json_int_t *ret)
{
	bool negative = *s == '-';
	uint64_t value;

	if (ig_parse_u64(s + negative, &value) < 0 || value > (uint64_t)INT64_MAX)
		return -ERANGE;
	*ret = negative ? -(json_int_t)value : (json_int_t)value;
	return 0;
}

static int scalar(struct builder *b, const yaml_event_t *e)
{
	const char *text = (const char *)e->data.scalar.value;
	size_t len = e->data.scalar.length;
	json_int_t number;

	if (e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return attach(b, json_stringn(text, len), e->start_mark);
	if (!*text || strcmp(text, "~") == 0 || is_one_of(text, "null", "Null", "NULL"))
		return attach(b, json_null(), e->start_mark);
	if (is_one_of(text, "true", "True", "TRUE"))
		return attach(b, json_true(), e->start_mark);
	if (is_one_of(text, "false", "False", "FALSE"))
		return attach(b, json_false(), e->start_mark);
	if (!looks_like_integer(text))
		return attach(b, json_stringn(text, len), e->start_mark);
	if (parse_integer(text, &number) < 0)
		return fail_at(b, -EINVAL, e->start_mark,
			"number out of range; quote it if it is meant as a string");
	return attach(b, json_integer(number), e->start_mark);
}

static int on_event(struct builder *b, const yaml_event_t *e)
{
	int r;

	switch (e->type) {
	case YAML_SCALAR_EVENT:
		r = check_node(b, e, e->data.scalar.anchor, e->data.scalar.tag);
		if (r < 0)
			return r;
		return wants_key(b) ? take_key(b, e) : scalar(b, e);
	case YAML_SEQUENCE_START_EVENT:
		r = check_node(b, e, e->data.sequence_start.anchor, e->data.sequence_start.tag);
		return r < 0 ? r : push(b, e, json_array());
	case YAML_MAPPING_START_EVENT:
		r = check_node(b, e, e->data.mapping_start.anchor, e->data.mapping_start.tag);
		return r < 0 ? r : push(b, e, json_object());
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT: b->depth--; return 0;
	case YAML_ALIAS_EVENT:
		return fail_at(b, -EINVAL, e->start_mark,
			"aliases (*) are not supported; write the value out");
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_STREAM_END_EVENT:
	case YAML_DOCUMENT_START_EVENT:
	case YAML_DOCUMENT_END_EVENT: break;
	}
	return 0;
}

/* Errors of libyaml's reader (bytes that are not UTF-8, control characters) have only an offset. */
static yaml_mark_t mark_of_offset(const char *text, size_t len, size_t offset)
{
	yaml_mark_t mark = {};

	for (size_t i = 0; i < len && i < offset; i++) {
		mark.column++;
		if (text[i] == '\n') {
			mark.line++;
			mark.column = 0;
		}
	}
	return mark;
}

static int syntax_error(
	struct builder *b, const yaml_parser_t *parser, const char *text, size_t len)
{
	yaml_mark_t mark = parser->problem_mark;

	if (parser->error == YAML_MEMORY_ERROR)
		return out_of_memory(b);
	if (parser->error == YAML_READER_ERROR)
		mark = mark_of_offset(text, len, parser->problem_offset);
	return ig_err_at(b->err, -EINVAL, b->name, (unsigned int)mark.line + 1,
		(unsigned int)mark.column + 1, "not valid YAML: %s%s%s",
		parser->context ? parser->context : "", parser->context ? ", " : "",
		parser->problem ? parser->problem : "unknown problem");
}

static int end_of_document(struct builder *b, ig_yaml_each *each, void *userdata)
{
	int r = 0;

	if (b->doc.root && !json_is_null(b->doc.root))
		r = each(&b->doc, userdata, b->err);
	builder_reset(b);
	return r;
}

static int build_all(struct builder *b, yaml_parser_t *parser, const char *text, size_t len,
	ig_yaml_each *each, void *userdata)
{
	size_t n_docs = 0;

	for (;;) {
		_cleanup_(yaml_event_delete) yaml_event_t e = {};
		int r;

		if (!yaml_parser_parse(parser, &e))
			return syntax_error(b, parser, text, len);
		if (e.type == YAML_STREAM_END_EVENT)
			return 0;
		if (e.type == YAML_DOCUMENT_START_EVENT && ++n_docs > IG_MANIFEST_DOCS_MAX)
			return fail_at(
				b, -E2BIG, e.start_mark, "more documents than a file may have");
		r = on_event(b, &e);
		if (r == 0 && e.type == YAML_DOCUMENT_END_EVENT)
			r = end_of_document(b, each, userdata);
		if (r < 0)
			return r;
	}
}

int ig_yaml_parse(const char *name, const char *text, size_t len, ig_yaml_each *each,
	void *userdata, struct ig_err *reterr_err)
{
	_cleanup_(builder_reset) struct builder b = {.name = name, .err = reterr_err};
	_cleanup_(yaml_parser_delete) yaml_parser_t parser = {};

	if (!yaml_parser_initialize(&parser))
		return out_of_memory(&b);
	/* said, not guessed from the first bytes */
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	return build_all(&b, &parser, text, len, each, userdata);
}

const json_t *ig_yaml_root(const struct ig_yaml_document *doc)
{
	return doc->root;
}

void ig_yaml_locate(const struct ig_yaml_document *doc, const json_t *node, const char *key,
	unsigned int *ret_line, unsigned int *ret_column)
{
	const struct place *p = find_place(doc, node, key);

	*ret_line = p ? (unsigned int)p->mark.line + 1 : 0;
	*ret_column = p ? (unsigned int)p->mark.column + 1 : 0;
}
