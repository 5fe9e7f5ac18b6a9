/*
 * What IMDS needs of Entra ID when it relays its errors.
 */
#pragma once

#include "base/buf.h"

/* "AADSTS500011: …\r\nTrace ID: …", the text behind an unknown resource. 0 or -EIO. */
int lab_entra_unknown_resource(struct ig_buf *out, const char *tenant, const char *resource);
