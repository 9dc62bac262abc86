/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/exporters/protoc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define SERVICE "opentelemetry/proto/collector/metrics/v1/metrics_service.proto"
#define REQUEST "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest"

static char proto_directory[512];

static bool find_proto(void)
{
    const char *chosen = getenv("PGWEIR_OTEL_PROTO"), *cache = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    char probe[768];
    if (chosen)
        snprintf(proto_directory, sizeof proto_directory, "%s", chosen);
    else if (cache && *cache)
        snprintf(proto_directory, sizeof proto_directory, "%s/pgweir/otel-proto", cache);
    else
        snprintf(proto_directory, sizeof proto_directory, "%s/.cache/pgweir/otel-proto",
                 home ? home : "");
    snprintf(probe, sizeof probe, "%s/" SERVICE, proto_directory);
    return access(probe, R_OK) == 0 && system("command -v protoc >/dev/null") == 0;
}

void protoc_require(void)
{
    if (find_proto())
        return;
    const char *required = getenv("PGWEIR_REQUIRE_ALL");
    print_message("no protoc, or no .proto files in %s: install protobuf-compiler and run "
                  "tools/fetch-otel-proto\n",
                  proto_directory);
    if (required && strcmp(required, "1") == 0)
        fail_msg("PGWEIR_REQUIRE_ALL=1, but the independent decoder is missing");
    skip();
}

static char *read_all(FILE *file)
{
    long bytes = (fseek(file, 0, SEEK_END), ftell(file));
    char *text = malloc((size_t)bytes + 1);
    assert_non_null(text);
    rewind(file);
    assert_int_equal(fread(text, 1, (size_t)bytes, file), bytes);
    text[bytes] = '\0';
    return text;
}

char *protoc_decode(const uint8_t *body, size_t bytes)
{
    FILE *in = tmpfile(), *out = tmpfile();
    assert_true(in && out);
    assert_int_equal(fwrite(body, 1, bytes, in), bytes);
    rewind(in);
    pid_t child = fork();
    if (child == 0) {
        dup2(fileno(in), STDIN_FILENO);
        dup2(fileno(out), STDOUT_FILENO);
        execlp("protoc", "protoc", "-I", proto_directory, "--decode=" REQUEST, SERVICE,
               (char *)NULL);
        _exit(127);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    char *text = read_all(out);
    fclose(in);
    fclose(out);
    return text;
}
