import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import type { Client, TaskInput } from '../../client/index.js';
import { loadPluginHost } from '../../idl/load.js';
import { systemClock } from '../../lib/clock.js';
import { parseDuration } from '../../model/options/units.js';
import type { ExitCode } from '../exit-codes.js';
import { addDaemonOptions, type DaemonOptions } from '../find-daemon.js';
import { followTask, handleText } from '../follow-task.js';
import { type CliIo, note } from '../io.js';
import { durationOption } from '../options.js';
import { createProgress, type Progress } from '../progress.js';
import { SIGNAL_EXIT, SignalQueue } from '../signals.js';
import { readInputs, readTemplate } from '../task-files.js';
import { withClient } from '../with-client.js';

interface Options extends DaemonOptions {
  readonly inputs?: string;
  readonly input?: readonly string[];
  readonly inputPrefix?: string;
  readonly outputPrefix?: string;
  readonly name?: string;
  readonly timeout?: number;
  readonly json?: boolean;
  readonly deleteOnInterrupt?: boolean;
}

/** Deadline of the create call; the daemon answers within a third of it. */
const CREATE_DEADLINE_MS = 30_000;

export function define(command: Command, run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>): void {
  const collect = (value: string, before: readonly string[] = []) => [...before, value];
  addDaemonOptions(command)
    .argument(
      '<template>',
      'task template: .json or .yaml (the JSON form of flyteidl.core.TaskTemplate), .pb, or - for standard input',
    )
    .option('--inputs <file>', 'inputs by name in .json or .yaml, a LiteralMap in .pb, or - for standard input')
    .option('-i, --input <name=value>', 'one input, its value in YAML; may be given several times', collect)
    .option('--input-prefix <uri>', 'where inputs.pb lies, instead of inputs')
    .option('--output-prefix <uri>', 'where outputs belong')
    .option('--name <name>', 'name of the attempt; the same name finds the same task again (default: a new one)')
    .addOption(durationOption('--timeout <duration>', 'stop following after this time, such as 10m', parseDuration))
    .option('--json', 'one JSON object a line on standard output')
    .option(
      '--delete-on-interrupt',
      'delete the task at Ctrl-C or another signal that ends the command, without asking',
    )
    .addHelpText('after', '\nWithout --delete-on-interrupt Ctrl-C asks on a terminal, and leaves the task elsewhere.')
    .action((template: string, options: Options) => run((io) => runTask(template, options, io)));
}

async function runTask(file: string, options: Options, io: CliIo): Promise<ExitCode> {
  const idl = loadPluginHost();
  const template = await readTemplate(idl, file, io);
  const inputs = await readInputs(idl, template, { file: options.inputs, pairs: options.input ?? [] }, io);
  const outputPrefix = options.outputPrefix ?? '';
  const task: TaskInput = {
    generatedName: options.name ?? `cli-${randomUUID()}`,
    template,
    outputPrefix,
    ...(inputs === undefined ? {} : { inputs }),
    ...(options.inputPrefix === undefined ? {} : { inputPrefix: options.inputPrefix }),
  };
  const json = options.json === true;
  const signals = new SignalQueue(io.signals);
  const progress = createProgress(io, json, systemClock.now);
  try {
    const submitAndFollow = async (client: Client) => {
      const handle = await submit(task, client, progress, signals, io);
      if (!Buffer.isBuffer(handle)) return handle;
      return followTask({
        client,
        idl,
        io,
        progress,
        signals,
        outputPrefix,
        json,
        handle,
        timeoutMs: options.timeout,
        deleteOnInterrupt: options.deleteOnInterrupt === true,
      });
    };
    return await withClient(options, io, submitAndFollow, idl);
  } finally {
    progress.stop();
    signals.close();
  }
}

/** Creates the task and answers its handle, or the exit code after an interruption. */
async function submit(
  task: TaskInput,
  client: Client,
  progress: Progress,
  signals: SignalQueue,
  io: CliIo,
): Promise<Buffer | ExitCode> {
  const stop = new AbortController();
  const creating = client.create(task, { deadlineMs: CREATE_DEADLINE_MS, signal: stop.signal });
  const created = await Promise.race([creating, signals.arrived()]);
  if (created === undefined) {
    stop.abort();
    creating.catch(() => undefined);
    progress.stop();
    note(io, 'Interrupted while submitting. A task that was accepted all the same is deleted after tasks.orphanGrace.');
    return SIGNAL_EXIT[signals.take() ?? 'SIGINT'];
  }
  progress.submitted(handleText(created.handle));
  progress.status(created.status);
  return created.handle;
}
