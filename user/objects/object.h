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

#include <imdsgate/limits.h>

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

/* Where its feeder found an object, for messages; 0, 0 when there is no such place. Not part of the
 * object's content. */
struct ig_object_place {
	unsigned int line;
	unsigned int column;
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
	char *secret_name; /* clientPassword, always of the identity's own namespace; types 1, 2 */
	char *auxiliary_tenants; /* joined by commas; kept, not asked */
	/* annotation imdsgate.dev/federated-token-file: "NAMESPACE/…", its own namespace; type 0 */
	char *federated_token_file;
	bool assertion_rs256;	  /* annotation imdsgate.dev/assertion-algorithm: RS256; type 2 */
	bool behavior_namespaced; /* annotation aadpodidentity.k8s.io/Behavior: namespaced */
	struct ig_object_place place;
};

struct ig_binding {
	char *namespace;
	char *name;
	char *azure_identity; /* name of an AzureIdentity in the same namespace */
	char *selector; /* value of the pod label aadpodidbinding; never "" (refused on load) */
	struct ig_object_place place;
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
	struct ig_object_place place;
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
	struct ig_object_place place;
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
	size_t n_ignored; /* objects of other API groups that were passed over */
};

struct ig_object_set *ig_object_set_new(void); /* empty; NULL when out of memory */
struct ig_object_set *ig_object_set_free(struct ig_object_set *set);
size_t ig_object_set_count(const struct ig_object_set *set);
/* The n objects of one kind as an array; NULL when there are none. */
const void *ig_object_set_items(
	const struct ig_object_set *set, enum ig_object_kind kind, size_t *ret_n);
/* Same objects with the same content in the same order. n_ignored does not count. */
bool ig_object_set_equal(const struct ig_object_set *a, const struct ig_object_set *b);

/* Moves *object (a struct of that kind, all strings set) into the set. On success *object is empty
 * again; on -ENOMEM it still owns what it owned. */
int ig_object_set_add(struct ig_object_set *set, enum ig_object_kind kind, void *object);

/* Bytes of one object of a kind, to walk the array of ig_object_set_items(). */
size_t ig_object_size(enum ig_object_kind kind);
const char *ig_object_kind_name(enum ig_object_kind kind); /* "AzureIdentity", "Pod", … */

struct ig_object_place ig_object_place(enum ig_object_kind kind, const void *object);

/* What no two objects may share, as text for people and as key for tables: "Pod default/a", and for
 * pods also "pod uid …" and "cgroup /demo". i runs from 0 to IG_OBJECT_CLAIMS_MAX - 1; false when
 * this object has no claim with that number. */
#define IG_OBJECT_CLAIMS_MAX  3
#define IG_OBJECT_CLAIM_BYTES (IG_CGROUP_PATH_BYTES + 32)
bool ig_object_claim(enum ig_object_kind kind, const void *object, size_t i, char *buf, size_t len);

/* Free what a (possibly half-built) object owns and empty it. */
void ig_identity_done(struct ig_identity *identity);
void ig_binding_done(struct ig_binding *binding);
void ig_exception_done(struct ig_exception *exception);
void ig_pod_done(struct ig_pod *pod);
void ig_labels_free(struct ig_label *labels, size_t n);
