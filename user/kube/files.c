/*
 * Paths; see files.h. Called by config.c, kubeconfig.c and bearer.c.
 */
#include "kube/files.h"

#include <stdio.h>
#include <string.h>

char *ig_kube_path_join(const char *dir, const char *name)
{
	char *path = NULL;

	if (name[0] == '/')
		return strdup(name);
	return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

char *ig_kube_path_dir(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}
