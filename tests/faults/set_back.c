/* Preloaded, it sets the machine's clock as far off, for one process, as the file CLOCK_OFF_BY says in seconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long off_by(void)
{
    char text[32] = {0};
    const char *name = getenv("CLOCK_OFF_BY");
    int file = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return 0;
    ssize_t read_bytes = read(file, text, sizeof text - 1);
    close(file);
    return read_bytes > 0 ? atol(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(clock, now);
    if (code == 0 && clock == CLOCK_REALTIME)
        now->tv_sec += off_by();
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec fine;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &fine))
        return -1;
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at)
{
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    if (at)
        *at = fine.tv_sec;
    return fine.tv_sec;
}
