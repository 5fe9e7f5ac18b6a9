/*
 * What Entra ID answers when it says no.
 */
#pragma once

#include "base/buf.h"
#include "lab/reply.h"

/* The parts of an error that depend on nothing but its number. */
struct lab_entra_error {
	unsigned int code; /* as in AADSTS700027 */
	unsigned int status;
	const char *error; /* literal; as in RFC 6749 */
};

/* NULL for a number that the lab does not know. */
const struct lab_entra_error *lab_entra_error_find(unsigned int code);

/* Answers the error with that number, which the lab has to know. The text is the part between the
 * number and the trace id. */
void lab_entra_refuse(struct lab_reply *reply, unsigned int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* … or any other error. */
void lab_entra_refuse_as(
	struct lab_reply *reply, const struct lab_entra_error *error, const char *text);

#define LAB_ENTRA_UNKNOWN_RESOURCE                                                                 \
	"The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant."

/* "AADSTS500011: …\r\nTrace ID: …": what IMDS relays of this error. 0 or -EIO. */
int lab_entra_unknown_resource(struct ig_buf *out, const char *tenant, const char *resource);
