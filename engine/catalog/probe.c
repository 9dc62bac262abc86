/* SPDX-License-Identifier: Apache-2.0 */
/* What a server can do, asked in one statement: its version, its role, its start, and for each name
 * that some document `needs` one bit. Answers from the system catalogues alone, which every role
 * may read: no relation is opened and none is locked.
 *
 * Names: "pg_stat_io.reads" is a column of a relation on the search path, "pg_ls_waldir()" a
 * function in pg_catalog, "extension:vector" an installed extension. */
#include "catalog/query.h"

#include "base/arena.h"
#include "base/check.h"
#include "base/memory.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(CATALOG_PROBES_MAX == sizeof((struct capabilities){0}.present) * 8,
               "one bit for each name");

static const char EXTENSION_PREFIX[] = "extension:";

enum probe_kind { PROBE_COLUMN, PROBE_FUNCTION, PROBE_EXTENSION };

struct probe_name {
    enum probe_kind kind;
    char object[64], column[64];
};

/* One identifier from `text` up to `end`; also keeps the SQL below free of quoting. */
static bool identifier_copy(char *ret, const char *text, size_t bytes)
{
    if (!bytes || bytes > 63)
        return false;
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!(islower(c) || isdigit(c) || c == '_' || c == '-'))
            return false;
    }
    memcpy(ret, text, bytes);
    ret[bytes] = '\0';
    return true;
}

static bool probe_parse(const char *name, struct probe_name *ret)
{
    memset(ret, 0, sizeof *ret);
    size_t bytes = strlen(name);
    size_t prefix = sizeof EXTENSION_PREFIX - 1;
    if (strncmp(name, EXTENSION_PREFIX, prefix) == 0) {
        ret->kind = PROBE_EXTENSION;
        return identifier_copy(ret->object, name + prefix, bytes - prefix);
    }
    if (bytes > 2 && strcmp(name + bytes - 2, "()") == 0) {
        ret->kind = PROBE_FUNCTION;
        return identifier_copy(ret->object, name, bytes - 2);
    }
    const char *dot = strchr(name, '.');
    ret->kind = PROBE_COLUMN;
    return dot && identifier_copy(ret->object, name, (size_t)(dot - name)) &&
           identifier_copy(ret->column, dot + 1, strlen(dot + 1));
}

bool probe_intern(struct catalog *catalog, const char *name, uint16_t *ret_bit)
{
    struct catalog_probe *probe = catalog->probe;
    for (size_t i = 0; i < probe->count; i++) {
        if (strcmp(probe->names[i], name) == 0) {
            *ret_bit = (uint16_t)i;
            return true;
        }
    }
    struct probe_name parsed;
    if (probe->count == CATALOG_PROBES_MAX || !probe_parse(name, &parsed))
        return false;
    *ret_bit = (uint16_t)probe->count;
    probe->names[probe->count++] = arena_text(catalog->arena, name);
    return true;
}

static void probe_row_write(FILE *out, const char *name, size_t bit)
{
    static const char *const kinds[] = {
        [PROBE_COLUMN] = "column", [PROBE_FUNCTION] = "function", [PROBE_EXTENSION] = "extension"};
    struct probe_name parsed;
    CHECK(probe_parse(name, &parsed));
    fprintf(out, "%s(%zu, %zu, '%s', '%s', '%s')", bit ? ",\n  " : "", bit / 64, bit % 64,
            kinds[parsed.kind], parsed.object, parsed.column);
}

/* One row of VALUES per name and one index look-up for each. Bit 63 is the sign: int8 has no
 * unsigned brother, and its two's complement is what we want. */
void probe_finish(struct catalog *catalog)
{
    const struct catalog_probe *probe = catalog->probe;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    xdone(out != NULL);
    fprintf(out, "/* otel-collector-ignore */ /* pgweir:probe */ SELECT\n"
                 "  pg_catalog.current_setting('server_version_num')::int4 AS version_num,\n"
                 "  pg_catalog.pg_is_in_recovery() AS recovery,\n"
                 "  (extract(epoch FROM pg_catalog.pg_postmaster_start_time()"
                 " - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::int8 AS start_us");
    size_t masks = (probe->count + 63) / 64;
    for (size_t mask = 0; mask < (masks ? masks : 1); mask++)
        fprintf(
            out,
            ",\n  coalesce(bit_or(1::int8 << p.bit) FILTER (WHERE p.word = %zu), 0) AS mask_%zu",
            mask, mask);
    fprintf(out, "\nFROM (VALUES\n  ");
    for (size_t i = 0; i < probe->count; i++)
        probe_row_write(out, probe->names[i], i);
    if (!probe->count)
        fprintf(out, "(0, 0, 'none', '', '')");
    fprintf(out, ") AS p (word, bit, kind, object, part)\n"
                 "WHERE CASE p.kind\n"
                 "  WHEN 'column' THEN EXISTS (SELECT FROM pg_catalog.pg_attribute AS a\n"
                 "    WHERE a.attrelid = pg_catalog.to_regclass(p.object)\n"
                 "      AND a.attname = p.part::name AND NOT a.attisdropped)\n"
                 "  WHEN 'function' THEN EXISTS (SELECT FROM pg_catalog.pg_proc AS f\n"
                 "    WHERE f.proname = p.object::name\n"
                 "      AND f.pronamespace = 'pg_catalog'::regnamespace)\n"
                 "  WHEN 'extension' THEN EXISTS (SELECT FROM pg_catalog.pg_extension AS e\n"
                 "    WHERE e.extname = p.object::name)\n"
                 "  ELSE false END");
    xdone(fclose(out) == 0);
    catalog->probe->sql = arena_copy(catalog->arena, text, bytes);
    free(text);
}

const char *const *catalog_probe_names(const struct catalog *catalog, size_t *ret_count)
{
    *ret_count = catalog->probe->count;
    return catalog->probe->names;
}

const char *catalog_probe_sql(const struct catalog *catalog)
{
    return catalog->probe->sql;
}

void catalog_read_capabilities(uint32_t version_num, bool recovery, const int64_t *masks,
                               size_t mask_count, struct capabilities *ret)
{
    memset(ret, 0, sizeof *ret);
    ret->version_num = version_num;
    ret->recovery = recovery;
    size_t words = sizeof ret->present / sizeof ret->present[0];
    for (size_t i = 0; i < mask_count && i < words; i++)
        ret->present[i] = (uint64_t)masks[i];
}
