/*
 * HTTP client: libcurl's multi interface driven by libevent; see client.h. Used for IMDS, Entra and
 * the Kubernetes API server.
 *
 * It must never follow a redirect, read a proxy, cookie or netrc setting from its surroundings, or
 * call `done` from inside a function of the caller. Nothing here is logged: errors go up as codes
 * and text.
 *
 * Replies and posted bodies hold credentials. Our copies are wiped when the call ends, and libcurl
 * gets an allocator that wipes what it frees, because its own buffers see the same bytes.
 *
 * From the callbacks `done` and on_data everything may be called: starting and cancelling calls,
 * and freeing the client. From open_socket nothing of this file may be called (libcurl is not
 * re-entrant there). The process has to ignore SIGPIPE: OpenSSL writes without MSG_NOSIGNAL.
 */
#include "http/client.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <curl/curl.h>
#include <event2/event.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "http/transfer.h"

#define CACHED_CONNECTIONS_MAX 8L

/* One descriptor that libcurl wants to be told about. */
struct watch {
	LIST_ENTRY(watch) link;
	struct event *event; /* owned; NULL until libcurl named the direction */
};

struct ig_http_client {
	struct event_base *base; /* the caller's */
	CURLM *multi;		 /* owned; NULL after it broke and while there was no new one */
	struct event *timer;	 /* owned */
	struct ig_http_call_list calls;
	struct ig_http_call_list broken; /* ended by break_multi(), `done` still to be called */
	LIST_HEAD(, watch) watches;
	struct ig_http_common common;
	struct ig_http_call *delivering; /* whose on_data is running; NULL once that call is gone */
	bool curl_ready;
	bool dispatching; /* callbacks of the caller are running */
	bool gone;	  /* freed while dispatching: only the shell is left */
};

/* ---- end of a call --------------------------------------------------------------------------- */

static void drop_easy(struct ig_http_call *call)
{
	if (!call->easy)
		return;
	(void)curl_multi_remove_handle(call->client->multi, call->easy);
	curl_easy_cleanup(TAKE_PTR(call->easy));
}

/* Out of libcurl's and the client's hands. */
static void leave_client(struct ig_http_call *call)
{
	if (!call->client)
		return;
	drop_easy(call);
	if (call->pieces.len)
		LIST_REMOVE(call, arrived_link);
	ig_buf_wipe(&call->pieces);
	if (call->client->delivering == call)
		call->client->delivering = NULL;
	LIST_REMOVE(call, link);
	call->client = NULL;
}

static struct ig_http_call *call_free(struct ig_http_call *call)
{
	if (!call)
		return NULL;
	leave_client(call);
	if (call->idle)
		event_free(call->idle);
	curl_slist_free_all(call->headers);
	ig_buf_wipe(&call->post);
	ig_buf_wipe(&call->body);
	ig_buf_wipe(&call->pieces);
	free(call);
	return NULL;
}
IG_DEFINE_CLEANUP(struct ig_http_call *, call_free);

static void finish_call(struct ig_http_call *finished, CURLcode code)
{
	_cleanup_(call_freep) struct ig_http_call *call = finished;
	struct ig_http_response response = {
		.error = ig_http_transfer_errno(call, code),
		.body = "",
		.retry_after_sec = -1,
	};
	long status = 0;

	if (response.error == 0) {
		(void)curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
		response.status = (unsigned int)status;
		response.retry_after_sec = call->retry_after_sec;
		response.body = call->body.data ? call->body.data : "";
		response.body_len = call->body.len;
	} else {
		ig_http_transfer_explain(call, response.error, code);
		response.error_text = call->error_text;
	}
	/* first, because `done` may free the client */
	leave_client(call);
	curl_slist_free_all(TAKE_PTR(call->headers));
	call->done(&response, call->userdata);
}

/* ---- libcurl and libevent -------------------------------------------------------------------- */

static void on_ready(evutil_socket_t fd, short what, void *arg);

static int set_timer(CURLM *multi, long timeout_msec, void *arg)
{
	struct ig_http_client *client = arg;
	struct timeval after = {
		.tv_sec = timeout_msec / 1000,
		.tv_usec = timeout_msec % 1000 * 1000,
	};

	(void)multi;
	if (timeout_msec < 0)
		(void)event_del(client->timer);
	else
		(void)event_add(client->timer, &after);
	return 0;
}

static void watch_free(struct watch *watch)
{
	if (watch->event)
		event_free(watch->event);
	LIST_REMOVE(watch, link);
	free(watch);
}

/* NULL for a handle of libcurl's own. */
static struct ig_http_call *call_of(CURL *easy)
{
	char *call = NULL;

	(void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &call);
	return (struct ig_http_call *)(void *)call;
}

/* Without memory nobody would hear of the descriptor; act() ends the call. */
static void lose(CURL *easy)
{
	struct ig_http_call *call = call_of(easy);

	if (call)
		call->lost = true;
}

/* Always says 0: after any other answer libcurl would refuse to use this handle ever again. */
static int set_watch(CURL *easy, curl_socket_t fd, int wanted, void *arg, void *socket_data)
{
	struct ig_http_client *client = arg;
	struct watch *watch = socket_data;
	short events = EV_PERSIST;

	if (wanted == CURL_POLL_REMOVE) {
		if (watch)
			watch_free(watch);
		(void)curl_multi_assign(client->multi, fd, NULL);
		return 0;
	}
	if (!watch) {
		watch = calloc(1, sizeof(*watch));
		if (!watch) {
			lose(easy);
			return 0;
		}
		LIST_INSERT_HEAD(&client->watches, watch, link);
		(void)curl_multi_assign(client->multi, fd, watch);
	}
	if (wanted & CURL_POLL_IN)
		events |= EV_READ;
	if (wanted & CURL_POLL_OUT)
		events |= EV_WRITE;
	if (watch->event)
		event_free(watch->event);
	watch->event = event_new(client->base, fd, events, on_ready, client);
	if (!watch->event || event_add(watch->event, NULL) < 0)
		lose(easy);
	return 0;
}

/* ---- the multi handle ------------------------------------------------------------------------ */

/* 0: there is a handle, old or new. */
static int make_multi(struct ig_http_client *client)
{
	CURLM *multi;

	if (client->multi)
		return 0;
	multi = curl_multi_init();
	if (!multi)
		return -ENOMEM;
	/* these fail only for options that this libcurl does not know, and it has had them all for
	 * longer than what transfer.c needs */
	(void)curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, set_watch);
	(void)curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, client);
	(void)curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, set_timer);
	(void)curl_multi_setopt(multi, CURLMOPT_TIMERDATA, client);
	(void)curl_multi_setopt(multi, CURLMOPT_PIPELINING,
		(long)(client->common.options.http2 ? CURLPIPE_MULTIPLEX : CURLPIPE_NOTHING));
	(void)curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, CACHED_CONNECTIONS_MAX);
	client->multi = multi;
	return 0;
}

static void free_multi(struct ig_http_client *client)
{
	/* may call set_watch() and set_timer() once more */
	if (client->multi)
		(void)curl_multi_cleanup(client->multi);
	client->multi = NULL;
	while (!LIST_EMPTY(&client->watches))
		watch_free(LIST_FIRST(&client->watches));
	if (client->timer)
		(void)event_del(client->timer);
}

/* libcurl ran out of memory somewhere where it can neither say for which transfer nor go on: 7.88
 * then forgets its deadlines, and divides by zero the next time it meets the same descriptor.
 * All its calls end here; the next one gets a new handle. */
static void break_multi(struct ig_http_client *client)
{
	struct ig_http_call *call;

	while ((call = LIST_FIRST(&client->calls)) != NULL) {
		drop_easy(call);
		LIST_REMOVE(call, link);
		LIST_INSERT_HEAD(&client->broken, call, link);
	}
	free_multi(client);
	while (!client->gone && (call = LIST_FIRST(&client->broken)) != NULL)
		finish_call(call, CURLE_OUT_OF_MEMORY);
}

static void finish_calls(struct ig_http_client *client)
{
	/* asked each time: `done` may free the client */
	while (!client->gone) {
		int left = 0;
		CURLMsg *msg = curl_multi_info_read(client->multi, &left);

		if (!msg)
			break;
		if (msg->msg != CURLMSG_DONE)
			continue;
		finish_call(call_of(msg->easy_handle), msg->data.result);
	}
}

static struct ig_http_call *find_lost(const struct ig_http_client *client)
{
	struct ig_http_call *call;

	LIST_FOREACH (call, &client->calls, link)
		if (call->lost)
			return call;
	return NULL;
}

static void finish_lost(struct ig_http_client *client)
{
	struct ig_http_call *call;

	while (!client->gone && (call = find_lost(client)) != NULL)
		finish_call(call, CURLE_OUT_OF_MEMORY);
}

/* Hands on what libcurl has brought for one stream. */
static void deliver(struct ig_http_client *client, struct ig_http_call *call)
{
	_cleanup_(ig_buf_wipe) struct ig_buf pieces = call->pieces;
	int r;

	LIST_REMOVE(call, arrived_link);
	ig_buf_init(&call->pieces, IG_HTTP_STREAM_BYTES);
	client->delivering = call;
	r = call->on_data(pieces.data, pieces.len, call->userdata);
	/* on_data may have cancelled the call or freed the client, of which the shell is left */
	if (client->delivering != call)
		return;
	client->delivering = NULL;
	if (r < 0) {
		call->abort_error = r;
		call->refused = true;
		finish_call(call, CURLE_WRITE_ERROR);
	}
}

static void deliver_all(struct ig_http_client *client)
{
	struct ig_http_call *call;

	while (!client->gone && (call = LIST_FIRST(&client->common.arrived)) != NULL)
		deliver(client, call);
}

static void begin_dispatch(struct ig_http_client *client)
{
	client->dispatching = true;
}

static void end_dispatch(struct ig_http_client *client)
{
	client->dispatching = false;
	if (client->gone)
		free(client);
}

static void act(struct ig_http_client *client, curl_socket_t fd, int flags)
{
	int running;
	CURLMcode code = curl_multi_socket_action(client->multi, fd, flags, &running);

	begin_dispatch(client);
	/* what came before how it ended */
	deliver_all(client);
	finish_calls(client);
	finish_lost(client);
	if (code != CURLM_OK && !client->gone)
		break_multi(client);
	end_dispatch(client);
}

static void on_idle(evutil_socket_t fd, short what, void *arg)
{
	struct ig_http_call *call = arg;
	struct ig_http_client *client = call->client;

	(void)fd;
	(void)what;
	begin_dispatch(client);
	call->was_idle = true;
	finish_call(call, CURLE_OPERATION_TIMEDOUT);
	end_dispatch(client);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	int flags =
		(what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0);

	act(arg, fd, flags);
}

/* ---- start of a call ------------------------------------------------------------------------- */

static int set_idle(struct ig_http_call *call, uint64_t timeout_usec)
{
	if (!timeout_usec)
		return 0;
	call->idle = evtimer_new(call->client->base, on_idle, call);
	if (!call->idle)
		return -ENOMEM;
	call->idle_timeout_usec = timeout_usec;
	ig_http_transfer_touch(call);
	return 0;
}

/* A call that is not known to libcurl yet; `client` is set, so that freeing it is call_free(). */
static int call_new(struct ig_http_client *client, const struct ig_http_call_options *options,
	struct ig_http_call **ret)
{
	_cleanup_(call_freep) struct ig_http_call *call = calloc(1, sizeof(*call));
	int r;

	if (!call)
		return -ENOMEM;
	LIST_INSERT_HEAD(&client->calls, call, link);
	call->client = client;
	call->common = &client->common;
	call->retry_after_sec = -1;
	call->on_data = options->on_data;
	ig_buf_init(&call->pieces, IG_HTTP_STREAM_BYTES);
	ig_buf_init(&call->body, options->response_limit_bytes);
	ig_buf_init(&call->post, options->post_body_len);
	if (options->post_body)
		ig_buf_append(&call->post, options->post_body, options->post_body_len);
	r = ig_buf_finish(&call->post);
	if (r == 0)
		r = ig_http_transfer_headers(call, options);
	if (r < 0)
		return r;
	call->easy = curl_easy_init();
	if (!call->easy)
		return -ENOMEM;
	r = ig_http_transfer_setup(call, options);
	if (r == 0)
		r = set_idle(call, options->idle_timeout_usec);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(call);
	return 0;
}

static bool is_bounded(const struct ig_http_call_options *options)
{
	/* libcurl takes 0 for "no limit" in both */
	if (!options->response_limit_bytes || options->response_limit_bytes > INT64_MAX)
		return false;
	return options->timeout_usec || (options->on_data && options->idle_timeout_usec);
}

int ig_http_client_start(struct ig_http_client *client, const struct ig_http_call_options *options,
	ig_http_done *done, void *userdata, struct ig_http_call **ret_call)
{
	_cleanup_(call_freep) struct ig_http_call *call = NULL;
	CURLMcode code;
	int r;

	if (!is_bounded(options))
		return -EINVAL;
	r = make_multi(client);
	if (r == 0)
		r = call_new(client, options, &call);
	if (r < 0)
		return r;
	call->done = done;
	call->userdata = userdata;
	code = curl_multi_add_handle(client->multi, call->easy);
	if (code != CURLM_OK)
		return code == CURLM_OUT_OF_MEMORY ? -ENOMEM : -EIO;
	if (ret_call)
		*ret_call = call;
	(void)TAKE_PTR(call); /* the client's list owns it */
	return 0;
}

void ig_http_call_cancel(struct ig_http_call *call)
{
	(void)call_free(call);
}

/* ---- the client ------------------------------------------------------------------------------ */

struct ig_http_client *ig_http_client_free(struct ig_http_client *client)
{
	if (!client)
		return NULL;
	while (!LIST_EMPTY(&client->calls))
		(void)call_free(LIST_FIRST(&client->calls));
	while (!LIST_EMPTY(&client->broken))
		(void)call_free(LIST_FIRST(&client->broken));
	free_multi(client);
	if (client->timer)
		event_free(client->timer);
	ig_http_common_done(&client->common);
	if (client->curl_ready)
		curl_global_cleanup();
	client->gone = true;
	if (!client->dispatching)
		free(client);
	return NULL;
}
IG_DEFINE_CLEANUP(struct ig_http_client *, ig_http_client_free);

int ig_http_client_new(struct event_base *base, const struct ig_http_client_options *options,
	struct ig_http_client **ret)
{
	_cleanup_(ig_http_client_freep) struct ig_http_client *client = calloc(1, sizeof(*client));
	int r;

	if (!client)
		return -ENOMEM;
	client->base = base;
	r = ig_http_transfer_global_init();
	if (r < 0)
		return r;
	client->curl_ready = true;
	r = ig_http_common_init(&client->common, options);
	if (r < 0)
		return r;
	client->timer = evtimer_new(base, on_timer, client);
	if (!client->timer)
		return -ENOMEM;
	r = make_multi(client);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(client);
	return 0;
}
