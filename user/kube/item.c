/*
 * Objects and events out of what was kept and caught of them; see item.h. Whatever a tenant can put
 * into an object makes that object unusable at worst and is no error. Called by pick.c only.
 */
#include "kube/item.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/parse.h"

/* ---- texts ----------------------------------------------------------------------------------- */

char *ig_kube_decode(const char *json, size_t len)
{
	json_t *string = ig_json_load(json, len, JSON_DECODE_ANY, NULL);
	char *text = string ? strdup(json_string_value(string)) : NULL;

	json_decref(string);
	return text;
}

/* The length of a text cut to `max` bytes between two characters. */
static size_t cut(const char *text, size_t max)
{
	size_t len = strlen(text);

	if (len <= max)
		return len;
	while (max > 0 && ((unsigned char)text[max] & 0xc0) == 0x80)
		max--;
	return max;
}

int ig_kube_catch(const char *json, size_t len, bool may_cut, char *field, size_t size)
{
	_cleanup_free_ char *text = ig_kube_decode(json, len);
	size_t keep;

	if (!text)
		return -EBADMSG;
	keep = cut(text, size - 1);
	if (text[keep] && !may_cut)
		return -EBADMSG;
	memcpy(field, text, keep);
	field[keep] = '\0';
	return 0;
}

enum ig_kube_event ig_kube_event_of(const char *type)
{
	static const char *const names[_IG_KUBE_EVENT_MAX] = {
		[IG_KUBE_EVENT_ADDED] = "ADDED",
		[IG_KUBE_EVENT_MODIFIED] = "MODIFIED",
		[IG_KUBE_EVENT_DELETED] = "DELETED",
		[IG_KUBE_EVENT_BOOKMARK] = "BOOKMARK",
		[IG_KUBE_EVENT_ERROR] = "ERROR",
	};

	for (enum ig_kube_event i = 0; i < _IG_KUBE_EVENT_MAX; i++)
		if (names[i] && strcmp(names[i], type) == 0)
			return i;
	return IG_KUBE_EVENT_UNKNOWN;
}

/* ---- objects --------------------------------------------------------------------------------- */

static const char *why_not(enum json_error_code code)
{
	switch (code) {
	case json_error_null_character:
	case json_error_null_byte_in_key: return "a text of it has a NUL character";
	case json_error_numeric_overflow: return "a number of it is out of range";
	case json_error_duplicate_key: return "a key of it stands twice";
	default: return "a text of it is no Unicode";
	}
}

/* metadata is there and says what we know, whatever the table of fields keeps of it. */
static int complete_metadata(json_t *object, const struct ig_kube_item *item)
{
	json_t *metadata = json_object_get(object, "metadata");
	const struct {
		const char *key, *value;
	} members[] = {{"namespace", item->ns}, {"name", item->name}, {"uid", item->uid},
		{"resourceVersion", item->resource_version}};

	if (!metadata) {
		metadata = json_object();
		if (json_object_set_new(object, "metadata", metadata) < 0)
			return -ENOMEM;
	}
	for (size_t i = 0; i < IG_ARRAY_SIZE(members); i++) {
		const char *value = members[i].value;

		if (value[0] &&
			json_object_set_new(metadata, members[i].key, json_string(value)) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int make_object(const struct ig_buf *text, struct ig_kube_item *item)
{
	int r = ig_buf_finish(text);
	json_error_t error;

	if (r == -E2BIG && !item->unusable)
		item->unusable = "it is too large";
	if (r < 0 && r != -E2BIG)
		return r;
	if (item->unusable)
		return 0;
	item->object = ig_json_load(text->data, text->len, JSON_REJECT_DUPLICATES, &error);
	if (item->object)
		return complete_metadata(item->object, item);
	if (json_error_code(&error) == json_error_out_of_memory)
		return -ENOMEM;
	item->unusable = why_not(json_error_code(&error));
	return 0;
}

static bool is_complete(const struct ig_kube_item *item)
{
	switch (item->event) {
	case IG_KUBE_EVENT_ITEM: return item->name[0];
	case IG_KUBE_EVENT_BOOKMARK: return item->resource_version[0];
	case IG_KUBE_EVENT_ERROR:
	case IG_KUBE_EVENT_UNKNOWN: return true;
	default: return item->name[0] && item->resource_version[0];
	}
}

int ig_kube_item_make(enum ig_kube_event event, const struct ig_kube_caught *caught,
	const struct ig_buf *text, const char *unusable, struct ig_kube_item *ret_item)
{
	bool wanted = event == IG_KUBE_EVENT_ITEM || event == IG_KUBE_EVENT_ADDED ||
		      event == IG_KUBE_EVENT_MODIFIED;
	uint32_t code = 0, seconds = 0;
	struct ig_kube_item item = {
		.event = event,
		.ns = caught->ns,
		.name = caught->name,
		.uid = caught->uid,
		.resource_version = caught->version,
		.unusable = wanted ? unusable : NULL,
		.reason = caught->reason,
		.message = caught->message,
		.retry_after_sec = -1,
	};
	int r = is_complete(&item) ? 0 : -EBADMSG;

	if (ig_parse_u32(caught->code, &code) == 0)
		item.code = code;
	if (ig_parse_u32(caught->retry_after, &seconds) == 0)
		item.retry_after_sec = (int64_t)seconds;
	if (r == 0 && wanted)
		r = make_object(text, &item);
	if (r < 0)
		json_decref(item.object);
	else
		*ret_item = item;
	return r;
}
