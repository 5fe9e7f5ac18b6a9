/*
 * Bearer tokens; see bearer.h. Called by config.c when it loads and by client.c for each request.
 *
 * It must never show a token to anybody but the caller, and never fail a request because the file
 * is being replaced: the token that was good a moment ago still is.
 */
#include "kube/bearer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "kube/files.h"

struct ig_kube_bearer {
	unsigned int refs;
	struct ig_buf token;
	uint64_t generation; /* of the token */
	/* the rest is for a file; directory is NULL without one */
	char *directory;  /* owned */
	const char *name; /* in it; part of path */
	char *path;	  /* owned */
	int directory_fd; /* O_PATH; -1 while there is none */
	uint64_t checked_usec;
	struct stat read; /* of the file when it was read */
};

/* ---- reading --------------------------------------------------------------------------------- */

/* Takes the line end away that an editor left. */
static int check_token(struct ig_buf *token)
{
	while (token->len && strchr("\r\n", token->data[token->len - 1]))
		token->data[--token->len] = '\0';
	if (token->len == 0)
		return -EINVAL;
	for (size_t i = 0; i < token->len; i++)
		if (token->data[i] < 0x21 || token->data[i] > 0x7e)
			return -EINVAL;
	return token->len > IG_KUBE_TOKEN_BYTES ? -E2BIG : 0;
}

/* 1: the token is another one now; 0: it is the same. */
static int read_token(struct ig_kube_bearer *bearer)
{
	/* room for a line end */
	_cleanup_(ig_buf_wipe) struct ig_buf token = {.limit = IG_KUBE_TOKEN_BYTES + 2};
	_cleanup_close_ int fd = -1;
	struct stat st;
	bool same;
	int r = ig_file_follow_directory(bearer->directory, &bearer->directory_fd);

	if (r < 0)
		return r;
	/* links are followed: the kubelet's files are some */
	fd = openat(
		bearer->directory_fd, bearer->name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	r = ig_file_read(fd, &token);
	if (r == 0)
		r = check_token(&token);
	if (r < 0)
		return r;
	bearer->read = st;
	same = bearer->token.data && strcmp(bearer->token.data, token.data) == 0;
	ig_buf_wipe(&bearer->token);
	bearer->token = token;
	token = (struct ig_buf){};
	bearer->generation += !same;
	return !same;
}

/* Is the file another one than what was read? What cannot be looked at is not. */
static bool was_replaced(struct ig_kube_bearer *bearer)
{
	const struct stat *old = &bearer->read;
	struct stat st;

	if (ig_file_follow_directory(bearer->directory, &bearer->directory_fd) < 0 ||
		fstatat(bearer->directory_fd, bearer->name, &st, 0) < 0)
		return false;
	return st.st_dev != old->st_dev || st.st_ino != old->st_ino || st.st_size != old->st_size ||
	       st.st_mtim.tv_sec != old->st_mtim.tv_sec ||
	       st.st_mtim.tv_nsec != old->st_mtim.tv_nsec;
}

/* ---- use ------------------------------------------------------------------------------------- */

const char *ig_kube_bearer_token(struct ig_kube_bearer *bearer, uint64_t now_mono_usec)
{
	if (bearer->directory &&
		now_mono_usec - bearer->checked_usec >= IG_KUBE_TOKEN_CHECK_SEC * IG_USEC_PER_SEC) {
		bearer->checked_usec = now_mono_usec;
		if (was_replaced(bearer))
			(void)read_token(bearer);
	}
	return bearer->token.data;
}

int ig_kube_bearer_refresh(struct ig_kube_bearer *bearer, uint64_t now_mono_usec)
{
	if (!bearer->directory)
		return 0;
	bearer->checked_usec = now_mono_usec;
	return read_token(bearer) > 0;
}

uint64_t ig_kube_bearer_generation(const struct ig_kube_bearer *bearer)
{
	return bearer->generation;
}

const char *ig_kube_bearer_directory(const struct ig_kube_bearer *bearer)
{
	return bearer->directory;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct ig_kube_bearer *ig_kube_bearer_ref(struct ig_kube_bearer *bearer)
{
	if (bearer)
		bearer->refs++;
	return bearer;
}

struct ig_kube_bearer *ig_kube_bearer_unref(struct ig_kube_bearer *bearer)
{
	if (!bearer || --bearer->refs > 0)
		return NULL;
	ig_buf_wipe(&bearer->token);
	(void)ig_close(bearer->directory_fd);
	free(bearer->directory);
	free(bearer->path);
	free(bearer);
	return NULL;
}
IG_DEFINE_CLEANUP(struct ig_kube_bearer *, ig_kube_bearer_unref);

static struct ig_kube_bearer *bearer_new(void)
{
	struct ig_kube_bearer *bearer = calloc(1, sizeof(*bearer));

	if (!bearer)
		return NULL;
	bearer->refs = 1;
	bearer->directory_fd = -1;
	return bearer;
}

static const char *reason(int code)
{
	if (code == -EINVAL)
		return "it does not hold a token (visible ASCII)";
	if (code == -E2BIG)
		return "it is larger than any token";
	return strerror(-code);
}

int ig_kube_bearer_new_static(
	const char *token, struct ig_kube_bearer **ret, struct ig_err *reterr_err)
{
	_cleanup_(ig_kube_bearer_unrefp) struct ig_kube_bearer *bearer = bearer_new();
	int r;

	if (!bearer)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	ig_buf_init(&bearer->token, IG_KUBE_TOKEN_BYTES + 2);
	ig_buf_puts(&bearer->token, token);
	r = ig_buf_finish(&bearer->token);
	if (r == 0)
		r = check_token(&bearer->token);
	if (r < 0)
		return ig_err_set(reterr_err, r, "%s", reason(r));
	*ret = TAKE_PTR(bearer);
	return 0;
}

int ig_kube_bearer_new_file(
	const char *path, struct ig_kube_bearer **ret, struct ig_err *reterr_err)
{
	_cleanup_(ig_kube_bearer_unrefp) struct ig_kube_bearer *bearer = bearer_new();
	int r;

	if (!bearer)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	bearer->path = strdup(path);
	bearer->directory = ig_kube_path_dir(path);
	if (!bearer->path || !bearer->directory)
		return ig_err_set(reterr_err, -ENOMEM, "out of memory");
	bearer->name = strrchr(bearer->path, '/');
	bearer->name = bearer->name ? bearer->name + 1 : bearer->path;
	bearer->checked_usec = ig_clock_mono_usec();
	r = read_token(bearer);
	if (r < 0)
		return ig_err_set(
			reterr_err, r, "cannot read the token in %s: %s", path, reason(r));
	*ret = TAKE_PTR(bearer);
	return 0;
}
