/* LD_PRELOAD: ends the process by SIGKILL at one step of a commit to a Delta table on a local disk.
   KILL_AT: data or log, the file that is put in place; KILL_WHEN: before or after; KILL_HIT: at which one, from 1. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int hits;

static void at(const char *when, const char *path) {
    const char *wanted = getenv("KILL_AT");
    int is_log = strstr(path, "/_delta_log/") && strstr(path, ".json");
    int is_data = strstr(path, ".parquet") && !strstr(path, "/_delta_log/");
    if (!wanted || !(strcmp(wanted, "log") ? is_data : is_log)) return;
    if (strcmp(getenv("KILL_WHEN"), when)) return;
    if (++hits == atoi(getenv("KILL_HIT"))) kill(getpid(), SIGKILL);
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *) = dlsym(RTLD_NEXT, "rename");
    at("before", to);
    int done = real(from, to);
    at("after", to);
    return done;
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    int (*real)(int, const char *, int, const char *, int) = dlsym(RTLD_NEXT, "linkat");
    at("before", to);
    int done = real(from_dir, from, to_dir, to, flags);
    at("after", to);
    return done;
}
