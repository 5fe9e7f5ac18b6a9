/*
 * The declared objects, reduced to the fields that are used. Shapes follow
 * aadpodidentity.k8s.io/v1 (AzureIdentity, AzureIdentityBinding, AzurePodIdentityException) and
 * core/v1 Pod. All strings are owned by the object, never NULL (absent is ""), without control
 * characters. Plain data: whoever holds an object set may read it, nobody but its feeder changes
 * it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum ig_object_kind {
	IG_OBJECT_IDENTITY,
	IG_OBJECT_BINDING,
	IG_OBJECT_EXCEPTION,
	IG_OBJECT_POD,
	_IG_OBJECT_KIND_MAX
};

enum ig_identity_type {
	IG_IDENTITY_USER_ASSIGNED = 0, /* managed identity, asked from IMDS */
	IG_IDENTITY_SECRET = 1,	       /* service principal with a secret */
	IG_IDENTITY_CERTIFICATE = 2,   /* service principal with a certificate */
};

struct ig_label {
	char *key;
	char *value;
};

struct ig_identity {
	char *namespace;
	char *name;
	enum ig_identity_type type;
	char *client_id;
	char *resource_id; /* ARM id; "" when not given */
	char *object_id;   /* annotation imdsgate.dev/object-id; "" when not given */
	char *tenant_id;
	char *ad_endpoint;
	bool behavior_namespaced; /* annotation aadpodidentity.k8s.io/Behavior: namespaced */
};

struct ig_binding {
	char *namespace;
	char *name;
	char *azure_identity; /* name of an AzureIdentity in the same namespace */
	char *selector; /* value of the pod label aadpodidbinding; never "" (refused on load) */
};

enum ig_exception_mode {
	IG_EXCEPTION_PROXY,  /* through the gate, any identity of the node, audited (default) */
	IG_EXCEPTION_DIRECT, /* past the gate; annotation imdsgate.dev/exception-mode: direct */
};

struct ig_exception {
	char *namespace;
	char *name;
	enum ig_exception_mode mode;
	struct ig_label *labels; /* a pod with any one of these pairs is excepted */
	size_t n_labels;
};

struct ig_pod {
	char *namespace;
	char *name;
	char *uid;    /* lower case; "" when not given */
	char *cgroup; /* annotation imdsgate.dev/cgroup, canonical ("/demo.slice/app"); "" without
		       */
	char *service_account; /* "" without */
	bool host_network;
	struct ig_label *labels;
	size_t n_labels;
};

/* Value of a label, or NULL. */
const char *ig_label_get(const struct ig_label *labels, size_t n, const char *key);

/* What one feeder (one manifest file, one watch) declares. */
struct ig_object_set {
	struct ig_identity *identities;
	size_t n_identities;
	struct ig_binding *bindings;
	size_t n_bindings;
	struct ig_exception *exceptions;
	size_t n_exceptions;
	struct ig_pod *pods;
	size_t n_pods;
};

struct ig_object_set *ig_object_set_new(void); /* empty; NULL when out of memory */
struct ig_object_set *ig_object_set_free(struct ig_object_set *set);
size_t ig_object_set_count(const struct ig_object_set *set);
