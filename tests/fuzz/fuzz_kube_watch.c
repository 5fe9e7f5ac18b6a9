/*
 * A watch through lists, events, failures and pauses, with an API server that says anything at any
 * time. The input is a script: a line "d TEXT" is a piece of a body, "f STATUS" ends the call with
 * that status, "e" ends it with an error of the network, "p" lets the pause pass. What the owner
 * hears must be consistent: an object is known from put() or unusable() on until gone(), batches
 * come in pairs, and at the end as many are known as the counter says.
 */
#include "fuzz/fuzz.h"

#include <errno.h>
#include <string.h>

#include <event2/event.h>

#include "base/table.h"

#include "base/clock.h"
#include "base/parse.h"
#include "kube/client.h"
#include "kube/resources.h"
#include "kube/watch.h"

struct object {
	char *key; /* owned */
	char *uid; /* owned */
	UT_hash_handle hh;
};

static struct world {
	struct event_base *base;
	struct ig_kube_watch *watch;
	struct object *objects;
	bool in_batch, inside;
	enum ig_kube_watch_state state;

	bool calling;
	int (*on_data)(const char *data, size_t len, void *userdata);
	ig_http_done *done;
	void *userdata;
	struct event *timer;
} world;

static uint64_t now_usec;

/* ---- what the watch believes to be the world ------------------------------------------------- */

int __wrap_ig_kube_client_start(struct ig_kube_client *client,
	const struct ig_kube_request *request, ig_http_done *done, void *userdata,
	struct ig_kube_call **ret_call);
void __wrap_ig_kube_call_cancel(struct ig_kube_call *call);
int __wrap_event_add(struct event *event, const struct timeval *after);

int __wrap_ig_kube_client_start(struct ig_kube_client *client,
	const struct ig_kube_request *request, ig_http_done *done, void *userdata,
	struct ig_kube_call **ret_call)
{
	(void)client;
	FUZZ_CHECK(!world.calling);
	FUZZ_CHECK(request->path[0] == '/' && strlen(request->path) <= 3 * IG_KUBE_PATH_BYTES);
	for (const char *p = request->path; *p; p++)
		FUZZ_CHECK(*p > 0x20 && *p < 0x7f && *p != '#');
	FUZZ_CHECK(request->timeout_usec > 0);
	world.calling = true;
	world.on_data = request->on_data;
	world.done = done;
	world.userdata = userdata;
	*ret_call = (struct ig_kube_call *)&world;
	return 0;
}

void __wrap_ig_kube_call_cancel(struct ig_kube_call *call)
{
	FUZZ_CHECK((void *)call == (void *)&world && world.calling);
	world.calling = false;
}

int __wrap_event_add(struct event *event, const struct timeval *after)
{
	FUZZ_CHECK(after->tv_sec >= 0 && after->tv_usec >= 0 && after->tv_usec < 1000000);
	world.timer = event;
	return 0;
}

static uint64_t fake_clock(void)
{
	return now_usec;
}

static uint64_t fake_random(uint64_t below)
{
	FUZZ_CHECK(below > 0);
	return below / 2;
}

/* ---- the owner ------------------------------------------------------------------------------- */

static char *key_of(const char *ns, const char *name)
{
	char *key;

	FUZZ_CHECK(asprintf(&key, "%s/%s", ns, name) > 0);
	return key;
}

static void forget(struct object *object)
{
	HASH_DEL(world.objects, object);
	free(object->key);
	free(object->uid);
	free(object);
}

static void know(const char *ns, const char *name, const char *uid)
{
	char *key = key_of(ns, name);
	struct object *object;

	HASH_FIND_STR(world.objects, key, object);
	if (object) {
		/* another one of that name is gone first */
		FUZZ_CHECK(strcmp(object->uid, uid) == 0);
		free(key);
		return;
	}
	object = calloc(1, sizeof(*object));
	FUZZ_CHECK(object);
	object->key = key;
	object->uid = strdup(uid);
	HASH_ADD_KEYPTR(hh, world.objects, object->key, strlen(object->key), object);
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text =
		json_string_value(json_object_get(json_object_get(object, "metadata"), key));

	return text ? text : "";
}

static void on_put(const json_t *object, void *userdata)
{
	(void)userdata;
	FUZZ_CHECK(world.inside);
	know(text_of(object, "namespace"), text_of(object, "name"), text_of(object, "uid"));
}

static void on_unusable(
	const char *ns, const char *name, const char *uid, const char *why, void *userdata)
{
	(void)userdata;
	FUZZ_CHECK(world.inside && why[0]);
	know(ns, name, uid);
}

static void on_gone(const char *ns, const char *name, const char *uid, void *userdata)
{
	char *key = key_of(ns, name);
	struct object *object;

	(void)userdata;
	FUZZ_CHECK(world.inside);
	HASH_FIND_STR(world.objects, key, object);
	FUZZ_CHECK(object);
	FUZZ_CHECK(strcmp(object->uid, uid) == 0);
	forget(object);
	free(key);
}

static void on_batch(bool begin, void *userdata)
{
	(void)userdata;
	FUZZ_CHECK(world.in_batch != begin);
	world.in_batch = begin;
}

static void on_state(enum ig_kube_watch_state state, const char *text, void *userdata)
{
	(void)userdata;
	FUZZ_CHECK(state < _IG_KUBE_WATCH_STATE_MAX && text);
	/* objects are taken away by lists, events and a lasting 404 only */
	FUZZ_CHECK(state != IG_KUBE_WATCH_ABSENT || !world.objects);
	world.state = state;
}

/* ---- the script ------------------------------------------------------------------------------ */

static void turn(void)
{
	world.inside = true;
	(void)event_base_loop(world.base, EVLOOP_NONBLOCK);
	world.inside = false;
}

static void pass(void)
{
	struct event *timer = world.timer;

	if (!timer || world.calling)
		return;
	world.timer = NULL;
	now_usec += 7 * IG_USEC_PER_SEC;
	event_active(timer, EV_TIMEOUT, 0);
	turn();
}

static void finish(const struct ig_http_response *response)
{
	world.calling = false;
	world.inside = true;
	world.done(response, world.userdata);
	world.inside = false;
}

static void piece(const char *text)
{
	size_t len = strlen(text);
	char *copy = fuzz_copy(text, len);
	int r;

	world.inside = true;
	r = world.on_data(copy, len, world.userdata);
	world.inside = false;
	free(copy);
	now_usec += IG_USEC_PER_SEC;
	/* as the client does it: a callback that fails ends the call with its error */
	if (r < 0 && world.calling)
		finish(&(struct ig_http_response){
			.error = r, .error_text = "stopped", .body = "", .retry_after_sec = -1});
}

static void say(const char *line)
{
	struct ig_http_response response = {.body = line, .error_text = "", .retry_after_sec = -1};
	uint32_t status = 0;
	char number[4] = "";

	if (!world.calling)
		pass();
	if (!world.calling || !line[0])
		return;
	if (line[0] == 'd' && line[1]) {
		piece(line + 2);
		return;
	}
	if (line[0] == 'f') {
		(void)snprintf(number, sizeof(number), "%.3s", line + 1 + (line[1] == ' '));
		(void)ig_parse_u32(number, &status);
		response.status = status >= 100 && status < 600 ? status : 200;
		response.body_len = strlen(line);
		response.retry_after_sec = line[0] == 'f' && strlen(line) > 5 ? 3 : -1;
		finish(&response);
	} else if (line[0] == 'e') {
		response.error = -ECONNREFUSED;
		finish(&response);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ig_kube_watch_ops ops = {.put = on_put,
		.unusable = on_unusable,
		.gone = on_gone,
		.batch = on_batch,
		.state = on_state};
	struct fuzz_input in = {.data = data, .left = size};
	uint8_t choice = fuzz_byte(&in);
	const struct ig_kube_resource *resource = &ig_kube_resources[choice % IG_KUBE_RESOURCES];
	const struct ig_kube_watch_options options = {.path = resource->path,
		.query = choice & 8 ? "fieldSelector=x" : NULL,
		.fields = resource->fields,
		.metadata_only = resource->metadata_only,
		.from_cache = choice & 16,
		.mono_usec = fake_clock,
		.random = fake_random};
	struct ig_kube_watch_stats stats;
	struct object *object, *next;

	now_usec = 1000 * IG_USEC_PER_SEC;
	world = (struct world){.base = event_base_new()};
	FUZZ_CHECK(ig_kube_watch_new(world.base, NULL, &options, &ops, NULL, &world.watch) == 0);
	for (int i = 0; in.left > 0 && i < 200; i++) {
		char *line = fuzz_line(&in);

		say(line);
		free(line);
	}
	ig_kube_watch_stats(world.watch, &stats);
	FUZZ_CHECK(stats.objects == HASH_COUNT(world.objects));
	FUZZ_CHECK(stats.state == world.state || !stats.lists);
	world.watch = ig_kube_watch_free(world.watch);
	FUZZ_CHECK(!world.calling);
	HASH_ITER (hh, world.objects, object, next)
		forget(object);
	event_base_free(world.base);
	return 0;
}
