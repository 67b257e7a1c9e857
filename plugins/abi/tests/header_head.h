/* The border between the mkts server and plugins in shared libraries, major 1.
 *
 * Written from the tables of the crate plugin-abi; do not edit.
 *
 * - Structs begin with their size; a reader uses the smaller of that and its own. What lies behind
 *   it, and a pointer that is NULL, is not offered. mkts_str, mkts_buf and mkts_col are frozen.
 * - Text is UTF-8 with a length. What a call hands over is lent for the call, except a mkts_buf: its
 *   receiver releases it once, from any thread.
 * - No function of either side unwinds or throws.
 * - 64-bit little-endian systems.
 *
 * A plugin in C is one file: a MKTS_MANIFEST and a function
 *     int32_t mkts_plugin_v1_NAME(const mkts_host *host, const mkts_plugin **out)
 * compiled with  cc -shared -fPIC -o NAME.so NAME.c
 */
#ifndef MKTS_PLUGIN_H
#define MKTS_PLUGIN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MKTS_ABI_MAJOR 1
#define MKTS_ABI_MINOR 1

