/*
 * The declared objects, reduced to the fields that are used. Shapes follow
 * aadpodidentity.k8s.io/v1 (AzureIdentity, AzureIdentityBinding, AzurePodIdentityException),
 * imdsgate.dev/v1alpha1 (MetadataPolicy) and core/v1 (Pod, ServiceAccount). All strings are owned
 * by the object, never NULL (absent is ""), without control characters. Plain data: whoever holds
 * an object set may read it, nobody but its feeder changes it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <imdsgate/limits.h>

enum ig_object_kind {
	IG_OBJECT_IDENTITY,
	IG_OBJECT_BINDING,
	IG_OBJECT_EXCEPTION,
	IG_OBJECT_POD,
	IG_OBJECT_SERVICE_ACCOUNT,
	IG_OBJECT_METADATA_POLICY,
	_IG_OBJECT_KIND_MAX
};

enum ig_identity_type {
	IG_IDENTITY_USER_ASSIGNED = 0, /* managed identity, asked from IMDS */
	IG_IDENTITY_SECRET = 1,	       /* service principal with a secret */
	IG_IDENTITY_CERTIFICATE = 2,   /* service principal with a certificate */
	/* by a ServiceAccount's token (Kubernetes TokenRequest); no AzureIdentity has this type */
	IG_IDENTITY_FEDERATED = 3,
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
	char *auxiliary_tenants; /* joined by commas; at most IG_AUXILIARY_TENANTS_MAX. Type 1 */
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

struct ig_container {
	char *name;
	char *id; /* 64 hexadecimal digits, lower case, as in its cgroup's name; "" not known yet */
};

struct ig_pod {
	char *namespace;
	char *name;
	char *uid;    /* lower case; "" when not given */
	char *cgroup; /* annotation imdsgate.dev/cgroup, canonical ("/demo.slice/app"); "" without
		       */
	char *service_account; /* "" without */
	bool host_network;
	bool finished; /* phase Succeeded or Failed */
	struct ig_label *labels;
	size_t n_labels;
	struct ig_container *containers; /* init and ephemeral ones, too; in the order declared */
	size_t n_containers;
	struct ig_object_place place;
};

/* Has it the label azure.workload.identity/use: "true"? */
bool ig_pod_uses_workload_identity(const struct ig_pod *pod);

/* A ServiceAccount with the annotation azure.workload.identity/client-id; others are not kept. */
struct ig_service_account {
	char *namespace;
	char *name;
	/* type FEDERATED; the account's own namespace and name; client_id; tenant_id from the
	 * annotation azure.workload.identity/tenant-id, "" without; the rest is "" */
	struct ig_identity identity;
	struct ig_object_place place;
};

enum ig_policy_mode {
	IG_POLICY_MODE_ENFORCE, /* default */
	IG_POLICY_MODE_AUDIT,
	IG_POLICY_MODE_OFF,
};

enum ig_policy_host_network {
	IG_POLICY_HOST_NETWORK_UNSET,
	IG_POLICY_HOST_NETWORK_ALLOW,
	IG_POLICY_HOST_NETWORK_DENY,
};

/* A list in the order declared. An absent field is not the same as an empty one. */
struct ig_text_list {
	char **items;
	size_t n;
	bool given; /* false: the field is absent, and n is 0 */
};

/* docs/policy.md says what the fields mean. */
struct ig_metadata_policy {
	char *namespace;
	char *name;
	enum ig_policy_mode mode;
	/* spec.subject: Host (default Pods): processes of the host that are in no workload */
	bool host;
	struct ig_text_list namespaces; /* spec.namespaces: cluster policies only; absent: all */
	struct ig_label *labels; /* spec.podSelector.matchLabels: all must match; none: every pod */
	size_t n_labels;
	struct ig_text_list service_accounts; /* spec.serviceAccounts: any of them; absent: all */
	/* spec.identities: names of AzureIdentities (or ServiceAccounts) whose tokens are governed;
	 * absent: every request, documents included */
	struct ig_text_list identities;
	struct ig_text_list resources; /* spec.allow.resources; "*": any */
	struct ig_text_list paths; /* spec.allow.metadataPaths: whole segments of /metadata/… */
	struct ig_text_list containers;		  /* spec.allow.containers: names */
	struct ig_text_list executables;	  /* spec.allow.executables: absolute paths */
	enum ig_policy_host_network host_network; /* spec.allow.hostNetwork */
	uint32_t rate_per_sec;			  /* spec.rate.perSecond; 0: not given */
	uint32_t rate_burst;			  /* spec.rate.burst; 0: not given */
	int64_t generation;			  /* metadata.generation; 0: not known */
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
	struct ig_service_account *service_accounts;
	size_t n_service_accounts;
	struct ig_metadata_policy *metadata_policies;
	size_t n_metadata_policies;
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
void ig_service_account_done(struct ig_service_account *account);
void ig_metadata_policy_done(struct ig_metadata_policy *policy);
void ig_labels_free(struct ig_label *labels, size_t n);
void ig_containers_free(struct ig_container *containers, size_t n);
void ig_text_list_done(struct ig_text_list *list);
