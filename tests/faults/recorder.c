/* Records what is changed below some folders, so that the disk after a power failure can be made from it.

   LD_PRELOAD=recorder.so RECORDER_FOLDERS=/one:/two RECORDER_LOG=/a/file

   A record is a head (see `struct head`), then two byte strings. Kinds, with what they use:
     C path          a file was made             M path          a folder was made
     W at data       written                     T at            cut off, or grown, to this size
     R path path     renamed                     U path          a name was removed
     B               a sync begins               S path          and has ended well (path: that of a folder)
   A change and its record are one step for the other threads of the process. After a kill the last change may lack its
   record: nothing can have been built on it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

struct head {
  char kind;
  char unused[3];
  uint32_t thread, first, second; /* bytes of the two strings */
  uint64_t inode, at;
};

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;

static int below(const char *path) {
  const char *folders = getenv("RECORDER_FOLDERS");
  while (folders && *folders) {
    size_t size = strcspn(folders, ":");
    if (!strncmp(path, folders, size) && (path[size] == '/' || !path[size])) return 1;
    folders += size + (folders[size] == ':');
  }
  return 0;
}

static void record(char kind, uint64_t inode, uint64_t at, const void *first, size_t size, const char *second) {
  struct head head = {kind, {0}, syscall(SYS_gettid), size, second ? strlen(second) : 0, inode, at};
  struct iovec pieces[] = {{&head, sizeof head}, {(void *)first, size}, {(void *)second, head.second}};
  if (log_fd < 0) log_fd = syscall(SYS_openat, AT_FDCWD, getenv("RECORDER_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  if (syscall(SYS_writev, log_fd, pieces, 3) != (ssize_t)(sizeof head + size + head.second)) abort();
}

/* The inode of a descriptor that is recorded, and its path; else 0. */
static uint64_t followed(int fd, char *path, struct stat *about) {
  char name[64];
  snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
  ssize_t size = syscall(SYS_readlink, name, path, PATH_MAX - 1);
  if (size <= 0) return 0;
  path[size] = 0;
  if (!below(path) || syscall(SYS_fstat, fd, about)) return 0;
  return S_ISREG(about->st_mode) || S_ISDIR(about->st_mode) ? about->st_ino : 0;
}

/* The whole path of a name; 0 if it is not recorded. */
static int found(int folder, const char *name, char *path) {
  if (name[0] == '/') snprintf(path, PATH_MAX, "%s", name);
  else {
    char base[PATH_MAX], link[64];
    if (folder == AT_FDCWD) snprintf(link, sizeof link, "/proc/self/cwd");
    else snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t size = syscall(SYS_readlink, link, base, sizeof base - 1);
    if (size <= 0) return 0;
    base[size] = 0;
    if (snprintf(path, PATH_MAX, "%s/%s", base, name) >= PATH_MAX) return 0;
  }
  return below(path);
}

#define LOCKED(type, call)                  \
  pthread_mutex_lock(&one_at_a_time);       \
  type done = call;                         \
  if (done >= 0) {                          \
    RECORDS                                 \
  }                                         \
  pthread_mutex_unlock(&one_at_a_time);     \
  return done;

static ssize_t changed(int fd, const struct iovec *pieces, int count, off_t at, int flags) {
  return at < 0 ? syscall(SYS_writev, fd, pieces, count) : syscall(SYS_pwritev2, fd, pieces, count, at, 0, flags);
}

static ssize_t written(int fd, const struct iovec *pieces, int count, off_t at, int flags) {
  char path[PATH_MAX];
  struct stat about;
  uint64_t inode = followed(fd, path, &about);
  if (!inode) return changed(fd, pieces, count, at, flags); /* a handler of signals writes to a pipe, whatever we hold */
  pthread_mutex_lock(&one_at_a_time);
  off_t begin = at;
  if (at < 0) {
    syscall(SYS_fstat, fd, &about);
    int is_appended = syscall(SYS_fcntl, fd, F_GETFL) & O_APPEND;
    begin = is_appended ? about.st_size : syscall(SYS_lseek, fd, 0, SEEK_CUR);
  }
  ssize_t done = changed(fd, pieces, count, at, flags);
  ssize_t left = done;
  for (int n = 0; n < count && left > 0; n++) {
    size_t size = left < (ssize_t)pieces[n].iov_len ? (size_t)left : pieces[n].iov_len;
    record('W', inode, begin, pieces[n].iov_base, size, NULL);
    begin += size;
    left -= size;
  }
  pthread_mutex_unlock(&one_at_a_time);
  return done;
}

ssize_t write(int fd, const void *data, size_t size) {
  struct iovec piece = {(void *)data, size};
  return written(fd, &piece, 1, -1, 0);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  struct iovec piece = {(void *)data, size};
  return written(fd, &piece, 1, at, 0);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) { return pwrite(fd, data, size, at); }
ssize_t writev(int fd, const struct iovec *pieces, int count) { return written(fd, pieces, count, -1, 0); }
ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t at) { return written(fd, pieces, count, at, 0); }
ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off64_t at) { return written(fd, pieces, count, at, 0); }
ssize_t pwritev2(int fd, const struct iovec *pieces, int count, off_t at, int flags) {
  return written(fd, pieces, count, at, flags);
}
ssize_t pwritev64v2(int fd, const struct iovec *pieces, int count, off64_t at, int flags) {
  return written(fd, pieces, count, at, flags);
}

int ftruncate(int fd, off_t size) {
  char path[PATH_MAX];
  struct stat about;
  uint64_t inode = followed(fd, path, &about);
#define RECORDS if (inode) record('T', inode, size, NULL, 0, NULL);
  LOCKED(int, syscall(SYS_ftruncate, fd, size))
#undef RECORDS
}
int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

static int synced(int fd, int call) {
  char path[PATH_MAX];
  struct stat about;
  uint64_t inode = followed(fd, path, &about);
  if (inode) {
    pthread_mutex_lock(&one_at_a_time);
    record('B', inode, 0, NULL, 0, NULL);
    pthread_mutex_unlock(&one_at_a_time);
  }
  int done = syscall(call, fd);
  if (inode && !done) {
    pthread_mutex_lock(&one_at_a_time);
    record('S', inode, 0, path, S_ISDIR(about.st_mode) ? strlen(path) : 0, NULL);
    pthread_mutex_unlock(&one_at_a_time);
  }
  return done;
}
int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int opened(int folder, const char *name, int flags, mode_t mode) {
  char path[PATH_MAX];
  struct stat about;
  if (!(flags & (O_CREAT | O_TRUNC)) || !found(folder, name, path)) return syscall(SYS_openat, folder, name, flags, mode);
  pthread_mutex_lock(&one_at_a_time);
  int is_new = access(path, F_OK) != 0;
  int fd = syscall(SYS_openat, folder, name, flags, mode);
  if (fd >= 0 && !syscall(SYS_fstat, fd, &about)) {
    if (is_new) record('C', about.st_ino, 0, path, strlen(path), NULL);
    else if (flags & O_TRUNC) record('T', about.st_ino, 0, NULL, 0, NULL);
  }
  pthread_mutex_unlock(&one_at_a_time);
  return fd;
}

#define OPENED(folder)                                                       \
  mode_t mode = 0;                                                           \
  if (flags & (O_CREAT | __O_TMPFILE)) {                                     \
    va_list rest;                                                            \
    va_start(rest, flags);                                                   \
    mode = va_arg(rest, mode_t);                                             \
    va_end(rest);                                                            \
  }                                                                          \
  return opened(folder, name, flags, mode);
int open(const char *name, int flags, ...) { OPENED(AT_FDCWD) }
int open64(const char *name, int flags, ...) { OPENED(AT_FDCWD) }
int openat(int folder, const char *name, int flags, ...) { OPENED(folder) }
int openat64(int folder, const char *name, int flags, ...) { OPENED(folder) }

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
  char old[PATH_MAX], new[PATH_MAX];
  int is_followed = found(from_folder, from, old) | found(to_folder, to, new);
#define RECORDS if (is_followed) record('R', 0, 0, old, strlen(old), new);
  LOCKED(int, syscall(SYS_renameat2, from_folder, from, to_folder, to, 0))
#undef RECORDS
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int unlinkat(int folder, const char *name, int flags) {
  char path[PATH_MAX];
  int is_followed = found(folder, name, path);
#define RECORDS if (is_followed) record('U', 0, 0, path, strlen(path), NULL);
  LOCKED(int, syscall(SYS_unlinkat, folder, name, flags))
#undef RECORDS
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
int remove(const char *name) {
  struct stat about;
  if (syscall(SYS_newfstatat, AT_FDCWD, name, &about, AT_SYMLINK_NOFOLLOW)) return -1;
  return unlinkat(AT_FDCWD, name, S_ISDIR(about.st_mode) ? AT_REMOVEDIR : 0);
}

int mkdirat(int folder, const char *name, mode_t mode) {
  char path[PATH_MAX];
  int is_followed = found(folder, name, path);
#define RECORDS if (is_followed) record('M', 0, 0, path, strlen(path), NULL);
  LOCKED(int, syscall(SYS_mkdirat, folder, name, mode))
#undef RECORDS
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }
