/*
 * The kinds of declared objects: one function for each that builds the object from its checked
 * parts. Internal to user/objects (validate.c).
 */
#pragma once

#include <stdbool.h>

#include "objects/fields.h"
#include "objects/object.h"

struct ig_validator;

/* One object while it is being read. */
struct ig_input {
	struct ig_validator *validator;
	bool cgroups; /* honour the annotation imdsgate.dev/cgroup */
	struct ig_object_set *set;
	struct ig_fields top;
	struct ig_fields meta;
	struct ig_fields annotations;
	struct ig_fields spec;
	const char *namespace; /* borrowed from the tree, or the default */
	const char *name;
	struct ig_object_place place;
};

/* 0, or -EINVAL or -ENOMEM with in->top.err filled. The object is in in->set on success only. */
int ig_kind_read_identity(const struct ig_input *in);
int ig_kind_read_binding(const struct ig_input *in);
int ig_kind_read_exception(const struct ig_input *in);
int ig_kind_read_pod(const struct ig_input *in);

/* Moves *object into in->set unless an object before it made one of its claims (validate.c). */
int ig_kind_add(const struct ig_input *in, enum ig_object_kind kind, void *object);
