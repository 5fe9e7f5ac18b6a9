/*
 * Bodies of the API server's lists and watches, whole and cut anywhere, against the tables of
 * fields that are really used. What comes out must not depend on the cuts, and what jansson reads
 * as JSON must be JSON to the scanner, too.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include <jansson.h>

#include "kube/pick.h"
#include "kube/resources.h"
#include "kube/scan.h"
#include "objects/validate.h"

struct run {
	uint64_t items; /* hash of them */
	int error;
	const struct ig_kube_resource *resource;
};

static void validate(const json_t *object)
{
	const struct ig_validate_options options = {.policy_namespace = "imdsgate-system"};
	struct ig_validator *v = NULL;
	struct ig_object_set *set = ig_object_set_new();
	struct ig_err err = {};

	FUZZ_CHECK(set && ig_validator_new(&options, &v) == 0);
	if (ig_validator_add(v, object, set, &err) < 0)
		FUZZ_CHECK(err.message[0]);
	for (size_t i = 0; i < set->n_pods; i++) {
		/* whoever may create pods claims no cgroup with it */
		FUZZ_CHECK(!set->pods[i].cgroup[0]);
		FUZZ_CHECK(set->pods[i].uid[0]);
	}
	ig_validator_free(v);
	(void)ig_object_set_free(set);
}

static int take(const struct ig_kube_item *item, void *userdata)
{
	struct run *run = userdata;
	bool named = item->event <= IG_KUBE_EVENT_DELETED;

	FUZZ_CHECK(item->event < _IG_KUBE_EVENT_MAX);
	FUZZ_CHECK(item->ns && item->name && item->uid && item->resource_version);
	FUZZ_CHECK(!named || item->name[0]);
	FUZZ_CHECK(!item->object || !item->unusable);
	run->items = fuzz_hash(run->items, &item->event, sizeof(item->event));
	run->items = fuzz_hash_text(run->items, item->ns);
	run->items = fuzz_hash_text(run->items, item->name);
	run->items = fuzz_hash_text(run->items, item->uid);
	run->items = fuzz_hash_text(run->items, item->resource_version);
	run->items = fuzz_hash_text(run->items, item->unusable);
	if (item->event == IG_KUBE_EVENT_ERROR) {
		run->items = fuzz_hash(run->items, &item->code, sizeof(item->code));
		run->items = fuzz_hash_text(run->items, item->message);
	}
	if (item->object) {
		char *text = json_dumps(item->object, JSON_COMPACT | JSON_SORT_KEYS);

		FUZZ_CHECK(text && strlen(text) <= 8 * IG_KUBE_OBJECT_BYTES);
		run->items = fuzz_hash_text(run->items, text);
		free(text);
		validate(item->object);
	}
	return 0;
}

static void read_body(enum ig_kube_body body, const struct fuzz_input *in, struct fuzz_cuts *cuts,
	struct run *run)
{
	struct ig_kube_reader *reader = NULL;
	size_t left = in->left;
	int r = 0;

	run->items = FUZZ_HASH_INIT;
	FUZZ_CHECK(ig_kube_reader_new(body, run->resource->fields, take, run, &reader) == 0);
	while (left > 0 && r == 0) {
		size_t len = cuts ? fuzz_cut(cuts, left) : left;
		char *piece = fuzz_copy(in->data + in->left - left, len);

		r = ig_kube_reader_feed(reader, piece, len);
		left -= len;
		free(piece);
	}
	run->error = r < 0 ? r : ig_kube_reader_finish(reader);
	if (body == IG_KUBE_BODY_LIST && run->error == 0) {
		run->items = fuzz_hash_text(run->items, ig_kube_reader_resource_version(reader));
		run->items = fuzz_hash_text(run->items, ig_kube_reader_continue(reader));
	}
	(void)ig_kube_reader_free(reader);
}

static int ignore_token(enum ig_kube_token token, void *userdata)
{
	(void)token;
	(void)userdata;
	return 0;
}

static int ignore_text(const char *raw, size_t len, void *userdata)
{
	(void)raw;
	(void)len;
	(void)userdata;
	return 0;
}

static void compare_with_jansson(const struct fuzz_input *in)
{
	static const struct ig_kube_scan_ops ops = {
		.begin = ignore_token, .text = ignore_text, .end = ignore_token};
	struct ig_kube_scan scan;
	json_t *tree;

	/* jansson 2.14 passes over a NUL behind a number */
	if (memchr(in->data, '\0', in->left))
		return;
	tree = json_loadb((const char *)in->data, in->left, 0, NULL);
	if (!tree)
		return;
	ig_kube_scan_init(&scan, &ops, NULL);
	FUZZ_CHECK(ig_kube_scan_feed(&scan, (const char *)in->data, in->left) == 0);
	FUZZ_CHECK(ig_kube_scan_idle(&scan));
	json_decref(tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {.data = data, .left = size};
	uint8_t choice = fuzz_byte(&in);
	enum ig_kube_body body = choice & 1 ? IG_KUBE_BODY_WATCH : IG_KUBE_BODY_LIST;
	struct fuzz_cuts cuts = {.state = choice};
	struct run whole = {.resource = &ig_kube_resources[(choice >> 1) % IG_KUBE_RESOURCES]};
	struct run cut = whole;

	read_body(body, &in, NULL, &whole);
	read_body(body, &in, &cuts, &cut);
	FUZZ_CHECK(whole.error == cut.error);
	FUZZ_CHECK(whole.items == cut.items);
	compare_with_jansson(&in);
	return 0;
}
