/* SPDX-License-Identifier: Apache-2.0 */
/* Every Content-Encoding, packed by its own library, sound and broken. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <libdeflate.h>
#include <snappy-c.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/random.h"
#include "tools/sink/unpack.h"

enum { RAW_BYTES = 300000, PACKED_BYTES = 400000 };

static uint8_t raw[RAW_BYTES], packed[2 * PACKED_BYTES];

/* Text that compresses a little, so that packed forms have parts of every sort. */
static void fill(uint64_t seed)
{
    struct random random = {seed};
    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = i > 500 && random_below(&random, 4) != 0 ? raw[i - 300 - i % 7]
                                                          : (uint8_t)random_below(&random, 256);
}

static size_t pack_gzip(uint8_t *to, const uint8_t *from, size_t bytes)
{
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(6);
    size_t size = libdeflate_gzip_compress(compressor, from, bytes, to, PACKED_BYTES);
    libdeflate_free_compressor(compressor);
    return size;
}

static size_t pack_deflate(uint8_t *to, const uint8_t *from, size_t bytes)
{
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(6);
    size_t size = libdeflate_zlib_compress(compressor, from, bytes, to, PACKED_BYTES);
    libdeflate_free_compressor(compressor);
    return size;
}

static size_t pack_zstd(uint8_t *to, const uint8_t *from, size_t bytes)
{
    return ZSTD_compress(to, PACKED_BYTES, from, bytes, 3);
}

/* Without the content's size in the head, as a streaming client sends it. */
static size_t pack_zstd_stream(uint8_t *to, const uint8_t *from, size_t bytes)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
    size_t size = ZSTD_compress2(context, to, PACKED_BYTES, from, bytes);
    ZSTD_freeCCtx(context);
    return size;
}

static size_t pack_snappy(uint8_t *to, const uint8_t *from, size_t bytes)
{
    size_t size = PACKED_BYTES;
    assert_int_equal(snappy_compress((const char *)from, bytes, (char *)to, &size), SNAPPY_OK);
    return size;
}

static uint32_t crc32c(const uint8_t *bytes, size_t count)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < count; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    return ~crc;
}

static size_t put_frame(uint8_t *to, uint8_t kind, const uint8_t *from, size_t bytes)
{
    uint32_t crc = crc32c(from, bytes);
    crc = (crc >> 15 | crc << 17) + 0xa282ead8;
    size_t size = bytes;
    if (kind == 0)
        size = pack_snappy(to + 8, from, bytes);
    else
        memcpy(to + 8, from, bytes);
    uint32_t length = (uint32_t)size + 4;
    to[0] = kind;
    memcpy(to + 1, &length, 3);
    memcpy(to + 4, &crc, 4);
    return size + 8;
}

/* Frames compressed and not, with padding between them. */
static size_t pack_framed(uint8_t *to, const uint8_t *from, size_t bytes)
{
    size_t size = 10;
    memcpy(to, "\xff\x06\0\0sNaPpY", 10);
    for (size_t at = 0, i = 0; at < bytes; at += 60000, i++) {
        size_t some = bytes - at < 60000 ? bytes - at : 60000;
        size += put_frame(to + size, i % 2 ? 1 : 0, from + at, some);
        memcpy(to + size, "\xfe\x02\0\0zz", 6);
        size += 6;
    }
    return size;
}

static const struct {
    const char *name;
    enum body_encoding encoding;
    size_t (*pack)(uint8_t *to, const uint8_t *from, size_t bytes);
    bool checked; /* a changed bit is found out for sure */
} rows[] = {
    {"gzip", BODY_GZIP, pack_gzip, true},
    {"deflate", BODY_DEFLATE, pack_deflate, true},
    {"zstd", BODY_ZSTD, pack_zstd, false},
    {"zstd of unknown size", BODY_ZSTD, pack_zstd_stream, false},
    {"snappy block", BODY_SNAPPY, pack_snappy, false},
    {"snappy frames", BODY_SNAPPY, pack_framed, true},
};
enum { ROWS = sizeof rows / sizeof rows[0] };

static void test_sound(void **state)
{
    (void)state;
    struct unpacker *unpacker = unpacker_create();
    static const size_t sizes[] = {1, 100, 65536, 65537, RAW_BYTES, 3};
    for (size_t i = 0; i < ROWS; i++)
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
            const char *problem = NULL;
            size_t bytes, size = rows[i].pack(packed, raw, sizes[k]);
            const uint8_t *out = unpack(unpacker, rows[i].encoding, packed, size, &bytes, &problem);
            if (out == NULL)
                fail_msg("%s of %zu bytes: %s", rows[i].name, sizes[k], problem);
            assert_int_equal(bytes, sizes[k]);
            assert_memory_equal(out, raw, bytes);
        }
    unpacker_destroy(&unpacker);
}

/* Several gzip members or zstd frames behind each other are one body. */
static void test_several(void **state)
{
    (void)state;
    struct unpacker *unpacker = unpacker_create();
    for (size_t i = 0; i < ROWS; i++) {
        if (rows[i].encoding != BODY_GZIP && rows[i].encoding != BODY_ZSTD)
            continue;
        const char *problem = NULL;
        size_t bytes, size = rows[i].pack(packed, raw, 200000);
        size += rows[i].pack(packed + size, raw + 200000, 99000);
        size += rows[i].pack(packed + size, raw + 299000, 1000);
        const uint8_t *out = unpack(unpacker, rows[i].encoding, packed, size, &bytes, &problem);
        if (out == NULL)
            fail_msg("%s: %s", rows[i].name, problem);
        assert_int_equal(bytes, RAW_BYTES);
        assert_memory_equal(out, raw, bytes);
    }
    unpacker_destroy(&unpacker);
}

/* No prefix is taken, and nothing is read past it; a flipped bit is found where there is a sum. */
static void test_broken(void **state)
{
    (void)state;
    struct unpacker *unpacker = unpacker_create();
    struct random random = {5};
    for (size_t i = 0; i < ROWS; i++) {
        size_t bytes, size = rows[i].pack(packed, raw, 3000);
        for (size_t cut = 0; cut < size; cut += 1 + cut / 50) {
            const char *problem = NULL;
            uint8_t *prefix = malloc(cut + 1);
            memcpy(prefix, packed, cut);
            const uint8_t *out = unpack(unpacker, rows[i].encoding, prefix, cut, &bytes, &problem);
            /* the head alone, or a whole frame less its padding, is sound: but never all */
            if (out != NULL)
                assert_true(rows[i].pack == pack_framed && (bytes == 0 || bytes == 3000));
            else
                assert_non_null(problem);
            free(prefix);
        }
        for (int round = 0; round < 300; round++) {
            const char *problem = NULL;
            size_t at = random_below(&random, size);
            uint8_t bit = (uint8_t)(1u << random_below(&random, 8));
            packed[at] ^= bit;
            const uint8_t *out = unpack(unpacker, rows[i].encoding, packed, size, &bytes, &problem);
            if (out != NULL && rows[i].checked && bytes == 3000)
                assert_memory_equal(out, raw, bytes);
            packed[at] ^= bit;
        }
    }
    unpacker_destroy(&unpacker);
}

static void test_refused(void **state)
{
    (void)state;
    struct unpacker *unpacker = unpacker_create();
    static const uint8_t text[] = "this is neither gzip nor zstd, but long enough";
    uint8_t small[sizeof text] = {0};
    size_t bytes;
    const char *problem = NULL;
    assert_ptr_equal(unpack(unpacker, BODY_IDENTITY, text, 5, &bytes, &problem), text);
    assert_int_equal(bytes, 5);
    assert_null(unpack(unpacker, BODY_GZIP, text, 4, &bytes, &problem));
    assert_string_equal(problem, "gzip body too short");
    memcpy(small, text, sizeof text - 8);
    assert_null(unpack(unpacker, BODY_GZIP, small, sizeof small, &bytes, &problem));
    assert_string_equal(problem, "body is not gzip");
    memset(small, 0xff, sizeof small);
    assert_null(unpack(unpacker, BODY_GZIP, small, sizeof small, &bytes, &problem));
    assert_string_equal(problem, "body is not gzip");
    memcpy(small, "\x1f\x8b", 2);
    assert_null(unpack(unpacker, BODY_GZIP, small, sizeof small, &bytes, &problem));
    assert_string_equal(problem, "body larger than 64 MiB");
    assert_null(unpack(unpacker, BODY_DEFLATE, text, sizeof text, &bytes, &problem));
    assert_string_equal(problem, "body is not deflate (zlib)");
    assert_null(unpack(unpacker, BODY_ZSTD, text, sizeof text, &bytes, &problem));
    assert_string_equal(problem, "body is not zstd");
    memset(small, 0xff, sizeof small);
    assert_null(unpack(unpacker, BODY_SNAPPY, small, sizeof small, &bytes, &problem));
    assert_string_equal(problem, "body is not snappy");
    assert_null(unpack(unpacker, BODY_UNKNOWN, text, sizeof text, &bytes, &problem));
    assert_non_null(strstr(problem, "unknown Content-Encoding"));
    unpacker_destroy(&unpacker);
}

/* A bomb is refused, whatever it says its size is. */
static void test_bombs(void **state)
{
    (void)state;
    enum { BOMB_BYTES = 80 << 20 };
    struct unpacker *unpacker = unpacker_create();
    uint8_t *zeros = calloc(1, BOMB_BYTES), *out = malloc(2 * BOMB_BYTES);
    const char *problem;
    size_t bytes;
    struct libdeflate_compressor *compressor = libdeflate_alloc_compressor(1);
    size_t size = libdeflate_gzip_compress(compressor, zeros, BOMB_BYTES, out, BOMB_BYTES);
    memset(out + size - 4, 1, 1); /* says 1 byte */
    memset(out + size - 3, 0, 3);
    assert_null(unpack(unpacker, BODY_GZIP, out, size, &bytes, &problem));
    assert_string_equal(problem, "body larger than 64 MiB");
    size = libdeflate_zlib_compress(compressor, zeros, BOMB_BYTES, out, BOMB_BYTES);
    assert_null(unpack(unpacker, BODY_DEFLATE, out, size, &bytes, &problem));
    assert_string_equal(problem, "body larger than 64 MiB");
    libdeflate_free_compressor(compressor);
    ZSTD_CCtx *context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
    size = ZSTD_compress2(context, out, BOMB_BYTES, zeros, BOMB_BYTES);
    assert_null(unpack(unpacker, BODY_ZSTD, out, size, &bytes, &problem));
    assert_string_equal(problem, "body larger than 64 MiB");
    ZSTD_freeCCtx(context);
    size = 2 * BOMB_BYTES;
    assert_int_equal(snappy_compress((const char *)zeros, BOMB_BYTES, (char *)out, &size), 0);
    assert_null(unpack(unpacker, BODY_SNAPPY, out, size, &bytes, &problem));
    assert_string_equal(problem, "body larger than 64 MiB");
    free(zeros);
    free(out);
    unpacker_destroy(&unpacker);
}

static void test_names(void **state)
{
    (void)state;
    assert_int_equal(unpack_encoding(""), BODY_IDENTITY);
    assert_int_equal(unpack_encoding("GZIP"), BODY_GZIP);
    assert_int_equal(unpack_encoding("x-snappy-framed"), BODY_SNAPPY);
    assert_int_equal(unpack_encoding("br"), BODY_UNKNOWN);
}

int main(void)
{
    fill(42);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),  cmocka_unit_test(test_several),
        cmocka_unit_test(test_broken), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bombs),  cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
