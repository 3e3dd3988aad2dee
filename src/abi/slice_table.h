#pragma once

/*
 * The memory that all processes of one slice share with each other and with whoever made the slice.
 * A memfd (table_socket.h) or file of exactly TRANCHE_SLICE_BYTES; everything in it is naturally
 * aligned, and every field that changes after the start is one 64-bit word, read and written with
 * atomic operations. There is no lock in it: a process may die between any two instructions.
 *
 * A process owns a slot by an open-file-description write lock on the one byte of the file at
 * TRANCHE_SLICE_LOCK_AT + slot, held by the mapping itself. The kernel ends it with the process, in
 * whatever pid namespace that lived; whoever then gets the lock may empty the slot.
 */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TRANCHE_SLICE_MAGIC UINT64_C(0x656369736e617274) /* "transice" */
/* Both sides refuse any other version: a limit is never enforced on a guess. */
#define TRANCHE_SLICE_VERSION 2u
#define TRANCHE_SLICE_DEVICES 16u
#define TRANCHE_SLICE_SLOTS 1024u
/* Beyond the end of the file, so that nothing else can mean these bytes. */
#define TRANCHE_SLICE_LOCK_AT (INT64_C(1) << 40)
/* For the compute state, which has a layout and a version of its own. */
#define TRANCHE_SLICE_COMPUTE_BYTES 65536u

#define TRANCHE_UNLIMITED UINT64_MAX

/* The table of a GPU, of which only devices[0].compute means something: in the folder of the
   slice's table, by this name with the 32 hexadecimal digits of the UUID. */
#define TRANCHE_TURNS_FILE "gpu-%s.turns"

/* Who holds a slot. For people and for matching with NVML; life and death is told by the lock. */
typedef struct {
  uint64_t pid;        /* as the process sees itself; 0 = nobody */
  uint64_t start_time; /* in clock ticks since boot: field 22 of /proc/PID/stat */
  uint64_t generation; /* counts the owners of this slot */
  uint64_t pid_namespace;
  uint64_t reserved[4];
} TrancheSlot;

/* Things that happened, for metrics; only ever added to. */
typedef struct {
  uint64_t refused;    /* allocations answered OUT_OF_MEMORY by the limit */
  uint64_t undone;     /* of these: done by the driver first, since the size was known only then */
  uint64_t contended;  /* of these: not because of the limit, but because others kept trying */
  uint64_t over_limit; /* what could not be undone: calls after which more was held than allowed */
  uint64_t unhooked;   /* an allocator or launcher that no hook knows was handed out */
  uint64_t foreign_tables;  /* cuGetExportTable: private entry points that nothing can meter */
  uint64_t untracked_frees; /* frees of what this limiter did not see being allocated */
  uint64_t turns_missing;   // the GPU's table could not be joined: turns are not taken
  uint64_t unmetered; /* memory came in that another interface allocated, or that moves by itself */
  uint64_t reserved[7];
} TrancheCounters;

typedef struct {
  uint8_t uuid[16];       /* of the GPU, or of the MIG device, as CUDA tells it */
  uint64_t memory_limit;  /* bytes; may change at any time; TRANCHE_UNLIMITED */
  uint64_t context_bytes; /* what one context costs on this GPU with this driver */
  /* Where the slice's share of GPU time is kept: 0 = in `compute` below, for it alone; n = in line
     n - 1 of the GPU's own table, which all slices of a party share (TRANCHE_TURNS_FILE). */
  uint64_t turns_line;
  /* Not 0: the slice takes no turns and no limit of GPU time. 2: made so, for the driver's slices.
     1: a program in it lets GPUs reach each other's memory. Turns on several GPUs could make such
     programs wait for each other for ever. */
  uint64_t turns_off;
  uint64_t sm_count; /* of the whole GPU, whatever a client of MPS is shown; 0 = not known */
  uint64_t reserved[1];
  TrancheCounters counters;
  /* By slot, bytes: what the process holds, and what it is asking for right now. */
  uint64_t held[TRANCHE_SLICE_SLOTS];
  uint64_t asking[TRANCHE_SLICE_SLOTS];
  uint8_t compute[TRANCHE_SLICE_COMPUTE_BYTES] __attribute__((aligned(64)));
} __attribute__((aligned(64))) TrancheDevice;

typedef struct {
  uint64_t magic;
  uint32_t version;
  uint32_t device_count;    /* of those below that mean something */
  uint64_t bytes;           /* of the whole table: TRANCHE_SLICE_BYTES */
  uint64_t slots_used;      /* no slot from here on was ever used */
  char name[96];            /* of the slice, for people; ends with a 0 */
  uint64_t compute_version; /* of the layout of TrancheDevice.compute; 0 = nothing there */
  uint64_t reserved[7];
  TrancheSlot slots[TRANCHE_SLICE_SLOTS];
  TrancheDevice devices[TRANCHE_SLICE_DEVICES];
} __attribute__((aligned(64))) TrancheSlice;

#define TRANCHE_SLICE_BYTES sizeof(TrancheSlice)

#ifdef __cplusplus
}

static_assert(sizeof(TrancheSlot) == 64);
static_assert(sizeof(TrancheCounters) == 128);
static_assert(__builtin_offsetof(TrancheDevice, held) == 192);
static_assert(__builtin_offsetof(TrancheDevice, compute) % 64 == 0);
static_assert(__builtin_offsetof(TrancheSlice, slots) == 192);
static_assert(sizeof(TrancheSlice) % 64 == 0);
#endif
