/*
 * Credentials on disk, in the layout of mounted Kubernetes secrets: DIR/NAMESPACE/SECRET/KEY, where
 * files may be symbolic links to ..data/KEY. They are read anew for each upstream call, with the
 * process's own rights, and nothing outside DIR is ever reached: not by "..", not by a link.
 *
 * A credential is named by its path below DIR: the directory of the secret, or for a federated
 * token the file. What is read is wiped by whoever took it. Errors name the file, never its
 * content.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

struct ig_certificate;
struct ig_credentials;

/* Opens the directory and loads what certificates need, so both have to be in reach. A directory
 * that is not there is no error yet: it is looked for again when something is read from it. */
int ig_credentials_new(const char *dir, struct ig_credentials **ret);
struct ig_credentials *ig_credentials_free(struct ig_credentials *credentials);

/* Each fills *ret (empty before; NUL-terminated, without the line end that an editor left) on
 * success only, and the caller wipes it with ig_buf_wipe(). -ENOENT when there is no such file,
 * -EACCES, -E2BIG, -EINVAL when it holds something else. */

/* The key "clientSecret", or the only one that there is. */
int ig_credentials_read_secret(struct ig_credentials *credentials, const char *secret,
	struct ig_buf *ret, struct ig_err *reterr_err);
/* A token; which one is the reader's business: visible ASCII is all that is checked. */
int ig_credentials_read_token(struct ig_credentials *credentials, const char *file,
	struct ig_buf *ret, struct ig_err *reterr_err);
/* The key "certificate", PKCS#12 in binary, and "password", which may be absent. */
int ig_credentials_read_certificate(struct ig_credentials *credentials, const char *secret,
	struct ig_certificate **ret, struct ig_err *reterr_err);
