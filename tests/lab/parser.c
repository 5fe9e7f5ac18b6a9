/*
 * llhttp's callbacks fill a struct lab_request; see parser.h. Must not allocate for more than
 * LAB_REQUEST_BYTES, whatever is sent. Called by conn.c.
 */
#include "lab/parser.h"

#include <errno.h>

/* what a callback returns to stop the parser with an error */
#define STOP (-1)

static struct lab_parser *parser_of(llhttp_t *llhttp)
{
	return llhttp->data;
}

static int keep(llhttp_t *llhttp, struct ig_buf *to, const char *data, size_t len)
{
	struct lab_parser *parser = parser_of(llhttp);

	parser->bytes += len;
	if (parser->bytes > LAB_REQUEST_BYTES) {
		parser->error = -E2BIG;
		return STOP;
	}
	ig_buf_append(to, data, len);
	parser->error = ig_buf_finish(to);
	return parser->error < 0 ? STOP : 0;
}

static int on_url(llhttp_t *llhttp, const char *data, size_t len)
{
	return keep(llhttp, &parser_of(llhttp)->req.target, data, len);
}

static int on_header_field(llhttp_t *llhttp, const char *data, size_t len)
{
	return keep(llhttp, &parser_of(llhttp)->req.field, data, len);
}

static int on_header_value(llhttp_t *llhttp, const char *data, size_t len)
{
	return keep(llhttp, &parser_of(llhttp)->req.value, data, len);
}

static int on_body(llhttp_t *llhttp, const char *data, size_t len)
{
	return keep(llhttp, &parser_of(llhttp)->req.body, data, len);
}

static int on_header_value_complete(llhttp_t *llhttp)
{
	struct lab_parser *parser = parser_of(llhttp);

	parser->error = lab_request_end_header(&parser->req);
	return parser->error < 0 ? STOP : 0;
}

static int on_headers_complete(llhttp_t *llhttp)
{
	struct lab_request *req = &parser_of(llhttp)->req;

	req->method = llhttp_method_name((llhttp_method_t)llhttp_get_method(llhttp));
	return 0;
}

static int on_message_complete(llhttp_t *llhttp)
{
	parser_of(llhttp)->req.keep_alive = llhttp_should_keep_alive(llhttp);
	return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_header_value_complete = on_header_value_complete,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

void lab_parser_init(struct lab_parser *parser)
{
	*parser = (struct lab_parser){};
	llhttp_init(&parser->llhttp, HTTP_REQUEST, &settings);
	parser->llhttp.data = parser;
	lab_request_init(&parser->req);
}

void lab_parser_done(struct lab_parser *parser)
{
	lab_request_done(&parser->req);
}

void lab_parser_next(struct lab_parser *parser)
{
	lab_request_done(&parser->req);
	lab_request_init(&parser->req);
	parser->bytes = 0;
}

int lab_parser_feed(struct lab_parser *parser, const char *data, size_t len, size_t *ret_used)
{
	llhttp_errno_t r = llhttp_execute(&parser->llhttp, data, len);

	if (r == HPE_OK) {
		*ret_used = len;
		return 0;
	}
	if (r != HPE_PAUSED)
		return parser->error < 0 ? parser->error : -EBADMSG;
	*ret_used = (size_t)(llhttp_get_error_pos(&parser->llhttp) - data);
	llhttp_resume(&parser->llhttp);
	return 1;
}
