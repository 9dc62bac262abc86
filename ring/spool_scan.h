/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "ring/spool_file.h"
#include "ring/spool_format.h"

/* A segment read from front to end by its heads alone, whatever it holds: sound records, and
 * stretches that are none. Reading only; recovery and the operators' command share it. */
struct spool_scan;

enum spool_piece_kind {
    SPOOL_PIECE_RECORD, /* a sound head; the body was not looked at */
    SPOOL_PIECE_CUT,    /* a sound head whose body the file's end cuts off */
    SPOOL_PIECE_MARK,   /* the end mark of a sealed segment */
    SPOOL_PIECE_DAMAGE, /* bytes that are no record, up to the next sound head or the file's end */
    SPOOL_PIECE_ZEROS,  /* the same, nothing but zeros: never written, or lost with the power */
    SPOOL_PIECE_END,
};

struct spool_piece {
    enum spool_piece_kind kind;
    uint64_t offset, bytes;     /* in the file; bytes: head included, as far as they are there */
    struct spool_record record; /* RECORD, CUT, MARK */
};

/* NULL: it cannot be read, errno. The descriptor stays the caller's. */
struct spool_scan *spool_scan_open(const struct spool_files *files, int fd);
void spool_scan_close(struct spool_scan **scan);

/* The file's head: where it is bad, what follows is read nevertheless. */
enum spool_head_state spool_scan_head(const struct spool_scan *scan, struct spool_head *ret_head);
uint64_t spool_scan_bytes(const struct spool_scan *scan); /* of the file */

/* False: a read failed, errno; the scan is over. */
bool spool_scan_next(struct spool_scan *scan, struct spool_piece *ret_piece);

/* Whether the body has the CRC that its head says. False, errno 0: it has not; else the read
 * failed. */
bool spool_scan_body(struct spool_scan *scan, const struct spool_piece *piece);
