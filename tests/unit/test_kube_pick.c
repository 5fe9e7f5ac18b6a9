/*
 * Reduction of the API server's JSON: streams in its real shape come out the same however they are
 * cut, what a tenant can put into an object spoils that object at most, and what no API server
 * sends is refused. Expected results stand beside the streams in data/kube/.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fdutil.h"
#include "kube/pick.h"
#include "kube/scan.h"

#define MIB (1024 * 1024)
#define ITEM_HEAD                                                                                  \
	"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{\"metadata\":{\"name\":\"a\"}"
#define LIST_TAIL ",{\"metadata\":{\"name\":\"b\"}}]}"
#define ADDED(rest)                                                                                    \
	"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"1\"}" rest \
	"}}"

static const struct ig_kube_pick fields[] = {
	IG_KUBE_BELOW("metadata", IG_KUBE_ALL("labels"),
		IG_KUBE_BELOW("annotations", IG_KUBE_ALL("imdsgate.dev/*"),
			IG_KUBE_ALL("kubernetes.io/config.mirror"))),
	IG_KUBE_BELOW("spec", IG_KUBE_BELOW("containers", IG_KUBE_BELOW("[]", IG_KUBE_ALL("name"))),
		IG_KUBE_ALL("hostNetwork"), IG_KUBE_ALL("azureIdentity"), IG_KUBE_ALL("selector"),
		IG_KUBE_ALL("extra"), IG_KUBE_BELOW("any", IG_KUBE_ALL("*"))),
	IG_KUBE_BELOW("status", IG_KUBE_ALL("phase"), IG_KUBE_ALL("podIP"),
		IG_KUBE_BELOW("containerStatuses",
			IG_KUBE_BELOW("[]", IG_KUBE_ALL("name"), IG_KUBE_ALL("containerID")))),
	{},
};

static const char *const event_names[] = {
	"ITEM", "ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "UNKNOWN"};

/* What came out, one line for each item. */
struct transcript {
	struct ig_buf text;
	unsigned int n;
	int refuse; /* what the callback answers the first item with */
};

static int take(const struct ig_kube_item *item, void *userdata)
{
	struct transcript *transcript = userdata;
	struct ig_buf *text = &transcript->text;
	char *json = item->object ? json_dumps(item->object, JSON_COMPACT | JSON_SORT_KEYS) : NULL;

	ig_buf_printf(text, "%s %s/%s %s %s ", event_names[item->event], item->ns, item->name,
		item->uid, item->resource_version);
	if (item->event == IG_KUBE_EVENT_ERROR)
		ig_buf_printf(text, "%u %s %lld %s", item->code, item->reason,
			(long long)item->retry_after_sec, item->message);
	ig_buf_puts(text, json ? json : item->unusable ? item->unusable : "");
	ig_buf_putc(text, '\n');
	assert_true(!json || !item->unusable);
	free(json);
	transcript->n++;
	return transcript->refuse;
}

static void transcript_done(struct transcript *transcript)
{
	ig_buf_done(&transcript->text);
}

static struct ig_kube_reader *reader_of(enum ig_kube_body body, struct transcript *transcript)
{
	struct ig_kube_reader *reader = NULL;

	memset(transcript, 0, sizeof(*transcript));
	ig_buf_init(&transcript->text, 16 * MIB);
	assert_int_equal(ig_kube_reader_new(body, fields, take, transcript, &reader), 0);
	return reader;
}

static void finish(
	struct ig_kube_reader *reader, enum ig_kube_body body, struct transcript *transcript)
{
	ig_buf_printf(&transcript->text, "= %d", ig_kube_reader_finish(reader));
	if (body == IG_KUBE_BODY_LIST)
		ig_buf_printf(&transcript->text, " %s %s", ig_kube_reader_resource_version(reader),
			ig_kube_reader_continue(reader));
	ig_buf_putc(&transcript->text, '\n');
	assert_int_equal(ig_buf_finish(&transcript->text), 0);
	(void)ig_kube_reader_free(reader);
}

/* Pieces come from memory of their own, so that reading behind one is seen. */
static int feed(struct ig_kube_reader *reader, const char *data, size_t len)
{
	_cleanup_free_ char *copy = malloc(len + !len);

	assert_non_null(copy);
	memcpy(copy, data, len);
	return ig_kube_reader_feed(reader, copy, len);
}

/* step 0: at once, else in pieces of that many bytes. */
static void run(
	enum ig_kube_body body, const char *data, size_t len, size_t step, struct transcript *ret)
{
	struct ig_kube_reader *reader = reader_of(body, ret);

	for (size_t i = 0; i < len; i += step ? step : len)
		(void)feed(reader, data + i, !step || step > len - i ? len - i : step);
	finish(reader, body, ret);
}

static void run_cut(
	enum ig_kube_body body, const char *data, size_t len, size_t at, struct transcript *ret)
{
	struct ig_kube_reader *reader = reader_of(body, ret);

	(void)feed(reader, data, at);
	(void)feed(reader, data + at, len - at);
	finish(reader, body, ret);
}

/* Whole, byte by byte and cut at every byte: always what is expected. */
static void expect_body(enum ig_kube_body body, const char *data, const char *expected)
{
	size_t len = strlen(data);
	struct transcript transcript;

	for (size_t step = 0; step < 4; step++) {
		run(body, data, len, step, &transcript);
		assert_string_equal(transcript.text.data, expected);
		transcript_done(&transcript);
	}
	for (size_t at = 1; at < len; at++) {
		run_cut(body, data, len, at, &transcript);
		if (strcmp(transcript.text.data, expected) != 0)
			fail_msg("cut at %zu: %s", at, transcript.text.data);
		transcript_done(&transcript);
	}
}

static char *load(const char *name)
{
	char path[256];
	char *data = NULL;
	size_t len;

	(void)snprintf(path, sizeof(path), "%.*sdata/kube/%s",
		(int)(strrchr(__FILE__, '/') + 1 - __FILE__), __FILE__, name);
	if (ig_fd_read_file(AT_FDCWD, path, MIB, &data, &len) < 0)
		fail_msg("cannot read %s (run from the root of the source)", path);
	return data;
}

static void test_recorded(void **state)
{
	static const struct {
		enum ig_kube_body body;
		const char *name;
	} cases[] = {
		{IG_KUBE_BODY_LIST, "pods"},
		{IG_KUBE_BODY_LIST, "pods-pretty"},
		{IG_KUBE_BODY_LIST, "bindings"},
		{IG_KUBE_BODY_LIST, "empty"},
		{IG_KUBE_BODY_WATCH, "watch"},
		{IG_KUBE_BODY_WATCH, "watch-errors"},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		char name[64];
		_cleanup_free_ char *data = NULL, *expected = NULL;

		(void)snprintf(name, sizeof(name), "%s.json", cases[i].name);
		data = load(name);
		(void)snprintf(name, sizeof(name), "%s.expected", cases[i].name);
		expected = load(name);
		expect_body(cases[i].body, data, expected);
	}
}

/* ---- what one object may do ------------------------------------------------------------------ */

static void expect_list(const char *rest, const char *line)
{
	_cleanup_free_ char *data = NULL, *expected = NULL;

	assert_true(asprintf(&data, ITEM_HEAD "%s}" LIST_TAIL, rest) > 0);
	assert_true(asprintf(&expected,
			    "ITEM /a   %s\nITEM /b   {\"metadata\":{\"name\":\"b\"}}\n= 0 9 \n",
			    line) > 0);
	expect_body(IG_KUBE_BODY_LIST, data, expected);
}

static void test_hostile_objects(void **state)
{
#define META "\"metadata\":{\"name\":\"a\"}"
	static const struct {
		const char *rest, *line;
	} cases[] = {
		/* in what is kept */
		{",\"spec\":{\"selector\":\"\\u0000\"}", "a text of it has a NUL character"},
		{",\"spec\":{\"any\":{\"\\u0000\":1}}",
			"a key of it is too long or is no plain text"},
		{",\"spec\":{\"any\":{\"\\udead\":1}}",
			"a key of it is too long or is no plain text"},
		{",\"spec\":{\"selector\":\"\\ud83d\"}", "a text of it is no Unicode"},
		{",\"spec\":{\"selector\":\"\\udeaa\\ud83d\"}", "a text of it is no Unicode"},
		{",\"spec\":{\"selector\":100000000000000000000}",
			"a number of it is out of range"},
		{",\"spec\":{\"selector\":1e999}", "a number of it is out of range"},
		{",\"spec\":{\"selector\":1,\"selector\":2}", "a key of it stands twice"},
		{",\"spec\":{\"any\":{\"x\":1,\"\\u0078\":2}}", "a key of it stands twice"},
		/* in what is not */
		{",\"x\":{\"\\u0000\":\"\\u0000\",\"\\ud83d\":\"\\udeaa\"},\"y\":1e999,\"y\":2",
			"{" META "}"},
		{",\"spec\":{\"\\ud83d\":[]}", "{" META ",\"spec\":{}}"},
		/* keys are texts, however they are written */
		{",\"sp\\u0065c\":{\"\\u0073elector\":\"\\ud83d\\udeaa\\/\"}",
			"{" META ",\"spec\":{\"selector\":\"🚪/\"}}"},
		{",\"spec\":{\"any\":{\"\\\"\\\\\\n\":\"\\\"\\\\\\n\\u000a\"}}",
			"{" META ",\"spec\":{\"any\":{\"\\\"\\\\\\n\":\"\\\"\\\\\\n\\n\"}}}"},
		/* not the type that the table means: seen as it is */
		{",\"spec\":7,\"status\":null", "{" META ",\"spec\":7,\"status\":null}"},
		{",\"spec\":{\"containers\":{\"name\":1}}",
			"{" META ",\"spec\":{\"containers\":{}}}"},
		{",\"spec\":{\"containers\":[1,[2],{\"name\":\"c\",\"x\":1}]}",
			"{" META ",\"spec\":{\"containers\":[1,[],{\"name\":\"c\"}]}}"},
		{",\"spec\":[{\"selector\":1}]", "{" META ",\"spec\":[]}"},
		{",\"spec\":{\"any\":{\"[]\":1}}", "{" META ",\"spec\":{\"any\":{\"[]\":1}}}"},
		/* what looks like a Status is none of a list's business */
		{",\"code\":{\"code\":1},\"reason\":[],\"message\":{},\"details\":[{}]",
			"{" META "}"},
		{",\"code\":410,\"reason\":\"\\u0000\",\"details\":{\"retryAfterSeconds\":[1]}",
			"{" META "}"},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++)
		expect_list(cases[i].rest, cases[i].line);
}

/* head + n times middle + tail */
static char *repeated(const char *head, const char *middle, size_t n, const char *tail)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	(void)fputs(head, f);
	while (n--)
		(void)fputs(middle, f);
	(void)fputs(tail, f);
	assert_int_equal(fclose(f), 0);
	return text;
}

/* The rest of object a is head + n times middle + tail; expects what comes out of it. */
static void expect_large(
	const char *head, const char *middle, size_t n, const char *tail, const char *line)
{
	_cleanup_free_ char *rest = repeated(head, middle, n, tail);
	_cleanup_free_ char *data = NULL;
	static const size_t steps[] = {0, 4093};

	assert_true(asprintf(&data, ITEM_HEAD "%s}" LIST_TAIL, rest) > 0);
	for (size_t i = 0; i < IG_ARRAY_SIZE(steps); i++) {
		struct transcript transcript;

		run(IG_KUBE_BODY_LIST, data, strlen(data), steps[i], &transcript);
		assert_memory_equal(transcript.text.data, "ITEM /a   ", 10);
		if (strncmp(transcript.text.data + 10, line, strlen(line)) != 0)
			fail_msg("%.200s", transcript.text.data);
		assert_non_null(strstr(transcript.text.data,
			"\nITEM /b   {\"metadata\":{\"name\":\"b\"}}\n= 0 9 \n"));
		transcript_done(&transcript);
	}
}

static void test_large_objects(void **state)
{
#define ALL "{" META "}\n"
	(void)state;
	/* 3 MB of what nobody wants */
	expect_large(",\"x\":\"", "abc\\n", 3 * MIB / 5, "\"", ALL);
	expect_large(",\"x\":[", "[],", 1 * MIB, "{}]", ALL);
	expect_large(",\"x\":1", "0", 3 * MIB, "", ALL);
	expect_large(",\"", "k", 3 * MIB, "\":1", ALL);
	expect_large(",\"spec\":{\"", "selector", 100, "\":1}", "{" META ",\"spec\":{}}\n");
	/* and of what is wanted */
	expect_large(
		",\"spec\":{\"selector\":\"", "abc\\n", 3 * MIB / 5, "\"}", "it is too large\n");
	expect_large(",\"spec\":{\"extra\":[", "[],", 1 * MIB, "{}]}", "it is too large\n");
	/* as much as there is room for, and one more */
	expect_large(",\"spec\":{\"selector\":\"", "x",
		IG_KUBE_OBJECT_BYTES - strlen("{\"metadata\":{},\"spec\":{\"selector\":\"\"}}"),
		"\"}", "{\"metadata\"");
	expect_large(",\"spec\":{\"selector\":\"", "x",
		IG_KUBE_OBJECT_BYTES - strlen("{\"metadata\":{},\"spec\":{\"selector\":\"\"}}") + 1,
		"\"}", "it is too large\n");
	/* keys */
	expect_large(
		",\"spec\":{\"any\":{\"", "k", IG_KUBE_KEY_BYTES, "\":1}}", "{" META ",\"spec\"");
	expect_large(",\"spec\":{\"any\":{\"", "k", IG_KUBE_KEY_BYTES + 1, "\":1}}",
		"a key of it is too long");
}

static void expect_depth(const char *key, size_t depth, const char *line)
{
	_cleanup_free_ char *closing = repeated("1", "]", depth, "}");
	char head[64];

	(void)snprintf(head, sizeof(head), ",\"spec\":{\"%s\":", key);
	expect_large(head, "[", depth, closing, line);
}

static void test_deep_objects(void **state)
{
	_cleanup_free_ char *data = NULL;
	struct transcript transcript;

	(void)state;
	/* the object and its spec are two */
	expect_depth("extra", IG_KUBE_OBJECT_DEPTH_MAX - 2, "{" META ",\"spec\":{\"extra\":[[");
	expect_depth("extra", IG_KUBE_OBJECT_DEPTH_MAX - 1, "it is nested too deeply\n");
	expect_depth("extra", 9000, "it is nested too deeply\n");
	/* list, items, object and its spec are four */
	expect_depth("x", IG_KUBE_JSON_DEPTH_MAX - 4, "{" META ",\"spec\":{}}\n");
	data = repeated(ITEM_HEAD ",\"spec\":{\"x\":", "[", IG_KUBE_JSON_DEPTH_MAX - 3, "");
	run(IG_KUBE_BODY_LIST, data, strlen(data), 0, &transcript);
	assert_string_equal(transcript.text.data, "= -74 9 \n");
	transcript_done(&transcript);
}

/* An object that overflows is named all the same, wherever its name stands. */
static void test_reserve(void **state)
{
	_cleanup_free_ char *data = repeated(
		"{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"labels\":{\"x\":\"", "y",
		IG_KUBE_OBJECT_BYTES,
		"\"},\"name\":\"n\",\"namespace\":\"ns\",\"resourceVersion\":\"7\",\"uid\":\"u\"}}}\n" ADDED(
			""));
	struct transcript transcript;

	(void)state;
	run(IG_KUBE_BODY_WATCH, data, strlen(data), 1, &transcript);
	assert_string_equal(transcript.text.data,
		"MODIFIED ns/n u 7 it is too large\n"
		"ADDED /a  1 {\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"1\"}}\n= 0\n");
	transcript_done(&transcript);
}

/* ---- malformed ------------------------------------------------------------------------------- */

static void expect_malformed(enum ig_kube_body body, const char *data)
{
	char expected[] = "= -74";
	size_t len = strlen(data);

	for (size_t at = 0; at < len; at++) {
		struct transcript transcript;
		const char *last;

		run_cut(body, data, len, at, &transcript);
		last = strstr(transcript.text.data, "= ");
		if (!last || strncmp(last, expected, strlen(expected)) != 0)
			fail_msg("'%s' cut at %zu: %s", data, at, transcript.text.data);
		transcript_done(&transcript);
	}
}

static void test_malformed_json(void **state)
{
	/* stands as a value nobody wants, and as one that is kept */
	static const char *const values[] = {"", "01", "-", "-a", "+1", ".5", "1.", "1.e1", "1e",
		"1e+", "1e1.5", "--1", "0x1", "1 2", "NaN", "Infinity", "tru", "truee", "True",
		"nul", "nulll", "'a'", "\"", "\"\n\"", "\"\t\"", "\"\x01\"", "\"\x1f\"", "\"\\x\"",
		"\"\\u12g4\"", "\"\\u12\"", "\"\\", "\"\\U0000\"", "\"\x80\"", "\"\xc0\x80\"",
		"\"\xc1\xbf\"", "\"\xc3\"", "\"\xc3(\"", "\"\xe0\x9f\xbf\"", "\"\xed\xa0\x80\"",
		"\"\xe2\x82\"", "\"\xf0\x8f\xbf\xbf\"", "\"\xf4\x90\x80\x80\"",
		"\"\xf5\x80\x80\x80\"", "\"\xff\"", "[", "[1", "[1,", "[1,]", "[,1]", "[1 2]",
		"[1}", "]", "{", "{1:2}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{\"a\" 1}",
		"{\"a\":1 \"b\":2}", "{\"a\":1]", "{a:1}", "/**/1", "1//", "\x0b",
		"\x0c"
		"1",
		"\xef\xbb\xbf"
		"1",
		"\xc2\xa0"
		"1"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(values); i++) {
		_cleanup_free_ char *dropped = NULL, *kept = NULL;

		assert_true(asprintf(&dropped, ADDED(",\"x\":%s"), values[i]) > 0);
		expect_malformed(IG_KUBE_BODY_WATCH, dropped);
		assert_true(asprintf(&kept, ADDED(",\"spec\":{\"extra\":%s}"), values[i]) > 0);
		expect_malformed(IG_KUBE_BODY_WATCH, kept);
	}
}

static void test_malformed_bodies(void **state)
{
#define NAMED "{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"1\"}}"
	static const char *const lists[] = {
		/* whole values, but no list of an API server */
		"{}",
		"[]",
		"1 ",
		"null ",
		"\"x\"",
		"{\"metadata\":{\"resourceVersion\":\"9\"}}",
		"{\"items\":[]}",
		"{\"metadata\":{},\"items\":[]}",
		"{\"metadata\":{\"resourceVersion\":\"\"},\"items\":[]}",
		"{\"metadata\":{\"resourceVersion\":9},\"items\":[]}",
		"{\"metadata\":null,\"items\":[]}",
		"{\"metadata\":{\"resourceVersion\":null},\"items\":[]}",
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":{}}",
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":true}",
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":\"\"}",
		"{\"metadata\":{\"resourceVersion\":\"9\",\"continue\":{}},\"items\":[]}",
		"{\"metadata\":{\"resourceVersion\":\"9\",\"continue\":1},\"items\":[]}",
		"{\"metadata\":{\"resourceVersion\":\"9\",\"continue\":true},\"items\":[]}",
		"{\"metadata\":{\"resourceVersion\":\"9\",\"continue\":\"\\u0000\"},\"items\":[]}",
		/* items without what names them */
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[1]}",
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[null]}",
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{}]}",
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{\"metadata\":{\"name\":\"\"}}]}",
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{\"metadata\":{\"name\":1}}]}",
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{\"metadata\":{\"name\":\"a\",\"uid\":[]}}]}",
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{\"metadata\":{\"name\":\"a\\u0000\"}}]}",
		/* twice */
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[],\"items\":[]}",
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[],\"metadata\":{}}",
		"{\"metadata\":{\"resourceVersion\":\"9\",\"resourceVersion\":\"9\"},\"items\":[]}",
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{\"metadata\":{\"name\":\"a\",\"n\\u0061me\":\"b\"}}]}",
		/* more than one value */
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[]}{",
		"{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[]}x",
	};
	static const char *const events[] = {"1 ", "[]", "{}", "{\"type\":\"ADDED\"}",
		"{\"object\":" NAMED "}", "{\"type\":\"ADDED\",\"object\":null}",
		"{\"type\":\"ADDED\",\"object\":[]}", "{\"type\":\"ADDED\",\"object\":{}}",
		"{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"a\"}}}",
		"{\"type\":\"DELETED\",\"object\":{\"metadata\":{\"resourceVersion\":\"1\"}}}",
		"{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{}}}",
		"{\"type\":\"ADDED\",\"type\":\"ADDED\",\"object\":" NAMED "}",
		"{\"type\":\"ADDED\",\"object\":" NAMED ",\"object\":" NAMED "}",
		"{\"type\":\"ADDED\",\"object\":" NAMED "},",
		"{\"type\":\"ADDED\",\"object\":" NAMED "}\x1e"};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(lists); i++)
		expect_malformed(IG_KUBE_BODY_LIST, lists[i]);
	for (size_t i = 0; i < IG_ARRAY_SIZE(events); i++)
		expect_malformed(IG_KUBE_BODY_WATCH, events[i]);
}

/* A body that ends early is never taken for a whole one. */
static void test_truncated(void **state)
{
	_cleanup_free_ char *list = load("pods.json"), *watch = load("watch-errors.json");
	size_t list_len = strlen(list) - 1, watch_len = strlen(watch);

	(void)state;
	for (size_t len = 0; len < list_len; len++) {
		struct transcript transcript;

		run(IG_KUBE_BODY_LIST, list, len, 0, &transcript);
		assert_non_null(strstr(transcript.text.data, "= -74"));
		transcript_done(&transcript);
	}
	for (size_t len = 0; len < watch_len; len++) {
		struct transcript transcript;
		/* between two events: at the line feeds and before them */
		bool between = len == 0 || watch[len - 1] == '\n' || watch[len] == '\n';

		run(IG_KUBE_BODY_WATCH, watch, len, 0, &transcript);
		assert_non_null(strstr(transcript.text.data, between ? "= 0" : "= -74"));
		transcript_done(&transcript);
	}
}

/* ---- limits of what is caught ---------------------------------------------------------------- */

static void expect_text_limit(const char *head, size_t limit, const char *tail)
{
	for (size_t extra = 0; extra < 2; extra++) {
		_cleanup_free_ char *data = repeated(head, "x", limit + extra, tail);
		struct transcript transcript;

		run(IG_KUBE_BODY_LIST, data, strlen(data), 7, &transcript);
		assert_non_null(strstr(transcript.text.data, extra ? "= -74" : "= 0"));
		transcript_done(&transcript);
	}
}

static void test_caught_limits(void **state)
{
#define OF_ITEM "{\"metadata\":{\"resourceVersion\":\"9\"},\"items\":[{\"metadata\":{"
	(void)state;
	expect_text_limit(OF_ITEM "\"name\":\"", IG_KUBE_NAME_BYTES, "\"}}]}");
	expect_text_limit(OF_ITEM "\"name\":\"a\",\"namespace\":\"", IG_KUBE_NAME_BYTES, "\"}}]}");
	expect_text_limit(OF_ITEM "\"name\":\"a\",\"uid\":\"", IG_KUBE_UID_BYTES, "\"}}]}");
	expect_text_limit(
		OF_ITEM "\"name\":\"a\",\"resourceVersion\":\"", IG_KUBE_VERSION_BYTES, "\"}}]}");
	expect_text_limit("{\"items\":[],\"metadata\":{\"resourceVersion\":\"",
		IG_KUBE_VERSION_BYTES, "\"}}");
	expect_text_limit("{\"items\":[],\"metadata\":{\"resourceVersion\":\"1\",\"continue\":\"",
		IG_KUBE_CONTINUE_BYTES, "\"}}");
}

/* Texts of a Status are for people: cut, and left out when there is no end of them. */
static void test_status_texts(void **state)
{
	static const size_t lengths[] = {
		1, IG_KUBE_MESSAGE_BYTES / 2, IG_KUBE_MESSAGE_BYTES / 2 + 1, 3000, 1 * MIB};
	static const size_t kept[] = {1, IG_KUBE_MESSAGE_BYTES / 2, IG_KUBE_MESSAGE_BYTES / 2,
		IG_KUBE_MESSAGE_BYTES / 2, 0};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(lengths); i++) {
		_cleanup_free_ char *data =
			repeated("{\"type\":\"ERROR\",\"object\":{\"code\":500,\"message\":\"", "é",
				lengths[i], "\"}}");
		_cleanup_free_ char *expected =
			repeated("ERROR /   500  -1 ", "é", kept[i], "\n= 0\n");
		struct transcript transcript;

		run(IG_KUBE_BODY_WATCH, data, strlen(data), 0, &transcript);
		assert_string_equal(transcript.text.data, expected);
		transcript_done(&transcript);
	}
}

/* Nothing of one event stands in the next. */
static void test_events_are_apart(void **state)
{
	(void)state;
	expect_body(IG_KUBE_BODY_WATCH,
		"{\"type\":\"MODIFIED\",\"object\":{\"metadata\":{\"name\":\"a\",\"namespace\":\"n\",\"uid\":\"u\",\"resourceVersion\":\"1\"},"
		"\"code\":1,\"reason\":\"r\",\"message\":\"m\",\"details\":{\"retryAfterSeconds\":1}}}"
		"{\"type\":\"ERROR\",\"object\":{}}" ADDED(",\"spec\":{\"any\":{}}"),
		"MODIFIED n/a u 1 {\"metadata\":{\"name\":\"a\",\"namespace\":\"n\",\"resourceVersion\":\"1\",\"uid\":\"u\"}}\n"
		"ERROR /   0  -1 \n"
		"ADDED /a  1 {\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"1\"},\"spec\":{\"any\":{}}}\n= 0\n");
	expect_body(IG_KUBE_BODY_WATCH,
		"{\"type\":7,\"object\":{}}{\"type\":\"ADDED-AND-MUCH-LONGER-THAN-ANY-TYPE\",\"object\":{}}",
		"UNKNOWN /   \nUNKNOWN /   \n= 0\n");
}

static void test_callback_ends_it(void **state)
{
	struct transcript transcript;
	struct ig_kube_reader *reader = reader_of(IG_KUBE_BODY_WATCH, &transcript);

	(void)state;
	transcript.refuse = -ECANCELED;
	assert_int_equal(
		feed(reader, ADDED("") ADDED(""), strlen(ADDED("") ADDED(""))), -ECANCELED);
	assert_int_equal(transcript.n, 1);
	assert_int_equal(feed(reader, ADDED(""), strlen(ADDED(""))), -ECANCELED);
	assert_int_equal(transcript.n, 1);
	assert_int_equal(ig_kube_reader_finish(reader), -ECANCELED);
	(void)ig_kube_reader_free(reader);
	assert_null(ig_kube_reader_free(NULL));
	transcript_done(&transcript);
}

/* A fixed walk through broken variants: no crash, and the same result however they are cut. */
static void test_mutations(void **state)
{
	static const char spoil[] = "{}[]\",:\\u0e-.\n\x01\xc3\xa9x";
	char *const intact[] = {load("bindings.json"), load("watch.json")};
	uint32_t seed = 1;

	(void)state;
	for (unsigned int round = 0; round < 2000; round++) {
		enum ig_kube_body body = round % 2 ? IG_KUBE_BODY_WATCH : IG_KUBE_BODY_LIST;
		_cleanup_free_ char *data = strdup(intact[round % 2]);
		size_t len = strlen(data);
		struct transcript whole, pieces;

		for (unsigned int n = 0; n < 1 + round % 4; n++) {
			seed = seed * 1664525 + 1013904223;
			data[seed / 65536 % len] = spoil[seed / 16 % (sizeof(spoil) - 1)];
		}
		run(body, data, len, 0, &whole);
		run(body, data, len, 100 + seed % 50, &pieces);
		assert_string_equal(whole.text.data, pieces.text.data);
		transcript_done(&whole);
		transcript_done(&pieces);
	}
	free(intact[0]);
	free(intact[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded),
		cmocka_unit_test(test_hostile_objects),
		cmocka_unit_test(test_large_objects),
		cmocka_unit_test(test_deep_objects),
		cmocka_unit_test(test_reserve),
		cmocka_unit_test(test_malformed_json),
		cmocka_unit_test(test_malformed_bodies),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_caught_limits),
		cmocka_unit_test(test_status_texts),
		cmocka_unit_test(test_events_are_apart),
		cmocka_unit_test(test_callback_ends_it),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests_name("kube_pick", tests, NULL, NULL);
}
