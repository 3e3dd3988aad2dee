load common

# The kernel's files as they lie under a vGPU host driver of a kernel from 6.8 on; what a real one
# does with an order is in src/edge/driver/vgpu/fake_sysfs.h.
GPU=0000:41:00.0
kernel_files() {
  local pci=$DIR/root/sys/bus/pci/devices
  mkdir -p "$pci/$GPU" "$DIR/root/proc" "$DIR/root/usr/lib/nvidia"
  touch "$DIR/root/usr/lib/nvidia/sriov-manage"
  echo 0x10de >"$pci/$GPU/vendor"
  echo 0x030200 >"$pci/$GPU/class"
  echo 4 >"$pci/$GPU/sriov_totalvfs"
  local i function
  for i in 4 5 6; do
    function=0000:41:00.$i
    mkdir -p "$pci/$function/nvidia" "$pci/$function/vfio-dev/vfio$i"
    ln -s "../$function" "$pci/$GPU/virtfn$((i - 4))"
    ln -s "../$GPU" "$pci/$function/physfn"
    echo 0x10de >"$pci/$function/vendor"
    echo 0x030200 >"$pci/$function/class"
    echo 0 >"$pci/$function/nvidia/current_vgpu_type"
    printf 'ID    : vGPU Name\n557   : NVIDIA A40-48C\n559   : NVIDIA A40-8C\n563   : NVIDIA A40-8Q\n' >"$pci/$function/nvidia/creatable_vgpu_types"
  done
}
vgpu() { TRANCHE_STATE_DIR=$DIR/state "$TRANCHE_BIN/tranche" vgpu "$@" --root "$DIR/root"; }

@test "vGPUs are listed, made by size, given to libvirt, and taken away" {
  kernel_files
  run vgpu list -o json
  echo "$output"
  [[ $(jq -r '.gpus[0].interface' <<<"$output") == vendor-vfio ]]
  [[ $(jq -r '[.gpus[0].creatable[].type] | join(" ")' <<<"$output") == "NVIDIA A40-48C NVIDIA A40-8C NVIDIA A40-8Q" ]]
  run vgpu create 0 --memory 6GiB --owner db-vm -o json
  echo "$output"
  [[ $status -eq 0 && $(jq -r '.vgpu.type' <<<"$output") == "NVIDIA A40-8C" ]]
  local id
  id=$(jq -r .vgpu.id <<<"$output")
  [[ $(cat "$DIR/root/sys/bus/pci/devices/$id/nvidia/current_vgpu_type") == 559 ]]
  run vgpu list
  echo "$output"
  [[ $output == *"$id"*"NVIDIA A40-8C"*"8 GiB"*"db-vm"* ]]
  vgpu xml "$id" >"$DIR/device.xml"
  { echo "<domain type='kvm'><name>db</name><memory unit='GiB'>4</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='q35'>hvm</type></os><devices>"
    cat "$DIR/device.xml"
    echo "</devices></domain>"; } >"$DIR/domain.xml"
  virt-xml-validate "$DIR/domain.xml" domain
  fails_with 64 vgpu destroy "$id"
  vgpu destroy "$id" --yes
  [[ $(cat "$DIR/root/sys/bus/pci/devices/$id/nvidia/current_vgpu_type") == 0 ]]
}

@test "one that is in use, or is not Tranche's, is left alone" {
  kernel_files
  vgpu create "$GPU" --type A40-8C
  mkdir -p "$DIR/root/proc/4242/fd"
  ln -s /dev/vfio/devices/vfio4 "$DIR/root/proc/4242/fd/9"
  fails_with 6 vgpu destroy 0000:41:00.4 --yes
  [[ $output == *"in use by pid 4242"* ]]
  echo 563 >"$DIR/root/sys/bus/pci/devices/0000:41:00.5/nvidia/current_vgpu_type"
  fails_with 77 vgpu destroy 0000:41:00.5 --yes
  [[ $output == *"did not make"*"--adopt"* ]]
  vgpu destroy 0000:41:00.5 --yes --adopt
  # Where ours was is another now.
  rm -r "$DIR/root/proc/4242"
  echo 557 >"$DIR/root/sys/bus/pci/devices/0000:41:00.4/nvidia/current_vgpu_type"
  fails_with 77 vgpu destroy 0000:41:00.4 --yes
}

@test "what cannot be is said, with what can" {
  kernel_files
  fails_with 3 vgpu create 0 --type A40-9C
  [[ $output == *"A40-8C"* ]]
  fails_with 3 vgpu create 0 --memory 96GiB
  fails_with 64 vgpu create 0
  fails_with 64 vgpu create 0 --memory 8
  fails_with 64 vgpu create 0 --memory 8GiB --series Z
  fails_with 64 vgpu frobnicate
  run vgpu create 7 --memory 8GiB
  [[ $status -ne 0 && $output == *"there are $GPU"* ]]
  rm -r "$DIR/root/sys/bus/pci/devices/$GPU"/virtfn* "$DIR/root/usr"
  run vgpu list
  echo "$output"
  [[ $status -eq 0 && $output == *"no vGPU host driver"* ]]
}

@test "files that are half written are named, and other GPUs are shown all the same" {
  kernel_files
  local pci=$DIR/root/sys/bus/pci/devices other=0000:42:00.0
  mkdir -p "$pci/$other" "$pci/0000:42:00.4/nvidia"
  ln -s ../0000:42:00.4 "$pci/$other/virtfn0"
  ln -s "../$other" "$pci/0000:42:00.4/physfn"
  echo 0x10de | tee "$pci/$other/vendor" >"$pci/0000:42:00.4/vendor"
  echo 0x030200 | tee "$pci/$other/class" >"$pci/0000:42:00.4/class"
  echo 0 >"$pci/0000:42:00.4/nvidia/current_vgpu_type"
  # The list of types is missing, then it is no list.
  fails_with 1 vgpu list
  [[ $output == *"$GPU: 3 virtual functions"* && $output == *"$other could not be read"*creatable_vgpu_types* ]]
  echo "<garbage>" >"$pci/0000:42:00.4/nvidia/creatable_vgpu_types"
  fails_with 1 vgpu list -o json
  [[ $(jq -r '.unavailable["0000:42:00.0"]' <<<"$output") == *"is no type: '<garbage>'"* && $(jq '.gpus | length' <<<"$output") == 1 ]]
  fails_with 1 vgpu list "$other"
  fails_with 1 vgpu create "$other" --type A40-8C
  # One that may be there is not said to be nowhere.
  fails_with 1 vgpu destroy 0000:42:00.4 --yes
  [[ $output == *"looking for the vGPU"* ]]
  echo what >"$pci/0000:42:00.4/nvidia/current_vgpu_type"
  echo '559 : NVIDIA A40-8C' >"$pci/0000:42:00.4/nvidia/creatable_vgpu_types"
  fails_with 1 vgpu list
  [[ $output == *"current_vgpu_type holds no type's number"* ]]
  # Given to another driver by hand.
  rm -r "$pci/0000:42:00.4/nvidia"
  fails_with 1 vgpu list
  [[ $output == *"are not the vGPU driver's"* ]]
}

@test "that nothing can be made is not said to be for others where there are none" {
  kernel_files
  local i
  for i in 4 5 6; do echo 'ID    : vGPU Name' >"$DIR/root/sys/bus/pci/devices/0000:41:00.$i/nvidia/creatable_vgpu_types"; done
  run vgpu list
  echo "$output"
  [[ $status -eq 0 && $output == *"there is no vGPU on it"* && $output != *"it is full"* ]]
  fails_with 3 vgpu create 0 --type A40-8C
  [[ $output == *"something else has it"* ]]
  echo 557 >"$DIR/root/sys/bus/pci/devices/0000:41:00.4/nvidia/current_vgpu_type"
  run vgpu list
  [[ $output == *"it is full"* ]]
}

@test "the catalog shows the types of a GPU, what backs them and what they cost" {
  catalog() { "$TRANCHE_BIN/tranche" catalog vgpu "$@"; }
  run catalog A40
  echo "$output"
  [[ $status -eq 0 && $output == *"A40-48C"*"A40-4C"*"NVIDIA AI Enterprise for each GPU"* && $output != *L40S* ]]
  run catalog A40 -o json
  jq -e '.vgpu_types | map(select(.type == "A40-8C"))[0] | .framebuffer_bytes == 8589934592 and .guest_memory_bytes < .framebuffer_bytes
         and .most == 6 and .most_mixed == 4 and .series == "C" and .licence == "NVIDIA AI Enterprise" and .confidence == "high"' <<<"$output"
  jq -e '[.licences[].series] == ["C", "Q", "A", "B"]' <<<"$output"
  # By an alias, too; those that MIG backs share an instance where their board can do that.
  run catalog RTX-PRO-6000-SERVER -o json
  jq -e '.vgpu_types | map(select(.type | endswith("DC-1-12C")))[0] | .mig_profile == "1g.24gb+gfx" and .most_per_instance == 2 and .most == 8' <<<"$output"
  jq -e '.vgpu_types | map(select(.type | endswith("DC-8C")))[0].unavailable.most_mixed' <<<"$output"
  run catalog H100-SXM5-80GB -o json
  jq -e '.vgpu_types | map(select(.type == "H100XM-1-10CME"))[0] | .mig_profile == "1g.10gb+me" and .most_per_instance == 1' <<<"$output"
  run catalog -o csv
  [[ $(wc -l <<<"$output") -gt 100 ]]
  fails_with 64 catalog GTX-9000
  fails_with 64 catalog V100-SXM2-16GB
  echo "$output"
  fails_with 64 "$TRANCHE_BIN/tranche" catalog vgpus
  [[ $output == *"did you mean"* ]]
  fails_with 64 catalog A40 --layouts
  fails_with 64 "$TRANCHE_BIN/tranche" catalog models A40
}
