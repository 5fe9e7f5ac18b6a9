/*
 * What jansson has to be told once for all.
 */
#pragma once

/* From here on everything that jansson frees in this process is overwritten first: a parsed reply
 * leaves its secrets in several of its buffers. May be called at any time and more than once. */
void ig_json_wipe_memory(void);
