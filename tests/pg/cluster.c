/* SPDX-License-Identifier: Apache-2.0 */
/* PostgreSQL refuses to run as root, so a test that is root becomes "postgres" in the children it
 * starts. The postmaster dies with its parent, also when the test is killed. */
#include "cluster.h"

#include <errno.h>
#include <glob.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <time.h>
#include <unistd.h>

#include "tests/free_port.h"

static void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static void nap_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* The newest server installed where Debian puts them, or PGWEIR_POSTGRES_BIN. */
static void binary_path(const char *name, char path[256])
{
    const char *directory = getenv("PGWEIR_POSTGRES_BIN");
    if (directory != NULL) {
        snprintf(path, 256, "%s/%s", directory, name);
        return;
    }
    glob_t found;
    if (glob("/usr/lib/postgresql/*/bin", 0, NULL, &found) != 0)
        die("no PostgreSQL server found: install postgresql or set PGWEIR_POSTGRES_BIN");
    snprintf(path, 256, "%s/%s", found.gl_pathv[found.gl_pathc - 1], name);
    globfree(&found);
}

static const struct passwd *unprivileged(void)
{
    if (geteuid() != 0)
        return NULL;
    const struct passwd *user = getpwnam("postgres");
    if (user == NULL)
        die("user postgres does not exist: install postgresql-common");
    return user;
}

/* The program is named by its whole path: PostgreSQL finds its other files from argv[0], and a bare
 * name would have it search PATH, where Debian puts none of its servers. */
static pid_t spawn(const struct cluster *cluster, const char *log, const char *arguments[])
{
    char path[256], log_path[128];
    binary_path(arguments[0], path);
    arguments[0] = path;
    snprintf(log_path, sizeof log_path, "%s/%s", cluster->directory, log);
    const struct passwd *user = unprivileged();
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0)
        die("fork: %s", strerror(errno));
    if (pid > 0)
        return pid;
    if (user != NULL && (setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (getppid() != parent || chdir(cluster->directory) != 0)
        _exit(126);
    if (freopen(log_path, "a", stdout) == NULL || dup2(fileno(stdout), 2) < 0)
        _exit(126);
    unsetenv("PGHOST");
    setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
    execv(path, (char *const *)(uintptr_t)arguments);
    _exit(127);
}

static void show_log(const struct cluster *cluster, const char *log)
{
    char path[128], line[512];
    snprintf(path, sizeof path, "%s/%s", cluster->directory, log);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        fputs(line, stderr);
    if (file != NULL)
        fclose(file);
}

static void write_file(const struct cluster *cluster, const char *name, const char *mode,
                       const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/data/%s", cluster->directory, name);
    FILE *file = fopen(path, mode);
    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
        die("%s: %s", path, strerror(errno));
    const struct passwd *user = unprivileged();
    if (user != NULL && chown(path, user->pw_uid, user->pw_gid) != 0)
        die("chown %s: %s", path, strerror(errno));
}

void cluster_configure(const struct cluster *cluster, const char *settings)
{
    char text[2048];
    snprintf(text, sizeof text,
             "port = %u\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '%s'\n"
             "fsync = off\nfull_page_writes = off\nshared_buffers = 16MB\nmax_connections = 30\n"
             "autovacuum = off\nmax_wal_senders = 2\n%s\n",
             cluster->port, cluster->directory, settings != NULL ? settings : "");
    write_file(cluster, "postgresql.auto.conf", "w", text);
}

void cluster_hba(const struct cluster *cluster, const char *rules)
{
    char text[2048];
    snprintf(text, sizeof text, "%s\nlocal all all trust\nhost all all 127.0.0.1/32 trust\n",
             rules);
    write_file(cluster, "pg_hba.conf", "w", text);
    if (cluster->pid != 0)
        cluster_reload(cluster);
}

void cluster_create(struct cluster *cluster, const char *settings)
{
    *cluster = (struct cluster){0};
    snprintf(cluster->directory, sizeof cluster->directory, "/tmp/pgweir-test-XXXXXX");
    if (mkdtemp(cluster->directory) == NULL)
        die("mkdtemp: %s", strerror(errno));
    const struct passwd *user = unprivileged();
    if (user != NULL && chown(cluster->directory, user->pw_uid, user->pw_gid) != 0)
        die("chown %s: %s", cluster->directory, strerror(errno));
    chmod(cluster->directory, 0755);
    const char *arguments[] = {"initdb", "-D",        "data", "-U",   "postgres",   "-A",
                               "trust",  "--no-sync", "-E",   "UTF8", "--locale=C", NULL};
    int status;
    pid_t pid = spawn(cluster, "initdb.log", arguments);
    if (waitpid(pid, &status, 0) != pid || status != 0) {
        show_log(cluster, "initdb.log");
        die("initdb failed");
    }
    cluster->port = free_port();
    if (cluster->port == 0)
        die("no free port");
    cluster_configure(cluster, settings);
    cluster_hba(cluster, "");
    cluster_start(cluster);
}

void cluster_launch(struct cluster *cluster)
{
    const char *arguments[] = {"postgres", "-D", "data", NULL};
    cluster->pid = spawn(cluster, "server.log", arguments);
}

static PGconn *connect_to(const struct cluster *cluster, const char *database)
{
    char dsn[256];
    snprintf(dsn, sizeof dsn, "host=%s port=%u user=postgres dbname=%s connect_timeout=5",
             cluster->directory, cluster->port, database);
    return PQconnectdb(dsn);
}

void cluster_start(struct cluster *cluster)
{
    cluster_launch(cluster);
    for (int i = 0; i < 600; i++) {
        PGconn *connection = connect_to(cluster, "postgres");
        bool up = PQstatus(connection) == CONNECTION_OK;
        PQfinish(connection);
        if (up)
            return;
        if (waitpid(cluster->pid, NULL, WNOHANG) != 0)
            break;
        nap_ms(50);
    }
    show_log(cluster, "server.log");
    die("PostgreSQL did not start");
}

void cluster_stop(struct cluster *cluster, int signal)
{
    if (cluster->pid == 0)
        return;
    kill(cluster->pid, signal);
    waitpid(cluster->pid, NULL, 0);
    cluster->pid = 0;
}

void cluster_destroy(struct cluster *cluster)
{
    cluster_stop(cluster, SIGQUIT);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", cluster->directory);
    if (system(command) != 0)
        die("%s failed", command);
}

void cluster_reload(const struct cluster *cluster)
{
    cluster_sql(cluster, "postgres", "SELECT pg_reload_conf()::int");
    /* The postmaster reads the files when its signal handler comes round. */
    nap_ms(100);
}

/* The children are found while the postmaster runs; they are stopped behind it. */
void cluster_signal_all(const struct cluster *cluster, int signal)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", cluster->pid, cluster->pid);
    kill(cluster->pid, signal);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        die("%s: %s", path, strerror(errno));
    int child;
    while (fscanf(file, "%d", &child) == 1)
        kill(child, signal);
    fclose(file);
}

int64_t cluster_sql(const struct cluster *cluster, const char *database, const char *sql)
{
    PGconn *connection = connect_to(cluster, database);
    if (PQstatus(connection) != CONNECTION_OK)
        die("test connection: %s", PQerrorMessage(connection));
    PGresult *result = PQexec(connection, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        die("%s: %s", sql, PQresultErrorMessage(result));
    int64_t value = PQntuples(result) > 0 ? atoll(PQgetvalue(result, 0, 0)) : 0;
    PQclear(result);
    PQfinish(connection);
    return value;
}

void cluster_standby(const struct cluster *cluster, bool standby)
{
    char path[128];
    snprintf(path, sizeof path, "%s/data/standby.signal", cluster->directory);
    if (standby)
        write_file(cluster, "standby.signal", "w", "");
    else if (unlink(path) != 0)
        die("%s: %s", path, strerror(errno));
}
