/*
 * TLS settings of the HTTP client; see tls.h. Called by client.c and transfer.c.
 *
 * The server is always verified, and there is no way to say otherwise. Where authorities were
 * given, they are the only ones.
 */
#include "http/tls.h"

#include <errno.h>

static int copy_pem(struct ig_buf *to, const struct ig_http_pem *from)
{
	ig_buf_init(to, from->len);
	if (from->len)
		ig_buf_append(to, from->data, from->len);
	return ig_buf_finish(to);
}

int ig_http_tls_init(struct ig_http_tls *tls, const struct ig_http_tls_options *options)
{
	int r;

	if (!options->certificate.len != !options->key.len)
		return -EINVAL;
	r = copy_pem(&tls->ca, &options->ca);
	if (r == 0)
		r = copy_pem(&tls->certificate, &options->certificate);
	if (r == 0)
		r = copy_pem(&tls->key, &options->key);
	return r;
}

void ig_http_tls_done(struct ig_http_tls *tls)
{
	ig_buf_wipe(&tls->ca);
	ig_buf_wipe(&tls->certificate);
	ig_buf_wipe(&tls->key);
}

static CURLcode set_blob(CURL *easy, CURLoption option, const struct ig_buf *pem)
{
	/* not changed in spite of the missing const */
	struct curl_blob blob = {.data = pem->data, .len = pem->len, .flags = CURL_BLOB_NOCOPY};

	return pem->len ? curl_easy_setopt(easy, option, &blob) : CURLE_OK;
}

CURLcode ig_http_tls_apply(const struct ig_http_tls *tls, CURL *easy)
{
	CURLcode code = curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);

	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	if (code == CURLE_OK)
		code = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	/* the bundle replaces the system's file, but not the system's directory */
	if (code == CURLE_OK && tls->ca.len)
		code = curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	if (code == CURLE_OK)
		code = set_blob(easy, CURLOPT_CAINFO_BLOB, &tls->ca);
	if (code == CURLE_OK)
		code = set_blob(easy, CURLOPT_SSLCERT_BLOB, &tls->certificate);
	if (code == CURLE_OK)
		code = set_blob(easy, CURLOPT_SSLKEY_BLOB, &tls->key);
	return code;
}
