import { readdirSync, readFileSync } from 'node:fs';
import { machineMs } from '../../src/lib/clock.js';
import { slopeAnHour } from './slope.js';

/** What a process has at one time. */
export interface Sample {
  readonly atMs: number;
  /** After a full collection. */
  readonly heapBytes: number;
  readonly residentBytes: number;
  readonly descriptors: number;
  readonly processes: number;
}

export type Measured = Exclude<keyof Sample, 'atMs'>;

const MIB = 1024 * 1024;
/**
 * What may rise within an hour: less than would be noticed within a month, more than measuring wavers; and what may rise in all in
 * a run that is shorter.
 */
const MAY_RISE: Readonly<Record<Measured, { readonly anHour: number; readonly inAll: number }>> = {
  heapBytes: { anHour: 8 * MIB, inAll: 6 * MIB },
  residentBytes: { anHour: 32 * MIB, inAll: 48 * MIB },
  descriptors: { anHour: 6, inAll: 6 },
  processes: { anHour: 1, inAll: 2 },
};
export const MEASURED = Object.keys(MAY_RISE) as Measured[];

/** Looks at a process that has `bench/hook.ts`, whose port is `hookPort`. */
export async function sampleOf(pid: number, hookPort: number): Promise<Sample> {
  const answer = await fetch(`http://127.0.0.1:${hookPort}/once`);
  const { heapUsed, external } = (await answer.json()) as NodeJS.MemoryUsage;
  const [, kib = ''] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return {
    atMs: machineMs(),
    heapBytes: heapUsed + external,
    residentBytes: Number(kib) * 1024,
    descriptors: readdirSync(`/proc/${pid}/fd`).length,
    processes: descendants(pid),
  };
}

function descendants(pid: number): number {
  let children: number[];
  try {
    children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1')
      .trim()
      .split(' ')
      .filter(Boolean)
      .map(Number);
  } catch {
    return 0;
  }
  return children.reduce((sum, child) => sum + 1 + descendants(child), 0);
}

/** By how much each rises within an hour. */
export function slopesOf(samples: readonly Sample[]): Record<Measured, number> {
  const times = samples.map(({ atMs }) => atMs);
  const slopes = MEASURED.map((name) => {
    const values = samples.map((one) => one[name]);
    return [name, slopeAnHour(times, values)] as const;
  });
  return Object.fromEntries(slopes) as Record<Measured, number>;
}

/** What rises by more than it may over the time of the samples, in words. */
export function risingOf(samples: readonly Sample[]): string[] {
  const slopes = slopesOf(samples);
  const hours = ((samples.at(-1)?.atMs ?? 0) - (samples[0]?.atMs ?? 0)) / 3_600_000;
  return MEASURED.flatMap((name) => {
    const rise = slopes[name] * hours;
    const most = Math.max(MAY_RISE[name].anHour * hours, MAY_RISE[name].inAll);
    return rise > most ? [`${name} rose by ${Math.round(rise)}, ${Math.round(most)} are allowed`] : [];
  });
}
