/*
 * What a cgroup path says about the workload in it: pod UID and container id, in the shapes that
 * kubelet makes with each runtime and driver. Pure text work, no allocation, no file access.
 *
 *	/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod<uid_>.slice/cri-containerd-<id>.scope
 *	/kubepods.slice/kubepods-pod<uid_>.slice/crio-<id>.scope        (also docker-<id>.scope)
 *	/kubepods/besteffort/pod<uid>/<id>                              (cgroupfs driver)
 *	<any prefix>/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-….slice/…   (kind)
 *
 * A static pod's UID is a 32-digit hash without dashes. crio's helper scopes
 *(crio-conmon-<id>.scope) and anything nested below the container belong to the pod as well.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define IG_POD_UID_BYTES      36
#define IG_CONTAINER_ID_BYTES 64

struct ig_cgroup_pod {
	char uid[IG_POD_UID_BYTES + 1]; /* lower case, with dashes where it has them */
	char container_id[IG_CONTAINER_ID_BYTES +
			  1]; /* lower-case hex; "" for the pod's own cgroup */
	char runtime[16];     /* "containerd", "crio", "docker" or "" */
};

/* 0, or -ENXIO when the path is not inside a pod. path is absolute below the cgroup2 root. */
int ig_cgroup_parse_pod(const char *path, struct ig_cgroup_pod *ret);

/* Canonical form of a declared path: absolute, no empty, "." or ".." parts, no trailing slash, no
 * control characters, at most IG_CGROUP_PATH_BYTES. 0 or -EINVAL. In place is not possible: path is
 * const. */
int ig_cgroup_path_check(const char *path);

/* Is `path` equal to `ancestor` or below it? Both canonical. "/" is everything's ancestor. */
bool ig_cgroup_path_is_below(const char *path, const char *ancestor);

/* Where kubelet keeps pods below the cgroup root, by driver, nesting and QoS class; ends with NULL.
 * What is directly below one of these, and is none of them, is a pod. */
extern const char *const ig_cgroup_pods_roots[];

/* The i-th of the paths that the cgroup of a pod with this UID can have (roots × QoS classes): 0,
 * or -ENOENT when there are no more, or -EINVAL when the UID is none. */
int ig_cgroup_pod_path(const char *uid, unsigned int i, char *ret, size_t len);
