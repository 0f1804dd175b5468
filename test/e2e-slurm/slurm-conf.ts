import { hostname } from 'node:os';
import path from 'node:path';

/** A second node, of one CPU, that can be preempted on and can fail without harm to the others. */
export const FRAIL_NODE = 'frail';

/** The node where jobs run; slurmd takes the machine's own short name. */
export function mainNode(): string {
  return hostname().split('.')[0] ?? 'localhost';
}

export interface SlurmPorts {
  readonly ctld: number;
  readonly slurmd: number;
  readonly frail: number;
}

/** Settings for a cluster run by root without cgroups; more CPUs than there are, so that many jobs run side by side. */
export function slurmConf(options: { readonly stateDir: string; readonly ports: SlurmPorts }): string {
  const host = mainNode();
  const at = (...parts: string[]) => path.join(options.stateDir, ...parts);
  return [
    'ClusterName=e2e',
    `SlurmctldHost=${host}(127.0.0.1)`,
    `SlurmctldPort=${options.ports.ctld}`,
    'SlurmUser=root',
    'SlurmdUser=root',
    'AuthType=auth/munge',
    `AuthInfo=socket=${at('munge', 'socket')}`,
    'CredType=cred/munge',
    'AuthAltTypes=auth/jwt',
    `AuthAltParameters=jwt_key=${at('etc', 'jwt.key')}`,
    `StateSaveLocation=${at('ctld')}`,
    `SlurmdSpoolDir=${at('slurmd', '%n')}`,
    `SlurmctldPidFile=${at('ctld', 'pid')}`,
    `SlurmdPidFile=${at('slurmd', '%n.pid')}`,
    'ProctrackType=proctrack/linuxproc',
    'TaskPlugin=task/none',
    'JobAcctGatherType=jobacct_gather/none',
    'AccountingStorageType=accounting_storage/none',
    'MpiDefault=none',
    'SelectType=select/cons_tres',
    'SelectTypeParameters=CR_CPU',
    'SchedulerType=sched/backfill',
    'SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2',
    'SlurmdParameters=config_overrides',
    'ReturnToService=2',
    'KillWait=2',
    'MinJobAge=1800',
    'MaxArraySize=100',
    // a job whose node fails, or that is preempted, ends so; it is not taken back into the queue
    'JobRequeue=0',
    'PreemptType=preempt/partition_prio',
    'PreemptMode=CANCEL',
    `NodeName=${host} NodeAddr=127.0.0.1 Port=${options.ports.slurmd} CPUs=64 RealMemory=1000 State=UNKNOWN`,
    `NodeName=${FRAIL_NODE} NodeHostname=${host} NodeAddr=127.0.0.1 Port=${options.ports.frail} CPUs=1 RealMemory=100 State=UNKNOWN`,
    `PartitionName=main Nodes=${host} Default=YES MaxTime=60 OverSubscribe=FORCE:4 PreemptMode=OFF State=UP`,
    // two partitions on the one CPU of the frail node: jobs of the second drive out those of the first
    `PartitionName=humble Nodes=${FRAIL_NODE} MaxTime=60 PriorityTier=1 PreemptMode=CANCEL OverSubscribe=NO State=UP`,
    `PartitionName=urgent Nodes=${FRAIL_NODE} MaxTime=60 PriorityTier=10 PreemptMode=OFF OverSubscribe=NO State=UP`,
    // takes jobs and never starts them
    `PartitionName=parked Nodes=${host} Default=NO MaxTime=60 State=DOWN`,
    '',
  ].join('\n');
}
