/*
 * Requests that are right or wrong, for the tests of what parses one. The test defines before what
 * that is: PARSE, the function, and PARSED, the structure that it fills. Included after cmocka's
 * headers.
 */
#pragma once

#include <errno.h>
#include <string.h>

#include "imds/reply.h"
#include "imds/routes.h"

static const struct ig_http_header metadata[] = {{"Metadata", "true"}};

static int parse(enum ig_http_method method, const char *target,
	const struct ig_http_header *headers, size_t n_headers, PARSED *ret,
	struct ig_imds_reply *reterr_reply)
{
	struct ig_http_request req = {.method = method,
		.target = target,
		.headers = headers,
		.n_headers = n_headers,
		.minor_version = 1};
	struct ig_imds_target t = ig_imds_route(target);

	return PARSE(&req, &t, ret, reterr_reply);
}

static void expect_error(int line, enum ig_http_method method, const char *target,
	const struct ig_http_header *headers, size_t n_headers, enum ig_imds_error error)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply expected = {};
	PARSED parsed;
	int r;

	memset(&parsed, 0x5a, sizeof(parsed));
	r = parse(method, target, headers, n_headers, &parsed, &reply);
	if (r != -EBADMSG || reply.error != error)
		fail_msg("line %d: '%.200s': %d %s", line, target, r,
			ig_imds_error_name(reply.error));
	assert_int_equal(ig_imds_reply_error(error, NULL, NULL, &expected), 0);
	assert_int_equal(reply.status, expected.status);
	assert_string_equal(reply.body.data, expected.body.data);
	/* on failure the result is untouched */
	assert_int_equal(((const unsigned char *)&parsed)[0], 0x5a);
}

#define EXPECT_ERROR(target, error)                                                                \
	expect_error(__LINE__, IG_HTTP_GET, (target), metadata, 1, IG_IMDS_ERROR_##error)

static PARSED expect_ok(
	int line, const char *target, const struct ig_http_header *headers, size_t n_headers)
{
	_cleanup_(ig_imds_reply_donep) struct ig_imds_reply reply = {};
	PARSED parsed = {};

	if (parse(IG_HTTP_GET, target, headers, n_headers, &parsed, &reply) != 0)
		fail_msg("line %d: '%.200s': %s", line, target, ig_imds_error_name(reply.error));
	assert_null(reply.body.data);
	return parsed;
}

#define EXPECT_OK(target) expect_ok(__LINE__, (target), metadata, 1)
