/*
 * What two agents of one node say to each other when the second one takes over from the first: over
 * a SOCK_SEQPACKET unix socket, fixed structures, one a datagram, the new one asks and the old one
 * answers. Other than proto.h this is spoken between builds: what stands here may only change
 * together with IG_HANDOVER_VERSION. Private to monitor.
 *
 *	HELLO		who we are. Descriptor in the reply: the lock on the pin directory
 *	SERVICE		a socket that the agent serves (control, metrics, …) and what it is
 *	LISTENER	the gate listener that was opened next after number `after`
 *	APPLY		from now on the new one changes what is pinned; the old one puts its
 *			own back if the new one does not get to the end
 *	COMMIT		the old one accepts nothing any more, and brings to an end what it has begun
 *
 * LISTENER may be asked for again after COMMIT, for those that were opened meanwhile.
 */
#pragma once

#include <stdint.h>

#include <imdsgate/limits.h>

#define IG_HANDOVER_MAGIC   0x6968676dU
#define IG_HANDOVER_VERSION 1

enum ig_handover_kind {
	IG_HANDOVER_HELLO = 1,
	IG_HANDOVER_SERVICE,
	IG_HANDOVER_LISTENER,
	IG_HANDOVER_APPLY,
	IG_HANDOVER_COMMIT,
	_IG_HANDOVER_KIND_MAX
};

struct ig_handover_request {
	uint32_t magic;
	uint16_t version;
	uint16_t kind;
	uint32_t abi_version; /* of the BPF maps */
	uint32_t service;
	uint64_t after;
};
_Static_assert(sizeof(struct ig_handover_request) == 24, "spoken between builds");

struct ig_handover_reply {
	uint32_t magic;
	uint16_t version;
	uint16_t kind;
	int32_t result; /* 0 or a negative errno; -ENOENT: there are no more */
	uint32_t abi_version;
	union {
		char service[IG_SERVICE_KEY_BYTES]; /* NUL-terminated */
		struct {
			uint64_t number;
			uint64_t netns_cookie;
			uint64_t owner;
			uint32_t is_host;
			uint16_t port;
			uint16_t pad;
			char name[IG_LISTENER_NAME_BYTES]; /* NUL-terminated */
		} listener;
		char room[512];
	};
};
_Static_assert(sizeof(struct ig_handover_reply) == 528, "spoken between builds");
