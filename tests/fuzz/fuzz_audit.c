/*
 * Audit records of whatever texts: each line of the input is one text of a record. What comes out
 * is one line of JSON that fits its limit, carries no byte that a terminal would obey, can be read
 * back, and makes a chain that verifies; and the syslog and OTLP forms of it are what they should
 * be.
 */
#include "fuzz/fuzz.h"

#include <string.h>

#include <jansson.h>

#include "audit/chain.h"
#include "audit/line.h"
#include "audit/otlp_format.h"
#include "audit/record.h"
#include "audit/syslog_format.h"
#include "audit/verify.h"
#include "report/event.h"

#define BOOT	"01234567-89ab-cdef-0123-456789abcdef"
#define RUN	"0123456789abcdef"
#define TEXTS	48
#define RECORDS 2

struct texts {
	char *text[TEXTS];
	size_t next;
};

static const char *text(struct texts *t)
{
	return t->text[t->next++ % TEXTS];
}

static void check_json(const struct ig_buf *b)
{
	json_t *tree;

	FUZZ_CHECK(ig_buf_finish(b) == 0);
	for (size_t i = 0; i < b->len; i++)
		FUZZ_CHECK((unsigned char)b->data[i] >= 0x20 && b->data[i] != 0x7f);
	tree = json_loadb(b->data, b->len, JSON_REJECT_DUPLICATES, NULL);
	FUZZ_CHECK(json_is_object(tree));
	json_decref(tree);
}

static void check_line(struct ig_buf *b)
{
	struct ig_report_event event;
	const char *why = NULL;
	json_t *tree;

	FUZZ_CHECK(ig_buf_finish(b) == 0);
	FUZZ_CHECK(b->len <= IG_AUDIT_LINE_BYTES && b->data[b->len - 1] == '\n');
	b->len--;
	check_json(b);
	tree = json_loadb(b->data, b->len, JSON_REJECT_DUPLICATES, NULL);
	FUZZ_CHECK(ig_report_event_read(tree, &event, &why) == 0);
	FUZZ_CHECK(event.kind < _IG_AUDIT_KIND_MAX);
	json_decref(tree);
	b->len++;
}

static void encode(uint8_t choice, struct texts *t, uint64_t seq,
	const struct ig_audit_origin *origin, struct ig_buf *b)
{
	const struct ig_audit_caller caller = {.pod_namespace = text(t),
		.pod_name = text(t),
		.pod_uid = text(t),
		.container_id = text(t),
		.service_account = text(t),
		.cgroup = text(t),
		.cgroup_id = UINT64_MAX,
		.netns_cookie = choice,
		.has_process = choice & 1,
		.pid = 42,
		.comm = text(t),
		.exe = text(t),
		.exe_inode = 77};
	const struct ig_audit_subject subject = {text(t), text(t), text(t), text(t)};
	const struct ig_audit_connection connection = {.protocol = text(t),
		.endpoint = choice & 2 ? "imds" : text(t),
		.destination = text(t),
		.source = text(t),
		.family = text(t),
		.flow_id = 1};
	const struct ig_audit_request request = {.method = text(t),
		.route = text(t),
		.path = text(t),
		.resource = text(t),
		.selector_kind = text(t),
		.selector_value = text(t),
		.user_agent = text(t),
		.request_id = text(t),
		.sdk = text(t),
		.sdk_version = text(t),
		.status = 403};
	const struct ig_audit_identity identity = {text(t), text(t), text(t), text(t)};
	const struct ig_audit_policy policy = {text(t), text(t), text(t)};
	const struct ig_audit_token token = {
		.fingerprint = text(t), .cache = text(t), .auxiliary = {text(t), text(t), NULL}};
	const struct ig_audit_record record = {.kind = (choice >> 2) % _IG_AUDIT_KIND_MAX,
		.decision = choice % _IG_AUDIT_DECISION_MAX,
		.reason = text(t),
		.message = text(t),
		.time_usec = 1 + seq,
		.count = 1,
		.caller = &caller,
		.subject = choice & 4 ? &subject : NULL,
		.connection = &connection,
		.request = &request,
		.identity = &identity,
		.policy = &policy,
		.token = &token};

	ig_audit_encode(&record, seq, origin, b);
}

static void on_finding(const struct ig_audit_finding *finding, void *userdata)
{
	/* an events.lost record explains more than is missing here; nothing else is to be said */
	(void)userdata;
	FUZZ_CHECK(finding->type == IG_AUDIT_FINDING_REPORTED ||
		   finding->type == IG_AUDIT_FINDING_NOTE);
}

static void verify(const struct ig_buf *log)
{
	struct ig_audit_verify_summary summary;
	struct ig_audit_verify *verify = NULL;
	FILE *stream = fmemopen(log->data, log->len, "r");

	FUZZ_CHECK(stream && ig_audit_verify_new("file", on_finding, NULL, &verify) == 0);
	FUZZ_CHECK(ig_audit_verify_file(verify, stream, "log") == 0);
	ig_audit_verify_finish(verify, NULL, &summary);
	FUZZ_CHECK(summary.records == RECORDS && summary.problems == 0);
	FUZZ_CHECK(summary.links == RECORDS);
	(void)ig_audit_verify_free(verify);
	(void)fclose(stream);
}

static void format_others(const struct ig_buf *text, uint8_t choice, const char *node)
{
	struct ig_audit_line *line = ig_audit_line_new(text->data, text->len);
	const struct ig_otlp_resource resource = {.version = "1", .node = node, .run_id = RUN};
	struct ig_buf b = {.limit = IG_AUDIT_OTLP_BYTES};
	struct ig_audit_line *const lines[] = {line, line};

	FUZZ_CHECK(line);
	line->kind = (choice >> 2) % _IG_AUDIT_KIND_MAX;
	ig_otlp_format(lines, 2, &resource, &b);
	check_json(&b);
	ig_buf_done(&b);
	ig_buf_init(&b, IG_SYSLOG_HEAD_BYTES + IG_AUDIT_LINE_BYTES);
	ig_syslog_format(line, node, RUN, 1, &b);
	FUZZ_CHECK(ig_buf_finish(&b) == 0 && b.data[0] == '<');
	FUZZ_CHECK(
		!memchr(b.data, '\n', b.len) || memchr(b.data, '\n', b.len) == b.data + b.len - 1);
	ig_buf_done(&b);
	(void)ig_audit_line_unref(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {.data = data, .left = size};
	uint8_t choice = fuzz_byte(&in);
	struct texts t = {};
	char prev[IG_AUDIT_HASH_BYTES + 1], node[65] = "";
	struct ig_buf log = {.limit = RECORDS * IG_AUDIT_LINE_BYTES};

	for (size_t i = 0; i < TEXTS; i++)
		t.text[i] = fuzz_line(&in);
	(void)snprintf(node, sizeof(node), "%s", text(&t));
	FUZZ_CHECK(ig_audit_chain_first(BOOT, RUN, prev) == 0);
	for (uint64_t seq = 1; seq <= RECORDS; seq++) {
		const struct ig_audit_origin origin = {
			.boot_id = BOOT, .run_id = RUN, .node = node, .prev = prev};
		struct ig_buf b = {.limit = IG_AUDIT_LINE_BYTES};

		encode((uint8_t)(choice + seq), &t, seq, &origin, &b);
		check_line(&b);
		FUZZ_CHECK(ig_audit_chain_next(b.data, b.len, prev) == 0);
		if (seq == 1)
			format_others(&b, choice, node);
		ig_buf_append(&log, b.data, b.len);
		ig_buf_done(&b);
	}
	FUZZ_CHECK(ig_buf_finish(&log) == 0);
	verify(&log);
	ig_buf_done(&log);
	for (size_t i = 0; i < TEXTS; i++)
		free(t.text[i]);
	return 0;
}
