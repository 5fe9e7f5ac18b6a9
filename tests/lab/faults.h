/*
 * What is to go wrong, switchable while the lab runs, and what has been counted.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "lab/service_faults.h"

#define LAB_DELAY_MSEC_MAX     600000
#define LAB_TOKEN_LIFE_SEC_MIN 2
#define LAB_TOKEN_LIFE_SEC_MAX 31536000

enum lab_fault {
	LAB_FAULT_NONE,
	LAB_FAULT_HANG,		/* never answered */
	LAB_FAULT_RESET,	/* RST instead of an answer */
	LAB_FAULT_GARBAGE,	/* bytes that are not HTTP */
	LAB_FAULT_GARBAGE_BODY, /* 200 and a body that is not JSON */
	LAB_FAULT_FAIL,		/* a status of the test's choice */
	LAB_FAULT_TRUNCATE,	/* less than Content-Length says, then the end */
	LAB_FAULT_HUGE,		/* 100 MB */
	_LAB_FAULT_MAX
};

struct lab_faults {
	uint64_t delay_msec;
	uint64_t token_life_sec;
	enum lab_fault fault;
	unsigned int fail_status;
	uint64_t fail_left;	       /* UINT64_MAX: until cleared */
	uint64_t fail_retry_after_sec; /* 0: no such header */

	struct lab_service_fault imds;	/* an error of IMDS, below /metadata only */
	struct lab_service_fault entra; /* an error of Entra's token endpoint */

	uint64_t start_delay_msec; /* what "clear" goes back to */
	uint64_t start_token_life_sec;
};

/* What happens to one request; decided when it comes in. */
struct lab_plan {
	enum lab_fault fault;
	uint64_t delay_msec;
	unsigned int fail_status;
	uint64_t fail_retry_after_sec;
};

struct lab_stats {
	uint64_t connections; /* accepted */
	uint64_t requests;    /* whole ones */
	uint64_t tokens;      /* signed */
	uint64_t in_progress; /* requests that are not answered to the last byte */
	uint64_t max_in_progress;
};

void lab_faults_init(struct lab_faults *faults, uint64_t delay_msec, uint64_t token_life_sec);

/* For the request that has just come in; uses up one of a counted failure. */
void lab_faults_next(struct lab_faults *faults, struct lab_plan *ret);

/* One command: all of it or, when any part is wrong, nothing. *ret_flush is set when tokens that
 * are kept no longer fit. */
int lab_faults_apply(
	struct lab_faults *faults, json_t *command, bool *ret_flush, struct ig_err *reterr_err);

const char *lab_fault_name(enum lab_fault fault);

/* A whole number of a command. -EINVAL, -ERANGE. */
int lab_fault_number(json_t *value, const char *name, uint64_t min, uint64_t max, uint64_t *ret,
	struct ig_err *reterr_err);
