/* Makes fsync and fdatasync of matching files fail with EIO while the file named by FAULT_SWITCH exists.
   FAULT_SUFFIX is the end of the names of the files that fail. Loaded with LD_PRELOAD. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int fails(int file) {
    const char *suffix = getenv("FAULT_SUFFIX"), *name = getenv("FAULT_SWITCH");
    char link[64], target[4096];
    if (!suffix || !name || access(name, F_OK) != 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, target, sizeof target - 1);
    size_t end = strlen(suffix);
    return length >= (ssize_t)end && memcmp(target + length - end, suffix, end) == 0;
}

int fsync(int file) {
    if (fails(file)) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(file);
}

int fdatasync(int file) {
    if (fails(file)) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(file);
}
