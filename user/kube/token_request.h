/*
 * Client assertions from Kubernetes: for a pod, a token of its ServiceAccount that is bound to the
 * pod and addressed to Entra ID (TokenRequest). The token service asks for them by
 * token/assertion_provider.h.
 *
 * The agent needs the right to "create" "serviceaccounts/token".
 */
#pragma once

#include "token/assertion_provider.h"

struct ig_kube_client;

/* *ret borrows the client, which outlives it and its calls. Nothing has to be freed. */
void ig_kube_token_provider(struct ig_kube_client *client, struct ig_assertion_provider *ret);
