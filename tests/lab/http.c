/*
 * Listeners; see http.h. Every accept is logged here, with both addresses, before a connection is
 * made of it: also those whose peer has gone or never says anything. Called by main.c.
 */
#include "lab/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/parse.h"
#include "lab/conn.h"

#define LISTENERS_MAX 16
#define BACKLOG	      1024

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_storage storage;
};

struct lab_http {
	struct lab_http_options options;
	struct lab_conns conns;
	struct evconnlistener *listeners[LISTENERS_MAX]; /* owned */
	size_t n_listeners;
	bool paused; /* no descriptors left: listeners are off until a connection ends */
};

/* ret holds LAB_ADDRESS_BYTES */
static void format_address(const union address *a, char *ret)
{
	char text[INET6_ADDRSTRLEN] = "?";

	if (a->sa.sa_family == AF_INET6) {
		(void)inet_ntop(AF_INET6, &a->in6.sin6_addr, text, sizeof(text));
		(void)snprintf(ret, LAB_ADDRESS_BYTES, "[%s]:%u", text,
			(unsigned int)ntohs(a->in6.sin6_port));
	} else {
		(void)inet_ntop(AF_INET, &a->in.sin_addr, text, sizeof(text));
		(void)snprintf(
			ret, LAB_ADDRESS_BYTES, "%s:%u", text, (unsigned int)ntohs(a->in.sin_port));
	}
}

static int parse_address(const char *text, union address *ret, socklen_t *ret_len)
{
	const char *colon = strrchr(text, ':');
	union address a = {};
	char host[INET6_ADDRSTRLEN + 2];
	uint16_t port;
	size_t n;

	if (!colon || ig_parse_u16(colon + 1, &port) < 0)
		return -EINVAL;
	n = (size_t)(colon - text);
	if (n >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = '\0';
	if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		if (inet_pton(AF_INET6, host + 1, &a.in6.sin6_addr) != 1)
			return -EINVAL;
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_port = htons(port);
		*ret_len = sizeof(a.in6);
	} else {
		if (inet_pton(AF_INET, host, &a.in.sin_addr) != 1)
			return -EINVAL;
		a.in.sin_family = AF_INET;
		a.in.sin_port = htons(port);
		*ret_len = sizeof(a.in);
	}
	*ret = a;
	return 0;
}

static void pause_listeners(struct lab_http *http, bool pause)
{
	for (size_t i = 0; i < http->n_listeners; i++) {
		if (pause)
			(void)evconnlistener_disable(http->listeners[i]);
		else
			(void)evconnlistener_enable(http->listeners[i]);
	}
	http->paused = pause;
}

static void on_conn_gone(void *userdata)
{
	struct lab_http *http = userdata;

	if (http->paused)
		pause_listeners(http, false);
}

static void local_address(int fd, char *ret)
{
	union address a = {};
	socklen_t len = sizeof(a);

	(void)getsockname(fd, &a.sa, &len);
	format_address(&a, ret);
}

static void log_connection(struct lab_log *log, const char *local, const char *peer)
{
	struct ig_buf line;

	lab_log_begin(&line, "connection");
	ig_buf_json_member_str(&line, "local", local);
	ig_buf_json_member_str(&line, "peer", peer);
	lab_log_end(log, &line);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa,
	int len, void *arg)
{
	struct lab_http *http = arg;
	union address peer = {};
	char local_text[LAB_ADDRESS_BYTES];
	char peer_text[LAB_ADDRESS_BYTES];

	(void)listener;
	memcpy(&peer, sa, (size_t)len < sizeof(peer) ? (size_t)len : sizeof(peer));
	format_address(&peer, peer_text);
	local_address(fd, local_text);
	http->options.stats->connections++;
	log_connection(http->options.log, local_text, peer_text);
	(void)lab_conn_new(&http->conns, fd, local_text, peer_text);
}

/* Without descriptors the backlog cannot be emptied; asking again at once would be a busy loop. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
	struct lab_http *http = arg;

	(void)listener;
	(void)fprintf(stderr, "imdsgate-lab: accept: %s\n", strerror(errno));
	if (!http->paused && !LIST_EMPTY(&http->conns.list))
		pause_listeners(http, true);
}

int lab_http_new(const struct lab_http_options *options, struct lab_http **ret)
{
	struct lab_http *http = calloc(1, sizeof(*http));

	if (!http)
		return -ENOMEM;
	http->options = *options;
	http->conns = (struct lab_conns){
		.options = &http->options, .on_gone = on_conn_gone, .userdata = http};
	LIST_INIT(&http->conns.list);
	*ret = http;
	return 0;
}

struct lab_http *lab_http_free(struct lab_http *http)
{
	if (!http)
		return NULL;
	for (size_t i = 0; i < http->n_listeners; i++)
		evconnlistener_free(http->listeners[i]);
	lab_conns_free_all(&http->conns);
	free(http);
	return NULL;
}

int lab_http_listen(
	struct lab_http *http, const char *address, char *ret_bound, struct ig_err *reterr_err)
{
	unsigned int flags = LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_CLOSE_ON_FREE;
	struct evconnlistener *listener;
	union address a;
	socklen_t len;

	if (http->n_listeners == LISTENERS_MAX)
		return ig_err_set(reterr_err, -E2BIG, "more than %d listeners", LISTENERS_MAX);
	if (parse_address(address, &a, &len) < 0)
		return ig_err_set(
			reterr_err, -EINVAL, "'%s' is not ADDRESS:PORT or [ADDRESS]:PORT", address);
	if (a.sa.sa_family == AF_INET6)
		flags |= LEV_OPT_BIND_IPV6ONLY;
	listener = evconnlistener_new_bind(
		http->options.base, on_accept, http, flags, BACKLOG, &a.sa, (int)len);
	if (!listener)
		return ig_err_set(
			reterr_err, -errno, "cannot listen on %s: %s", address, strerror(errno));
	evconnlistener_set_error_cb(listener, on_accept_error);
	http->listeners[http->n_listeners++] = listener;
	local_address(evconnlistener_get_fd(listener), ret_bound);
	return 0;
}
