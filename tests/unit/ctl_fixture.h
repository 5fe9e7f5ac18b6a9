/*
 * A control socket in a directory of its own, who dials it, and verbs for a server. Included after
 * cmocka's headers.
 */
#pragma once

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "ctl/server.h"

#define HEAD	    "{\"ok\":true,\"result\":\"streaming\"}\n"
#define ERROR(c, m) "{\"ok\":false,\"error\":{\"code\":\"" c "\",\"message\":\"" m "\"}}\n"

/* ---- the socket ------------------------------------------------------------------------------ */

struct place {
	char dir[256];
	char path[300];
};

static inline void place_init(struct place *p)
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(p->dir, sizeof(p->dir), "%s/ig-ctl-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(p->dir));
	(void)snprintf(p->path, sizeof(p->path), "%s/s", p->dir);
}

static inline void place_done(struct place *p)
{
	(void)unlink(p->path);
	assert_int_equal(rmdir(p->dir), 0);
}

static inline struct sockaddr_un address_of(const struct place *p)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	assert_true(strlen(p->path) < sizeof(address.sun_path));
	memcpy(address.sun_path, p->path, strlen(p->path));
	return address;
}

static inline int dial(const struct place *p)
{
	const struct sockaddr_un address = address_of(p);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* ---- verbs ----------------------------------------------------------------------------------- */

static inline int run_echo(struct ig_ctl_conn *conn, json_t *args, void *userdata,
	json_t **ret_result, struct ig_err *reterr_err)
{
	(void)conn;
	(void)userdata;
	(void)reterr_err;
	*ret_result = json_incref(args);
	return 0;
}

static inline int run_null(struct ig_ctl_conn *conn, json_t *args, void *userdata,
	json_t **ret_result, struct ig_err *reterr_err)
{
	(void)conn;
	(void)args;
	(void)userdata;
	(void)reterr_err;
	*ret_result = json_null();
	return 0;
}

static inline int run_denied(struct ig_ctl_conn *conn, json_t *args, void *userdata,
	json_t **ret_result, struct ig_err *reterr_err)
{
	(void)conn;
	(void)args;
	(void)userdata;
	(void)ret_result;
	return ig_err_set(reterr_err, -EACCES, "denied \"%s\"", "\x1b[2J");
}

static inline int run_large(struct ig_ctl_conn *conn, json_t *args, void *userdata,
	json_t **ret_result, struct ig_err *reterr_err)
{
	size_t len = (size_t)json_integer_value(json_object_get(args, "len"));
	_cleanup_free_ char *text = malloc(len + 1);

	(void)conn;
	(void)userdata;
	(void)reterr_err;
	if (!text)
		return -ENOMEM;
	memset(text, 'x', len);
	*ret_result = json_stringn(text, len);
	return *ret_result ? 0 : -ENOMEM;
}
