#!/usr/bin/env bash
# Process 1 of a node's namespaces: makes them a machine of their own, then runs the programs. When it ends, the kernel ends
# everything in them; it ends when its parent does.
# usage: init.sh DIRECTORY ADDRESS SERVICES PROGRAM...
# For each PROGRAM, DIRECTORY has a script PROGRAM.sh. It runs while there is no file PROGRAM.hold; who wants it to stop makes
# that file and kills it. One that ends by itself is not started again: it is named in the file `ended`.
set -euo pipefail
directory=$1 address=$2 services=$3
shift 3
cd "$directory"

# What the kubelet mounts must reach the containers that containerd starts.
mount --make-rshared /
# The programs have paths built in that are the host's.
for path in /run /var/lib /var/log /opt; do mount -t tmpfs -o mode=755 tmpfs "$path"; done
mkdir -p /run/lock /run/settings /var/log/pods
# The kubelet wants these settings, which are the whole machine's: it is given files of its own, with what it wants in them.
while read -r setting value; do
  echo "$value" >"/run/settings/${setting//\//.}"
  mount --bind "/run/settings/${setting//\//.}" "/proc/sys/$setting"
done <<'SETTINGS'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SETTINGS
hostname node
ulimit -n 20000

# A node's address has to be on an interface that is no loopback; the cable's other end is in here too. There is no way out:
# no route leaves these namespaces.
ip link set lo up
ip link add eth0 type veth peer name cable
ip address add "$address/24" dev eth0
ip link set cable up
ip link set eth0 up
# A packet to a Service must have a route before kube-proxy's rules turn it elsewhere.
ip route add "$services" dev eth0
echo 1 >/proc/sys/net/ipv4/ip_forward

run() {
  local status
  while :; do
    while [ -e "$1.hold" ]; do sleep 0.05; done
    bash "$1.sh" >>"$1.log" 2>&1 </dev/null &
    echo $! >"$1.pid.new" && mv "$1.pid.new" "$1.pid"
    status=0
    wait $! || status=$?
    # In this order: who made the hold takes it away as soon as the pid has gone.
    [ -e "$1.hold" ] || { echo "$1 ended with status $status" >>ended; rm -f "$1.pid"; return; }
    rm -f "$1.pid"
  done
}
for program; do run "$program" & done
touch begun
# Bash collects whatever dead processes fall to process 1 while it waits.
while :; do wait; sleep 1; done
