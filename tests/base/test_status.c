/* SPDX-License-Identifier: Apache-2.0 */
/* A reader never sees half of a status. */
#include "base/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>

#include <cmocka.h>

static void test_round_trip(void **state)
{
    (void)state;
    struct status_board *board = status_board_create(2);
    struct target_status status, read;
    memset(&status, 0x5a, sizeof status);
    status.state = TARGET_DEGRADED;
    status.recovery = true;
    status_write(&board->slots[1], &status);
    status_read(&board->slots[1], &read);
    assert_memory_equal(&status, &read, sizeof status);
    status_read(&board->slots[0], &read); /* never written */
    assert_int_equal(read.state, TARGET_UNKNOWN);
    assert_string_equal(read.name, "");
    static const char *const names[] = {"unknown", "up", "degraded", "down"};
    for (int i = 0; i < 4; i++)
        assert_string_equal(target_state_name((enum target_state)i), names[i]);
    status_board_destroy(&board);
    assert_null(board);
    status_board_destroy(&board);
}

enum { WRITES = 100000 };

static void *write_many(void *argument)
{
    struct status_slot *slot = argument;
    struct target_status status;
    for (uint64_t i = 1; i <= WRITES; i++) {
        memset(&status, (int)(i & 0x7f), sizeof status);
        status.state = TARGET_UP;
        status.recovery = false;
        status.scrapes = i;
        status_write(slot, &status);
    }
    return NULL;
}

static void test_one_writer_one_reader(void **state)
{
    (void)state;
    struct status_board *board = status_board_create(1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_many, &board->slots[0]), 0);
    uint64_t last = 0;
    while (last < WRITES) {
        struct target_status status;
        status_read(&board->slots[0], &status);
        assert_true(status.scrapes >= last);
        last = status.scrapes;
        int expected = (int)(last & 0x7f);
        assert_int_equal(status.name[0], expected);
        assert_int_equal(status.error[sizeof status.error - 1], expected);
        assert_int_equal((int)(status.failures & 0x7f), expected);
    }
    pthread_join(thread, NULL);
    status_board_destroy(&board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),
                                       cmocka_unit_test(test_one_writer_one_reader)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
