/*
 * The reflector against a scripted client: every reply, failure and event that it knows, what the
 * owner hears of it, what is asked next and after which pause. The clock, random numbers and timers
 * are the test's; nothing waits.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/client.h"
#include "kube/paths.h"
#include "kube/watch.h"

#define SEC  IG_USEC_PER_SEC
#define MSEC IG_USEC_PER_MSEC
#define MIN  (IG_KUBE_BACKOFF_MIN_MSEC * MSEC)
#define MAX  (IG_KUBE_BACKOFF_MAX_MSEC * MSEC)

#define OBJECT(name, uid, rv)                                                                      \
	"{\"metadata\":{\"namespace\":\"ns\",\"name\":\"" name "\",\"uid\":\"" uid                 \
	"\",\"resourceVersion\":\"" rv "\"}}"
#define LISTED(rv, next, items)                                                                    \
	"{\"metadata\":{\"resourceVersion\":\"" rv "\",\"continue\":\"" next                       \
	"\"},\"items\":[" items "]}"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"
#define BOOKMARK(rv)	    EVENT("BOOKMARK", "{\"metadata\":{\"resourceVersion\":\"" rv "\"}}")
#define STATUS(code, reason)                                                                       \
	"{\"kind\":\"Status\",\"message\":\"because\",\"reason\":\"" reason "\",\"code\":" code "}"
#define TWO	  LISTED("10", "", OBJECT("a", "u1", "1") "," OBJECT("b", "u2", "2"))
#define TWO_HEARD "+ put a u1 1; put b u2 2; - synced; "
#define LIST_PATH "/api/v1/pods?fieldSelector=x&limit=500"
#define WATCH_PATH(rv, sec)                                                                        \
	"/api/v1/pods?fieldSelector=x&watch=true&allowWatchBookmarks=true&resourceVersion=" rv     \
	"&timeoutSeconds=" sec

static bool from_cache; /* of the next watch */
static const char *reserved_ns;

struct fixture {
	struct event_base *base;
	struct ig_kube_watch *watch;
	struct ig_buf heard;

	/* the call under way */
	bool calling;
	char *path;
	char accept[128];
	uint64_t timeout_usec, idle_usec;
	int (*on_data)(const char *data, size_t len, void *userdata);
	ig_http_done *done;
	void *userdata;
	unsigned int n_calls, n_cancelled;
	int start_error;

	struct event *timer; /* what the watch has armed; NULL: nothing */
	uint64_t delay_usec;
};

static struct fixture *fixture;
static uint64_t now_usec;
static bool random_high; /* else the lowest number */

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
	struct fixture *f = fixture;

	assert_null(client);
	assert_false(f->calling);
	assert_null(f->timer);
	assert_string_equal(request->method, "GET");
	assert_null(request->body);
	assert_true(request->timeout_usec > 0 && request->idle_timeout_usec > 0);
	assert_int_equal(request->response_limit_bytes, IG_KUBE_STATUS_BYTES);
	if (f->start_error)
		return f->start_error;
	f->calling = true;
	f->n_calls++;
	free(f->path);
	f->path = strdup(request->path);
	(void)snprintf(f->accept, sizeof(f->accept), "%s", request->accept ? request->accept : "");
	f->timeout_usec = request->timeout_usec;
	f->idle_usec = request->idle_timeout_usec;
	f->on_data = request->on_data;
	f->done = done;
	f->userdata = userdata;
	*ret_call = (struct ig_kube_call *)f;
	return 0;
}

void __wrap_ig_kube_call_cancel(struct ig_kube_call *call)
{
	assert_ptr_equal(call, fixture);
	assert_true(fixture->calling);
	fixture->calling = false;
	fixture->n_cancelled++;
}

int __wrap_event_add(struct event *event, const struct timeval *after)
{
	assert_false(fixture->calling);
	fixture->timer = event;
	fixture->delay_usec = (uint64_t)after->tv_sec * SEC + (uint64_t)after->tv_usec;
	return 0;
}

static uint64_t fake_clock(void)
{
	return now_usec;
}

static uint64_t fake_random(uint64_t below)
{
	assert_true(below > 0);
	return random_high ? below - 1 : 0;
}

/* ---- the owner ------------------------------------------------------------------------------- */

static void on_put(const json_t *object, void *userdata)
{
	struct fixture *f = userdata;
	const json_t *metadata = json_object_get(object, "metadata");

	assert_string_equal(json_string_value(json_object_get(metadata, "namespace")), "ns");
	ig_buf_printf(&f->heard, "put %s %s %s; ",
		json_string_value(json_object_get(metadata, "name")),
		json_string_value(json_object_get(metadata, "uid")),
		json_string_value(json_object_get(metadata, "resourceVersion")));
}

static void on_unusable(
	const char *ns, const char *name, const char *uid, const char *why, void *userdata)
{
	struct fixture *f = userdata;

	assert_string_equal(ns, "ns");
	ig_buf_printf(&f->heard, "unusable %s %s %s; ", name, uid, why);
}

static void on_gone(const char *ns, const char *name, const char *uid, void *userdata)
{
	struct fixture *f = userdata;

	assert_string_equal(ns, "ns");
	ig_buf_printf(&f->heard, "gone %s %s; ", name, uid);
}

static void on_batch(bool begin, void *userdata)
{
	struct fixture *f = userdata;

	ig_buf_puts(&f->heard, begin ? "+ " : "- ");
}

static void on_state(enum ig_kube_watch_state state, const char *text, void *userdata)
{
	struct fixture *f = userdata;

	ig_buf_printf(
		&f->heard, text[0] ? "%s (%s); " : "%s; ", ig_kube_watch_state_name(state), text);
}

static const struct ig_kube_watch_ops ops = {.put = on_put,
	.unusable = on_unusable,
	.gone = on_gone,
	.batch = on_batch,
	.state = on_state};

static void expect_heard(struct fixture *f, const char *expected)
{
	assert_int_equal(ig_buf_finish(&f->heard), 0);
	assert_string_equal(f->heard.data ? f->heard.data : "", expected);
	ig_buf_reset(&f->heard);
	if (f->heard.data)
		f->heard.data[0] = '\0';
}

/* ---- the script ------------------------------------------------------------------------------ */

static const struct ig_kube_pick fields[] = {
	IG_KUBE_BELOW("metadata", IG_KUBE_ALL("name")), IG_KUBE_ALL("spec"), {}};

static void start_with(
	struct fixture *f, bool metadata_only, const struct ig_kube_watch_ops *watch_ops)
{
	const struct ig_kube_watch_options options = {.path = "/api/v1/pods",
		.query = "fieldSelector=x",
		.fields = fields,
		.metadata_only = metadata_only,
		.from_cache = from_cache,
		.reserved_ns = reserved_ns,
		.mono_usec = fake_clock,
		.random = fake_random};

	fixture = f;
	now_usec = 1000 * SEC;
	random_high = false;
	memset(f, 0, sizeof(*f));
	ig_buf_init(&f->heard, 4 * 1024 * 1024);
	f->base = event_base_new();
	assert_non_null(f->base);
	assert_int_equal(ig_kube_watch_new(f->base, NULL, &options, watch_ops, f, &f->watch), 0);
}

static void start(struct fixture *f)
{
	start_with(f, false, &ops);
}

static void end(struct fixture *f)
{
	expect_heard(f, "");
	f->watch = ig_kube_watch_free(f->watch);
	assert_false(f->calling);
	expect_heard(f, "");
	ig_buf_done(&f->heard);
	event_base_free(f->base);
	free(f->path);
	fixture = NULL;
}

/* The pause is over: it was within these limits, and the next call has this path. */
static void after(struct fixture *f, uint64_t delay_usec, const char *path)
{
	struct event *timer = f->timer;

	assert_non_null(timer);
	assert_false(f->calling);
	assert_int_equal(f->delay_usec, delay_usec);
	now_usec += delay_usec;
	f->timer = NULL;
	event_active(timer, EV_TIMEOUT, 0);
	(void)event_base_loop(f->base, EVLOOP_NONBLOCK);
	if (!path)
		return;
	assert_true(f->calling);
	assert_string_equal(f->path, path);
}

static void finish(struct fixture *f, const struct ig_http_response *response)
{
	assert_true(f->calling);
	f->calling = false;
	f->done(response, f->userdata);
}

static void lose(struct fixture *f, int error, const char *text)
{
	const struct ig_http_response response = {
		.error = error, .error_text = text, .body = "", .retry_after_sec = -1};

	finish(f, &response);
}

/* Data of a success, in pieces. An end that the watch asks for is given to it. */
static void stream(struct fixture *f, const char *data)
{
	size_t len = strlen(data), n;

	for (size_t i = 0; i < len; i += n) {
		int r;

		n = len - i < 13 ? len - i : 13;
		r = f->on_data(data + i, n, f->userdata);
		if (r < 0) {
			lose(f, r, "ended by us");
			return;
		}
	}
}

static void reply_later(
	struct fixture *f, unsigned int status, const char *body, int64_t retry_after_sec)
{
	struct ig_http_response response = {
		.status = status, .body = body, .retry_after_sec = retry_after_sec};

	if (status / 100 == 2) {
		stream(f, body);
		response.body = "";
	}
	response.body_len = strlen(response.body);
	if (f->calling)
		finish(f, &response);
}

static void reply(struct fixture *f, unsigned int status, const char *body)
{
	reply_later(f, status, body, -1);
}

/* Listed a and b, and watching from 10. */
static void start_synced(struct fixture *f)
{
	start(f);
	after(f, 0, LIST_PATH);
	reply(f, 200, TWO);
	expect_heard(f, TWO_HEARD);
	after(f, 0, WATCH_PATH("10", "300"));
}

static struct ig_kube_watch_stats stats_of(struct fixture *f)
{
	struct ig_kube_watch_stats stats;

	ig_kube_watch_stats(f->watch, &stats);
	return stats;
}

/* ---- lists ----------------------------------------------------------------------------------- */

static void test_list_and_watch(void **state)
{
	struct fixture f;
	struct ig_kube_watch_stats stats;

	(void)state;
	start(&f);
	expect_heard(&f, "");
	after(&f, 0, LIST_PATH);
	assert_int_equal(f.timeout_usec, IG_KUBE_LIST_TIMEOUT_SEC * SEC);
	assert_int_equal(f.idle_usec, IG_KUBE_LIST_IDLE_SEC * SEC);
	assert_string_equal(f.accept, "");
	assert_false(stats_of(&f).complete);
	reply(&f, 200, TWO);
	expect_heard(&f, TWO_HEARD);
	random_high = true;
	after(&f, 0, WATCH_PATH("10", "600"));
	assert_int_equal(f.timeout_usec, (600 + IG_KUBE_WATCH_GRACE_SEC) * SEC);
	assert_int_equal(f.idle_usec, IG_KUBE_WATCH_IDLE_SEC * SEC);
	now_usec += 7 * SEC;
	stream(&f, EVENT("ADDED", OBJECT("c", "u3", "11")));
	expect_heard(&f, "put c u3 11; ");
	stream(&f, EVENT("MODIFIED", OBJECT("a", "u1", "12"))
			   EVENT("DELETED", OBJECT("b", "u2", "13")) BOOKMARK("20"));
	expect_heard(&f, "put a u1 12; gone b u2; ");
	/* unknown, so nothing to tell */
	stream(&f, EVENT("DELETED", OBJECT("b", "u2", "21")));
	stats = stats_of(&f);
	assert_true(stats.complete);
	assert_int_equal(stats.state, IG_KUBE_WATCH_SYNCED);
	assert_int_equal(stats.objects, 2);
	assert_int_equal(stats.events, 5);
	assert_int_equal(stats.lists, 1);
	assert_int_equal(stats.watches, 1);
	assert_int_equal(stats.errors, 0);
	assert_int_equal(stats.heard_mono_usec, now_usec);
	assert_string_equal(stats.resource_version, "21");
	assert_true(stats.bytes > strlen(TWO));
	/* its end is no event */
	now_usec += 600 * SEC;
	reply(&f, 200, "");
	after(&f, 0, WATCH_PATH("21", "600"));
	end(&f);
}

static void test_metadata_only(void **state)
{
	struct fixture f;

	(void)state;
	start_with(&f, true, &ops);
	after(&f, 0, LIST_PATH);
	assert_string_equal(f.accept,
		"application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json");
	reply(&f, 200, LISTED("10", "", ""));
	expect_heard(&f, "synced; ");
	after(&f, 0, WATCH_PATH("10", "300"));
	assert_string_equal(f.accept,
		"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json");
	end(&f);
}

static void test_pages(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	after(&f, 0, LIST_PATH);
	reply(&f, 200, LISTED("10", "to/ken=1", OBJECT("a", "u1", "1")));
	expect_heard(&f, "+ put a u1 1; ");
	after(&f, 0, LIST_PATH "&continue=to%2Fken%3D1");
	/* a page that fails is asked for again */
	lose(&f, -ECONNRESET, "reset");
	expect_heard(&f, "listing (reset); - ");
	after(&f, MIN, LIST_PATH "&continue=to%2Fken%3D1");
	reply(&f, 200, LISTED("10", "t2", OBJECT("b", "u2", "2")));
	expect_heard(&f, "+ put b u2 2; ");
	after(&f, 0, LIST_PATH "&continue=t2");
	reply(&f, 200, LISTED("10", "", OBJECT("c", "u3", "3")));
	expect_heard(&f, "put c u3 3; - synced; ");
	assert_int_equal(stats_of(&f).objects, 3);
	assert_int_equal(stats_of(&f).lists, 1);
	after(&f, 0, WATCH_PATH("10", "300"));
	end(&f);
}

/* What the expired list had shown counts only if the new one shows it, too. */
static void test_continue_expired(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	after(&f, 0, LIST_PATH);
	reply(&f, 200, LISTED("10", "t1", OBJECT("a", "u1", "1") "," OBJECT("b", "u2", "2")));
	expect_heard(&f, "+ put a u1 1; put b u2 2; ");
	after(&f, 0, LIST_PATH "&continue=t1");
	reply(&f, 410, STATUS("410", "Expired"));
	expect_heard(&f, "listing (HTTP 410: because); - ");
	after(&f, 0, LIST_PATH);
	reply(&f, 200, LISTED("20", "t2", OBJECT("b", "u2", "2")));
	expect_heard(&f, "+ put b u2 2; ");
	after(&f, 0, LIST_PATH "&continue=t2");
	/* and again: not at once this time */
	reply(&f, 410, STATUS("410", "Expired"));
	expect_heard(&f, "- ");
	after(&f, MIN, LIST_PATH);
	reply(&f, 200, LISTED("30", "", OBJECT("b", "u2", "2")));
	expect_heard(&f, "+ put b u2 2; gone a u1; - synced; ");
	after(&f, 0, WATCH_PATH("30", "300"));
	end(&f);
}

static void test_endless_list(void **state)
{
	struct fixture f;
	char body[128], path[256];

	(void)state;
	start(&f);
	after(&f, 0, LIST_PATH);
	reply(&f, 200, LISTED("10", "t", ""));
	after(&f, 0, LIST_PATH "&continue=t");
	reply(&f, 200, LISTED("10", "t", ""));
	expect_heard(&f, "listing (the list has no end); ");
	after(&f, MIN, LIST_PATH);
	for (unsigned int i = 1; i < IG_KUBE_PAGES_MAX; i++) {
		(void)snprintf(body, sizeof(body), LISTED("10", "t%u", ""), i);
		reply(&f, 200, body);
		(void)snprintf(path, sizeof(path), "%s&continue=t%u", LIST_PATH, i);
		after(&f, 0, path);
	}
	reply(&f, 200, LISTED("10", "last", ""));
	after(&f, MIN, LIST_PATH);
	expect_heard(&f, "");
	end(&f);
}

/* Nothing that claims to be a list without being one makes anything go away. */
static void test_not_a_list(void **state)
{
	static const char *const bodies[] = {"", "{}", "[]", "null", "<html>", "{\"items\":[]}",
		"{\"metadata\":{\"resourceVersion\":\"11\"}}",
		"{\"metadata\":{\"resourceVersion\":\"11\"},\"items\":[",
		"{\"metadata\":{\"resourceVersion\":\"11\"},\"items\":[]}x"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(bodies); i++) {
		struct fixture f;

		start_synced(&f);
		reply(&f, 410, "");
		expect_heard(&f, "stale (HTTP 410); ");
		after(&f, MIN, LIST_PATH);
		reply(&f, 200, bodies[i]);
		assert_int_equal(stats_of(&f).state, IG_KUBE_WATCH_STALE);
		assert_int_equal(stats_of(&f).objects, 2);
		assert_null(strstr(f.heard.data, "gone"));
		ig_buf_reset(&f.heard);
		f.heard.data[0] = '\0';
		after(&f, MIN, LIST_PATH);
		end(&f);
	}
}

static void test_relist_sweeps(void **state)
{
	struct fixture f;

	(void)state;
	start_synced(&f);
	now_usec += 60 * SEC;
	stream(&f, EVENT("ERROR", STATUS("410", "Expired")));
	expect_heard(&f, "stale (the watch is too far behind: because); ");
	after(&f, 0, LIST_PATH);
	/* b was deleted and a replaced while nobody looked; nothing goes before the list is whole
	 */
	reply(&f, 200, LISTED("30", "t", OBJECT("a", "u9", "25")));
	expect_heard(&f, "+ gone a u1; put a u9 25; ");
	after(&f, 0, LIST_PATH "&continue=t");
	reply(&f, 200, LISTED("30", "", OBJECT("c", "u3", "26")));
	expect_heard(&f, "put c u3 26; gone b u2; - synced; ");
	after(&f, 0, WATCH_PATH("30", "300"));
	end(&f);
}

/* The changes of an empty list are a batch, too; no change, no batch. */
static void test_empty_lists(void **state)
{
	struct fixture f;

	(void)state;
	start_synced(&f);
	now_usec += 60 * SEC;
	reply(&f, 410, "");
	after(&f, 0, LIST_PATH);
	reply(&f, 200, LISTED("30", "", ""));
	expect_heard(&f, "stale (HTTP 410); + gone a u1; gone b u2; - synced; ");
	after(&f, 0, WATCH_PATH("30", "300"));
	reply(&f, 410, "");
	after(&f, MIN, LIST_PATH);
	reply(&f, 200, "{\"metadata\":{\"resourceVersion\":\"31\"},\"items\":null}");
	expect_heard(&f, "stale (HTTP 410); synced; ");
	end(&f);
}

static FILE *begin_list(char **body, size_t *len)
{
	FILE *file = open_memstream(body, len);

	assert_non_null(file);
	(void)fprintf(file, "{\"metadata\":{\"resourceVersion\":\"10\"},\"items\":[");
	return file;
}

/* n0, n1 and so on; `separator`: before the first of them. */
static void list_named(FILE *file, const char *separator, const char *ns, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		(void)fprintf(file, "%s{\"metadata\":{\"namespace\":\"%s\",\"name\":\"n%u\"}}",
			i ? "," : separator, ns, i);
}

static void end_list(FILE *file)
{
	(void)fprintf(file, "]}");
	assert_int_equal(fclose(file), 0);
}

static void test_too_many(void **state)
{
	struct fixture f;
	FILE *file;
	_cleanup_free_ char *body = NULL;
	size_t len;

	(void)state;
	file = begin_list(&body, &len);
	list_named(file, "", "ns", IG_KUBE_OBJECTS_MAX + 1);
	end_list(file);
	start_with(&f, false, &(struct ig_kube_watch_ops){.gone = on_gone, .state = on_state});
	after(&f, 0, LIST_PATH);
	assert_int_equal(f.on_data(body, len, f.userdata), 0);
	reply(&f, 200, "");
	expect_heard(&f, "too-many (there are more than 65536 objects); ");
	assert_int_equal(stats_of(&f).objects, IG_KUBE_OBJECTS_MAX);
	assert_int_equal(stats_of(&f).left_out, 1);
	/* what is known is kept equal; the rest gets its chance with the next list */
	after(&f, 0, WATCH_PATH("10", "300"));
	stream(&f, EVENT("DELETED", OBJECT("n0", "", "11")));
	expect_heard(&f, "gone n0 ; ");
	now_usec += 300 * SEC;
	reply(&f, 200, "");
	after(&f, MIN, LIST_PATH);
	/* the same one item less */
	memmove(strchr(body, '[') + 1, strstr(body, ",{") + 1, strlen(strstr(body, ",{") + 1) + 1);
	reply(&f, 200, "");
	expect_heard(&f, "stale (the list is malformed or incomplete); ");
	after(&f, MIN, LIST_PATH);
	assert_int_equal(f.on_data(body, strlen(body), f.userdata), 0);
	reply(&f, 200, "");
	expect_heard(&f, "synced; ");
	assert_int_equal(stats_of(&f).objects, IG_KUBE_OBJECTS_MAX);
	assert_int_equal(stats_of(&f).left_out, 0);
	/* and a new one while watching */
	after(&f, 0, WATCH_PATH("10", "300"));
	stream(&f, EVENT("ADDED", OBJECT("more", "", "12")));
	expect_heard(&f, "too-many (there are more than 65536 objects); ");
	end(&f);
}

static unsigned int n_reserved_put;

static void on_reserved_put(const json_t *object, void *userdata)
{
	const json_t *metadata = json_object_get(object, "metadata");
	const char *ns = json_string_value(json_object_get(metadata, "namespace"));

	(void)userdata;
	n_reserved_put += strcmp(ns, "reserved") == 0;
}

/* One that comes first by name has more than there is room for: those that count are known all the
 * same, and later ones, too, as long as others have not used up what is theirs. */
static void test_reserved_room(void **state)
{
	struct fixture f;
	FILE *file;
	_cleanup_free_ char *body = NULL;
	size_t len;

	(void)state;
	file = begin_list(&body, &len);
	list_named(file, "", "a-tenant", IG_KUBE_OBJECTS_MAX + 1);
	list_named(file, ",", "reserved", IG_KUBE_OBJECTS_RESERVED - 1);
	end_list(file);
	n_reserved_put = 0;
	reserved_ns = "reserved";
	start_with(
		&f, false, &(struct ig_kube_watch_ops){.put = on_reserved_put, .state = on_state});
	reserved_ns = NULL;
	after(&f, 0, LIST_PATH);
	assert_int_equal(f.on_data(body, len, f.userdata), 0);
	reply(&f, 200, "");
	expect_heard(&f, "too-many (there are more than 61440 objects); ");
	assert_int_equal(n_reserved_put, IG_KUBE_OBJECTS_RESERVED - 1);
	assert_int_equal(stats_of(&f).left_out, IG_KUBE_OBJECTS_RESERVED + 1);
	after(&f, 0, WATCH_PATH("10", "300"));
	stream(&f,
		EVENT("ADDED",
			"{\"metadata\":{\"namespace\":\"a-tenant\",\"name\":\"x\",\"resourceVersion\":\"11\"}}"));
	stream(&f,
		EVENT("ADDED",
			"{\"metadata\":{\"namespace\":\"reserved\",\"name\":\"x\",\"resourceVersion\":\"12\"}}"));
	assert_int_equal(n_reserved_put, IG_KUBE_OBJECTS_RESERVED);
	assert_int_equal(stats_of(&f).objects, IG_KUBE_OBJECTS_MAX);
	end(&f);
}

/* ---- watches --------------------------------------------------------------------------------- */

static void test_unusable(void **state)
{
	struct fixture f;

	(void)state;
	start_synced(&f);
	stream(&f,
		EVENT("MODIFIED",
			"{\"metadata\":{\"namespace\":\"ns\",\"name\":\"a\",\"uid\":\"u1\",\"resourceVersion\":\"11\"},\"spec\":\"\\u0000\"}"));
	expect_heard(&f, "unusable a u1 a text of it has a NUL character; ");
	stream(&f,
		EVENT("ADDED",
			"{\"metadata\":{\"namespace\":\"ns\",\"name\":\"d\",\"uid\":\"u4\",\"resourceVersion\":\"12\"},\"spec\":1e999}"));
	expect_heard(&f, "unusable d u4 a number of it is out of range; ");
	assert_int_equal(stats_of(&f).unusable, 2);
	/* it is known all the same: it can become good, and go */
	stream(&f, EVENT("MODIFIED", OBJECT("d", "u4", "13"))
			   EVENT("DELETED", OBJECT("a", "u1", "14")));
	expect_heard(&f, "put d u4 13; gone a u1; ");
	end(&f);
}

static void test_replaced_while_watching(void **state)
{
	struct fixture f;

	(void)state;
	start_synced(&f);
	stream(&f, EVENT("ADDED", OBJECT("a", "u9", "11")));
	expect_heard(&f, "gone a u1; put a u9 11; ");
	/* the end of what was replaced is not the end of what is there: ask */
	stream(&f, EVENT("DELETED", OBJECT("a", "u1", "12")));
	expect_heard(&f, "stale (another object of that name was deleted); ");
	after(&f, MIN, LIST_PATH);
	end(&f);
}

static void test_watch_ends_make_no_hot_loop(void **state)
{
	struct fixture f;
	uint64_t limit = 2 * MIN;

	(void)state;
	start_synced(&f);
	random_high = true;
	for (unsigned int i = 0; i < 12; i++) {
		reply(&f, 200, "");
		expect_heard(&f, "");
		after(&f, limit, WATCH_PATH("10", "600"));
		limit = 2 * limit < MAX ? 2 * limit : MAX;
	}
	/* one that lives on makes good for it */
	now_usec += IG_KUBE_SHORT_WATCH_MSEC * MSEC;
	reply(&f, 200, "");
	after(&f, 0, WATCH_PATH("10", "600"));
	reply(&f, 200, "");
	after(&f, 2 * MIN, WATCH_PATH("10", "600"));
	/* and one with an event gets the shortest pause */
	reply(&f, 200, BOOKMARK("11"));
	after(&f, 2 * MIN, WATCH_PATH("11", "600"));
	reply(&f, 200, BOOKMARK("12"));
	after(&f, 2 * MIN, WATCH_PATH("12", "600"));
	end(&f);
}

static void test_relists_make_no_hot_loop(void **state)
{
	struct fixture f;
	uint64_t limit = 4 * MIN;

	(void)state;
	start_synced(&f);
	random_high = true;
	/* just listed, so even the first one waits */
	stream(&f, BOOKMARK("11") EVENT("NEWS", "{}"));
	expect_heard(&f, "stale (an event of an unknown type); ");
	after(&f, 2 * MIN, LIST_PATH);
	reply(&f, 200, TWO);
	expect_heard(&f, TWO_HEARD);
	for (unsigned int i = 0; i < 10; i++) {
		after(&f, 0, WATCH_PATH("10", "600"));
		reply(&f, 410, "");
		expect_heard(&f, "stale (HTTP 410); ");
		after(&f, limit, LIST_PATH);
		limit = 2 * limit < MAX ? 2 * limit : MAX;
		reply(&f, 200, TWO);
		expect_heard(&f, TWO_HEARD);
	}
	after(&f, 0, WATCH_PATH("10", "600"));
	end(&f);
}

/* Known objects stay, the pauses grow and begin anew after success. */
static void test_server_down(void **state)
{
	struct fixture f;
	uint64_t limit = 2 * MIN;

	(void)state;
	start_synced(&f);
	random_high = true;
	lose(&f, -ECONNRESET, "reset by peer");
	expect_heard(&f, "stale (reset by peer); ");
	for (unsigned int i = 0; i < 40; i++) {
		after(&f, limit, WATCH_PATH("10", "5"));
		limit = 2 * limit < MAX ? 2 * limit : MAX;
		lose(&f, -ECONNREFUSED, "refused");
	}
	expect_heard(&f, "stale (refused); ");
	assert_int_equal(stats_of(&f).objects, 2);
	assert_int_equal(stats_of(&f).errors, 41);
	after(&f, MAX, WATCH_PATH("10", "5"));
	assert_int_equal(f.timeout_usec, (5 + IG_KUBE_WATCH_GRACE_SEC) * SEC);
	/* it is back: what happened meanwhile follows */
	stream(&f, EVENT("DELETED", OBJECT("a", "u1", "15")));
	expect_heard(&f, "gone a u1; synced; ");
	lose(&f, -ETIMEDOUT, "timed out");
	expect_heard(&f, "stale (timed out); ");
	after(&f, 2 * MIN, WATCH_PATH("15", "5"));
	/* nothing to say, but an orderly end shows that it is there */
	now_usec += 5 * SEC;
	reply(&f, 200, "");
	expect_heard(&f, "synced; ");
	after(&f, 0, WATCH_PATH("15", "600"));
	end(&f);
}

/* What may come from the API server's cache is never older than what was seen, and after a failure
 * it is what is true. */
static void test_from_cache(void **state)
{
	struct fixture f;

	(void)state;
	from_cache = true;
	start(&f);
	from_cache = false;
	after(&f, 0, LIST_PATH "&resourceVersionMatch=NotOlderThan&resourceVersion=0");
	/* the pages of a list are of one version: the token says which */
	reply(&f, 200, LISTED("10", "next", OBJECT("a", "u1", "1")));
	after(&f, 0, LIST_PATH "&continue=next");
	reply(&f, 200, LISTED("10", "", OBJECT("b", "u2", "2")));
	expect_heard(&f, TWO_HEARD);
	after(&f, 0, WATCH_PATH("10", "300"));
	now_usec += 60 * SEC;
	reply(&f, 410, "");
	expect_heard(&f, "stale (HTTP 410); ");
	after(&f, 0, LIST_PATH "&resourceVersionMatch=NotOlderThan&resourceVersion=10");
	/* a cluster that was set back is younger for ever */
	reply(&f, 504, "");
	expect_heard(&f, "stale (HTTP 504); ");
	after(&f, MIN, LIST_PATH);
	reply(&f, 200, TWO);
	expect_heard(&f, TWO_HEARD);
	after(&f, 0, WATCH_PATH("10", "300"));
	end(&f);
}

/* No bookmarks come of a kind that nobody changes: silence alone is no failure. */
static void test_silence(void **state)
{
	struct fixture f;

	(void)state;
	start_synced(&f);
	random_high = true;
	now_usec += IG_KUBE_WATCH_IDLE_SEC * SEC;
	lose(&f, -ETIMEDOUT, "nothing came");
	expect_heard(&f, "");
	after(&f, 0, WATCH_PATH("10", "5"));
	now_usec += 5 * SEC;
	reply(&f, 200, "");
	expect_heard(&f, "");
	assert_int_equal(stats_of(&f).errors, 0);
	after(&f, 0, WATCH_PATH("10", "600"));
	/* and when the short one is not answered either, it is one */
	now_usec += IG_KUBE_WATCH_IDLE_SEC * SEC;
	lose(&f, -ETIMEDOUT, "nothing came");
	after(&f, 0, WATCH_PATH("10", "5"));
	now_usec += (5 + IG_KUBE_WATCH_GRACE_SEC) * SEC;
	lose(&f, -ETIMEDOUT, "nothing came");
	expect_heard(&f, "stale (nothing came); ");
	after(&f, 2 * MIN, WATCH_PATH("10", "5"));
	end(&f);
}

static void test_server_down_at_start(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	f.start_error = -EBUSY;
	after(&f, 0, NULL);
	expect_heard(&f, "listing (cannot start the request: Device or resource busy); ");
	f.start_error = 0;
	after(&f, MIN, LIST_PATH);
	lose(&f, -ECONNREFUSED, "refused");
	expect_heard(&f, "listing (refused); ");
	after(&f, MIN, LIST_PATH);
	reply(&f, 500, "<html>");
	expect_heard(&f, "listing (HTTP 500); ");
	after(&f, MIN, LIST_PATH);
	lose(&f, -EBADMSG, "ended by us");
	expect_heard(&f, "listing (the reply is malformed); ");
	assert_false(stats_of(&f).complete);
	after(&f, MIN, LIST_PATH);
	reply(&f, 200, TWO);
	expect_heard(&f, TWO_HEARD);
	end(&f);
}

static void test_watch_cut_inside_event(void **state)
{
	struct fixture f;

	(void)state;
	start_synced(&f);
	reply(&f, 200, EVENT("ADDED", OBJECT("c", "u3", "11")) "{\"type\":\"ADD");
	expect_heard(&f, "put c u3 11; stale (the watch ended inside an event); ");
	after(&f, MIN, WATCH_PATH("11", "5"));
	end(&f);
}

/* Versions that go back: the cluster was restored, or another server lags. The list says what is.
 */
static void test_went_back(void **state)
{
	struct fixture f;

	(void)state;
	start_synced(&f);
	stream(&f, EVENT("MODIFIED", OBJECT("a", "u1", "20")));
	expect_heard(&f, "put a u1 20; ");
	now_usec += 60 * SEC;
	stream(&f, EVENT("MODIFIED", OBJECT("a", "u1", "19")));
	expect_heard(&f, "stale (the watch went back from 20 to 19); ");
	after(&f, 0, LIST_PATH);
	reply(&f, 200, LISTED("9", "", OBJECT("a", "u1", "8")));
	expect_heard(&f, "+ put a u1 8; gone b u2; - synced; ");
	after(&f, 0, WATCH_PATH("9", "300"));
	stream(&f, BOOKMARK("8"));
	expect_heard(&f, "stale (the watch went back from 9 to 8); ");
	after(&f, MIN, LIST_PATH);
	/* not numbers: nothing to compare */
	reply(&f, 200, LISTED("v 9/", "", OBJECT("a", "u1", "8")));
	expect_heard(&f, "+ put a u1 8; - synced; ");
	after(&f, 0, WATCH_PATH("v%209%2F", "300"));
	stream(&f, BOOKMARK("1"));
	assert_string_equal(stats_of(&f).resource_version, "1");
	end(&f);
}

static void test_error_events(void **state)
{
	struct fixture f;

	(void)state;
	start_synced(&f);
	stream(&f,
		EVENT("ERROR",
			"{\"code\":429,\"reason\":\"TooManyRequests\",\"message\":\"slow\",\"details\":{\"retryAfterSeconds\":7}}"));
	expect_heard(&f, "stale (error 429 in the watch: TooManyRequests slow); ");
	after(&f, 7 * SEC, WATCH_PATH("10", "5"));
	stream(&f,
		EVENT("ADDED", OBJECT("c", "u3", "11")) EVENT("ERROR", STATUS("504", "Timeout")));
	expect_heard(&f, "put c u3 11; synced; stale (error 504 in the watch: Timeout because); ");
	/* goes on from the last event, which lets bygones be bygones */
	after(&f, MIN, WATCH_PATH("11", "5"));
	stream(&f, BOOKMARK("12") EVENT("ERROR", STATUS("500", "InternalError")));
	expect_heard(&f, "synced; stale (error 500 in the watch: InternalError because); ");
	/* refused too often, it begins anew */
	for (unsigned int i = 1; i < IG_KUBE_WATCH_REFUSED_MAX; i++) {
		after(&f, MIN, WATCH_PATH("12", "5"));
		stream(&f, EVENT("ERROR", STATUS("500", "InternalError")));
	}
	expect_heard(&f, "");
	after(&f, MIN, LIST_PATH);
	end(&f);
}

static void test_malformed_events(void **state)
{
	struct fixture f;

	(void)state;
	start_synced(&f);
	for (unsigned int i = 1; i <= IG_KUBE_WATCH_REFUSED_MAX; i++) {
		stream(&f, "{\"type\":\"ADDED\"}");
		after(&f, MIN, i < IG_KUBE_WATCH_REFUSED_MAX ? WATCH_PATH("10", "5") : LIST_PATH);
	}
	expect_heard(&f, "stale (the reply is malformed); ");
	end(&f);
}

static void test_watch_refused(void **state)
{
	static const unsigned int statuses[] = {301, 400, 406, 422, 500, 504};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(statuses); i++) {
		struct fixture f;
		char expected[64];

		start_synced(&f);
		for (unsigned int n = 1; n <= IG_KUBE_WATCH_REFUSED_MAX; n++) {
			reply(&f, statuses[i], "");
			after(&f, MIN,
				n < IG_KUBE_WATCH_REFUSED_MAX ? WATCH_PATH("10", "5") : LIST_PATH);
		}
		(void)snprintf(expected, sizeof(expected), "stale (HTTP %u); ", statuses[i]);
		expect_heard(&f, expected);
		reply(&f, 200, TWO);
		expect_heard(&f, TWO_HEARD);
		after(&f, 0, WATCH_PATH("10", "300"));
		reply(&f, statuses[i], "");
		expect_heard(&f, expected);
		after(&f, MIN, WATCH_PATH("10", "5"));
		end(&f);
	}
}

static void test_retry_after(void **state)
{
	static const struct {
		unsigned int status;
		int64_t asked;
		uint64_t low, high;
	} cases[] = {
		{429, 5, 5 * SEC, 6 * SEC - 1},
		{503, 60, 60 * SEC, 61 * SEC - 1},
		{503, 100000, IG_KUBE_RETRY_AFTER_SEC * SEC,
			(IG_KUBE_RETRY_AFTER_SEC + 1) * SEC - 1},
		{429, 0, MIN, 2 * MIN},
		{503, -1, MIN, 2 * MIN},
	};

	(void)state;
	for (size_t i = 0; i < 2 * IG_ARRAY_SIZE(cases); i++) {
		struct fixture f;
		bool high = i % 2;

		start(&f);
		random_high = high;
		after(&f, 0, LIST_PATH);
		reply_later(&f, cases[i / 2].status, "", cases[i / 2].asked);
		after(&f, high ? cases[i / 2].high : cases[i / 2].low, LIST_PATH);
		reply(&f, 200, LISTED("10", "", ""));
		after(&f, 0, high ? WATCH_PATH("10", "600") : WATCH_PATH("10", "300"));
		/* never listed anew for that */
		for (unsigned int n = 0; n < 2 * IG_KUBE_WATCH_REFUSED_MAX; n++) {
			reply_later(&f, cases[i / 2].status, "", 60);
			after(&f, high ? 61 * SEC - 1 : 60 * SEC, WATCH_PATH("10", "5"));
		}
		ig_buf_reset(&f.heard);
		f.heard.data[0] = '\0';
		end(&f);
	}
}

/* ---- kinds that are not there, or not for us ------------------------------------------------- */

static void test_absent_then_there_then_removed(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	after(&f, 0, LIST_PATH);
	reply(&f, 404, "404 page not found\n");
	expect_heard(&f, "absent (HTTP 404); ");
	assert_true(stats_of(&f).complete);
	after(&f, IG_KUBE_ABSENT_SEC * SEC * 4 / 5, LIST_PATH);
	random_high = true;
	reply(&f, 404, "404 page not found\n");
	expect_heard(&f, "");
	after(&f, IG_KUBE_ABSENT_SEC * SEC * 6 / 5, LIST_PATH);
	lose(&f, -ECONNREFUSED, "refused");
	expect_heard(&f, "stale (refused); ");
	after(&f, 2 * MIN, LIST_PATH);
	reply(&f, 404, "");
	expect_heard(&f, "absent (HTTP 404); ");
	after(&f, IG_KUBE_ABSENT_SEC * SEC * 6 / 5, LIST_PATH);
	lose(&f, -ECONNREFUSED, "refused");
	expect_heard(&f, "stale (refused); ");
	after(&f, 2 * MIN, LIST_PATH);
	random_high = false;
	reply(&f, 200, TWO);
	expect_heard(&f, TWO_HEARD);
	after(&f, 0, WATCH_PATH("10", "300"));
	/* removed: at first it could be an API server that is starting */
	reply(&f, 404, STATUS("404", "NotFound"));
	expect_heard(&f, "stale (HTTP 404: because); ");
	after(&f, MIN, LIST_PATH);
	now_usec += IG_KUBE_ABSENT_CONFIRM_SEC * SEC - MIN - 1;
	reply(&f, 404, STATUS("404", "NotFound"));
	expect_heard(&f, "");
	now_usec += 1 - MIN;
	after(&f, MIN, LIST_PATH);
	reply(&f, 404, STATUS("404", "NotFound"));
	expect_heard(&f, "+ gone a u1; gone b u2; - absent (HTTP 404: because); ");
	assert_int_equal(stats_of(&f).objects, 0);
	after(&f, IG_KUBE_ABSENT_SEC * SEC * 4 / 5, LIST_PATH);
	reply(&f, 200, LISTED("50", "", OBJECT("a", "u7", "49")));
	expect_heard(&f, "+ put a u7 49; - synced; ");
	after(&f, 0, WATCH_PATH("50", "300"));
	end(&f);
}

/* 404 from a server that starts, with other failures in between: nothing is gone. */
static void test_absent_for_a_moment(void **state)
{
	struct fixture f;

	(void)state;
	start_synced(&f);
	reply(&f, 404, "");
	after(&f, MIN, LIST_PATH);
	now_usec += 9 * SEC;
	lose(&f, -ECONNREFUSED, "refused");
	after(&f, MIN, LIST_PATH);
	now_usec += 9 * SEC;
	reply(&f, 404, "");
	after(&f, MIN, LIST_PATH);
	expect_heard(&f, "stale (HTTP 404); stale (refused); stale (HTTP 404); ");
	reply(&f, 200, TWO);
	expect_heard(&f, TWO_HEARD);
	end(&f);
}

static void test_forbidden(void **state)
{
	struct fixture f;

	(void)state;
	start(&f);
	after(&f, 0, LIST_PATH);
	reply(&f, 403, STATUS("403", "Forbidden"));
	expect_heard(&f, "forbidden (HTTP 403: because); ");
	assert_false(stats_of(&f).complete);
	random_high = true;
	after(&f, MIN, LIST_PATH);
	reply(&f, 403, STATUS("403", "Forbidden"));
	after(&f, 4 * MIN, LIST_PATH);
	random_high = false;
	reply(&f, 200, TWO);
	expect_heard(&f, TWO_HEARD);
	after(&f, 0, WATCH_PATH("10", "300"));
	/* taken away again: what was known stays, and it goes on where it was */
	reply(&f, 401, STATUS("401", "Unauthorized"));
	expect_heard(&f, "forbidden (HTTP 401: because); ");
	assert_int_equal(stats_of(&f).objects, 2);
	after(&f, MIN, WATCH_PATH("10", "5"));
	now_usec += 5 * SEC;
	reply(&f, 200, "");
	expect_heard(&f, "synced; ");
	after(&f, 0, WATCH_PATH("10", "300"));
	end(&f);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void test_free_in_every_state(void **state)
{
	struct fixture f;

	(void)state;
	assert_null(ig_kube_watch_free(NULL));
	start(&f); /* before the first call */
	end(&f);
	start(&f); /* in the list */
	after(&f, 0, LIST_PATH);
	end(&f);
	assert_int_equal(f.n_cancelled, 1);
	start(&f); /* inside a page: the batch just ends */
	after(&f, 0, LIST_PATH);
	stream(&f, "{\"items\":[" OBJECT("a", "u1", "1"));
	expect_heard(&f, "+ put a u1 1; ");
	end(&f);
	start(&f); /* between two pages */
	after(&f, 0, LIST_PATH);
	reply(&f, 200, LISTED("10", "t1", OBJECT("a", "u1", "1")));
	expect_heard(&f, "+ put a u1 1; ");
	end(&f);
	assert_int_equal(f.n_cancelled, 0);
	start(&f); /* before the watch */
	after(&f, 0, LIST_PATH);
	reply(&f, 200, TWO);
	expect_heard(&f, TWO_HEARD);
	end(&f);
	start_synced(&f); /* inside an event */
	stream(&f, "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"");
	end(&f);
	assert_int_equal(f.n_cancelled, 1);
	start_synced(&f); /* while it waits */
	lose(&f, -ECONNRESET, "reset");
	expect_heard(&f, "stale (reset); ");
	end(&f);
	start(&f); /* absent */
	after(&f, 0, LIST_PATH);
	reply(&f, 404, "");
	expect_heard(&f, "absent (HTTP 404); ");
	end(&f);
}

static void test_without_ops(void **state)
{
	struct fixture f;

	(void)state;
	start_with(&f, false, &(struct ig_kube_watch_ops){});
	after(&f, 0, LIST_PATH);
	reply(&f, 200, TWO);
	after(&f, 0, WATCH_PATH("10", "300"));
	stream(&f,
		EVENT("DELETED", OBJECT("a", "u1", "11")) EVENT("ADDED",
			"{\"metadata\":{\"name\":\"x\",\"resourceVersion\":\"12\"},\"spec\":1e999}"));
	reply(&f, 404, "");
	assert_int_equal(stats_of(&f).objects, 2);
	end(&f);
}

static void test_options(void **state)
{
	struct ig_kube_watch *watch = NULL;
	struct ig_kube_watch_options options = {.path = "api/v1/pods", .fields = fields};
	struct fixture f;
	_cleanup_free_ char *query = malloc(IG_KUBE_PATH_BYTES);

	(void)state;
	start(&f);
	assert_int_equal(ig_kube_watch_new(f.base, NULL, &options, &ops, &f, &watch), -EINVAL);
	assert_null(watch);
	end(&f);
	/* a path that is too long is an error of each call, not a cut one */
	start(&f);
	f.watch = ig_kube_watch_free(f.watch);
	assert_non_null(query);
	memset(query, 'q', IG_KUBE_PATH_BYTES - 1);
	query[IG_KUBE_PATH_BYTES - 1] = '\0';
	options.path = "/api/v1/pods";
	options.query = query;
	options.random = fake_random;
	assert_int_equal(ig_kube_watch_new(f.base, NULL, &options, &ops, &f, &f.watch), 0);
	query[0] = 'Q'; /* copied */
	after(&f, 0, NULL);
	assert_false(f.calling);
	expect_heard(&f, "listing (cannot start the request: Argument list too long); ");
	assert_int_equal(f.delay_usec, MIN);
	end(&f);
	for (int i = -1; i <= _IG_KUBE_WATCH_STATE_MAX; i++)
		assert_true(ig_kube_watch_state_name((enum ig_kube_watch_state)i)[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list_and_watch),
		cmocka_unit_test(test_metadata_only),
		cmocka_unit_test(test_pages),
		cmocka_unit_test(test_continue_expired),
		cmocka_unit_test(test_endless_list),
		cmocka_unit_test(test_not_a_list),
		cmocka_unit_test(test_relist_sweeps),
		cmocka_unit_test(test_empty_lists),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_reserved_room),
		cmocka_unit_test(test_unusable),
		cmocka_unit_test(test_replaced_while_watching),
		cmocka_unit_test(test_watch_ends_make_no_hot_loop),
		cmocka_unit_test(test_relists_make_no_hot_loop),
		cmocka_unit_test(test_server_down),
		cmocka_unit_test(test_from_cache),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_server_down_at_start),
		cmocka_unit_test(test_watch_cut_inside_event),
		cmocka_unit_test(test_went_back),
		cmocka_unit_test(test_error_events),
		cmocka_unit_test(test_malformed_events),
		cmocka_unit_test(test_watch_refused),
		cmocka_unit_test(test_retry_after),
		cmocka_unit_test(test_absent_then_there_then_removed),
		cmocka_unit_test(test_absent_for_a_moment),
		cmocka_unit_test(test_forbidden),
		cmocka_unit_test(test_free_in_every_state),
		cmocka_unit_test(test_without_ops),
		cmocka_unit_test(test_options),
	};

	return cmocka_run_group_tests_name("kube_watch", tests, NULL, NULL);
}
