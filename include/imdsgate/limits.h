/*
 * Every limit of the agent by name. Each is enforced before memory is taken for what it limits.
 * Sizes are in bytes without a terminating NUL, times in the unit of their name.
 */
#pragma once

/* Of a process, for everything but listeners and connections of workloads: calls upstream and to
 * the API server, control, metrics, files */
#define IG_DESCRIPTORS_RESERVE 512

/* HTTP requests from workloads (user/http) */
#define IG_HTTP_TARGET_BYTES		 8192  /* 414 beyond */
#define IG_HTTP_HEADERS_MAX		 64    /* 431 beyond */
#define IG_HTTP_HEADER_BYTES		 16384 /* all names and values together; 431 beyond */
#define IG_HTTP_BODY_BYTES		 4096  /* 413 beyond; no route needs one */
#define IG_HTTP_HEADER_TIMEOUT_SEC	 8 /* from the first byte to the end of the headers and body */
#define IG_HTTP_IDLE_TIMEOUT_SEC	 60 /* between requests; also before the first byte */
#define IG_HTTP_CONNECTIONS_MAX		 8192
#define IG_REQUESTS_WORKLOAD_PER_SEC	 200 /* token requests; 429 beyond the burst */
#define IG_REQUESTS_WORKLOAD_BURST_SEC	 5   /* what is saved up: as many as in this time */
#define IG_RECORDS_WORKLOAD_PER_SEC	 200 /* audit records but token.issued; left out beyond */
#define IG_RECORDS_WORKLOAD_BURST	 1000
#define IG_REJECTED_NAMESPACE_PER_SEC	 1 /* records of wrong objects; left out beyond */
#define IG_REJECTED_NAMESPACE_BURST	 100
#define IG_RATE_ENTRIES_MAX		 16384 /* workloads, or namespaces, counted at once */
#define IG_HTTP_CONNECTIONS_WORKLOAD_MAX 512
#define IG_REQUESTS_WORKLOAD_PER_SEC_MAX 100000	       /* that --requests-per-second can ask for */
#define IG_HTTP_BUFFERED_WORKLOAD_BYTES	 (1024 * 1024) /* of unfinished requests and answers */
#define IG_HTTP_BUFFERED_BYTES		 (16 * 1024 * 1024) /* the same of all together */

/* Turns of the event loop (user/http/share, user/agent): who has had more of it goes on when nobody
 * else has anything to do */
#define IG_BUSY_OWNER_USEC    5000 /* at once, of a workload's connections or of a listener */
#define IG_BUSY_OWNER_PERCENT 5	   /* of the time, from then on */
#define IG_LATE_CALLBACKS     2	 /* of those that wait for the others, before these are looked at */
#define IG_ACCEPTS_TURN	      32 /* connections of one listener; 1 when it is over */
#define IG_ACCEPTS_WAITING_MAX                                                                     \
	64 /* of one listener, for the monitor to say whose they are (kernels before 5.19) */
#define IG_QUOTA_IDLE_MAX 1024 /* workloads without connections whose use is remembered */

/* Values in requests (user/imds) */
#define IG_RESOURCE_BYTES    2048
#define IG_SELECTOR_BYTES    1024
#define IG_CLIENT_FACT_BYTES 128
#define IG_QUERY_PARAMS_MAX  32

/* Upstream (user/token, user/http/client). Real IMDS allows 5 at once and 20 a second per VM. */
#define IG_UPSTREAM_CONCURRENCY	       4
#define IG_UPSTREAM_PER_SEC	       15
#define IG_ENTRA_CONCURRENCY	       32 /* no limit per machine; one authority may hang */
#define IG_ENTRA_WORKLOAD_CONCURRENCY  8  /* of them for one workload, whose authority hangs */
#define IG_UPSTREAM_TIMEOUT_SEC	       20
#define IG_UPSTREAM_RESPONSE_BYTES     65536
#define IG_HTTP_STREAM_BYTES	       (4 * 1024 * 1024) /* of one stream in one turn of the loop */
#define IG_UPSTREAM_QUEUE_MAX	       4096
#define IG_UPSTREAM_QUEUE_WORKLOAD_MAX 512 /* as many as it has connections */
#define IG_TOKEN_CACHE_MAX	       16384
#define IG_TOKEN_CACHE_WORKLOAD_MAX    1024 /* that one workload was the first to ask for */
#define IG_TOKEN_WAITERS_MAX	       8192
#define IG_TOKEN_BYTES		       32768 /* one access token */
#define IG_TOKEN_MIN_LIFE_SEC	       300   /* clients throw away what lives shorter */
#define IG_TOKEN_NEGATIVE_SEC	       5     /* refusals and nonsense */
#define IG_TOKEN_UNAVAILABLE_MSEC                                                                  \
	800 /* what may pass: less than the Retry-After that clients get */

/* Credentials on disk (user/token) */
#define IG_SECRET_BYTES		  4096	  /* a client secret, the password of a certificate */
#define IG_CERTIFICATE_BYTES	  65536	  /* a PKCS#12 file */
#define IG_CERTIFICATE_ITERATIONS 2000000 /* of deriving keys for one; about a second */
#define IG_ASSERTION_BYTES	  16384	  /* a client assertion, made or read */
#define IG_CREDENTIAL_FILES_MAX	  1024	  /* entries of one secret's directory that are looked at */
#define IG_CREDENTIAL_PATH_BYTES  1024
#define IG_UPSTREAM_REQUEST_BYTES 65536 /* a form */

/* What may not be declared yet (user/agent/waiting): clients give up after tens of seconds */
#define IG_WAIT_POD_SEC	 10 /* for the pod, or for everything to be known once; 503 then */
#define IG_WAIT_RULE_SEC 5  /* for the binding of a pod that is not older than that */

/* Metadata documents (user/imds, user/agent/documents). Real IMDS allows 5 requests a second per
 * VM, whoever asks for whatever. */
#define IG_DOCUMENT_PATH_BYTES	       512 /* 404 beyond */
#define IG_DOCUMENT_BYTES	       131072 /* one document; user data alone may be 64 KiB in base64 */
#define IG_DOCUMENT_CONCURRENCY	       2
#define IG_DOCUMENT_PER_SEC	       3
#define IG_DOCUMENT_TIMEOUT_SEC	       5 /* from the request to the answer; 503 then */
#define IG_DOCUMENT_TURN_SEC	       4 /* of them in the queue: what starts later is given no time */
#define IG_DOCUMENT_QUEUE_MAX	       64 /* documents asked for and not there yet; 503 beyond */
#define IG_DOCUMENT_QUEUE_WORKLOAD_MAX 4  /* of them started by one workload; 429 beyond */
#define IG_DOCUMENT_CACHE_MAX	       256
#define IG_DOCUMENT_CACHE_BYTES	       (8 * 1024 * 1024)
#define IG_DOCUMENT_CACHE_SEC	       30
#define IG_DOCUMENT_EVENTS_CACHE_SEC   2  /* scheduled events: some give half a minute's notice */
#define IG_NONCE_BYTES		       10 /* of an attested document */

/* /host/token (user/agent) */
#define IG_HOST_TOKEN_ACCOUNTS_MAX 16
#define IG_HOST_TOKEN_CGROUPS_MAX  16 /* --host-token-cgroup */

/* Counters of workloads (user/agent/tally) */
#define IG_TALLY_RESOURCE_BYTES 256 /* what is kept of a resource; cut beyond */

/* Objects (user/objects) */
#define IG_MANIFEST_FILE_BYTES	 (1024 * 1024)
#define IG_MANIFEST_FILES_MAX	 1024
#define IG_MANIFEST_DOCS_MAX	 4096 /* in one file */
#define IG_MANIFEST_DEPTH_MAX	 32
#define IG_MANIFEST_RETRY_MSEC	 1000  /* of what clashes with the cluster or cannot be read */
#define IG_YAML_NODES_MAX	 65536 /* in one document */
#define IG_OBJECT_NAME_BYTES	 253
#define IG_LABELS_MAX		 256
#define IG_CGROUP_PATH_BYTES	 1024
#define IG_POD_IDENTITIES_MAX	 64
#define IG_AUXILIARY_TENANTS_MAX 3 /* of one identity */
#define IG_POD_CONTAINERS_MAX	 256
#define IG_POLICY_LIST_MAX	 256 /* entries in one list of a MetadataPolicy */
#define IG_POLICY_RATE_MAX	 100000

/* Kubernetes (user/kube) */
#define IG_KUBE_CONFIG_BYTES	    (1024 * 1024) /* a kubeconfig file */
#define IG_KUBE_PEM_BYTES	    (256 * 1024)  /* authorities, a certificate, a key: each */
#define IG_KUBE_TOKEN_BYTES	    16384
#define IG_KUBE_TOKEN_CHECK_SEC	    10	 /* between looks at the file */
#define IG_KUBE_PATH_BYTES	    8192 /* path and query of a request */
#define IG_KUBE_CALLS_MAX	    256	 /* under way at once, watches included */
#define IG_KUBE_CONNECT_TIMEOUT_SEC 10
#define IG_KUBE_OBJECT_BYTES	    (256 * 1024) /* wanted part of one object; it is unusable beyond */
#define IG_KUBE_OBJECT_DEPTH_MAX    32		 /* nesting of the same; unusable beyond */
#define IG_KUBE_JSON_DEPTH_MAX	    10240 /* of a body; the API server takes objects of 10000 */
#define IG_KUBE_KEY_BYTES	    512 /* a key as it is sent; unusable beyond if it may be wanted */
#define IG_KUBE_NAME_BYTES	    253		      /* namespace, name; malformed beyond */
#define IG_KUBE_UID_BYTES	    128		      /* malformed beyond */
#define IG_KUBE_VERSION_BYTES	    128		      /* a resourceVersion; malformed beyond */
#define IG_KUBE_CONTINUE_BYTES	    4096	      /* token of the next page; malformed beyond */
#define IG_KUBE_REASON_BYTES	    64		      /* of a Status; cut */
#define IG_KUBE_MESSAGE_BYTES	    512		      /* of a Status; cut */
#define IG_KUBE_OBJECTS_MAX	    65536	      /* known of one kind; left out beyond */
#define IG_KUBE_OBJECTS_RESERVED    4096	      /* of these, for the policy namespace alone */
#define IG_KUBE_PAGE_OBJECTS	    500		      /* asked for at a time */
#define IG_KUBE_PAGES_MAX	    4096	      /* of one list; it begins anew beyond */
#define IG_KUBE_STATUS_BYTES	    65536	      /* body of a reply that is no success */
#define IG_KUBE_NODE_BYTES	    (4 * 1024 * 1024) /* the node whose taint is taken off */
#define IG_KUBE_LIST_TIMEOUT_SEC    60		      /* one page */
#define IG_KUBE_LIST_IDLE_SEC	    60	/* one that is flooded with lists answers late */
#define IG_KUBE_WATCH_MIN_SEC	    300 /* what is asked for is random between these */
#define IG_KUBE_WATCH_MAX_SEC	    600
#define IG_KUBE_WATCH_GRACE_SEC	    30	/* after that, until we end it ourselves */
#define IG_KUBE_WATCH_IDLE_SEC	    180 /* neither events nor bookmarks, which come every minute */
#define IG_KUBE_PROBE_SEC	    5 /* the first watch after a failure: its end says that all is well */
#define IG_KUBE_SHORT_WATCH_MSEC    2000 /* one that ends sooner is followed by a pause */
#define IG_KUBE_WATCH_REFUSED_MAX   5	 /* in a row, then it is listed anew */
#define IG_KUBE_RETRY_AFTER_SEC	    60	 /* of what a server asks for, not more */
#define IG_KUBE_BACKOFF_MIN_MSEC    200
#define IG_KUBE_BACKOFF_MAX_MSEC    30000
#define IG_KUBE_ABSENT_SEC	    30	  /* between looks for a kind that is not installed */
#define IG_KUBE_ABSENT_CONFIRM_SEC  10	  /* so long must 404 last for what was there before */
#define IG_TOKEN_REQUEST_BYTES	    65536 /* the answer to a TokenRequest */

/* Kubernetes: what is done with objects (user/kube/feeder, policy_status) */
#define IG_KUBE_FEEDER_RETRY_MSEC    1000 /* what there was no memory for */
#define IG_KUBE_FEEDER_BATCH_MSEC    1000 /* changes are told at the latest, though a list goes on */
#define IG_KUBE_STATUS_SPREAD_MSEC   20000 /* within which nodes write a policy's status */
#define IG_KUBE_STATUS_CALLS_MAX     8 /* under way at once; the rest of the calls are for others */
#define IG_KUBE_STATUS_RETRY_MSEC    60000
#define IG_KUBE_STATUS_SETTLE_SEC    600 /* another agent's verdict is not contradicted sooner */
#define IG_KUBE_STATUS_FORBIDDEN_SEC 600 /* no writes after one was forbidden */

/* Policy (user/policy) */
#define IG_EXPLAIN_RULE_STEPS_MAX 64 /* rules of a kind in one explanation; the rest is counted */

/* Audit (user/audit) */
#define IG_AUDIT_LINE_BYTES	 16384
#define IG_AUDIT_SUBSCRIBERS_MAX 32
#define IG_AUDIT_SUBSCRIBER_BYTES                                                                  \
	(1024 * 1024) /* unsent text per subscriber; beyond: lines are lost and counted */
#define IG_AUDIT_SINKS_MAX	  8
#define IG_AUDIT_QUEUE_LINES	  16384 /* per sink; beyond: lines are lost and counted */
#define IG_AUDIT_QUEUE_BYTES	  (8 * 1024 * 1024)
#define IG_AUDIT_RECENT_LINES	  4096	       /* kept for subscribers that resume */
#define IG_AUDIT_RECENT_BYTES	  (768 * 1024) /* fits what a subscriber may leave unsent */
#define IG_AUDIT_BATCH_LINES	  256	       /* written or sent at once */
#define IG_AUDIT_GATHER_MSEC	  2	       /* from one batch to the next, unless … */
#define IG_AUDIT_ENOUGH_LINES	  64	       /* … are there */
#define IG_AUDIT_BATCH_BYTES	  (512 * 1024)
#define IG_AUDIT_STOP_MSEC	  1500	       /* for the sinks to finish when the agent ends */
#define IG_AUDIT_OTLP_LINES	  256	       /* in one request */
#define IG_AUDIT_OTLP_TEXT_BYTES  (256 * 1024) /* of those lines; a request is larger */
#define IG_AUDIT_OTLP_BYTES	  (8 * 1024 * 1024) /* of a request */
#define IG_AUDIT_OTLP_REPLY_BYTES 65536
#define IG_AUDIT_HEADERS_BYTES	  16384 /* file with headers for OTLP */
#define IG_AUDIT_HEADERS_MAX	  32
#define IG_AUDIT_KEEP_MAX	  999  /* rotated files */
#define IG_AUDIT_REPLAY_LINES	  1024 /* sent to syslog and sent again after a break */
#define IG_AUDIT_REPLAY_BYTES	  (256 * 1024)

/* Reports over logs (user/report, user/review) */
#define IG_REPORT_LINE_BYTES	65536 /* one line of a log; it is no record beyond */
#define IG_REPORT_ROWS_MAX	65536 /* of one table; less important ones are dropped beyond */
#define IG_REPORT_TABLE_BYTES	(48 * 1024 * 1024) /* the same */
#define IG_REPORT_BUCKETS_MAX	120		   /* over time; they become wider */
#define IG_REPORT_LOSSES_MAX	64		   /* told one by one; the rest is counted */
#define IG_REPORT_BAD_LINES_MAX 20		   /* the same */
#define IG_REPORT_TOP_MAX	10000		   /* rows that are printed */
#define IG_REVIEW_CASES_MAX	10000		   /* in one file of test cases */
#define IG_REVIEW_CASES_BYTES	(4 * 1024 * 1024)  /* the same */
#define IG_REPLAY_LABELED_MAX	64 /* policies of a layer whose labels may matter; unknown beyond */
#define IG_REPLAY_PAIRS_MAX	1024 /* of labels that are tried for one request; unknown beyond */
#define IG_REPLAY_MEMOS_MAX	4096 /* answers that are remembered; then all are forgotten */

/* Control socket (user/ctl) */
#define IG_CTL_CONNECTIONS_MAX 64
#define IG_CTL_REQUEST_BYTES   65536
#define IG_CTL_REPLY_BYTES     (16 * 1024 * 1024)

/* Metrics (user/agent/metrics) */
#define IG_METRICS_CONNECTIONS_MAX   8 /* on the socket, and on the port; the oldest makes room */
#define IG_METRICS_PAGE_BYTES	     (1024 * 1024)
#define IG_METRICS_REFRESH_MSEC	     100 /* until then, what was collected last is served again */
#define IG_METRICS_MONITOR_RETRY_SEC 5	 /* so long is a monitor that did not answer not asked */

/* Data path (bpf/, user/monitor) */
#define IG_CGROUP_DEPTH_MAX 16 /* ancestors of the caller that are looked up */
#define IG_FLOWS_MAX	    65536
/* open at once, served or waiting to be; a quarter of the backlog, which pods of the host's
 * namespace share */
#define IG_FLOWS_WORKLOAD_MAX	  1024
#define IG_SHARES_MAX		  8192 /* workloads that are counted at once; the idlest goes */
#define IG_TELLING_MAX		  64 /* workloads whose suppressed records are told at this moment */
#define IG_WORKLOADS_MAX	  16384
#define IG_WORKLOADS_AGAIN_SEC	  1 /* until they are looked at anew, after memory ran out */
#define IG_LISTENERS_MAX	  16384
#define IG_LISTENERS_WORKLOAD_MAX 16		/* namespaces without a name, per workload */
#define IG_LISTENER_BACKLOG	  4096		/* or net.core.somaxconn, if that is less */
#define IG_EVENT_RING_BYTES	  (1024 * 1024) /* power of two */
#define IG_WAKEUP_RING_BYTES	  (64 * 1024)
/* records of refused and passed connects, counted beyond; wake-ups of the monitor */
#define IG_EVENTS_WORKLOAD_PER_SEC  100
#define IG_WAKEUPS_WORKLOAD_PER_SEC 256
/* read before others have their turn: records of either ring, answers of the monitor */
#define IG_EVENTS_TURN		4
#define IG_WAKEUPS_TURN		4
#define IG_MONITOR_REPLIES_TURN 4
#define IG_MONITOR_REQUESTS_MAX 16384 /* of the server, under way: two for each connection */
#define IG_MONITOR_BUFFER_BYTES (4 * 1024 * 1024) /* of each end of its channels */
/* callers that are looked up at once: of all connections, and for some records */
#define IG_CALLER_LOOKUPS_WORKLOAD_MAX 576
#define IG_CALLER_FACTS_MAX	       4096 /* cgroups and executables that are remembered */
/* sockets that pass the gate, for one server: far above what its own limits let it need */
#define IG_MONITOR_UPSTREAM_PER_SEC 250
#define IG_MONITOR_UPSTREAM_BURST   500
#define IG_EXE_PATH_BYTES	    1024
#define IG_LISTENER_NAME_BYTES	    128 /* of a namespace's file; cut beyond */

/* One agent takes over from another; a server that hangs (user/monitor) */
#define IG_SERVICES_MAX	      8	  /* sockets that the server serves */
#define IG_SERVICE_KEY_BYTES  256 /* what such a socket is; not handed over beyond */
#define IG_HANDOVER_REPLY_SEC 5	  /* for the old agent to answer the new one */
#define IG_HANDOVER_APPLY_SEC 5	  /* from APPLY to COMMIT; a new agent that hangs is killed then */
#define IG_HANDOVER_QUIET_SEC 2	  /* for the old server to stop accepting; it is killed then */
#define IG_REPLACE_SEC	      60  /* for a new agent to serve before --replace gives up */
#define IG_DRAIN_SEC	      75  /* for what the old server has begun, idle connections included */
#define IG_HEARTBEAT_MSEC     1000
#define IG_HEARTBEAT_REFUSE_MISSED                                                                 \
	2			  /* in a row: connections are refused instead of waiting beyond */
#define IG_HEARTBEAT_MISSED_MAX 4 /* in a row: a server that hangs is killed beyond */
#define IG_MONITOR_SYNC_MSEC	500 /* that the server's loop waits for the monitor, once */
#define IG_SERVER_STARTING_SEC	60  /* until it serves; killed then */
#define IG_SERVER_AWAY_SEC	5   /* without one, connections are refused instead of waiting */

/* Guard (bpf/guard.bpf.c, user/monitor/uplinks) */
#define IG_DIRECT_MAX	     16384 /* connections that go past the gate, see map `direct` */
#define IG_GUARD_SOURCES_MAX 4096  /* of dropped packets, told apart */
/* records of dropped packets: of one source, and all together; each on one CPU */
#define IG_GUARD_RECORDS_SOURCE_PER_SEC 1
#define IG_GUARD_RECORDS_PER_SEC	100
#define IG_GUARD_VLAN_TAGS_MAX		3
#define IG_GUARD_UPLINKS_MAX		64
/* how often namespaces are looked through for where forwarded packets come from */
#define IG_SOURCES_LOOK_USEC 250000

/* Command-line tool (user/cli) */
#define IG_PROC_CGROUPS_BYTES	16384		   /* of /proc/PID/cgroup */
#define IG_PROC_LOCKS_BYTES	(1024 * 1024)	   /* of /proc/locks */
#define IG_DOCTOR_RULES_BYTES	(32 * 1024 * 1024) /* what a packet filter's tool prints */
#define IG_DOCTOR_RULES_SEC	5		   /* for it to do so */
#define IG_DOCTOR_RULES_SHOWN	8		   /* of the rules that were found */
#define IG_DOCTOR_SELF_TEST_SEC 12		   /* from start to end */
#define IG_DOCTOR_RECORD_SEC	5		   /* for the self-test's audit records to arrive */
#define IG_TOP_INTERVAL_SEC	3600
