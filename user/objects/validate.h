/*
 * From a tree (a YAML document, or JSON from the API server) to declared objects. One validator for
 * all feeders, so that an object means the same wherever it came from. It rejects what it does not
 * understand and never repairs.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "objects/object.h"

/* Where member `key` of mapping `node` stands, or with key == NULL `node` itself; 0, 0 when not
 * known. */
typedef void ig_validate_locate(const json_t *node, const char *key, unsigned int *ret_line,
	unsigned int *ret_column, void *userdata);

struct ig_validate_options {
	const char *file;	    /* for messages; NULL without; borrowed */
	ig_validate_locate *locate; /* NULL: places are not known */
	void *userdata;
	/* What the node's administrator wrote: honour the annotation imdsgate.dev/cgroup of a Pod,
	 * and http:// for an authority on the loopback host. Not for what comes from the API
	 * server: whoever may create pods there could otherwise claim the cgroup, and so the
	 * identity, of any other workload, and who may create identities could have the agent send
	 * requests to what the node serves to itself only. Such a Pod's annotation is ignored, and
	 * it must have a uid; such an identity is refused. */
	bool local;
	/* The namespace whose MetadataPolicies govern the whole cluster; policies of others must
	 * not reach beyond their own. NULL: not known, not checked. Borrowed. */
	const char *policy_namespace;
};

struct ig_validator;

/* options->file and options->policy_namespace must outlive the validator. */
int ig_validator_new(const struct ig_validate_options *options, struct ig_validator **ret);
struct ig_validator *ig_validator_free(struct ig_validator *v);
IG_DEFINE_CLEANUP(struct ig_validator *, ig_validator_free);

/* Validates one object, or a v1 List of them, and appends to the set. Objects of other API groups
 * are counted in set->n_ignored. A ServiceAccount without a client id is valid and leaves nothing
 * behind, for it declares no identity. An object that shares a claim (name, pod uid, cgroup) with
 * one that this validator has seen before is an error. -EINVAL or -ENOMEM with *reterr_err; objects
 * of a List before the wrong one may have been appended then. */
int ig_validator_add(struct ig_validator *v, const json_t *doc, struct ig_object_set *set,
	struct ig_err *reterr_err);
