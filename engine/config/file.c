/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files through read(2): stdio would keep a second copy of a secret in a buffer nobody
 * wipes. Also reads what has no size (a pipe). Main thread. */
#include "config/file.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void file_free(char **text, size_t bytes)
{
    if (*text != NULL)
        explicit_bzero(*text, bytes);
    free(*text);
    *text = NULL;
}

/* `used` bytes move to a block of `capacity`, the old one is wiped. */
static void grow(char **text, size_t used, size_t capacity)
{
    char *larger = xmalloc(capacity);
    if (used > 0)
        memcpy(larger, *text, used);
    file_free(text, used);
    *text = larger;
}

bool file_read(const char *path, size_t limit_bytes, char **ret_text, size_t *ret_bytes,
               struct error *error)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_set(error, "%s: cannot be opened: %s: check the path and its permissions",
                         path, strerror(errno));
    char *text = NULL;
    size_t used = 0, capacity = 4096;
    grow(&text, 0, capacity);
    for (;;) {
        ssize_t taken = read(fd, text + used, capacity - used - 1);
        if (taken < 0 && errno == EINTR)
            continue;
        if (taken < 0) {
            error_set(error, "%s: cannot be read: %s: %s", path, strerror(errno),
                      errno == EISDIR ? "name a file in it" : "check the file and its disk");
            goto fail;
        }
        if (taken == 0)
            break;
        used += (size_t)taken;
        if (used > limit_bytes) {
            error_set(error, "%s: larger than %zu bytes, the most that is read", path, limit_bytes);
            goto fail;
        }
        if (used == capacity - 1)
            grow(&text, used, capacity *= 2);
    }
    close(fd);
    text[used] = 0;
    *ret_text = text;
    *ret_bytes = used;
    return true;
fail:
    close(fd);
    file_free(&text, used);
    return false;
}
