import path from 'node:path';
import type { Command } from 'commander';
import { SecretMasks } from '../../lib/secrets.js';
import { formatSize } from '../../model/options/units.js';
import { type FactKind, inspectState, type StateReport } from '../../state/index.js';
import { createRedactor } from '../../telemetry/index.js';
import { CliError, type ExitCode } from '../exit-codes.js';
import { type CliIo, note, print, printable } from '../io.js';

export function define(command: Command, run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>): void {
  command.addHelpText('after', '\nFor the folder of a daemon that does not run (state.dir).');
  command
    .command('check <dir>')
    .description('Say what is in a state, and what is damaged.')
    .option('--json', 'the result as JSON')
    .action((dir: string, options: { json?: boolean }) => run((io) => check(dir, options.json === true, io)));
  command
    .command('export <dir>')
    .description(
      'Write a state as JSON lines, one fact each. Templates, inputs, outputs and metas are left out, secrets masked.',
    )
    .action((dir: string) => run((io) => exportState(dir, io)));
}

async function check(dir: string, json: boolean, io: CliIo): Promise<ExitCode> {
  const report = await inspectState(path.resolve(io.cwd, dir));
  if (json) print(io, JSON.stringify(report, null, 2));
  else show(report, io);
  return report.problems.length === 0 ? 0 : 8;
}

function show({ facts, lastCommit, sizeBytes, completeSinceMs, problems }: StateReport, io: CliIo): void {
  for (const [kind, { count, bytes }] of Object.entries(facts)) {
    print(io, `${kind.padEnd(10)} ${String(count).padStart(9)}  ${bytes} bytes`);
  }
  print(io, `last commit ${lastCommit}; ${formatSize(sizeBytes)} on disk`);
  if (completeSinceMs !== undefined) print(io, `complete since ${new Date(completeSinceMs).toISOString()}`);
  print(io, problems.length === 0 ? 'Nothing is damaged.' : `${problems.length} problems:`);
  for (const problem of problems) print(io, printable(`  ${problem}`));
}

/** Variables, labels and annotations are the user's; of these the names alone are shown. */
const NAMES_ONLY: ReadonlySet<string> = new Set(['environmentVariables', 'labels', 'annotations']);

async function exportState(dir: string, io: CliIo): Promise<ExitCode> {
  const redact = createRedactor({ names: [], masks: new SecretMasks() });
  const report = await inspectState(path.resolve(io.cwd, dir), async (key, { kind, fact }) => {
    const shown = redact(withoutForeign(fact));
    if (!io.stdout.write(`${JSON.stringify({ key, kind: kind satisfies FactKind, fact: shown })}\n`)) await drained(io);
  });
  for (const problem of report.problems) note(io, printable(problem));
  if (report.problems.length > 0) throw new CliError(8, 'the state is damaged; what could be read was written');
  return 0;
}

function drained(io: CliIo): Promise<void> {
  return new Promise((resolve) => io.stdout.once('drain', resolve));
}

function withoutForeign(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value;
  if (Array.isArray(value)) return value.map(withoutForeign);
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      NAMES_ONLY.has(key) ? Object.keys(inner as object) : withoutForeign(inner),
    ]),
  );
}
