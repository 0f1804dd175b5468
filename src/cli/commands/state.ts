import path from 'node:path';
import type { Command } from 'commander';
import { engineOf, placeName } from '../../daemon/state-engine.js';
import { type StatePlace, statePlace } from '../../daemon/state-place.js';
import { HostError } from '../../errors/index.js';
import { systemClock } from '../../lib/clock.js';
import { SecretMasks } from '../../lib/secrets.js';
import { formatSize } from '../../model/options/units.js';
import {
  copyState,
  type FactKind,
  type Inspection,
  inspectState,
  openDatabaseForInspection,
  openFolderForInspection,
  type StateReport,
} from '../../state/index.js';
import { createRedactor } from '../../telemetry/index.js';
import { CliError, type ExitCode } from '../exit-codes.js';
import { type CliIo, note, print, printable } from '../io.js';
import { addConfigSources, type ConfigOptions, configFrom } from '../options.js';

const FROM_CONFIG = 'where the configuration has it';

export function define(command: Command, run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>): void {
  command.addHelpText(
    'after',
    `
A place is a folder, or the word ${POSTGRES} for the database of state.postgres; without one it is ${FROM_CONFIG}
(--config, --set, the environment). No daemon may have it at the time.`,
  );
  addConfigSources(command.command('check [place]').description('Say what is in a state, and what is damaged.'))
    .option('--json', 'the result as JSON')
    .action((place: string | undefined, options: Options) => run((io) => check(place, options, io)));
  addConfigSources(
    command
      .command('export [place]')
      .description(
        'Write a state as JSON lines, one fact each. Templates, inputs, outputs and metas are left out, secrets masked.',
      ),
  ).action((place: string | undefined, options: Options) => run((io) => exportState(place, options, io)));
  addConfigSources(
    command
      .command('copy <from>')
      .description(`Copy a state, whole and as it is, to ${FROM_CONFIG}, which has to be empty.`),
  ).action((from: string, options: Options) => run((io) => copy(from, options, io)));
}

interface Options extends ConfigOptions {
  readonly json?: boolean;
}

/** A folder that is really called so is written `./postgres`. */
const POSTGRES = 'postgres';

function placeOf(named: string | undefined, options: Options, io: CliIo): StatePlace {
  if (named !== undefined && named !== POSTGRES) return { in: 'folder', dir: path.resolve(io.cwd, named) };
  const { config } = configFrom(options, io);
  if (named === POSTGRES) return { in: 'postgres', place: config.state.postgres };
  return statePlace(config, io.env);
}

async function opened(place: StatePlace): Promise<Inspection> {
  if (place.in === 'nowhere') {
    throw new CliError(2, 'the configuration keeps no state; name a folder, or set state.engine');
  }
  return orUnopened(
    place.in === 'folder' ? openFolderForInspection(place.dir) : openDatabaseForInspection(place.place, systemClock),
  );
}

/** Locked, foreign, out of reach: no fault of the program's. */
async function orUnopened<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw HostError.is(error) ? new CliError(5, error.message, { code: error.code, cause: error }) : error;
  }
}

async function check(named: string | undefined, options: Options, io: CliIo): Promise<ExitCode> {
  const report = await inspectState(await opened(placeOf(named, options, io)));
  if (options.json === true) print(io, JSON.stringify(report, null, 2));
  else show(report, io);
  return report.problems.length === 0 ? 0 : 8;
}

/** What is damaged is not carried on: the whole state is read first. */
async function copy(named: string, options: Options, io: CliIo): Promise<ExitCode> {
  const from = placeOf(named, options, io);
  const { config } = configFrom(options, io);
  const to = statePlace(config, io.env);
  const engine = engineOf(to, { clock: systemClock, random: Math.random, maxBytes: config.state.maxBytes });
  if (engine === undefined) throw new CliError(2, 'the configuration keeps no state that could be copied to');
  const { problems, waiting } = await inspectState(await opened(from));
  for (const problem of problems) note(io, printable(problem));
  if (problems.length > 0) throw new CliError(8, 'the state is damaged; nothing was copied');
  if (waiting > 0) {
    throw new CliError(
      5,
      `${waiting} promises wait in the inbox, and would be lost; start replicas, which take them in, stop them, and copy then`,
    );
  }
  await orUnopened(engine.open());
  try {
    const source = await opened(from);
    try {
      print(io, `Copied ${await orUnopened(copyState(source, engine))} facts to ${printable(placeName(to))}.`);
      print(io, 'What was copied from is as it was. Start no daemon on it any more: it would begin all of it again.');
    } finally {
      await source.close();
    }
  } finally {
    await engine.close();
  }
  return 0;
}

function show({ facts, lastCommit, sizeBytes, waiting, completeSinceMs, problems }: StateReport, io: CliIo): void {
  for (const [kind, { count, bytes }] of Object.entries(facts)) {
    print(io, `${kind.padEnd(10)} ${String(count).padStart(9)}  ${bytes} bytes`);
  }
  const numbered = lastCommit === undefined ? '' : `last commit ${lastCommit}; `;
  print(io, `${numbered}${formatSize(sizeBytes)} on disk`);
  if (waiting > 0) print(io, `${waiting} promises wait in the inbox for the next owner`);
  if (completeSinceMs !== undefined) print(io, `complete since ${new Date(completeSinceMs).toISOString()}`);
  print(io, problems.length === 0 ? 'Nothing is damaged.' : `${problems.length} problems:`);
  for (const problem of problems) print(io, printable(`  ${problem}`));
}

/** Variables, labels and annotations are the user's; of these the names alone are shown. */
const NAMES_ONLY: ReadonlySet<string> = new Set(['environmentVariables', 'labels', 'annotations']);

async function exportState(named: string | undefined, options: Options, io: CliIo): Promise<ExitCode> {
  const redact = createRedactor({ names: [], masks: new SecretMasks() });
  const report = await inspectState(await opened(placeOf(named, options, io)), async (key, { kind, fact }) => {
    const shown = redact(withoutForeign(fact));
    if (!io.stdout.write(`${JSON.stringify({ key, kind: kind satisfies FactKind, fact: shown })}\n`)) await drained(io);
  });
  for (const problem of report.problems) note(io, printable(problem));
  if (report.waiting > 0) note(io, `${report.waiting} promises wait in the inbox, and were not written`);
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
