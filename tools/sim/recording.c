/* SPDX-License-Identifier: Apache-2.0 */
/* Finds a recording's bytes and gives out what a server says when somebody logs in. A name without
 * a slash is one that comes with the program: in recordings/ beside it (the build tree), or in
 * ../share/pgweir/recordings (installed). */
#include "tools/sim/recording_data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

static bool directory_of_program(char *ret, size_t bytes)
{
    ssize_t length = readlink("/proc/self/exe", ret, bytes - 1);
    if (length <= 0)
        return false;
    ret[length] = '\0';
    char *slash = strrchr(ret, '/');
    if (slash)
        *slash = '\0';
    return slash != NULL;
}

bool recording_find(const char *name, char *ret_path, size_t path_bytes)
{
    static const char *const places[] = {"recordings", "../share/pgweir/recordings"};
    char directory[2048];
    if (!*name || strchr(name, '/') || !directory_of_program(directory, sizeof directory))
        return false;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        int length = snprintf(ret_path, path_bytes, "%s/%s/%s.json", directory, places[i], name);
        if (length > 0 && (size_t)length < path_bytes && access(ret_path, R_OK) == 0)
            return true;
    }
    return false;
}

/* The whole file; caller frees. */
static char *file_read(FILE *file, const char *path, size_t *ret_bytes, struct error *error)
{
    char *text = NULL;
    size_t bytes = 0, room = 0;
    while (!feof(file) && !ferror(file) && bytes <= RECORDING_BYTES_MAX) {
        if (bytes == room) {
            room = room ? 2 * room : 1 << 16;
            text = xrealloc(text, room);
        }
        bytes += fread(text + bytes, 1, room - bytes, file);
    }
    if (ferror(file))
        error_set(error, "%s: cannot be read: %s", path, strerror(errno));
    else if (bytes > RECORDING_BYTES_MAX)
        error_set(error, "%s: longer than %d MiB: no recording is", path,
                  RECORDING_BYTES_MAX >> 20);
    else
        return *ret_bytes = bytes, text;
    free(text);
    return NULL;
}

bool recording_load(struct recording **ret_recording, const char *path, struct error *error)
{
    if (!path)
        return recording_read(ret_recording, "the built-in recording", recording_builtin_begin,
                              (size_t)(recording_builtin_end - recording_builtin_begin), error);
    char found[4096];
    FILE *file = fopen(path, "re");
    if (!file && errno == ENOENT && recording_find(path, found, sizeof found)) {
        path = found;
        file = fopen(path, "re");
    }
    if (!file)
        return error_set(error,
                         "%s: %s: write a file that `pgweir-sim record` made, or the name of one "
                         "that comes with it, such as pg18",
                         path, strerror(errno));
    size_t bytes = 0;
    char *text = file_read(file, path, &bytes, error);
    fclose(file);
    bool good = text && recording_read(ret_recording, path, text, bytes, error);
    free(text);
    return good;
}

void recording_destroy(struct recording **recording)
{
    if (!*recording)
        return;
    struct arena arena = (*recording)->arena; /* which holds the recording itself */
    *recording = NULL;
    arena_fini(&arena);
}

uint32_t recording_version_num(const struct recording *recording)
{
    return recording->version_num;
}

bool recording_recovery(const struct recording *recording)
{
    return recording->recovery;
}

const char *recording_parameter(const struct recording *recording, size_t index,
                                const char **ret_name)
{
    if (index >= recording->parameter_count)
        return NULL;
    *ret_name = recording->parameters[index].name;
    return recording->parameters[index].value;
}

const char *recording_database(const struct recording *recording, size_t index)
{
    return index < recording->database_count ? recording->databases[index] : NULL;
}
