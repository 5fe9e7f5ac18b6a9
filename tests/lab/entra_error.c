/*
 * Entra ID's errors and the shape of their replies; see entra_error.h. Numbers, statuses and names
 * are those of the real one, since an agent decides by them. Must never repeat a secret or an
 * assertion: texts name what was wrong, not what was sent. Called by entra.c, assertion.c,
 * discovery.c, imds.c and service_faults.c.
 */
#include "lab/entra_error.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "lab/encode.h"

#define UNKNOWN_RESOURCE 500011

static const struct lab_entra_error errors[] = {
	{50001, 400, "invalid_resource"}, {50012, 401, "invalid_client"},
	{50013, 401, "invalid_client"}, {50027, 400, "invalid_request"}, /* no JWT */
	{50196, 400, "invalid_grant"},					 /* client request loop */
	{70003, 400, "unsupported_grant_type"}, {70011, 400, "invalid_scope"},
	{70021, 400, "invalid_request"}, /* no federated credential */
	{90002, 400, "invalid_request"}, /* tenant */
	{90023, 400, "invalid_request"}, {90033, 503, "temporarily_unavailable"},
	{90055, 429, "temporarily_unavailable"},				 /* throttled */
	{500011, 400, "invalid_resource"}, {700016, 400, "unauthorized_client"}, /* application */
	{700021, 401, "invalid_client"},  /* issuer or subject of a client assertion */
	{700023, 401, "invalid_client"},  /* its audience */
	{700024, 401, "invalid_client"},  /* its time */
	{700027, 401, "invalid_client"},  /* its signature or key */
	{700211, 401, "invalid_client"},  /* federation: issuer */
	{700212, 401, "invalid_client"},  /* audience */
	{700213, 401, "invalid_client"},  /* subject */
	{900144, 400, "invalid_request"}, /* missing parameter */
	{901002, 400, "invalid_request"}, /* resource where scope belongs */
	{1002012, 400, "invalid_scope"}, {5002727, 400, "invalid_request"}, /* typ */
	{7000215, 401, "invalid_client"},				    /* secret */
	{7000216, 401, "invalid_client"},				    /* no credential */
	{7000222, 401, "invalid_client"},				    /* expired secret */
	{9000411, 400, "invalid_request"}, /* duplicated parameter */
};

struct ids {
	char trace[LAB_GUID_BYTES];
	char correlation[LAB_GUID_BYTES];
	char stamp[LAB_STAMP_BYTES];
};

static int make_ids(struct ids *ret)
{
	if (!lab_guid(ret->trace) || !lab_guid(ret->correlation))
		return -EIO;
	(void)lab_stamp(ig_clock_real_usec() / IG_USEC_PER_SEC, ret->stamp);
	return 0;
}

const struct lab_entra_error *lab_entra_error_find(unsigned int code)
{
	for (size_t i = 0; i < IG_ARRAY_SIZE(errors); i++)
		if (errors[i].code == code)
			return &errors[i];
	return NULL;
}

void lab_entra_refuse_as(
	struct lab_reply *reply, const struct lab_entra_error *error, const char *text)
{
	_cleanup_(ig_buf_donep) struct ig_buf whole = {.limit = LAB_REPLY_BYTES};
	struct ig_buf *b = &reply->body;
	struct ids ids;
	int r = make_ids(&ids);

	if (r == 0) {
		ig_buf_printf(&whole, "AADSTS%u: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
			error->code, text, ids.trace, ids.correlation, ids.stamp);
		r = ig_buf_finish(&whole);
	}
	if (r < 0) {
		lab_reply_failure(reply, r);
		return;
	}
	lab_reply_error(reply, error->status, error->error, whole.data);
	if (ig_buf_finish(b) < 0)
		return; /* who sends the reply sees it */
	b->len--;	/* the brace; further members follow */
	ig_buf_json_key(b, "error_codes");
	ig_buf_printf(b, "[%u]", error->code);
	ig_buf_json_member_str(b, "timestamp", ids.stamp);
	ig_buf_json_member_str(b, "trace_id", ids.trace);
	ig_buf_json_member_str(b, "correlation_id", ids.correlation);
	ig_buf_json_key(b, "error_uri");
	ig_buf_printf(b, "\"https://login.microsoftonline.com/error?code=%u\"}", error->code);
	reply->error_code = error->code;
}

void lab_entra_refuse(struct lab_reply *reply, unsigned int code, const char *fmt, ...)
{
	const struct lab_entra_error *error = lab_entra_error_find(code);
	_cleanup_free_ char *text = NULL;
	va_list ap;
	int n;

	assert(error);
	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0) {
		text = NULL; /* vasprintf() leaves it undefined */
		lab_reply_failure(reply, -ENOMEM);
		return;
	}
	lab_entra_refuse_as(reply, error, text);
}

int lab_entra_unknown_resource(struct ig_buf *out, const char *tenant, const char *resource)
{
	struct ids ids;
	int r = make_ids(&ids);

	if (r < 0)
		return r;
	ig_buf_printf(out,
		"AADSTS%u: " LAB_ENTRA_UNKNOWN_RESOURCE
		"\r\nTrace ID: %s\r\nCorrelation ID: %s\r\nTimestamp: %s",
		UNKNOWN_RESOURCE, resource, tenant, ids.trace, ids.correlation, ids.stamp);
	return ig_buf_finish(out);
}
