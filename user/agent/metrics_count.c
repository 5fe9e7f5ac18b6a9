/*
 * Where events of the agent become counts; see metrics.h. Called on every request and every call to
 * upstream, so it must not allocate, format, or look anything up.
 */
#include "agent/metrics.h"

static unsigned int class_of(unsigned int status)
{
	if (status < 300)
		return IG_CLASS_2XX;
	return status < 500 ? IG_CLASS_4XX : IG_CLASS_5XX;
}

void ig_count_answer(
	struct ig_metrics *metrics, enum ig_imds_route route, unsigned int status, uint64_t usec)
{
	ig_metrics_add(metrics, IG_M_HTTP_REQUESTS, route, class_of(status), 1);
	ig_metrics_observe(metrics, IG_M_HTTP_DURATION, route, 0, usec);
}

static unsigned int denied(enum ig_imds_error error)
{
	switch (error) {
	case IG_IMDS_ERROR_MULTIPLE_IDENTITIES: return IG_OUTCOME_DENIED_AMBIGUOUS;
	case IG_IMDS_ERROR_POD_NOT_FOUND: return IG_OUTCOME_DENIED_UNKNOWN_POD;
	case IG_IMDS_ERROR_FORBIDDEN: return IG_OUTCOME_DENIED_POLICY;
	case IG_IMDS_ERROR_TOO_MANY: return IG_OUTCOME_DENIED_RATE;
	default: return IG_OUTCOME_DENIED_NO_IDENTITY;
	}
}

static unsigned int failed(enum ig_imds_error error)
{
	switch (error) {
	case IG_IMDS_ERROR_UPSTREAM_REJECTED: return IG_OUTCOME_FAILED_REJECTED;
	case IG_IMDS_ERROR_IDENTITY_NOT_FOUND: return IG_OUTCOME_FAILED_NOT_FOUND;
	case IG_IMDS_ERROR_UNAVAILABLE: return IG_OUTCOME_FAILED_UNAVAILABLE;
	default: return IG_OUTCOME_FAILED_BROKEN;
	}
}

static unsigned int outcome_of(enum ig_audit_kind kind, enum ig_imds_error error)
{
	switch (kind) {
	case IG_AUDIT_TOKEN_ISSUED: return IG_OUTCOME_ISSUED;
	case IG_AUDIT_TOKEN_DENIED: return denied(error);
	case IG_AUDIT_TOKEN_FAILED: return failed(error);
	/* before it was a request: its form, or our memory */
	default:
		return error == IG_IMDS_ERROR_UNAVAILABLE ? IG_OUTCOME_FAILED_UNAVAILABLE
							  : IG_OUTCOME_BAD_REQUEST;
	}
}

void ig_count_token_request(
	struct ig_metrics *metrics, enum ig_audit_kind kind, enum ig_imds_error error)
{
	ig_metrics_add(metrics, IG_M_TOKEN_REQUESTS, outcome_of(kind, error), 0, 1);
}

void ig_count_token_call(const struct ig_token_call *call, void *userdata)
{
	unsigned int result = call->failed ? IG_UPSTREAM_FAILED + call->kind : IG_UPSTREAM_OK;
	struct ig_metrics *metrics = userdata;

	ig_metrics_add(metrics, IG_M_UPSTREAM, call->source, result, 1);
	if (call->was_sent)
		ig_metrics_observe(metrics, IG_M_UPSTREAM_DURATION, call->source, 0, call->usec);
	if (call->is_refresh)
		ig_metrics_add(metrics, IG_M_TOKEN_REFRESHES,
			call->failed ? IG_REFRESH_FAILED : IG_REFRESH_OK, 0, 1);
}

void ig_count_document_call(enum ig_imds_error error, uint64_t usec, void *userdata)
{
	unsigned int result = IG_UPSTREAM_FAILED + IG_TOKEN_BROKEN;
	struct ig_metrics *metrics = userdata;

	if (error == IG_IMDS_ERROR_NONE)
		result = IG_UPSTREAM_OK;
	else if (error == IG_IMDS_ERROR_UNAVAILABLE)
		result = IG_UPSTREAM_FAILED + IG_TOKEN_UNAVAILABLE;
	ig_metrics_add(metrics, IG_M_UPSTREAM, IG_SOURCE_DOCUMENTS, result, 1);
	if (usec)
		ig_metrics_observe(metrics, IG_M_UPSTREAM_DURATION, IG_SOURCE_DOCUMENTS, 0, usec);
}
