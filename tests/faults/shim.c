/* Strikes a process at its k-th change of a file below a folder, or of a database connection: kill, torn write, error;
or stops it at each of several, so that what a kill would leave there can be looked at.

Loaded with LD_PRELOAD; does nothing until `faults_arm` is called. Everything that changes a file goes through here,
also what SQLite, Arrow and torch write: write, pwrite, open for writing, rename, link, unlink, mkdir, truncate, fsync.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, KILL_BEFORE, KILL_TORN, KILL_AFTER, FAIL_ONCE, FAIL_ON, SLOW, STOP };
enum { PASS = 0, FAIL = 1, TEAR = 2, END = 4 };

static atomic_int armed, struck;
static atomic_long counted;
static long strike_at;
static int how, fault, journal = -1, watch_sockets;
static char root[PATH_MAX];
static size_t root_length;
static long stops[1024];
static int n_stops;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* Count events in files below `folder` from now on and strike at event `at` (from 1); 0 counts only.
`journal_fd` (or -1) gets a line an event; `sockets` counts what is sent to sockets too. */
void faults_arm(const char *folder, long at, int mode, int error, int journal_fd, int sockets) {
    snprintf(root, sizeof root, "%s", folder);
    root_length = strlen(root);
    strike_at = at, how = mode, fault = error, journal = journal_fd, watch_sockets = sockets;
    atomic_store(&counted, 0);
    atomic_store(&struck, 0);
    atomic_store(&armed, 1);
}

/* Where mode STOP stops: 4 k for before event k, 4 k + 1 for half-way through it, 4 k + 2 for after it. */
void faults_stop_at(const long *points, int n) {
    n_stops = n < 1024 ? n : 1024;
    memcpy(stops, points, sizeof *points * (size_t)n_stops);
}

long faults_disarm(void) {
    atomic_store(&armed, 0);
    return atomic_load(&counted);
}

static int below(const char *path) {
    char full[PATH_MAX];
    if (!path) return 0;
    if (path[0] != '/') {
        char here[PATH_MAX / 2];
        if (!getcwd(here, sizeof here)) return 0;
        snprintf(full, sizeof full, "%s/%s", here, path);
        path = full;
    }
    return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return 1;
}

static int path_at(int folder, const char *name, char *path) {
    if (!name) return 0;
    if (name[0] == '/' || folder == AT_FDCWD) return snprintf(path, PATH_MAX, "%s", name) > 0;
    char at[PATH_MAX];
    if (!path_of(folder, at)) return 0;
    size_t n = strlen(at), m = strlen(name);
    if (n + m + 2 > PATH_MAX) return 0;
    memcpy(path, at, n), path[n] = '/', memcpy(path + n + 1, name, m + 1);
    return 1;
}

static void die(void) {
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;) pause();
}

static int is_stop(long point) {
    for (int i = 0; i < n_stops; i++) if (stops[i] == point) return 1;
    return 0;
}

/* End here; in mode STOP say which point this is, and stop all threads until the parent lets them go on. */
static void end_at(long point) {
    if (how != STOP) die();
    int saved = errno;
    char line[32];
    int n = snprintf(line, sizeof line, "%ld\n", point);
    syscall(SYS_write, journal, line, (size_t)n);
    syscall(SYS_kill, syscall(SYS_getpid), SIGSTOP);
    errno = saved;
}

/* Whether an event of this kind can end in this error: a full disk lets files be removed and renamed. */
static int can_fail(const char *kind) {
    if (fault == ECONNRESET) return !strcmp(kind, "send");
    if (!strcmp(kind, "write") || !strcmp(kind, "fsync")) return 1;
    return fault == ENOSPC && (!strcmp(kind, "open") || !strcmp(kind, "mkdir") || !strcmp(kind, "link"));
}

/* Say what becomes of this event: PASS, FAIL (errno is set), TEAR (half of it, then the end) or END (do it, then); in
mode STOP perhaps both. `number` is set to its number. */
static int event(const char *kind, const char *path, size_t size, long *number) {
    int saved = errno;
    long k = *number = atomic_fetch_add(&counted, 1) + 1;
    if (how == STOP) {
        if (is_stop(4 * k)) end_at(4 * k);
        errno = saved;
        return (size > 1 && is_stop(4 * k + 1) ? TEAR : PASS) | (is_stop(4 * k + 2) ? END : PASS);
    }
    if (journal >= 0) {
        char line[PATH_MAX + 64];
        int n = snprintf(line, sizeof line, "%ld\t%s\t%zu\t%s\n", k, kind, size, path);
        syscall(SYS_write, journal, line, (size_t)n);
    }
    errno = saved;
    if (!strike_at || how == NOTHING || k < strike_at) return PASS;
    if (how == SLOW) {  /* `fault` is in milliseconds */
        if (!strcmp(kind, "send")) usleep((useconds_t)fault * 1000);
        errno = saved;
        return PASS;
    }
    if (how == FAIL_ONCE || how == FAIL_ON) {
        if (!can_fail(kind) || (how == FAIL_ONCE && atomic_exchange(&struck, 1))) return PASS;
        errno = fault;
        return FAIL;
    }
    if (k > strike_at) return PASS;
    switch (how) {
    case KILL_BEFORE: die(); return PASS;
    case KILL_TORN: return size > 1 ? TEAR : (die(), PASS);
    default: return END;
    }
}

#define WATCHED_FD(fd, path) (atomic_load(&armed) && path_of(fd, path) && below(path))

#define CHANGE(kind, watched, path, call) \
    do { \
        if (!(watched)) return call; \
        long k; \
        int fate = event(kind, path, 0, &k); \
        if (fate == FAIL) return -1; \
        __typeof__(call) done = call; \
        if (fate & (END | TEAR)) end_at(4 * k + 2); \
        return done; \
    } while (0)

/* `rest` writes what is left after `torn` bytes, where the process goes on after half of a write. */
#define WRITE(kind, fd, n, whole, half, rest) \
    do { \
        char path[PATH_MAX]; \
        if (!atomic_load(&armed) || !path_of(fd, path)) return whole; \
        int socket = !strncmp(path, "socket:", 7); \
        if (socket ? !watch_sockets : !below(path)) return whole; \
        long k; \
        int fate = event(socket ? "send" : kind, path, n, &k); \
        if (fate == FAIL && socket) { shutdown(fd, SHUT_RDWR); return whole; } \
        if (fate == FAIL) return -1; \
        ssize_t torn = 0, done; \
        if (fate & TEAR) { \
            torn = half; \
            end_at(4 * k + 1); \
            if (torn < 0) return torn; \
        } \
        done = torn ? rest : whole; \
        if (fate & END) end_at(4 * k + 2); \
        return done < 0 ? done : torn + done; \
    } while (0)

ssize_t write(int fd, const void *b, size_t n) { REAL(write); WRITE("write", fd, n, real(fd, b, n), real(fd, b, n / 2), real(fd, (const char *)b + torn, n - torn)); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) {
    REAL(pwrite); WRITE("write", fd, n, real(fd, b, n, o), real(fd, b, n / 2, o), real(fd, (const char *)b + torn, n - torn, o + torn));
}
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) {
    REAL(pwrite64); WRITE("write", fd, n, real(fd, b, n, o), real(fd, b, n / 2, o), real(fd, (const char *)b + torn, n - torn, o + torn));
}
ssize_t writev(int fd, const struct iovec *v, int n) {
    REAL(writev); WRITE("write", fd, (size_t)n, real(fd, v, n), real(fd, v, n / 2), real(fd, v + n / 2, n - n / 2));
}
ssize_t send(int fd, const void *b, size_t n, int f) {
    REAL(send); WRITE("send", fd, n, real(fd, b, n, f), real(fd, b, n / 2, f), real(fd, (const char *)b + torn, n - torn, f));
}
ssize_t sendto(int fd, const void *b, size_t n, int f, const struct sockaddr *a, socklen_t l) {
    REAL(sendto); WRITE("send", fd, n, real(fd, b, n, f, a, l), real(fd, b, n / 2, f, a, l), real(fd, (const char *)b + torn, n - torn, f, a, l));
}
ssize_t sendfile(int to, int from, off_t *o, size_t n) {
    REAL(sendfile); WRITE("write", to, n, real(to, from, o, n), real(to, from, o, n / 2), real(to, from, o, n - torn));
}
ssize_t sendfile64(int to, int from, off64_t *o, size_t n) {
    REAL(sendfile64); WRITE("write", to, n, real(to, from, o, n), real(to, from, o, n / 2), real(to, from, o, n - torn));
}
ssize_t copy_file_range(int from, off64_t *i, int to, off64_t *o, size_t n, unsigned f) {
    REAL(copy_file_range); WRITE("write", to, n, real(from, i, to, o, n, f), real(from, i, to, o, n / 2, f), real(from, i, to, o, n - torn, f));
}

int fsync(int fd) { REAL(fsync); char p[PATH_MAX]; CHANGE("fsync", WATCHED_FD(fd, p), p, real(fd)); }
int fdatasync(int fd) { REAL(fdatasync); char p[PATH_MAX]; CHANGE("fsync", WATCHED_FD(fd, p), p, real(fd)); }
int ftruncate(int fd, off_t n) { REAL(ftruncate); char p[PATH_MAX]; CHANGE("truncate", WATCHED_FD(fd, p), p, real(fd, n)); }
int ftruncate64(int fd, off64_t n) { REAL(ftruncate64); char p[PATH_MAX]; CHANGE("truncate", WATCHED_FD(fd, p), p, real(fd, n)); }

#define WATCHED(path) (atomic_load(&armed) && below(path))
#define WATCHED_AT(folder, name, path) (atomic_load(&armed) && path_at(folder, name, path) && below(path))

int rename(const char *a, const char *b) { REAL(rename); CHANGE("rename", WATCHED(b), b, real(a, b)); }
int renameat(int f, const char *a, int g, const char *b) {
    REAL(renameat); char p[PATH_MAX]; CHANGE("rename", WATCHED_AT(g, b, p), p, real(f, a, g, b));
}
int link(const char *a, const char *b) { REAL(link); CHANGE("link", WATCHED(b), b, real(a, b)); }
int linkat(int f, const char *a, int g, const char *b, int flags) {
    REAL(linkat); char p[PATH_MAX]; CHANGE("link", WATCHED_AT(g, b, p), p, real(f, a, g, b, flags));
}
int symlink(const char *a, const char *b) { REAL(symlink); CHANGE("link", WATCHED(b), b, real(a, b)); }
int unlink(const char *a) { REAL(unlink); CHANGE("unlink", WATCHED(a), a, real(a)); }
int unlinkat(int f, const char *a, int flags) {
    REAL(unlinkat); char p[PATH_MAX]; CHANGE("unlink", WATCHED_AT(f, a, p), p, real(f, a, flags));
}
int rmdir(const char *a) { REAL(rmdir); CHANGE("unlink", WATCHED(a), a, real(a)); }
int mkdir(const char *a, mode_t m) { REAL(mkdir); CHANGE("mkdir", WATCHED(a), a, real(a, m)); }
int mkdirat(int f, const char *a, mode_t m) {
    REAL(mkdirat); char p[PATH_MAX]; CHANGE("mkdir", WATCHED_AT(f, a, p), p, real(f, a, m));
}
int chmod(const char *a, mode_t m) { REAL(chmod); CHANGE("chmod", WATCHED(a), a, real(a, m)); }
int fchmod(int fd, mode_t m) { REAL(fchmod); char p[PATH_MAX]; CHANGE("chmod", WATCHED_FD(fd, p), p, real(fd, m)); }

#define MODE(flags) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
#define MAKES(flags) ((flags) & (O_CREAT | O_TRUNC))

int open(const char *a, int flags, ...) { MODE(flags); REAL(open); CHANGE("open", MAKES(flags) && WATCHED(a), a, real(a, flags, mode)); }
int open64(const char *a, int flags, ...) { MODE(flags); REAL(open64); CHANGE("open", MAKES(flags) && WATCHED(a), a, real(a, flags, mode)); }
int openat(int f, const char *a, int flags, ...) {
    MODE(flags); REAL(openat); char p[PATH_MAX]; CHANGE("open", MAKES(flags) && WATCHED_AT(f, a, p), p, real(f, a, flags, mode));
}
int openat64(int f, const char *a, int flags, ...) {
    MODE(flags); REAL(openat64); char p[PATH_MAX]; CHANGE("open", MAKES(flags) && WATCHED_AT(f, a, p), p, real(f, a, flags, mode));
}

/* A process that the guard starts is struck where FAULTS_CHILD says WORD:FOLDER:AT:MODE:ERROR and WORD is in its
command line; at event 0 it dies at once. */
__attribute__((constructor)) static void strike_child(void) {
    const char *said = getenv("FAULTS_CHILD");
    char word[64], folder[1024], line[4096] = {0};
    long at;
    int mode, error, fd;
    if (!said || sscanf(said, "%63[^:]:%1023[^:]:%ld:%d:%d", word, folder, &at, &mode, &error) != 5) return;
    fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY, 0);
    if (fd < 0) return;
    ssize_t n = syscall(SYS_read, fd, line, sizeof line - 1);
    syscall(SYS_close, fd);
    for (ssize_t i = 0; i < n; i++) if (!line[i]) line[i] = ' ';
    if (!strstr(line, word)) return;
    if (!at) die();
    faults_arm(folder, at, mode, error, -1, 0);
}
