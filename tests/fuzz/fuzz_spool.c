/* SPDX-License-Identifier: Apache-2.0 */
/* Any directory: the input is a program that writes segments and ack logs, of sound heads, records
 * and entries as well as of raw bytes, so that what is behind the CRCs is reached too. The spool is
 * opened on it, read, used and opened again: whatever lies there, it works, reports a loss once,
 * and keeps what it found. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "ring/crc32c.h"
#include "ring/spool_format.h"
#include "tests/ring/spool_kit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_BYTES_MAX = 1 << 15, FILES_MAX = 8 };

struct input {
    const uint8_t *data;
    size_t size;
};

/* The file that is being made. */
struct making {
    char name[SPOOL_NAME_BYTES];
    uint8_t bytes[FILE_BYTES_MAX];
    size_t size;
    uint64_t salt, number, points, sequence;
};

static char path[256];
static struct kit *kit;
static struct making *making;
static int files_made;

static uint8_t take_byte(struct input *input)
{
    if (input->size == 0)
        return 0;
    input->size--;
    return *input->data++;
}

/* Mostly small, now and then as large as can be. */
static uint64_t take_number(struct input *input)
{
    uint8_t kind = take_byte(input);
    if (kind < 200)
        return kind;
    uint64_t number = 0;
    for (int i = 0; i < 1 + kind % 8; i++)
        number = number << 8 | take_byte(input);
    return number;
}

static void append(const void *bytes, size_t count)
{
    if (count > FILE_BYTES_MAX - making->size)
        count = FILE_BYTES_MAX - making->size;
    memcpy(making->bytes + making->size, bytes, count);
    making->size += count;
}

static void finish_file(void)
{
    if (making->name[0] != 0 && files_made < FILES_MAX) {
        char name[512];
        snprintf(name, sizeof name, "%s/%s", path, making->name);
        int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        CHECK(fd >= 0 && write(fd, making->bytes, making->size) == (ssize_t)making->size);
        close(fd);
        files_made++;
    }
    making->name[0] = 0;
    making->size = 0;
}

static void begin_file(struct input *input, enum spool_file_kind kind)
{
    finish_file();
    uint64_t file = take_number(input) >> 16; /* forged ones at the end of all counts are refused */
    uint8_t how = take_byte(input);
    making->salt = take_byte(input);
    if (how & 1)
        making->number = take_number(input);
    if (how & 2)
        making->points = take_number(input);
    struct spool_head head = {.salt = making->salt,
                              .file = file,
                              .number = kind == SPOOL_SEGMENT ? making->number : how >> 4,
                              .points_before = making->points,
                              .sequence = making->sequence};
    spool_head_seal(&head, kind);
    if (how & 4) { /* another version, whole */
        head.version++;
        head.crc = 0;
        head.crc = crc32c(0, &head, sizeof head);
    }
    if (how & 8)
        head.crc++;
    if (kind == SPOOL_SEGMENT)
        spool_segment_name(making->name, making->sequence, file);
    else
        spool_acks_name(making->name, file);
    append(&head, sizeof head);
}

static void add_record(struct input *input, enum spool_record_kind kind)
{
    uint8_t how = take_byte(input);
    if (how & 1)
        making->number += take_number(input);
    if (how & 2)
        making->sequence = take_number(input);
    struct parcel *parcel = kit_parcel(making->sequence, take_byte(input));
    struct spool_record record = {.kind = (uint16_t)kind,
                                  .encoding = parcel->encoding,
                                  .bytes = kind == SPOOL_RECORD ? parcel->bytes : 0,
                                  .salt = making->salt + (how >> 2 & 1),
                                  .number = making->number,
                                  .sequence = parcel->sequence,
                                  .created_ns = parcel->created_ns,
                                  .due_ns = parcel->due_ns,
                                  .points_before = making->points,
                                  .points = kind == SPOOL_RECORD ? parcel->points : 0};
    record.body_crc = crc32c(0, parcel->body, record.bytes) + (how >> 3 & 1);
    if (how & 16)
        record.bytes += (uint32_t)take_number(input);
    spool_record_seal(&record);
    if (how & 32)
        record.crc++;
    append(&record, sizeof record);
    append(parcel->body, kind == SPOOL_RECORD ? parcel->bytes : 0);
    making->number += kind == SPOOL_RECORD;
    making->points += record.points;
    making->sequence += kind == SPOOL_RECORD;
    parcel_release(&parcel);
}

static void add_ack(struct input *input)
{
    uint8_t how = take_byte(input);
    struct spool_ack ack = {.first = take_number(input)};
    ack.end = ack.first + take_number(input);
    ack.points_before = take_byte(input);
    ack.points_end = ack.points_before + take_byte(input);
    ack.next_number = how & 1 ? take_number(input) : 0;
    ack.next_points = take_byte(input);
    ack.next_sequence = how & 2 ? take_number(input) : 0;
    spool_ack_seal(&ack);
    if (how & 4)
        ack.crc++;
    append(&ack, sizeof ack);
}

static void add_raw(struct input *input)
{
    size_t count = take_byte(input);
    if (count > input->size)
        count = input->size;
    append(input->data, count);
    input->data += count;
    input->size -= count;
}

static void make_directory(struct input *input)
{
    static const uint8_t zeros[256];
    kit_empty_directory(path);
    memset(making, 0, sizeof *making);
    making->sequence = 1;
    files_made = 0;
    while (input->size > 0) {
        switch (take_byte(input) % 8) {
        case 0:
            begin_file(input, SPOOL_SEGMENT);
            break;
        case 1:
            begin_file(input, SPOOL_ACKS);
            break;
        case 2:
            add_record(input, SPOOL_RECORD_END);
            break;
        case 3:
            add_ack(input);
            break;
        case 4:
            add_raw(input);
            break;
        case 5:
            append(zeros, take_byte(input));
            break;
        default:
            add_record(input, SPOOL_RECORD);
        }
    }
    finish_file();
}

/* How many were read; where `acking`, those with an even sequence are acknowledged. */
static uint64_t read_all(bool acking)
{
    uint64_t records = 0;
    for (;;) {
        kit->event_count = 0;
        spool_store_read(kit->store, kit->now);
        const struct spool_event *last = &kit->events[kit->event_count - 1];
        if (last->kind == SPOOL_END)
            return records;
        records++;
        if (acking && last->sequence % 2 == 0)
            CHECK(spool_store_ack(kit->store, last->sequence, kit->now));
    }
}

static void remove_directory(void)
{
    kit_remove_directory(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (kit == NULL) {
        kit_make_directory(path);
        kit = malloc(sizeof *kit);
        making = malloc(sizeof *making);
        CHECK(kit != NULL && making != NULL && atexit(remove_directory) == 0);
    }
    struct input input = {.data = data, .size = size};
    make_directory(&input);
    kit_init(kit, path);
    kit->accept_any = true;
    kit->settings.age_ns = UINT64_MAX;
    CHECK(kit_open(kit));
    struct spool_status status = kit_status(kit);
    CHECK(status.working && status.records == status.recovered_records);
    bool blind = status.trouble[0] != 0; /* what cannot be read may hold what looks missing */
    read_all(true);
    uint64_t next = spool_store_next(kit->store);
    if (next < SPOOL_COUNT_MAX)
        kit_put(kit, next, 100);
    kit_turn(kit, NS_PER_S);
    CHECK(kit_status(kit).working);
    uint64_t records = kit_status(kit).records;
    kit_close(kit);
    CHECK(kit_open(kit));
    status = kit_status(kit);
    uint64_t found = read_all(false);
    if (!blind) {
        CHECK(status.corrupt_records == 0 && status.corrupt_points == 0);
        CHECK(status.recovered_records == records && found == records);
    }
    kit_close(kit);
    return 0;
}
