/*
 * What the services of the lab share: wired in main.c, used by imds.c, entra.c and discovery.c.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "lab/faults.h"
#include "lab/identities.h"
#include "lab/jwt.h"
#include "lab/replay.h"
#include "lab/reply.h"
#include "lab/request.h"
#include "lab/signer.h"

struct lab {
	struct lab_directory directory;
	struct lab_signer *signer; /* owned */
	struct lab_tokens *tokens; /* owned */
	json_t *instance;	   /* owned; the document of /metadata/instance */
	struct lab_replay replay;  /* used client assertions */
	const char *entra_url;	   /* argv's; NULL: as the client calls us */
	struct lab_faults faults;
	struct lab_stats stats;
};

/* Both: false when the path is not theirs. */
bool lab_imds_serve(struct lab *lab, const struct lab_request *req, struct lab_reply *reply);
bool lab_entra_serve(struct lab *lab, const struct lab_request *req, struct lab_reply *reply);
