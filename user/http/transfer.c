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
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <event2/event.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"

#define TIMEOUT_MSEC_MAX       (24L * 3600 * 1000)
#define RETRY_AFTER_DIGITS_MAX 18
#define METHOD_BYTES	       16

/* probe_peer: a peer that says nothing for so long is asked whether it is there, so many times */
#define PROBE_IDLE_SEC	   15
#define PROBE_INTERVAL_SEC 5
#define PROBES		   3
#define DEAD_AFTER_SEC	   (PROBE_IDLE_SEC + PROBES * PROBE_INTERVAL_SEC)

/* ---- wiping allocator ---------------------------------------------------------------------- */

static void wiping_free(void *p)
{
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

static void *wiping_realloc(void *p, size_t size)
{
	size_t old = p ? malloc_usable_size(p) : 0;
	void *copy = malloc(size);

	if (!copy)
		return NULL;
	if (p)
		memcpy(copy, p, old < size ? old : size);
	wiping_free(p);
	return copy;
}

int ig_http_transfer_global_init(void)
{
	return curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiping_free, wiping_realloc,
		       strdup, calloc) == CURLE_OK
		       ? 0
		       : -ENOMEM;
}

/* ---- what calls have in common --------------------------------------------------------------- */

static bool is_printable(const char *s)
{
	for (; *s; s++)
		if (((unsigned char)*s < 0x20 && *s != '\t') || *s == 0x7f)
			return false;
	return true;
}

static int set_connect_to(struct ig_http_common *common, const char *place)
{
	/* "::PLACE": from whatever host and port there */
	_cleanup_(ig_buf_donep) struct ig_buf line = {.limit = IG_HTTP_TARGET_BYTES};

	if (!*place || !is_printable(place))
		return -EINVAL;
	ig_buf_printf(&line, "::%s", place);
	if (ig_buf_finish(&line) < 0)
		return ig_buf_finish(&line);
	common->connect_to = curl_slist_append(NULL, line.data);
	return common->connect_to ? 0 : -ENOMEM;
}

int ig_http_common_init(struct ig_http_common *common, const struct ig_http_client_options *options)
{
	int r = 0;

	common->options = *options;
	if (options->user_agent) {
		if (!is_printable(options->user_agent))
			return -EINVAL;
		common->user_agent = strdup(options->user_agent);
		if (!common->user_agent)
			return -ENOMEM;
	}
	if (options->connect_to)
		r = set_connect_to(common, options->connect_to);
	if (r == 0)
		r = ig_http_tls_init(&common->tls, &options->tls);
	common->options.user_agent = common->user_agent;
	common->options.connect_to = NULL;
	common->options.tls = (struct ig_http_tls_options){};
	return r;
}

void ig_http_common_done(struct ig_http_common *common)
{
	free(TAKE_PTR(common->user_agent));
	curl_slist_free_all(TAKE_PTR(common->connect_to));
	ig_http_tls_done(&common->tls);
}

static long timeout_msec(uint64_t timeout_usec)
{
	uint64_t msec = timeout_usec / IG_USEC_PER_MSEC + (timeout_usec % IG_USEC_PER_MSEC != 0);

	return msec > TIMEOUT_MSEC_MAX ? TIMEOUT_MSEC_MAX : (long)msec;
}

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
	case CURLE_PARTIAL_FILE: /* the connection ended before the body did */
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR: return -ECONNRESET;
	case CURLE_WEIRD_SERVER_REPLY: return -EBADMSG;
	default: return -EIO;
	}
}

void ig_http_transfer_explain(struct ig_http_call *call, int error, CURLcode code)
{
	if (call->was_idle)
		(void)snprintf(call->error_text, sizeof(call->error_text),
			"nothing came for %ld ms", timeout_msec(call->idle_timeout_usec));
	else if (call->refused)
		(void)snprintf(call->error_text, sizeof(call->error_text),
			"what came was refused: %s", strerror(-error));
	else if (error == -E2BIG)
		(void)snprintf(call->error_text, sizeof(call->error_text),
			"the reply is larger than %zu bytes",
			call->limit_bytes ? call->limit_bytes : call->body.limit);
	else if (error == call->socket_error)
		(void)snprintf(call->error_text, sizeof(call->error_text), "no socket: %s",
			strerror(-error));
	else if (!call->error_text[0])
		(void)snprintf(
			call->error_text, sizeof(call->error_text), "%s", curl_easy_strerror(code));
}

/* ---- callbacks of one transfer --------------------------------------------------------------- */

void ig_http_transfer_touch(struct ig_http_call *call)
{
	const struct timeval after = {
		.tv_sec = (time_t)(call->idle_timeout_usec / IG_USEC_PER_SEC),
		.tv_usec = (suseconds_t)(call->idle_timeout_usec % IG_USEC_PER_SEC),
	};

	if (call->idle)
		(void)event_add(call->idle, &after);
}

static bool is_streamed(const struct ig_http_call *call)
{
	long status = 0;

	if (!call->on_data)
		return false;
	(void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
	return status >= 200 && status < 300;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct ig_http_call *call = arg;
	struct ig_buf *to = is_streamed(call) ? &call->pieces : &call->body;
	bool first = to->len == 0;

	ig_http_transfer_touch(call);
	/* size is always 1 */
	ig_buf_append(to, data, size * n);
	if (to == &call->pieces && first && to->len > 0)
		LIST_INSERT_HEAD(&call->common->arrived, call, arrived_link);
	call->limit_bytes = to->limit;
	call->abort_error = ig_buf_finish(to);
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

	ig_http_transfer_touch(call);
	call->header_bytes += len;
	if (call->header_bytes > IG_HTTP_HEADER_BYTES) {
		call->limit_bytes = IG_HTTP_HEADER_BYTES;
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
	fd = call->common->options.open_socket(address->family, address->socktype,
		address->protocol, call->common->options.userdata);
	call->socket_error = fd < 0 ? fd : 0;
	return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/* Only for probe_peer. The time-out is for what we sent and nobody acknowledged, in which case the
 * kernel does not probe. */
static int on_new_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, PROBE_IDLE_SEC},
		{IPPROTO_TCP, TCP_KEEPINTVL, PROBE_INTERVAL_SEC},
		{IPPROTO_TCP, TCP_KEEPCNT, PROBES},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_AFTER_SEC * 1000},
	};

	(void)arg;
	(void)purpose;
	for (size_t i = 0; i < IG_ARRAY_SIZE(options); i++)
		if (setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			    sizeof(options[i].value)) < 0)
			return CURL_SOCKOPT_ERROR;
	return CURL_SOCKOPT_OK;
}

/* ---- start of a call ------------------------------------------------------------------------- */

static bool is_header_line(const char *line)
{
	const char *colon = strchr(line, ':');

	return colon && colon != line && is_printable(line);
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
	/* Do not block the loop in join() when a name look-up outlives its call; the resolver's
	 * thread then cleans up after itself. */
	SET(CURLOPT_QUICK_EXIT, 1L);
	return code;
}

/* What the calls of this client have. */
static CURLcode set_common(CURL *easy, const struct ig_http_call *call)
{
	const struct ig_http_common *common = call->common;
	CURLcode code = ig_http_tls_apply(&common->tls, easy);

	SET(CURLOPT_HTTP_VERSION,
		(long)(common->options.http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
	/* rather wait for the one connection than open another */
	SET(CURLOPT_PIPEWAIT, common->options.http2 ? 1L : 0L);
	SET(CURLOPT_USERAGENT, common->user_agent);
	SET(CURLOPT_CONNECT_TO, common->connect_to);
	SET(CURLOPT_CONNECTTIMEOUT_MS, timeout_msec(common->options.connect_timeout_usec));
	if (common->options.open_socket) {
		SET(CURLOPT_OPENSOCKETFUNCTION, on_open_socket);
		SET(CURLOPT_OPENSOCKETDATA, (void *)call);
	}
	if (common->options.probe_peer)
		SET(CURLOPT_SOCKOPTFUNCTION, on_new_socket);
	return code;
}

/* HEAD and CONNECT mean more to libcurl than a word in the request. */
static bool is_method(const char *method)
{
	size_t len = strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");

	return len > 0 && len <= METHOD_BYTES && !method[len] && strcmp(method, "HEAD") != 0 &&
	       strcmp(method, "CONNECT") != 0;
}

/* What is asked for, said once more: libcurl leaves the query out without a word when it finds no
 * memory for it (7.88), which is then another question. NULL when the URL has no plain path. */
static const char *target_of(const char *url)
{
	const char *host = strstr(url, "://");
	const char *path = host ? strpbrk(host + 3, "/?#") : NULL;

	return path && *path == '/' && !strchr(path, '#') ? path : NULL;
}

static CURLcode set_request(
	CURL *easy, const struct ig_http_call *call, const struct ig_http_call_options *options)
{
	CURLcode code = CURLE_OK;

	SET(CURLOPT_URL, options->url);
	SET(CURLOPT_REQUEST_TARGET, target_of(options->url));
	SET(CURLOPT_HTTPHEADER, call->headers);
	if (options->post_body) {
		SET(CURLOPT_POST, 1L);
		SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->post.len);
		SET(CURLOPT_POSTFIELDS, call->post.data);
	}
	if (options->method)
		SET(CURLOPT_CUSTOMREQUEST, options->method);
	return code;
}

int ig_http_transfer_setup(struct ig_http_call *call, const struct ig_http_call_options *options)
{
	CURL *easy = call->easy;
	CURLcode code = set_policy(easy);

	if (options->method && !is_method(options->method))
		return -EINVAL;
	if (code == CURLE_OK)
		code = set_common(easy, call);
	if (code == CURLE_OK)
		code = set_request(easy, call, options);
	SET(CURLOPT_TIMEOUT_MS, timeout_msec(options->timeout_usec));
	/* would hit streams, too; what is collected is limited by its buffer in any case */
	if (!options->on_data)
		SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)options->response_limit_bytes);
	SET(CURLOPT_ERRORBUFFER, call->error_text);
	SET(CURLOPT_PRIVATE, (void *)call);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, (void *)call);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, (void *)call);
	if (code == CURLE_OK)
		return 0;
	return code == CURLE_OUT_OF_MEMORY ? -ENOMEM : -EINVAL;
}
#undef SET
