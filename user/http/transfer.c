/*
 * One exchange of the HTTP client; see transfer.h. Called by client.c only.
 *
 * Here stands everything that libcurl is allowed to do and, above all, what it is not: no redirect,
 * no proxy, cookie or netrc from the surroundings, no other protocol, no reply beyond its limit.
 * Nothing here may call back into the client, because libcurl is not re-entrant in its callbacks.
 */
#include "http/transfer.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <imdsgate/limits.h>

#include "base/clock.h"
#include "base/parse.h"

#define TIMEOUT_MSEC_MAX       (24L * 3600 * 1000)
#define RETRY_AFTER_DIGITS_MAX 18

/* ---- how it ended ---------------------------------------------------------------------------- */

static int connect_error(const struct ig_http_call *call)
{
	long os_error = 0;

	if (call->socket_error < 0)
		return call->socket_error;
	(void)curl_easy_getinfo(call->easy, CURLINFO_OS_ERRNO, &os_error);
	return os_error > 0 && os_error <= INT_MAX ? -(int)os_error : -ECONNREFUSED;
}

/* Either the URL names a protocol that we do not speak, or what came back has no status line (which
 * libcurl takes for HTTP/0.9). */
static int protocol_error(const struct ig_http_call *call)
{
	long sent_bytes = 0;

	(void)curl_easy_getinfo(call->easy, CURLINFO_REQUEST_SIZE, &sent_bytes);
	return sent_bytes > 0 ? -EBADMSG : -EINVAL;
}

int ig_http_transfer_errno(const struct ig_http_call *call, CURLcode code)
{
	switch (code) {
	case CURLE_OK: return 0;
	case CURLE_WRITE_ERROR: return call->abort_error ? call->abort_error : -EIO;
	case CURLE_FILESIZE_EXCEEDED: return -E2BIG;
	case CURLE_OPERATION_TIMEDOUT: return -ETIMEDOUT;
	case CURLE_COULDNT_CONNECT: return connect_error(call);
	case CURLE_COULDNT_RESOLVE_HOST: return -EHOSTUNREACH;
	case CURLE_OUT_OF_MEMORY: return -ENOMEM;
	case CURLE_UNSUPPORTED_PROTOCOL: return protocol_error(call);
	case CURLE_URL_MALFORMAT: return -EINVAL;
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR: return -ECONNRESET;
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_PARTIAL_FILE: return -EBADMSG;
	default: return -EIO;
	}
}

void ig_http_transfer_explain(struct ig_http_call *call, int error, CURLcode code)
{
	if (error == -E2BIG)
		(void)snprintf(call->error_text, sizeof(call->error_text),
			"the reply is larger than %zu bytes", call->body.limit);
	else if (error == call->socket_error)
		(void)snprintf(call->error_text, sizeof(call->error_text), "no socket: %s",
			strerror(-error));
	else if (!call->error_text[0])
		(void)snprintf(
			call->error_text, sizeof(call->error_text), "%s", curl_easy_strerror(code));
}

/* ---- callbacks of one transfer --------------------------------------------------------------- */

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct ig_http_call *call = arg;

	/* size is always 1 */
	ig_buf_append(&call->body, data, size * n);
	call->abort_error = ig_buf_finish(&call->body);
	return call->abort_error ? 0 : size * n;
}

/* Value of a Retry-After header line, or -1 (a date, nonsense, another header). */
static int64_t parse_retry_after(const char *line, size_t len)
{
	static const char name[] = "retry-after:";
	char digits[RETRY_AFTER_DIGITS_MAX + 1];
	uint64_t value;

	if (len < sizeof(name) - 1 || strncasecmp(line, name, sizeof(name) - 1) != 0)
		return -1;
	line += sizeof(name) - 1;
	len -= sizeof(name) - 1;
	while (len && (*line == ' ' || *line == '\t')) {
		line++;
		len--;
	}
	while (len && strchr(" \t\r\n", line[len - 1]))
		len--;
	if (len > RETRY_AFTER_DIGITS_MAX)
		return -1;
	memcpy(digits, line, len);
	digits[len] = '\0';
	return ig_parse_u64(digits, &value) < 0 ? -1 : (int64_t)value;
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct ig_http_call *call = arg;
	size_t len = size * n;
	int64_t retry_after_sec;

	call->header_bytes += len;
	if (call->header_bytes > IG_HTTP_HEADER_BYTES) {
		call->abort_error = -E2BIG;
		return 0;
	}
	/* a status line: what came before belonged to a 1xx reply */
	if (len >= 5 && memcmp(data, "HTTP/", 5) == 0)
		call->retry_after_sec = -1;
	retry_after_sec = parse_retry_after(data, len);
	if (retry_after_sec >= 0)
		call->retry_after_sec = retry_after_sec;
	return len;
}

/* libcurl goes on to the host's next address when this fails; if none works, the call ends with
 * what was said last. */
static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct ig_http_call *call = arg;
	int fd;

	(void)purpose;
	fd = call->client_options->open_socket(address->family, address->socktype,
		address->protocol, call->client_options->userdata);
	call->socket_error = fd < 0 ? fd : 0;
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/* ---- start of a call ------------------------------------------------------------------------- */

static bool is_header_line(const char *line)
{
	const char *colon = strchr(line, ':');

	if (!colon || colon == line)
		return false;
	for (; *line; line++)
		if (((unsigned char)*line < 0x20 && *line != '\t') || *line == 0x7f)
			return false;
	return true;
}

static int add_header(struct ig_http_call *call, const char *line)
{
	struct curl_slist *longer = curl_slist_append(call->headers, line);

	if (!longer)
		return -ENOMEM;
	call->headers = longer;
	return 0;
}

int ig_http_transfer_headers(struct ig_http_call *call, const struct ig_http_call_options *options)
{
	/* "Name:" takes a header away that libcurl would add by itself */
	int r = add_header(call, "Expect:");
	bool typed = false;

	for (const char *const *line = options->headers; r == 0 && line && *line; line++) {
		if (!is_header_line(*line))
			return -EINVAL;
		if (strncasecmp(*line, "content-type:", 13) == 0)
			typed = true;
		r = add_header(call, *line);
	}
	if (r == 0 && options->post_body && !typed)
		r = add_header(call, "Content-Type:");
	return r;
}

static long timeout_msec(uint64_t timeout_usec)
{
	uint64_t msec = timeout_usec / IG_USEC_PER_MSEC + (timeout_usec % IG_USEC_PER_MSEC != 0);

	return msec > TIMEOUT_MSEC_MAX ? TIMEOUT_MSEC_MAX : (long)msec;
}

#define SET(option, value)                                                                         \
	do {                                                                                       \
		if (code == CURLE_OK)                                                              \
			code = curl_easy_setopt(easy, (option), (value));                          \
	} while (0)

/* What every call has, whoever asks. */
static CURLcode set_policy(CURL *easy)
{
	CURLcode code = CURLE_OK;

	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, ""); /* the environment's proxy is not asked either */
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_PATH_AS_IS, 1L);
	SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	/* Do not block the loop in join() when a name look-up outlives its call; the resolver's
	 * thread then cleans up after itself. */
	SET(CURLOPT_QUICK_EXIT, 1L);
	return code;
}

int ig_http_transfer_setup(struct ig_http_call *call, const struct ig_http_call_options *options)
{
	CURL *easy = call->easy;
	CURLcode code = set_policy(easy);

	SET(CURLOPT_URL, options->url);
	SET(CURLOPT_USERAGENT, call->client_options->user_agent);
	SET(CURLOPT_HTTPHEADER, call->headers);
	SET(CURLOPT_TIMEOUT_MS, timeout_msec(options->timeout_usec));
	SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)options->response_limit_bytes);
	SET(CURLOPT_ERRORBUFFER, call->error_text);
	SET(CURLOPT_PRIVATE, (void *)call);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, (void *)call);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, (void *)call);
	if (call->client_options->open_socket) {
		SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
		SET(CURLOPT_OPENSOCKETDATA, (void *)call);
	}
	if (options->post_body) {
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->post.len);
		SET(CURLOPT_POSTFIELDS, call->post.data);
	}
	if (code == CURLE_OK)
		return 0;
	return code == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL;
}
#undef SET
