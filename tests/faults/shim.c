/* Makes calls on files below a folder fail, write short, or wait, as a control file says.

   LD_PRELOAD=shim.so FAULTS_FOLDER=/the/folder FAULTS_CONTROL=/a/file

   The control file is read again before each call: one rule a line, "CALLS ACTION PERCENT PART".
     CALLS    letters: w write, pwrite, writev, pwritev; s fsync, fdatasync; t ftruncate; r rename; o open that makes
              a file; p read, pread
     ACTION   ENOSPC, EIO: fails so; SHORT: writes half of it, then goes on; TORN: writes half of it and fails with
              ENOSPC; SLOW: waits 0.2 s and then does it
     PERCENT  how often, by chance
     PART     only paths that contain it; "*" is all
   Paths are those of descriptors in /proc, so it does not matter who opened them. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum action { NONE, NOSPACE, FAILS, SHORT, TORN, SLOW };

static __thread unsigned seed;

static int below(const char *path) {
  const char *folder = getenv("FAULTS_FOLDER");
  return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static enum action rule(char call, const char *path) {
  const char *control = getenv("FAULTS_CONTROL");
  char text[2048], *line, *rest = text;
  if (!control || !below(path)) return NONE;
  int fd = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return NONE;
  ssize_t size = syscall(SYS_read, fd, text, sizeof text - 1);
  syscall(SYS_close, fd);
  if (size <= 0) return NONE;
  text[size] = 0;
  if (!seed) seed = getpid() ^ (unsigned)(size_t)&seed;
  while ((line = strsep(&rest, "\n"))) {
    char calls[32], action[32], part[512];
    int percent;
    if (sscanf(line, "%31s %31s %d %511s", calls, action, &percent, part) != 4) continue;
    if (!strchr(calls, call) || (strcmp(part, "*") && !strstr(path, part))) continue;
    if (rand_r(&seed) % 100 >= percent) continue;
    if (!strcmp(action, "ENOSPC")) return NOSPACE;
    if (!strcmp(action, "EIO")) return FAILS;
    if (!strcmp(action, "SHORT")) return SHORT;
    if (!strcmp(action, "TORN")) return TORN;
    if (!strcmp(action, "SLOW")) return SLOW;
  }
  return NONE;
}

static enum action rule_fd(char call, int fd) {
  char name[64], path[PATH_MAX];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  ssize_t size = syscall(SYS_readlink, name, path, sizeof path - 1);
  if (size <= 0) return NONE;
  path[size] = 0;
  return rule(call, path);
}

/* 0: go on; else errno is set. */
static int refused(enum action what) {
  if (what == NOSPACE) errno = ENOSPC;
  if (what == FAILS) errno = EIO;
  if (what == SLOW) usleep(200000);
  return what == NOSPACE || what == FAILS;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *data, size_t size) {
  enum action what = rule_fd('w', fd);
  if (refused(what)) return -1;
  if ((what == SHORT || what == TORN) && size > 1) size /= 2;
  ssize_t done = syscall(SYS_write, fd, data, size);
  if (what == TORN) return errno = ENOSPC, -1;
  return done;
}

static ssize_t placed(int fd, const void *data, size_t size, off_t at) {
  enum action what = rule_fd('w', fd);
  if (refused(what)) return -1;
  if ((what == SHORT || what == TORN) && size > 1) size /= 2;
  ssize_t done = syscall(SYS_pwrite64, fd, data, size, at);
  if (what == TORN) return errno = ENOSPC, -1;
  return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return placed(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return placed(fd, data, size, at); }

static ssize_t gathered(int fd, const struct iovec *pieces, int count, off_t at, int is_placed) {
  enum action what = rule_fd('w', fd);
  if (refused(what)) return -1;
  if (what == SHORT || what == TORN) {
    size_t size = pieces[0].iov_len > 1 ? pieces[0].iov_len / 2 : pieces[0].iov_len;
    ssize_t done = is_placed ? syscall(SYS_pwrite64, fd, pieces[0].iov_base, size, at)
                             : syscall(SYS_write, fd, pieces[0].iov_base, size);
    if (what == TORN) return errno = ENOSPC, -1;
    return done;
  }
  return is_placed ? REAL(pwritev)(fd, pieces, count, at) : syscall(SYS_writev, fd, pieces, count);
}

ssize_t writev(int fd, const struct iovec *pieces, int count) { return gathered(fd, pieces, count, 0, 0); }
ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t at) { return gathered(fd, pieces, count, at, 1); }

ssize_t read(int fd, void *data, size_t size) {
  if (refused(rule_fd('p', fd))) return -1;
  return syscall(SYS_read, fd, data, size);
}

ssize_t pread(int fd, void *data, size_t size, off_t at) {
  if (refused(rule_fd('p', fd))) return -1;
  return syscall(SYS_pread64, fd, data, size, at);
}
ssize_t pread64(int fd, void *data, size_t size, off64_t at) { return pread(fd, data, size, at); }

int fsync(int fd) { return refused(rule_fd('s', fd)) ? -1 : (int)syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return refused(rule_fd('s', fd)) ? -1 : (int)syscall(SYS_fdatasync, fd); }
int ftruncate(int fd, off_t size) { return refused(rule_fd('t', fd)) ? -1 : (int)syscall(SYS_ftruncate, fd, size); }
int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

int rename(const char *from, const char *to) {
  return refused(rule('r', from)) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
  if ((flags & O_CREAT) && path[0] == '/' && access(path, F_OK) != 0 && refused(rule('o', path))) return -1;
  return syscall(SYS_openat, folder, path, flags, mode);
}

static mode_t mode_of(int flags, va_list rest) {
  return (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(name)                                  \
  int name(const char *path, int flags, ...) {      \
    va_list rest;                                   \
    va_start(rest, flags);                          \
    mode_t mode = mode_of(flags, rest);             \
    va_end(rest);                                   \
    return opened(AT_FDCWD, path, flags, mode);     \
  }
OPEN(open)
OPEN(open64)

FILE *fopen(const char *path, const char *mode) {
  if (mode[0] != 'r' && access(path, F_OK) != 0 && refused(rule('o', path))) return NULL;
  return REAL(fopen)(path, mode);
}
