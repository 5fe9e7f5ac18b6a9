/*
 * imdsgate-lab: a local stand-in for Azure IMDS and Entra ID that tests and the demo talk to.
 * Issues really signed tokens for identities that exist nowhere, records everything that reaches
 * it, and misbehaves on request. Never part of the agent. It opens no connection of its own: it
 * only listens where it was told to.
 */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fdutil.h"
#include "base/parse.h"
#include "lab/admin.h"
#include "lab/entra.h"
#include "lab/http.h"
#include "lab/instance.h"
#include "lab/lab.h"
#include "lab/log.h"
#include "lab/options.h"

#define EXIT_USAGE 2

static const int signals[] = {SIGTERM, SIGINT};

/* Event sources in the order of their creation; freed the other way round, the base last. */
struct server {
	struct event_base *base;		       /* owned */
	struct event *signals[IG_ARRAY_SIZE(signals)]; /* owned */
	struct lab_http *http;			       /* owned */
	struct lab_admin *admin;		       /* owned */
};

static void lab_done(struct lab *lab)
{
	json_decref(lab->instance);
	lab_replay_done(&lab->replay);
	(void)lab_tokens_free(lab->tokens);
	(void)lab_signer_free(lab->signer);
	lab_directory_done(&lab->directory);
}

static void server_done(struct server *s)
{
	(void)lab_admin_free(s->admin);
	(void)lab_http_free(s->http);
	for (size_t i = 0; i < IG_ARRAY_SIZE(signals); i++)
		if (s->signals[i])
			event_free(s->signals[i]);
	if (s->base)
		event_base_free(s->base);
}

static int fill_directory(
	struct lab_directory *directory, const struct lab_options *o, struct ig_err *reterr_err)
{
	int r = lab_directory_init(directory);

	if (r < 0)
		return ig_err_set(reterr_err, r, "out of memory");
	if (o->identities_file)
		r = lab_directory_load(directory, o->identities_file, reterr_err);
	for (size_t i = 0; r == 0 && i < o->n_identities; i++)
		r = lab_directory_add_text(directory, o->identities[i], reterr_err);
	if (r == 0 && o->tenant)
		r = lab_directory_set_tenant(directory, o->tenant, reterr_err);
	if (r == 0 && o->default_identity)
		r = lab_directory_set_default(directory, o->default_identity, reterr_err);
	return r;
}

static int check_url(const char *url, struct ig_err *reterr_err)
{
	const char *host = strstr(url, "://");

	if (!host || !(ig_str_has_prefix(url, "http:") || ig_str_has_prefix(url, "https:")) ||
		!host[3] || strchr(host + 3, '/'))
		return ig_err_set(
			reterr_err, -EINVAL, "'%s' is not http://HOST or https://HOST", url);
	return 0;
}

static int lab_init(struct lab *lab, const struct lab_options *o, struct ig_err *reterr_err)
{
	int r = fill_directory(&lab->directory, o, reterr_err);

	lab_replay_init(&lab->replay);
	if (r == 0 && o->entra_url)
		r = check_url(o->entra_url, reterr_err);
	if (r < 0)
		return r;
	lab->entra_url = o->entra_url;
	lab_faults_init(&lab->faults, o->delay_msec, o->token_life_sec);
	lab->instance = lab_instance_new();
	r = lab->instance ? lab_tokens_new(&lab->tokens) : -ENOMEM;
	if (r < 0)
		return ig_err_set(reterr_err, r, "out of memory");
	return lab_signer_new(o->key, &lab->signer, reterr_err);
}

static void serve(const struct lab_request *req, struct lab_reply *reply, void *userdata)
{
	struct lab *lab = userdata;

	if (!lab_imds_serve(lab, req, reply) && !lab_entra_serve(lab, req, reply))
		lab_reply_plain_error(reply, 404, "Not found");
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	(void)number;
	(void)what;
	(void)event_base_loopbreak(arg);
}

static int catch_signals(struct server *s)
{
	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < IG_ARRAY_SIZE(signals); i++) {
		s->signals[i] = evsignal_new(s->base, signals[i], on_signal, s->base);
		if (!s->signals[i] || event_add(s->signals[i], NULL) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int server_init(struct server *s, struct lab *lab, struct lab_log *log,
	const struct lab_options *o, struct ig_err *reterr_err)
{
	struct lab_http_options http = {.log = log,
		.faults = &lab->faults,
		.stats = &lab->stats,
		.handler = serve,
		.describe = lab_entra_describe,
		.userdata = lab};
	int r;

	s->base = event_base_new();
	if (!s->base)
		return ig_err_set(reterr_err, -ENOMEM, "cannot make an event loop");
	http.base = s->base;
	r = catch_signals(s);
	if (r == 0)
		r = lab_http_new(&http, &s->http);
	if (r < 0)
		return ig_err_set(reterr_err, r, "out of memory");
	return o->admin ? lab_admin_new(s->base, lab, o->admin, &s->admin, reterr_err) : 0;
}

/* Listens, and says where on the ready descriptor, which is closed whatever happens. */
static int go(struct server *s, const struct lab_options *o, struct ig_err *reterr_err)
{
	_cleanup_close_ int ready = o->ready_fd;
	_cleanup_(ig_buf_donep) struct ig_buf lines = {.limit = LAB_LISTEN_MAX * LAB_ADDRESS_BYTES};
	int r;

	for (size_t i = 0; i < o->n_listen; i++) {
		char bound[LAB_ADDRESS_BYTES];

		r = lab_http_listen(s->http, o->listen[i], bound, reterr_err);
		if (r < 0)
			return r;
		ig_buf_printf(&lines, "%s\n", bound);
	}
	r = ig_buf_finish(&lines);
	if (r == 0 && ready >= 0)
		r = ig_fd_write_all(ready, lines.data, lines.len);
	return r < 0 ? ig_err_set(reterr_err, r, "ready fd: %s", strerror(-r)) : 0;
}

static int run(struct server *s, const struct lab_log *log, struct ig_err *reterr_err)
{
	if (event_base_dispatch(s->base) < 0)
		return ig_err_set(reterr_err, -EIO, "the event loop failed");
	/* what the kernel has accepted for us meanwhile belongs into the log, too */
	(void)event_base_loop(s->base, EVLOOP_NONBLOCK);
	if (log->error < 0)
		return ig_err_set(reterr_err, log->error, "lines of the log were lost: %s",
			strerror(-log->error));
	return 0;
}

static int serve_all(const struct lab_options *o, struct ig_err *reterr_err)
{
	_cleanup_(lab_log_close) struct lab_log log = {.fd = -1};
	_cleanup_(lab_done) struct lab lab = {};
	_cleanup_(server_done) struct server server = {};
	int r = lab_log_open(o->log, &log);

	if (r < 0)
		return ig_err_set(reterr_err, r, "%s: %s", o->log, strerror(-r));
	r = lab_init(&lab, o, reterr_err);
	if (r == 0)
		r = server_init(&server, &lab, &log, o, reterr_err);
	if (r == 0)
		r = go(&server, o, reterr_err);
	return r < 0 ? r : run(&server, &log, reterr_err);
}

static int fail(const struct ig_err *err, int status)
{
	char text[IG_ERR_FILE_BYTES + IG_ERR_MESSAGE_BYTES + 64];

	(void)fprintf(stderr, "imdsgate-lab: %s\n", ig_err_format(err, text, sizeof(text)));
	if (status == EXIT_USAGE)
		(void)fputs(lab_options_usage, stderr);
	return status;
}

int main(int argc, char **argv)
{
	struct lab_options options;
	struct ig_err err = {};

	if (lab_options_parse(argc, argv, &options, &err) < 0)
		return fail(&err, EXIT_USAGE);
	if (options.help)
		return fputs(lab_options_usage, stdout) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	if (serve_all(&options, &err) < 0)
		return fail(&err, EXIT_FAILURE);
	libevent_global_shutdown();
	return EXIT_SUCCESS;
}
