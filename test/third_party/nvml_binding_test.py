"""The Python binding of NVML on one simulated machine: every function that the machine supports.

Run inside `tranche-sim exec`. The first argument is the machine's name (sim/machines).
"""

import ctypes
import inspect
import os
import subprocess
import sys
import threading
import time

import pynvml
from pynvml import *  # noqa: F403

MACHINE = sys.argv[1]
TOOL = os.environ["TRANCHE_SIM"]
DIR = os.environ["TRANCHE_SIM_DIR"]
GIB = 1 << 30

# What is known of each machine beforehand: name, MiB, compute capability, MIG devices at most, profiles.
EXPECTED = {
    "a100-40": ("NVIDIA A100-SXM4-40GB", 40960, (8, 0), 7, 7),
    "a100-80": ("NVIDIA A100-SXM4-80GB", 81920, (8, 0), 7, 7),
    "a30": ("NVIDIA A30", 24576, (8, 0), 4, 5),
    "h100-pcie": ("NVIDIA H100 PCIe", 81559, (9, 0), 7, 7),
    "h100-sxm": ("NVIDIA H100 80GB HBM3", 81559, (9, 0), 7, 7),
    "h100-nvl": ("NVIDIA H100 NVL", 95830, (9, 0), 7, 7),
    "h200": ("NVIDIA H200", 143771, (9, 0), 7, 7),
    "b200": ("NVIDIA B200", 183359, (10, 0), 7, 7),
    "rtx-pro-6000": ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887, (12, 0), 4, 11),
    "l40s": ("NVIDIA L40S", 46068, (8, 9), 0, 0),
    "t4": ("Tesla T4", 15360, (7, 5), 0, 0),
}


def tool(*arguments):
    result = subprocess.run([TOOL, arguments[0], DIR, *arguments[1:]], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def attach(gpu, memory, load):
    return int(tool("attach", "--gpu", gpu, "--memory", memory, "--load", str(load)))


def end(pid):
    os.kill(pid, 9)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] in "ZX":
                    return
        except FileNotFoundError:
            return
        time.sleep(0.001)
    raise AssertionError(f"process {pid} does not end")


def raises(code, function, *arguments):
    try:
        function(*arguments)
    except NVMLError as error:
        assert error.value == code, f"{function.__name__}: {error}, not {code}"
        return
    raise AssertionError(f"{function.__name__} was expected to fail with {code}")


def check_identity(gpu, expected):
    name, mib, capability, _, _ = expected
    assert nvmlDeviceGetName(gpu) == name
    assert nvmlDeviceGetMemoryInfo(gpu).total == mib << 20
    assert tuple(nvmlDeviceGetCudaComputeCapability(gpu)) == capability
    uuid = nvmlDeviceGetUUID(gpu)
    assert uuid.startswith("GPU-") and len(uuid) == 40
    pci = nvmlDeviceGetPciInfo(gpu)
    assert pci.pciDeviceId & 0xFFFF == 0x10DE
    for handle in (
        nvmlDeviceGetHandleByUUID(uuid),
        nvmlDeviceGetHandleByPciBusId(pci.busId),
        nvmlDeviceGetHandleBySerial(nvmlDeviceGetSerial(gpu)),
    ):
        assert nvmlDeviceGetUUID(handle) == uuid
    assert nvmlDeviceGetIndex(gpu) == 0 and nvmlDeviceGetMinorNumber(gpu) == 0
    raises(NVML_ERROR_NOT_FOUND, nvmlDeviceGetHandleByUUID, "GPU-00000000-0000-0000-0000-000000000000")
    raises(NVML_ERROR_INVALID_ARGUMENT, nvmlDeviceGetHandleByIndex, 99)
    assert nvmlSystemGetDriverVersion().startswith("580.")
    assert nvmlSystemGetCudaDriverVersion() == 13000


# Functions of one argument, a device, and what their values must look like on any board of a server.
PLAIN = {
    "nvmlDeviceGetBrand": lambda v: v in (NVML_BRAND_NVIDIA, NVML_BRAND_TESLA, NVML_BRAND_NVIDIA_RTX),
    "nvmlDeviceGetArchitecture": lambda v: 6 <= v <= 10,
    "nvmlDeviceGetNumGpuCores": lambda v: v > 1000,
    "nvmlDeviceGetBoardId": lambda v: v > 0,
    "nvmlDeviceGetMultiGpuBoard": lambda v: v == 0,
    "nvmlDeviceGetVbiosVersion": lambda v: v.count(".") == 4,
    "nvmlDeviceGetBoardPartNumber": lambda v: v.startswith("900-"),
    "nvmlDeviceGetInforomImageVersion": lambda v: v.startswith("G"),
    "nvmlDeviceGetInforomConfigurationChecksum": lambda v: v > 0,
    "nvmlDeviceGetPersistenceMode": lambda v: v == 1,
    "nvmlDeviceGetComputeMode": lambda v: v == NVML_COMPUTEMODE_DEFAULT,
    "nvmlDeviceGetDisplayMode": lambda v: v == 0,
    "nvmlDeviceGetDisplayActive": lambda v: v == 0,
    "nvmlDeviceGetEccMode": lambda v: v == [1, 1],
    "nvmlDeviceGetDefaultEccMode": lambda v: v == [1],
    "nvmlDeviceGetPowerUsage": lambda v: v > 5000,
    "nvmlDeviceGetTotalEnergyConsumption": lambda v: v >= 0,
    "nvmlDeviceGetPowerManagementMode": lambda v: v == 1,
    "nvmlDeviceGetPowerManagementLimit": lambda v: v >= 70000,
    "nvmlDeviceGetPowerManagementDefaultLimit": lambda v: v >= 70000,
    "nvmlDeviceGetPowerManagementLimitConstraints": lambda v: v[0] < v[1],
    "nvmlDeviceGetEnforcedPowerLimit": lambda v: v >= 70000,
    "nvmlDeviceGetPowerState": lambda v: v in (0, 8),
    "nvmlDeviceGetPerformanceState": lambda v: v in (0, 8),
    "nvmlDeviceGetPowerSource": lambda v: v == 0,
    "nvmlDeviceGetNumFans": lambda v: v == 0,
    "nvmlDeviceGetCurrPcieLinkGeneration": lambda v: 3 <= v <= 6,
    "nvmlDeviceGetMaxPcieLinkGeneration": lambda v: 3 <= v <= 6,
    "nvmlDeviceGetGpuMaxPcieLinkGeneration": lambda v: 3 <= v <= 6,
    "nvmlDeviceGetCurrPcieLinkWidth": lambda v: v == 16,
    "nvmlDeviceGetMaxPcieLinkWidth": lambda v: v == 16,
    "nvmlDeviceGetPcieSpeed": lambda v: v >= 8000,
    "nvmlDeviceGetPcieLinkMaxSpeed": lambda v: v >= 3,
    "nvmlDeviceGetPcieReplayCounter": lambda v: v == 0,
    "nvmlDeviceGetMemoryBusWidth": lambda v: v >= 256,
    "nvmlDeviceGetIrqNum": lambda v: v > 0,
    "nvmlDeviceGetBusType": lambda v: v == 2,
    "nvmlDeviceGetModuleId": lambda v: v == 1,
    "nvmlDeviceGetGspFirmwareVersion": lambda v: "580." in str(v),
    "nvmlDeviceGetGspFirmwareMode": lambda v: list(v) == [1, 1],
    "nvmlDeviceGetAccountingMode": lambda v: v == 0,
    "nvmlDeviceGetAccountingBufferSize": lambda v: v > 0,
    "nvmlDeviceGetCurrentClocksThrottleReasons": lambda v: v == nvmlClocksThrottleReasonGpuIdle,
    "nvmlDeviceGetCurrentClocksEventReasons": lambda v: v == nvmlClocksEventReasonGpuIdle,
    "nvmlDeviceGetSupportedClocksThrottleReasons": lambda v: v & 1,
    "nvmlDeviceGetSupportedClocksEventReasons": lambda v: v & 1,
    "nvmlDeviceGetSupportedMemoryClocks": lambda v: len(v) == 1,
    "nvmlDeviceGetSupportedPerformanceStates": lambda v: 0 in v,
    "nvmlDeviceGetAdaptiveClockInfoStatus": lambda v: v in (0, 1),
    "nvmlDeviceGetVirtualizationMode": lambda v: v == NVML_GPU_VIRTUALIZATION_MODE_NONE,
    "nvmlDeviceGetNumaNodeId": lambda v: v == 0,
    "nvmlDeviceGetEncoderUtilization": lambda v: v[0] == 0,
    "nvmlDeviceGetDecoderUtilization": lambda v: v[0] == 0,
    "nvmlDeviceGetJpgUtilization": lambda v: v[0] == 0,
    "nvmlDeviceGetOfaUtilization": lambda v: v[0] == 0,
    "nvmlDeviceGetEncoderStats": lambda v: tuple(v) == (0, 0, 0),
    "nvmlDeviceGetEncoderSessions": lambda v: len(v) == 0,
    "nvmlDeviceGetFBCSessions": lambda v: len(v) == 0,
    "nvmlDeviceGetSupportedEventTypes": lambda v: v & nvmlEventTypeXidCriticalError,
    "nvmlDeviceGetComputeRunningProcesses": lambda v: v == [],
    "nvmlDeviceGetGraphicsRunningProcesses": lambda v: v == [],
    "nvmlDeviceGetMPSComputeRunningProcesses": lambda v: v == [],
    "nvmlDeviceGetMarginTemperature": lambda v: v > 0,
}


def check_plain(gpu):
    for name, holds in PLAIN.items():
        value = getattr(pynvml, name)(gpu)
        assert holds(value), f"{name} gave {value!r}"
    assert nvmlDeviceGetTemperature(gpu, NVML_TEMPERATURE_GPU) > 20
    assert nvmlDeviceGetTemperatureV(gpu, NVML_TEMPERATURE_GPU) > 20
    assert (
        nvmlDeviceGetTemperatureThreshold(gpu, NVML_TEMPERATURE_THRESHOLD_SHUTDOWN)
        > nvmlDeviceGetTemperatureThreshold(gpu, NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)
    )
    for clock in (NVML_CLOCK_GRAPHICS, NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_CLOCK_VIDEO):
        now, most = nvmlDeviceGetClockInfo(gpu, clock), nvmlDeviceGetMaxClockInfo(gpu, clock)
        assert 0 < now <= most
        assert nvmlDeviceGetClock(gpu, clock, NVML_CLOCK_ID_CURRENT) == now
        assert nvmlDeviceGetMaxCustomerBoostClock(gpu, clock) == most
    memory_clock = nvmlDeviceGetSupportedMemoryClocks(gpu)[0]
    graphics = nvmlDeviceGetSupportedGraphicsClocks(gpu, memory_clock)
    assert graphics == sorted(graphics, reverse=True) and len(graphics) > 10
    raises(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetFanSpeed, gpu)
    info = nvmlDeviceGetMemoryInfo(gpu, version=nvmlMemory_v2)
    assert info.used == 0 and info.total == info.free + info.reserved
    bar1 = nvmlDeviceGetBAR1MemoryInfo(gpu)
    assert bar1.bar1Total == bar1.bar1Free + bar1.bar1Used
    assert nvmlDeviceGetTotalEccErrors(gpu, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC) == 0
    assert nvmlDeviceGetMemoryErrorCounter(gpu, 0, 0, NVML_MEMORY_LOCATION_DEVICE_MEMORY) == 0
    fields = nvmlDeviceGetFieldValues(
        gpu, [NVML_FI_DEV_ECC_DBE_AGG_TOTAL, NVML_FI_DEV_POWER_INSTANT, NVML_FI_DEV_RETIRED_SBE]
    )
    assert [f.nvmlReturn for f in fields] == [NVML_SUCCESS, NVML_SUCCESS, NVML_ERROR_NOT_SUPPORTED]
    assert fields[1].value.uiVal > 5000
    if MACHINE == "t4":
        raises(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetRemappedRows, gpu)
        assert nvmlDeviceGetRetiredPages(gpu, 0) == []
        assert nvmlDeviceGetRetiredPagesPendingStatus(gpu) == 0
    else:
        assert tuple(nvmlDeviceGetRemappedRows(gpu)) == (0, 0, 0, 0)
        assert nvmlDeviceGetRowRemapperHistogram(gpu).max > 0
        raises(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetRetiredPages, gpu, 0)
    assert nvmlUnitGetCount() == 0
    assert list(nvmlDeviceGetCpuAffinity(gpu, 2))[0] == 0xFFFFFFFF
    assert nvmlDeviceGetTopologyCommonAncestor(gpu, gpu) == NVML_TOPOLOGY_INTERNAL
    assert nvmlDeviceOnSameBoard(gpu, gpu) == 1
    raises(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetSupportedVgpus, gpu)


def check_load(gpu):
    nvmlDeviceSetAccountingMode(gpu, NVML_FEATURE_ENABLED)
    pid = attach("0", "2GiB", 0.4)
    assert nvmlDeviceGetUtilizationRates(gpu).gpu == 40
    assert nvmlDeviceGetMemoryInfo(gpu, version=nvmlMemory_v2).used == 2 * GIB
    processes = nvmlDeviceGetComputeRunningProcesses(gpu)
    assert [(p.pid, p.usedGpuMemory) for p in processes] == [(pid, 2 * GIB)]
    assert processes[0].gpuInstanceId in (None, 0xFFFFFFFF)
    assert nvmlSystemGetProcessName(pid)
    samples = nvmlDeviceGetProcessUtilization(gpu, 0)
    assert [(s.pid, s.smUtil) for s in samples] == [(pid, 40)]
    kind, values = nvmlDeviceGetSamples(gpu, NVML_GPU_UTILIZATION_SAMPLES, 0)
    assert kind == NVML_VALUE_TYPE_UNSIGNED_INT and values[0].sampleValue.uiVal == 40
    assert nvmlDeviceGetAccountingPids(gpu) == [pid]
    stats = nvmlDeviceGetAccountingStats(gpu, pid)
    assert stats.isRunning == 1 and stats.maxMemoryUsage == 2 * GIB
    end(pid)
    assert nvmlDeviceGetAccountingStats(gpu, pid).isRunning == 0
    assert nvmlDeviceGetUtilizationRates(gpu).gpu == 0
    nvmlDeviceClearAccountingPids(gpu)
    assert nvmlDeviceGetAccountingPids(gpu) == []
    nvmlDeviceSetAccountingMode(gpu, NVML_FEATURE_DISABLED)

    nvmlDeviceSetComputeMode(gpu, NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)
    assert nvmlDeviceGetComputeMode(gpu) == NVML_COMPUTEMODE_EXCLUSIVE_PROCESS
    nvmlDeviceSetComputeMode(gpu, NVML_COMPUTEMODE_DEFAULT)
    least, most = nvmlDeviceGetPowerManagementLimitConstraints(gpu)
    nvmlDeviceSetPowerManagementLimit(gpu, least)
    assert nvmlDeviceGetEnforcedPowerLimit(gpu) == least
    nvmlDeviceSetPowerManagementLimit(gpu, most)
    nvmlDeviceSetGpuLockedClocks(gpu, 600, 900)
    assert 600 <= nvmlDeviceGetClockInfo(gpu, NVML_CLOCK_SM) <= 900
    nvmlDeviceResetGpuLockedClocks(gpu)


def check_events(gpu):
    events = nvmlEventSetCreate()
    nvmlDeviceRegisterEvents(gpu, nvmlEventTypeXidCriticalError, events)
    raises(NVML_ERROR_TIMEOUT, nvmlEventSetWait_v2, events, 0)
    raiser = threading.Timer(0.05, tool, ("fault", "--gpu", "0", "--xid", "31"))
    raiser.start()
    data = nvmlEventSetWait_v2(events, 60000)
    raiser.join()
    assert data.eventType == nvmlEventTypeXidCriticalError and data.eventData == 31
    nvmlEventSetFree(events)


def check_no_mig(gpu):
    raises(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetMigMode, gpu)
    raises(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceSetMigMode, gpu, 1)
    assert nvmlDeviceGetMaxMigDeviceCount(gpu) == 0
    check_gpm_support(gpu)


def has_gpm():
    return MACHINE.startswith(("h", "b", "rtx"))


def check_gpm_support(gpu):
    assert nvmlGpmQueryDeviceSupport(gpu).isSupportedDevice == (1 if has_gpm() else 0)


def gpm(take, metric):
    samples = [nvmlGpmSampleAlloc(), nvmlGpmSampleAlloc()]
    take(samples[0])
    time.sleep(0.01)
    take(samples[1])
    request = c_nvmlGpmMetricsGet_t()
    request.version = NVML_GPM_METRICS_GET_VERSION
    request.numMetrics = 1
    request.sample1, request.sample2 = samples
    request.metrics[0].metricId = metric
    nvmlGpmMetricsGet(request)
    for sample in samples:
        nvmlGpmSampleFree(sample)
    assert request.metrics[0].nvmlReturn == NVML_SUCCESS
    return request.metrics[0].value


def placements(gpu, profile_id):
    """First the number, then as many."""
    count = ctypes.c_uint(0)
    nvmlDeviceGetGpuInstancePossiblePlacements(gpu, profile_id, None, ctypes.byref(count))
    found = (c_nvmlGpuInstancePlacement_t * count.value)()
    nvmlDeviceGetGpuInstancePossiblePlacements(gpu, profile_id, found, ctypes.byref(count))
    return list(found)


def check_mig(gpu, expected):
    most, profile_count = expected[3], expected[4]
    assert nvmlDeviceGetMigMode(gpu) == [0, 0]
    assert nvmlDeviceSetMigMode(gpu, NVML_DEVICE_MIG_ENABLE) in (NVML_SUCCESS, None)
    assert nvmlDeviceGetMigMode(gpu) == [1, 1]
    assert nvmlDeviceGetMaxMigDeviceCount(gpu) == most
    profiles = []
    for number in range(NVML_GPU_INSTANCE_PROFILE_COUNT):
        try:
            profiles.append(nvmlDeviceGetGpuInstanceProfileInfo(gpu, number, version=2))
        except NVMLError_NotSupported:
            pass
    assert len(profiles) == profile_count, [p.name for p in profiles]
    assert all(p.memorySizeMB > 0 and p.multiprocessorCount > 0 for p in profiles)

    # As many of the smallest as there are slices.
    small = next(p for p in profiles if p.sliceCount == 1 and p.instanceCount == most)
    for i in range(most):
        assert nvmlDeviceGetGpuInstanceRemainingCapacity(gpu, small.id) == most - i
        instance = nvmlDeviceCreateGpuInstance(gpu, small.id)
        part = nvmlGpuInstanceGetComputeInstanceProfileInfo(instance, 0, 0)
        nvmlGpuInstanceCreateComputeInstance(instance, part.id)
    raises(NVML_ERROR_INSUFFICIENT_RESOURCES, nvmlDeviceCreateGpuInstance, gpu, small.id)
    assert len(placements(gpu, small.id)) == most
    uuids = set()
    for i in range(most):
        device = nvmlDeviceGetMigDeviceHandleByIndex(gpu, i)
        assert nvmlDeviceIsMigDeviceHandle(device)
        assert nvmlDeviceGetUUID(nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device)) == nvmlDeviceGetUUID(gpu)
        uuids.add(nvmlDeviceGetUUID(device))
        attributes = nvmlDeviceGetAttributes(device)
        assert attributes.memorySizeMB == small.memorySizeMB
        assert attributes.multiprocessorCount == small.multiprocessorCount
        assert nvmlDeviceGetMemoryInfo(device).total == small.memorySizeMB << 20
        assert "MIG 1g." in nvmlDeviceGetName(device)
        instance = nvmlDeviceGetGpuInstanceById(gpu, nvmlDeviceGetGpuInstanceId(device))
        assert nvmlGpuInstanceGetInfo(instance).id == nvmlDeviceGetGpuInstanceId(device)
        raises(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetUtilizationRates, device)
    assert len(uuids) == most

    pid = attach("0:1", "1GiB", 0.5)
    device = nvmlDeviceGetMigDeviceHandleByIndex(gpu, 1)
    gi_id, ci_id = nvmlDeviceGetGpuInstanceId(device), nvmlDeviceGetComputeInstanceId(device)
    for handle in (gpu, device):
        found = [(p.pid, p.gpuInstanceId, p.computeInstanceId) for p in nvmlDeviceGetComputeRunningProcesses(handle)]
        assert found == [(pid, gi_id, ci_id)], found
    instance = nvmlDeviceGetGpuInstanceById(gpu, gi_id)
    compute = nvmlGpuInstanceGetComputeInstanceById(instance, ci_id)
    raises(NVML_ERROR_IN_USE, nvmlComputeInstanceDestroy, compute)
    raises(NVML_ERROR_IN_USE, nvmlGpuInstanceDestroy, instance)
    raises(NVML_ERROR_NOT_SUPPORTED, nvmlDeviceGetUtilizationRates, gpu)
    check_gpm_support(gpu)
    if has_gpm():
        value = gpm(lambda s: nvmlGpmMigSampleGet(gpu, gi_id, s), NVML_GPM_METRIC_SM_UTIL)
        assert 49 < value < 51, value
    end(pid)

    for i in reversed(range(most)):
        device = nvmlDeviceGetMigDeviceHandleByIndex(gpu, i)
        instance = nvmlDeviceGetGpuInstanceById(gpu, nvmlDeviceGetGpuInstanceId(device))
        nvmlComputeInstanceDestroy(nvmlGpuInstanceGetComputeInstanceById(instance, 0))
        nvmlGpuInstanceDestroy(instance)
    raises(NVML_ERROR_NOT_FOUND, nvmlDeviceGetMigDeviceHandleByIndex, gpu, 0)
    # What takes the whole GPU, and part of it at a chosen place.
    whole = next(p for p in profiles if p.id == 0)
    instance = nvmlDeviceCreateGpuInstance(gpu, whole.id)
    assert nvmlGpuInstanceGetInfo(instance).id == 0
    nvmlGpuInstanceDestroy(instance)
    place = placements(gpu, small.id)[1]
    instance = nvmlDeviceCreateGpuInstanceWithPlacement(gpu, small.id, ctypes.byref(place))
    assert nvmlGpuInstanceGetInfo(instance).placement.start == place.start
    nvmlGpuInstanceDestroy(instance)
    nvmlDeviceSetMigMode(gpu, NVML_DEVICE_MIG_DISABLE)
    assert nvmlDeviceGetMigMode(gpu) == [0, 0]


def check_symbols():
    """The library has every function that a driver of this age has and the binding looks for."""
    library = ctypes.CDLL("libnvidia-ml.so.1")
    source = inspect.getsource(pynvml)
    wanted = {part.split('"')[0] for part in source.split('_nvmlGetFunctionPointer("')[1:]}
    # Added after driver 580.
    newer = ("_v1", "EventSetWait_v3", "FabricInfo_v4", "RemappedRows_v2", "AccountingStats_v2")
    missing = [s for s in sorted(wanted) if not hasattr(library, s)]
    unexpected = [s for s in missing if not s.endswith(newer) and "VgpuScheduler" not in s]
    assert not unexpected, unexpected


def main():
    expected = EXPECTED[MACHINE]
    nvmlInit()
    assert nvmlDeviceGetCount() == 1
    gpu = nvmlDeviceGetHandleByIndex(0)
    check_identity(gpu, expected)
    check_plain(gpu)
    check_load(gpu)
    check_events(gpu)
    if expected[3]:
        check_mig(gpu, expected)
    else:
        check_no_mig(gpu)
    check_symbols()
    nvmlShutdown()
    raises(NVML_ERROR_UNINITIALIZED, nvmlDeviceGetCount)


main()
