/*
 * Which of the kernel features that the data path is built on are missing. Asked only after loading
 * failed, to say why: features are found by trying, never by comparing versions. Private to
 * datapath.
 */
#pragma once

#include <stddef.h>

/* A list for people ("ring buffer maps, …"), "" when nothing is known to be missing. */
void ig_probe_missing(char *buf, size_t len);
