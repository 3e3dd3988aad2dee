#pragma once

/*
 * How a process gets the memory of a table whose path is a socket (SOCK_SEQPACKET). It connects,
 * says nothing, and receives one TrancheTableAnswer; where `error` is 0 with one descriptor beside
 * it (SCM_RIGHTS): a memfd that can neither shrink nor grow, under an open file description that
 * nobody else has, so that it can bear this process's locks. The broker knows who asks by the
 * socket's peer credentials, and learns of the process's end by a pidfd.
 */

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
  int32_t error; /* an errno; EACCES: the table is not for this user */
} TrancheTableAnswer;

#ifdef __cplusplus
}
#endif
