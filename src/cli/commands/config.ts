import { type Command, Option } from 'commander';
import { stringify } from 'yaml';
import { defaultTree, effectiveOptions, effectiveTree } from '../../config/index.js';
import type { ExitCode } from '../exit-codes.js';
import { type CliIo, print } from '../io.js';
import { addConfigOptions, type ConfigOptions, configFrom } from '../options.js';

interface Options extends ConfigOptions {
  readonly default?: boolean;
  readonly origins?: boolean;
  readonly format: 'yaml' | 'json';
}

export function define(command: Command, run: (action: (io: CliIo) => Promise<ExitCode>) => Promise<void>): void {
  addConfigOptions(command)
    .option('--origins', 'one option a line, with where its value comes from')
    .option('--default', 'the defaults instead of what is in force')
    .addOption(new Option('--format <format>', 'yaml or json').choices(['yaml', 'json']).default('yaml'))
    .addHelpText('after', '\nSecrets are masked.')
    .action((options: Options) => run(async (io) => show(options, io)));
}

function show(options: Options, io: CliIo): ExitCode {
  if (options.default === true) {
    print(io, text(defaultTree(), options.format));
    return 0;
  }
  const { effective } = configFrom(options, io);
  if (options.origins !== true) {
    print(io, text(effectiveTree(effective), options.format));
    return 0;
  }
  const rows = effectiveOptions(effective);
  if (options.format === 'json') print(io, text(rows, 'json'));
  else for (const { key, value, origin } of rows) print(io, `${key} = ${JSON.stringify(value)}  # ${origin}`);
  return 0;
}

function text(value: unknown, format: 'yaml' | 'json'): string {
  return format === 'json' ? JSON.stringify(value, null, 2) : stringify(value, { lineWidth: 0 }).trimEnd();
}
