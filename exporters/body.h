/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a request's body is, before it is compressed. The numbers are on disk (spool): they stay. */
enum body_format { BODY_NONE, BODY_PROTO, BODY_JSON, BODY_REMOTE_WRITE };
