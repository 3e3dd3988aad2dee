/* Our declarations have the sizes, offsets and values of the facts, or this does not compile. As C.
 */
#include "abi/cuda.h"

#define CUDA_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "size of " #type);
#define CUDA_OFFSET(type, field, bytes) \
  _Static_assert(offsetof(type, field) == (bytes), #type "." #field);
#define CUDA_VALUE(name, value) _Static_assert((name) == (value), #name);
#define CUDA_MEMBER(type, path) \
  _Static_assert(offsetof(type, path) < sizeof(type), #type "." #path);
#include "abi/cuda_layout.inc"
