/*
 * One connection to a guarded endpoint, from where this process is: is it turned around, and who
 * answers? Used by the self-test of `imdsgate doctor` and by `imdsgate status --data-path`.
 *
 * Nothing is sent on a connection that the gate did not turn around.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum ig_dial_target {
	IG_DIAL_IMDS,	      /* TCP to 169.254.169.254:80, and a request */
	IG_DIAL_IMDS_MAPPED,  /* the same through ::ffff:169.254.169.254 */
	IG_DIAL_IMDS_UDP,     /* a datagram socket: refused */
	IG_DIAL_WIRESERVER,   /* TCP to 168.63.129.16:80: refused */
	IG_DIAL_HOSTGAPLUGIN, /* TCP to 168.63.129.16:32526: refused */
	_IG_DIAL_TARGET_MAX
};

struct ig_dial_outcome {
	int32_t error;	      /* of connect(), negative errno; 0: connected */
	int32_t read_error;   /* of the answer; 0: there is one, or nothing was asked */
	uint32_t http_status; /* of the answer; 0 without */
	uint32_t attempts;
	uint8_t is_redirected; /* the connection runs over loopback */
	uint8_t is_hidden;     /* getpeername() still says what was asked for */
	uint8_t pad[2];
};

/* request: what is sent to a target that answers. patient: a connect that is refused is tried again
 * for five seconds, for a listener that is being opened. *ret is empty before. Takes three seconds
 * for the connect and three for the answer at most. */
void ig_dial(
	enum ig_dial_target target, const char *request, bool patient, struct ig_dial_outcome *ret);

/* Is this how the gate refuses? */
bool ig_dial_is_refusal(int error);
