/*
 * What the operator decides about the rules, for every module of this folder. All zero is the
 * default, and the strict choice but for built-in exceptions; no options at all (NULL) is strict
 * in everything.
 */
#pragma once

#include <stdbool.h>

/* Where the cluster's own policies are when nothing else is said. */
#define IG_POLICY_NAMESPACE "imdsgate-system"

struct ig_policy_options {
	bool allow_cross_namespace; /* bindings reach pods of other namespaces */
	bool no_exceptions;	    /* bindings and accounts alone count */
	bool no_aks_exception;	    /* AKS's own pods in kube-system are like any other */
	/* borrowed; MetadataPolicies there are the cluster's; NULL: IG_POLICY_NAMESPACE */
	const char *policy_namespace;
};
