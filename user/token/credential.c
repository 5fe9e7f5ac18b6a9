/*
 * Reading credentials; see credential.h. Called by source_entra.c for each upstream call, so that a
 * credential that was changed on disk is used from the next call on.
 *
 * It must never leave the directory, keep what it read, or say anything about a file's content.
 * Paths come from manifests that were checked on load; the kernel (RESOLVE_BENEATH) sees to it that
 * a link in the directory does not lead out of it either.
 */
#include "token/credential.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <imdsgate/limits.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "token/certificate.h"

#define KEY_SECRET	"clientSecret"
#define KEY_CERTIFICATE "certificate"
#define KEY_PASSWORD	"password"

#define PATH_BYTES (IG_CREDENTIAL_PATH_BYTES + 256 + 1) /* a secret, a slash and a key */

struct ig_credentials {
	char *dir;		  /* owned */
	int fd;			  /* of dir, O_PATH; -1 while there is none */
	struct ig_crypto *crypto; /* owned */
};

/* ---- files below the directory --------------------------------------------------------------- */

static int open_below(struct ig_credentials *credentials, const char *path, int flags)
{
	int r = ig_file_follow_directory(credentials->dir, &credentials->fd);

	return r < 0 ? r : ig_file_open_beneath(credentials->fd, path, flags);
}

/* The whole file, of one byte at least. */
static int read_below(struct ig_credentials *credentials, const char *path, size_t limit_bytes,
	struct ig_buf *ret)
{
	_cleanup_(ig_buf_wipe) struct ig_buf b = {.limit = limit_bytes};
	_cleanup_close_ int fd = open_below(credentials, path, 0);
	int r;

	if (fd < 0)
		return fd;
	r = ig_file_read(fd, &b);
	if (r < 0)
		return r;
	if (b.len == 0)
		return -ENODATA;
	*ret = b;
	b = (struct ig_buf){};
	return 0;
}

static int explain(const struct ig_credentials *credentials, const char *path, int code,
	struct ig_err *reterr_err)
{
	const char *why = strerror(-code);

	if (code == -E2BIG)
		why = "larger than any credential";
	else if (code == -ENODATA)
		why = "it is empty";
	else if (code == -EXDEV)
		why = "it leads out of the directory";
	else if (code == -EINVAL)
		why = "not a regular file";
	return ig_err_set(reterr_err, code == -ENODATA || code == -EXDEV ? -EINVAL : code,
		"cannot read %s/%s: %s", credentials->dir, path, why);
}

/* What a person put there: one line of text. */
static int read_text(struct ig_credentials *credentials, const char *path, size_t limit_bytes,
	struct ig_buf *ret, struct ig_err *reterr_err)
{
	_cleanup_(ig_buf_wipe) struct ig_buf b = {};
	/* room for the line end */
	int r = read_below(credentials, path, limit_bytes + 2, &b);

	if (r < 0)
		return explain(credentials, path, r, reterr_err);
	if (b.len && b.data[b.len - 1] == '\n')
		b.data[--b.len] = '\0';
	if (b.len && b.data[b.len - 1] == '\r')
		b.data[--b.len] = '\0';
	if (b.len == 0 || b.len > limit_bytes)
		return explain(credentials, path, b.len ? -E2BIG : -ENODATA, reterr_err);
	if (strlen(b.data) != b.len)
		return ig_err_set(reterr_err, -EINVAL,
			"%s/%s is not text, or of more than one line", credentials->dir, path);
	*ret = b;
	b = (struct ig_buf){};
	return 0;
}

/* ---- client secrets -------------------------------------------------------------------------- */

static void close_stream(DIR **p)
{
	if (*p)
		(void)closedir(*p);
}

/* The one entry that is a key; mounted secrets have others, whose names begin with two dots.
 * -ENOENT: there is none, -ENOTUNIQ: there are more. */
static int only_key(DIR *stream, char ret_key[NAME_MAX + 1])
{
	const struct dirent *entry;
	int left = IG_CREDENTIAL_FILES_MAX;
	bool found = false;

	errno = 0;
	while ((entry = readdir(stream)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		if (found || left-- == 0)
			return -ENOTUNIQ;
		found = true;
		(void)stpcpy(ret_key, entry->d_name);
	}
	if (errno)
		return -errno;
	return found ? 0 : -ENOENT;
}

static int find_only_key(
	struct ig_credentials *credentials, const char *secret, char ret_key[NAME_MAX + 1])
{
	_cleanup_close_ int fd = open_below(credentials, secret, O_DIRECTORY);
	_cleanup_(close_stream) DIR *stream = NULL;

	if (fd < 0)
		return fd;
	stream = fdopendir(fd);
	if (!stream)
		return -errno;
	(void)TAKE_FD(fd);
	return only_key(stream, ret_key);
}

static bool exists(struct ig_credentials *credentials, const char *path)
{
	_cleanup_close_ int fd = open_below(credentials, path, 0);

	/* what is there and cannot be opened is an error to report, not a reason to look elsewhere
	 */
	return fd != -ENOENT;
}

int ig_credentials_read_secret(struct ig_credentials *credentials, const char *secret,
	struct ig_buf *ret, struct ig_err *reterr_err)
{
	char path[PATH_BYTES], key[NAME_MAX + 1];
	int r;

	(void)snprintf(path, sizeof(path), "%s/" KEY_SECRET, secret);
	if (!exists(credentials, path)) {
		r = find_only_key(credentials, secret, key);
		if (r == -ENOTUNIQ)
			return ig_err_set(reterr_err, -EINVAL,
				"%s/%s has neither a key " KEY_SECRET " nor just one key",
				credentials->dir, secret);
		if (r == 0)
			(void)snprintf(path, sizeof(path), "%s/%s", secret, key);
		else if (r != -ENOENT)
			return explain(credentials, secret, r, reterr_err);
	}
	return read_text(credentials, path, IG_SECRET_BYTES, ret, reterr_err);
}

/* ---- federated tokens ------------------------------------------------------------------------ */

int ig_credentials_read_token(struct ig_credentials *credentials, const char *file,
	struct ig_buf *ret, struct ig_err *reterr_err)
{
	_cleanup_(ig_buf_wipe) struct ig_buf b = {};
	int r = read_text(credentials, file, IG_ASSERTION_BYTES, &b, reterr_err);

	if (r < 0)
		return r;
	for (const char *p = b.data; *p; p++)
		if (*p < 0x21 || *p > 0x7e)
			return ig_err_set(reterr_err, -EINVAL, "%s/%s does not hold a token",
				credentials->dir, file);
	*ret = b;
	b = (struct ig_buf){};
	return 0;
}

/* ---- certificates ---------------------------------------------------------------------------- */

int ig_credentials_read_certificate(struct ig_credentials *credentials, const char *secret,
	struct ig_certificate **ret, struct ig_err *reterr_err)
{
	_cleanup_(ig_buf_wipe) struct ig_buf file = {};
	_cleanup_(ig_buf_wipe) struct ig_buf password = {};
	char path[PATH_BYTES];
	int r;

	(void)snprintf(path, sizeof(path), "%s/" KEY_PASSWORD, secret);
	if (exists(credentials, path)) {
		r = read_text(credentials, path, IG_SECRET_BYTES, &password, reterr_err);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	(void)snprintf(path, sizeof(path), "%s/" KEY_CERTIFICATE, secret);
	r = read_below(credentials, path, IG_CERTIFICATE_BYTES, &file);
	if (r < 0)
		return explain(credentials, path, r, reterr_err);
	r = ig_certificate_parse(credentials->crypto, file.data, file.len,
		password.data ? password.data : "", ret, reterr_err);
	return r < 0 ? ig_err_wrap(reterr_err, r, "%s/%s", credentials->dir, path) : 0;
}

/* ---- the directory --------------------------------------------------------------------------- */

IG_DEFINE_CLEANUP(struct ig_credentials *, ig_credentials_free);

int ig_credentials_new(const char *dir, struct ig_credentials **ret)
{
	_cleanup_(ig_credentials_freep) struct ig_credentials *credentials =
		calloc(1, sizeof(*credentials));
	int r;

	if (!credentials)
		return -ENOMEM;
	credentials->fd = -1;
	credentials->dir = strdup(dir);
	if (!credentials->dir)
		return -ENOMEM;
	r = ig_crypto_new(&credentials->crypto);
	if (r < 0)
		return r;
	(void)ig_file_follow_directory(credentials->dir, &credentials->fd);
	*ret = TAKE_PTR(credentials);
	return 0;
}

struct ig_credentials *ig_credentials_free(struct ig_credentials *credentials)
{
	if (!credentials)
		return NULL;
	credentials->crypto = ig_crypto_free(credentials->crypto);
	credentials->fd = ig_close(credentials->fd);
	free(credentials->dir);
	free(credentials);
	return NULL;
}
