/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the body of a request to pgweir-sink, OTLP or remote write: unpacked in each
 * encoding and walked, looking into points and only counting them; both ways agree about how many
 * there are, and what a sound body leaves for the ledger is entered, whose books balance. */
#include "base/check.h"
#include "tools/sink/body.h"
#include "tools/sink/unpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct body_reader *looking, *counting;
static struct unpacker *unpacker;
static struct ledger *ledger;

typedef const char *walk_fn(struct body_reader *reader, const uint8_t *body, size_t bytes,
                            struct body_counts *ret_counts);

static void enter(void)
{
    static bool excused;
    struct ledger_body body = {.places = body_places(looking), .wall_ns = 1, .excused = excused};
    excused = !excused;
    body.points = body_points(looking, &body.count);
    ledger_enter(ledger, &body);
    struct ledger_counts counts = ledger_counts(ledger);
    CHECK(counts.points ==
          counts.distinct + counts.doubled + counts.undecided + counts.unproven_points);
    CHECK(counts.doubled_excused <= counts.doubled && counts.unproven <= counts.series);
    if (counts.series > 100000) { /* begin anew, so that a long run stays small */
        ledger_destroy(&ledger);
        ledger = ledger_create();
    }
}

static void walk_both(walk_fn *walk, const uint8_t *body, size_t bytes)
{
    struct body_counts looked = {0}, counted = {0};
    if (walk(looking, body, bytes, &looked) != NULL)
        return;
    CHECK(walk(counting, body, bytes, &counted) == NULL);
    CHECK(looked.points == counted.points && looked.metrics == counted.metrics);
    size_t times, points;
    const struct body_time *at = body_times(looking, &times);
    uint64_t timed = 0;
    for (size_t i = 0; i < times; i++)
        timed += at[i].points;
    CHECK(timed <= looked.points);
    body_points(looking, &points);
    CHECK(points <= timed);
    enter();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (looking == NULL) {
        looking = body_reader_create(BODY_LEDGER);
        counting = body_reader_create(BODY_COUNT);
        unpacker = unpacker_create();
        ledger = ledger_create();
    }
    if (size == 0)
        return 0;
    enum body_encoding encoding = (data[0] & 0x7f) % (BODY_UNKNOWN + 1);
    size_t bytes = 0;
    const char *problem = NULL;
    const uint8_t *body = unpack(unpacker, encoding, data + 1, size - 1, &bytes, &problem);
    CHECK(body != NULL || problem != NULL);
    if (body == NULL)
        return 0;
    walk_both((data[0] & 0x80) != 0 ? body_walk_remote : body_walk, body, bytes);
    return 0;
}
