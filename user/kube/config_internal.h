/*
 * What the two kinds of configuration have in common. Private to config.c and kubeconfig.c.
 */
#pragma once

#include <stddef.h>

#include "kube/config.h"

struct ig_kube_config *ig_kube_config_new(void); /* NULL: no memory */

/* Checks and takes the server's URL: https, or http to this machine. */
int ig_kube_config_set_server(
	struct ig_kube_config *config, const char *url, struct ig_err *reterr_err);
/* A file of at most limit_bytes, links followed, as the one who configured it meant it. *ret is
 * empty before; wipe it. */
int ig_kube_config_read(
	const char *path, size_t limit_bytes, struct ig_buf *ret, struct ig_err *reterr_err);
/* What every configuration has to pass: PEM is what it claims to be, the key fits. */
int ig_kube_config_check(const struct ig_kube_config *config, struct ig_err *reterr_err);
