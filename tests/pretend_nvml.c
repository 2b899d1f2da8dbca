// Stands in for NVIDIA's management library: what the file beside it with `.txt` behind its name says, a line an
// accelerator: UUID, bytes of memory, bytes taken, percent busy, then PID and bytes of a process on it, or 0 0.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, LOST = 15 };

struct line {
    char uuid[96];
    unsigned long long memory, taken;
    unsigned busy, pid;
    unsigned long long of_pid;
};

// A handle is a UUID that was seen once.
static char known[64][96];

static int lines(struct line *out) {
    Dl_info here;
    char path[4096];
    dladdr((void *)lines, &here);
    snprintf(path, sizeof path, "%s.txt", here.dli_fname);
    FILE *file = fopen(path, "r");
    int count = 0;
    struct line l;
    while (file && count < 64 &&
           fscanf(file, "%95s %llu %llu %u %u %llu", l.uuid, &l.memory, &l.taken, &l.busy, &l.pid, &l.of_pid) == 6)
        out[count++] = l;
    if (file) fclose(file);
    return count;
}

static void *handle(const char *uuid) {
    for (int i = 0; i < 64; i++) {
        if (!known[i][0]) strcpy(known[i], uuid);
        if (!strcmp(known[i], uuid)) return known[i];
    }
    return 0;
}

static int find(const void *device, struct line *out) {
    struct line all[64];
    int count = lines(all);
    for (int i = 0; i < count; i++)
        if (!strcmp(all[i].uuid, device)) {
            *out = all[i];
            return SUCCESS;
        }
    return LOST;
}

int nvmlInit_v2(void) { return SUCCESS; }
int nvmlShutdown(void) { return SUCCESS; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    struct line all[64];
    *count = lines(all);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    struct line all[64];
    if ((int)index >= lines(all)) return INVALID_ARGUMENT;
    *device = handle(all[index].uuid);
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device) {
    struct line found;
    if (find(uuid, &found)) return NOT_FOUND;
    *device = handle(uuid);
    return SUCCESS;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
    snprintf(uuid, length, "%s", (char *)device);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(void *device, struct { unsigned version; unsigned long long total, reserved, free, used; } *memory) {
    struct line found;
    int result = find(device, &found);
    if (!result) {
        memory->total = found.memory;
        memory->used = found.taken;
        memory->free = found.memory - found.taken;
    }
    return result;
}

int nvmlDeviceGetUtilizationRates(void *device, struct { unsigned gpu, memory; } *rates) {
    struct line found;
    int result = find(device, &found);
    if (!result) rates->gpu = found.busy;
    return result;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void *device, unsigned *count,
                                            struct { unsigned pid; unsigned long long bytes; unsigned a, b; } *processes) {
    struct line found;
    int result = find(device, &found);
    if (result) return result;
    unsigned there = found.pid != 0;
    if (*count < there) {
        *count = there;
        return INSUFFICIENT_SIZE;
    }
    *count = there;
    if (there) {
        processes[0].pid = found.pid;
        processes[0].bytes = found.of_pid;
    }
    return SUCCESS;
}
