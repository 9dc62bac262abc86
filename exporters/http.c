/* SPDX-License-Identifier: Apache-2.0 */
/* Step 9 of 9: bytes leave the process. One curl multi handle on the worker's thread, waited for
 * together with the ring's descriptor, so sending needs no thread and no lock.
 *
 * libcurl sends a POST again by itself when a reused connection dies before the first byte of an
 * answer: the back end then has the batch twice and nobody counts it. So the body comes from a read
 * callback whose seek refuses; the hidden repeat becomes CURLE_SEND_FAIL_REWIND, which we see,
 * count as ambiguous and repeat ourselves.
 *
 * Nothing of the environment decides where data goes: no proxy, redirect, netrc or other protocol
 * unless configured. Every sender keeps its easy handle for life; connections are the multi's. */
#include "exporters/http.h"

#include <pgweir/limits.h>

#include <curl/curl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

enum {
    CONNECT_TIMEOUT_MAX_MS = 10000,
    IDLE_TIMEOUT_S = 90, /* the Collector's idle_conn_timeout */
    RESPONSE_KEEP_BYTES = 64 << 10,
    CONTENT_HEADER_BYTES = 80,
    CONNECTIONS_KEPT = 256,
};
_Static_assert((int)RESPONSE_KEEP_BYTES <= (int)LIMIT_RESPONSE_BYTES,
               "what is kept is within the limit");

struct http {
    CURLM *multi;
};

struct http_sender {
    struct http *http;
    CURL *easy;
    struct curl_slist *headers;                       /* the same in every request */
    struct curl_slist content_type, content_encoding; /* in front of them, by request */
    char content_type_text[CONTENT_HEADER_BYTES], content_encoding_text[CONTENT_HEADER_BYTES];
    bool busy;
    bool oversized;
    void *owner;
    const uint8_t *body;
    size_t body_bytes, body_sent;
    uint8_t *response;
    size_t response_bytes, response_space;
    char error_text[CURL_ERROR_SIZE];
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_init(void)
{
    xdone(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

bool http_create(struct http **ret_http, struct error *error)
{
    pthread_once(&curl_once, curl_init);
    struct http *http = xcalloc(1, sizeof *http);
    http->multi = curl_multi_init();
    if (http->multi == NULL) {
        free(http);
        return error_set(error, "libcurl cannot start: out of memory or file descriptors");
    }
    curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_KEPT);
    curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    *ret_http = http;
    return true;
}

void http_destroy(struct http **http)
{
    if (*http == NULL)
        return;
    curl_multi_cleanup((*http)->multi);
    free(*http);
    *http = NULL;
}

bool http_check_url(const char *url, struct error *error)
{
    CURLU *parsed = curl_url();
    xdone(parsed != NULL);
    char *scheme = NULL, *host = NULL, *user = NULL;
    bool ok = false;
    if (curl_url_set(parsed, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(parsed, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        error_set(error, "not a URL: it should look like https://otlp.example.com:4318");
    else if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
        error_set(error, "scheme \"%s\" is not supported: use http:// or https://", scheme);
    else if (curl_url_get(parsed, CURLUPART_USER, &user, 0) == CURLUE_OK)
        error_set(error, "a URL must not hold a user name or password: put credentials into "
                         "headers, e.g. headers: {api-key: ${env:API_KEY}}");
    else
        ok = true;
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    curl_url_cleanup(parsed);
    return ok;
}

bool http_check_proxy(const char *url, struct error *error)
{
    static const char *const known[] = {"http", "https", "socks4", "socks4a", "socks5", "socks5h"};
    CURLU *parsed = curl_url();
    xdone(parsed != NULL);
    char *scheme = NULL, *host = NULL;
    bool ok = false;
    if (curl_url_set(parsed, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME) ==
            CURLUE_OK &&
        curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK)
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            ok = ok || strcmp(scheme, known[i]) == 0;
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(parsed);
    return ok ||
           error_set(error, "not a proxy's address: it should look like "
                            "http://proxy.example.com:3128 or socks5h://…, special characters "
                            "of a password as %%XX");
}

static size_t read_body(char *space, size_t size, size_t count, void *user)
{
    struct http_sender *sender = user;
    size_t bytes = sender->body_bytes - sender->body_sent;
    if (bytes > size * count)
        bytes = size * count;
    memcpy(space, sender->body + sender->body_sent, bytes);
    sender->body_sent += bytes;
    return bytes;
}

static int refuse_seek(void *user, curl_off_t offset, int origin)
{
    (void)user, (void)offset, (void)origin;
    return CURL_SEEKFUNC_FAIL;
}

static size_t take_response(char *data, size_t size, size_t count, void *user)
{
    struct http_sender *sender = user;
    size_t bytes = size * count;
    if (sender->response_bytes + bytes > LIMIT_RESPONSE_BYTES) {
        sender->oversized = true;
        return 0; /* ends the transfer */
    }
    if (sender->response_bytes + bytes > sender->response_space) {
        size_t space = 2 * (sender->response_bytes + bytes);
        sender->response = xrealloc(sender->response, space);
        sender->response_space = space;
    }
    memcpy(sender->response + sender->response_bytes, data, bytes);
    sender->response_bytes += bytes;
    return bytes;
}

static void add_header(struct http_sender *sender, const char *key, const char *value)
{
    char *line = NULL;
    /* "key;" is how libcurl is told to send a header without a value */
    int bytes =
        value[0] == '\0' ? asprintf(&line, "%s;", key) : asprintf(&line, "%s: %s", key, value);
    xdone(bytes > 0);
    struct curl_slist *list = curl_slist_append(sender->headers, line);
    xdone(list != NULL);
    sender->headers = list;
    explicit_bzero(line, (size_t)bytes);
    free(line);
}

static long milliseconds(uint64_t ns)
{
    uint64_t ms = (ns + NS_PER_MS - 1) / NS_PER_MS;
    return ms > INT_MAX ? INT_MAX : (long)ms;
}

static void set_headers(struct http_sender *sender, const struct http_endpoint *endpoint)
{
    if (endpoint->extra_header != NULL) {
        sender->headers = curl_slist_append(sender->headers, endpoint->extra_header);
        xdone(sender->headers != NULL);
    }
    for (size_t i = 0; endpoint->headers != NULL && i < endpoint->headers->count; i++)
        add_header(sender, endpoint->headers->items[i].key, endpoint->headers->items[i].value);
    sender->headers = curl_slist_append(sender->headers, "Expect:"); /* no 100-continue */
    xdone(sender->headers != NULL);
}

/* libcurl borrows the list, so two nodes of our own in front of it serve all requests. */
static void set_content_headers(struct http_sender *sender, const struct http_body *body)
{
    snprintf(sender->content_type_text, sizeof sender->content_type_text, "Content-Type: %s",
             body->content_type);
    sender->content_type =
        (struct curl_slist){.data = sender->content_type_text, .next = sender->headers};
    if (body->content_encoding != NULL) {
        snprintf(sender->content_encoding_text, sizeof sender->content_encoding_text,
                 "Content-Encoding: %s", body->content_encoding);
        sender->content_encoding =
            (struct curl_slist){.data = sender->content_encoding_text, .next = sender->headers};
        sender->content_type.next = &sender->content_encoding;
    }
    curl_easy_setopt(sender->easy, CURLOPT_HTTPHEADER, &sender->content_type);
}

static void set_transport(CURL *easy, const struct http_endpoint *endpoint)
{
    curl_easy_setopt(easy, CURLOPT_URL, endpoint->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(easy, CURLOPT_PROXY, endpoint->proxy_url == NULL ? "" : endpoint->proxy_url);
    curl_easy_setopt(easy, CURLOPT_NOPROXY, "");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN,
                     endpoint->idle_timeout_ns == 0
                         ? (long)IDLE_TIMEOUT_S
                         : milliseconds(endpoint->idle_timeout_ns) / 1000);
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, endpoint->keep_alive ? 0L : 1L);
    long timeout_ms = milliseconds(endpoint->timeout_ns);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                     timeout_ms == 0 || timeout_ms > CONNECT_TIMEOUT_MAX_MS
                         ? (long)CONNECT_TIMEOUT_MAX_MS
                         : timeout_ms);
}

static bool file_readable(const char *key, const char *path, struct error *error)
{
    FILE *file = path == NULL ? NULL : fopen(path, "re");
    if (path != NULL && file == NULL)
        return error_set(error, "tls::%s: cannot read %s: %m; check the path and its permissions",
                         key, path);
    if (file != NULL)
        fclose(file);
    return true;
}

static void set_blob(CURL *easy, CURLoption option, const char *pem)
{
    if (pem == NULL)
        return;
    struct curl_blob blob = {
        .data = (void *)(uintptr_t)pem, .len = strlen(pem), .flags = CURL_BLOB_COPY};
    curl_easy_setopt(easy, option, &blob);
}

static bool set_tls(CURL *easy, const struct http_endpoint *endpoint, struct error *error)
{
    if (!file_readable("ca_file", endpoint->ca_file, error) ||
        !file_readable("cert_file", endpoint->cert_file, error) ||
        !file_readable("key_file", endpoint->key_file, error))
        return false;
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, endpoint->skip_verify ? 0L : 1L);
    curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, endpoint->skip_verify ? 0L : 2L);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION,
                     endpoint->tls13 ? (long)CURL_SSLVERSION_TLSv1_3
                                     : (long)CURL_SSLVERSION_TLSv1_2);
    if (endpoint->ca_file != NULL || endpoint->ca_pem != NULL) {
        curl_easy_setopt(easy, CURLOPT_CAPATH, NULL); /* this authority instead of the system's */
        curl_easy_setopt(easy, CURLOPT_CAINFO, endpoint->ca_file);
    }
    set_blob(easy, CURLOPT_CAINFO_BLOB, endpoint->ca_pem);
    if (endpoint->cert_file != NULL)
        curl_easy_setopt(easy, CURLOPT_SSLCERT, endpoint->cert_file);
    if (endpoint->key_file != NULL)
        curl_easy_setopt(easy, CURLOPT_SSLKEY, endpoint->key_file);
    set_blob(easy, CURLOPT_SSLCERT_BLOB, endpoint->cert_pem);
    set_blob(easy, CURLOPT_SSLKEY_BLOB, endpoint->key_pem);
    return true;
}

bool http_sender_create(struct http_sender **ret_sender, struct http *http,
                        const struct http_endpoint *endpoint, struct error *error)
{
    struct http_sender *sender = xcalloc(1, sizeof *sender);
    sender->http = http;
    sender->easy = curl_easy_init();
    xdone(sender->easy != NULL);
    CURL *easy = sender->easy;
    curl_easy_setopt(easy, CURLOPT_PRIVATE, sender);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, sender->error_text);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "pgweir/" PGWEIR_VERSION);
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, read_body);
    curl_easy_setopt(easy, CURLOPT_READDATA, sender);
    curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, refuse_seek);
    curl_easy_setopt(easy, CURLOPT_SEEKDATA, sender);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_response);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, sender);
    set_headers(sender, endpoint);
    set_transport(easy, endpoint);
    if (!set_tls(easy, endpoint, error)) {
        http_sender_destroy(&sender);
        return false;
    }
    *ret_sender = sender;
    return true;
}

void http_sender_destroy(struct http_sender **ret_sender)
{
    struct http_sender *sender = *ret_sender;
    if (sender == NULL)
        return;
    if (sender->busy)
        curl_multi_remove_handle(sender->http->multi, sender->easy);
    curl_easy_cleanup(sender->easy);
    for (struct curl_slist *item = sender->headers; item != NULL; item = item->next)
        explicit_bzero(item->data, strlen(item->data));
    curl_slist_free_all(sender->headers);
    free(sender->response);
    free(sender);
    *ret_sender = NULL;
}

static void check_multi(CURLMcode code)
{
    xdone(code != CURLM_OUT_OF_MEMORY);
    CHECK(code == CURLM_OK);
}

void http_send(struct http_sender *sender, const struct http_body *body, void *owner)
{
    CHECK(!sender->busy);
    sender->busy = true;
    sender->oversized = false;
    sender->owner = owner;
    sender->body = body->bytes;
    sender->body_bytes = body->size;
    sender->body_sent = 0;
    sender->response_bytes = 0;
    sender->error_text[0] = '\0';
    if (sender->response_space > RESPONSE_KEEP_BYTES) {
        free(sender->response);
        sender->response = NULL;
        sender->response_space = 0;
    }
    set_content_headers(sender, body);
    curl_easy_setopt(sender->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->size);
    check_multi(curl_multi_add_handle(sender->http->multi, sender->easy));
}

void http_run(struct http *http)
{
    int running;
    check_multi(curl_multi_perform(http->multi, &running));
}

/* The back end turned down our certificate, or the want of one. TLS 1.3 says so after the handshake
 * only, as an alert that the first read meets; libcurl has no code for it. */
static bool certificate_refused(const struct http_sender *sender)
{
    const char *alert = strstr(sender->error_text, " alert ");
    return alert != NULL &&
           (strstr(alert, "certificate") != NULL || strstr(alert, "unknown ca") != NULL);
}

static enum http_outcome classify(const struct http_sender *sender, CURLcode code)
{
    if (sender->oversized)
        return HTTP_OVERSIZED;
    if (code != CURLE_OK && certificate_refused(sender))
        return HTTP_UNTRUSTED;
    switch ((int)code) {
    case CURLE_OK:
        return HTTP_ANSWERED;
    case CURLE_OPERATION_TIMEDOUT:
        return HTTP_TIMEOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
        return HTTP_UNTRUSTED;
    default:
        return sender->body_sent == sender->body_bytes ? HTTP_LOST : HTTP_UNREACHABLE;
    }
}

static void describe(const struct http_sender *sender, CURLcode code, struct http_answer *answer)
{
    CURL *easy = sender->easy;
    *answer = (struct http_answer){.outcome = classify(sender, code)};
    if (answer->outcome == HTTP_ANSWERED) {
        long status = 0;
        curl_off_t retry_after_s = 0;
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after_s);
        char *content_type = NULL;
        curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &content_type);
        answer->status = (int)status;
        answer->content_type = content_type;
        if (retry_after_s > 0)
            answer->retry_after_ns =
                (retry_after_s > INT_MAX ? (uint64_t)INT_MAX : (uint64_t)retry_after_s) * NS_PER_S;
        answer->body = sender->response;
        answer->body_bytes = sender->response_bytes;
        return;
    }
    answer->ambiguous =
        sender->body_sent == sender->body_bytes && answer->outcome != HTTP_UNTRUSTED;
    if (answer->outcome == HTTP_OVERSIZED)
        snprintf(answer->text, sizeof answer->text, "answer larger than %d MiB",
                 LIMIT_RESPONSE_BYTES >> 20);
    else if (code == CURLE_SEND_FAIL_REWIND)
        snprintf(answer->text, sizeof answer->text, "connection closed before an answer");
    else
        snprintf(answer->text, sizeof answer->text, "%.*s", (int)sizeof answer->text - 1,
                 sender->error_text[0] != '\0' ? sender->error_text : curl_easy_strerror(code));
}

void *http_take_answer(struct http *http, struct http_answer *ret_answer)
{
    int left;
    const CURLMsg *message;
    while ((message = curl_multi_info_read(http->multi, &left)) != NULL) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURL *easy = message->easy_handle;
        CURLcode code = message->data.result;
        char *private = NULL;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
        struct http_sender *sender = (struct http_sender *)(void *)private;
        CHECK(sender != NULL && sender->busy);
        describe(sender, code, ret_answer);
        curl_multi_remove_handle(http->multi, easy);
        sender->busy = false;
        return sender->owner;
    }
    return NULL;
}

void http_wait(struct http *http, int fd, uint64_t timeout_ns)
{
    struct curl_waitfd extra = {.fd = fd, .events = CURL_WAIT_POLLIN};
    int ready;
    curl_multi_poll(http->multi, &extra, 1, (int)milliseconds(timeout_ns), &ready);
}

const char *http_status_name(int status)
{
    static const struct {
        int status;
        const char *name;
    } names[] = {
        {400, "Bad Request"},         {401, "Unauthorized"},
        {403, "Forbidden"},           {404, "Not Found"},
        {405, "Method Not Allowed"},  {408, "Request Timeout"},
        {413, "Payload Too Large"},   {415, "Unsupported Media Type"},
        {429, "Too Many Requests"},   {500, "Internal Server Error"},
        {501, "Not Implemented"},     {502, "Bad Gateway"},
        {503, "Service Unavailable"}, {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].status == status)
            return names[i].name;
    return "";
}
