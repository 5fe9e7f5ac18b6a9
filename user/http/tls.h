/*
 * What a client of ours knows of TLS: its own copy of the authorities, the certificate and the key.
 * Private to the HTTP client. All are wiped.
 */
#pragma once

#include <curl/curl.h>

#include "base/buf.h"
#include "http/client.h"

struct ig_http_tls {
	struct ig_buf ca;
	struct ig_buf certificate;
	struct ig_buf key;
};

/* -EINVAL for a certificate without a key or a key without a certificate. `tls` is zero before, and
 * ig_http_tls_done() is due in any case. */
int ig_http_tls_init(struct ig_http_tls *tls, const struct ig_http_tls_options *options);
void ig_http_tls_done(struct ig_http_tls *tls);

/* `tls` has to outlive the handle. */
CURLcode ig_http_tls_apply(const struct ig_http_tls *tls, CURL *easy);
