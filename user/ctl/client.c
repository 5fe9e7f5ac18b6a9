/*
 * The tool's end of the control socket; see client.h and proto.h. Blocking, one request a
 * connection. Called by the command-line tool.
 *
 * It must never wait without an end for an agent that does not answer, never take more than
 * IG_CTL_REPLY_BYTES, and never trust the shape of what it reads.
 */
#include "ctl/client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "ctl/proto.h"

#define ANSWER_MSEC	   5000
#define MSEC_PER_SEC	   1000
#define READ_BYTES	   16384
#define NO_DEADLINE	   0
#define LAST_ERRNO	   133 /* EHWPOISON */
#define REFUSED_TEXT	   "nobody answers; is the agent running?"
#define UNEXPECTED_HANG_UP "the agent hung up without an answer"

struct reader {
	int fd;			 /* borrowed */
	struct ig_buf buf;	 /* what was received and not handed out */
	size_t scanned;		 /* of it, without a newline */
	unsigned int limit_msec; /* for each: to connect, to be answered */
};

static void reader_done(struct reader *reader)
{
	ig_buf_done(&reader->buf);
}

/* Waits until the descriptor is ready. deadline_usec: monotonic. */
static int wait_for(int fd, short events, uint64_t deadline_usec)
{
	struct pollfd p = {.fd = fd, .events = events};

	for (;;) {
		int timeout_msec = -1, n;

		if (deadline_usec != NO_DEADLINE) {
			uint64_t now = ig_clock_mono_usec();

			if (now >= deadline_usec)
				return -ETIMEDOUT;
			timeout_msec = (int)((deadline_usec - now) / IG_USEC_PER_MSEC) + 1;
		}
		n = poll(&p, 1, timeout_msec);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

/* More bytes into the buffer: 1, 0 at the end, or a negative errno. */
static int receive(struct reader *reader, uint64_t deadline_usec)
{
	char bytes[READ_BYTES];
	ssize_t n;
	int r;

	for (;;) {
		r = wait_for(reader->fd, POLLIN, deadline_usec);
		if (r < 0)
			return r;
		n = recv(reader->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n >= 0)
			break;
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
	ig_buf_append(&reader->buf, bytes, (size_t)n);
	r = ig_buf_finish(&reader->buf);
	return r < 0 ? r : n > 0;
}

/* One line without its newline, borrowed until reader_drop(). 1, 0 at the end, or a negative errno.
 * An unfinished line at the end is dropped: it was cut off. */
static int reader_line(struct reader *reader, uint64_t deadline_usec, size_t *ret_len)
{
	for (;;) {
		size_t fresh = reader->buf.len - reader->scanned;
		const char *end =
			fresh ? memchr(reader->buf.data + reader->scanned, '\n', fresh) : NULL;
		int r;

		if (end) {
			*ret_len = (size_t)(end - reader->buf.data);
			return 1;
		}
		reader->scanned = reader->buf.len;
		r = receive(reader, deadline_usec);
		if (r <= 0)
			return r;
	}
}

/* Forgets a line of that length and its newline. */
static void reader_drop(struct reader *reader, size_t len)
{
	struct ig_buf *b = &reader->buf;

	b->len -= len + 1;
	memmove(b->data, b->data + len + 1, b->len);
	b->data[b->len] = '\0';
	reader->scanned = 0;
}

static int open_socket(
	const char *path, unsigned int limit_msec, int *ret_fd, struct ig_err *reterr_err)
{
	/* a blocking connect() to a unix socket waits that long for a place in the backlog */
	const struct timeval limit = {.tv_sec = limit_msec / MSEC_PER_SEC,
		.tv_usec = limit_msec % MSEC_PER_SEC * IG_USEC_PER_MSEC};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_close_ int fd = -1;
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(address.sun_path))
		return ig_err_set(reterr_err, -EINVAL,
			"cannot reach the agent: \"%s\" is not a usable socket path", path);
	memcpy(address.sun_path, path, len);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return ig_err_set(reterr_err, -errno, "cannot make a socket: %m");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int r = errno == EAGAIN ? -ETIMEDOUT : -errno;

		return ig_err_set(reterr_err, r, "cannot reach the agent at %s: %s", path,
			r == -ECONNREFUSED || r == -ENOENT ? REFUSED_TEXT : strerror(-r));
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int send_request(
	int fd, const char *noun, const char *verb, json_t *args, uint64_t deadline_usec)
{
	_cleanup_(json_decrefp) json_t *request = NULL;
	_cleanup_(ig_buf_donep) struct ig_buf text = {
		.limit = IG_CTL_REPLY_BYTES}; /* the agent says what is too large */
	size_t sent = 0;
	int r;

	request = json_pack("{s:i,s:s,s:s?,s:O?}", "v", IG_CTL_VERSION, "noun", noun, "verb", verb,
		"args", args);
	if (!request)
		return -EINVAL;
	/* absent members are left out; null would be another thing */
	if (!verb)
		(void)json_object_del(request, "verb");
	if (!args)
		(void)json_object_del(request, "args");
	ig_json_dump(&text, request, JSON_COMPACT);
	ig_buf_putc(&text, '\n');
	r = ig_buf_finish(&text);
	if (r < 0)
		return r;
	while (sent < text.len) {
		ssize_t n =
			send(fd, text.data + sent, text.len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n >= 0) {
			sent += (size_t)n;
		} else if (errno == EAGAIN) {
			r = wait_for(fd, POLLOUT, deadline_usec);
			if (r < 0)
				return r;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

static int code_of_name(const char *name)
{
	/* numbers that are not in use have a name too, and it is nobody's */
	if (strcmp(name, ig_err_name(LAST_ERRNO + 1)) == 0)
		return -EIO;
	for (int code = 1; code <= LAST_ERRNO; code++)
		if (strcmp(ig_err_name(code), name) == 0)
			return -code;
	return -EIO;
}

/* What the agent's answer means. */
static int judge_reply(const char *text, size_t len, json_t **ret_result, struct ig_err *reterr_err)
{
	_cleanup_(json_decrefp) json_t *reply =
		ig_json_load(text, len, JSON_REJECT_DUPLICATES, NULL);
	const char *code = NULL, *message = NULL;
	json_t *result;

	if (json_is_true(json_object_get(reply, "ok"))) {
		result = json_object_get(reply, "result");
		if (!result)
			return ig_err_set(reterr_err, -EBADMSG, "the agent's answer has no result");
		*ret_result = json_incref(result);
		return 0;
	}
	if (!reply || json_unpack(reply, "{s:{s:s,s:s}}", "error", "code", &code, "message",
			      &message) < 0)
		return ig_err_set(reterr_err, -EBADMSG, "the agent's answer makes no sense");
	return ig_err_set(reterr_err, code_of_name(code), "%s", message);
}

/* Sends the request and reads the reply. */
static int ask(struct reader *reader, const char *noun, const char *verb, json_t *args,
	json_t **ret_result, bool *ret_reached, struct ig_err *reterr_err)
{
	uint64_t deadline_usec = ig_clock_mono_usec() + reader->limit_msec * IG_USEC_PER_MSEC;
	size_t len = 0;
	int r;

	r = send_request(reader->fd, noun, verb, args, deadline_usec);
	/* EPIPE: it may have said why before it hung up */
	if (r == 0 || r == -EPIPE)
		r = reader_line(reader, deadline_usec, &len);
	if (r == -EINVAL)
		return ig_err_set(reterr_err, r, "the request is not valid UTF-8");
	if (r == -ETIMEDOUT)
		return ig_err_set(
			reterr_err, r, "the agent did not answer within %u ms", reader->limit_msec);
	if (r < 0)
		return ig_err_set(reterr_err, r, "talking to the agent: %s", strerror(-r));
	if (r == 0)
		return ig_err_set(reterr_err, -ECONNRESET, UNEXPECTED_HANG_UP);
	*ret_reached = true;
	r = judge_reply(reader->buf.data, len, ret_result, reterr_err);
	reader_drop(reader, len);
	return r;
}

int ig_ctl_call_within(unsigned int limit_msec, const char *socket_path, const char *noun,
	const char *verb, json_t *args, json_t **ret_result, bool *ret_reached,
	struct ig_err *reterr_err)
{
	_cleanup_close_ int fd = -1;
	_cleanup_(reader_done) struct reader reader = {
		.buf.limit = IG_CTL_REPLY_BYTES, .limit_msec = limit_msec};
	int r;

	*ret_reached = false;
	r = open_socket(socket_path, limit_msec, &fd, reterr_err);
	if (r < 0)
		return r;
	reader.fd = fd;
	return ask(&reader, noun, verb, args, ret_result, ret_reached, reterr_err);
}

int ig_ctl_call(const char *socket_path, const char *noun, const char *verb, json_t *args,
	json_t **ret_result, bool *ret_reached, struct ig_err *reterr_err)
{
	return ig_ctl_call_within(
		ANSWER_MSEC, socket_path, noun, verb, args, ret_result, ret_reached, reterr_err);
}

int ig_ctl_stream(const char *socket_path, const char *noun, const char *verb, json_t *args,
	unsigned int limit_sec, int (*line)(const char *text, size_t len, void *userdata),
	void *userdata, bool *ret_reached, struct ig_err *reterr_err)
{
	uint64_t deadline_usec = NO_DEADLINE;
	_cleanup_close_ int fd = -1;
	_cleanup_(reader_done) struct reader reader = {
		.buf.limit = IG_CTL_REPLY_BYTES, .limit_msec = ANSWER_MSEC};
	_cleanup_(json_decrefp) json_t *result = NULL;
	size_t len = 0;
	int r;

	*ret_reached = false;
	r = open_socket(socket_path, reader.limit_msec, &fd, reterr_err);
	if (r < 0)
		return r;
	reader.fd = fd;
	r = ask(&reader, noun, verb, args, &result, ret_reached, reterr_err);
	if (r < 0)
		return r;
	if (limit_sec)
		deadline_usec = ig_clock_mono_usec() + limit_sec * IG_USEC_PER_SEC;
	for (;;) {
		r = reader_line(&reader, deadline_usec, &len);
		if (r < 0)
			return ig_err_set(reterr_err, r, "reading the stream: %s", strerror(-r));
		if (r == 0)
			return 0;
		r = line(reader.buf.data, len, userdata);
		if (r)
			return r;
		reader_drop(&reader, len);
	}
}
