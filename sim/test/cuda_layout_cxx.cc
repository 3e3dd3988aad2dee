// As cuda_layout.c, as C++.
#include "abi/cuda.h"

#define CUDA_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), "size of " #type);
#define CUDA_OFFSET(type, field, bytes) \
  static_assert(offsetof(type, field) == (bytes), #type "." #field);
#define CUDA_VALUE(name, value) static_assert((name) == (value), #name);
#define CUDA_MEMBER(type, path) static_assert(offsetof(type, path) < sizeof(type), #type "." #path);
#include "abi/cuda_layout.inc"
