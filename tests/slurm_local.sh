#!/bin/bash
# A real Slurm of virtual nodes on this machine, for tests: every daemon on loopback, every file below one folder.
#
#   slurm_local.sh install            installs apt's packages, where root and apt are available; prints what is missing, never fails
#   slurm_local.sh start DIR [NODES [PID]]  starts within seconds or fails; stops by itself when process PID has ended
#   slurm_local.sh env DIR            prints variables for `eval`, by which Slurm's commands find it
#   slurm_local.sh fail DIR NODE      kills the node and all that runs on it at once, as by a power cut
#   slurm_local.sh revive DIR NODE    starts the node again
#   slurm_local.sh forget DIR         restarts the controller, which loses its undelivered messages
#   slurm_local.sh stop DIR           ends what start started, by recorded pid, and removes its line from /etc/hosts
set -euo pipefail

PORT=${YOLOFUSE_SLURM_PORT:-28310}
PROGRAMS=(slurmctld slurmd sbatch srun scontrol munged)

missing() {
  local program
  for program in "${PROGRAMS[@]}"; do command -v "$program" >/dev/null || echo "$program"; done
}

install() {
  [ -n "$(missing)" ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "slurm: not installed, and only root can install it, by apt: the tests that need it will skip themselves"
    return 0
  fi
  export DEBIAN_FRONTEND=noninteractive
  local log
  log=$(mktemp)
  if ! { apt-get update && apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge; } \
      >"$log" 2>&1; then
    tail -n 3 "$log"
    echo "slurm: apt could not install it: the tests that need it will skip themselves"
  fi
  rm -f "$log"
}

configure() { # NODES: two virtual nodes share this machine's cores; no power saving, no accounting, fast timeouts
  local nodes=$1 cpus memory
  cpus=$(nproc)
  memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024))
  cat >"$DIR/slurm.conf" <<CONF
ClusterName=yolofuse
FirstJobId=$((PORT - 28000))1
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$DIR/munge.socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool/%n
SlurmctldPidFile=$DIR/pids/slurmctld
SlurmdPidFile=$DIR/pids/slurmd.%n
SlurmctldLogFile=$DIR/log/slurmctld
SlurmdLogFile=$DIR/log/slurmd.%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
JobRequeue=1
MinJobAge=3600
KillWait=2
SlurmdTimeout=300
MessageTimeout=5
BatchStartTimeout=1
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=n[1-$nodes] NodeHostname=$HOST NodeAddr=127.0.0.1 Port=[$((PORT + 1))-$((PORT + nodes))] CPUs=$cpus RealMemory=$memory Gres=gpu:2
PartitionName=main Nodes=n[1-$nodes] Default=YES State=UP
CONF
  # fake GPUs: slurmd needs a device file for each, and never opens it
  printf "NodeName=n[1-$nodes] Name=gpu File=%s\n" /dev/null /dev/zero >"$DIR/gres.conf"
}

hosts() { # [NODES]: write our line of the hosts file, which resolves this host and the nodes to loopback; or remove it
  (
    flock 9 # another cluster may change its line at the same time
    grep -vF "$TAG" /etc/hosts >"$DIR/hosts" || true
    [ -z "${1:-}" ] || echo "127.0.0.1 $HOST $(seq -f 'n%g' -s ' ' "$1") $TAG" >>"$DIR/hosts"
    cat "$DIR/hosts" >/etc/hosts # in place: in a container it is a mount, which cannot be replaced
  ) 9</etc/hosts
}

node_up() { # NODE: `fail` finds it by this variable in its environment
  YOLOFUSE_VIRTUAL_NODE="$DIR/$1" slurmd -N "$1"
}

start() {
  local nodes=${1:-2} absent try
  absent=$(missing | tr '\n' ' ')
  [ -z "$absent" ] || { echo "not installed: $absent" >&2; return 3; }
  [ "$(id -u)" = 0 ] || { echo "only root can start Slurm's daemons" >&2; return 3; }
  [ -w /etc/hosts ] || { echo "/etc/hosts cannot be written, and the nodes' names must resolve" >&2; return 3; }
  mkdir -p "$DIR"/{state,spool,log,pids}
  chmod 755 "$DIR"
  configure "$nodes"
  hosts "$nodes"
  (umask 077 && head -c 1024 /dev/urandom >"$DIR/munge.key")
  # --force: munged requires that others cannot write to any folder above its socket, but /tmp is world-writable
  munged --force --key-file="$DIR/munge.key" --socket="$DIR/munge.socket" --pid-file="$DIR/pids/munged" \
    --log-file="$DIR/log/munged" --seed-file="$DIR/munge.seed" 2>>"$DIR/log/start"
  slurmctld -c 2>>"$DIR/log/start"
  for try in $(seq "$nodes"); do node_up "n$try" 2>>"$DIR/log/start"; done
  for try in $(seq 200); do
    [ "$(timeout 3 sinfo --noheader --states=idle --format=%D 2>/dev/null)" = "$nodes" ] && break
    sleep 0.1
  done
  if [ "$try" = 200 ]; then
    echo "the nodes did not come up:" >&2
    tail -n 20 "$DIR"/log/* >&2
    stop
    return 1
  fi
  if [ -n "${2:-}" ]; then setsid "$0" guard "$DIR" "$2" </dev/null >/dev/null 2>&1 & fi
}

guard() { # PID: stop the cluster when the test run has ended, also if it was killed
  touch "$DIR/pids/guard"
  while kill -0 "$1" 2>/dev/null; do
    sleep 1
    [ -e "$DIR/pids/guard" ] || return 0
  done
  stop
}

end_process() { # FILE: end the process whose pid the file holds; true if there was one
  local pid try
  [ -s "$1" ] && pid=$(cat "$1") && kill "$pid" 2>/dev/null || return 1
  for try in $(seq 50); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
  kill -KILL "$pid" 2>/dev/null || true
}

# The controller resends undelivered messages to a dead node for a minute, such as the kill of a step whose number a
# requeued job uses again. Real jobs are requeued after two minutes, here after six seconds: a controller restarted from
# its saved state does not have the message any more. (It is less reliable in noticing that a batch script has died.)
forget() {
  end_process "$DIR/pids/slurmctld" || true
  slurmctld 2>>"$DIR/log/start"
}

pids_with() { # NAME=VALUE: pids of processes with it in their environment
  grep -lzxF -- "$1" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 | sort
}

on_node() { # NODE: pids of its slurmd, of the processes of its steps, and of the steps' managers
  local pid parent
  pids_with "YOLOFUSE_VIRTUAL_NODE=$DIR/$1"
  for pid in $(comm -12 <(pids_with "SLURMD_NODENAME=$1") <(pids_with "SLURM_CONF=$SLURM_CONF")); do
    echo "$pid"
    # a manager overwrites its environment with its title, but it is the parent of what it started
    parent=$(awk '/^PPid:/ {print $2}' "/proc/$pid/status" 2>/dev/null) || continue
    [ "$(cat "/proc/$parent/comm" 2>/dev/null)" != slurmstepd ] || echo "$parent"
  done
}

fail() {
  local signal pid
  for signal in STOP STOP KILL; do # stop all first, so that none reports the end of another
    for pid in $(on_node "$1"); do kill "-$signal" "$pid" 2>/dev/null || true; done
  done
  rm -f "$DIR/pids/slurmd.$1"
}

stop() {
  local file
  rm -f "$DIR/pids/guard"
  for file in "$DIR"/spool/*/; do fail "$(basename "$file")"; done # and all that still runs there
  for file in "$DIR"/pids/slurmctld "$DIR"/pids/munged; do end_process "$file" || true; done
  hosts
}

verb=${1:-}
[ "$verb" = install ] && { install; exit; }
[ $# -ge 2 ] || { sed -n '3,10s/^# *//p' "$0" >&2; exit 2; }
DIR=$(mkdir -p "$2" && cd "$2" && pwd) HOST=$(hostname -s)
TAG="# yolofuse test cluster in $DIR;"
export SLURM_CONF=$DIR/slurm.conf
shift 2
case $verb in
  start | fail | forget | guard | stop) "$verb" "$@" ;;
  revive) node_up "$1" 2>>"$DIR/log/start" ;;
  env) echo "export SLURM_CONF=$SLURM_CONF" ;;
  *) sed -n '3,10s/^# *//p' "$0" >&2; exit 2 ;;
esac
