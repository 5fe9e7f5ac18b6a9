/*
 * How to reach the Kubernetes API server and as whom: from the pod's service account, or from a
 * kubeconfig file. Called once at start, before privilege is dropped.
 *
 * Everything but the token is read here and kept; no file is needed later. A token that stands in a
 * file is read again when it was replaced (see bearer.h), with the rights that the process then has
 * and through the directory that is held open: the file has to be readable for the user of the
 * server process, and a sandbox has to allow reading below ig_kube_bearer_directory(). Without an
 * authority in the configuration the system's are used, which then have to stay readable, too.
 *
 * Errors name file, place and key, never a value.
 */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define IG_KUBE_SERVICE_ACCOUNT_DIR "/var/run/secrets/kubernetes.io/serviceaccount"

struct ig_kube_bearer;

struct ig_kube_config {
	char *server;	   /* owned; "https://host:port/prefix" without a slash at the end */
	char *server_name; /* owned; whose certificate it has to be; NULL: the server's own name */
	char *ns;	   /* owned; namespace; NULL when not known */
	struct ig_buf ca;  /* PEM; empty: the system's authorities */
	struct ig_buf certificate;     /* PEM, the client's; empty: none */
	struct ig_buf key;	       /* PEM; goes with it. All three are wiped */
	struct ig_kube_bearer *bearer; /* owned; NULL: no token */
};

/* kubeconfig: a path, or NULL for the service account of the pod we run in. -ENOENT when there is
 * no such file or when we are not in a pod; -EINVAL for what cannot be used. */
int ig_kube_config_load(
	const char *kubeconfig, struct ig_kube_config **ret, struct ig_err *reterr_err);
/* The service account whose files are in `dir`; where the server is says the environment. */
int ig_kube_config_load_in_cluster(
	const char *dir, struct ig_kube_config **ret, struct ig_err *reterr_err);
/* One kubeconfig file: its current-context. What would weaken us or run programs is refused. */
int ig_kube_config_load_file(
	const char *path, struct ig_kube_config **ret, struct ig_err *reterr_err);

struct ig_kube_config *ig_kube_config_free(struct ig_kube_config *config);
