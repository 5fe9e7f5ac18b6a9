/*
 * One audit record as JSON: order of members, what is left out, escaping, limits. With
 * IG_AUDIT_SAMPLES=FILE in the environment the lines go there too, for
 * tests/check/audit_schema.py.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "audit/record.h"
#include "base/cleanup.h"

#define BOOT "01234567-89ab-cdef-0123-456789abcdef"
#define RUN  "0123456789abcdef"

static const struct ig_audit_origin origin = {.boot_id = BOOT, .run_id = RUN, .node = "node-1"};

static const struct ig_audit_caller full_caller = {
	.pod_namespace = "shop",
	.pod_name = "cart-0",
	.pod_uid = "11111111-2222-3333-4444-555555555555",
	.container_id = "abcdef",
	.service_account = "cart",
	.cgroup = "/kubepods.slice/x.scope",
	.cgroup_id = UINT64_MAX,
	.netns_cookie = 1ULL << 60,
	.host_network = true,
	.has_process = true,
	.pid = 42,
	.tid = 43,
	.uid = 0,
	.gid = 1000,
	.start_time_ns = 9007199254740993ULL,
	.comm = "curl",
	.exe = "/usr/bin/curl",
	.exe_inode = 77,
	.exe_device = 2049,
	.exe_deleted = true,
};
static const struct ig_audit_subject full_subject = {
	.pod_namespace = "shop",
	.pod_name = "web-0",
	.pod_uid = "22222222-2222-3333-4444-555555555555",
	.service_account = "web",
};
static const struct ig_audit_connection full_connection = {
	.protocol = "tcp",
	.endpoint = "imds",
	.destination = "169.254.169.254:80",
	.source = "127.0.0.1:40332",
	.family = "ipv6",
	.flow_id = 5,
};
static const struct ig_audit_request full_request = {
	.method = "GET",
	.route = "token",
	.path = "/metadata/identity/oauth2/token",
	.resource = "https://vault.azure.net",
	.selector_kind = "client_id",
	.selector_value = "00000000-0000-0000-0000-000000000001",
	.user_agent = "azsdk",
	.request_id = "r1",
	.sdk = "MSAL.NET",
	.sdk_version = "4.1",
	.status = 200,
};
static const struct ig_audit_policy full_policy = {
	.namespace = "shop",
	.name = "only-vault",
	.would_deny = "resource_not_allowed",
};

static const struct ig_audit_identity full_identity = {
	.namespace = "shop",
	.name = "cart-id",
	.client_id = "00000000-0000-0000-0000-000000000001",
	.binding = "cart-binding",
};
static const struct ig_audit_token full_token = {
	.fingerprint = "00112233445566aa",
	.expires_on_sec = 1767323045,
	.cache = "hit",
	.auxiliary = {"bb", "cc"},
};

static FILE *samples;

/* The line as text; checks what holds for every line. */
static char *encode(const struct ig_audit_record *record)
{
	struct ig_buf b;

	ig_buf_init(&b, IG_AUDIT_LINE_BYTES);
	ig_audit_encode(record, 7, &origin, &b);
	assert_int_equal(ig_buf_finish(&b), 0);
	assert_int_equal(strlen(b.data), b.len);
	assert_ptr_equal(strchr(b.data, '\n'), b.data + b.len - 1);
	for (size_t i = 0; i + 1 < b.len; i++)
		assert_true((unsigned char)b.data[i] >= 0x20 && b.data[i] != 0x7f);
	if (samples)
		assert_int_equal(fwrite(b.data, 1, b.len, samples), b.len);
	return b.data;
}

static json_t *parse(const char *line)
{
	json_t *json = json_loads(line, JSON_REJECT_DUPLICATES, NULL);

	assert_non_null(json);
	return json;
}

static json_t *encode_and_parse(const struct ig_audit_record *record)
{
	_cleanup_free_ char *line = encode(record);

	return parse(line);
}

static void test_full_record_byte_for_byte(void **state)
{
	const struct ig_audit_record record = {
		.kind = IG_AUDIT_TOKEN_ISSUED,
		.decision = IG_AUDIT_ALLOW,
		.reason = "bound",
		.message = "m",
		.time_usec = 1767323045678901ULL,
		.latency_usec = 1234,
		.policy_epoch = 3,
		.count = 1,
		.caller = &full_caller,
		.subject = &full_subject,
		.connection = &full_connection,
		.request = &full_request,
		.identity = &full_identity,
		.policy = &full_policy,
		.token = &full_token,
	};
	_cleanup_free_ char *line = encode(&record);

	(void)state;
	assert_string_equal(line,
		"{\"v\":1,\"seq\":7,\"time\":\"2026-01-02T03:04:05.678901Z\",\"boot\":\"" BOOT
		"\",\"run\":\"" RUN
		"\",\"node\":\"node-1\",\"kind\":\"token.issued\",\"decision\":\"allow\",\"reason\":\"bound\",\"message\":\"m\","
		"\"pod\":{\"namespace\":\"shop\",\"name\":\"cart-0\",\"uid\":\"11111111-2222-3333-4444-555555555555\",\"container_id\":\"abcdef\",\"service_account\":\"cart\",\"host_network\":true},"
		"\"process\":{\"pid\":42,\"tid\":43,\"uid\":0,\"gid\":1000,\"start_time_ns\":\"9007199254740993\",\"comm\":\"curl\",\"exe\":\"/usr/bin/curl\",\"exe_inode\":\"77\",\"exe_device\":2049,\"exe_deleted\":true},"
		"\"cgroup\":{\"path\":\"/kubepods.slice/x.scope\",\"id\":\"18446744073709551615\"},\"netns\":\"1152921504606846976\","
		"\"on_behalf_of\":{\"namespace\":\"shop\",\"name\":\"web-0\",\"uid\":\"22222222-2222-3333-4444-555555555555\",\"service_account\":\"web\"},"
		"\"connection\":{\"protocol\":\"tcp\",\"endpoint\":\"imds\",\"destination\":\"169.254.169.254:80\",\"source\":\"127.0.0.1:40332\",\"family\":\"ipv6\",\"flow_id\":\"5\"},"
		"\"request\":{\"method\":\"GET\",\"route\":\"token\",\"path\":\"/metadata/identity/oauth2/token\",\"resource\":\"https://vault.azure.net\",\"selector_kind\":\"client_id\",\"selector_value\":\"00000000-0000-0000-0000-000000000001\",\"user_agent\":\"azsdk\",\"request_id\":\"r1\",\"sdk\":\"MSAL.NET\",\"sdk_version\":\"4.1\",\"status\":200},"
		"\"identity\":{\"namespace\":\"shop\",\"name\":\"cart-id\",\"client_id\":\"00000000-0000-0000-0000-000000000001\",\"binding\":\"cart-binding\"},"
		"\"policy\":{\"namespace\":\"shop\",\"name\":\"only-vault\",\"would_deny\":\"resource_not_allowed\"},"
		"\"token\":{\"fingerprint\":\"00112233445566aa\",\"expires_on\":\"2026-01-02T03:04:05.000000Z\",\"cache\":\"hit\",\"auxiliary\":[\"bb\",\"cc\"]},"
		"\"latency_usec\":1234,\"policy_epoch\":3,\"count\":1}\n");
}

static void test_chained(void **state)
{
	static const char prev[] =
		"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	const struct ig_audit_origin chained = {.boot_id = BOOT, .run_id = RUN, .prev = prev};
	const struct ig_audit_record record = {.kind = IG_AUDIT_AGENT_STARTED, .time_usec = 1};
	struct ig_buf b = {.limit = IG_AUDIT_LINE_BYTES};

	(void)state;
	ig_audit_encode(&record, 7, &chained, &b);
	assert_int_equal(ig_buf_finish(&b), 0);
	if (samples)
		assert_int_equal(fwrite(b.data, 1, b.len, samples), b.len);
	assert_string_equal(b.data,
		"{\"v\":1,\"seq\":7,\"prev\":\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"time\":\"1970-01-01T00:00:00.000001Z\",\"boot\":\"" BOOT
		"\",\"run\":\"" RUN "\",\"kind\":\"agent.started\"}\n");
	ig_buf_done(&b);
}

static void test_absent_parts_are_left_out(void **state)
{
	const struct ig_audit_caller caller = {.pod_name = "", .comm = ""};
	const struct ig_audit_connection connection = {.endpoint = ""};
	const struct ig_audit_request request = {.method = ""};
	const struct ig_audit_identity identity = {};
	const struct ig_audit_token token = {};
	const struct ig_audit_record record = {.kind = IG_AUDIT_AGENT_STARTED,
		.time_usec = 1,
		.caller = &caller,
		.connection = &connection,
		.request = &request,
		.identity = &identity,
		.token = &token};
	_cleanup_free_ char *line = encode(&record);

	(void)state;
	assert_string_equal(line,
		"{\"v\":1,\"seq\":7,\"time\":\"1970-01-01T00:00:00.000001Z\",\"boot\":\"" BOOT
		"\",\"run\":\"" RUN "\",\"node\":\"node-1\",\"kind\":\"agent.started\"}\n");
}

static void test_partial_parts(void **state)
{
	const struct ig_audit_caller host = {.host_network = true};
	const struct ig_audit_caller pod = {.pod_name = "p"};
	const struct ig_audit_caller root = {.has_process = true};
	const struct ig_audit_caller exe = {.exe_inode = 9};
	struct ig_audit_record record = {.kind = IG_AUDIT_CONNECT_REFUSED, .caller = &host};
	_cleanup_(json_decrefp) json_t *a = encode_and_parse(&record);
	_cleanup_(json_decrefp) json_t *b = NULL, *c = NULL, *d = NULL;
	int pid = -1, uid = -1, gid = -1, is_host = -1;

	(void)state;
	assert_int_equal(json_unpack(a, "{s:{s:b!}}", "pod", "host_network", &is_host), 0);
	assert_int_equal(is_host, 1);
	record.caller = &pod;
	b = encode_and_parse(&record);
	assert_int_equal(json_unpack(b, "{s:{s:b}}", "pod", "host_network", &is_host), 0);
	assert_int_equal(is_host, 0);
	/* a pid, uid or gid of 0 is a fact when there is a process */
	record.caller = &root;
	c = encode_and_parse(&record);
	assert_int_equal(json_unpack(c, "{s:{s:i,s:i,s:i!}}", "process", "pid", &pid, "uid", &uid,
				 "gid", &gid),
		0);
	assert_int_equal(pid | uid | gid, 0);
	record.caller = &exe;
	d = encode_and_parse(&record);
	assert_null(json_object_get(json_object_get(d, "process"), "pid"));
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(d, "process"), "exe_inode")),
		"9");
}

static void test_every_kind_and_decision(void **state)
{
	static const char *const words[_IG_AUDIT_DECISION_MAX] = {NULL, "allow", "deny", "error"};

	(void)state;
	for (unsigned int kind = 0; kind < _IG_AUDIT_KIND_MAX; kind++) {
		for (unsigned int decision = 0; decision < _IG_AUDIT_DECISION_MAX; decision++) {
			const struct ig_audit_record record = {.kind = (enum ig_audit_kind)kind,
				.decision = (enum ig_audit_decision)decision};
			_cleanup_(json_decrefp) json_t *json = encode_and_parse(&record);
			const char *word = json_string_value(json_object_get(json, "decision"));

			assert_string_equal(json_string_value(json_object_get(json, "kind")),
				ig_audit_kind_name((enum ig_audit_kind)kind));
			if (words[decision])
				assert_string_equal(word, words[decision]);
			else
				assert_null(json_object_get(json, "decision"));
			/* zero is news for these two, and absence for the others */
			assert_int_equal(!!json_object_get(json, "count"),
				kind == IG_AUDIT_EVENTS_LOST || kind == IG_AUDIT_POLICY_CHANGED);
		}
	}
}

static void test_closed_words(void **state)
{
	static const char *const protocols[] = {"tcp", "udp", "unix"};
	static const char *const endpoints[] = {"imds", "wireserver", "hostgaplugin", "host_token"};
	struct ig_audit_connection connection = {.family = "ipv4"};
	struct ig_audit_token token = {.cache = "stale"};
	struct ig_audit_record record = {
		.kind = IG_AUDIT_CONNECT_DENIED, .connection = &connection, .token = &token};

	(void)state;
	for (size_t p = 0; p < IG_ARRAY_SIZE(protocols); p++) {
		for (size_t e = 0; e < IG_ARRAY_SIZE(endpoints); e++) {
			_cleanup_(json_decrefp) json_t *json = NULL;
			const char *protocol, *endpoint, *family, *cache;

			connection.protocol = protocols[p];
			connection.endpoint = endpoints[e];
			json = encode_and_parse(&record);
			assert_int_equal(
				json_unpack(json, "{s:{s:s,s:s,s:s!},s:{s:s!}}", "connection",
					"protocol", &protocol, "endpoint", &endpoint, "family",
					&family, "token", "cache", &cache),
				0);
			assert_string_equal(protocol, protocols[p]);
			assert_string_equal(endpoint, endpoints[e]);
			assert_string_equal(family, "ipv4");
			assert_string_equal(cache, "stale");
		}
	}
}

static void test_unknown_words(void **state)
{
	const struct ig_audit_connection connection = {
		.protocol = "TCP", .endpoint = "imds ", .family = "\x1b[2J"};
	const struct ig_audit_token token = {.cache = "x\",\"seq\":0"};
	const struct ig_audit_record record = {
		.kind = IG_AUDIT_CONNECT_DENIED, .connection = &connection, .token = &token};
	_cleanup_(json_decrefp) json_t *json = encode_and_parse(&record);
	const char *protocol, *endpoint, *family, *cache;

	(void)state;
	assert_int_equal(json_unpack(json, "{s:{s:s,s:s,s:s!},s:{s:s!}}", "connection", "protocol",
				 &protocol, "endpoint", &endpoint, "family", &family, "token",
				 "cache", &cache),
		0);
	assert_string_equal(protocol, "unknown");
	assert_string_equal(endpoint, "unknown");
	assert_string_equal(family, "unknown");
	assert_string_equal(cache, "unknown");
}

static void test_hostile_text(void **state)
{
	static const struct {
		const char *in, *out; /* what a reader of the JSON gets */
	} rows[] = {
		{"a\nb\r\tc", "a\nb\r\tc"},
		{"\",\"kind\":\"token.issued", "\",\"kind\":\"token.issued"},
		{"\\u0041\\", "\\u0041\\"},
		{"\x1b[31mred\x1b]0;t\x07", "\x1b[31mred\x1b]0;t\x07"},
		{"\x7f", "\x7f"},
		{"\xc2\x9b"
		 "31m",
			"\xc2\x9b"
			"31m"}, /* CSI as C1 */
		{"\xe2\x80\xa8\xe2\x80\xa9", "\xe2\x80\xa8\xe2\x80\xa9"},
		{"\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
		{"cut \xe2\x82", "cut \xef\xbf\xbd\xef\xbf\xbd"},
		{"gr\xc3\xbc\xc3\x9f \xf0\x9f\x94\x92", "gr\xc3\xbc\xc3\x9f \xf0\x9f\x94\x92"},
	};

	(void)state;
	for (size_t i = 0; i < IG_ARRAY_SIZE(rows); i++) {
		const struct ig_audit_request request = {.user_agent = rows[i].in};
		const struct ig_audit_caller caller = {.comm = rows[i].in, .exe = rows[i].in};
		const struct ig_audit_record record = {.kind = IG_AUDIT_REQUEST_REJECTED,
			.message = rows[i].in,
			.request = &request,
			.caller = &caller};
		_cleanup_(json_decrefp) json_t *json = encode_and_parse(&record);
		const char *message, *agent, *comm, *exe;

		assert_int_equal(json_unpack(json, "{s:s,s:{s:s!},s:{s:s,s:s!}}", "message",
					 &message, "request", "user_agent", &agent, "process",
					 "comm", &comm, "exe", &exe),
			0);
		assert_string_equal(message, rows[i].out);
		assert_string_equal(agent, rows[i].out);
		assert_string_equal(comm, rows[i].out);
		assert_string_equal(exe, rows[i].out);
	}
}

/* Cuts happen between characters and are marked. */
static void test_cut_text(void **state)
{
	static const char *const units[] = {"a", "\\", "\"", "\x01", "\x7f", "\xff", "\xc3\xbc",
		"\xe2\x82\xac", "\xf0\x9f\x94\x92", "\xc2\x9b", "b\xf0\x9f\x94\x92"};

	(void)state;
	for (size_t u = 0; u < IG_ARRAY_SIZE(units); u++) {
		/* one more lead byte at a time moves the cut through every place of the unit */
		for (size_t lead = 0; lead < 7; lead++) {
			_cleanup_free_ char *text = calloc(1, 3000);
			const struct ig_audit_record record = {
				.kind = IG_AUDIT_POLICY_REJECTED, .message = text};
			_cleanup_(json_decrefp) json_t *json = NULL;
			_cleanup_free_ char *line = NULL;
			const char *message, *escaped;
			size_t len, unit = strlen(units[u]);
			bool is_broken = unit == 1 && (unsigned char)units[u][0] == 0xff;

			assert_non_null(text);
			memset(text, 'x', lead);
			for (size_t at = lead; at + unit < 2999; at += unit)
				memcpy(text + at, units[u], unit);
			line = encode(&record);
			escaped = strstr(line, "\"message\":\"") + 11;
			assert_in_range(strlen(escaped) - strlen("\"}\n"), 1024 - 8, 1024);
			json = parse(line);
			message = json_string_value(json_object_get(json, "message"));
			assert_non_null(message);
			len = strlen(message);
			assert_true(len > 3 && strcmp(message + len - 3, "\xe2\x80\xa6") == 0);
			/* without the mark it is a prefix of what went in */
			if (!is_broken)
				assert_memory_equal(message, text, len - 3);
			else
				assert_memory_equal(message + lead, "\xef\xbf\xbd", 3);
		}
	}
}

static void test_exact_limit_is_not_cut(void **state)
{
	char text[1024 + 2] = {};
	struct ig_audit_record record = {.kind = IG_AUDIT_POLICY_REJECTED, .message = text};
	_cleanup_(json_decrefp) json_t *whole = NULL, *cut = NULL;

	(void)state;
	memset(text, 'x', 1024);
	whole = encode_and_parse(&record);
	assert_string_equal(json_string_value(json_object_get(whole, "message")), text);
	text[1024] = 'x';
	cut = encode_and_parse(&record);
	assert_int_equal(strlen(json_string_value(json_object_get(cut, "message"))), 1024);
}

/* Every text at once, longer than any limit, of one kind of byte. */
static char *encode_flood(const char *flood)
{
	const struct ig_audit_caller caller = {.pod_namespace = flood,
		.pod_name = flood,
		.pod_uid = flood,
		.container_id = flood,
		.service_account = flood,
		.cgroup = flood,
		.cgroup_id = UINT64_MAX,
		.netns_cookie = UINT64_MAX,
		.has_process = true,
		.pid = UINT32_MAX,
		.tid = UINT32_MAX,
		.uid = UINT32_MAX,
		.gid = UINT32_MAX,
		.start_time_ns = UINT64_MAX,
		.comm = flood,
		.exe = flood,
		.exe_inode = UINT64_MAX,
		.exe_device = UINT32_MAX,
		.exe_deleted = true};
	const struct ig_audit_subject subject = {.pod_namespace = flood,
		.pod_name = flood,
		.pod_uid = flood,
		.service_account = flood};
	const struct ig_audit_connection connection = {.protocol = flood,
		.endpoint = flood,
		.destination = flood,
		.source = flood,
		.family = flood,
		.flow_id = UINT64_MAX};
	const struct ig_audit_request request = {.method = flood,
		.route = flood,
		.path = flood,
		.resource = flood,
		.selector_kind = flood,
		.selector_value = flood,
		.user_agent = flood,
		.request_id = flood,
		.sdk = flood,
		.sdk_version = flood,
		.status = UINT32_MAX};
	const struct ig_audit_identity identity = {
		.namespace = flood, .name = flood, .client_id = flood, .binding = flood};
	const struct ig_audit_token token = {.fingerprint = flood,
		.expires_on_sec = UINT64_MAX,
		.cache = flood,
		.auxiliary = {flood, flood, flood}};
	const struct ig_audit_record record = {.kind = IG_AUDIT_CONNECT_UNATTRIBUTED,
		.decision = IG_AUDIT_ERROR,
		.reason = "closed_before_accept", /* of a closed list */
		.message = flood,
		.time_usec = UINT64_MAX,
		.latency_usec = UINT64_MAX,
		.policy_epoch = UINT64_MAX,
		.count = UINT64_MAX,
		.caller = &caller,
		.subject = &subject,
		.connection = &connection,
		.request = &request,
		.identity = &identity,
		.token = &token};
	const struct ig_audit_origin wide = {.boot_id = BOOT, .run_id = RUN, .node = flood};
	struct ig_buf b;

	ig_buf_init(&b, IG_AUDIT_LINE_BYTES);
	ig_audit_encode(&record, UINT64_MAX, &wide, &b);
	assert_int_equal(ig_buf_finish(&b), 0);
	if (samples)
		assert_int_equal(fwrite(b.data, 1, b.len, samples), b.len);
	return b.data;
}

static void test_longest_line_fits(void **state)
{
	static const char bytes[] = {'a', '"', '\x01', '\x7f', '\xff'};
	size_t longest = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++) {
		_cleanup_free_ char *flood = malloc(65536);
		_cleanup_free_ char *line = NULL;
		size_t len;

		assert_non_null(flood);
		memset(flood, bytes[i], 65535);
		flood[65535] = '\0';
		line = encode_flood(flood);
		len = strlen(line);
		assert_int_equal(line[len - 1], '\n');
		assert_non_null(strstr(line, "\"time\":\"9999-12-31T23:59:59.999999Z\""));
		assert_non_null(strstr(line, "\"expires_on\":\"9999-12-31T23:59:59.999999Z\""));
		longest = len > longest ? len : longest;
	}
	/* the limits mean something: the line is neither short nor over */
	assert_in_range(longest, IG_AUDIT_LINE_BYTES / 2, IG_AUDIT_LINE_BYTES);
}

static void test_small_buffer_breaks_cleanly(void **state)
{
	const struct ig_audit_record record = {.kind = IG_AUDIT_TOKEN_ISSUED,
		.caller = &full_caller,
		.connection = &full_connection,
		.request = &full_request,
		.identity = &full_identity,
		.token = &full_token};
	_cleanup_free_ char *whole = encode(&record);

	(void)state;
	for (size_t limit = 0; limit < strlen(whole); limit += 7) {
		_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = limit};

		ig_audit_encode(&record, 7, &origin, &b);
		assert_int_equal(ig_buf_finish(&b), -E2BIG);
	}
}

static void test_appends_behind_other_text(void **state)
{
	const struct ig_audit_record record = {.kind = IG_AUDIT_AGENT_STOPPED, .time_usec = 1};
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_AUDIT_LINE_BYTES};
	const struct ig_audit_origin nameless = {.boot_id = BOOT, .run_id = RUN};

	(void)state;
	ig_buf_puts(&b, "before\n");
	ig_audit_encode(&record, 1, &nameless, &b);
	assert_string_equal(b.data,
		"before\n{\"v\":1,\"seq\":1,\"time\":\"1970-01-01T00:00:00.000001Z\",\"boot\":\"" BOOT
		"\",\"run\":\"" RUN "\",\"kind\":\"agent.stopped\"}\n");
}

static int open_samples(void **state)
{
	const char *path = getenv("IG_AUDIT_SAMPLES");

	(void)state;
	samples = path ? fopen(path, "we") : NULL;
	return path && !samples ? -1 : 0;
}

static int close_samples(void **state)
{
	(void)state;
	return samples ? fclose(samples) : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_full_record_byte_for_byte),
		cmocka_unit_test(test_chained),
		cmocka_unit_test(test_absent_parts_are_left_out),
		cmocka_unit_test(test_partial_parts),
		cmocka_unit_test(test_every_kind_and_decision),
		cmocka_unit_test(test_closed_words),
		cmocka_unit_test(test_unknown_words),
		cmocka_unit_test(test_hostile_text),
		cmocka_unit_test(test_cut_text),
		cmocka_unit_test(test_exact_limit_is_not_cut),
		cmocka_unit_test(test_longest_line_fits),
		cmocka_unit_test(test_small_buffer_breaks_cleanly),
		cmocka_unit_test(test_appends_behind_other_text),
	};

	return cmocka_run_group_tests_name("audit record", tests, open_samples, close_samples);
}
