/*
 * The agent's table of metrics, and what its counting makes of events.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "agent/metrics.h"
#include "token/source.h"
#include "unit/metrics_fixture.h"

static int set_up(void **state)
{
	*state = fixture_of(ig_metrics_table, _IG_M_MAX);
	return 0;
}

/* ---- the table ------------------------------------------------------------------------------- */

static bool ends_in(const char *s, const char *end)
{
	return strlen(s) > strlen(end) && strcmp(s + strlen(s) - strlen(end), end) == 0;
}

static void is_word(const char *s)
{
	assert_non_null(s);
	assert_true(s[0] && !isdigit((unsigned char)s[0]));
	for (; *s; s++)
		assert_true(islower((unsigned char)*s) || isdigit((unsigned char)*s) || *s == '_');
}

static void names_follow_the_rules(void **state)
{
	(void)state;
	for (size_t i = 0; i < _IG_M_MAX; i++) {
		const struct ig_metric *m = &ig_metrics_table[i];

		is_word(m->name);
		assert_true(strncmp(m->name, "imdsgate_", 9) == 0 ||
			    strncmp(m->name, "process_", 8) == 0);
		assert_true(ends_in(m->name, "_total") == (m->type == IG_METRIC_COUNTER));
		assert_true(ends_in(m->name, "_seconds") == (m->unit == IG_METRIC_USEC));
		assert_true(m->type != IG_METRIC_HISTOGRAM || m->unit == IG_METRIC_USEC);
		assert_true(ends_in(m->help, "."));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(m->name, ig_metrics_table[j].name);
	}
}

static void check_label(const struct ig_metric_label *label)
{
	if (!label->n_values)
		return;
	is_word(label->name);
	for (unsigned int i = 0; i < label->n_values; i++) {
		/* a value that was forgotten when an enum grew */
		assert_non_null(label->value(i));
		assert_true(label->value(i)[0] != '\0');
		for (unsigned int j = 0; j < i; j++)
			assert_string_not_equal(label->value(i), label->value(j));
	}
}

static void every_label_has_all_its_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < _IG_M_MAX; i++)
		for (size_t j = 0; j < IG_METRIC_LABELS_MAX; j++)
			check_label(ig_metrics_table[i].labels[j]);
	assert_int_equal(
		ig_metrics_table[IG_M_UPSTREAM].labels[0]->n_values, _IG_TOKEN_SOURCE_MAX + 1);
	assert_int_equal(ig_metrics_table[IG_M_UPSTREAM].labels[1]->n_values,
		IG_UPSTREAM_FAILED + _IG_TOKEN_FAILURE_MAX);
	assert_int_equal(
		ig_metrics_table[IG_M_UPSTREAM_QUEUE].labels[0]->n_values, _IG_SOURCE_LANE_MAX + 1);
	assert_int_equal(
		ig_metrics_table[IG_M_TOKEN_CACHE].labels[0]->n_values, _IG_TOKEN_CACHE_STATE_MAX);
	assert_int_equal(
		ig_metrics_table[IG_M_TOKEN_REQUESTS].labels[0]->n_values, _IG_OUTCOME_MAX);
}

/* With the longest numbers everywhere the page still has room, so that it cannot fail in service.
 */
static void the_longest_page_fits(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < _IG_M_MAX; i++) {
		const struct ig_metric *m = &ig_metrics_table[i];
		unsigned int n0 = m->labels[0]->n_values, n1 = m->labels[1]->n_values;

		for (unsigned int j = 0; j < (n0 ? n0 : 1); j++) {
			for (unsigned int k = 0; k < (n1 ? n1 : 1); k++) {
				if (m->type == IG_METRIC_HISTOGRAM)
					ig_metrics_observe(f->metrics, i, j, k, UINT64_MAX);
				else
					ig_metrics_set(f->metrics, i, j, k, UINT64_MAX - 1);
			}
		}
	}
	assert_true(strlen(text_of(f)) < IG_METRICS_PAGE_BYTES / 2);
}

/* ---- counting -------------------------------------------------------------------------------- */

static void answers_by_route_and_class(void **state)
{
	struct fixture *f = *state;

	ig_count_answer(f->metrics, IG_IMDS_ROUTE_TOKEN, 200, 600);
	ig_count_answer(f->metrics, IG_IMDS_ROUTE_TOKEN, 400, 30);
	ig_count_answer(f->metrics, IG_IMDS_ROUTE_TOKEN, 429, 30);
	ig_count_answer(f->metrics, IG_IMDS_ROUTE_NONE, 404, 30);
	ig_count_answer(f->metrics, IG_IMDS_ROUTE_INSTANCE, 503, 20000000);
	has(f, "imdsgate_http_requests_total{route=\"token\",class=\"2xx\"} 1");
	has(f, "imdsgate_http_requests_total{route=\"token\",class=\"4xx\"} 2");
	has(f, "imdsgate_http_requests_total{route=\"token\",class=\"5xx\"} 0");
	has(f, "imdsgate_http_requests_total{route=\"none\",class=\"4xx\"} 1");
	has(f, "imdsgate_http_requests_total{route=\"instance\",class=\"5xx\"} 1");
	has(f, "imdsgate_http_request_duration_seconds_bucket{route=\"token\",le=\"0.0005\"} 2");
	has(f, "imdsgate_http_request_duration_seconds_sum{route=\"token\"} 0.000660");
	has(f, "imdsgate_http_request_duration_seconds_bucket{route=\"instance\",le=\"10\"} 0");
	has(f, "imdsgate_http_request_duration_seconds_count{route=\"instance\"} 1");
}

static void token_requests_by_outcome(void **state)
{
	static const struct {
		enum ig_audit_kind kind;
		enum ig_imds_error error;
		const char *outcome;
	} cases[] = {
		{IG_AUDIT_TOKEN_ISSUED, IG_IMDS_ERROR_NONE, "issued"},
		{IG_AUDIT_TOKEN_DENIED, IG_IMDS_ERROR_IDENTITY_NOT_FOUND, "denied_no_identity"},
		{IG_AUDIT_TOKEN_DENIED, IG_IMDS_ERROR_MULTIPLE_IDENTITIES, "denied_ambiguous"},
		{IG_AUDIT_TOKEN_DENIED, IG_IMDS_ERROR_POD_NOT_FOUND, "denied_unknown_pod"},
		{IG_AUDIT_TOKEN_DENIED, IG_IMDS_ERROR_FORBIDDEN, "denied_policy"},
		{IG_AUDIT_TOKEN_DENIED, IG_IMDS_ERROR_TOO_MANY, "denied_rate"},
		{IG_AUDIT_TOKEN_FAILED, IG_IMDS_ERROR_UPSTREAM_REJECTED, "failed_rejected"},
		{IG_AUDIT_TOKEN_FAILED, IG_IMDS_ERROR_IDENTITY_NOT_FOUND, "failed_not_found"},
		{IG_AUDIT_TOKEN_FAILED, IG_IMDS_ERROR_UNAVAILABLE, "failed_unavailable"},
		{IG_AUDIT_TOKEN_FAILED, IG_IMDS_ERROR_SERVER, "failed_broken"},
		{IG_AUDIT_REQUEST_REJECTED, IG_IMDS_ERROR_NO_RESOURCE, "bad_request"},
		{IG_AUDIT_REQUEST_REJECTED, IG_IMDS_ERROR_METHOD, "bad_request"},
	};
	struct fixture *f = *state;
	char line[128];

	for (size_t i = 0; i < IG_ARRAY_SIZE(cases); i++) {
		unsigned int before = i == IG_ARRAY_SIZE(cases) - 1;

		(void)snprintf(line, sizeof(line),
			"imdsgate_token_requests_total{outcome=\"%s\"} %u", cases[i].outcome,
			before);
		has(f, line);
		ig_count_token_request(f->metrics, cases[i].kind, cases[i].error);
		line[strlen(line) - 1]++;
		has(f, line);
	}
	/* every error that there is has a place */
	for (int kind = 0; kind < _IG_AUDIT_KIND_MAX; kind++)
		for (int error = 0; error < _IG_IMDS_ERROR_MAX; error++)
			ig_count_token_request(
				f->metrics, (enum ig_audit_kind)kind, (enum ig_imds_error)error);
}

static void calls_by_source_and_result(void **state)
{
	const struct ig_token_call ok = {.was_sent = true, .usec = 1000};
	const struct ig_token_call down = {.source = IG_TOKEN_SOURCE_SECRET,
		.failed = true,
		.kind = IG_TOKEN_UNAVAILABLE,
		.is_refresh = true,
		.was_sent = true,
		.usec = 20};
	const struct ig_token_call unsent = {
		.source = IG_TOKEN_SOURCE_CERTIFICATE, .failed = true, .kind = IG_TOKEN_BROKEN};
	struct fixture *f = *state;

	ig_count_token_call(&ok, f->metrics);
	ig_count_token_call(&down, f->metrics);
	ig_count_token_call(&unsent, f->metrics);
	ig_count_document_call(IG_IMDS_ERROR_NONE, 70, f->metrics);
	ig_count_document_call(IG_IMDS_ERROR_UNAVAILABLE, 0, f->metrics);
	ig_count_document_call(IG_IMDS_ERROR_SERVER, 5, f->metrics);
	has(f, "imdsgate_upstream_calls_total{source=\"imds\",result=\"ok\"} 1");
	has(f, "imdsgate_upstream_calls_total{source=\"entra_secret\",result=\"unavailable\"} 1");
	has(f, "imdsgate_upstream_calls_total{source=\"entra_certificate\",result=\"broken\"} 1");
	has(f, "imdsgate_upstream_duration_seconds_sum{source=\"imds\"} 0.001000");
	has(f, "imdsgate_upstream_duration_seconds_count{source=\"entra_secret\"} 1");
	has(f, "imdsgate_upstream_duration_seconds_count{source=\"entra_certificate\"} 0");
	has(f, "imdsgate_upstream_calls_total{source=\"imds_documents\",result=\"ok\"} 1");
	has(f, "imdsgate_upstream_calls_total{source=\"imds_documents\",result=\"unavailable\"} 1");
	has(f, "imdsgate_upstream_calls_total{source=\"imds_documents\",result=\"broken\"} 1");
	has(f, "imdsgate_upstream_duration_seconds_count{source=\"imds_documents\"} 2");
	has(f, "imdsgate_token_refreshes_total{result=\"failed\"} 1");
	has(f, "imdsgate_token_refreshes_total{result=\"ok\"} 0");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_follow_the_rules),
		cmocka_unit_test(every_label_has_all_its_values),
		TEST(the_longest_page_fits),
		TEST(answers_by_route_and_class),
		TEST(token_requests_by_outcome),
		TEST(calls_by_source_and_result),
	};

	return cmocka_run_group_tests_name("agent/metrics", tests, NULL, NULL);
}
