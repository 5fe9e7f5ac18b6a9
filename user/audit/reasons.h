/*
 * Every reason that a record may carry, by its kind. The modules that emit records write them as
 * literals; this is the closed list that readers of the audit may rely on. The schema has the same
 * one (tests/unit/test_audit_reasons.c compares them), and every system test validates what it
 * emits against the schema: a reason that is not here fails there. docs/audit.md says what they
 * mean.
 */
#pragma once

/* X(kind, reason) */
#define IG_AUDIT_REASONS(X)                                                                        \
	X(TOKEN_ISSUED, "bound")                                                                   \
	X(TOKEN_ISSUED, "exception")                                                               \
	X(TOKEN_DENIED, "rate_limited")                                                            \
	X(TOKEN_DENIED, "unknown_workload")                                                        \
	X(TOKEN_DENIED, "unknown_cgroup")                                                          \
	X(TOKEN_DENIED, "not_bound")                                                               \
	X(TOKEN_DENIED, "not_found")                                                               \
	X(TOKEN_DENIED, "ambiguous")                                                               \
	X(TOKEN_DENIED, "pod_finished")                                                            \
	X(TOKEN_DENIED, "unknown_pod")                                                             \
	X(TOKEN_DENIED, "host_not_allowed")                                                        \
	X(TOKEN_DENIED, "host_network_not_allowed")                                                \
	X(TOKEN_DENIED, "resource_not_allowed")                                                    \
	X(TOKEN_DENIED, "path_not_allowed")                                                        \
	X(TOKEN_DENIED, "executable_not_allowed")                                                  \
	X(TOKEN_DENIED, "container_not_allowed")                                                   \
	X(TOKEN_DENIED, "container_not_known")                                                     \
	X(TOKEN_DENIED, "rate_limited_by_policy")                                                  \
	X(TOKEN_FAILED, "too_busy")                                                                \
	X(TOKEN_FAILED, "out_of_memory")                                                           \
	X(TOKEN_FAILED, "identity_incomplete")                                                     \
	X(TOKEN_FAILED, "unknown_workload")                                                        \
	X(TOKEN_FAILED, "unknown_cgroup")                                                          \
	X(TOKEN_FAILED, "container_not_known")                                                     \
	X(TOKEN_FAILED, "not_bound")                                                               \
	X(TOKEN_FAILED, "not_found")                                                               \
	X(TOKEN_FAILED, "pod_not_declared_yet")                                                    \
	X(TOKEN_FAILED, "rules_not_declared_yet")                                                  \
	X(TOKEN_FAILED, "upstream_rejected")                                                       \
	X(TOKEN_FAILED, "upstream_not_found")                                                      \
	X(TOKEN_FAILED, "upstream_unavailable")                                                    \
	X(TOKEN_FAILED, "upstream_broken")                                                         \
	X(REQUEST_REJECTED, "no_metadata_header")                                                  \
	X(REQUEST_REJECTED, "forwarded")                                                           \
	X(REQUEST_REJECTED, "bad_query")                                                           \
	X(REQUEST_REJECTED, "bad_api_version")                                                     \
	X(REQUEST_REJECTED, "no_resource")                                                         \
	X(REQUEST_REJECTED, "conflicting_selector")                                                \
	X(REQUEST_REJECTED, "identity_not_found")                                                  \
	X(REQUEST_REJECTED, "multiple_identities")                                                 \
	X(REQUEST_REJECTED, "upstream_rejected")                                                   \
	X(REQUEST_REJECTED, "not_found")                                                           \
	X(REQUEST_REJECTED, "method")                                                              \
	X(REQUEST_REJECTED, "too_many")                                                            \
	X(REQUEST_REJECTED, "server")                                                              \
	X(REQUEST_REJECTED, "unavailable")                                                         \
	X(REQUEST_REJECTED, "forbidden")                                                           \
	X(REQUEST_REJECTED, "no_pod_name")                                                         \
	X(REQUEST_REJECTED, "bad_pod_name")                                                        \
	X(REQUEST_REJECTED, "pod_not_found")                                                       \
	X(REQUEST_REJECTED, "malformed")                                                           \
	X(METADATA_FORWARDED, "fetched")                                                           \
	X(METADATA_FORWARDED, "cached")                                                            \
	X(METADATA_FORWARDED, "learned")                                                           \
	X(METADATA_FORWARDED, "declared")                                                          \
	X(METADATA_FORWARDED, "none")                                                              \
	X(METADATA_DENIED, "unknown_workload")                                                     \
	X(METADATA_DENIED, "unknown_cgroup")                                                       \
	X(METADATA_DENIED, "route_denied")                                                         \
	X(METADATA_DENIED, "not_bound")                                                            \
	X(METADATA_DENIED, "too_busy")                                                             \
	X(METADATA_DENIED, "workload_too_busy")                                                    \
	X(METADATA_DENIED, "timed_out_in_queue")                                                   \
	X(METADATA_DENIED, "cannot_ask_upstream")                                                  \
	X(METADATA_DENIED, "out_of_memory")                                                        \
	X(METADATA_DENIED, "identity_incomplete")                                                  \
	X(METADATA_DENIED, "tenant_unknown")                                                       \
	X(METADATA_DENIED, "pod_finished")                                                         \
	X(METADATA_DENIED, "host_not_allowed")                                                     \
	X(METADATA_DENIED, "host_network_not_allowed")                                             \
	X(METADATA_DENIED, "resource_not_allowed")                                                 \
	X(METADATA_DENIED, "path_not_allowed")                                                     \
	X(METADATA_DENIED, "executable_not_allowed")                                               \
	X(METADATA_DENIED, "container_not_allowed")                                                \
	X(METADATA_DENIED, "container_not_known")                                                  \
	X(METADATA_DENIED, "pod_not_declared_yet")                                                 \
	X(METADATA_DENIED, "rules_not_declared_yet")                                               \
	X(METADATA_DENIED, "upstream_not_found")                                                   \
	X(METADATA_DENIED, "upstream_unavailable")                                                 \
	X(METADATA_DENIED, "upstream_broken")                                                      \
	X(CONNECT_PASSED, "passed")                                                                \
	X(CONNECT_DENIED, "denied")                                                                \
	X(CONNECT_DENIED, "not_tcp")                                                               \
	X(CONNECT_REFUSED, "no_listener")                                                          \
	X(CONNECT_REFUSED, "no_socket_storage")                                                    \
	X(CONNECT_REFUSED, "bound_to_device")                                                      \
	X(CONNECT_REFUSED, "flow_table_full")                                                      \
	X(CONNECT_REFUSED, "too_many_connections")                                                 \
	X(CONNECT_REFUSED, "too_many_connections_of_workload")                                     \
	X(CONNECT_REFUSED, "unknown_peer")                                                         \
	X(CONNECT_REFUSED, "not_root")                                                             \
	X(CONNECT_REFUSED, "cgroup_not_listed")                                                    \
	X(CONNECT_REFUSED, "unknown_cgroup")                                                       \
	X(CONNECT_UNATTRIBUTED, "no_flow")                                                         \
	X(CONNECT_UNATTRIBUTED, "closed_before_accept")                                            \
	X(GUARD_DROP, "forwarded")                                                                 \
	X(GUARD_DROP, "raw_socket")                                                                \
	X(GUARD_DROP, "not_allowed")                                                               \
	X(GUARD_DROP, "older_connection")                                                          \
	X(POLICY_REJECTED, "manifest")                                                             \
	X(POLICY_REJECTED, "kubernetes")                                                           \
	X(EVENTS_LOST, "file")                                                                     \
	X(EVENTS_LOST, "stdout")                                                                   \
	X(EVENTS_LOST, "syslog")                                                                   \
	X(EVENTS_LOST, "otlp")                                                                     \
	X(EVENTS_LOST, "subscriber")                                                               \
	X(EVENTS_LOST, "kernel")
