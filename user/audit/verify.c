/*
 * Checks logs of the audit; see verify.h. Called by the command-line tool.
 *
 * What it reads may have been written by whoever wants to hide something: it believes no line that
 * it cannot check, and a line that is no record never explains anything.
 */
#include "audit/verify.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "audit/chain.h"
#include "audit/record.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"
#include "base/table.h"

#define RUN_BYTES     16
#define BOOT_BYTES    36
#define MESSAGE_BYTES 256

struct place {
	const char *file; /* borrowed from the caller */
	uint64_t line;
};

/* Numbers that were not there when their turn came. */
struct gap {
	uint64_t first, last;
	struct place at; /* what came instead */
};

struct run {
	char id[RUN_BYTES + 1], boot[BOOT_BYTES + 1];
	uint64_t first, last, records, reported, links;
	struct place last_at;
	char last_hash[IG_AUDIT_HASH_BYTES +
		       1]; /* of the record with the number `last`; "" without */
	bool chained, stopped;
	bool took_over;		  /* the run before it goes on beside it */
	const struct run *before; /* the one that appeared before this one did */
	struct gap *gaps;	  /* owned; in order of their numbers */
	size_t n_gaps, cap_gaps;
	UT_hash_handle hh;
};

/* What is needed of one line. Strings belong to the parsed object. */
struct record {
	uint64_t seq, count;
	const char *run, *boot, *kind, *reason, *prev;
};

struct ig_audit_verify {
	const char *sink;
	ig_audit_finding_fn *finding;
	void *userdata;
	struct run *runs;    /* by id; owned */
	struct run *current; /* of the line before */
	struct run *newest;  /* that appeared last */
	struct ig_audit_verify_summary summary;
	struct place at;
};

static const char *const finding_names[_IG_AUDIT_FINDING_MAX] = {
#define X(id, text) [IG_AUDIT_FINDING_##id] = text,
	IG_AUDIT_FINDINGS(X)
#undef X
};

const char *ig_audit_finding_name(enum ig_audit_finding_type type)
{
	return finding_names[type];
}

/* ---- findings -------------------------------------------------------------------------------- */

__attribute__((format(printf, 5, 6))) static void say(struct ig_audit_verify *v,
	enum ig_audit_finding_type type, const struct run *run, const struct gap *where,
	const char *fmt, ...)
{
	char message[MESSAGE_BYTES];
	const struct ig_audit_finding finding = {.type = type,
		.file = where->at.file,
		.line = where->at.line,
		.run = run ? run->id : "",
		.first = where->first,
		.last = where->last,
		.message = message};
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (type != IG_AUDIT_FINDING_REPORTED && type != IG_AUDIT_FINDING_NOTE)
		v->summary.problems++;
	v->finding(&finding, v->userdata);
}

/* The line that is being read; seq 0: it has no number. */
static struct gap here(const struct ig_audit_verify *v, uint64_t seq)
{
	return (struct gap){.first = seq, .last = seq, .at = v->at};
}

/* ---- gaps ------------------------------------------------------------------------------------ */

static int add_gap(struct run *run, uint64_t first, uint64_t last, struct place at)
{
	if (run->n_gaps == run->cap_gaps) {
		size_t cap = run->cap_gaps ? 2 * run->cap_gaps : 4;
		struct gap *more = reallocarray(run->gaps, cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		run->gaps = more;
		run->cap_gaps = cap;
	}
	run->gaps[run->n_gaps++] = (struct gap){.first = first, .last = last, .at = at};
	return 0;
}

/* A loss was reported: it explains the numbers that went missing last. */
static void explain(struct ig_audit_verify *v, struct run *run, uint64_t count)
{
	while (count && run->n_gaps) {
		struct gap *gap = &run->gaps[run->n_gaps - 1], part = *gap;
		uint64_t size = gap->last - gap->first + 1, n = count < size ? count : size;

		part.first = gap->last - n + 1;
		part.at = v->at;
		say(v, IG_AUDIT_FINDING_REPORTED, run, &part, "%ju missing, reported as lost",
			(uintmax_t)n);
		run->reported += n;
		count -= n;
		if (n == size)
			run->n_gaps--;
		else
			gap->last -= n;
	}
}

/* A number that comes late: takes it out of its gap. False when it was in none. */
static int fill(struct run *run, uint64_t seq, bool *ret_found)
{
	for (size_t i = 0; i < run->n_gaps; i++) {
		struct gap *gap = &run->gaps[i], rest = *gap;

		if (seq < gap->first || seq > gap->last)
			continue;
		*ret_found = true;
		rest.first = seq + 1;
		gap->last = seq - 1;
		if (gap->first > gap->last) {
			*gap = rest;
			rest.first = rest.last + 1;
		}
		if (gap->first > gap->last) {
			memmove(gap, gap + 1, (run->n_gaps-- - i - 1) * sizeof(*gap));
			return 0;
		}
		return rest.first <= rest.last ? add_gap(run, rest.first, rest.last, rest.at) : 0;
	}
	return 0;
}

/* ---- runs ------------------------------------------------------------------------------------ */

/* An agent that was taken over from still answers what it had begun, while the next one writes to
 * the same log: no more than that may be mixed. */
static bool may_be_mixed(const struct run *a, const struct run *b)
{
	for (const struct run *later = a; later; later = later->took_over ? later->before : NULL)
		if (later == b)
			return true;
	for (const struct run *later = b; later; later = later->took_over ? later->before : NULL)
		if (later == a)
			return true;
	return false;
}

static int find_run(struct ig_audit_verify *v, const struct record *r, struct run **ret)
{
	struct run *run = NULL;

	HASH_FIND_STR(v->runs, r->run, run);
	if (!run) {
		run = calloc(1, sizeof(*run));
		if (!run)
			return -ENOMEM;
		(void)snprintf(run->id, sizeof(run->id), "%s", r->run);
		(void)snprintf(run->boot, sizeof(run->boot), "%s", r->boot);
		run->first = r->seq;
		run->took_over = r->seq == 1 && strcmp(r->kind, "agent.started") == 0 &&
				 r->reason && strcmp(r->reason, "took_over") == 0;
		run->before = v->newest;
		v->newest = run;
		HASH_ADD_STR(v->runs, id, run);
		if (!ig_table_has(run)) {
			free(run);
			return -ENOMEM;
		}
		v->summary.runs++;
	} else if (v->current != run && !may_be_mixed(run, v->current)) {
		struct gap at = here(v, r->seq);

		say(v, IG_AUDIT_FINDING_ORDER, run, &at,
			"a record of this run stands behind those of a later one");
	}
	v->current = run;
	*ret = run;
	return 0;
}

/* ---- the chain ------------------------------------------------------------------------------- */

/* Called for a record that follows the one before it without a gap. */
static int check_link(struct ig_audit_verify *v, struct run *run, const struct record *r)
{
	char genesis[IG_AUDIT_HASH_BYTES + 1];
	const char *expected = run->last_hash;
	struct gap at = here(v, r->seq);

	if (r->seq == 1) {
		int error = ig_audit_chain_first(r->boot, r->run, genesis);

		if (error < 0)
			return error;
		expected = genesis;
	}
	if (!run->chained || !expected[0])
		return 0;
	run->links++;
	if (strcmp(r->prev, expected) == 0)
		return 0;
	if (r->seq > 1) {
		at = (struct gap){.first = run->last, .last = run->last, .at = run->last_at};
		say(v, IG_AUDIT_FINDING_ALTERED, run, &at,
			"number %ju was altered: number %ju carries another hash",
			(uintmax_t)run->last, (uintmax_t)r->seq);
	} else {
		say(v, IG_AUDIT_FINDING_ALTERED, run, &at,
			"the link of the run's first record is wrong");
	}
	return 0;
}

/* All records of a run have a link, or none has. */
static bool has_link_like_others(struct ig_audit_verify *v, struct run *run, const struct record *r)
{
	struct gap at = here(v, r->seq);

	if (run->chained == (r->prev != NULL))
		return true;
	say(v, IG_AUDIT_FINDING_ALTERED, run, &at,
		run->chained ? "the link of the chain was taken out"
			     : "a link of a chain that the run does not have");
	return false;
}

/* ---- records --------------------------------------------------------------------------------- */

static int read_late(struct ig_audit_verify *v, struct run *run, const struct record *r)
{
	struct gap at = here(v, r->seq);
	bool was_missing = false;
	int error = fill(run, r->seq, &was_missing);

	if (error < 0)
		return error;
	if (was_missing || r->seq < run->first)
		say(v, IG_AUDIT_FINDING_ORDER, run, &at, "number %ju comes after number %ju",
			(uintmax_t)r->seq, (uintmax_t)run->last);
	else
		say(v, IG_AUDIT_FINDING_DUPLICATE, run, &at, "number %ju comes a second time",
			(uintmax_t)r->seq);
	return 0;
}

static int read_first(struct ig_audit_verify *v, struct run *run, const struct record *r)
{
	struct gap before = {.first = 1, .last = r->seq - 1, .at = v->at};

	if (r->seq == 1)
		return check_link(v, run, r);
	/* what is before the first line of the first file may stand in an older one */
	if (v->summary.runs > 1)
		return add_gap(run, 1, r->seq - 1, v->at);
	say(v, IG_AUDIT_FINDING_NOTE, run, &before,
		"the log begins with number %ju of a run; what came before is not in it",
		(uintmax_t)r->seq);
	return 0;
}

static int read_numbered(struct ig_audit_verify *v, struct run *run, const struct record *r,
	const char *text, size_t len)
{
	bool linked;
	int error = 0;

	if (!run->records)
		run->chained = r->prev != NULL;
	linked = has_link_like_others(v, run, r);
	if (run->last && r->seq <= run->last)
		return read_late(v, run, r);
	if (!run->last)
		error = read_first(v, run, r);
	else if (r->seq > run->last + 1)
		error = add_gap(run, run->last + 1, r->seq - 1, v->at);
	else if (linked)
		error = check_link(v, run, r);
	if (error == 0)
		error = ig_audit_chain_next(text, len, run->last_hash);
	if (error < 0)
		return error;
	run->last = r->seq;
	run->last_at = v->at;
	run->records++;
	run->stopped =
		strcmp(r->kind, "agent.stopped") == 0 || strcmp(r->kind, "agent.detached") == 0;
	return 0;
}

/* A line that only one reader of `audit tail` got: without a number of its own, it says how many
 * that reader has lost, up to r->seq. */
static int read_private_notice(struct ig_audit_verify *v, struct run *run, const struct record *r)
{
	int error = 0;

	if (!r->count || r->seq <= run->last)
		return 0;
	error = add_gap(run, run->last + 1, r->seq, v->at);
	run->last = r->seq;
	run->last_hash[0] = '\0';
	explain(v, run, r->count);
	return error;
}

/* It has no link either, so in the log of a sink, which never gets one, it proves nothing: anybody
 * could have put it there instead of what it says is lost. */
static bool may_have_private_notices(struct ig_audit_verify *v, const struct record *r)
{
	struct gap at = here(v, r->seq);

	if (strcmp(v->sink, "subscriber") == 0)
		return true;
	say(v, IG_AUDIT_FINDING_ALTERED, NULL, &at,
		"what only a reader of audit tail is told does not belong here");
	return false;
}

static bool is_hex(const char *s, size_t len)
{
	return strlen(s) == len && strspn(s, "0123456789abcdef") == len;
}

/* NULL when it is a record, else what it lacks. */
static const char *take_apart(json_t *json, struct record *ret)
{
	const json_t *seq = json_object_get(json, "seq"), *count = json_object_get(json, "count");
	struct record r = {
		.run = json_string_value(json_object_get(json, "run")),
		.boot = json_string_value(json_object_get(json, "boot")),
		.kind = json_string_value(json_object_get(json, "kind")),
		.reason = json_string_value(json_object_get(json, "reason")),
		.prev = json_string_value(json_object_get(json, "prev")),
	};

	if (!json_is_integer(seq) || json_integer_value(seq) < 1)
		return "it has no number";
	if (!r.run || !is_hex(r.run, RUN_BYTES))
		return "it does not say of which run it is";
	if (!r.boot || strlen(r.boot) != BOOT_BYTES || !r.kind)
		return "it lacks what every record has";
	if (json_object_get(json, "prev") && (!r.prev || !is_hex(r.prev, IG_AUDIT_HASH_BYTES)))
		return "its link is no hash";
	r.seq = (uint64_t)json_integer_value(seq);
	r.count = json_integer_value(count) > 0 ? (uint64_t)json_integer_value(count) : 0;
	*ret = r;
	return NULL;
}

static int read_record(
	struct ig_audit_verify *v, const struct record *r, const char *text, size_t len)
{
	const bool is_loss = strcmp(r->kind, "events.lost") == 0 && r->reason;
	const bool is_private = is_loss && strcmp(r->reason, "subscriber") == 0;
	struct run *run = NULL;
	int error;

	if (is_private && !may_have_private_notices(v, r))
		return 0;
	error = find_run(v, r, &run);
	if (error < 0)
		return error;
	if (is_private)
		return read_private_notice(v, run, r);
	error = read_numbered(v, run, r, text, len);
	if (error < 0)
		return error;
	v->summary.records++;
	if (is_loss && strcmp(r->reason, v->sink) == 0)
		explain(v, run, r->count);
	if (is_loss && strcmp(r->reason, "kernel") == 0)
		v->summary.lost_kernel += r->count;
	return 0;
}

static int read_line(struct ig_audit_verify *v, const char *text, size_t len)
{
	_cleanup_(json_decrefp) json_t *json =
		ig_json_load(text, len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *version = json_object_get(json, "v");
	struct gap at = here(v, 0);
	struct record record;
	const char *wrong;

	if (!json_is_object(json)) {
		say(v, IG_AUDIT_FINDING_UNREADABLE, NULL, &at, "this is not a JSON object");
		return 0;
	}
	if (json_integer_value(version) != IG_AUDIT_SCHEMA_VERSION) {
		say(v, IG_AUDIT_FINDING_VERSION, NULL, &at, "this is not version %d of the schema",
			IG_AUDIT_SCHEMA_VERSION);
		return 0;
	}
	wrong = take_apart(json, &record);
	if (wrong) {
		say(v, IG_AUDIT_FINDING_UNREADABLE, NULL, &at, "this is no audit record: %s",
			wrong);
		return 0;
	}
	return read_record(v, &record, text, len);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* One line without its newline; a longer one than there may be is cut. False at the end. */
static bool next_line(FILE *stream, struct ig_buf *b, bool *ret_ended, bool *ret_too_long)
{
	int c;

	ig_buf_reset(b);
	*ret_too_long = false;
	while ((c = getc_unlocked(stream)) != EOF && c != '\n') {
		if (b->len < IG_AUDIT_LINE_BYTES)
			ig_buf_putc(b, (char)c);
		else
			*ret_too_long = true;
	}
	*ret_ended = c == '\n';
	return c == '\n' || b->len > 0;
}

int ig_audit_verify_file(struct ig_audit_verify *v, FILE *stream, const char *name)
{
	_cleanup_(ig_buf_donep) struct ig_buf b = {.limit = IG_AUDIT_LINE_BYTES};
	bool ended, too_long;
	int r = 0;

	v->at = (struct place){.file = name};
	while (r == 0 && next_line(stream, &b, &ended, &too_long)) {
		struct gap at;

		v->at.line++;
		v->summary.lines++;
		at = here(v, 0);
		if (ig_buf_finish(&b) < 0)
			return ig_buf_finish(&b);
		if (!ended)
			say(v, IG_AUDIT_FINDING_TRUNCATED, v->current, &at,
				"the file ends inside a line");
		else if (too_long)
			say(v, IG_AUDIT_FINDING_UNREADABLE, NULL, &at,
				"the line is longer than %d bytes", IG_AUDIT_LINE_BYTES);
		else
			r = read_line(v, b.data ? b.data : "", b.len);
	}
	return r == 0 && ferror(stream) ? -EIO : r;
}

static void finish_run(struct ig_audit_verify *v, struct run *run, ig_audit_run_fn *run_fn)
{
	struct ig_audit_run_summary summary = {.boot = run->boot,
		.run = run->id,
		.first = run->first,
		.last = run->last,
		.records = run->records,
		.reported = run->reported,
		.links = run->links,
		.chained = run->chained,
		.stopped = run->stopped};

	for (size_t i = 0; i < run->n_gaps; i++) {
		const struct gap *gap = &run->gaps[i];
		uint64_t n = gap->last - gap->first + 1;

		summary.missing += n;
		say(v, IG_AUDIT_FINDING_MISSING, run, gap,
			"%ju missing before this line, and not reported as lost", (uintmax_t)n);
	}
	if (!run->stopped && run != v->current)
		say(v, IG_AUDIT_FINDING_NOTE, run,
			&(struct gap){.first = run->last, .last = run->last, .at = run->last_at},
			"the run ends without agent.stopped: the agent was killed, or the end is gone");
	v->summary.reported += summary.reported;
	v->summary.missing += summary.missing;
	v->summary.links += summary.links;
	if (run_fn)
		run_fn(&summary, v->userdata);
}

void ig_audit_verify_finish(
	struct ig_audit_verify *v, ig_audit_run_fn *run_fn, struct ig_audit_verify_summary *ret)
{
	struct run *run, *next;

	HASH_ITER (hh, v->runs, run, next)
		finish_run(v, run, run_fn);
	*ret = v->summary;
}

int ig_audit_verify_new(const char *sink, ig_audit_finding_fn *finding, void *userdata,
	struct ig_audit_verify **ret)
{
	struct ig_audit_verify *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	*v = (struct ig_audit_verify){.sink = sink, .finding = finding, .userdata = userdata};
	*ret = v;
	return 0;
}

struct ig_audit_verify *ig_audit_verify_free(struct ig_audit_verify *v)
{
	struct run *run, *next;

	if (!v)
		return NULL;
	HASH_ITER (hh, v->runs, run, next) {
		HASH_DEL(v->runs, run);
		free(run->gaps);
		free(run);
	}
	free(v);
	return NULL;
}
