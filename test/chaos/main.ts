import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Garden, plantOf } from './plants.js';
import { type RunResult, runChaos } from './run.js';

const USAGE = 'usage: npm run chaos -- [--kills 100] [--seed NUMBER] [--plant NAME] [--keep] [--json]';
/** Violations of which the whole story is printed. */
const TOLD = 12;

function numberOf(name: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least)
    throw new Error(`--${name} ${text}: expected an integer from ${least} on\n${USAGE}`);
  return value;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      kills: { type: 'string', default: '100' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      plant: { type: 'string' },
      keep: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const kills = numberOf('kills', values.kills, 1);
  const seed = numberOf('seed', values.seed, 0);
  const own = fileURLToPath(new URL('../../..', import.meta.url));
  const garden = values.plant === undefined ? undefined : new Garden(own);
  console.error(
    `chaos: seed ${seed}, ${kills} kills${values.plant === undefined ? '' : `, with the plant ${values.plant}`}`,
  );
  let result: RunResult;
  try {
    if (values.plant !== undefined) garden?.plant(plantOf(values.plant));
    result = await runChaos({
      kills,
      seed,
      build: garden?.root ?? own,
      say: (line) => console.error(`chaos: ${line}`),
    });
  } finally {
    garden?.remove();
  }
  for (const [index, violation] of result.violations.entries()) {
    console.error(`\n${violation.kind}: ${violation.what}`);
    if (index < TOLD) for (const line of result.evidence(violation)) console.error(`  ${line}`);
  }
  if (!values.keep) result.clean();
  const whole = { ...result.counts, ...result.facts };
  console.log(
    values.json
      ? JSON.stringify(whole)
      : Object.entries(whole)
          .map(([name, value]) => `${name} ${value}`)
          .join(', '),
  );
  if (result.violations.length > 0) process.exitCode = 1;
}

await main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 2;
});
