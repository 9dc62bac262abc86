/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "pg/conn.h"

/* One step of the states RESOLVING and CONNECTING; returns the next state. Called by conn.c alone.
 */
enum conn_state connect_resolve(struct conn *conn, uint64_t now_ns);
enum conn_state connect_attempt(struct conn *conn, uint64_t now_ns);

/* Ends the attempt or the session: conn->pg is NULL after it. Nothing may be armed. */
void connect_drop(struct conn *conn);

/* What these steps need of conn.c. */

/* Waits for events on the session's socket, which replaces what was waited for. */
void conn_arm(struct conn *conn, uint32_t events);

/* Of the state; UINT64_MAX: none. */
void conn_set_deadline(struct conn *conn, uint64_t deadline_ns);

/* Counts, tells the pool (conn->failure says why), and closes. */
enum conn_state conn_fail_connect(struct conn *conn, uint64_t now_ns);
