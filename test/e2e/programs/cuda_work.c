/*
 * Gives the GPU work for a while and says how much of it was done.
 *
 *   cuda_work SHAPE KERNEL_US SECONDS [BLOCKS]
 *
 * SHAPE: async (keeps 200 in the queue), sync (waits after each), graph (graphs of ten kernels,
 * waited for), streams (four streams), idle (async for 50 ms, then nothing for 50 ms), tail
 * (launches, never waits until the end), threads (four that each sync), capture (captures a graph
 * while another thread launches) Prints the busy share: GPU time of the kernels done, by the time
 * that passed.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "abi/cuda.h"

static CUfunction work;
static unsigned long long kernel_ns;
static unsigned blocks = 132;
static double end_at;
static unsigned long long done[4];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void need(CUresult answer, const char* what) {
  if (answer == CUDA_SUCCESS) return;
  fprintf(stderr, "%s: %d\n", what, (int)answer);
  exit(1);
}

static void launch(CUstream stream) {
  void* parameters[] = {&kernel_ns};
  need(cuLaunchKernel(work, blocks, 1, 1, 256, 1, 1, 0, stream, parameters, NULL), "launch");
}

static void async_work(double until) {
  CUstream stream;
  CUevent events[200];
  int next = 0, filled = 0;
  need(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream");
  for (int i = 0; i < 200; ++i) need(cuEventCreate(&events[i], CU_EVENT_DISABLE_TIMING), "event");
  while (now() < until) {
    if (filled) need(cuEventSynchronize(events[next]), "wait");
    done[0] += filled;
    launch(stream);
    need(cuEventRecord(events[next], stream), "record");
    if (++next == 200) next = 0, filled = 1;
  }
  need(cuStreamSynchronize(stream), "sync");
  done[0] += filled ? 200 : (unsigned)next;
  need(cuStreamDestroy_v2(stream), "destroy");
}

static void sync_work(int i) {
  CUstream stream;
  need(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream");
  while (now() < end_at) {
    launch(stream);
    need(cuStreamSynchronize(stream), "sync");
    ++done[i];
  }
}

static CUcontext context;
static void* sync_thread(void* i) {
  need(cuCtxSetCurrent(context), "context");
  sync_work((int)(long)i);
  return NULL;
}

static CUgraphExec capture(CUstream stream) {
  CUgraph graph;
  CUgraphExec exec;
  need(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), "begin");
  for (int i = 0; i < 10; ++i) launch(stream);
  need(cuStreamEndCapture(stream, &graph), "end");
  need(cuGraphInstantiateWithFlags(&exec, graph, 0), "instantiate");
  need(cuGraphDestroy(graph), "graph");
  return exec;
}

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) return 64;
  if (argc == 5) blocks = (unsigned)strtoul(argv[4], NULL, 10);
  const char* shape = argv[1];
  kernel_ns = strtoull(argv[2], NULL, 10) * 1000;
  CUdevice device;
  CUmodule module;
  need(cuInit(0), "init");
  need(cuDeviceGet(&device, 0), "device");
  need(cuDevicePrimaryCtxRetain(&context, device), "context");
  need(cuCtxSetCurrent(context), "current");
  need(cuModuleLoadData(&module, "tranche-kernels 1\nkernel work argument\n"), "module");
  need(cuModuleGetFunction(&work, module, "work"), "function");
  const double begin = now();
  end_at = begin + strtod(argv[3], NULL);
  if (strcmp(shape, "async") == 0) {
    async_work(end_at);
  } else if (strcmp(shape, "sync") == 0) {
    sync_work(0);
  } else if (strcmp(shape, "idle") == 0) {
    while (now() < end_at) {
      async_work(now() + 0.05);
      usleep(50000);
    }
  } else if (strcmp(shape, "tail") == 0) {
    while (now() < end_at) {
      launch(NULL);
      ++done[0];
      if (done[0] % 500 == 0) usleep(1000);
    }
    need(cuCtxSynchronize(), "sync");
  } else if (strcmp(shape, "streams") == 0) {
    CUstream streams[4];
    for (int i = 0; i < 4; ++i) need(cuStreamCreate(&streams[i], 0), "stream");
    while (now() < end_at) {
      for (int k = 0; k < 40; ++k) launch(streams[k % 4]), ++done[0];
      for (int i = 0; i < 4; ++i) need(cuStreamSynchronize(streams[i]), "sync");
    }
  } else if (strcmp(shape, "threads") == 0) {
    pthread_t threads[4];
    for (long i = 0; i < 4; ++i) pthread_create(&threads[i], NULL, sync_thread, (void*)i);
    for (int i = 0; i < 4; ++i) pthread_join(threads[i], NULL);
  } else if (strcmp(shape, "graph") == 0 || strcmp(shape, "capture") == 0) {
    CUstream stream;
    need(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "stream");
    CUgraphExec exec = capture(stream);
    while (now() < end_at) {
      need(cuGraphLaunch(exec, stream), "graph launch");
      if (strcmp(shape, "capture") == 0) {
        launch(NULL);
        need(cuStreamSynchronize(stream), "sync");
        ++done[0];
        need(cuGraphExecDestroy(exec), "exec");
        exec = capture(stream);
      }
      need(cuStreamSynchronize(stream), "sync");
      done[0] += 10;
    }
  } else {
    return 64;
  }
  const double passed = now() - begin;
  double kernels = 0;
  for (int i = 0; i < 4; ++i) kernels += (double)done[i];
  printf("%.4f\n", kernels * (double)kernel_ns / 1e9 / passed);
  return 0;
}
