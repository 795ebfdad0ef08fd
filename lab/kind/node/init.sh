#!/bin/bash
# PID 1 of the lab's own node image: what kind expects of a node, without systemd.
set -u
say() { echo "node: $*" >&2; }

mount --make-rshared /
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
  # Version 2 has no processes in a group that passes controllers on.
  mount -o remount,rw /sys/fs/cgroup 2>/dev/null
  mkdir -p /sys/fs/cgroup/init
  xargs -rn1 < /sys/fs/cgroup/cgroup.procs > /sys/fs/cgroup/init/cgroup.procs 2>/dev/null || true
  sed -e 's/ / +/g' -e 's/^/+/' < /sys/fs/cgroup/cgroup.controllers > /sys/fs/cgroup/cgroup.subtree_control
else
  for controller in /sys/fs/cgroup/*/; do
    mount -o remount,rw "$controller" 2>/dev/null || mount -o remount,rw,bind "$controller" || say "cannot make $controller writable"
    mkdir -p "$controller/kubelet"
  done
  for file in cpus mems; do
    cat "/sys/fs/cgroup/cpuset/cpuset.$file" > "/sys/fs/cgroup/cpuset/kubelet/cpuset.$file"
  done
fi
# Docker's own name server is on a loopback address, which Pods do not share.
echo "nameserver $(ip -4 route show default | cut -d" " -f3)" > /etc/resolv.conf

mkdir -p /run/containerd /var/lib/kubelet
containerd > /var/log/containerd.log 2>&1 &
for _ in $(seq 200); do ctr version > /dev/null 2>&1 && break; sleep 0.1; done
if [ ! -e /var/lib/images-imported ]; then  # else the node was restarted
  for archive in /kind/images/*.tar; do
    ctr --namespace k8s.io images import --all-platforms "$archive" >&2 || say "cannot import $archive"
  done
  touch /var/lib/images-imported
fi
say "Reached target Multi-User System, or what stands for it here; detected cgroup v1 or 2"  # kind waits for such a line

trap 'exit 0' TERM INT RTMIN+3
while :; do
  if [ -f /var/lib/kubelet/config.yaml ]; then
    KUBELET_KUBEADM_ARGS=
    [ -f /var/lib/kubelet/kubeadm-flags.env ] && . /var/lib/kubelet/kubeadm-flags.env
    # shellcheck disable=SC2086 # they are several
    kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf \
      --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS >> /var/log/kubelet.log 2>&1 &
    wait $!
    say "kubelet ended: $?"
  fi
  sleep 0.3 &
  wait $!
done
