/*
 * Lists of system calls for filter.c: what each process may call once it is confined. A row allows
 * one call, or one use of it; a call may have several. What no row allows ends the process.
 */
#pragma once

#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>

#define IG_CALL_ARGS_MAX 2

struct ig_call {
	int number; /* SCMP_SYS(name) */
	uint32_t action;
	unsigned int n_args;
	struct scmp_arg_cmp args[IG_CALL_ARGS_MAX];
};

struct ig_call_list {
	const struct ig_call *calls;
	size_t n;
};

#define IG_ARG(which, how, a, b)                                                                   \
	{                                                                                          \
		.arg = (which), .op = (how), .datum_a = (scmp_datum_t)(a),                         \
		.datum_b = (scmp_datum_t)(b)                                                       \
	}
#define IG_ARG_IS(which, value) IG_ARG(which, SCMP_CMP_EQ, value, 0)
/* of the bits in mask, exactly those of value are set */
#define IG_ARG_HAS(which, mask, value) IG_ARG(which, SCMP_CMP_MASKED_EQ, mask, value)

#define IG_CALL(name)                                                                              \
	{                                                                                          \
		.number = SCMP_SYS(name), .action = SCMP_ACT_ALLOW                                 \
	}
#define IG_CALL_IF(name, arg_one)                                                                  \
	{                                                                                          \
		SCMP_SYS(name), SCMP_ACT_ALLOW, 1,                                                 \
		{                                                                                  \
			arg_one                                                                    \
		}                                                                                  \
	}
#define IG_CALL_IF_BOTH(name, arg_one, arg_two)                                                    \
	{                                                                                          \
		SCMP_SYS(name), SCMP_ACT_ALLOW, 2,                                                 \
		{                                                                                  \
			arg_one, arg_two                                                           \
		}                                                                                  \
	}

/* flags of clone() */
#define IG_NEW_NAMESPACES                                                                          \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |             \
		CLONE_NEWPID | CLONE_NEWNET)

/* What both processes need. */
struct ig_call_list ig_calls_common(void);
struct ig_call_list ig_calls_server(void);
struct ig_call_list ig_calls_monitor(void);
