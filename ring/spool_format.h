/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the spool's files hold, byte for byte (docs/spool.md); little-endian.
 *
 *   segment:  head | record head, body | record head, body | … | end mark where it was sealed
 *   ack log:  head | entry | entry | …
 *
 * Two counts run through all of it. `number` counts records as they are written, without gaps,
 * and `points_before` is the sum of the points of all records before. So wherever something is
 * missing between two things that can be read, how many records and points that is follows by
 * subtraction, also when nothing of them is left. (The caller's own `sequence` may have gaps.)
 *
 * `salt` is drawn for each segment and stands in every head of a record, so that bytes inside a
 * body, which others may have chosen, are never taken for a record. */
enum {
    SPOOL_VERSION = 1,
    SPOOL_NAME_BYTES = 48,
    SPOOL_BODY_BYTES_MAX = 1 << 30,
};

#define SPOOL_COUNT_MAX (UINT64_C(1) << 62) /* numbers and sequences stay below */

/* Where files cannot be read, numbers go on so far ahead that they cannot meet those in there; a
 * hole of at least half of that is such a jump, no loss. */
#define SPOOL_JUMP (UINT64_C(1) << 32)

struct spool_head { /* of a file; 64 bytes. Magic, version and crc stay where they are for ever */
    char magic[8];
    uint32_t version;
    uint32_t crc; /* of the head, as if this were 0 */
    uint64_t salt;
    uint64_t file;   /* counts files of this kind */
    uint64_t number; /* segment: of its first record, likewise the next two. Ack log: entries
                        that it began with, a copy of all that was known */
    uint64_t points_before;
    uint64_t sequence;
    uint64_t created_ns; /* wall clock */
};

enum spool_record_kind { SPOOL_RECORD = 1, SPOOL_RECORD_END = 2 };

struct spool_record { /* in front of a body; 80 bytes */
    uint32_t magic;
    uint16_t version;
    uint16_t kind;
    uint32_t crc;      /* of this head, as if this were 0 */
    uint32_t body_crc; /* of the body */
    uint32_t encoding; /* enum compression */
    uint32_t bytes;    /* of the body */
    uint64_t salt;
    uint64_t number; /* end mark: what the next would have had, likewise points_before */
    uint64_t sequence;
    uint64_t created_ns;
    uint64_t due_ns;
    uint64_t points_before;
    uint32_t points;
    uint32_t zero;
};

struct spool_ack { /* 64 bytes: records [first, end) are done with */
    uint32_t magic;
    uint32_t crc; /* of this entry, as if this were 0 */
    uint64_t first, end;
    uint64_t points_before; /* before `first` */
    uint64_t points_end;    /* before `end` */
    uint64_t next_number;   /* what was written when the entry was: up to here */
    uint64_t next_points;   /* points before next_number */
    uint64_t next_sequence; /* above every sequence so far */
};

_Static_assert(sizeof(struct spool_head) == 64 && sizeof(struct spool_record) == 80 &&
                   sizeof(struct spool_ack) == 64,
               "no padding");

enum spool_file_kind { SPOOL_SEGMENT, SPOOL_ACKS };
enum spool_head_state { SPOOL_HEAD_GOOD, SPOOL_HEAD_BAD, SPOOL_HEAD_FOREIGN /* other version */ };

/* Fill in magic, version and CRC. */
void spool_head_seal(struct spool_head *head, enum spool_file_kind kind);
void spool_record_seal(struct spool_record *record);
void spool_ack_seal(struct spool_ack *ack);

enum spool_head_state spool_head_check(const struct spool_head *head, enum spool_file_kind kind);
bool spool_record_check(const struct spool_record *record);
bool spool_ack_check(const struct spool_ack *ack);

/* The bytes every record begins with, to look for them. */
void spool_record_magic(uint8_t ret_magic[4]);

/* "00000000000000000042-0000000a.segment": first sequence and number of the file; "0000000a.acks".
 */
void spool_segment_name(char name[SPOOL_NAME_BYTES], uint64_t sequence, uint64_t file);
void spool_acks_name(char name[SPOOL_NAME_BYTES], uint64_t file);

/* Whether the name is of that kind, and of which file. */
bool spool_name_parse(const char *name, enum spool_file_kind kind, uint64_t *ret_file);
