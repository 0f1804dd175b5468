import { readFileSync } from 'node:fs';
import os from 'node:os';

/**
 * Microseconds that the main thread of a process has run so far. It is what a Node server is bound by: CPU of the whole
 * process would count the collector's and the compiler's threads, too, which run on other cores.
 */
export function mainThreadMicros(pid: number): number {
  return onCpuMicros(readSchedstat(pid));
}

function readSchedstat(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8');
  } catch (cause) {
    throw new Error(`the CPU time of process ${pid} cannot be read; the bench needs Linux with /proc/<pid>/schedstat`, {
      cause,
    });
  }
}

/** The first field of schedstat: nanoseconds on a CPU. */
export function onCpuMicros(schedstat: string): number {
  const nanos = Number(schedstat.split(' ')[0]);
  if (!Number.isFinite(nanos)) throw new Error(`not a schedstat: ${schedstat}`);
  return nanos / 1000;
}

/** CPU seconds of a process so far, all of its threads; of a hundredth of a second. */
export function processSeconds(pid: number): number {
  // Of the fields behind the name, which may hold spaces: user and system time in clock ticks.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Resident bytes of a process. */
export function residentBytes(pid: number): number {
  return statusBytes(pid, 'VmRSS');
}

/** The most that a process has had resident so far. Bytes. */
export function peakBytes(pid: number): number {
  return statusBytes(pid, 'VmHWM');
}

function statusBytes(pid: number, field: 'VmRSS' | 'VmHWM'): number {
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  if (kib === undefined) throw new Error(`/proc/${pid}/status tells no ${field}`);
  return Number(kib) * 1024;
}

/** The processes that a process has started and that still run. */
export function childrenOf(pid: number): readonly number[] {
  const listed = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return listed === '' ? [] : listed.split(' ').map(Number);
}

/** What the figures of a run depend on; stands in every result. */
export function machine(): Record<string, unknown> {
  const cpus = os.cpus();
  return {
    cpu: cpus[0]?.model ?? 'unknown',
    cores: cpus.length,
    node: process.version,
    load_average: os.loadavg().map((value) => Number(value.toFixed(2))),
  };
}
