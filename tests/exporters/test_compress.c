/* SPDX-License-Identifier: Apache-2.0 */
/* What the compressor writes is unpacked by the gzip and zstd programs, which are not ours. Built
 * twice: with the gzip library of this build, and with libdeflate alone. */
#include "exporters/compress.h"

#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { INPUT_BYTES = 1 << 20 };
static uint8_t input[INPUT_BYTES], unpacked[INPUT_BYTES + 1];

/* Noise cannot be compressed; records resemble OTLP. */
static void fill_noise(void)
{
    struct random random = {.state = 1};
    for (size_t i = 0; i < INPUT_BYTES; i++)
        input[i] = (uint8_t)random_next(&random);
}

static void fill_records(void)
{
    struct random random = {.state = 2};
    for (size_t i = 0; i + 64 <= INPUT_BYTES; i += 64) {
        memcpy(input + i, "postgresql.table.name=orders_2024 schema=public db=shop_eu_1", 56);
        uint64_t value = random_below(&random, 100000);
        memcpy(input + i + 56, &value, 8);
    }
}

/* Runs `program -dc`, which also checks header, length and checksum. */
static size_t unpack(const char *program, const uint8_t *packed, size_t bytes)
{
    FILE *in = tmpfile(), *out = tmpfile();
    assert_true(in && out);
    assert_int_equal(fwrite(packed, 1, bytes, in), bytes);
    rewind(in);
    pid_t child = fork();
    if (child == 0) {
        dup2(fileno(in), STDIN_FILENO);
        dup2(fileno(out), STDOUT_FILENO);
        execlp(program, program, "-dc", (char *)NULL);
        _exit(127);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (status != 0)
        fail_msg("%s -dc ended with status %d (is it installed?)", program, status);
    rewind(out);
    size_t got = fread(unpacked, 1, sizeof unpacked, out);
    fclose(in);
    fclose(out);
    return got;
}

/* Our own way back: the same bytes where the limit allows them, else none; a body that is cut
 * short, that goes on behind its end or has any of its last bytes changed is none. */
static void check_decompress(enum compression kind, const uint8_t *packed, size_t packed_bytes,
                             size_t bytes)
{
    size_t got = 0;
    uint8_t *out = decompress(kind, packed, packed_bytes, bytes, &got);
    assert_non_null(out);
    assert_int_equal(got, bytes);
    assert_memory_equal(out, input, bytes);
    free(out);
    if (bytes > 0)
        assert_null(decompress(kind, packed, packed_bytes, bytes - 1, &got));
    assert_null(decompress(kind, packed, packed_bytes - 1, SIZE_MAX, &got));
    assert_null(decompress(kind, packed, 0, SIZE_MAX, &got));
    uint8_t *other = malloc(packed_bytes + 1);
    assert_non_null(other);
    memcpy(other, packed, packed_bytes);
    other[packed_bytes] = 'x';
    assert_null(decompress(kind, other, packed_bytes + 1, 2 * INPUT_BYTES, &got));
    other[packed_bytes - 1] ^= 1;
    if (kind == COMPRESSION_GZIP)
        assert_null(decompress(kind, other, packed_bytes, 2 * INPUT_BYTES, &got));
    free(other);
}

/* Into a block of exactly the bound, so that a sanitizer sees one byte too many. */
static size_t round_trip(struct compressor *compressor, enum compression kind, const char *program,
                         size_t bytes)
{
    size_t bound = compressor_bound(compressor, bytes);
    uint8_t *packed = malloc(bound ? bound : 1);
    assert_non_null(packed);
    size_t packed_bytes = compressor_run(compressor, input, bytes, packed, bound);
    assert_true(packed_bytes > 0 && packed_bytes <= bound);
    assert_int_equal(unpack(program, packed, packed_bytes), bytes);
    assert_memory_equal(unpacked, input, bytes);
    check_decompress(kind, packed, packed_bytes, bytes);
    free(packed);
    return packed_bytes;
}

static void check_kind(enum compression kind, const char *program)
{
    static const size_t sizes[] = {0, 1, 300, 65535, 65536, 200000, INPUT_BYTES};
    for (int level = 0; level <= 9; level += 9) { /* the default, and as small as can be */
        struct compressor *compressor = compressor_create(kind, level);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            fill_noise();
            round_trip(compressor, kind, program, sizes[i]);
        }
        fill_records();
        size_t first = round_trip(compressor, kind, program, INPUT_BYTES);
        assert_true(first < INPUT_BYTES / 8);
        round_trip(compressor, kind, program, 1000);
        /* The context carries nothing over from one body to the next. */
        assert_int_equal(round_trip(compressor, kind, program, INPUT_BYTES), first);
        compressor_destroy(&compressor);
        assert_null(compressor);
    }
}

static void test_gzip(void **state)
{
    (void)state;
    check_kind(COMPRESSION_GZIP, "gzip");
}

static void test_zstd(void **state)
{
    (void)state;
    check_kind(COMPRESSION_ZSTD, "zstd");
}

/* Bodies that nothing can shrink, of every small size and around the block borders: the bound
 * holds (checked inside, and by the sanitizer), whatever the library stores. */
static void test_bound_holds(void **state)
{
    (void)state;
    fill_noise();
    for (int level = 0; level <= 3; level++) {
        struct compressor *compressor = compressor_create(COMPRESSION_GZIP, level);
        for (size_t bytes = 0; bytes < 400000; bytes += bytes < 600 ? 1 : 7919) {
            size_t bound = compressor_bound(compressor, bytes);
            uint8_t *packed = malloc(bound);
            assert_non_null(packed);
            assert_true(compressor_run(compressor, input, bytes, packed, bound) <= bound);
            free(packed);
        }
        compressor_destroy(&compressor);
    }
}

/* Raw snappy, which no program here reads: its own library on both sides. */
static void test_snappy(void **state)
{
    (void)state;
    struct compressor *compressor = compressor_create(COMPRESSION_SNAPPY, 0);
    for (size_t bytes = 0; bytes <= INPUT_BYTES; bytes += bytes < 100 ? 1 : INPUT_BYTES / 7) {
        fill_records();
        size_t bound = compressor_bound(compressor, bytes);
        uint8_t *packed = malloc(bound);
        assert_non_null(packed);
        size_t packed_bytes = compressor_run(compressor, input, bytes, packed, bound);
        assert_true(packed_bytes <= bound);
        check_decompress(COMPRESSION_SNAPPY, packed, packed_bytes, bytes);
        free(packed);
    }
    compressor_destroy(&compressor);
}

/* A body that promises more than there is, or is anything else. */
static void test_lies(void **state)
{
    (void)state;
    struct random random = {.state = 9};
    for (int i = 0; i < 5000; i++) {
        uint8_t bytes[64];
        size_t count = random_below(&random, sizeof bytes), got = 0;
        for (size_t at = 0; at < count; at++)
            bytes[at] = (uint8_t)random_next(&random);
        if (i % 4 == 0)
            memcpy(bytes, "\x1f\x8b\x08\0\0\0\0\0\0\3", 10);
        if (i % 4 == 1)
            memcpy(bytes, "\x28\xb5\x2f\xfd\xa0\xff\xff\x00\x00", 9);
        enum compression kind = (enum compression)(i % 4 == 0   ? COMPRESSION_GZIP
                                                   : i % 4 == 1 ? COMPRESSION_ZSTD
                                                                : COMPRESSION_SNAPPY);
        uint8_t *out = decompress(kind, bytes, count, 1 << 16, &got);
        assert_true(out == NULL || got <= 1 << 16);
        free(out);
    }
}

static void test_none(void **state)
{
    (void)state;
    struct compressor *compressor = compressor_create(COMPRESSION_NONE, 0);
    uint8_t out[5];
    size_t got = 0;
    assert_int_equal(compressor_bound(compressor, 5), 5);
    assert_int_equal(compressor_run(compressor, (const uint8_t *)"12345", 5, out, 5), 5);
    assert_memory_equal(out, "12345", 5);
    assert_int_equal(compressor_run(compressor, NULL, 0, out, 5), 0);
    compressor_destroy(&compressor);
    uint8_t *copy = decompress(COMPRESSION_NONE, (const uint8_t *)"12345", 5, 5, &got);
    assert_int_equal(got, 5);
    assert_memory_equal(copy, "12345", 5);
    free(copy);
    assert_null(decompress(COMPRESSION_NONE, (const uint8_t *)"12345", 5, 4, &got));
    assert_null(compression_name(COMPRESSION_NONE));
    assert_string_equal(compression_name(COMPRESSION_GZIP), "gzip");
    assert_string_equal(compression_name(COMPRESSION_ZSTD), "zstd");
    assert_string_equal(compression_name(COMPRESSION_SNAPPY), "snappy");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gzip),        cmocka_unit_test(test_zstd),
        cmocka_unit_test(test_bound_holds), cmocka_unit_test(test_snappy),
        cmocka_unit_test(test_lies),        cmocka_unit_test(test_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
