/*
 * Every limit of the agent by name. Each is enforced before memory is taken for what it limits.
 * Sizes are in bytes without a terminating NUL, times in the unit of their name.
 */
#pragma once

/* HTTP requests from workloads (user/http) */
#define IG_HTTP_TARGET_BYTES		 8192  /* 414 beyond */
#define IG_HTTP_HEADERS_MAX		 64    /* 431 beyond */
#define IG_HTTP_HEADER_BYTES		 16384 /* all names and values together; 431 beyond */
#define IG_HTTP_BODY_BYTES		 4096  /* 413 beyond; no route needs one */
#define IG_HTTP_HEADER_TIMEOUT_SEC	 8 /* from the first byte to the end of the headers and body */
#define IG_HTTP_IDLE_TIMEOUT_SEC	 60 /* between requests; also before the first byte */
#define IG_HTTP_CONNECTIONS_MAX		 8192
#define IG_HTTP_CONNECTIONS_WORKLOAD_MAX 512

/* Values in requests (user/imds) */
#define IG_RESOURCE_BYTES    2048
#define IG_SELECTOR_BYTES    1024
#define IG_CLIENT_FACT_BYTES 128
#define IG_QUERY_PARAMS_MAX  32

/* Upstream (user/token, user/http/client). Real IMDS allows 5 at once and 20 a second per VM. */
#define IG_UPSTREAM_CONCURRENCY	   4
#define IG_UPSTREAM_PER_SEC	   15
#define IG_UPSTREAM_TIMEOUT_SEC	   20
#define IG_UPSTREAM_RESPONSE_BYTES 65536
#define IG_UPSTREAM_QUEUE_MAX	   4096
#define IG_TOKEN_CACHE_MAX	   16384
#define IG_TOKEN_WAITERS_MAX	   8192
#define IG_TOKEN_BYTES		   32768 /* one access token */
#define IG_TOKEN_MIN_LIFE_SEC	   300	 /* clients throw away what lives shorter */
#define IG_TOKEN_NEGATIVE_SEC	   5

/* Objects (user/objects) */
#define IG_MANIFEST_FILE_BYTES (1024 * 1024)
#define IG_MANIFEST_FILES_MAX  1024
#define IG_MANIFEST_DOCS_MAX   4096 /* in one file */
#define IG_MANIFEST_DEPTH_MAX  32
#define IG_YAML_NODES_MAX      65536 /* in one document */
#define IG_OBJECT_NAME_BYTES   253
#define IG_LABELS_MAX	       256
#define IG_CGROUP_PATH_BYTES   1024
#define IG_POD_IDENTITIES_MAX  64

/* Audit (user/audit) */
#define IG_AUDIT_LINE_BYTES	 16384
#define IG_AUDIT_SUBSCRIBERS_MAX 32
#define IG_AUDIT_SUBSCRIBER_BYTES                                                                  \
	(1024 * 1024) /* unsent text per subscriber; beyond: lines are lost and counted */

/* Control socket (user/ctl) */
#define IG_CTL_CONNECTIONS_MAX 64
#define IG_CTL_REQUEST_BYTES   65536
#define IG_CTL_REPLY_BYTES     (16 * 1024 * 1024)

/* Data path (bpf/, user/monitor) */
#define IG_CGROUP_DEPTH_MAX	  16 /* ancestors of the caller that are looked up */
#define IG_FLOWS_MAX		  65536
#define IG_WORKLOADS_MAX	  16384
#define IG_LISTENERS_MAX	  8192
#define IG_LISTENERS_WORKLOAD_MAX 16 /* namespaces without a name, per workload */
#define IG_LISTENER_BACKLOG	  1024
#define IG_EVENT_RING_BYTES	  (1024 * 1024) /* power of two */
#define IG_WAKEUP_RING_BYTES	  (64 * 1024)
#define IG_MONITOR_REQUESTS_MAX	  4096 /* outstanding requests of the server */
#define IG_EXE_PATH_BYTES	  1024
