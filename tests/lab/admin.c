/*
 * The admin socket; see admin.h. What the commands mean is faults.c's; here are lines, replies and
 * {"stats":true}. Only the user who started the lab may connect. Called by main.c.
 */
#include "lab/admin.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "lab/lab.h"

#define LINE_BYTES  65536
#define REPLY_BYTES 4096
#define BACKLOG	    16

struct client {
	LIST_ENTRY(client) link;
	struct lab_admin *admin; /* owns us */
	struct bufferevent *bev; /* owned, with the socket */
};

struct lab_admin {
	struct event_base *base;	 /* borrowed */
	struct lab *lab;		 /* borrowed */
	struct evconnlistener *listener; /* owned */
	char *path;			 /* owned; set when the socket is ours to remove */
	LIST_HEAD(, client) clients;
};

static void put_stats(struct ig_buf *out, const struct lab_stats *stats)
{
	ig_buf_json_member_u64(out, "connections", stats->connections);
	ig_buf_json_member_u64(out, "requests", stats->requests);
	ig_buf_json_member_u64(out, "tokens", stats->tokens);
	ig_buf_json_member_u64(out, "in_progress", stats->in_progress);
	ig_buf_json_member_u64(out, "max_in_progress", stats->max_in_progress);
}

static int obey(
	struct lab *lab, const char *line, size_t len, bool *ret_stats, struct ig_err *reterr_err)
{
	json_error_t error;
	_cleanup_(json_decrefp) json_t *command =
		json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	bool flush = false;
	int r;

	if (!command)
		return ig_err_set(reterr_err, -EINVAL, "%s", error.text);
	if (!json_is_object(command))
		return ig_err_set(reterr_err, -EINVAL, "not an object");
	*ret_stats = json_is_true(json_object_get(command, "stats"));
	if (*ret_stats)
		(void)json_object_del(command, "stats");
	r = lab_faults_apply(&lab->faults, command, &flush, reterr_err);
	if (r == 0 && flush)
		lab_tokens_flush(lab->tokens);
	return r;
}

static void answer(struct client *client, const char *line, size_t len)
{
	_cleanup_(ig_buf_donep) struct ig_buf out = {.limit = REPLY_BYTES};
	struct lab *lab = client->admin->lab;
	struct ig_err err = {};
	bool stats = false;
	int r = obey(lab, line, len, &stats, &err);

	ig_buf_putc(&out, '{');
	ig_buf_json_member_bool(&out, "ok", r == 0);
	if (r < 0)
		ig_buf_json_member_str(&out, "error", err.message);
	else if (stats)
		put_stats(&out, &lab->stats);
	ig_buf_puts(&out, "}\n");
	if (ig_buf_finish(&out) == 0)
		(void)bufferevent_write(client->bev, out.data, out.len);
}

static void client_free(struct client *client)
{
	LIST_REMOVE(client, link);
	bufferevent_free(client->bev);
	free(client);
}

static void on_readable(struct bufferevent *bev, void *arg)
{
	struct evbuffer *in = bufferevent_get_input(bev);
	struct client *client = arg;

	for (;;) {
		size_t len = 0;
		_cleanup_free_ char *line = evbuffer_readln(in, &len, EVBUFFER_EOL_LF);

		if (!line)
			break;
		answer(client, line, len);
	}
	if (evbuffer_get_length(in) >= LINE_BYTES)
		client_free(client);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev;
	(void)what;
	client_free(arg);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *sa,
	int len, void *arg)
{
	_cleanup_close_ int owned = fd;
	struct lab_admin *admin = arg;
	_cleanup_free_ struct client *client = calloc(1, sizeof(*client));

	(void)listener;
	(void)sa;
	(void)len;
	if (!client)
		return;
	client->admin = admin;
	client->bev = bufferevent_socket_new(admin->base, owned, BEV_OPT_CLOSE_ON_FREE);
	if (!client->bev)
		return;
	(void)TAKE_FD(owned);
	bufferevent_setcb(client->bev, on_readable, NULL, on_event, client);
	bufferevent_setwatermark(client->bev, EV_READ, 0, LINE_BYTES);
	(void)bufferevent_enable(client->bev, EV_READ | EV_WRITE);
	LIST_INSERT_HEAD(&admin->clients, client, link);
	(void)TAKE_PTR(client);
}

/* A socket of an earlier run may stay behind; anything else at the path is not ours. */
static void remove_socket(const char *path)
{
	struct stat st;

	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(path);
}

static int listen_at(struct lab_admin *admin, const char *path, struct ig_err *reterr_err)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	mode_t mask;

	if (strlen(path) >= sizeof(sun.sun_path))
		return ig_err_set(reterr_err, -EINVAL, "'%s' is too long for a socket", path);
	memcpy(sun.sun_path, path, strlen(path) + 1);
	remove_socket(path);
	mask = umask(0177);
	admin->listener = evconnlistener_new_bind(admin->base, on_accept, admin,
		LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_CLOSE_ON_FREE, BACKLOG, (struct sockaddr *)&sun,
		sizeof(sun));
	(void)umask(mask);
	if (!admin->listener)
		return ig_err_set(
			reterr_err, -errno, "cannot listen on %s: %s", path, strerror(errno));
	admin->path = strdup(path);
	return admin->path ? 0 : ig_err_set(reterr_err, -ENOMEM, "out of memory");
}

int lab_admin_new(struct event_base *base, struct lab *lab, const char *path,
	struct lab_admin **ret, struct ig_err *reterr_err)
{
	_cleanup_(lab_admin_freep) struct lab_admin *admin = calloc(1, sizeof(*admin));
	int r;

	if (!admin)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	admin->base = base;
	admin->lab = lab;
	LIST_INIT(&admin->clients);
	r = listen_at(admin, path, reterr_err);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(admin);
	return 0;
}

struct lab_admin *lab_admin_free(struct lab_admin *admin)
{
	struct client *client;

	if (!admin)
		return NULL;
	while ((client = LIST_FIRST(&admin->clients)))
		client_free(client);
	if (admin->listener)
		evconnlistener_free(admin->listener);
	if (admin->path)
		remove_socket(admin->path);
	free(admin->path);
	free(admin);
	return NULL;
}
