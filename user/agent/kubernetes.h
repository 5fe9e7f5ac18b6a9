/*
 * The agent's side of the Kubernetes API server: connection, watches into the store, and what is
 * logged and recorded about them. Without Kubernetes (neither --kubernetes nor --kubeconfig) there
 * is none, and every function takes NULL.
 */
#pragma once

#include <stdbool.h>

#include <jansson.h>

#include "base/err.h"
#include "objects/object.h"

struct ig_agent;
struct ig_assertion_provider;
struct ig_kube_feeder_stats;
struct ig_kubernetes;
struct ig_options;

/* Reads the configuration and credentials. While privileged: they may be root's. *ret is NULL when
 * Kubernetes is not used. */
int ig_kubernetes_open(
	const struct ig_options *options, struct ig_kubernetes **ret, struct ig_err *reterr_err);
/* Makes the client; nothing is asked yet. agent->base is there. */
int ig_kubernetes_connect(struct ig_kubernetes *k, struct ig_agent *agent);
/* Where the token for the API server is read again from time to time. NULL: nowhere. */
const char *ig_kubernetes_token_directory(const struct ig_kubernetes *k);
/* Who makes assertions for ServiceAccounts' identities; valid as long as k. NULL without
 * Kubernetes.
 */
const struct ig_assertion_provider *ig_kubernetes_assertions(const struct ig_kubernetes *k);
/* Begins to list and watch. agent->store and agent->audit are there. */
int ig_kubernetes_start(struct ig_kubernetes *k);
struct ig_kubernetes *ig_kubernetes_free(struct ig_kubernetes *k);

/* Has everything been read once? Until then something that is not in the store may be declared all
 * the same. true without Kubernetes. */
bool ig_kubernetes_synced(const struct ig_kubernetes *k);

/* This agent serves. With --startup-taint, this node may take pods from now on. */
void ig_kubernetes_ready(struct ig_kubernetes *k);

/* The store changed. */
void ig_kubernetes_store_changed(struct ig_kubernetes *k);

/* false: objects of this kind are not watched, or there is no Kubernetes. */
bool ig_kubernetes_stats(
	const struct ig_kubernetes *k, enum ig_object_kind kind, struct ig_kube_feeder_stats *ret);

/* For `imdsgate status`; a new reference, null without Kubernetes. */
json_t *ig_kubernetes_status(const struct ig_kubernetes *k);
