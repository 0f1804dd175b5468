import { type Command, InvalidArgumentError, Option } from 'commander';
import { stringify } from 'yaml';
import { TASK_STAGES } from '../../model/task-record.js';
import { PHASES } from '../../plugin-api/phase.js';
import { callAdmin } from '../admin-call.js';
import { CliError, type ExitCode } from '../exit-codes.js';
import { addDaemonOptions, type DaemonOptions } from '../find-daemon.js';
import { type CliIo, note, print, printable } from '../io.js';
import { plainTable } from '../plain-table.js';

interface Options extends DaemonOptions {
  readonly plugin?: string;
  readonly phase?: string;
  readonly stage?: string;
  readonly project?: string;
  readonly limit: number;
  readonly after?: string;
  readonly json?: boolean;
}

/** A row of `/v1/tasks`; one that could not be shown has `id` and `unshown` alone. */
interface TaskRow {
  readonly id: string;
  readonly plugin?: string;
  readonly taskType?: string;
  readonly stage?: string;
  readonly phase?: string;
  readonly reason?: string;
  readonly created?: string;
  readonly error?: { readonly code: string; readonly message: string } | null;
  readonly unshown?: string;
}

interface TaskPage {
  readonly tasks: readonly TaskRow[];
  readonly next: string | null;
  /** Which parts of the tasks the daemon has, where replicas share them. */
  readonly covers?: string;
}

export function define(command: Command, run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>): void {
  addDaemonOptions(command)
    .argument('[id]', 'show one task whole: its id, or the beginning of it')
    .option('--plugin <id>', 'only tasks of this plugin')
    .addOption(new Option('--phase <phase>', 'only tasks in this phase').choices(PHASES))
    .addOption(new Option('--stage <stage>', 'only tasks in this stage').choices(TASK_STAGES))
    .option('--project <name>', 'only tasks of this project')
    .option('--limit <count>', 'how many are shown, 1 to 1000', wholeNumber, 100)
    .option('--after <place>', 'go on where a list before ended')
    .option('--json', 'as JSON')
    .action((id: string | undefined, options: Options) =>
      run((io) => (id === undefined ? list(options, io) : showOne(id, options, io))),
    );
}

function wholeNumber(text: string): number {
  const count = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (count < 1 || count > 1_000) throw new InvalidArgumentError('expected a whole number from 1 to 1000.');
  return count;
}

async function list(options: Options, io: CliIo): Promise<ExitCode> {
  const { plugin, phase, stage, project, limit, after } = options;
  const page = await tasksOf({ plugin, phase, stage, project, after }, limit, options, io);
  if (options.json === true) {
    print(io, JSON.stringify(page, null, 2));
    return 0;
  }
  if (page.tasks.length === 0 && plugin !== undefined) await assertConfigured(plugin, options, io);
  print(io, page.tasks.length === 0 ? 'No such tasks are in memory.' : table(page.tasks));
  if (page.next !== null) note(io, `There are more: --after ${page.next}`);
  if (page.covers !== undefined) note(io, `Of the replica that was asked alone: ${ofOthers(page.covers)}`);
  return 0;
}

/** A mistyped id has no tasks, and its list would say so for ever. */
async function assertConfigured(plugin: string, options: Options, io: CliIo): Promise<void> {
  const { plugins } = await callAdmin<{ plugins: readonly { id: string }[] }>(options, io, 'GET', '/v1/plugins');
  const ids = plugins.map(({ id }) => id);
  if (ids.includes(plugin)) return;
  const there = ids.length === 0 ? 'none is configured' : `there are: ${ids.join(', ')}`;
  throw new CliError(7, printable(`no plugin is called ${JSON.stringify(plugin)}; ${there}`), {
    code: 'PLUGIN_UNKNOWN',
  });
}

async function showOne(id: string, options: Options, io: CliIo): Promise<ExitCode> {
  // Of several whose ids begin so, one may be called exactly that.
  const { tasks, covers } = await tasksOf({ id }, 1_000, options, io);
  const found = tasks.find((task) => task.id === id) ?? (tasks.length === 1 ? tasks[0] : undefined);
  if (found === undefined) {
    const seen = tasks.length === 0 ? 'no task in memory has' : `${tasks.length} tasks have`;
    const elsewhere = covers === undefined ? '' : `; ${ofOthers(covers)}`;
    throw new CliError(
      7,
      `${seen} an id that begins with ${JSON.stringify(id)}; plugin-host tasks lists them${elsewhere}`,
      { code: 'TASK_UNKNOWN' },
    );
  }
  print(io, options.json === true ? JSON.stringify(found, null, 2) : printable(stringify(found).trimEnd(), true));
  return 0;
}

/** The first tasks of the list, and where it goes on. Where few match, the daemon answers page after page with few or none. */
async function tasksOf(
  filters: Readonly<Record<string, string | undefined>>,
  limit: number,
  options: Options,
  io: CliIo,
): Promise<TaskPage> {
  const tasks: TaskRow[] = [];
  let next = filters.after ?? null;
  let covers: string | undefined;
  do {
    const query = new URLSearchParams({ limit: String(limit - tasks.length) });
    for (const [name, value] of Object.entries({ ...filters, after: next ?? undefined })) {
      if (value !== undefined) query.set(name, value);
    }
    const page = await callAdmin<TaskPage>(options, io, 'GET', `/v1/tasks?${query}`);
    tasks.push(...page.tasks);
    next = page.next;
    covers = page.covers;
  } while (next !== null && tasks.length < limit);
  return { tasks, next, ...(covers !== undefined && { covers }) };
}

function ofOthers(covers: string): string {
  return printable(`it has ${covers}, so ask the others as well (plugin-host cluster)`);
}

function table(tasks: readonly TaskRow[]): string {
  return plainTable(
    ['ID', 'PLUGIN', 'TASK TYPE', 'PHASE', 'CREATED', 'WHY'],
    tasks.map(({ id, plugin = '-', taskType = '-', phase = '-', created = '-', reason, error, unshown }) => {
      const why = unshown ?? (error ? `[${error.code}] ${error.message}` : (reason ?? ''));
      return [id, plugin, taskType, phase, created, why].map((cell) => printable(cell));
    }),
  );
}
