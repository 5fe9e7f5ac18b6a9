/*
 * Which texts are valid names: the rules of Kubernetes for names and labels, those of Azure for
 * resource ids, and ours for the few values that end up in URLs. Pure predicates on hostile input.
 */
#pragma once

#include <stdbool.h>

/* At most 63 of a-z, 0-9 and '-', beginning and ending with a letter or digit (DNS-1123 label). */
bool ig_name_is_dns_label(const char *s);
/* Such labels (of any length) joined by dots, at most 253 characters (DNS-1123 subdomain). */
bool ig_name_is_dns_subdomain(const char *s);

/* [prefix/]name with a DNS subdomain as prefix and 1 to 63 of A-Z a-z 0-9 '-' '_' '.' as name,
 * beginning and ending with a letter or digit. */
bool ig_name_is_label_key(const char *s);
/* "" or such a name. */
bool ig_name_is_label_value(const char *s);

/* The whole of /subscriptions/SUB/resourcegroups/GROUP/providers/Microsoft.ManagedIdentity/
 * userAssignedIdentities/NAME in any letter case. */
bool ig_name_is_identity_resource_id(const char *s);

/* A tenant: GUID or domain name. It becomes a path segment of the authority's URL. */
bool ig_name_is_tenant(const char *s);

/* An authority's base URL: https://HOST[:PORT][/PATH], or http:// for the loopback host. */
bool ig_name_is_authority_url(const char *s);

/* The UID of a pod: a GUID, or the 32 hexadecimal digits of a static pod; any letter case. */
bool ig_name_is_pod_uid(const char *s);

/* Without control characters (C0, DEL and, as UTF-8, C1). */
bool ig_name_is_printable(const char *s);
