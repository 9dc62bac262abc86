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
    LIMIT_ATTRIBUTE_BYTES = 4095, /* one attribute value; longer ones are cut (New Relic's limit) */
    LIMIT_ATTRS_BYTES = 16384,    /* one encoded attribute set */
    LIMIT_PAGE_BYTES = 32768,
    LIMIT_RESPONSE_BYTES = 4 << 20, /* body of a back end's answer (OTLP/HTTP asks for 4 MiB) */
    LIMIT_CONFIG_BYTES = 64 << 20,
    LIMIT_CONFIG_DEPTH = 32,
};
