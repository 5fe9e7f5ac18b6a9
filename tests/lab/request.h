/*
 * One parsed HTTP request.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

#define LAB_HEADERS_MAX	  64
#define LAB_REQUEST_BYTES 65536 /* target, headers and body together */

struct lab_header {
	char *name;  /* owned; as it was sent */
	char *value; /* owned; headers of the same name are joined by ", " */
};

struct lab_request {
	const char *method; /* literal */
	struct ig_buf target;
	struct ig_buf field; /* the header that is being read */
	struct ig_buf value;
	struct ig_buf body;
	struct lab_header headers[LAB_HEADERS_MAX];
	size_t n_headers;
	bool keep_alive;

	/* by lab_request_split(): */
	char *path;	   /* owned; decoded */
	const char *query; /* inside target; "" when there is none */

	const char *local; /* "ADDR:PORT"; owned by the connection */
};

void lab_request_init(struct lab_request *req);
void lab_request_done(struct lab_request *req);

/* Ends the header in field and value. -E2BIG for too many. */
int lab_request_end_header(struct lab_request *req);
/* NULL when it is not there. The name is compared without regard to letter case. */
const char *lab_request_header(const struct lab_request *req, const char *name);

/* Reads the target as the web server in front of the real IMDS does, which is lenient on purpose:
 * absolute form, %XX once, backslashes, doubled slashes and dot segments all lead to the same
 * resource. A gate that lets a variant through finds that it works. -EBADMSG, -ENOMEM. */
int lab_request_split(struct lab_request *req);
