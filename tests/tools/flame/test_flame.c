/* SPDX-License-Identifier: Apache-2.0 */
/* From perf script's text to folded stacks: names, totals, waits, and what is refused. Drawing is
 * tested on whole programs by test_flame.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/flame/fold.h"
#include "tools/flame/frame.h"

static void names_of_frames(void **state)
{
    (void)state;
    static const struct {
        const char *line, *name; /* NULL: not a frame */
    } cases[] = {
        {"\t      1292 work+0x32 (/opt/bin/pgweir)", "work"},
        {"\t      1292 work (/opt/bin/pgweir)", "work"},
        {"\tffffffff814232c1 do_sys_poll+0x437 ([kernel.kallsyms])", "do_sys_poll_[k]"},
        {"\tffffffffc0001234 vnet_poll+0x1 ([virtio_net])", "vnet_poll_[k]"},
        {"\tffffffffc0001234 vnet_poll ([virtio_net.ko.xz])", "vnet_poll_[k]"},
        {"\t fc26f __poll+0x4f (/usr/lib/x86_64-linux-gnu/libc.so.6)", "__poll [libc]"},
        {"\t fc26f PQgetResult (/usr/lib/libpq.so.5.15)", "PQgetResult [libpq]"},
        {"\t b5f __vdso_clock_gettime+0x6f ([vdso])", "__vdso_clock_gettime [vdso]"},
        {"\t 0 [unknown] ([unknown])", "? [unknown]"},
        {"\t 1234 [unknown] (/usr/lib/libisal.so.2.0.30)", "? [libisal]"},
        /* What compilers and linkers append. */
        {"\t 1 spin.constprop.0+0x1 (/x)", "spin"},
        {"\t 1 spin.isra.0 (/x)", "spin"},
        {"\t 1 spin.part.12.cold (/x)", "spin"},
        {"\t 1 clock_gettime@@GLIBC_2.17+0x1 (/lib/libc.so.6)", "clock_gettime [libc]"},
        /* Names with spaces and brackets, files that are gone. */
        {"\t 1 ns::f(int, char const*) const+0x1 (/x)", "ns::f(int, char const*) const"},
        {"\t 1 work (/tmp/a b (deleted))", "work"},
        {"\t 1 a;b (/x)", "a:b"},
        {"work (/x)", NULL},
        {"\t 1 work", NULL},
        {"\t", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[FRAME_BYTES] = "";
        bool parsed = frame_parse(cases[i].line, name);
        if (parsed != (cases[i].name != NULL) || (parsed && strcmp(name, cases[i].name) != 0))
            fail_msg("\"%s\" gives \"%s\"", cases[i].line, name);
    }
}

static void families_of_frames(void **state)
{
    (void)state;
    static const struct {
        const char *frame;
        enum frame_family family;
    } cases[] = {
        {"conn_step", FAMILY_PROGRAM},
        {"tcp_sendmsg_[k]", FAMILY_KERNEL},
        {"PQgetResult [libpq]", FAMILY_LIBPQ},
        {"curl_multi_poll [libcurl]", FAMILY_NET},
        {"? [libcrypto]", FAMILY_NET},
        {"isal_deflate [libisal]", FAMILY_COMPRESS},
        {"malloc [libjemalloc]", FAMILY_MEMORY},
        {"memcpy [libc]", FAMILY_LIBC},
        {"_dl_start [ld-linux-x86-64]", FAMILY_LIBC},
        {"f [libcap]", FAMILY_OTHER}, /* not libc */
        {"? [unknown]", FAMILY_OTHER},
        {"(waits for a CPU)", FAMILY_OTHER},
        {"operator[]", FAMILY_PROGRAM},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (frame_family(cases[i].frame, strlen(cases[i].frame)) != cases[i].family)
            fail_msg("%s: %s", cases[i].frame,
                     frame_family_name(frame_family(cases[i].frame, strlen(cases[i].frame))));
}

struct folded {
    struct stacks stacks;
    struct fold_counts counts;
    struct error error;
    bool good;
};

static void fold_text(struct folded *folded, const char *text, bool merge_threads)
{
    char path[] = "/tmp/pgweir-test-flame-XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    FILE *file = fdopen(descriptor, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    stacks_init(&folded->stacks);
    folded->good =
        fold_script(&folded->stacks, path, merge_threads, &folded->counts, &folded->error);
    remove(path);
}

/* The weight of a stack; fails when it is not there. */
static uint64_t weight_of(const struct folded *folded, const char *text)
{
    for (size_t i = 0; i < folded->stacks.count; i++)
        if (strcmp(stacks_text(&folded->stacks, i), text) == 0)
            return folded->stacks.items[i].after;
    fail_msg("no stack \"%s\"", text);
    return 0;
}

static const char on_cpu[] = "# a comment\n"
                             "shard-0 11 100.000001:    1003009 cpu-clock: \n"
                             "\t 1 memcpy (/lib/libc.so.6)\n"
                             "\t 2 conn_step (/bin/pgweir)\n"
                             "\t 3 start_thread (/lib/libc.so.6)\n"
                             "\t 4 clone3 (/lib/libc.so.6)\n"
                             "\n"
                             "shard-1 10/12 [001] 100.000002:    1003009 cpu-clock:ppp: \n"
                             "\t 1 memcpy (/lib/libc.so.6)\n"
                             "\t 2 conn_step (/bin/pgweir)\n"
                             "\t 3 start_thread (/lib/libc.so.6)\n"
                             "\n"
                             "shard-0 11 100.000003:    2000000 cpu-clock: \n"
                             "\t ffffffff1 tcp_sendmsg ([kernel.kallsyms])\n"
                             "\t ffffffff2 do_syscall_64 ([kernel.kallsyms])\n"
                             "\t 1 [unknown] (/lib/libpq.so.5)\n"
                             "\t 2 [unknown] (/lib/libpq.so.5)\n"
                             "\n"
                             "two words 13 100.000004:    1000 cpu-clock: \n"
                             "\t 2 work (/bin/pgweir)\n"
                             "\t 3 main (/bin/pgweir)\n"
                             "\n";

static void on_cpu_weighs_time(void **state)
{
    (void)state;
    struct folded folded;
    fold_text(&folded, on_cpu, false);
    assert_true(folded.good);
    assert_int_equal(weight_of(&folded, "shard-0;conn_step;memcpy [libc]"), 1003);
    assert_int_equal(weight_of(&folded, "shard-1;conn_step;memcpy [libc]"), 1003);
    assert_int_equal(weight_of(&folded, "shard-0;(callers unknown);? [libpq];tcp_sendmsg_[k]"),
                     2000);
    assert_int_equal(weight_of(&folded, "two words;work"), 1);
    assert_int_equal(folded.stacks.count, 4);
    assert_int_equal(folded.counts.samples, 4);
    assert_int_equal(folded.counts.whole, 3);
    assert_int_equal(folded.counts.weight, 1003 + 1003 + 2000 + 1);
    assert_int_equal(stacks_total(&folded.stacks, STACKS_AFTER), folded.counts.weight);
    stacks_fini(&folded.stacks);
}

static void threads_merged(void **state)
{
    (void)state;
    struct folded folded;
    fold_text(&folded, on_cpu, true);
    assert_int_equal(weight_of(&folded, "shard;conn_step;memcpy [libc]"), 2006);
    assert_int_equal(folded.stacks.count, 3);
    stacks_fini(&folded.stacks);
}

static void other_events_count(void **state)
{
    (void)state;
    struct folded folded;
    fold_text(&folded,
              "a 1 1.000001: 77 page-faults: \n\t 1 f (/bin/x)\n\t 2 main (/bin/x)\n\n"
              "a 1 1.000002: 99 page-faults: \n\t 1 f (/bin/x)\n\t 2 main (/bin/x)\n\n",
              false);
    assert_int_equal(weight_of(&folded, "a;f"), 2);
    stacks_fini(&folded.stacks);
}

#define STOPS(thread, time, function)                                                              \
    "t" thread " " thread " " time ": 1 context-switches: \n\t 1 " function                        \
    " (/bin/x)\n\t 2 main (/bin/x)\n\n"
#define OUT(thread, time)       "t" thread " " thread " " time ": PERF_RECORD_SWITCH OUT\n"
#define PREEMPTED(thread, time) "t" thread " " thread " " time ": PERF_RECORD_SWITCH OUT preempt\n"
#define IN(thread, time)        "t" thread " " thread " " time ": PERF_RECORD_SWITCH IN\n"

static void off_cpu_weighs_waits(void **state)
{
    (void)state;
    struct folded folded;
    fold_text(&folded,
              IN("1", "9.000000") /* of a wait whose beginning was not seen */
              STOPS("1", "10.000000", "read") OUT("1", "10.000010") /* 90 µs */
              STOPS("2", "10.000020", "spin") PREEMPTED("2", "10.000030") IN("1", "10.000100")
                  IN("2", "10.000130") /* 100 µs ready to run */
              STOPS("1", "11.000000", "read") OUT("1", "11.000000") IN("1", "11.000005") /* 5 */
              STOPS("2", "11.500000", "sleep") OUT("2", "11.500000") /* until the end: 0.5 s */
              IN("1", "12.000000"),
              false);
    assert_true(folded.good);
    assert_int_equal(weight_of(&folded, "t1;read"), 95);
    assert_int_equal(weight_of(&folded, "t2;spin;(waits for a CPU)"), 100);
    assert_int_equal(weight_of(&folded, "t2;sleep"), 500000);
    assert_int_equal(folded.stacks.count, 3);
    assert_int_equal(folded.counts.switches, 4);
    stacks_fini(&folded.stacks);
}

/* A sample of thread t1 with frames from the innermost on; whole when the last one is main. */
#define SAMPLE(frames) "t1 1 1.000001: 1000 cpu-clock: \n" frames "\n"
#define FRAME(name)    "\t 1 " name " (/bin/x)\n"
#define ISAL(name)     "\t 1 " name " (/lib/libisal.so.2)\n"
#define ASTRAY         "\t 0 [unknown] ([unknown])\n"
#define WHOLE(caller)                                                                              \
    SAMPLE(ISAL("deflate") FRAME("squeeze") FRAME(caller) FRAME("run") FRAME("main"))

static void callers_are_inferred(void **state)
{
    (void)state;
    static const struct {
        const char *what, *text, *stack;
    } cases[] = {
        {"the thread's own first frame", WHOLE("close") SAMPLE(FRAME("poll") FRAME("run") ASTRAY),
         "t1;run;poll"},
        {"a function seen elsewhere",
         WHOLE("close") SAMPLE(FRAME("send") FRAME("squeeze") ASTRAY ASTRAY),
         "t1;run;close;(caller inferred);squeeze;send"},
        {"another function of a library seen elsewhere", WHOLE("close") SAMPLE(ISAL("crc")),
         "t1;run;close;squeeze;(caller inferred);crc [libisal]"},
        {"two thirds are enough", WHOLE("close") WHOLE("close") WHOLE("flush") SAMPLE(ISAL("crc")),
         "t1;run;close;squeeze;(caller inferred);crc [libisal]"},
        {"a half is not", WHOLE("close") WHOLE("flush") SAMPLE(ISAL("crc")),
         "t1;(callers unknown);crc [libisal]"},
        {"another thread's do not count",
         WHOLE("close") "t2 2 1.000001: 1000 cpu-clock: \n" ISAL("crc") "\n",
         "t2;(callers unknown);crc [libisal]"},
        {"a function of the program seen nowhere", WHOLE("close") SAMPLE(FRAME("alone")),
         "t1;(callers unknown);alone"},
        {"astray, yet whole", SAMPLE(FRAME("run") ASTRAY FRAME("main")), "t1;run"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct folded folded;
        fold_text(&folded, cases[i].text, false);
        assert_true(folded.good);
        print_message("%s\n", cases[i].what);
        assert_int_equal(weight_of(&folded, cases[i].stack), 1);
        assert_int_equal(stacks_total(&folded.stacks, STACKS_AFTER), folded.counts.weight);
        bool inferred = strstr(cases[i].stack, "(callers unknown)") == NULL && i != 7;
        assert_int_equal(folded.counts.weight_inferred, inferred);
        stacks_fini(&folded.stacks);
    }
}

static void what_cannot_be_folded(void **state)
{
    (void)state;
    static const struct {
        const char *text, *complaint;
    } cases[] = {
        {"", "no samples"},
        {"nothing like it\n\n", "no samples"},
        {IN("1", "1.000000"), "no samples"},
        {STOPS("1", "1.000000", "f") "a 1 2.000000: 1 cpu-clock: \n\t 1 f (/x)\n\n",
         "record them apart"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct folded folded;
        fold_text(&folded, cases[i].text, false);
        assert_false(folded.good);
        assert_non_null(strstr(folded.error.text, cases[i].complaint));
        stacks_fini(&folded.stacks);
    }
}

/* "a" and its callees stay together whatever sorts between them. */
static void merging_keeps_callees_together(void **state)
{
    (void)state;
    static const char *const texts[] = {"a!", "a;z", "a", "a;b", "a!;c", "a;b"};
    static const char *const sorted[] = {"a", "a;b", "a;z", "a!", "a!;c"};
    struct stacks stacks;
    stacks_init(&stacks);
    stacks_merge(&stacks); /* of nothing */
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        stacks_add(&stacks, texts[i], strlen(texts[i]), i + 1,
                   i % 2 == 0 ? STACKS_BEFORE : STACKS_AFTER);
    stacks_merge(&stacks);
    assert_int_equal(stacks.count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(stacks_text(&stacks, i), sorted[i]);
    assert_int_equal(stacks.items[1].after, 4 + 6);
    assert_int_equal(stacks_total(&stacks, STACKS_BEFORE), 1 + 3 + 5);
    assert_int_equal(stacks_total(&stacks, STACKS_AFTER), 2 + 4 + 6);
    stacks_fini(&stacks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_frames),
        cmocka_unit_test(families_of_frames),
        cmocka_unit_test(on_cpu_weighs_time),
        cmocka_unit_test(threads_merged),
        cmocka_unit_test(other_events_count),
        cmocka_unit_test(off_cpu_weighs_waits),
        cmocka_unit_test(callers_are_inferred),
        cmocka_unit_test(what_cannot_be_folded),
        cmocka_unit_test(merging_keeps_callees_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
