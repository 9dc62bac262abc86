/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of the spool's files: sealing and checking, nothing else. */
#include "ring/spool_format.h"

#include "ring/crc32c.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structs are written as they are");

#define RECORD_MAGIC 0x9de2d1f5u /* no ASCII, no UTF-8 */
#define ACK_MAGIC    0x9de2d2f6u

static const char file_magics[2][8] = {[SPOOL_SEGMENT] = "pgwspool", [SPOOL_ACKS] = "pgwsacks"};

static uint32_t head_crc(struct spool_head head)
{
    head.crc = 0;
    return crc32c(0, &head, sizeof head);
}

static uint32_t record_crc(struct spool_record record)
{
    record.crc = 0;
    return crc32c(0, &record, sizeof record);
}

static uint32_t ack_crc(struct spool_ack ack)
{
    ack.crc = 0;
    return crc32c(0, &ack, sizeof ack);
}

void spool_head_seal(struct spool_head *head, enum spool_file_kind kind)
{
    memcpy(head->magic, file_magics[kind], sizeof head->magic);
    head->version = SPOOL_VERSION;
    head->crc = head_crc(*head);
}

void spool_record_seal(struct spool_record *record)
{
    record->magic = RECORD_MAGIC;
    record->version = SPOOL_VERSION;
    record->zero = 0;
    record->crc = record_crc(*record);
}

void spool_ack_seal(struct spool_ack *ack)
{
    ack->magic = ACK_MAGIC;
    ack->crc = ack_crc(*ack);
}

/* A version that is not ours counts only with a good CRC: else it is a flipped bit. */
enum spool_head_state spool_head_check(const struct spool_head *head, enum spool_file_kind kind)
{
    if (memcmp(head->magic, file_magics[kind], sizeof head->magic) != 0 ||
        head->crc != head_crc(*head) || head->number >= SPOOL_COUNT_MAX ||
        head->sequence > SPOOL_COUNT_MAX)
        return SPOOL_HEAD_BAD;
    return head->version == SPOOL_VERSION ? SPOOL_HEAD_GOOD : SPOOL_HEAD_FOREIGN;
}

bool spool_record_check(const struct spool_record *record)
{
    return record->magic == RECORD_MAGIC && record->version == SPOOL_VERSION &&
           (record->kind == SPOOL_RECORD || record->kind == SPOOL_RECORD_END) &&
           record->bytes <= SPOOL_BODY_BYTES_MAX && record->number < SPOOL_COUNT_MAX &&
           record->sequence < SPOOL_COUNT_MAX && record->crc == record_crc(*record);
}

bool spool_ack_check(const struct spool_ack *ack)
{
    return ack->magic == ACK_MAGIC && ack->first < ack->end && ack->end <= SPOOL_COUNT_MAX &&
           ack->next_number <= SPOOL_COUNT_MAX && ack->next_sequence <= SPOOL_COUNT_MAX &&
           ack->crc == ack_crc(*ack);
}

void spool_record_magic(uint8_t ret_magic[4])
{
    uint32_t magic = RECORD_MAGIC;
    memcpy(ret_magic, &magic, sizeof magic);
}

/* ---- names ---- */

void spool_segment_name(char name[SPOOL_NAME_BYTES], uint64_t sequence, uint64_t file)
{
    snprintf(name, SPOOL_NAME_BYTES, "%020" PRIu64 "-%08" PRIx64 ".segment", sequence, file);
}

void spool_acks_name(char name[SPOOL_NAME_BYTES], uint64_t file)
{
    snprintf(name, SPOOL_NAME_BYTES, "%08" PRIx64 ".acks", file);
}

/* Only names that are written exactly so: what is parsed must be found again by its parts. */
bool spool_name_parse(const char *name, enum spool_file_kind kind, uint64_t *ret_file)
{
    uint64_t sequence = 0, file;
    char again[SPOOL_NAME_BYTES];
    if (kind == SPOOL_SEGMENT) {
        if (sscanf(name, "%20" SCNu64 "-%16" SCNx64, &sequence, &file) != 2)
            return false;
        spool_segment_name(again, sequence, file);
    } else {
        if (sscanf(name, "%16" SCNx64, &file) != 1)
            return false;
        spool_acks_name(again, file);
    }
    if (strcmp(again, name) != 0)
        return false;
    *ret_file = file;
    return file < SPOOL_COUNT_MAX;
}
