/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Bounds of the whole program. Everything that grows with the fleet has its limit here, so that
 * memory is a sum one can write down. */
enum {
    LIMIT_SHARDS = 64,
    LIMIT_PIPELINES = 16,         /* service.pipelines */
    LIMIT_DESTINATIONS = 16,      /* exporters in use */
    LIMIT_TARGETS = 200000,       /* servers in one process */
    LIMIT_DATABASES = 256,        /* databases collected on one server */
    LIMIT_QUERIES = 256,          /* queries in the catalogue */
    LIMIT_QUERY_COLUMNS = 128,    /* result columns of one query */
    LIMIT_QUERY_ATTRIBUTES = 16,  /* attributes of one query */
    LIMIT_QUERY_METRICS = 512,    /* metrics in the catalogue */
    LIMIT_ROWS = 100000,          /* rows taken from one statement; more are counted and dropped */
    /* of attributes, each New Relic's: what is longer or more is cut or left out, and counted */
    LIMIT_ATTRIBUTE_BYTES = 4095,
    LIMIT_ATTRIBUTE_NAME_BYTES = 255,
    LIMIT_POINT_ATTRIBUTES = 128,
    LIMIT_RESOURCE_ATTRIBUTES = 64,
    LIMIT_ATTRS_BYTES = 16384,    /* one encoded attribute set */
    LIMIT_PAGE_BYTES = 32768,
    LIMIT_RESPONSE_BYTES = 4 << 20, /* body of a back end's answer (OTLP/HTTP asks for 4 MiB) */
    LIMIT_DELTA_SERIES = 1 << 23, /* counters whose last value a destination remembers */
    LIMIT_CONFIG_BYTES = 64 << 20,
    LIMIT_CONFIG_DEPTH = 32,
};
