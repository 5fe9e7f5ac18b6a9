/*
 * The token that we show to the API server: one that stands in the configuration, or a file that
 * the kubelet replaces about every hour. Shared by a configuration and its clients.
 *
 * The file's directory is held open (O_PATH), so that reading it again does not depend on the
 * directories above. While the file cannot be read, the last token goes on. Tokens are wiped.
 */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct ig_kube_bearer;

/* Both return a reference in *ret. -EINVAL: empty, or not visible ASCII; -E2BIG. */
int ig_kube_bearer_new_static(
	const char *token, struct ig_kube_bearer **ret, struct ig_err *reterr_err);
/* Reads the file now. */
int ig_kube_bearer_new_file(
	const char *path, struct ig_kube_bearer **ret, struct ig_err *reterr_err);
struct ig_kube_bearer *ig_kube_bearer_ref(struct ig_kube_bearer *bearer);
struct ig_kube_bearer *ig_kube_bearer_unref(struct ig_kube_bearer *bearer);

/* The token; valid until the next call for this bearer. The file is looked at when that was
 * IG_KUBE_TOKEN_CHECK_SEC ago, and read if it is another one or was changed. */
const char *ig_kube_bearer_token(struct ig_kube_bearer *bearer, uint64_t now_mono_usec);
/* Another number for another token. */
uint64_t ig_kube_bearer_generation(const struct ig_kube_bearer *bearer);
/* After the server refused it: reads the file at once. 1: the token is another one now; 0: not. */
int ig_kube_bearer_refresh(struct ig_kube_bearer *bearer, uint64_t now_mono_usec);

/* What has to stay readable; NULL when no file is read any more. */
const char *ig_kube_bearer_directory(const struct ig_kube_bearer *bearer);
