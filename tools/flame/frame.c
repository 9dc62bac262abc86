/* SPDX-License-Identifier: Apache-2.0 */
/* How a frame of perf script becomes a name. Pure functions. */
#include "tools/flame/frame.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"

static const struct {
    const char *name;
    const char *libraries[12]; /* how they begin, behind " [" */
} families[FAMILY_COUNT] = {
    [FAMILY_PROGRAM] = {"pgweir", {NULL}},
    [FAMILY_KERNEL] = {"kernel", {NULL}},
    [FAMILY_LIBPQ] = {"libpq", {"libpq"}},
    [FAMILY_NET] = {"libcurl, TLS", {"libcurl", "libssl", "libcrypto", "libnghttp2", "libgnutls"}},
    [FAMILY_COMPRESS] = {"compression", {"libisal", "libzstd", "libdeflate", "libz", "libsnappy"}},
    [FAMILY_MEMORY] = {"jemalloc", {"libjemalloc"}},
    [FAMILY_LIBC] = {"libc", {"libc", "ld-linux", "libpthread", "libm", "vdso", "liburing"}},
    [FAMILY_OTHER] = {"other", {NULL}},
};

static const char *const suffixes[] = {".constprop.", ".isra.", ".part.", ".cold", ".llvm.", "@"};

static void drop_suffixes(char *name)
{
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char *at = strstr(name, suffixes[i]);
        if (at != NULL && at != name)
            *at = '\0';
    }
}

/* Separators of the folded form and what XML cannot hold. */
static void make_plain(char *name)
{
    for (; *name != '\0'; name++)
        if (*name == ';')
            *name = ':';
        else if ((unsigned char)*name < ' ' || (unsigned char)*name > '~')
            *name = '?';
}

static bool is_kernel(const char *file)
{
    return strncmp(file, "[kernel", 7) == 0 || strncmp(file, "[guest.kernel", 13) == 0 ||
           (file[0] == '[' && strcmp(file, "[vdso]") != 0 && strcmp(file, "[unknown]") != 0 &&
            strncmp(file, "[stack", 6) != 0 && strncmp(file, "[heap", 5) != 0) ||
           strstr(file, ".ko") != NULL;
}

/* "libpq" of "/usr/lib/x86_64-linux-gnu/libpq.so.5.15"; "" of a program. */
static void library_of(const char *file, char out[64])
{
    const char *slash = strrchr(file, '/');
    const char *base = slash != NULL ? slash + 1 : file;
    out[0] = '\0';
    if (file[0] == '[')
        snprintf(out, 64, "%.*s", (int)strcspn(base + 1, "]"), base + 1);
    else if (strstr(base, ".so") != NULL)
        snprintf(out, 64, "%.*s", (int)(strstr(base, ".so") - base), base);
}

bool frame_parse(const char *line, char out[FRAME_BYTES])
{
    line += strspn(line, " \t");
    size_t digits = strspn(line, "0123456789abcdef");
    const char *symbol = line + digits;
    if (digits == 0 || *symbol != ' ')
        return false;
    symbol++;
    const char *file = strrchr(symbol, '(');
    const char *end = file != NULL ? strrchr(file, ')') : NULL;
    /* "(/tmp/x (deleted))": the file's own bracket. */
    if (end != NULL && strncmp(file, "(deleted)", 9) == 0)
        for (file -= file > symbol; file > symbol && *file != '('; file--)
            continue;
    if (end == NULL || file == symbol)
        return false;
    char name[FRAME_BYTES], path[FRAME_BYTES], library[64];
    snprintf(name, sizeof name, "%.*s", (int)(file - 1 - symbol), symbol);
    snprintf(path, sizeof path, "%.*s", (int)(end - file - 1), file + 1);
    char *offset = strstr(name, "+0x");
    if (offset != NULL)
        *offset = '\0';
    drop_suffixes(name);
    if (strcmp(name, "[unknown]") == 0)
        snprintf(name, sizeof name, "?");
    library_of(path, library);
    if (is_kernel(path))
        snprintf(out, FRAME_BYTES, "%.200s_[k]", name);
    else if (library[0] != '\0')
        snprintf(out, FRAME_BYTES, "%.180s [%s]", name, library);
    else
        snprintf(out, FRAME_BYTES, "%.240s", name);
    make_plain(out);
    return true;
}

static bool is_one_of(const char *frame, const char *const *names, size_t count)
{
    size_t bytes = strcspn(frame, " ");
    for (size_t i = 0; i < count; i++)
        if (strlen(names[i]) == bytes && memcmp(names[i], frame, bytes) == 0)
            return true;
    return false;
}

bool frame_is_outermost(const char *frame)
{
    static const char *const names[] = {
        "clone",
        "clone3",
        "__clone",
        "__clone3",
        "start_thread",
        "_start",
        "main",
        "__libc_start_main",
        "__libc_start_call_main",
        "__libc_start_main_impl",
        "ret_from_fork_asm_[k]",
    };
    return is_one_of(frame, names, sizeof names / sizeof *names);
}

bool frame_is_passage(const char *frame)
{
    static const char *const names[] = {
        "entry_SYSCALL_64_after_hwframe_[k]",
        "entry_SYSCALL_64_safe_stack_[k]",
        "do_syscall_64_[k]",
        "el0t_64_sync_[k]",
        "el0t_64_sync_handler_[k]",
        "el0_svc_[k]",
        "do_el0_svc_[k]",
        "schedule_[k]",
        "__schedule_[k]",
    };
    return is_one_of(frame, names, sizeof names / sizeof *names);
}

enum frame_family frame_family(const char *frame, size_t bytes)
{
    if (bytes > 4 && memcmp(frame + bytes - 4, "_[k]", 4) == 0)
        return FAMILY_KERNEL;
    const char *bracket = bytes > 0 && frame[bytes - 1] == ']' ? memrchr(frame, '[', bytes) : NULL;
    if (bracket == NULL || bracket == frame || bracket[-1] != ' ')
        return bytes > 0 && strchr("?(", *frame) != NULL ? FAMILY_OTHER : FAMILY_PROGRAM;
    const char *library = bracket + 1;
    size_t library_bytes = (size_t)(frame + bytes - 1 - library);
    for (enum frame_family family = 0; family < FAMILY_COUNT; family++)
        for (const char *const *name = families[family].libraries; *name != NULL; name++) {
            size_t length = strlen(*name);
            /* "libc" and "libm" are not the beginning of "libcurl" or "libmvec". */
            if (library_bytes >= length && memcmp(library, *name, length) == 0 &&
                (library_bytes == length || strchr("-._0123456789", library[length]) != NULL))
                return family;
        }
    return FAMILY_OTHER;
}

const char *frame_family_name(enum frame_family family)
{
    CHECK(family < FAMILY_COUNT);
    return families[family].name;
}
