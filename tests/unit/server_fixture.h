/*
 * A server in the test's own loop on 127.0.0.1, plain or TLS, that answers request n with text n,
 * whole or in single bytes. Texts are sent as they are, so that anything can be said. Included
 * after cmocka's headers.
 */
#pragma once

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <openssl/ssl.h>

#include "base/parse.h"

#include "loop_fixture.h"
#include "pki_fixture.h"

#define SERVER_CONNS	16
#define SERVER_REQUESTS 16

struct server {
	struct event_base *base; /* the test's */
	struct evconnlistener *listener;
	uint16_t port;
	SSL_CTX *tls; /* owned; NULL: plain */
	struct bufferevent *conns[SERVER_CONNS];
	int n_conns;
	int n_closed;			 /* by the other side */
	char *requests[SERVER_REQUESTS]; /* each whole, with its body */
	int n_requests;
	char names_asked[256];	/* by TLS clients, "a b " */
	char client_names[256]; /* common names of their certificates */

	/* what it says; nothing to a request beyond the last */
	const char *answers[SERVER_REQUESTS];
	bool close_after; /* each answer */
	bool silent;	  /* not even a TLS handshake */
	bool dribble;	  /* a byte when everybody else is waiting */
	struct event *dribbler;
	struct evbuffer *rest;
	struct bufferevent *dribble_to;
};

static inline void on_server_written(struct bufferevent *bev, void *arg)
{
	struct server *s = arg;

	/* is called once before anything was said, too */
	if (s->close_after && s->n_requests > 0 && !s->dribble_to)
		(void)shutdown(bufferevent_getfd(bev), SHUT_WR);
}

static inline void on_dribble(evutil_socket_t fd, short what, void *arg)
{
	struct server *s = arg;
	const struct timeval now = {};
	char byte;

	(void)fd;
	(void)what;
	if (evbuffer_remove(s->rest, &byte, 1) != 1) {
		s->dribble_to = NULL;
		return;
	}
	bufferevent_write(s->dribble_to, &byte, 1);
	event_add(s->dribbler, &now);
}

static inline void server_say(struct server *s, struct bufferevent *bev, const char *text)
{
	const struct timeval now = {};

	if (!s->dribble) {
		bufferevent_write(bev, text, strlen(text));
		return;
	}
	evbuffer_add(s->rest, text, strlen(text));
	s->dribble_to = bev;
	event_add(s->dribbler, &now);
}

/* Length of the request at the front of what came, 0 while it is not whole. */
static inline size_t whole_request(const char *text, size_t len)
{
	const char *end = len ? memmem(text, len, "\r\n\r\n", 4) : NULL;
	const char *field;
	uint64_t body_len = 0;

	if (!end)
		return 0;
	field = memmem(text, len, "Content-Length: ", 16);
	if (field && field < end) {
		char *number = strndup(field + 16, strspn(field + 16, "0123456789"));

		assert_int_equal(ig_parse_u64(number, &body_len), 0);
		free(number);
	}
	return len < (size_t)(end + 4 - text) + body_len ? 0 : (size_t)(end + 4 - text) + body_len;
}

static inline void note_client(struct server *s, struct bufferevent *bev)
{
	SSL *ssl = s->tls ? bufferevent_openssl_get_ssl(bev) : NULL;
	X509 *peer = ssl ? SSL_get1_peer_certificate(ssl) : NULL;
	char name[64] = "none";
	size_t used = strlen(s->client_names);

	if (peer)
		X509_NAME_get_text_by_NID(
			X509_get_subject_name(peer), NID_commonName, name, sizeof(name));
	X509_free(peer);
	(void)snprintf(s->client_names + used, sizeof(s->client_names) - used, "%s ", name);
}

/* for tests in which allocations fail: not the server's */
static bool server_works;

static inline void on_server_input(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	struct server *s = arg;
	size_t len;

	server_works = true;
	while ((len = whole_request(
			(const char *)evbuffer_pullup(in, -1), evbuffer_get_length(in))) > 0) {
		assert_true(s->n_requests < SERVER_REQUESTS);
		s->requests[s->n_requests] = calloc(1, len + 1);
		evbuffer_remove(in, s->requests[s->n_requests], len);
		note_client(s, bev);
		if (s->answers[s->n_requests])
			server_say(s, bev, s->answers[s->n_requests]);
		s->n_requests++;
	}
	server_works = false;
}

static inline void on_server_event(struct bufferevent *bev, short what, void *arg)
{
	struct server *s = arg;

	if (!(what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)))
		return;
	s->n_closed++;
	if (s->dribble_to == bev) {
		s->dribble_to = NULL;
		event_del(s->dribbler);
	}
	bufferevent_disable(bev, EV_READ | EV_WRITE);
}

static inline void on_server_connection(struct evconnlistener *listener, evutil_socket_t fd,
	struct sockaddr *addr, int len, void *arg)
{
	struct server *s = arg;
	const int now = 1;
	struct bufferevent *bev;

	(void)listener;
	(void)addr;
	(void)len;
	assert_true(s->n_conns < SERVER_CONNS);
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &now, sizeof(now)), 0);
	if (s->tls && !s->silent)
		bev = bufferevent_openssl_socket_new(s->base, fd, SSL_new(s->tls),
			BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
	else
		bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);
	s->conns[s->n_conns++] = bev;
	bufferevent_setcb(bev, on_server_input, on_server_written, on_server_event, s);
	if (!s->silent)
		bufferevent_enable(bev, EV_READ | EV_WRITE);
}

static inline int on_server_name(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	struct server *s = arg;
	size_t used = strlen(s->names_asked);

	(void)alert;
	(void)snprintf(
		s->names_asked + used, sizeof(s->names_asked) - used, "%s ", name ? name : "-");
	return SSL_TLSEXT_ERR_OK;
}

/* clients: the authority of the certificates that clients have to show; NULL: none. */
static inline void server_use_tls(
	struct server *s, const struct identity *id, const struct identity *clients)
{
	s->tls = SSL_CTX_new(TLS_server_method());
	assert_non_null(s->tls);
	assert_int_equal(SSL_CTX_use_certificate(s->tls, id->certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(s->tls, id->key), 1);
	SSL_CTX_set_tlsext_servername_callback(s->tls, on_server_name);
	SSL_CTX_set_tlsext_servername_arg(s->tls, s);
	if (!clients)
		return;
	X509_STORE_add_cert(SSL_CTX_get_cert_store(s->tls), clients->certificate);
	SSL_CTX_set_verify(s->tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

static inline void server_init(struct server *s, struct event_base *base)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(addr);

	s->base = base;
	s->rest = evbuffer_new();
	/* whatever else can happen goes first, so that no two bytes arrive together */
	assert_int_equal(event_base_priority_init(base, 3), 0);
	s->dribbler = evtimer_new(base, on_dribble, s);
	assert_int_equal(event_priority_set(s->dribbler, 2), 0);
	s->listener = evconnlistener_new_bind(base, on_server_connection, s,
		LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 16, (struct sockaddr *)&addr,
		sizeof(addr));
	assert_non_null(s->listener);
	assert_int_equal(
		getsockname(evconnlistener_get_fd(s->listener), (struct sockaddr *)&addr, &len), 0);
	s->port = ntohs(addr.sin_port);
}

static inline void server_done(struct server *s)
{
	for (int i = 0; i < s->n_conns; i++)
		bufferevent_free(s->conns[i]);
	for (int i = 0; i < s->n_requests; i++)
		free(s->requests[i]);
	evconnlistener_free(s->listener);
	event_free(s->dribbler);
	evbuffer_free(s->rest);
	SSL_CTX_free(s->tls);
}
