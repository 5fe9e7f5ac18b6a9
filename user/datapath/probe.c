/*
 * Missing kernel features by name; see probe.h.
 */
#include "datapath/probe.h"

#include <stdio.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "base/cleanup.h"

static const struct {
	enum bpf_map_type type;
	const char *name;
} map_types[] = {
	{BPF_MAP_TYPE_HASH, "hash maps"},
	{BPF_MAP_TYPE_PERCPU_ARRAY, "per-CPU array maps"},
	{BPF_MAP_TYPE_SK_STORAGE, "socket-local storage maps (5.2)"},
	{BPF_MAP_TYPE_RINGBUF, "ring buffer maps (5.8)"},
};

static const struct {
	enum bpf_prog_type type;
	const char *name;
} program_types[] = {
	{BPF_PROG_TYPE_CGROUP_SOCK_ADDR, "cgroup socket address programs (CONFIG_CGROUP_BPF)"},
	{BPF_PROG_TYPE_SOCK_OPS, "socket operations programs (CONFIG_CGROUP_BPF)"},
};

static void add(char *buf, size_t len, const char *name)
{
	size_t used = strlen(buf);

	(void)snprintf(buf + used, len - used, "%s%s", used ? ", " : "", name);
}

void ig_probe_missing(char *buf, size_t len)
{
	buf[0] = '\0';
	for (size_t i = 0; i < IG_ARRAY_SIZE(map_types); i++)
		if (libbpf_probe_bpf_map_type(map_types[i].type, NULL) == 0)
			add(buf, len, map_types[i].name);
	for (size_t i = 0; i < IG_ARRAY_SIZE(program_types); i++)
		if (libbpf_probe_bpf_prog_type(program_types[i].type, NULL) == 0)
			add(buf, len, program_types[i].name);
}
