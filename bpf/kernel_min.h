/*
 * The few kernel structures whose fields are read, declared with just those fields; libbpf
 * relocates the offsets against the running kernel's BTF. Everything else comes from the UAPI
 * headers.
 */
#pragma once

#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct super_block {
	__u32 s_dev;
};

struct inode {
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct file {
	struct inode *f_inode;
};

struct mm_struct {
	struct file *exe_file;
};

struct net {
	__u64 net_cookie;
};

/* The same before Linux 5.12. */
struct net___atomic {
	struct {
		__s64 counter;
	} net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
};

/* Connection tracking: its entry of a packet, and who opened the connection before addresses were
 * translated. Absent where the kernel has none. */
struct sk_buff {
	unsigned long _nfct;
};

union nf_inet_addr {
	__u32 ip;
};

union nf_conntrack_man_proto {
	__u16 all;
};

struct nf_conntrack_man {
	union nf_inet_addr u3;
	union nf_conntrack_man_proto u;
};

struct nf_conntrack_tuple {
	struct nf_conntrack_man src;
};

struct nf_conntrack_tuple_hash {
	struct nf_conntrack_tuple tuple;
};

struct nf_conn {
	struct nf_conntrack_tuple_hash tuplehash[2];
};

struct task_struct {
	struct mm_struct *mm;
	struct task_struct *group_leader;
	__u64 start_boottime;
};

#pragma clang attribute pop
