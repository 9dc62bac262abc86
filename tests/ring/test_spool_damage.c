/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are not what was written: a bit flipped anywhere, cut anywhere, zeroed, gone, of
 * another version. The start works every time; what is lost is said exactly, once; nothing else is
 * lost and nothing is invented.
 *
 *   test_spool_damage [STEP]    a flip and a cut every STEP bytes; 1: everywhere */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/random.h"
#include "ring/crc32c.h"
#include "ring/spool_format.h"
#include "tests/ring/spool_kit.h"

enum { SEQUENCES = 40, FILES_MAX = 32 };

static char path[256];
static struct kit *kit;
static unsigned long step = 100;
static bool acked[SEQUENCES + 1];
static struct random dice = {.state = 11};

/* The directory as it was left, to begin from each time. */
static struct {
    char name[512];
    uint8_t *data;
    size_t bytes;
} originals[FILES_MAX];
static size_t original_count, segment_count;

static void save(const char *suffix)
{
    size_t count = kit_count_files(path, suffix);
    for (size_t i = 0; i < count; i++, original_count++) {
        CHECK(original_count < FILES_MAX);
        kit_file_name(path, suffix, i, originals[original_count].name);
        size_t bytes = kit_file_bytes(originals[original_count].name);
        originals[original_count].bytes = bytes;
        originals[original_count].data = malloc(bytes);
        int fd = open(originals[original_count].name, O_RDONLY | O_CLOEXEC);
        CHECK(fd >= 0 && read(fd, originals[original_count].data, bytes) == (ssize_t)bytes);
        close(fd);
    }
}

static void write_file(const char *name, const void *data, size_t bytes)
{
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
    close(fd);
}

static void restore(void)
{
    kit_empty_directory(path);
    for (size_t i = 0; i < original_count; i++)
        write_file(originals[i].name, originals[i].data, originals[i].bytes);
}

/* Some segments of a few records each, closed; every third record is done with, and the last to be
 * is acknowledged after all puts, so that the ack log knows how far it went. */
static int make(void **state)
{
    (void)state;
    kit_make_directory(path);
    kit = malloc(sizeof *kit);
    kit_init(kit, path);
    kit->settings.segment_bytes = 4096;
    CHECK(kit_open(kit));
    for (uint64_t i = 1; i <= SEQUENCES; i++)
        CHECK(kit_put(kit, i, (uint32_t)(50 + i * 13 % 700)) == SPOOL_STORED);
    for (uint64_t i = 3; i < SEQUENCES; i += 3) {
        acked[i] = true;
        spool_store_ack(kit->store, i, kit->now);
    }
    kit_close(kit);
    save(".segment");
    segment_count = original_count;
    save(".acks");
    CHECK(segment_count >= 5 && original_count == segment_count + 1);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    if (kit->store != NULL)
        kit_close(kit);
    for (size_t i = 0; i < original_count; i++)
        free(originals[i].data);
    free(kit);
    kit_remove_directory(path);
    return 0;
}

struct result {
    bool found[SEQUENCES + 1];
    uint64_t lost_records, lost_points; /* not found although not acknowledged */
    uint64_t returned;                  /* found although acknowledged */
};

static struct result read_everything(void)
{
    struct result result = {.lost_records = 0};
    kit->event_count = 0;
    assert_true(kit_open(kit));
    assert_true(kit_status(kit).working);
    for (uint64_t sequence; (sequence = kit_read(kit)) != 0;) {
        assert_in_range(sequence, 1, SEQUENCES);
        assert_false(result.found[sequence]);
        result.found[sequence] = true;
        result.returned += acked[sequence];
    }
    for (uint64_t i = 1; i <= SEQUENCES; i++)
        if (!result.found[i] && !acked[i]) {
            result.lost_records++;
            result.lost_points += kit_points(i);
        }
    return result;
}

/* What is missing is what is reported, and the second time there is nothing new. */
static struct result check_exact(void)
{
    struct result result = read_everything();
    struct spool_status status = kit_status(kit);
    assert_int_equal(status.corrupt_records, result.lost_records);
    assert_int_equal(status.corrupt_points, result.lost_points);
    kit_close(kit);
    struct result again = read_everything();
    assert_memory_equal(again.found, result.found, sizeof result.found);
    assert_int_equal(kit_status(kit).corrupt_records, 0);
    assert_int_equal(kit_status(kit).corrupt_points, 0);
    kit_close(kit);
    return result;
}

static void test_flips_in_segments(void **state)
{
    (void)state;
    uint64_t flips = 0, harmless = 0;
    for (size_t file = 0; file < segment_count; file++) {
        for (size_t at = 0; at < originals[file].bytes; at += step, flips++) {
            size_t byte = at + random_below(&dice, step);
            if (byte >= originals[file].bytes)
                break;
            restore();
            kit_flip_bit(originals[file].name, 8 * byte + random_below(&dice, 8));
            struct result result = check_exact();
            assert_true(result.lost_records <= 1);
            assert_int_equal(result.returned, 0);
            harmless += result.lost_records == 0;
        }
    }
    print_message("%lu bits flipped, %lu of them in what was acknowledged or held no record\n",
                  flips, harmless);
    assert_true(harmless < flips && harmless > 0);
}

static void test_cuts_of_segments(void **state)
{
    (void)state;
    uint64_t cuts = 0;
    for (size_t file = 0; file < segment_count; file++) {
        for (size_t bytes = 0; bytes < originals[file].bytes; bytes += step, cuts++) {
            restore();
            kit_truncate(originals[file].name, bytes);
            assert_int_equal(check_exact().returned, 0);
        }
    }
    print_message("%lu cuts\n", cuts);
}

static void test_segments_gone_or_zeroed(void **state)
{
    (void)state;
    static uint8_t zeros[1 << 16];
    for (size_t file = 0; file < segment_count; file++) {
        restore();
        assert_int_equal(unlink(originals[file].name), 0);
        assert_true(check_exact().lost_records >= 1);
        restore();
        write_file(originals[file].name, zeros, originals[file].bytes);
        assert_true(check_exact().lost_records >= 1);
        restore();
        write_file(originals[file].name, "not a segment", 13);
        assert_true(check_exact().lost_records >= 1);
    }
    restore();
    for (size_t file = 0; file < segment_count; file++) /* all of them */
        assert_int_equal(unlink(originals[file].name), 0);
    assert_int_equal(check_exact().lost_records, SEQUENCES - (SEQUENCES - 1) / 3);
}

/* Sectors of zeros, as some file systems leave after a power failure. */
static void test_holes(void **state)
{
    (void)state;
    static const uint8_t zeros[512];
    for (size_t file = 0; file < segment_count; file++)
        for (size_t at = 0; at + 512 <= originals[file].bytes; at += 512) {
            restore();
            int fd = open(originals[file].name, O_WRONLY | O_CLOEXEC);
            assert_true(fd >= 0 && pwrite(fd, zeros, 512, (off_t)at) == 512);
            close(fd);
            check_exact();
        }
}

/* Whatever becomes of the ack log, nothing is lost: what was acknowledged may come again. */
static void test_ack_log(void **state)
{
    (void)state;
    const char *name = originals[segment_count].name;
    size_t bytes = originals[segment_count].bytes, returned = 0;
    for (size_t at = 0; at < bytes; at++) {
        restore();
        kit_flip_bit(name, 8 * at + random_below(&dice, 8));
        struct result result = check_exact();
        assert_int_equal(result.lost_records, 0);
        returned += result.returned;
        restore();
        kit_truncate(name, at);
        assert_int_equal(check_exact().lost_records, 0);
    }
    assert_true(returned > 0);
    restore();
    assert_int_equal(unlink(name), 0);
    struct result result = check_exact();
    assert_int_equal(result.lost_records, 0);
    assert_int_equal(result.returned, (SEQUENCES - 1) / 3);
}

/* Both at once: an ack log that is gone does not hide what is missing between readable things. */
static void test_both(void **state)
{
    (void)state;
    for (size_t file = 0; file + 1 < segment_count; file++) {
        restore();
        assert_int_equal(unlink(originals[segment_count].name), 0);
        kit_truncate(originals[file].name, originals[file].bytes / 2);
        struct result result = read_everything();
        uint64_t missing = 0, points = 0;
        for (uint64_t i = 1; i <= SEQUENCES; i++) /* acknowledged or not: nobody knows any more */
            if (!result.found[i]) {
                missing++;
                points += kit_points(i);
            }
        assert_int_equal(kit_status(kit).corrupt_records, missing);
        assert_int_equal(kit_status(kit).corrupt_points, points);
        kit_close(kit);
    }
}

/* What is no record is kept aside, once, byte for byte. */
static void test_quarantine(void **state)
{
    (void)state;
    restore();
    uint64_t offset = sizeof(struct spool_head) + 20; /* in the first record's head */
    kit_flip_bit(originals[0].name, 8 * offset);
    assert_int_equal(check_exact().lost_records, 1);
    assert_int_equal(kit_count_files(path, ".damaged"), 1);
    char name[512];
    kit_file_name(path, ".damaged", 0, name);
    assert_non_null(strstr(name, ".segment.64.damaged"));
    struct spool_record record;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && read(fd, &record, sizeof record) == sizeof record);
    close(fd);
    uint8_t *original = originals[0].data + sizeof(struct spool_head);
    original[20] ^= 1;
    assert_memory_equal(&record, original, sizeof record);
    original[20] ^= 1;
    assert_int_equal(kit_file_bytes(name), sizeof record + 50 + 13);
}

/* The newest segment is what a crash leaves half written: its bodies are looked at when it is
 * opened, and it is cut behind the last that is whole. */
static void test_newest_is_cut(void **state)
{
    (void)state;
    restore();
    size_t newest = segment_count - 1, bytes = originals[newest].bytes;
    uint32_t last = 50 + SEQUENCES * 13 % 700;
    kit_truncate(originals[newest].name, bytes - sizeof(struct spool_record)); /* no end mark */
    kit_flip_bit(originals[newest].name, 8 * (bytes - sizeof(struct spool_record) - 1));
    assert_true(kit_open(kit));
    assert_int_equal(kit_status(kit).corrupt_records, 1);
    assert_int_equal(kit_status(kit).corrupt_points, kit_points(SEQUENCES));
    assert_int_equal(kit_file_bytes(originals[newest].name),
                     bytes - 2 * sizeof(struct spool_record) - last);
    assert_int_equal(kit_count_files(path, ".damaged"), 1);
    kit_close(kit);
}

/* Garbage in any amount costs neither the start nor the disk. */
static void test_quarantine_is_bounded(void **state)
{
    (void)state;
    kit_empty_directory(path);
    uint8_t *garbage = malloc(1 << 20);
    for (size_t i = 0; i < 1 << 20; i += 8) {
        uint64_t word = random_next(&dice);
        memcpy(garbage + i, &word, 8);
    }
    for (uint64_t i = 1; i <= 100; i++) {
        char name[600], last[SPOOL_NAME_BYTES];
        spool_segment_name(last, i, i);
        snprintf(name, sizeof name, "%s/%s", path, last);
        write_file(name, garbage, i == 50 ? 1 << 20 : 1000);
    }
    free(garbage);
    assert_true(kit_open(kit));
    assert_int_equal(kit_status(kit).corrupt_bytes, 99 * 1000 + (1 << 20));
    assert_int_equal(kit_count_files(path, ".damaged"), 64);
    kit_turn(kit, NS_PER_S);
    assert_int_equal(kit_count_files(path, ".segment"), 0);
    assert_true(kit_status(kit).working);
    kit_close(kit);
}

/* A body that holds a whole sound record of another segment: it stays a body, also where its own
 * head is damaged and the search goes over it. */
static void test_nothing_is_forged(void **state)
{
    (void)state;
    kit_empty_directory(path);
    struct spool_record forged = {.kind = SPOOL_RECORD, .salt = 1, .number = 1, .sequence = 2};
    spool_record_seal(&forged);
    assert_true(kit_open(kit));
    assert_int_equal(kit_put(kit, 1, 10), SPOOL_STORED);
    struct parcel *parcel = parcel_create(1000);
    for (size_t i = 0; i + sizeof forged <= 1000; i += sizeof forged)
        memcpy(parcel->body + i, &forged, sizeof forged);
    parcel->sequence = 2;
    parcel->points = 5;
    parcel->created_ns = kit->now.wall_ns;
    kit->accept_any = true;
    spool_store_put(kit->store, &parcel, 1, kit->now);
    assert_int_equal(kit_put(kit, 3, 10), SPOOL_STORED);
    kit_close(kit);
    char name[512];
    kit_file_name(path, ".segment", 0, name);
    kit_flip_bit(name, 8 * (64 + 90 + 30));
    assert_true(kit_open(kit));
    assert_int_equal(kit_status(kit).recovered_records, 2);
    assert_int_equal(kit_status(kit).corrupt_records, 1);
    assert_int_equal(kit_status(kit).corrupt_points, 5);
    assert_int_equal(kit_read(kit), 1);
    assert_int_equal(kit_read(kit), 3);
    kit_close(kit);
}

/* Of a version to come: not read, not removed, said. */
static void test_other_version(void **state)
{
    (void)state;
    restore();
    struct spool_head head;
    memcpy(&head, originals[2].data, sizeof head);
    spool_head_seal(&head, SPOOL_SEGMENT);
    head.version = 2;
    head.crc = 0;
    head.crc = crc32c(0, &head, sizeof head);
    int fd = open(originals[2].name, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0 && pwrite(fd, &head, sizeof head, 0) == sizeof head);
    close(fd);
    struct result result = read_everything();
    assert_true(result.lost_records >= 2); /* as far as this version is concerned */
    assert_int_equal(kit_status(kit).corrupt_records, 0);
    assert_non_null(strstr(kit_status(kit).trouble, "another version"));
    for (uint64_t i = 1; i <= SEQUENCES; i++)
        spool_store_ack(kit->store, i, kit->now);
    uint64_t next = spool_store_next(kit->store);
    assert_true(next > 1000000);
    assert_int_equal(kit_put(kit, next, 100), SPOOL_STORED);
    kit_turn(kit, NS_PER_S);
    kit_close(kit);
    assert_int_equal(access(originals[2].name, F_OK), 0);
    /* The version that can read it finds it whole. */
    fd = open(originals[2].name, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0 && pwrite(fd, originals[2].data, 64, 0) == 64);
    close(fd);
    assert_true(kit_open(kit));
    struct spool_status status = kit_status(kit);
    assert_int_equal(status.recovered_records, result.lost_records + 1);
    assert_int_equal(status.corrupt_records, 0);
    kit_close(kit);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strtoul(argv[1], NULL, 10) > 0)
        step = strtoul(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_flips_in_segments),
        cmocka_unit_test(test_cuts_of_segments),
        cmocka_unit_test(test_segments_gone_or_zeroed),
        cmocka_unit_test(test_holes),
        cmocka_unit_test(test_ack_log),
        cmocka_unit_test(test_both),
        cmocka_unit_test(test_quarantine),
        cmocka_unit_test(test_newest_is_cut),
        cmocka_unit_test(test_other_version),
        cmocka_unit_test(test_nothing_is_forged),
        cmocka_unit_test(test_quarantine_is_bounded),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
