"""Within a slice, what the Python binding of NVML says of the first GPU is the slice.

  nvml_slice_test.py BYTES   of the slice
"""

import sys

import pynvml

limit = int(sys.argv[1])
pynvml.nvmlInit()
device = pynvml.nvmlDeviceGetHandleByIndex(0)
for version in (None, pynvml.nvmlMemory_v2):
    memory = pynvml.nvmlDeviceGetMemoryInfo(device, version) if version else pynvml.nvmlDeviceGetMemoryInfo(device)
    assert memory.total == limit, (version, memory.total)
    assert memory.free == limit and memory.used == 0, (version, memory.free, memory.used)
assert pynvml.nvmlDeviceGetComputeRunningProcesses(device) == []
assert pynvml.nvmlDeviceGetUtilizationRates(device).gpu == 0
assert pynvml.nvmlSystemGetDriverVersion()
try:
    pynvml.nvmlDeviceGetMemoryInfo(device, 7)
    raise SystemExit("a wrong version is taken")
except pynvml.NVMLError_ArgumentVersionMismatch:
    pass
pynvml.nvmlShutdown()
