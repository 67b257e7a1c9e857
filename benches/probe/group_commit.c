/* What the disk gives to durable commits without any store around it.
 *
 *   group_commit DIR WRITERS SECONDS BYTES
 *
 * WRITERS 0: one thread writes BYTES and calls fdatasync, again and again: the bare disk.
 * Otherwise each thread puts a record into a shared buffer; one of them, whoever finds nobody at it,
 * writes what has gathered with one pwrite and one fdatasync and wakes all. The file, DIR/group_commit.tmp, is
 * filled with zeros and synced before, so that no commit pays for blocks or for the file's length; it
 * is kept for the next run.
 * Prints one line of JSON: commits, seconds, median nanoseconds of one commit.
 *
 *   cc -O2 -pthread group_commit.c -o group_commit
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FILE_BYTES = 32 << 20, WRITERS_MAX = 256, SAMPLES_MAX = 1 << 20 };

static int file;
static size_t record;
static off_t position;
static uint64_t deadline;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static char *gathering, *writing;
static size_t gathered;
static uint64_t queued, durable;
static int busy;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void fail(const char *what) {
    fprintf(stderr, "group_commit: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void persist(const char *bytes, size_t length) {
    if (position + (off_t)length > FILE_BYTES) position = 0;
    if (pwrite(file, bytes, length, position) != (ssize_t)length) fail("write");
    if (fdatasync(file) != 0) fail("fdatasync");
    position += (off_t)length;
}

/* One record, durable when this returns. */
static void commit(const char *bytes) {
    pthread_mutex_lock(&lock);
    memcpy(gathering + gathered, bytes, record);
    gathered += record;
    uint64_t mine = ++queued;
    while (durable < mine) {
        if (busy) {
            pthread_cond_wait(&turned, &lock);
            continue;
        }
        busy = 1;
        char *full = gathering;
        size_t length = gathered;
        uint64_t upto = queued;
        gathering = writing;
        writing = full;
        gathered = 0;
        pthread_mutex_unlock(&lock);
        persist(full, length);
        pthread_mutex_lock(&lock);
        durable = upto;
        busy = 0;
        pthread_cond_broadcast(&turned);
    }
    pthread_mutex_unlock(&lock);
}

struct writer {
    pthread_t thread;
    int bare;
    size_t commits;
    uint32_t *samples;
};

static void *run(void *argument) {
    struct writer *writer = argument;
    char *bytes = malloc(record);
    if (!bytes) fail("malloc");
    memset(bytes, 7, record);
    for (uint64_t began = now(); began < deadline;) {
        if (writer->bare) persist(bytes, record);
        else commit(bytes);
        uint64_t ended = now();
        if (writer->commits < SAMPLES_MAX) writer->samples[writer->commits] = (uint32_t)(ended - began);
        writer->commits++;
        began = ended;
    }
    free(bytes);
    return NULL;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int count, char **arguments) {
    if (count != 5) {
        fprintf(stderr, "usage: group_commit DIR WRITERS SECONDS BYTES\n");
        return 2;
    }
    int writers = atoi(arguments[2]);
    double seconds = atof(arguments[3]);
    record = (size_t)atoi(arguments[4]);
    if (writers < 0 || writers > WRITERS_MAX || seconds <= 0 || record < 1 || record > 1 << 20) {
        fprintf(stderr, "group_commit: 0 to 256 writers, some seconds, 1 byte to 1 MiB a record\n");
        return 2;
    }
    char path[4096];
    snprintf(path, sizeof path, "%s/group_commit.tmp", arguments[1]);
    file = open(path, O_CREAT | O_RDWR, 0600);
    if (file < 0) fail(path);
    char *zeros = calloc(1, 1 << 20);
    gathering = malloc(record * WRITERS_MAX);
    writing = malloc(record * WRITERS_MAX);
    if (!zeros || !gathering || !writing) fail("malloc");
    /* A file that an earlier run filled is used again: a fresh one is slow for a while. */
    if (lseek(file, 0, SEEK_END) != FILE_BYTES) {
        for (off_t at = 0; at < FILE_BYTES; at += 1 << 20)
            if (pwrite(file, zeros, 1 << 20, at) != 1 << 20) fail("fill");
        if (fsync(file) != 0) fail("fsync");
    }

    struct writer all[WRITERS_MAX] = {0};
    int threads = writers ? writers : 1;
    uint64_t began = now();
    deadline = began + (uint64_t)(seconds * 1e9);
    for (int i = 0; i < threads; i++) {
        all[i].bare = writers == 0;
        all[i].samples = malloc(SAMPLES_MAX * sizeof(uint32_t));
        if (!all[i].samples) fail("malloc");
        if (pthread_create(&all[i].thread, NULL, run, &all[i]) != 0) fail("thread");
    }
    size_t commits = 0, kept = 0;
    for (int i = 0; i < threads; i++) {
        pthread_join(all[i].thread, NULL);
        commits += all[i].commits;
    }
    double took = (double)(now() - began) / 1e9;
    uint32_t *samples = malloc((commits + 1) * sizeof(uint32_t));
    if (!samples) fail("malloc");
    for (int i = 0; i < threads; i++) {
        size_t some = all[i].commits < SAMPLES_MAX ? all[i].commits : SAMPLES_MAX;
        memcpy(samples + kept, all[i].samples, some * sizeof(uint32_t));
        kept += some;
    }
    qsort(samples, kept, sizeof(uint32_t), ascending);
    printf("{\"commits\": %zu, \"seconds\": %.6f, \"median_ns\": %u}\n", commits, took, kept ? samples[kept / 2] : 0);
    return 0;
}
