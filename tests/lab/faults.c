/*
 * Faults as a table of commands; see faults.h. Pure: the sockets are http.c's, the admin socket is
 * admin.c's. A command that is not understood must never be half applied, or a test would go on
 * with a lab that it did not ask for.
 */
#include "lab/faults.h"

#include <errno.h>
#include <string.h>

static const char *const fault_names[_LAB_FAULT_MAX] = {
	[LAB_FAULT_NONE] = "none",
	[LAB_FAULT_HANG] = "hang",
	[LAB_FAULT_RESET] = "reset",
	[LAB_FAULT_GARBAGE] = "garbage",
	[LAB_FAULT_GARBAGE_BODY] = "garbage_body",
	[LAB_FAULT_FAIL] = "fail",
	[LAB_FAULT_TRUNCATE] = "truncate",
	[LAB_FAULT_HUGE] = "huge",
};

const char *lab_fault_name(enum lab_fault fault)
{
	return fault_names[fault];
}

void lab_faults_init(struct lab_faults *faults, uint64_t delay_msec, uint64_t token_life_sec)
{
	*faults = (struct lab_faults){.delay_msec = delay_msec,
		.token_life_sec = token_life_sec,
		.start_delay_msec = delay_msec,
		.start_token_life_sec = token_life_sec};
}

void lab_faults_next(struct lab_faults *faults, struct lab_plan *ret)
{
	*ret = (struct lab_plan){.fault = faults->fault,
		.delay_msec = faults->delay_msec,
		.fail_status = faults->fail_status,
		.fail_retry_after_sec = faults->fail_retry_after_sec};
	if (faults->fault == LAB_FAULT_FAIL && faults->fail_left != UINT64_MAX &&
		--faults->fail_left == 0)
		faults->fault = LAB_FAULT_NONE;
}

int lab_fault_number(json_t *value, const char *name, uint64_t min, uint64_t max, uint64_t *ret,
	struct ig_err *reterr_err)
{
	json_int_t n;

	if (!json_is_integer(value))
		return ig_err_set(reterr_err, -EINVAL, "%s is not a whole number", name);
	n = json_integer_value(value);
	if (n < 0 || (uint64_t)n < min || (uint64_t)n > max)
		return ig_err_set(reterr_err, -ERANGE, "%s is out of range", name);
	*ret = (uint64_t)n;
	return 0;
}

static int apply_fail(struct lab_faults *faults, json_t *value, struct ig_err *reterr_err)
{
	uint64_t status = 0, count = UINT64_MAX, retry_after = 0;
	const char *key;
	json_t *member;
	int r = 0;

	if (!json_is_object(value))
		return ig_err_set(reterr_err, -EINVAL, "fail is not an object");
	json_object_foreach (value, key, member) {
		if (strcmp(key, "status") == 0)
			r = lab_fault_number(member, key, 400, 599, &status, reterr_err);
		else if (strcmp(key, "count") == 0)
			r = lab_fault_number(member, key, 1, UINT32_MAX, &count, reterr_err);
		else if (strcmp(key, "retry_after") == 0)
			r = lab_fault_number(member, key, 0, UINT32_MAX, &retry_after, reterr_err);
		else
			r = ig_err_set(reterr_err, -EINVAL, "fail has no '%s'", key);
		if (r < 0)
			return r;
	}
	if (!status)
		return ig_err_set(reterr_err, -EINVAL, "fail needs a status");
	faults->fault = LAB_FAULT_FAIL;
	faults->fail_status = (unsigned int)status;
	faults->fail_left = count;
	faults->fail_retry_after_sec = retry_after;
	return 0;
}

/* true switches a fault on, and off what was on before; false switches it off. */
static int apply_switch(
	struct lab_faults *faults, const char *key, json_t *value, struct ig_err *reterr_err)
{
	for (int i = LAB_FAULT_NONE + 1; i < _LAB_FAULT_MAX; i++) {
		if (i == LAB_FAULT_FAIL || strcmp(fault_names[i], key) != 0)
			continue;
		if (!json_is_boolean(value))
			return ig_err_set(reterr_err, -EINVAL, "%s is not a boolean", key);
		if (json_is_true(value))
			faults->fault = (enum lab_fault)i;
		else if (faults->fault == (enum lab_fault)i)
			faults->fault = LAB_FAULT_NONE;
		return 0;
	}
	return ig_err_set(reterr_err, -EINVAL, "there is no command '%s'", key);
}

static int apply_member(
	struct lab_faults *faults, const char *key, json_t *value, struct ig_err *reterr_err)
{
	if (strcmp(key, "fail") == 0)
		return apply_fail(faults, value, reterr_err);
	if (strcmp(key, "delay_ms") == 0)
		return lab_fault_number(
			value, key, 0, LAB_DELAY_MSEC_MAX, &faults->delay_msec, reterr_err);
	if (strcmp(key, "token_life") == 0)
		return lab_fault_number(value, key, LAB_TOKEN_LIFE_SEC_MIN, LAB_TOKEN_LIFE_SEC_MAX,
			&faults->token_life_sec, reterr_err);
	if (strcmp(key, "imds_error") == 0)
		return lab_service_fault_imds(&faults->imds, value, reterr_err);
	if (strcmp(key, "entra_error") == 0)
		return lab_service_fault_entra(&faults->entra, value, reterr_err);
	if (strcmp(key, "throttle") == 0)
		return lab_service_fault_throttle(&faults->entra, value, reterr_err);
	if (strcmp(key, "clear") == 0) {
		if (!json_is_true(value))
			return ig_err_set(reterr_err, -EINVAL, "clear is not true");
		lab_faults_init(faults, faults->start_delay_msec, faults->start_token_life_sec);
		return 0;
	}
	return apply_switch(faults, key, value, reterr_err);
}

int lab_faults_apply(
	struct lab_faults *faults, json_t *command, bool *ret_flush, struct ig_err *reterr_err)
{
	struct lab_faults next = *faults;
	const char *key;
	json_t *value;

	json_object_foreach (command, key, value) {
		int r = apply_member(&next, key, value, reterr_err);

		if (r < 0)
			return r;
	}
	*ret_flush = next.token_life_sec != faults->token_life_sec ||
		     json_object_get(command, "clear") != NULL;
	*faults = next;
	return 0;
}
