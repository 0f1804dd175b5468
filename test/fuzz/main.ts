import { parseArgs } from 'node:util';
import { numberFlag } from '../support/long-run.js';
import { type Found, fuzzTarget, type PartResult } from './supervise.js';
import { TARGETS, targetOf } from './targets/index.js';

const USAGE =
  'usage: npm run fuzz -- [--minutes 5] [--seed TEXT] [--target NAME …] [--from NUMBER] [--inputs NUMBER] [--list] [--json]';
/** Targets at a time. */
const WORKERS = 2;

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '5' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      target: { type: 'string', multiple: true },
      from: { type: 'string', default: '0' },
      inputs: { type: 'string' },
      list: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
    },
  });
  const targets = values.target?.map(targetOf) ?? TARGETS;
  if (values.list) {
    for (const { name, summary } of targets) console.log(`${name.padEnd(14)} ${summary}`);
    return;
  }
  const minutes = numberFlag('minutes', values.minutes, { least: 0.01, usage: USAGE });
  const from = numberFlag('from', values.from, { least: 0, usage: USAGE });
  const inputs =
    values.inputs === undefined ? undefined : numberFlag('inputs', values.inputs, { least: 1, usage: USAGE });
  const seconds = (minutes * 60 * WORKERS) / Math.max(WORKERS, targets.length);
  console.error(`fuzz: seed ${values.seed}, ${targets.length} targets, ${Math.round(seconds)} s each`);
  const waiting = [...targets];
  const results = new Map<string, PartResult>();
  await Promise.all(
    Array.from({ length: WORKERS }, async () => {
      for (let target = waiting.shift(); target !== undefined; target = waiting.shift()) {
        const result = await fuzzTarget({ target: target.name, seed: values.seed, from, seconds, inputs });
        results.set(target.name, result);
        const grown = Math.round(result.growthBytes / 1024);
        console.error(
          `fuzz: ${target.name}: ${result.inputs} inputs, ${result.found.length} findings, ${grown} KiB more held`,
        );
        for (const one of result.found) tell(one, values.seed);
      }
    }),
  );
  const all = [...results.values()];
  const of = (kind: Found['kind']) =>
    all.reduce((sum, { found }) => sum + found.filter((one) => one.kind === kind).length, 0);
  const whole = {
    inputs: all.reduce((sum, one) => sum + one.inputs, 0),
    crashes: of('crash'),
    hangs: of('hang'),
    growth: of('growth'),
    wrong: of('wrong'),
    minutes,
    seed: values.seed,
    inputs_by_target: Object.fromEntries([...results].map(([name, { inputs: count }]) => [name, count])),
  };
  console.log(
    values.json
      ? JSON.stringify(whole)
      : `${whole.inputs} inputs, ${whole.crashes} crashes, ${whole.hangs} hangs, ${whole.growth} grown, ${whole.wrong} wrong`,
  );
  if (all.some(({ found }) => found.length > 0)) process.exitCode = 1;
}

function tell({ target, kind, input, message }: Found, seed: string): void {
  console.error(`\n${kind} in ${target}: ${message}`);
  console.error(`  again: npm run fuzz -- --seed ${seed} --target ${target} --from ${input} --inputs 1`);
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 2;
});
