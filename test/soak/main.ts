import { parseArgs } from 'node:util';
import { numberFlag, resultLine } from '../support/long-run.js';
import { LEAKS, type Leak } from './leaks.js';
import { runSoak } from './run.js';

const USAGE = 'usage: npm run soak -- [--minutes 10] [--seed NUMBER] [--leak heap|descriptors|processes] [--json]';
/** Violations of which the whole story is printed. */
const TOLD = 5;
const MOST_LINES = 50;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '10' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      leak: { type: 'string' },
      json: { type: 'boolean', default: false },
    },
  });
  const minutes = numberFlag('minutes', values.minutes, { least: 0.5, usage: USAGE });
  const seed = numberFlag('seed', values.seed, { least: 0, usage: USAGE });
  const leak = values.leak as Leak | undefined;
  if (leak !== undefined && !LEAKS.includes(leak)) throw new Error(`--leak ${leak}: unknown\n${USAGE}`);
  console.error(`soak: seed ${seed}, ${minutes} minutes`);
  const result = await runSoak({ minutes, seed, leak, say: (line) => console.error(`soak: ${line}`) });
  const { rising, broken, stale, shown } = result;
  for (const [what, lines] of Object.entries({ rising, broken, stale, secrets: shown })) {
    for (const line of lines.slice(0, MOST_LINES)) console.error(`\n${what}: ${line}`);
  }
  for (const [index, violation] of result.violations.entries()) {
    console.error(`\n${violation.kind}: ${violation.what}`);
    if (index < TOLD) for (const line of result.evidence(violation)) console.error(`  ${line}`);
  }
  result.clean();
  const faults = { rising: rising.length, broken: broken.length, stale: stale.length, secrets: shown.length };
  const whole = { ...result.counts, ...faults, ...result.facts };
  console.log(resultLine(whole, values.json));
  if ([result.violations, rising, broken, stale, shown].some(({ length }) => length > 0)) process.exitCode = 1;
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 2;
});
