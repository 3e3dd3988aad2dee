/*
 * Doors for the functions of a newer driver than abi/nvml_symbols.inc knows: exported under names that
 * mean nothing and are long enough for any that may take their place. See spares.cc.
 */
.macro TRANCHE_SPARE number
  .section .text.nvml_spares, "ax", @progbits
  .globl tranche_nvml_spare_\number\()_of_those_kept_for_functions_that_a_newer_driver_brings_along
  .type tranche_nvml_spare_\number\()_of_those_kept_for_functions_that_a_newer_driver_brings_along, @function
  .balign 16
tranche_nvml_spare_\number\()_of_those_kept_for_functions_that_a_newer_driver_brings_along:
  endbr64
  jmpq *(tranche_nvml_spare_table + 8 * (\number - 1000))(%rip)
  .size tranche_nvml_spare_\number\()_of_those_kept_for_functions_that_a_newer_driver_brings_along, 16

  .section .data.nvml_spares, "aw", @progbits
  .quad tranche_nvml_spare_missing
.endm

  .section .data.nvml_spares, "aw", @progbits
  .balign 8
  .globl tranche_nvml_spare_table
  .hidden tranche_nvml_spare_table
tranche_nvml_spare_table:
  .hidden tranche_nvml_spare_missing

.altmacro
.macro TRANCHE_SPARES
  .set tranche_spare_number, 1000
  .rept 256
    TRANCHE_SPARE %tranche_spare_number
    .set tranche_spare_number, tranche_spare_number + 1
  .endr
.endm
TRANCHE_SPARES

  .section .note.GNU-stack, "", @progbits
