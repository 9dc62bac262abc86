/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/* The door to ConcurrencyKit; only .c files include it.
 *
 * ck_ring publishes its cursors with volatile accesses between fences. Here they are compiled as
 * C11 acquire loads and release stores instead: the same instructions on x86-64, an ordering that
 * ThreadSanitizer understands (so it checks the protocol and needs no suppression), and correct on
 * arm64, where ck 0.7.1 has a store fence at a place that needs load-to-store order. */
#include <ck_pr.h>

#undef ck_pr_load_uint
#undef ck_pr_store_uint
#define ck_pr_load_uint(source)         __atomic_load_n((source), __ATOMIC_ACQUIRE)
#define ck_pr_store_uint(target, value) __atomic_store_n((target), (value), __ATOMIC_RELEASE)

#include <ck_ring.h>
