/*
 * The kinds of declared objects: one function for each that builds the object from its checked
 * parts. Internal to user/objects (validate.c, kinds*.c).
 */
#pragma once

#include <stdbool.h>

#include "objects/fields.h"
#include "objects/object.h"

struct ig_validator;

/* One object while it is being read. */
struct ig_input {
	struct ig_validator *validator;
	bool local; /* see struct ig_validate_options */
	const char *policy_namespace;
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
int ig_kind_read_service_account(const struct ig_input *in);
int ig_kind_read_policy(const struct ig_input *in);

/* Copies for the object. 0 or -ENOMEM, with in->top.err filled. */
int ig_kind_text(const struct ig_input *in, const char *text, char **ret);
int ig_kind_names(const struct ig_input *in, char **ret_namespace, char **ret_name);
/* The annotation's value, borrowed; NULL when it is absent. -EINVAL when it is no valid string. */
int ig_kind_annotation(const struct ig_input *in, const char *key, const char **ret);

/* Moves *object into in->set unless an object before it made one of its claims (validate.c). */
int ig_kind_add(const struct ig_input *in, enum ig_object_kind kind, void *object);
