/*
 * Errors that IMDS or Entra ID itself would answer, on demand.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* How IMDS writes one of its errors. */
struct lab_imds_error {
	const char *name; /* in the command */
	unsigned int status;
	const char *error; /* NULL: text is the whole body, not JSON */
	const char *text;
	const char *server; /* NULL: as always */
	bool versions;	    /* what is answered to a wrong api-version instead */
};

struct lab_service_fault {
	uint64_t left;		  /* replies; 0: off; UINT64_MAX: until cleared */
	uint64_t retry_after_sec; /* 0: no such header */

	const struct lab_imds_error *imds; /* IMDS only */

	unsigned int code; /* Entra only: AADSTS… */
	unsigned int status;
	const char *error; /* literal */
	bool plain;	   /* a line of text instead of JSON */
};

/* False when it is off. Uses up one. */
bool lab_service_fault_take(struct lab_service_fault *fault, struct lab_service_fault *ret);

/* The values of {"imds_error":…}, {"entra_error":…} and {"throttle":…}; false switches off. */
int lab_service_fault_imds(
	struct lab_service_fault *fault, json_t *value, struct ig_err *reterr_err);
int lab_service_fault_entra(
	struct lab_service_fault *fault, json_t *value, struct ig_err *reterr_err);
int lab_service_fault_throttle(
	struct lab_service_fault *fault, json_t *value, struct ig_err *reterr_err);
