/* Records what a process does to the files of one directory, and makes the n-th of those calls fail. Loaded with LD_PRELOAD.

   FAULT_DIRECTORY: the directory, an absolute path without a slash at its end. FAULT_RECORD: the file for the records.
   FAULT_CALL, FAULT_ERRNO: the number of the write, truncation or fsync that fails from then on, and its errno. 0: none.
   FAULT_ONCE: if set, only that one call fails.

   A record is: operation (1 byte), length of the name (4), offset (8), length of the data (4), name, data. Operations:
   W write, T truncate to the offset, B begin of fsync, E its end, R rename, L link (the data is the new name), U unlink,
   F a call that was made to fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))

static int record_file = -1;
static int calls = 0;

static const char *inside(const char *path) {
    const char *directory = getenv("FAULT_DIRECTORY");
    size_t length = directory ? strlen(directory) : 0;
    if (!length || strncmp(path, directory, length) != 0) return NULL;
    if (!path[length]) return ".";
    return path[length] == '/' ? path + length + 1 : NULL;
}

static const char *name_of(int file, char *target, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, target, size - 1);
    if (length < 0) return NULL;
    target[length] = 0;
    return inside(target);
}

static void record(char operation, const char *name, uint64_t offset, const void *data, uint32_t size) {
    if (record_file < 0) {
        const char *path = getenv("FAULT_RECORD");
        if (!path) return;
        record_file = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    char head[17];
    uint32_t length = strlen(name);
    head[0] = operation;
    memcpy(head + 1, &length, 4);
    memcpy(head + 5, &offset, 8);
    memcpy(head + 13, &size, 4);
    struct iovec parts[3] = {{head, 17}, {(void *)name, length}, {(void *)data, size}};
    syscall(SYS_writev, record_file, parts, 3);
}

static int fails(const char *name) {
    const char *number = getenv("FAULT_CALL"), *code = getenv("FAULT_ERRNO");
    int wanted = number ? atoi(number) : 0;
    if (!wanted || strncmp(name, "vault.db", 8) != 0) return 0;
    int now = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
    if (getenv("FAULT_ONCE") ? now != wanted : now < wanted) return 0;
    record('F', name, 0, "", 0);
    errno = code ? atoi(code) : EIO;
    return 1;
}

static ssize_t written(int file, const void *data, size_t size, off_t offset, int at) {
    char target[4096];
    const char *name = name_of(file, target, sizeof target);
    if (name) {
        if (fails(name)) return -1;
        if (!at) {
            struct stat found;
            int append = fcntl(file, F_GETFL) & O_APPEND;
            offset = append && !fstat(file, &found) ? found.st_size : lseek(file, 0, SEEK_CUR);
        }
        record('W', name, offset, data, size);
    }
    return at ? syscall(SYS_pwrite64, file, data, size, offset) : syscall(SYS_write, file, data, size);
}

ssize_t write(int file, const void *data, size_t size) { return written(file, data, size, 0, 0); }
ssize_t pwrite(int file, const void *data, size_t size, off_t offset) { return written(file, data, size, offset, 1); }
ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) { return written(file, data, size, offset, 1); }

static ssize_t written_parts(int file, const struct iovec *parts, int count, off_t offset) {
    char target[4096];
    const char *name = name_of(file, target, sizeof target);
    if (name) {
        if (fails(name)) return -1;
        off_t at = offset;
        for (int part = 0; part < count; at += parts[part++].iov_len)
            record('W', name, at, parts[part].iov_base, parts[part].iov_len);
    }
    return syscall(SYS_pwritev, file, parts, count, offset, 0);
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset) {
    return written_parts(file, parts, count, offset);
}
ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t offset) {
    return written_parts(file, parts, count, offset);
}

static int allocated(int file, off_t offset, off_t size) {
    char target[4096];
    struct stat found;
    const char *name = name_of(file, target, sizeof target);
    if (name && !fstat(file, &found) && offset + size > found.st_size) record('T', name, offset + size, "", 0);
    return NEXT(int (*)(int, off_t, off_t), "posix_fallocate")(file, offset, size);
}

int posix_fallocate(int file, off_t offset, off_t size) { return allocated(file, offset, size); }
int posix_fallocate64(int file, off64_t offset, off64_t size) { return allocated(file, offset, size); }

static int truncated(int file, off_t size) {
    char target[4096];
    const char *name = name_of(file, target, sizeof target);
    if (name) {
        if (fails(name)) return -1;
        record('T', name, size, "", 0);
    }
    return syscall(SYS_ftruncate, file, size);
}

int ftruncate(int file, off_t size) { return truncated(file, size); }
int ftruncate64(int file, off64_t size) { return truncated(file, size); }

static int synced(int file, long number) {
    char target[4096];
    const char *name = name_of(file, target, sizeof target);
    if (name && fails(name)) return -1;
    if (name) record('B', name, 0, "", 0);
    int result = syscall(number, file);
    if (name && !result) record('E', name, 0, "", 0);
    return result;
}

int fsync(int file) { return synced(file, SYS_fsync); }
int fdatasync(int file) { return synced(file, SYS_fdatasync); }

static void moved(char operation, const char *from, const char *to) {
    const char *old = inside(from), *new = inside(to);
    if (old && new) record(operation, old, 0, new, strlen(new));
}

int rename(const char *from, const char *to) {
    int result = NEXT(int (*)(const char *, const char *), "rename")(from, to);
    if (!result) moved('R', from, to);
    return result;
}

int link(const char *from, const char *to) {
    int result = NEXT(int (*)(const char *, const char *), "link")(from, to);
    if (!result) moved('L', from, to);
    return result;
}

int unlink(const char *path) {
    int result = NEXT(int (*)(const char *), "unlink")(path);
    const char *name = result ? NULL : inside(path);
    if (name) record('U', name, 0, "", 0);
    return result;
}
