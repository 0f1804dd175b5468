import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { compiled } from '../support/paths.js';
import type { FindingKind } from './target.js';

/** What a worker says. */
export type Line =
  | { readonly begins: number }
  | { readonly done: number; readonly ended?: true; readonly growth?: number }
  | { readonly finding: Found };

export interface Found {
  readonly target: string;
  readonly kind: FindingKind | 'growth';
  /** Its number: seed, target and number make the same input again. */
  readonly input: number;
  readonly message: string;
}

export interface Part {
  readonly target: string;
  readonly seed: string;
  readonly from: number;
  readonly seconds: number;
  readonly inputs?: number | undefined;
  /** A worker that says nothing while it uses so much processor time stands still; 20 s unless given. */
  readonly silenceMs?: number;
}

export interface PartResult {
  readonly inputs: number;
  readonly found: readonly Found[];
  readonly growthBytes: number;
}

const SILENCE_MS = 20_000;
/** Who says nothing and uses no processor either waits for something that does not come, unless the machine is very busy. */
const IDLE_SILENCE_MS = 300_000;
/** More than this at the end of a run is growth; less is what a collector and caches leave. */
const MOST_GROWTH_BYTES = 32 * 1024 * 1024;
/** Inputs before the silence that are played one by one to find the one that brought it; a worker reports far more often. */
const PLAYED_AGAIN = 200_000;

interface Raw {
  done: number;
  begun: number | undefined;
  growth: number | undefined;
  end: 'ended' | 'silent' | string;
  found: Found[];
}

async function runWorker(part: Part, exact: boolean): Promise<Raw> {
  const { target, seed, from, seconds, inputs, silenceMs = SILENCE_MS } = part;
  const words = [target, seed, String(from), String(seconds), inputs === undefined ? '' : String(inputs)];
  const child = spawn(
    process.execPath,
    ['--expose-gc', compiled('test/fuzz/worker.ts'), ...words, ...(exact ? ['exact'] : [])],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const raw: Raw = { done: 0, begun: undefined, growth: undefined, end: 'silent', found: [] };
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-4_000);
  });
  let heardAt = performance.now();
  let usedThen = 0;
  const watch = setInterval(() => {
    const silentMs = performance.now() - heardAt;
    if (silentMs > IDLE_SILENCE_MS || usedMs(child.pid) - usedThen > silenceMs) child.kill('SIGKILL');
  }, 500);
  createInterface({ input: child.stdout }).on('line', (text) => {
    heardAt = performance.now();
    usedThen = usedMs(child.pid);
    const line = JSON.parse(text) as Line;
    if ('begins' in line) raw.begun = line.begins;
    else if ('finding' in line) raw.found.push(line.finding);
    else {
      raw.done = line.done;
      if (line.ended) {
        raw.end = 'ended';
        raw.growth = line.growth;
      }
    }
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  clearInterval(watch);
  if (raw.end !== 'ended' && signal !== 'SIGKILL') raw.end = `ended with ${code ?? signal}: ${errors.trim()}`;
  return raw;
}

/** Processor time of a process's main thread; 0 where there is none. */
function usedMs(pid: number | undefined): number {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'latin1').split(' ')[0]) / 1e6;
  } catch {
    return 0;
  }
}

/** One target for a time. Where its process dies or stands still, the input that does it is looked for. */
export async function fuzzTarget(part: Part): Promise<PartResult> {
  const raw = await runWorker(part, false);
  const growthBytes = raw.growth ?? 0;
  const found = [...raw.found];
  if (growthBytes > MOST_GROWTH_BYTES) {
    const message = `${Math.round(growthBytes / 1024 / 1024)} MiB more are held than after the first part of the inputs`;
    found.push({ target: part.target, kind: 'growth', input: part.from + raw.done, message });
  }
  if (raw.end !== 'ended') {
    const from = part.from + Math.max(0, raw.done - 1);
    const again = await runWorker({ ...part, from, inputs: PLAYED_AGAIN }, true);
    const input = again.end === 'ended' ? from : (again.begun ?? from);
    const twice = again.end === 'ended' ? 'not when played again' : again.end;
    const kind = raw.end === 'silent' ? 'hang' : 'crash';
    found.push({ target: part.target, kind, input, message: `${raw.end}; ${twice}` });
  }
  return { inputs: raw.done, found, growthBytes };
}
