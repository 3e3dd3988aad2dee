"""nvitop and gpustat on simulated machines: what they print is what the machine has.

Arguments: the folder with both programs. Makes its own machines.
"""

import json
import os
import subprocess
import sys
import tempfile

PROGRAMS = sys.argv[1]
TOOL = os.environ["TRANCHE_SIM"]
GIB = 1 << 30


class Machine:
    """One simulated machine, gone with its processes at the end of the `with` block."""

    def __init__(self, *arguments):
        self.arguments = arguments
        self.pids = []

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.dir = self.folder.name + "/machine"
        self.tool("create", *self.arguments)
        return self

    def __exit__(self, *_):
        for pid in self.pids:
            os.kill(pid, 9)
        self.folder.cleanup()

    def tool(self, verb, *arguments):
        return subprocess.run(
            [TOOL, verb, self.dir, *arguments], check=True, capture_output=True, text=True
        ).stdout

    def attach(self, gpu, memory, load):
        self.pids.append(int(self.tool("attach", "--gpu", gpu, "--memory", memory, "--load", str(load))))
        return self.pids[-1]

    def run(self, program, *arguments):
        result = subprocess.run(
            [TOOL, "exec", self.dir, "--", f"{PROGRAMS}/{program}", *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "COLUMNS": "160", "TERM": "xterm", "PYTHONIOENCODING": "utf-8"},
        )
        assert result.returncode == 0, f"{program}: {result.stdout}{result.stderr}"
        return result.stdout

    # MIG devices through the Python binding, as an administrator's script would make them.
    def slice(self, gpu, profile_id, compute_id):
        code = (
            "from pynvml import *; nvmlInit(); "
            f"g = nvmlDeviceGetHandleByIndex({gpu}); nvmlDeviceSetMigMode(g, 1); "
            f"nvmlGpuInstanceCreateComputeInstance(nvmlDeviceCreateGpuInstance(g, {profile_id}), {compute_id})"
        )
        self.run("python", "-c", code)


def whole_gpus():
    for model, name, mib in (("L40S", "L40S", 46068), ("T4", "Tesla T4", 15360), ("H100-SXM5-80GB", "H100 80GB HBM3", 81559)):
        with Machine("--gpu", f"{model}:2") as machine:
            pid = machine.attach("1", "3GiB", 0.6)
            text = machine.run("nvitop", "-1")
            assert name in text and "580.95.05" in text and str(pid) in text, text
            assert "60%" in text, text
            answer = json.loads(machine.run("gpustat", "--json"))
            assert answer["driver_version"] == "580.95.05"
            first, second = answer["gpus"]
            assert first["memory.total"] == second["memory.total"] == mib, answer
            assert first["processes"] == [] and first["utilization.gpu"] == 0
            assert second["utilization.gpu"] == 60
            assert [(p["pid"], p["gpu_memory_usage"]) for p in second["processes"]] == [(pid, 3 * 1024)]
            assert second["enforced.power.limit"] > 0 and second["power.draw"] > first["power.draw"]


def mig_devices():
    for model, profile_id, mib in (("A100-SXM4-40GB", 19, 4864), ("H200-SXM5-141GB", 19, 16384), ("A30", 14, 5952)):
        with Machine("--gpu", model) as machine:
            machine.slice(0, profile_id, 0)
            machine.slice(0, profile_id, 0)
            pid = machine.attach("0:1", "1GiB", 0.5)
            text = machine.run("nvitop", "-1")
            assert "Enabled" in text and "0:0" in text and "0:1" in text, text
            assert f"{mib}MiB" in text or f"{mib / 1024:.2f}GiB" in text, text
            assert str(pid) in text and "1024MiB" in text, text
            (gpu,) = json.loads(machine.run("gpustat", "--json"))["gpus"]
            # Not known in MIG mode, which is not the same as zero.
            assert gpu["utilization.gpu"] is None
            assert [p["pid"] for p in gpu["processes"]] == [pid]


def broken_machines():
    with Machine("--machine", "broken-no-driver") as machine:
        result = subprocess.run(
            [TOOL, "exec", machine.dir, "--", f"{PROGRAMS}/gpustat", "--json"], capture_output=True, text=True
        )
        assert result.returncode != 0
    with Machine("--machine", "broken-missing-symbols") as machine:
        # Both fall back to what there is.
        assert "H100" in machine.run("nvitop", "-1")
        assert json.loads(machine.run("gpustat", "--json"))["gpus"][0]["memory.total"] == 81559
    with Machine("--machine", "broken-unknown-gpu") as machine:
        names = [gpu["name"] for gpu in json.loads(machine.run("gpustat", "--json"))["gpus"]]
        assert names == ["NVIDIA L40S", "NVIDIA X9000"], names


def big_node():
    with Machine("--machine", "h100-node") as machine:
        gpus = json.loads(machine.run("gpustat", "--json"))["gpus"]
        assert len(gpus) == 8 and len({gpu["uuid"] for gpu in gpus}) == 8


for check in (whole_gpus, mig_devices, broken_machines, big_node):
    check()
    print(f"ok {check.__name__}")
