/*
 * Every known symbol of libnvidia-ml.so.1, forwarded by one jump through a table, as ../stubs.S does it
 * for libcuda.so.1. tranche_nvml_table[i] and tranche_nvml_hooks[i] are in the order of
 * abi/nvml_symbols.inc.
 */
#if !defined(__x86_64__)
#error "the trampolines are written for x86-64 only"
#endif

.macro TRANCHE_NVML_STUB name
  .section .text.nvml_stubs, "ax", @progbits
  .globl \name
  .type \name, @function
  .balign 16
\name:
  endbr64
  jmpq *tranche_nvml_slot_\name(%rip)
  .size \name, . - \name

  .section .text.nvml_lazy, "ax", @progbits
tranche_nvml_lazy_\name:
  endbr64
  leaq tranche_nvml_slot_\name(%rip), %r11
  jmp tranche_nvml_resolve_and_jump

  .section .data.nvml_table, "aw", @progbits
tranche_nvml_slot_\name:
  .quad tranche_nvml_lazy_\name

  .weak tranche_nvml_hook_\name
  .hidden tranche_nvml_hook_\name
  .section .data.rel.ro.nvml_hooks, "aw", @progbits
  .quad tranche_nvml_hook_\name
.endm

  .section .data.nvml_table, "aw", @progbits
  .balign 8
  .globl tranche_nvml_table
  .hidden tranche_nvml_table
tranche_nvml_table:

  .section .data.rel.ro.nvml_hooks, "aw", @progbits
  .balign 8
  .globl tranche_nvml_hooks
  .hidden tranche_nvml_hooks
tranche_nvml_hooks:

#define NVML_SYMBOL(name) TRANCHE_NVML_STUB name;
#include "abi/nvml_symbols.inc"

  .hidden tranche_nvml_resolve
  .section .text.nvml_lazy, "ax", @progbits
  .type tranche_nvml_resolve_and_jump, @function
tranche_nvml_resolve_and_jump:
  /* Everything that may hold an argument: NVML takes no floating-point ones. The stack is aligned
     again after seven pushes. */
  pushq %rdi
  pushq %rsi
  pushq %rdx
  pushq %rcx
  pushq %r8
  pushq %r9
  pushq %rax
  movq %r11, %rdi
  call tranche_nvml_resolve
  movq %rax, %r11
  popq %rax
  popq %r9
  popq %r8
  popq %rcx
  popq %rdx
  popq %rsi
  popq %rdi
  jmpq *%r11

  .section .note.GNU-stack, "", @progbits
