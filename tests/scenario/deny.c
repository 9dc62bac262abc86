/* SPDX-License-Identifier: Apache-2.0 */
/* Preloaded into a program, denies it what no machine denies on order:
 *
 *   DENY_MEMORY=17            the 17th allocation fails, whoever asks: pgweir, libpq, curl, …
 *   DENY_MEMORY=17+           it and all after it
 *   DENY_MEMORY_COUNT=FILE    at the end, how many were asked for
 *   DENY_CPU="shard 1:2:5"    the thread of that name sleeps 5 s when the process is 2 s old
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void *(*real_malloc)(size_t), *(*real_calloc)(size_t, size_t),
    *(*real_realloc)(void *, size_t), *(*real_aligned)(size_t, size_t);
static void (*real_free)(void *);
static int (*real_posix)(void **, size_t, size_t);

static _Atomic uint64_t asked;
static uint64_t deny_at;
static bool deny_all;

static char slow_thread[16];
static time_t slow_after_s, slow_for_s;
static struct timespec born;
static atomic_bool slept;

/* What dlsym() itself asks for before it has answered. */
static uint8_t early[4096];
static _Atomic size_t early_used;

static bool is_early(const void *memory)
{
    return (const uint8_t *)memory >= early && (const uint8_t *)memory < early + sizeof early;
}

static void *early_take(size_t bytes)
{
    size_t at = atomic_fetch_add(&early_used, (bytes + 15) / 16 * 16);
    return at + bytes <= sizeof early ? early + at : NULL;
}

/* dlsym() gives an object pointer; that it is a function is POSIX's promise. */
static void find(void *ret_function, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    memcpy(ret_function, &found, sizeof found);
}

/* The first to ask is the constructor of some library, before ours. */
static bool found_all(void)
{
    static bool under_way;
    if (real_malloc != NULL)
        return true;
    if (under_way)
        return false;
    under_way = true;
    find(&real_calloc, "calloc");
    find(&real_realloc, "realloc");
    find(&real_aligned, "aligned_alloc");
    find(&real_posix, "posix_memalign");
    find(&real_free, "free");
    find(&real_malloc, "malloc");
    return true;
}

__attribute__((constructor)) static void begin(void)
{
    clock_gettime(CLOCK_MONOTONIC, &born);
    const char *cpu = getenv("DENY_CPU"), *memory = getenv("DENY_MEMORY");
    if (cpu != NULL)
        sscanf(cpu, "%15[^:]:%ld:%ld", slow_thread, &slow_after_s, &slow_for_s);
    if (memory != NULL) {
        char *end = NULL;
        uint64_t at = strtoull(memory, &end, 10);
        deny_all = *end == '+';
        deny_at = at;
    }
}

/* Counting begins with main(): what the constructors of libraries do without memory is theirs. */
typedef int main_function(int, char **, char **);
static main_function *real_main;
static atomic_bool counting;

/* OpenSSL 3.0 uses what it did not get when its first digest sets it up: it is set up before. */
static void set_up_openssl(void)
{
    int (*digest)(const void *, size_t, unsigned char *, unsigned *, const void *, void *);
    const void *(*sha1)(void);
    find(&digest, "EVP_Digest");
    find(&sha1, "EVP_sha1");
    unsigned char out[64];
    if (digest != NULL && sha1 != NULL)
        digest("", 0, out, NULL, sha1(), NULL);
}

static int counted_main(int count, char **words, char **environment)
{
    set_up_openssl();
    atomic_store(&counting, true);
    return real_main(count, words, environment);
}

int __libc_start_main(main_function *, int, char **, void (*)(void), void (*)(void), void (*)(void),
                      void *);

int __libc_start_main(main_function *main, int count, char **words, void (*init)(void),
                      void (*fini)(void), void (*loader_fini)(void), void *stack_end)
{
    int (*real)(main_function *, int, char **, void (*)(void), void (*)(void), void (*)(void),
                void *);
    find(&real, "__libc_start_main");
    real_main = main;
    return real(counted_main, count, words, init, fini, loader_fini, stack_end);
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("DENY_MEMORY_COUNT");
    FILE *file = path != NULL ? fopen(path, "w") : NULL;
    if (file == NULL)
        return;
    fprintf(file, "%llu\n", (unsigned long long)atomic_load(&asked));
    fclose(file);
}

/* libfyaml 0.7 and 0.8 use what they did not get; nothing of it can be cured here. They read the
 * configuration: at the start, between these two. */
struct fy_diag;
struct fy_diag_cfg;
struct fy_diag *fy_diag_create(const struct fy_diag_cfg *settings);
void fy_diag_destroy(struct fy_diag *diag);

static _Atomic uint32_t excused;

struct fy_diag *fy_diag_create(const struct fy_diag_cfg *settings)
{
    struct fy_diag *(*real)(const struct fy_diag_cfg *);
    find(&real, "fy_diag_create");
    atomic_fetch_add(&excused, 1);
    return real(settings);
}

void fy_diag_destroy(struct fy_diag *diag)
{
    void (*real)(struct fy_diag *);
    find(&real, "fy_diag_destroy");
    real(diag);
    atomic_fetch_sub(&excused, 1);
}

/* snappy is C++ and ends the process itself, as its C interface lets std::bad_alloc through. */
int snappy_compress(const char *in, size_t bytes, char *out, size_t *ret_bytes);

int snappy_compress(const char *in, size_t bytes, char *out, size_t *ret_bytes)
{
    int (*real)(const char *, size_t, char *, size_t *);
    find(&real, "snappy_compress");
    atomic_fetch_add(&excused, 1);
    int status = real(in, bytes, out, ret_bytes);
    atomic_fetch_sub(&excused, 1);
    return status;
}

static bool denied(void)
{
    if (!atomic_load_explicit(&counting, memory_order_relaxed) || atomic_load(&excused) > 0)
        return false;
    uint64_t number = atomic_fetch_add_explicit(&asked, 1, memory_order_relaxed) + 1;
    if (deny_at == 0 || (deny_all ? number < deny_at : number != deny_at))
        return false;
    errno = ENOMEM;
    return true;
}

void *malloc(size_t bytes)
{
    if (!found_all())
        return early_take(bytes);
    return denied() ? NULL : real_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    if (!found_all())
        return early_take(count * bytes); /* never used twice, so zero */
    return denied() ? NULL : real_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    return denied() || !found_all() ? NULL : real_realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    return denied() || !found_all() ? NULL : real_aligned(alignment, bytes);
}

int posix_memalign(void **ret_memory, size_t alignment, size_t bytes)
{
    return denied() || !found_all() ? ENOMEM : real_posix(ret_memory, alignment, bytes);
}

void free(void *memory)
{
    if (!is_early(memory) && memory != NULL)
        real_free(memory);
}

static void maybe_sleep(void)
{
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL)
        find(&real, "clock_gettime");
    struct timespec now;
    real(CLOCK_MONOTONIC, &now);
    char name[16];
    if (born.tv_sec == 0 || now.tv_sec - born.tv_sec < slow_after_s ||
        pthread_getname_np(pthread_self(), name, sizeof name) != 0 ||
        strcmp(name, slow_thread) != 0 || atomic_exchange(&slept, true))
        return;
    sleep((unsigned)slow_for_s);
}

int clock_gettime(clockid_t clock, struct timespec *ret_time)
{
    static int (*real)(clockid_t, struct timespec *);
    if (real == NULL)
        find(&real, "clock_gettime");
    if (slow_thread[0] != 0 && !atomic_load_explicit(&slept, memory_order_relaxed))
        maybe_sleep();
    return real(clock, ret_time);
}
