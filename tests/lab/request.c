/*
 * Storage and reading of one request; see request.h. Knows nothing of sockets or routes. Must stay
 * as lenient about paths as the real service is feared to be: see lab_request_split(). Called by
 * http.c, which bounds what gets in.
 */
#include "lab/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "lab/form.h"

void lab_request_init(struct lab_request *req)
{
	*req = (struct lab_request){};
	ig_buf_init(&req->target, LAB_REQUEST_BYTES);
	ig_buf_init(&req->field, LAB_REQUEST_BYTES);
	ig_buf_init(&req->value, LAB_REQUEST_BYTES);
	ig_buf_init(&req->body, LAB_REQUEST_BYTES);
}

void lab_request_done(struct lab_request *req)
{
	for (size_t i = 0; i < req->n_headers; i++) {
		free(req->headers[i].name);
		free(req->headers[i].value);
	}
	ig_buf_done(&req->target);
	ig_buf_done(&req->field);
	ig_buf_done(&req->value);
	ig_buf_wipe(&req->body); /* may hold a client secret */
	free(req->path);
	*req = (struct lab_request){};
}

static struct lab_header *find_header(const struct lab_request *req, const char *name)
{
	for (size_t i = 0; i < req->n_headers; i++)
		if (ig_str_equal_nocase(req->headers[i].name, name))
			return (struct lab_header *)&req->headers[i];
	return NULL;
}

const char *lab_request_header(const struct lab_request *req, const char *name)
{
	const struct lab_header *header = find_header(req, name);

	return header ? header->value : NULL;
}

static const char *text_of(const struct ig_buf *b)
{
	return b->data ? b->data : "";
}

static int join_value(struct lab_header *header, const struct ig_buf *value)
{
	_cleanup_(ig_buf_donep) struct ig_buf joined = {.limit = LAB_REQUEST_BYTES};
	int r;

	ig_buf_puts(&joined, header->value);
	ig_buf_puts(&joined, ", ");
	ig_buf_puts(&joined, text_of(value));
	r = ig_buf_finish(&joined);
	if (r < 0)
		return r;
	free(header->value);
	header->value = TAKE_PTR(joined.data);
	return 0;
}

static int add_header(struct lab_request *req)
{
	_cleanup_free_ char *name = strdup(text_of(&req->field));
	_cleanup_free_ char *value = strdup(text_of(&req->value));

	if (!name || !value)
		return -ENOMEM;
	if (req->n_headers == LAB_HEADERS_MAX)
		return -E2BIG;
	req->headers[req->n_headers].name = TAKE_PTR(name);
	req->headers[req->n_headers].value = TAKE_PTR(value);
	req->n_headers++;
	return 0;
}

int lab_request_end_header(struct lab_request *req)
{
	struct lab_header *same = find_header(req, text_of(&req->field));
	int r = ig_buf_finish(&req->field);

	if (r == 0)
		r = ig_buf_finish(&req->value);
	if (r == 0)
		r = same ? join_value(same, &req->value) : add_header(req);
	ig_buf_reset(&req->field);
	ig_buf_reset(&req->value);
	return r;
}

/* "http://host/path" -> "/path" */
static const char *skip_authority(const char *target)
{
	const char *host;
	size_t n;

	if (strncasecmp(target, "http://", 7) != 0)
		return target;
	host = target + 7;
	n = strcspn(host, "/?");
	return host[n] ? host + n : "/";
}

/* Drops empty, "." and ".." segments in place. */
static void remove_dots(char *path)
{
	char *out = path;
	char *p = path;
	bool trailing = false;

	while (*p) {
		size_t n = strcspn(p, "/");

		trailing = p[n] == '/';
		if (n == 2 && p[0] == '.' && p[1] == '.') {
			while (out > path && *--out != '/')
				;
		} else if (n > 0 && !(n == 1 && *p == '.')) {
			*out++ = '/';
			memmove(out, p, n);
			out += n;
		}
		p += n + (trailing ? 1 : 0);
	}
	if (trailing || out == path)
		*out++ = '/';
	*out = '\0';
}

int lab_request_split(struct lab_request *req)
{
	_cleanup_free_ char *decoded = NULL;
	_cleanup_free_ char *path = NULL;
	const char *start;
	size_t path_len;
	size_t len;
	int r;

	if (!req->target.data)
		return -EBADMSG;
	start = skip_authority(req->target.data);
	path_len = strcspn(start, "?");
	req->query = start[path_len] == '?' ? start + path_len + 1 : "";
	r = lab_percent_decode(start, path_len, false, &decoded);
	if (r < 0)
		return r;
	for (char *p = decoded; *p; p++)
		if (*p == '\\')
			*p = '/';
	/* the result may be one byte longer: a relative "a" becomes "/a" */
	len = strlen(decoded);
	path = malloc(len + 2);
	if (!path)
		return -ENOMEM;
	path[0] = '/';
	memcpy(path + 1, decoded, len + 1);
	remove_dots(path);
	free(req->path);
	req->path = TAKE_PTR(path);
	return 0;
}
