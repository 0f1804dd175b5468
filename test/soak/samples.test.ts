import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { compiled } from '../support/paths.js';
import { tempFolder } from '../support/temp.js';
import { LEAKS, type Leak, leakEnv } from './leaks.js';
import { MEASURED, risingOf, type Sample, sampleOf } from './samples.js';

const LEVEL: Omit<Sample, 'atMs'> = { heapBytes: 4e7, residentBytes: 2e8, descriptors: 40, processes: 4 };
/** What a leak may rise by within an hour. */
const TOO_MUCH = { heapBytes: 9 << 20, residentBytes: 60 << 20, descriptors: 8, processes: 3 };

function hour(valuesAt: (share: number, index: number) => Partial<Sample>): Sample[] {
  return Array.from({ length: 120 }, (_, index) => ({
    ...LEVEL,
    ...valuesAt(index / 119, index),
    atMs: index * 30_000,
  }));
}

test('what rises by more than measuring wavers is told by its name, and what only wavers is not', () => {
  for (const name of MEASURED) {
    const leaking = hour((share) => ({ [name]: LEVEL[name] + share * TOO_MUCH[name] }));
    assert.deepEqual(
      risingOf(leaking).map((line) => line.split(' ')[0]),
      [name],
    );
    const wavering = hour((_, index) => ({ [name]: LEVEL[name] + (index % 2) * TOO_MUCH[name] }));
    assert.deepEqual(risingOf(wavering), [], name);
  }
});

/** A bare process with the hook that samples need, and with a leak. */
async function watchedProcess(t: TestContext, leak?: Leak): Promise<() => Promise<Sample>> {
  const hook = path.join(tempFolder(t), 'hook');
  const leaking = leak === undefined ? [] : ['--import', compiled('test/soak/leaking.ts')];
  const child = spawn(
    process.execPath,
    ['--expose-gc', '--import', compiled('bench/hook.ts'), ...leaking, '-e', 'process.stdin.resume()'],
    {
      stdio: ['pipe', 'ignore', 'inherit'],
      env: { ...process.env, BENCH_HOOK_FILE: hook, ...(leak === undefined ? {} : leakEnv(leak, 5)) },
    },
  );
  t.after(async () => {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  });
  let port = 0;
  while (port === 0) {
    await sleep(5);
    try {
      port = Number(readFileSync(hook, 'utf8'));
    } catch {
      // It has not written it yet.
    }
  }
  return () => sampleOf(child.pid as number, port);
}

for (const leak of LEAKS) {
  test(`a process that leaks is seen to: ${leak}`, { timeout: 60_000 }, async (t) => {
    const sample = await watchedProcess(t, leak);
    const samples = [await sample()];
    const named = { heap: 'heapBytes', descriptors: 'descriptors', processes: 'processes' }[leak];
    while (!risingOf(samples).some((line) => line.startsWith(named))) samples.push(await sample());
  });
}

test('a process that leaks nothing is not said to', { timeout: 60_000 }, async (t) => {
  const sample = await watchedProcess(t);
  const samples: Sample[] = [];
  for (let taken = 0; taken < 15; taken++) samples.push(await sample());
  assert.deepEqual(risingOf(samples), []);
});
