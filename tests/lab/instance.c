/*
 * Instance metadata; see instance.h. The rules are those of the public documentation: every leaf is
 * a string, a leaf has to be asked for as text, a directory as text is a list of names. Called by
 * imds.c.
 */
#include "lab/instance.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"

#define SUBSCRIPTION "8d10da13-8125-4ba9-a717-bf7490507b3d"
#define GROUP	     "lab-rg"
#define SCALE_SET    "lab-nodes"
#define NAME	     SCALE_SET "_0"
#define RESOURCE_ID                                                                                \
	"/subscriptions/" SUBSCRIPTION "/resourceGroups/" GROUP                                    \
	"/providers/Microsoft.Compute/virtualMachineScaleSets/" SCALE_SET "/virtualMachines/0"

static json_t *compute_new(void)
{
	return json_pack(
		"{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:[{s:s, s:s}], s:s, s:s, s:s, s:s}",
		"azEnvironment", "AzurePublicCloud", "customData", "", "location", "westus2",
		"name", NAME, "offer", "aks", "osType", "Linux", "placementGroupId", "",
		"platformFaultDomain", "0", "platformUpdateDomain", "0", "provider",
		"Microsoft.Compute", "publisher", "microsoft-aks", "resourceGroupName", GROUP,
		"resourceId", RESOURCE_ID, "sku", "2204gen2containerd", "subscriptionId",
		SUBSCRIPTION, "tags", "role:node", "version", "202401.01.0", "tagsList", "name",
		"role", "value", "node", "vmId", "02aab8a4-74ef-476e-8182-f6d2ba4166a6",
		"vmScaleSetName", SCALE_SET, "vmSize", "Standard_D4s_v5", "zone", "1");
}

static json_t *network_new(void)
{
	return json_pack("{s:[{s:{s:[{s:s, s:s}], s:[{s:s, s:s}]}, s:{s:[]}, s:s}]}", "interface",
		"ipv4", "ipAddress", "privateIpAddress", "10.240.0.4", "publicIpAddress", "",
		"subnet", "address", "10.240.0.0", "prefix", "16", "ipv6", "ipAddress",
		"macAddress", "000D3AF806EC");
}

json_t *lab_instance_new(void)
{
	return json_pack("{s:o, s:o}", "compute", compute_new(), "network", network_new());
}

static const json_t *child_of(const json_t *node, const char *name)
{
	uint32_t index;

	if (json_is_object(node))
		return json_object_get(node, name);
	if (json_is_array(node) && ig_parse_u32(name, &index) == 0)
		return json_array_get(node, index);
	return NULL;
}

/* NULL when it is not there. Writes into path. */
static const json_t *walk(const json_t *node, char *path)
{
	char *rest = path;

	while (node && rest) {
		const char *name = strsep(&rest, "/");

		if (*name)
			node = child_of(node, name);
	}
	return node;
}

const char *lab_instance_text(const json_t *instance, const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	const json_t *node = copy ? walk(instance, copy) : NULL;

	return json_is_string(node) ? json_string_value(node) : "";
}

static void put_name(struct ig_buf *out, const char *name, const json_t *child)
{
	if (out->len)
		ig_buf_putc(out, '\n');
	ig_buf_puts(out, name);
	if (!json_is_string(child))
		ig_buf_putc(out, '/');
}

static void put_listing(const json_t *node, struct ig_buf *out)
{
	const char *key;
	json_t *child;
	size_t i;

	json_object_foreach ((json_t *)node, key, child)
		put_name(out, key, child);
	json_array_foreach (node, i, child) {
		char name[24];

		(void)snprintf(name, sizeof(name), "%zu", i);
		put_name(out, name, child);
	}
}

static void serve_text(const json_t *node, struct lab_reply *reply)
{
	reply->content_type = LAB_PLAIN;
	if (json_is_string(node))
		ig_buf_puts(&reply->body, json_string_value(node));
	else
		put_listing(node, &reply->body);
}

static void serve_json(const json_t *node, struct lab_reply *reply)
{
	_cleanup_free_ char *text = json_dumps(node, JSON_COMPACT);

	if (text)
		ig_buf_puts(&reply->body, text);
	else
		lab_reply_failure(reply, -ENOMEM);
}

void lab_instance_serve(
	const json_t *instance, const char *path, const char *format, struct lab_reply *reply)
{
	_cleanup_free_ char *copy = strdup(path);
	const json_t *node = copy ? walk(instance, copy) : NULL;

	if (!node)
		lab_reply_plain_error(reply, 404, "Not found");
	else if (strcmp(format, "text") == 0)
		serve_text(node, reply);
	else if (strcmp(format, "json") != 0)
		lab_reply_plain_error(reply, 400, "Bad request. The format is not supported");
	else if (json_is_string(node))
		lab_reply_plain_error(
			reply, 400, "Bad request. This element has to be requested as text");
	else
		serve_json(node, reply);
}
