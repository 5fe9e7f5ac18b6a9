/*
 * Errors on demand, as tables; see service_faults.h. What a request can bring about by itself (an
 * unknown resource, a wrong secret) needs no fault; these are for what depends on the service's own
 * state, and for replies that a well-behaved agent never gets otherwise. Called by faults.c; taken
 * by imds.c and entra.c.
 */
#include "lab/service_faults.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "lab/entra_error.h"
#include "lab/faults.h"

#define THROTTLED 90055

static const struct lab_imds_error imds_errors[] = {
	{"metadata_header_missing", 400, "invalid_request",
		"Required metadata header not specified", NULL, false},
	{"identity_not_found", 400, "invalid_request", "Identity not found", NULL, false},
	{"multiple_identities", 400, "invalid_request",
		"Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request",
		NULL, false},
	{"resource_missing", 400, "invalid_request",
		"Required query variable 'resource' is missing", NULL, false},
	{"invalid_api_version", 400, NULL, "", NULL, true},
	{"invalid_resource", 400, "invalid_resource",
		"AADSTS500011: The resource principal named https://nobody.example was not found in the tenant named lab.\r\nTrace ID: 00000000-0000-4000-8000-000000000001\r\nCorrelation ID: 00000000-0000-4000-8000-000000000002\r\nTimestamp: 2026-01-02 03:04:05Z",
		NULL, false},
	{"unknown_source", 401, "unknown_source", "Unknown Source <URI>", NULL, false},
	{"forbidden", 403, "forbidden", "Forbidden", NULL, false},
	{"not_found", 404, "not_found", "Not found", NULL, false},
	{"method_not_allowed", 405, "method_not_allowed", "Not allowed", NULL, false},
	{"updating", 410, NULL, "", NULL, false},
	{"too_many_requests", 429, "too_many_requests", "Too many requests", NULL, false},
	{"server_error", 500, "server_error", "Server error", NULL, false},
	{"unknown", 500, "unknown",
		"Failed to retrieve token from the Active directory. For details see logs in <file path>",
		NULL, false},
	{"service_unavailable", 503, "service_unavailable", "Service unavailable", NULL, false},
	/* while IMDS restarts, its port is answered by another service */
	{"wireserver", 500, NULL, "Internal Server Error", "Microsoft-IIS/10.0", false},
};

/* What the three commands have in common; NULL stands for a member that a command has not. */
struct members {
	uint64_t *code;
	uint64_t *status;
	const char **name;
	bool *plain;
	uint64_t left;
	uint64_t retry_after_sec;
};

static int read_name(json_t *value, const char *key, const char **ret, struct ig_err *reterr_err)
{
	if (!json_is_string(value))
		return ig_err_set(reterr_err, -EINVAL, "%s is not a text", key);
	*ret = json_string_value(value);
	return 0;
}

static int read_flag(json_t *value, const char *key, bool *ret, struct ig_err *reterr_err)
{
	if (!json_is_boolean(value))
		return ig_err_set(reterr_err, -EINVAL, "%s is not a boolean", key);
	*ret = json_is_true(value);
	return 0;
}

static int read_member(struct members *m, const char *key, json_t *value, struct ig_err *reterr_err)
{
	if (strcmp(key, "count") == 0)
		return lab_fault_number(value, key, 1, UINT32_MAX, &m->left, reterr_err);
	if (strcmp(key, "retry_after") == 0)
		return lab_fault_number(value, key, 0, UINT32_MAX, &m->retry_after_sec, reterr_err);
	if (m->code && strcmp(key, "code") == 0)
		return lab_fault_number(value, key, 1, 99999999, m->code, reterr_err);
	if (m->status && strcmp(key, "status") == 0)
		return lab_fault_number(value, key, 400, 599, m->status, reterr_err);
	if (m->name && strcmp(key, "name") == 0)
		return read_name(value, key, m->name, reterr_err);
	if (m->plain && strcmp(key, "plain") == 0)
		return read_flag(value, key, m->plain, reterr_err);
	return ig_err_set(reterr_err, -EINVAL, "it has no '%s'", key);
}

/* 0, or 1 for false. */
static int read_members(struct members *m, json_t *value, struct ig_err *reterr_err)
{
	const char *key;
	json_t *member; /* owned by value */

	if (json_is_false(value))
		return 1;
	if (!json_is_object(value))
		return ig_err_set(reterr_err, -EINVAL, "it is not an object");
	m->left = UINT64_MAX;
	json_object_foreach (value, key, member) {
		int r = read_member(m, key, member, reterr_err);

		if (r < 0)
			return r;
	}
	return 0;
}

bool lab_service_fault_take(struct lab_service_fault *fault, struct lab_service_fault *ret)
{
	if (fault->left == 0)
		return false;
	*ret = *fault;
	if (fault->left != UINT64_MAX)
		fault->left--;
	return true;
}

int lab_service_fault_imds(
	struct lab_service_fault *fault, json_t *value, struct ig_err *reterr_err)
{
	const char *name = "";
	struct members m = {.name = &name};
	int r = read_members(&m, value, reterr_err);

	if (r < 0)
		return ig_err_wrap(reterr_err, r, "imds_error");
	*fault = (struct lab_service_fault){.left = m.left, .retry_after_sec = m.retry_after_sec};
	if (r > 0)
		return 0;
	for (size_t i = 0; i < IG_ARRAY_SIZE(imds_errors); i++)
		if (strcmp(imds_errors[i].name, name) == 0)
			fault->imds = &imds_errors[i];
	if (!fault->imds)
		return ig_err_set(reterr_err, -EINVAL, "imds_error: there is none '%s'", name);
	return 0;
}

/* For an error that is only known by its number, as RFC 6749 would call it. */
static const char *name_of(uint64_t status)
{
	if (status == 429 || status >= 500)
		return "temporarily_unavailable";
	return status == 401 ? "invalid_client" : "invalid_request";
}

int lab_service_fault_entra(
	struct lab_service_fault *fault, json_t *value, struct ig_err *reterr_err)
{
	uint64_t code = 0, status = 0;
	struct members m = {.code = &code, .status = &status};
	const struct lab_entra_error *known;
	int r = read_members(&m, value, reterr_err);

	if (r < 0)
		return ig_err_wrap(reterr_err, r, "entra_error");
	known = lab_entra_error_find((unsigned int)code);
	if (r == 0 && !code)
		return ig_err_set(reterr_err, -EINVAL, "entra_error needs a code");
	if (r == 0 && !known && !status)
		return ig_err_set(
			reterr_err, -EINVAL, "entra_error: with this code it needs a status");
	*fault = (struct lab_service_fault){.left = m.left,
		.retry_after_sec = m.retry_after_sec,
		.code = (unsigned int)code,
		.status = status  ? (unsigned int)status
			  : known ? known->status
				  : 0,
		.error = known ? known->error : name_of(status)};
	return 0;
}

int lab_service_fault_throttle(
	struct lab_service_fault *fault, json_t *value, struct ig_err *reterr_err)
{
	const struct lab_entra_error *error = lab_entra_error_find(THROTTLED);
	bool plain = false;
	struct members m = {.plain = &plain};
	int r = read_members(&m, value, reterr_err);

	if (r < 0)
		return ig_err_wrap(reterr_err, r, "throttle");
	*fault = (struct lab_service_fault){.left = m.left,
		.retry_after_sec = m.retry_after_sec,
		.code = error->code,
		.status = error->status,
		.error = error->error,
		.plain = plain};
	return 0;
}
