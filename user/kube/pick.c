/*
 * Reduction of the API server's JSON to what is wanted; see pick.h. A stack of frames follows the
 * path from the body's root as long as something below may be of use; where that ends, open
 * containers are merely counted. Wanted text is copied as it stands into one buffer, and jansson
 * makes a tree of it when the object is complete. Names and versions are caught on the way into
 * room of their own, so that an object that overflows the buffer can still be named.
 *
 * Nothing that a tenant can put into an object may end in an error of the body.
 */
#include "kube/pick.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "kube/item.h"
#include "kube/scan.h"

#define KEPT_BUFFER_BYTES 16384 /* a larger buffer is not kept from one object to the next */
#define CAUGHT_RAW_BYTES  (2 * IG_KUBE_CONTINUE_BYTES)
#define FRAMES_MAX	  (IG_KUBE_OBJECT_DEPTH_MAX + 4) /* list, items; metadata or details */

/* Where in the body we are. From OBJECT on it starts anew with every object. */
enum place { ELSEWHERE, LIST, LIST_META, ITEMS, EVENT, OBJECT, META, DETAILS };

enum catch { NOTHING, EXACT_TEXT, SOME_TEXT /* cut or left out rather than refused */, A_NUMBER };

struct rule {
	enum place parent;
	const char *key;
	enum place place; /* of the value */
	enum catch catch;
	size_t offset, size;
};

#define CATCH(how, field)                                                                          \
	how, offsetof(struct ig_kube_caught, field), sizeof(((struct ig_kube_caught *)0)->field)

static const struct rule rules[] = {
	{LIST, "metadata", LIST_META, NOTHING, 0, 0},
	{LIST, "items", ITEMS, NOTHING, 0, 0},
	{LIST_META, "resourceVersion", ELSEWHERE, CATCH(EXACT_TEXT, list_version)},
	{LIST_META, "continue", ELSEWHERE, CATCH(EXACT_TEXT, next)},
	{EVENT, "type", ELSEWHERE, CATCH(SOME_TEXT, type)},
	{EVENT, "object", OBJECT, NOTHING, 0, 0},
	{OBJECT, "metadata", META, NOTHING, 0, 0},
	{META, "namespace", ELSEWHERE, CATCH(EXACT_TEXT, ns)},
	{META, "name", ELSEWHERE, CATCH(EXACT_TEXT, name)},
	{META, "uid", ELSEWHERE, CATCH(EXACT_TEXT, uid)},
	{META, "resourceVersion", ELSEWHERE, CATCH(EXACT_TEXT, version)},
	{OBJECT, "code", ELSEWHERE, CATCH(A_NUMBER, code)},
	{OBJECT, "reason", ELSEWHERE, CATCH(SOME_TEXT, reason)},
	{OBJECT, "message", ELSEWHERE, CATCH(SOME_TEXT, message)},
	{OBJECT, "details", DETAILS, NOTHING, 0, 0},
	{DETAILS, "retryAfterSeconds", ELSEWHERE, CATCH(A_NUMBER, retry_after)},
};

struct frame {
	enum place place;
	bool array;
	bool keep;			  /* a part of the object that is handed out */
	bool comma;			  /* keep: something stands in it already */
	const struct ig_kube_pick *table; /* keep: what of it; NULL: everything */
};

struct ig_kube_reader {
	struct ig_kube_scan scan;
	enum ig_kube_body body;
	const struct ig_kube_pick *fields; /* the caller's */
	ig_kube_take *take;
	void *userdata;

	struct frame frames[FRAMES_MAX];
	unsigned int n_frames;
	uint64_t skip; /* open containers of a value that nobody wants */
	uint32_t seen; /* rules that have met their value */
	bool items_seen;
	bool list_done; /* the one value of a list is complete */

	bool in_key;
	char key[IG_KUBE_KEY_BYTES + 1];
	size_t key_len;
	bool key_odd; /* too long, or no C string: equal to nothing, but it may fit a wildcard */

	bool keep;		 /* the scalar that is being read */
	const struct rule *rule; /* that catches it */
	struct ig_buf raw;	 /* its text for the rule, between quotes if it is a string */

	struct ig_buf text; /* the wanted part of the object as JSON */
	const char *unusable;
	struct ig_kube_caught caught;
};

/* ---- keys ------------------------------------------------------------------------------------ */

/* A key with escapes becomes its text, which is never longer. */
static void decode_key(struct ig_kube_reader *reader)
{
	char json[IG_KUBE_KEY_BYTES + 2];
	_cleanup_free_ char *text = NULL;

	json[0] = '"';
	memcpy(json + 1, reader->key, reader->key_len);
	json[reader->key_len + 1] = '"';
	text = ig_kube_decode(json, reader->key_len + 2);
	if (text) {
		reader->key_len = strlen(text);
		memcpy(reader->key, text, reader->key_len + 1);
	}
	reader->key_odd = !text;
}

static void end_key(struct ig_kube_reader *reader)
{
	reader->in_key = false;
	reader->key[reader->key_len] = '\0';
	if (!reader->key_odd && memchr(reader->key, '\\', reader->key_len))
		decode_key(reader);
	if (reader->key_odd)
		reader->key[0] = '\0';
}

static void key_text(struct ig_kube_reader *reader, const char *raw, size_t len)
{
	if (len > IG_KUBE_KEY_BYTES - reader->key_len) {
		reader->key_odd = true;
		return;
	}
	memcpy(reader->key + reader->key_len, raw, len);
	reader->key_len += len;
}

static char *field_of(struct ig_kube_reader *reader, const struct rule *rule)
{
	return (char *)&reader->caught + rule->offset;
}

/* ---- what is wanted -------------------------------------------------------------------------- */

static bool fits(const struct ig_kube_reader *reader, const char *wanted, bool element)
{
	size_t len = strlen(wanted);

	if (strcmp(wanted, "[]") == 0 || element)
		return strcmp(wanted, "[]") == 0 && element;
	if (wanted[len - 1] != '*')
		return !reader->key_odd && strcmp(wanted, reader->key) == 0;
	return reader->key_odd || strncmp(wanted, reader->key, len - 1) == 0;
}

static const struct rule *find_rule(const struct ig_kube_reader *reader, const struct frame *parent)
{
	if (parent->place == ELSEWHERE || parent->array || reader->key_odd)
		return NULL;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rules); i++)
		if (rules[i].parent == parent->place && strcmp(rules[i].key, reader->key) == 0)
			return &rules[i];
	return NULL;
}

/* Whether a value in `parent` is kept, and what of it. */
static bool wanted_below(struct ig_kube_reader *reader, const struct frame *parent,
	enum ig_kube_token token, const struct ig_kube_pick **ret_table)
{
	const struct ig_kube_pick *entry = parent->table;
	bool container = token == IG_KUBE_TOKEN_OBJECT || token == IG_KUBE_TOKEN_ARRAY;

	if (!parent->keep)
		return false;
	if (entry) {
		while (entry->key && !fits(reader, entry->key, parent->array))
			entry++;
		if (!entry->key)
			return false;
		*ret_table = entry->below;
	}
	if (!parent->array && reader->key_odd)
		reader->unusable = "a key of it is too long or is no plain text";
	/* the first frame of the object is the one behind EVENT or LIST, ITEMS */
	if (container && reader->n_frames - (reader->body == IG_KUBE_BODY_LIST ? 2 : 1) >=
				 IG_KUBE_OBJECT_DEPTH_MAX)
		reader->unusable = "it is nested too deeply";
	return !reader->unusable;
}

static void begin_object(struct ig_kube_reader *reader)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(rules); i++) {
		if (rules[i].parent < OBJECT)
			continue;
		reader->seen &= ~(1U << i);
		if (rules[i].catch != NOTHING)
			*field_of(reader, &rules[i]) = '\0';
	}
	reader->unusable = NULL;
	if (reader->text.cap > KEPT_BUFFER_BYTES) {
		ig_buf_done(&reader->text);
		ig_buf_init(&reader->text, IG_KUBE_OBJECT_BYTES);
	}
	ig_buf_reset(&reader->text);
}

static int hand_out(struct ig_kube_reader *reader, enum ig_kube_event event)
{
	struct ig_kube_item item;
	int r = ig_kube_item_make(event, &reader->caught, &reader->text, reader->unusable, &item);

	if (r < 0)
		return r;
	r = reader->take(&item, reader->userdata);
	json_decref(item.object);
	return r;
}

/* Both parts must have been there; rules[] says where they stand. */
static int end_event(struct ig_kube_reader *reader)
{
	unsigned int parts = 0;

	for (size_t i = 0; i < IG_ARRAY_SIZE(rules); i++)
		if (rules[i].parent == EVENT && reader->seen & 1U << i)
			parts++;
	reader->seen = 0;
	if (parts != 2)
		return -EBADMSG;
	return hand_out(reader, ig_kube_event_of(reader->caught.type));
}

/* ---- values ---------------------------------------------------------------------------------- */

/* Only a mapping or array stands where one is needed, and null may stand for an empty list or text.
 */
static bool right_kind(enum place place, const struct rule *rule, enum ig_kube_token token)
{
	if (rule && rule->catch == EXACT_TEXT)
		return token == IG_KUBE_TOKEN_STRING || token == IG_KUBE_TOKEN_LITERAL;
	switch (place) {
	case ELSEWHERE:
	case DETAILS: return true;
	case ITEMS: return token == IG_KUBE_TOKEN_ARRAY || token == IG_KUBE_TOKEN_LITERAL;
	default: return token == IG_KUBE_TOKEN_OBJECT;
	}
}

static int enter_rule(struct ig_kube_reader *reader, const struct rule *rule)
{
	uint32_t bit = 1U << (rule - rules);

	if (reader->seen & bit)
		return -EBADMSG;
	reader->seen |= bit;
	return 0;
}

/* Fills *ret_value as the frame that the value would be. */
static int aim(struct ig_kube_reader *reader, enum ig_kube_token token, struct frame *ret_value,
	const struct rule **ret_rule)
{
	const struct frame *parent =
		reader->n_frames ? &reader->frames[reader->n_frames - 1] : NULL;
	int r = 0;

	if (!parent) {
		ret_value->place = reader->body == IG_KUBE_BODY_LIST ? LIST : EVENT;
		if (reader->list_done)
			return -EBADMSG;
		reader->caught.type[0] = '\0';
	} else if (parent->place == ITEMS) {
		ret_value->place = OBJECT;
	} else {
		*ret_rule = find_rule(reader, parent);
		if (*ret_rule) {
			r = enter_rule(reader, *ret_rule);
			ret_value->place = (*ret_rule)->place;
			reader->items_seen |= ret_value->place == ITEMS;
		}
		ret_value->keep = wanted_below(reader, parent, token, &ret_value->table);
	}
	if (r == 0 && !right_kind(ret_value->place, *ret_rule, token))
		return -EBADMSG;
	if (ret_value->place == OBJECT) {
		begin_object(reader);
		ret_value->keep = true;
		ret_value->table = reader->fields;
	}
	return r;
}

/* What stands before a kept value. */
static void put_key(struct ig_kube_reader *reader, struct frame *parent)
{
	if (!parent->keep)
		return; /* the object itself */
	if (parent->comma)
		ig_buf_putc(&reader->text, ',');
	parent->comma = true;
	if (parent->array)
		return;
	ig_buf_json_string(&reader->text, reader->key, reader->key_len);
	ig_buf_putc(&reader->text, ':');
}

static int on_begin(enum ig_kube_token token, void *userdata)
{
	struct ig_kube_reader *reader = userdata;
	bool container = token == IG_KUBE_TOKEN_OBJECT || token == IG_KUBE_TOKEN_ARRAY;
	struct frame value = {.array = token == IG_KUBE_TOKEN_ARRAY};
	const struct rule *rule = NULL;
	int r;

	if (reader->skip) {
		reader->skip += container;
		return 0;
	}
	if (token == IG_KUBE_TOKEN_KEY) {
		reader->in_key = true;
		reader->key_odd = false;
		reader->key_len = 0;
		return 0;
	}
	r = aim(reader, token, &value, &rule);
	if (r < 0)
		return r;
	if (value.keep && reader->n_frames)
		put_key(reader, &reader->frames[reader->n_frames - 1]);
	if (value.keep && !(token == IG_KUBE_TOKEN_NUMBER || token == IG_KUBE_TOKEN_LITERAL))
		ig_buf_putc(&reader->text, value.array ? '[' : container ? '{' : '"');
	if (container && !value.keep && value.place == ELSEWHERE) {
		reader->skip = 1;
	} else if (container) {
		reader->frames[reader->n_frames++] = value;
	} else {
		reader->keep = value.keep;
		reader->rule = rule;
		ig_buf_reset(&reader->raw);
		if (token == IG_KUBE_TOKEN_STRING)
			ig_buf_putc(&reader->raw, '"');
	}
	return 0;
}

static int on_text(const char *raw, size_t len, void *userdata)
{
	struct ig_kube_reader *reader = userdata;

	if (reader->skip)
		return 0;
	if (reader->in_key)
		key_text(reader, raw, len);
	else if (reader->keep)
		ig_buf_append(&reader->text, raw, len);
	if (reader->rule && !reader->in_key)
		ig_buf_append(&reader->raw, raw, len);
	return 0;
}

/* ---- catching -------------------------------------------------------------------------------- */

static int catch_scalar(struct ig_kube_reader *reader, enum ig_kube_token token)
{
	const struct rule *rule = reader->rule;
	char *field = field_of(reader, rule);
	const struct ig_buf *raw = &reader->raw;
	bool null = token == IG_KUBE_TOKEN_LITERAL && raw->len == 4 && raw->data[0] == 'n';
	int r = ig_buf_finish(raw);

	if (r == -ENOMEM)
		return r;
	if (rule->place == ITEMS)
		return null ? 0 : -EBADMSG;
	if (r == 0 && token == IG_KUBE_TOKEN_STRING && rule->catch != A_NUMBER)
		r = ig_kube_catch(raw->data, raw->len, rule->catch == SOME_TEXT, field, rule->size);
	else if (r == 0 && token == IG_KUBE_TOKEN_NUMBER && rule->catch == A_NUMBER &&
		 raw->len < rule->size)
		memcpy(field, raw->data, raw->len + 1);
	else if (r == 0 && !null)
		r = -EBADMSG; /* not what it should be */
	return rule->catch == EXACT_TEXT && r < 0 ? -EBADMSG : 0;
}

static int end_container(struct ig_kube_reader *reader)
{
	const struct frame *frame = &reader->frames[--reader->n_frames];

	if (frame->keep)
		ig_buf_putc(&reader->text, frame->array ? ']' : '}');
	switch (frame->place) {
	case LIST: reader->list_done = true; return 0;
	case EVENT: return end_event(reader);
	case OBJECT:
		return reader->body == IG_KUBE_BODY_LIST ? hand_out(reader, IG_KUBE_EVENT_ITEM) : 0;
	default: return 0;
	}
}

static int on_end(enum ig_kube_token token, void *userdata)
{
	struct ig_kube_reader *reader = userdata;
	bool container = token == IG_KUBE_TOKEN_OBJECT || token == IG_KUBE_TOKEN_ARRAY;
	int r = 0;

	if (reader->skip) {
		reader->skip -= container;
		return 0;
	}
	if (container)
		return end_container(reader);
	if (token == IG_KUBE_TOKEN_KEY) {
		end_key(reader);
		return 0;
	}
	if (token == IG_KUBE_TOKEN_STRING) {
		ig_buf_putc(&reader->raw, '"');
		if (reader->keep)
			ig_buf_putc(&reader->text, '"');
	}
	if (reader->rule)
		r = catch_scalar(reader, token);
	reader->keep = false;
	reader->rule = NULL;
	return r;
}

/* ---- the reader ------------------------------------------------------------------------------ */

int ig_kube_reader_new(enum ig_kube_body body, const struct ig_kube_pick *fields,
	ig_kube_take *take, void *userdata, struct ig_kube_reader **ret)
{
	static const struct ig_kube_scan_ops ops = {
		.begin = on_begin, .text = on_text, .end = on_end};
	struct ig_kube_reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return -ENOMEM;
	ig_kube_scan_init(&reader->scan, &ops, reader);
	ig_buf_init(&reader->raw, CAUGHT_RAW_BYTES);
	ig_buf_init(&reader->text, IG_KUBE_OBJECT_BYTES);
	reader->body = body;
	reader->fields = fields;
	reader->take = take;
	reader->userdata = userdata;
	*ret = reader;
	return 0;
}

struct ig_kube_reader *ig_kube_reader_free(struct ig_kube_reader *reader)
{
	if (!reader)
		return NULL;
	ig_buf_done(&reader->raw);
	ig_buf_done(&reader->text);
	free(reader);
	return NULL;
}

int ig_kube_reader_feed(struct ig_kube_reader *reader, const char *data, size_t len)
{
	return ig_kube_scan_feed(&reader->scan, data, len);
}

int ig_kube_reader_finish(const struct ig_kube_reader *reader)
{
	if (reader->scan.error)
		return reader->scan.error;
	if (!ig_kube_scan_idle(&reader->scan))
		return -EBADMSG;
	if (reader->body == IG_KUBE_BODY_WATCH)
		return 0;
	return reader->list_done && reader->items_seen && reader->caught.list_version[0] ? 0
											 : -EBADMSG;
}

const char *ig_kube_reader_resource_version(const struct ig_kube_reader *reader)
{
	return reader->caught.list_version;
}

const char *ig_kube_reader_continue(const struct ig_kube_reader *reader)
{
	return reader->caught.next;
}
