/*
 * One audit record as one line of JSON; see record.h and deploy/schema/audit-v1.schema.json.
 *
 * A pure encoder: it reads the record, appends text and touches nothing else. Called by
 * audit/stream.c only. It must never write a token or a body (there is no member to put one in),
 * never let a value break out of its string or of its line, and never write a line longer than
 * IG_AUDIT_LINE_BYTES: each text has a limit that counts after escaping, and
 * test_audit_record.c fills all of them with the worst bytes there are.
 *
 * Numbers that may exceed 2^53 (ids, inode, nanoseconds) are written as strings of digits, since
 * most JSON readers would round them.
 */
#include "audit/record.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"

/* Limits of the escaped text of a member, without its quotes. The schema repeats them. */
#define WORD_BYTES 64	/* words of ours: reason, route, kind of selector */
#define NAME_BYTES 256	/* names of objects, ids, addresses */
#define FACT_BYTES 512	/* what the client says of itself */
#define TEXT_BYTES 1024 /* paths, messages, selectors */

/* one byte becomes at most six: \u0001 */
#define ESCAPE_MAX     6
#define ELLIPSIS       "\xe2\x80\xa6"
#define ELLIPSIS_BYTES 3

static const char *const kind_names[_IG_AUDIT_KIND_MAX] = {
#define X(id, text) [IG_AUDIT_##id] = text,
	IG_AUDIT_KINDS(X)
#undef X
};

static const char *const decision_names[_IG_AUDIT_DECISION_MAX] = {
	[IG_AUDIT_ALLOW] = "allow",
	[IG_AUDIT_DENY] = "deny",
	[IG_AUDIT_ERROR] = "error",
};

static const char *const protocols[] = {"tcp", "udp", "unix", NULL};
static const char *const endpoints[] = {"imds", "wireserver", "hostgaplugin", "host_token", NULL};
static const char *const families[] = {"ipv4", "ipv6", NULL};
static const char *const cache_states[] = {"hit", "miss", "stale", NULL};

const char *ig_audit_kind_name(enum ig_audit_kind kind)
{
	assert(kind < _IG_AUDIT_KIND_MAX);
	return kind_names[kind];
}

/* The longest prefix of at most max bytes that does not end inside an escape or a character. text
 * is what ig_buf_json_string() wrote, so it is valid. */
static size_t whole_units(const char *text, size_t len, size_t max)
{
	size_t at = 0;

	while (at < len) {
		unsigned char c = (unsigned char)text[at];
		size_t n = c == '\\'  ? (text[at + 1] == 'u' ? 6 : 2)
			   : c < 0x80 ? 1
			   : c < 0xe0 ? 2
			   : c < 0xf0 ? 3
				      : 4;

		if (at + n > max)
			break;
		at += n;
	}
	return at;
}

/* A JSON string whose escaped text is cut at max bytes. len is at most max + 1. */
static void put_escaped(struct ig_buf *b, const char *s, size_t len, size_t max)
{
	_cleanup_(ig_buf_donep) struct ig_buf text = {.limit = ESCAPE_MAX * (max + 1) + 2};
	int r;

	ig_buf_json_string(&text, s, len);
	r = ig_buf_finish(&text);
	if (r < 0) {
		if (!b->error)
			b->error = r;
		return;
	}
	if (len <= max && text.len - 2 <= max) {
		ig_buf_append(b, text.data, text.len);
		return;
	}
	ig_buf_putc(b, '"');
	ig_buf_append(
		b, text.data + 1, whole_units(text.data + 1, text.len - 2, max - ELLIPSIS_BYTES));
	ig_buf_puts(b, ELLIPSIS "\"");
}

static void put_text(struct ig_buf *b, const char *key, size_t key_len, const char *s, size_t max)
{
	size_t len;

	if (!s || !s[0])
		return;
	len = strnlen(s, max + 1);
	ig_buf_json_key_len(b, key, key_len);
	/* nearly every value is plain, and saved the detour */
	if (len > max || ig_json_plain(s, len) < len)
		put_escaped(b, s, len, max);
	else
		ig_buf_json_plain_string(b, s, len);
}

/* Inline, so that the compiler knows how long the key is; as those below. */
static inline void put_str(struct ig_buf *b, const char *key, const char *s, size_t max)
{
	put_text(b, key, strlen(key), s, max);
}

static void put_closed(struct ig_buf *b, const char *key, const char *word, const char *const *list)
{
	if (!word || !word[0])
		return;
	while (*list && strcmp(*list, word) != 0)
		list++;
	ig_buf_json_member_str(b, key, *list ? *list : "unknown");
}

static inline void put_u64(struct ig_buf *b, const char *key, uint64_t n)
{
	if (n)
		ig_buf_json_member_u64(b, key, n);
}

static void put_id(struct ig_buf *b, const char *key, uint64_t id)
{
	if (!id)
		return;
	ig_buf_json_key(b, key);
	ig_buf_putc(b, '"');
	ig_buf_put_u64(b, id);
	ig_buf_putc(b, '"');
}

static void put_time(struct ig_buf *b, const char *key, uint64_t usec)
{
	char text[IG_RFC3339_BYTES];

	ig_buf_json_member_str(b, key, ig_clock_format_rfc3339(usec, text));
}

/* A part is an object of its own that disappears when nothing was put into it. */
static size_t part_open(struct ig_buf *b, const char *key)
{
	size_t start = b->len;

	ig_buf_json_key(b, key);
	ig_buf_putc(b, '{');
	return start;
}

static bool part_is_empty(const struct ig_buf *b)
{
	return !b->error && b->data[b->len - 1] == '{';
}

static void part_close(struct ig_buf *b, size_t start)
{
	if (!part_is_empty(b)) {
		ig_buf_putc(b, '}');
		return;
	}
	b->len = start;
	b->data[start] = '\0';
}

static void put_pod(struct ig_buf *b, const struct ig_audit_caller *caller)
{
	size_t start = part_open(b, "pod");

	put_str(b, "namespace", caller->pod_namespace, NAME_BYTES);
	put_str(b, "name", caller->pod_name, NAME_BYTES);
	put_str(b, "uid", caller->pod_uid, NAME_BYTES);
	put_str(b, "container_id", caller->container_id, NAME_BYTES);
	put_str(b, "service_account", caller->service_account, NAME_BYTES);
	if (caller->host_network || !part_is_empty(b))
		ig_buf_json_member_bool(b, "host_network", caller->host_network);
	part_close(b, start);
}

static void put_process(struct ig_buf *b, const struct ig_audit_caller *caller)
{
	size_t start = part_open(b, "process");

	if (caller->has_process) {
		ig_buf_json_member_u64(b, "pid", caller->pid);
		put_u64(b, "tid", caller->tid);
		ig_buf_json_member_u64(b, "uid", caller->uid);
		ig_buf_json_member_u64(b, "gid", caller->gid);
	}
	put_id(b, "start_time_ns", caller->start_time_ns);
	put_str(b, "comm", caller->comm, NAME_BYTES);
	put_str(b, "exe", caller->exe, TEXT_BYTES);
	put_id(b, "exe_inode", caller->exe_inode);
	put_u64(b, "exe_device", caller->exe_device);
	if (caller->exe_deleted)
		ig_buf_json_member_bool(b, "exe_deleted", true);
	part_close(b, start);
}

static void put_caller(struct ig_buf *b, const struct ig_audit_caller *caller)
{
	size_t start;

	put_pod(b, caller);
	put_process(b, caller);
	start = part_open(b, "cgroup");
	put_str(b, "path", caller->cgroup, TEXT_BYTES);
	put_id(b, "id", caller->cgroup_id);
	part_close(b, start);
	put_id(b, "netns", caller->netns_cookie);
}

static void put_subject(struct ig_buf *b, const struct ig_audit_subject *subject)
{
	size_t start = part_open(b, "on_behalf_of");

	put_str(b, "namespace", subject->pod_namespace, NAME_BYTES);
	put_str(b, "name", subject->pod_name, NAME_BYTES);
	put_str(b, "uid", subject->pod_uid, NAME_BYTES);
	put_str(b, "service_account", subject->service_account, NAME_BYTES);
	part_close(b, start);
}

static void put_connection(struct ig_buf *b, const struct ig_audit_connection *connection)
{
	size_t start = part_open(b, "connection");

	put_closed(b, "protocol", connection->protocol, protocols);
	put_closed(b, "endpoint", connection->endpoint, endpoints);
	put_str(b, "destination", connection->destination, NAME_BYTES);
	put_str(b, "source", connection->source, NAME_BYTES);
	put_closed(b, "family", connection->family, families);
	put_id(b, "flow_id", connection->flow_id);
	part_close(b, start);
}

static void put_request(struct ig_buf *b, const struct ig_audit_request *request)
{
	size_t start = part_open(b, "request");

	put_str(b, "method", request->method, WORD_BYTES);
	put_str(b, "route", request->route, WORD_BYTES);
	put_str(b, "path", request->path, TEXT_BYTES);
	put_str(b, "resource", request->resource, IG_RESOURCE_BYTES);
	put_str(b, "selector_kind", request->selector_kind, WORD_BYTES);
	put_str(b, "selector_value", request->selector_value, TEXT_BYTES);
	put_str(b, "user_agent", request->user_agent, FACT_BYTES);
	put_str(b, "request_id", request->request_id, FACT_BYTES);
	put_str(b, "sdk", request->sdk, FACT_BYTES);
	put_str(b, "sdk_version", request->sdk_version, FACT_BYTES);
	put_u64(b, "status", request->status);
	part_close(b, start);
}

static void put_policy(struct ig_buf *b, const struct ig_audit_policy *policy)
{
	size_t start = part_open(b, "policy");

	put_str(b, "namespace", policy->namespace, NAME_BYTES);
	put_str(b, "name", policy->name, NAME_BYTES);
	put_str(b, "would_deny", policy->would_deny, NAME_BYTES);
	part_close(b, start);
}

static void put_identity(struct ig_buf *b, const struct ig_audit_identity *identity)
{
	size_t start = part_open(b, "identity");

	put_str(b, "namespace", identity->namespace, NAME_BYTES);
	put_str(b, "name", identity->name, NAME_BYTES);
	put_str(b, "client_id", identity->client_id, NAME_BYTES);
	put_str(b, "binding", identity->binding, NAME_BYTES);
	part_close(b, start);
}

static void put_auxiliary(struct ig_buf *b, const struct ig_audit_token *token)
{
	if (!token->auxiliary[0])
		return;
	ig_buf_json_key(b, "auxiliary");
	ig_buf_putc(b, '[');
	for (size_t i = 0; i < IG_ARRAY_SIZE(token->auxiliary) && token->auxiliary[i]; i++) {
		if (i)
			ig_buf_putc(b, ',');
		put_escaped(b, token->auxiliary[i], strnlen(token->auxiliary[i], WORD_BYTES + 1),
			WORD_BYTES);
	}
	ig_buf_putc(b, ']');
}

static void put_token(struct ig_buf *b, const struct ig_audit_token *token)
{
	size_t start = part_open(b, "token");
	uint64_t usec;

	if (__builtin_mul_overflow(token->expires_on_sec, IG_USEC_PER_SEC, &usec))
		usec = UINT64_MAX; /* printed as the last time there is */

	put_str(b, "fingerprint", token->fingerprint, WORD_BYTES);
	if (usec)
		put_time(b, "expires_on", usec);
	put_closed(b, "cache", token->cache, cache_states);
	put_auxiliary(b, token);
	part_close(b, start);
}

/* A count of zero means something for these. */
static bool always_counts(enum ig_audit_kind kind)
{
	return kind == IG_AUDIT_EVENTS_LOST || kind == IG_AUDIT_POLICY_CHANGED;
}

static void put_head(struct ig_buf *b, const struct ig_audit_record *record, uint64_t seq,
	const struct ig_audit_origin *origin)
{
	ig_buf_json_member_u64(b, "v", IG_AUDIT_SCHEMA_VERSION);
	ig_buf_json_member_u64(b, "seq", seq);
	put_str(b, "prev", origin->prev, WORD_BYTES);
	put_time(b, "time", record->time_usec ? record->time_usec : ig_clock_real_usec());
	put_str(b, "boot", origin->boot_id, WORD_BYTES);
	put_str(b, "run", origin->run_id, WORD_BYTES);
	put_str(b, "node", origin->node, NAME_BYTES);
	ig_buf_json_member_str(b, "kind", ig_audit_kind_name(record->kind));
	assert(record->decision < _IG_AUDIT_DECISION_MAX);
	put_str(b, "decision", decision_names[record->decision], WORD_BYTES);
	put_str(b, "reason", record->reason, WORD_BYTES);
	put_str(b, "message", record->message, TEXT_BYTES);
}

void ig_audit_encode(const struct ig_audit_record *record, uint64_t seq,
	const struct ig_audit_origin *origin, struct ig_buf *b)
{
	ig_buf_putc(b, '{');
	put_head(b, record, seq, origin);
	if (record->caller)
		put_caller(b, record->caller);
	if (record->subject)
		put_subject(b, record->subject);
	if (record->connection)
		put_connection(b, record->connection);
	if (record->request)
		put_request(b, record->request);
	if (record->identity)
		put_identity(b, record->identity);
	if (record->policy)
		put_policy(b, record->policy);
	if (record->token)
		put_token(b, record->token);
	put_u64(b, "latency_usec", record->latency_usec);
	put_u64(b, "policy_epoch", record->policy_epoch);
	if (record->count || always_counts(record->kind))
		ig_buf_json_member_u64(b, "count", record->count);
	ig_buf_puts(b, "}\n");
}
