/*
 * The pod behind a listener; see listener_pod.h.
 */
#include "agent/listener_pod.h"

#include <stdlib.h>
#include <string.h>

void ig_listener_pod_note(struct ig_listener_pod *noted, const struct ig_pod *pod)
{
	if (noted->name && strcmp(noted->uid, pod->uid) == 0 &&
		strcmp(noted->name, pod->name) == 0 &&
		strcmp(noted->namespace, pod->namespace) == 0)
		return;
	ig_listener_pod_done(noted);
	noted->namespace = strdup(pod->namespace);
	noted->name = strdup(pod->name);
	noted->uid = strdup(pod->uid);
	if (!noted->namespace || !noted->name || !noted->uid)
		ig_listener_pod_done(noted);
}

void ig_listener_pod_done(struct ig_listener_pod *noted)
{
	free(noted->namespace);
	free(noted->name);
	free(noted->uid);
	*noted = (struct ig_listener_pod){};
}
