// A library to preload: system calls that fail, and a clock that is wrong or runs fast. For tests of a real process.
//
//   FAULT_CALL=read|write|fsync|link|open|mkdir|unlink   what fails
//   FAULT_UNDER=PATH    only on files whose path begins so
//   FAULT_AT=K          the K-th such call, counted over all threads from 1, and with FAULT_ON=1 all after it
//   FAULT_ERRNO=N       with this error, EIO unless told otherwise
//   FAULT_KILL=before|after   does not fail: the process is killed (SIGKILL), before anything has happened or when it has
//   FAULT_MARK=FILE     is created when a call fails: without it, there were fewer calls than K
//   CLOCK_SHIFT=S       the time of day is S seconds away
//   CLOCK_FILE=FILE     as many seconds away as the file says, which is read whenever somebody asks for the time: a server can grow older as it runs
//   CLOCK_RATE=N        the clock that timeouts are measured by runs N times as fast from the start of the process
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static const char *call_to_fail, *under, *mark, *killed;
static long at, on, error, rate = 1;
static _Atomic long long shift;
static int clock_file = -1;
static struct timespec began;
static atomic_long calls;

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

__attribute__((constructor)) static void begin(void) {
    call_to_fail = getenv("FAULT_CALL");
    under = getenv("FAULT_UNDER");
    mark = getenv("FAULT_MARK");
    killed = getenv("FAULT_KILL");
    at = number("FAULT_AT", 1);
    on = number("FAULT_ON", 0);
    error = number("FAULT_ERRNO", EIO);
    shift = number("CLOCK_SHIFT", 0);
    if (getenv("CLOCK_FILE")) clock_file = syscall(SYS_openat, AT_FDCWD, getenv("CLOCK_FILE"), O_RDONLY | O_CLOEXEC);
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &began);
    rate = number("CLOCK_RATE", 1);
}

static int is_meant(const char *path) { return !under || strncmp(path, under, strlen(under)) == 0; }

enum fate { PASSES, FAILS, IS_LAST };

static enum fate fate_of(const char *call, int file, const char *path) {
    char link[64], found[4096];
    if (!call_to_fail || strcmp(call, call_to_fail) != 0) return PASSES;
    if (!path) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        long length = readlink(link, found, sizeof found - 1);
        if (length < 0) return PASSES;
        found[length] = 0;
        path = found;
    }
    if (!is_meant(path)) return PASSES;
    long n = atomic_fetch_add(&calls, 1) + 1;
    if (n != at && !(on && n > at)) return PASSES;
    if (mark) close(syscall(SYS_openat, AT_FDCWD, mark, O_CREAT | O_WRONLY, 0600));
    if (killed && strcmp(killed, "after") == 0) return IS_LAST;
    if (killed) kill(getpid(), SIGKILL);
    errno = (int)error;
    return FAILS;
}

#define REAL(name) ({ static void *real; if (!real) real = dlsym(RTLD_NEXT, #name); (__typeof__(&name))real; })
// What becomes of a call: `work` is the real one.
#define MEETS(call, file, path, work) ({ \
    enum fate fate = fate_of(call, file, path); \
    __typeof__(work) done = fate == FAILS ? -1 : (work); \
    if (fate == IS_LAST) kill(getpid(), SIGKILL); \
    done; \
})

ssize_t read(int file, void *bytes, size_t length) { return MEETS("read", file, NULL, REAL(read)(file, bytes, length)); }
ssize_t pread64(int file, void *bytes, size_t length, off64_t offset) {
    return MEETS("read", file, NULL, REAL(pread64)(file, bytes, length, offset));
}
ssize_t write(int file, const void *bytes, size_t length) {
    return MEETS("write", file, NULL, REAL(write)(file, bytes, length));
}
ssize_t writev(int file, const struct iovec *pieces, int count) {
    return MEETS("write", file, NULL, REAL(writev)(file, pieces, count));
}
int fsync(int file) { return MEETS("fsync", file, NULL, REAL(fsync)(file)); }
int fdatasync(int file) { return MEETS("fsync", file, NULL, REAL(fdatasync)(file)); }
int link(const char *from, const char *to) { return MEETS("link", -1, to, REAL(link)(from, to)); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    return MEETS("link", -1, to, REAL(linkat)(a, from, b, to, flags));
}
int unlink(const char *path) { return MEETS("unlink", -1, path, REAL(unlink)(path)); }
int mkdir(const char *path, mode_t mode) { return MEETS("mkdir", -1, path, REAL(mkdir)(path, mode)); }
int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = va_arg(rest, mode_t);
    va_end(rest);
    return MEETS("open", -1, path, REAL(open64)(path, flags, mode));
}

static int scaled(struct timespec *time) {
    long long passed = (time->tv_sec - began.tv_sec) * 1000000000LL + (time->tv_nsec - began.tv_nsec);
    long long now = began.tv_sec * 1000000000LL + began.tv_nsec + passed * rate;
    time->tv_sec = now / 1000000000LL;
    time->tv_nsec = now % 1000000000LL;
    return 0;
}

static long long shift_now(void) {
    char text[32];
    if (clock_file < 0) return shift;
    long length = syscall(SYS_pread64, clock_file, text, sizeof text - 1, 0);
    // Between a shell's emptying of the file and its writing to it, what was there before counts.
    if (length > 1 && text[length - 1] == '\n') {
        text[length] = 0;
        shift = atoll(text);
    }
    return shift;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int status = REAL(clock_gettime)(clock, time);
    if (status) return status;
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) time->tv_sec += shift_now();
    if (clock == CLOCK_MONOTONIC && rate != 1) scaled(time);
    return 0;
}
// What Node asks.
int gettimeofday(struct timeval *restrict result, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *result = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}
time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}

// Whoever waits for a time by the fast clock must not wait by the slow one.
int epoll_wait(int poll, struct epoll_event *events, int most, int timeout) {
    return REAL(epoll_wait)(poll, events, most, timeout > 0 && rate != 1 ? (int)(timeout / rate) + 1 : timeout);
}
