/*
 * Posts for the OTLP sink; see otlp_post.h.
 *
 * The headers hold credentials: they are read when they are needed, wiped afterwards and never
 * logged, and redirects are not followed, so they go to nobody else.
 */
#include "agent/otlp_post.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/fdutil.h"
#include "http/client.h"
#include "version.h"

#define TIMEOUT_SEC  10
#define CONTENT_TYPE "Content-Type: application/json"

struct poster {
	struct ig_http_client *client; /* owned */
	const char *url, *headers_file;
	ig_audit_posted *done;
	void *userdata;
};

static void on_done(const struct ig_http_response *response, void *userdata)
{
	const struct poster *poster = userdata;
	const struct ig_audit_post_reply reply = {.error = response->error,
		.status = response->status,
		.retry_after_sec = response->retry_after_sec,
		.body = response->body,
		.body_len = response->body_len};

	poster->done(&reply, poster->userdata);
}

/* Cuts the text into lines: *ret_n of them that are no comments. */
static int split_headers(char *text, const char **headers, size_t *ret_n)
{
	size_t n = *ret_n;

	for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
		size_t len = strlen(line);

		if (len && line[len - 1] == '\r')
			line[--len] = '\0';
		if (!len || line[0] == '#')
			continue;
		if (n >= IG_AUDIT_HEADERS_MAX)
			return -E2BIG;
		headers[n++] = line;
	}
	*ret_n = n;
	return 0;
}

static int post(void *self, const char *body, size_t len, ig_audit_posted *done, void *userdata)
{
	const char *headers[IG_AUDIT_HEADERS_MAX + 1] = {CONTENT_TYPE};
	struct poster *poster = self;
	struct ig_http_call_options options = {.url = poster->url,
		.headers = headers,
		.post_body = body,
		.post_body_len = len,
		.timeout_usec = TIMEOUT_SEC * IG_USEC_PER_SEC,
		.response_limit_bytes = IG_AUDIT_OTLP_REPLY_BYTES};
	_cleanup_free_ char *text = NULL;
	size_t text_len = 0, n = 1;
	int r = 0;

	if (poster->headers_file)
		r = ig_fd_read_file(
			AT_FDCWD, poster->headers_file, IG_AUDIT_HEADERS_BYTES, &text, &text_len);
	if (r == 0 && text)
		r = split_headers(text, headers, &n);
	poster->done = done;
	poster->userdata = userdata;
	if (r == 0)
		r = ig_http_client_start(poster->client, &options, on_done, poster, NULL);
	if (text)
		explicit_bzero(text, text_len);
	return r;
}

static void poster_free(void *self)
{
	struct poster *poster = self;

	poster->client = ig_http_client_free(poster->client);
	free(poster);
}

int ig_otlp_poster_new(struct event_base *base, const char *url, const char *headers_file,
	struct ig_audit_poster *ret)
{
	const struct ig_http_client_options options = {.user_agent = "imdsgate/" IG_VERSION};
	_cleanup_free_ struct poster *poster = calloc(1, sizeof(*poster));
	int r;

	if (!poster)
		return -ENOMEM;
	poster->url = url;
	poster->headers_file = headers_file;
	r = ig_http_client_new(base, &options, &poster->client);
	if (r < 0)
		return r;
	*ret = (struct ig_audit_poster){
		.post = post, .free = poster_free, .self = TAKE_PTR(poster)};
	return 0;
}
