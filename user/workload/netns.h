/*
 * Network namespaces: telling one by its cookie, and opening a gate listener inside one.
 * Privileged.
 */
#pragma once

#include <stdint.h>

/* Opens the namespace that a file is bound to. -EAGAIN when the file is there but no namespace is
 * mounted on it yet (whoever makes it has not finished), -ENXIO when it is a namespace of another
 * kind. */
int ig_netns_open(const char *path, int *ret_fd);

/* The namespace of thread tid of process tgid. */
int ig_netns_open_task(uint32_t tgid, uint32_t tid, int *ret_fd);

/* Cookie of a socket's network namespace, or of the calling process's own. -ENOPROTOOPT before
 * Linux 5.14. */
int ig_netns_cookie(int sock, uint64_t *ret);
int ig_netns_own_cookie(uint64_t *ret);

/* Enters netns_fd for good: for processes that were made for it. */
int ig_netns_enter(int netns_fd);

/* Enters netns_fd, makes a socket there, and comes back to home_fd. If the way back fails the
 * process ends: nothing may run in a workload's namespace. */
int ig_netns_socket(int netns_fd, int home_fd, int family, int type, int protocol, int *ret_sock);

/* Has a TCP socket listen on 127.0.0.1 of its namespace; port 0: any. It gets no SO_REUSEPORT: a
 * process of the workload could otherwise join it. After -EADDRINUSE it may be bound all the same
 * and is of no more use. */
int ig_netns_listen(int sock, uint16_t port, uint16_t *ret_port);
