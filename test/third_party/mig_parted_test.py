#!/usr/bin/env python3
"""NVIDIA's own nvidia-mig-parted and Tranche, side by side on two machines that are alike.

mig_parted_test.py BIN MIG_PARTED LAYOUTS [--json FILE] [--gpu MODEL]...
  BIN         holds tranche, tranched and tranche-sim
  MIG_PARTED  their program, as it was built
  LAYOUTS     the layouts that they ship

Each layout that a GPU can have is applied on both, one after the other, so that each change starts
at the layout before. Then layouts that only grow, and two that fail. What there is afterwards must
be the same; how many instances each destroyed and created on the way is counted by the machine.
"""
import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

# One of each kind whose profiles differ.
GPUS = ["A30", "A100-SXM4-40GB", "A100-SXM4-80GB", "H100-SXM5-80GB", "H100-NVL-94GB", "H200-SXM5-141GB",
        "GH200-480GB", "GH200-144GB", "B200-180GB", "GB200", "GB200-189GB", "B300", "GB300", "RTX-PRO-6000-SERVER"]

GROWING = """version: v1
mig-configs:
  one: [{devices: all, mig-enabled: true, mig-devices: {"3g.40gb": 1}}]
  two: [{devices: all, mig-enabled: true, mig-devices: {"3g.40gb": 1, "1g.10gb": 1}}]
  three: [{devices: all, mig-enabled: true, mig-devices: {"3g.40gb": 1, "1g.10gb": 2}}]
  four: [{devices: all, mig-enabled: true, mig-devices: {"3g.40gb": 1, "2g.20gb": 1, "1g.10gb": 2}}]
"""
FAILING = """version: v1
mig-configs:
  before: [{devices: all, mig-enabled: true, mig-devices: {"2g.20gb": 2, "1g.10gb": 1}}]
  too-much: [{devices: all, mig-enabled: true, mig-devices: {"3g.40gb": 2, "1g.10gb": 1}}]
  other: [{devices: all, mig-enabled: true, mig-devices: {"3g.40gb": 2}}]
"""


class Failure(Exception):
    pass


class Machine:
    def __init__(self, test, name, arguments):
        self.test, self.dir = test, os.path.join(test.scratch, name)
        self.run_sim("create", self.dir, *arguments)

    def run_sim(self, *arguments):
        return subprocess.run([self.test.sim, *arguments], capture_output=True, text=True, check=True).stdout

    def run(self, *command, root=False):
        root_option = ["--root"] if root else []
        return subprocess.run(
            [self.test.sim, "exec", self.dir, *root_option, "--", *command],
            capture_output=True, text=True, timeout=120)

    def look(self):
        return json.loads(self.run_sim("show", self.dir, "-o", "json"))

    def instances(self):
        """Of each GPU the profiles, in no order."""
        return [sorted(i["profile"] for i in gpu["gpu_instances"]) for gpu in self.look()["gpus"]]

    def counts(self):
        gpus = self.look()["gpus"]
        return (sum(g["instances_destroyed"] for g in gpus), sum(g["instances_created"] for g in gpus))

    def profiles(self):
        on = json.loads(self.run_sim("show", self.dir, "-o", "json"))["gpus"][0]["mig_mode"]
        if not on:
            self.run("nvidia-smi", "-mig", "1")
        names = set(re.findall(r"MIG (\S+)", self.run("nvidia-smi", "mig", "-lgip").stdout))
        if not on:
            self.run("nvidia-smi", "-mig", "0")
        return names


class Theirs(Machine):
    def apply(self, layouts, name):
        return self.run(self.test.mig_parted, "apply", "-f", layouts, "-c", name, root=True)

    def asserts(self, layouts, name):
        return self.run(self.test.mig_parted, "assert", "-f", layouts, "-c", name, root=True).returncode == 0

    def busy(self, *_):
        pass


class Ours(Machine):
    """With a daemon, as it is used."""

    def __init__(self, test, name, arguments):
        super().__init__(test, name, arguments)
        self.log = open(self.dir + ".log", "w")
        self.daemon = subprocess.Popen(
            [test.sim, "exec", self.dir, "--", test.tranched], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 30
        while self.run(test.tranche, "status").returncode != 0:
            if time.monotonic() > deadline or self.daemon.poll() is not None:
                raise Failure("the daemon does not answer: " + open(self.dir + ".log").read())
            time.sleep(0.05)
        inventory = self.run(test.tranche, "inventory", "-o", "json")
        with open(self.dir + ".json", "w") as file:
            file.write(inventory.stdout)

    def apply(self, layouts, name):
        imported = self.run(self.test.tranche, "import", layouts, "--config", name, "--hold", "-q",
                            "--machine", self.dir + ".json")
        if imported.returncode != 0:
            return imported
        spec = self.dir + ".yaml"
        with open(spec, "w") as file:
            file.write(imported.stdout)
        root = ["--allow-root"] if os.geteuid() == 0 else []
        return self.run(self.test.tranche, "apply", "-f", spec, "--yes", "--timeout", "40s", *root)

    def close(self):
        self.run(self.test.tranche, "down", "--yes", "-q")
        self.daemon.terminate()
        self.daemon.wait(timeout=60)
        self.log.close()


def shipped_layouts(path):
    """Names to the profiles that they name; the file is read by them, this is to know what to ask for."""
    layouts, name = collections.OrderedDict(), None
    for line in open(path):
        found = re.match(r"  ([\w.+-]+):\s*$", line)
        if found:
            name = found.group(1)
            layouts[name] = set()
        found = re.match(r"\s{8}\"?([\d\w.+-]+)\"?:\s*\d+", line)
        if found and name:
            layouts[name].add(found.group(1))
    return layouts


class Test:
    def __init__(self, options):
        bin_folder = os.path.abspath(options.bin)
        self.sim, self.tranche, self.tranched = (
            os.path.join(bin_folder, n) for n in ("tranche-sim", "tranche", "tranched"))
        self.mig_parted, self.layouts = map(os.path.abspath, (options.mig_parted, options.layouts))
        self.scratch = tempfile.mkdtemp(prefix="tranche-mp.", dir="/tmp")
        self.failures, self.result, self.seen = [], {}, set()

    def complain(self, text):
        self.failures.append(text)
        print("FAILED  " + text, flush=True)

    def change(self, machine, layouts, name):
        before = machine.counts()
        done = machine.apply(layouts, name)
        after = machine.counts()
        return done, after[0] - before[0], after[1] - before[1]

    def wanted(self, name):
        """The instances of a layout on a machine of one GPU, where it says no more than a profile and how many."""
        text = open(self.layouts).read()
        block = re.search(rf"^  {re.escape(name)}:\n((?:    .*\n|\n)+)", text, re.M).group(1)
        counts = re.findall(r"\"?([\d\w.+-]+)\"?:\s*(\d+)\s*$", block, re.M)
        return [sorted(profile for profile, count in counts for _ in range(int(count)))]

    def walk(self, kind, wanted):
        """All shipped layouts that this kind of GPU can have, in the order in which they are shipped."""
        arguments = ["--gpu", kind] + (["--driver", "615.36"] if kind == "GB300" else [])
        theirs, ours = Theirs(self, kind + "-theirs", arguments), None
        row = {"layouts": 0, "same": 0, "theirs": [0, 0], "ours": [0, 0]}
        try:
            ours = Ours(self, kind + "-ours", arguments)
            known = theirs.profiles()
            for name, profiles in wanted.items():
                if not profiles or not profiles & known:
                    continue
                # Its filter knows GPUs by their PCI id, which this one shares with another.
                if name == "all-balanced" and kind == "GB200-189GB":
                    continue
                their, *counts_t = self.change(theirs, self.layouts, name)
                if their.returncode != 0:
                    self.complain(f"{kind} {name}: mig-parted: {their.stderr.strip()}")
                    continue
                our, *counts_o = self.change(ours, self.layouts, name)
                if our.returncode != 0:
                    self.complain(f"{kind} {name}: tranche ended with {our.returncode}: {our.stderr.strip()}")
                row["layouts"] += 1
                row["theirs"] = [a + b for a, b in zip(row["theirs"], counts_t)]
                row["ours"] = [a + b for a, b in zip(row["ours"], counts_o)]
                self.seen.add(name)
                if not theirs.asserts(self.layouts, name):
                    # It says that it succeeded, and does not find afterwards what it was to make.
                    row.setdefault("not_made_by_theirs", []).append(name)
                    row["layouts"] -= 1
                    if self.wanted(name) != ours.instances():
                        self.complain(f"{kind} {name}: ours {ours.instances()}")
                elif theirs.instances() == ours.instances():
                    row["same"] += 1
                else:
                    self.complain(f"{kind} {name}: theirs {theirs.instances()}, ours {ours.instances()}")
        finally:
            if ours:
                ours.close()
        self.result.setdefault("shipped", {})[kind] = row
        print(f"ok      {kind}: {row['same']} of {row['layouts']} layouts end the same; destroyed and created: "
              f"theirs {row['theirs']}, ours {row['ours']}", flush=True)

    def write(self, name, text):
        path = os.path.join(self.scratch, name)
        with open(path, "w") as file:
            file.write(text)
        return path

    def grow(self):
        path = self.write("growing.yaml", GROWING)
        arguments = ["--gpu", "H100-SXM5-80GB"]
        theirs, ours = Theirs(self, "growing-theirs", arguments), Ours(self, "growing-ours", arguments)
        rows = []
        try:
            for name in ("one", "two", "three", "four"):
                row = {"layout": name}
                for who, machine in (("theirs", theirs), ("ours", ours)):
                    done, destroyed, created = self.change(machine, path, name)
                    if done.returncode != 0:
                        self.complain(f"growing to {name}: {who}: {done.stderr.strip()}")
                    row[who] = [destroyed, created]
                if theirs.instances() != ours.instances():
                    self.complain(f"growing to {name}: theirs {theirs.instances()}, ours {ours.instances()}")
                if row["ours"][0] != 0:
                    self.complain(f"growing to {name}: ours destroyed {row['ours'][0]} instances")
                rows.append(row)
        finally:
            ours.close()
        self.result["growing"] = rows
        print("ok      growing: " + ", ".join(f"{r['layout']}: theirs {r['theirs']}, ours {r['ours']}" for r in rows),
              flush=True)

    def fail(self):
        """What is left when a layout cannot be made: it does not fit, or somebody computes where it would be."""
        path = self.write("failing.yaml", FAILING)
        rows = []
        for scene, name in (("does not fit", "too-much"), ("a slice is busy", "other")):
            row = {"scene": scene}
            for who, kind in (("theirs", Theirs), ("ours", Ours)):
                machine = kind(self, f"failing-{name}-{who}", ["--gpu", "H100-SXM5-80GB"])
                process = None
                try:
                    machine.apply(path, "before")
                    before = machine.instances()
                    if name == "other":
                        process = int(machine.run_sim("attach", machine.dir, "--gpu", "0:0", "--memory", "1GiB"))
                    done, destroyed, created = self.change(machine, path, name)
                    if done.returncode == 0:
                        self.complain(f"{scene}: {who} succeeded")
                    left = machine.instances()
                    row[who] = {"code": done.returncode, "destroyed": destroyed, "created": created,
                                "instances_before": len(before[0]), "instances_after": len(left[0]),
                                "empty": not left[0]}
                    if who == "ours" and (left != before or destroyed or created):
                        self.complain(f"{scene}: ours changed {before} to {left}")
                finally:
                    if process:
                        os.kill(process, 9)
                    if who == "ours":
                        machine.close()
            rows.append(row)
            print(f"ok      {scene}: theirs {row['theirs']}, ours {row['ours']}", flush=True)
        self.result["failing"] = rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bin")
    parser.add_argument("mig_parted")
    parser.add_argument("layouts")
    parser.add_argument("--json")
    parser.add_argument("--gpu", action="append")
    options = parser.parse_args()
    test = Test(options)
    try:
        wanted = shipped_layouts(test.layouts)
        for kind in options.gpu or GPUS:
            test.walk(kind, wanted)
        missing = [name for name, profiles in wanted.items() if profiles and name not in test.seen]
        test.result["layouts"] = {"shipped": len(wanted), "made": len(test.seen), "of_no_gpu_here": missing}
        test.grow()
        test.fail()
    finally:
        shutil.rmtree(test.scratch, ignore_errors=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(test.result, file, indent=2)
            file.write("\n")
    print(f"mig-parted: {len(test.failures)} failures")
    sys.exit(1 if test.failures else 0)


if __name__ == "__main__":
    main()
