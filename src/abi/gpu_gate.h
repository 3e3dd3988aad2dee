#pragma once

/*
 * Whether it is a party's turn on one GPU. A party is the slices of one user and team; parties may
 * not write each other's accounts. So each has a folder of its own, with its slices' tables, its
 * own table of turns for each GPU, and this, which only the daemon writes. Every process of the
 * party looks at it before it takes GPU time, and sleeps on `open` (a futex) while that is even.
 *
 * What the broker must know of the party it finds in the party's table: who waits at the gate, and
 * whether anything is in flight. When either changes, the table's bell is rung.
 */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TRANCHE_GATE_MAGIC UINT64_C(0x65746167736e7274)
#define TRANCHE_GATE_VERSION UINT64_C(1)
#define TRANCHE_GATE_BYTES 4096u

/* In the folder of the slices' tables, by the 32 hexadecimal digits of the GPU's UUID. */
#define TRANCHE_GATE_FILE "gpu-%s.gate"

typedef struct {
  uint64_t magic;
  uint64_t version;
  uint32_t open;        /* odd: it may take GPU time; changes with every opening and closing */
  uint32_t others_wait; /* not 0: ring as soon as nothing is in flight */
  /* CLOCK_MONOTONIC, ns: when the broker last looked, while the gate is closed. Where that is long
     ago nobody will open it any more, and it counts as open: what is promised across parties needs
     the daemon. */
  uint64_t looked_at;
  /* Likewise: when somebody of another party last waited, or 0: then the party keeps little in
     flight. */
  uint64_t wanted_at;
  uint64_t reserved[3];
} __attribute__((aligned(64))) TrancheGate;

#ifdef __cplusplus
}

static_assert(sizeof(TrancheGate) == 64);
#endif
