/*
 * Takes a taint off a node: the one that keeps pods away from new nodes until the gate is there.
 * Called by the agent once it serves, if it was told the taint's key.
 *
 * It reads the node and sends a JSON patch that removes exactly what it saw, where it saw it; if
 * anything moved in between, the API server refuses the patch, and it begins anew. So no taint of
 * anybody else's can go, and no other change of the node is in its way. It needs the rights to
 * "get" and "patch" "nodes".
 */
#pragma once

#include <stdbool.h>

struct event_base;
struct ig_kube_client;
struct ig_kube_node_taint;

struct ig_kube_node_taint_ops {
	/* The node has no such taint (any more); was_there: we took it. Nothing more is done. */
	void (*gone)(bool was_there, void *userdata);
	/* It did not work, and is tried again. http_status 0: there was no answer, or none that
	 * makes sense. Not called again for the same. */
	void (*failed)(unsigned int http_status, void *userdata);
};

/* Begins at once. base, client and ops outlive the result; node and key are copied. -EINVAL: node
 * is no name of an object. Neither callback may free it. */
int ig_kube_node_taint_new(struct event_base *base, struct ig_kube_client *client, const char *node,
	const char *key, const struct ig_kube_node_taint_ops *ops, void *userdata,
	struct ig_kube_node_taint **ret);
struct ig_kube_node_taint *ig_kube_node_taint_free(struct ig_kube_node_taint *taint);
