import { parseArgs } from 'node:util';
import { BENCHES } from './benches.js';
import { type Bench, type BenchOptions, ofTries, type Result, verdicts } from './lib/bench.js';

class UsageError extends Error {}

function optionsOf(bench: Bench, given: Readonly<Record<string, string | boolean | undefined>>): BenchOptions {
  const options: Record<string, number> = { ...bench.defaults };
  for (const name of Object.keys(bench.defaults)) {
    const text = given[name];
    if (text === undefined) continue;
    const value = Number(text);
    if (!(value > 0) || !Number.isFinite(value)) throw new UsageError(`--${name} ${text}: expected a number above 0`);
    options[name] = value;
  }
  return options;
}

async function usage(): Promise<string> {
  const lines = [
    'usage: npm run bench -- [NAME] [--json] [--enforce] [--tries number] [--option number …]; without a name all are run',
    '',
  ];
  for (const [name, load] of Object.entries(BENCHES)) {
    const { bench } = await load();
    const options = Object.entries(bench.defaults).map(([key, value]) => `--${key} ${value}`);
    lines.push(`  ${name}  ${bench.summary}`, `      ${options.join(' ')}`);
  }
  return lines.join('\n');
}

interface Ways {
  /** The result is the last line of the output, as one object. */
  readonly json: boolean;
  /** Fails where a figure misses its target by more than a fifth. */
  readonly enforce: boolean;
  /** How often it is run with that until each figure was good enough once. */
  readonly tries: number;
}

async function runOne(name: string, bench: Bench, options: BenchOptions, ways: Ways): Promise<void> {
  const targets = bench.targets ?? {};
  const results: Result[] = [];
  for (;;) {
    results.push(await bench.run(options, (line) => console.error(`${name}: ${line}`)));
    const judged = ways.enforce ? verdicts(targets, results) : [];
    const isLast = judged.every(({ held }) => held) || results.length === ways.tries;
    for (const { held, line } of judged) {
      if (isLast) console.error(`${held ? 'held' : 'FAILED'}  ${name}: ${line}`);
      else if (!held) console.error(`${name}: try ${results.length} of ${ways.tries}: ${line}`);
    }
    if (!isLast) continue;
    if (!judged.every(({ held }) => held)) process.exitCode = 1;
    break;
  }
  const result = ofTries(targets, results);
  console.log(ways.json ? JSON.stringify(result) : bench.describe(result));
}

async function main(args: readonly string[]): Promise<void> {
  const [name = '', ...rest] = args.filter((arg) => arg !== '--json' && arg !== '--enforce');
  const flags = { json: args.includes('--json'), enforce: args.includes('--enforce') };
  if (name === '') {
    for (const [each, load] of Object.entries(BENCHES)) {
      const { bench } = await load();
      await runOne(each, bench, bench.defaults, { ...flags, tries: 1 });
    }
    return;
  }
  const load = Object.hasOwn(BENCHES, name) ? BENCHES[name] : undefined;
  if (load === undefined) throw new UsageError(`no bench ${name}`);
  const { bench } = await load();
  const numbers = Object.fromEntries(Object.keys(bench.defaults).map((key) => [key, { type: 'string' as const }]));
  const { values } = parseArgs({ args: rest, options: { ...numbers, tries: { type: 'string' } } });
  const tries = Number(values.tries ?? 1);
  if (!Number.isInteger(tries) || tries < 1) throw new UsageError(`--tries ${values.tries}: expected 1 or more`);
  await runOne(name, bench, optionsOf(bench, values), { ...flags, tries });
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const badUse = error instanceof UsageError || (error as { code?: string }).code?.startsWith('ERR_PARSE_ARGS');
  console.error(badUse ? `${(error as Error).message}\n\n${await usage()}` : error);
  process.exitCode = badUse ? 2 : 1;
}
