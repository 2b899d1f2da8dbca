#!/usr/bin/env bash
# A Slurm cluster of pretended nodes on this machine, for tests: real daemons, all files in one folder.
#
#   virtual.sh start DIR PORT       a controller and nodes n1 to n3 of 8 cores and 2 pretended GPUs; takes PORT to PORT+3
#   virtual.sh stop DIR             end every daemon and every job
#   virtual.sh crash DIR NODE       a node, or `controller`, dies as in a power cut, its jobs with it
#   virtual.sh revive DIR NODE      and comes back
#
# Afterwards SLURM_CONF=DIR/slurm.conf makes sbatch and the like speak to it.
set -eu
export PATH="$PATH:/usr/sbin:/sbin"
action=$1
dir=$2
export SLURM_CONF=$dir/slurm.conf
nodes="n1 n2 n3"

# Daemons stay in the foreground of a session of their own, so that their number is the one we start.
daemon() { # NAME COMMAND...
    local name=$1
    shift
    setsid "$@" </dev/null >>"$dir/$name.out" 2>&1 &
    echo $! >"$dir/$name.pid"
}

pid() { cat "$dir/$1.pid" 2>/dev/null || true; }

slay() { # NAME
    local number
    number=$(pid "$1")
    rm -f "$dir/$1.pid"
    [ -z "$number" ] || kill -9 "$number" 2>/dev/null || true
}

# The processes of this cluster's jobs, on one node or all, by the environment Slurm gives them.
of_jobs() { # [NODE]
    local environment
    for environment in /proc/[0-9]*/environ; do
        # Processes end while they are looked at, and strangers' may not be read.
        if { tr '\0' '\n' <"$environment" | grep -qx "SLURM_CONF=$SLURM_CONF" &&
            tr '\0' '\n' <"$environment" | grep -q "^SLURMD_NODENAME=${1:-}"; } 2>/dev/null; then
            environment=${environment#/proc/}
            echo "${environment%/environ}"
        fi
    done
}

# Keepers (slurmstepd) first, so that none is left to tell of its job's end.
slay_jobs() { # [NODE]
    local job parent
    local jobs
    jobs=$(of_jobs "$@")
    for job in $jobs; do
        parent=$(awk '$1 == "PPid:" { print $2 }' "/proc/$job/status" 2>/dev/null || true)
        [ "$(cat "/proc/$parent/comm" 2>/dev/null)" != slurmstepd ] || kill -9 "$parent" 2>/dev/null || true
    done
    for job in $jobs; do kill -9 "$job" 2>/dev/null || true; done
}

controller() { daemon controller slurmctld -D -f "$SLURM_CONF"; }
node() { daemon "$1" slurmd -D -N "$1" -f "$SLURM_CONF"; }

wait_until() { # COMMAND...
    local i
    for i in $(seq 300); do
        ! "$@" 2>/dev/null || return 0
        sleep 0.1
    done
    echo "virtual.sh: waited in vain for: $*" >&2
    tail -n 5 "$dir"/*.out "$dir"/*.log >&2 || true
    exit 1
}
is_up() { scontrol ping | grep -q 'is UP'; }
all_idle() { [ "$(sinfo --noheader --Node --format=%t | grep -c idle)" -eq 3 ]; }

configure() { # PORT
    local port=$1 host me n i
    host=$(hostname -s)
    me=$(id -un)
    mkdir -p "$dir/state"
    chmod 755 "$dir"
    head -c 512 /dev/urandom >"$dir/munge.key"
    chmod 600 "$dir/munge.key"
    cat >"$SLURM_CONF" <<END
ClusterName=virtual
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$me
SlurmdUser=$me
AuthType=auth/munge
# The second value, 5 at least, is also how long a job that is started again has to wait, 120 seconds by default.
AuthInfo=socket=$dir/munge.sock,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/slurm-controller.pid
SlurmdPidFile=$dir/slurm-%n.pid
SlurmctldLogFile=$dir/controller.log
SlurmdLogFile=$dir/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
GresTypes=gpu
SlurmdTimeout=10
SlurmctldTimeout=10
MessageTimeout=5
InactiveLimit=0
KillWait=2
CompleteWait=0
ReturnToService=2
MaxArraySize=41
END
    echo "CgroupAutomount=no" >"$dir/cgroup.conf"
    : >"$dir/gres.conf"
    i=0
    for n in $nodes; do
        i=$((i + 1))
        # Slurm counts only devices, and any link to the null device is one.
        ln -sfn /dev/null "$dir/$n-gpu0"
        ln -sfn /dev/null "$dir/$n-gpu1"
        mkdir -p "$dir/spool-$n"
        echo "NodeName=$n NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + i)) CPUs=8 RealMemory=8000 Gres=gpu:fake:2 State=UNKNOWN" >>"$SLURM_CONF"
        echo "NodeName=$n Name=gpu Type=fake Flags=nvidia_gpu_env File=$dir/$n-gpu[0-1]" >>"$dir/gres.conf"
    done
    echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP" >>"$SLURM_CONF"
}

case $action in
start)
    configure "$3"
    daemon munged munged --foreground --force --key-file="$dir/munge.key" --socket="$dir/munge.sock" \
        --pid-file="$dir/munge.pid" --seed-file="$dir/munge.seed" --log-file="$dir/munge.log"
    wait_until test -S "$dir/munge.sock"
    controller
    for n in $nodes; do node "$n"; done
    wait_until is_up
    wait_until all_idle
    ;;
stop)
    for n in $nodes; do slay "$n"; done
    slay_jobs
    slay controller
    slay munged
    ;;
crash)
    slay "$3"
    [ "$3" = controller ] || slay_jobs "$3"
    ;;
revive)
    if [ "$3" = controller ]; then
        controller
        wait_until is_up
    else
        node "$3"
    fi
    ;;
esac
