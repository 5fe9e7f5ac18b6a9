/*
 * Replies and their heads; see reply.h. Reason phrases are the standard ones because an old client
 * decides by them. Called by the routes and by http.c.
 */
#include "lab/reply.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/err.h"
#include "http/message.h"

#define SERVER "IMDS/150.870.65.1854"

void lab_reply_init(struct lab_reply *reply)
{
	*reply = (struct lab_reply){.status = 200, .content_type = LAB_JSON};
	ig_buf_init(&reply->headers, LAB_REPLY_BYTES);
	ig_buf_init(&reply->body, LAB_REPLY_BYTES);
}

void lab_reply_done(struct lab_reply *reply)
{
	ig_buf_done(&reply->headers);
	ig_buf_wipe(&reply->body);
	free(reply->resource);
	*reply = (struct lab_reply){};
}

static void restart(struct lab_reply *reply, unsigned int status)
{
	reply->status = status;
	reply->content_type = LAB_JSON;
	reply->error_code = 0;
	ig_buf_reset(&reply->headers);
	ig_buf_reset(&reply->body);
}

void lab_reply_error(
	struct lab_reply *reply, unsigned int status, const char *code, const char *text)
{
	restart(reply, status);
	ig_buf_putc(&reply->body, '{');
	ig_buf_json_member_str(&reply->body, "error", code);
	ig_buf_json_member_str(&reply->body, "error_description", text);
	ig_buf_putc(&reply->body, '}');
}

void lab_reply_plain_error(struct lab_reply *reply, unsigned int status, const char *text)
{
	restart(reply, status);
	ig_buf_putc(&reply->body, '{');
	ig_buf_json_member_str(&reply->body, "error", text);
	ig_buf_putc(&reply->body, '}');
}

void lab_reply_failure(struct lab_reply *reply, int error)
{
	lab_reply_error(reply, 500, "server_error", ig_err_name(error));
}

void lab_reply_member_number(struct ig_buf *b, const char *key, uint64_t value)
{
	ig_buf_json_key(b, key);
	ig_buf_printf(b, "\"%" PRIu64 "\"", value);
}

static void put_date(struct ig_buf *out)
{
	time_t now = (time_t)(ig_clock_real_usec() / IG_USEC_PER_SEC);
	char text[64];
	struct tm tm = {};

	(void)gmtime_r(&now, &tm);
	if (strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm) > 0)
		ig_buf_printf(out, "Date: %s\r\n", text);
}

int lab_reply_head(
	const struct lab_reply *reply, uint64_t content_length, int keep_alive, struct ig_buf *out)
{
	int r = ig_buf_finish(&reply->headers);

	if (r < 0)
		return r;
	ig_buf_printf(out, "HTTP/1.1 %u %s\r\n", reply->status, ig_http_reason(reply->status));
	if (content_length)
		ig_buf_printf(out, "Content-Type: %s\r\n", reply->content_type);
	ig_buf_printf(out, "Server: %s\r\n", reply->server ? reply->server : SERVER);
	put_date(out);
	ig_buf_append(out, reply->headers.data, reply->headers.len);
	if (!keep_alive)
		ig_buf_puts(out, "Connection: close\r\n");
	ig_buf_printf(out, "Content-Length: %" PRIu64 "\r\n\r\n", content_length);
	return ig_buf_finish(out);
}
