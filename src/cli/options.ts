import path from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { type FlagSetting, type LoadedConfig, loadConfig } from '../config/index.js';
import type { CliIo } from './io.js';

const collect = (value: string, before: readonly string[] = []): string[] => [...before, value];

/** Options of commands that read the configuration. */
export interface ConfigOptions {
  readonly config?: readonly string[];
  readonly set?: readonly string[];
  /** Named flags, by option name. */
  readonly [name: string]: unknown;
}

/** Named flags -> config keys. */
const NAMED_FLAGS = [
  { flag: 'host', key: 'grpc.host', hint: '<address>', doc: 'gRPC address (grpc.host)' },
  { flag: 'port', key: 'grpc.port', hint: '<port>', doc: 'gRPC port (grpc.port)' },
  { flag: 'admin-host', key: 'admin.host', hint: '<address>', doc: 'admin address (admin.host)' },
  { flag: 'admin-port', key: 'admin.port', hint: '<port>', doc: 'admin port (admin.port)' },
  { flag: 'log-level', key: 'log.level', hint: '<level>', doc: 'log level (log.level)' },
  { flag: 'log-format', key: 'log.format', hint: '<format>', doc: 'json or text (log.format)' },
] as const;

/** Adds `--config`, `--set` and the named flags. */
export function addConfigOptions(command: Command): Command {
  addConfigSources(command);
  for (const { flag, hint, doc } of NAMED_FLAGS) command.addOption(new Option(`--${flag} ${hint}`, doc));
  return command;
}

/** Adds `--config` and `--set`, for a command that needs little of the configuration. */
export function addConfigSources(command: Command): Command {
  return command
    .option('-c, --config <file>', 'config file, JSON or YAML; may be given several times, later ones win', collect)
    .option('--set <key=value>', 'set one option, such as --set grpc.port=8001; may be given several times', setting);
}

function setting(value: string, before: readonly string[] = []): string[] {
  if (!/^[^=]+=/.test(value)) throw new InvalidArgumentError('expected key=value.');
  return [...before, value];
}

/** Loads the configuration as the options, the environment and the files say. Throws ConfigError. */
export function configFrom(options: ConfigOptions, io: CliIo): LoadedConfig & { readonly files: readonly string[] } {
  const named = (variable: string) => (io.env[variable] ?? '').split(path.delimiter).filter((file) => file !== '');
  const files = [...named('PLUGIN_HOST_DEFAULTS'), ...(options.config ?? named('PLUGIN_HOST_CONFIG'))];
  const flags: FlagSetting[] = NAMED_FLAGS.flatMap(({ flag, key }) => {
    const name = flag.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const text = options[name];
    return typeof text === 'string' ? [{ flag: `--${flag}`, key, text }] : [];
  });
  for (const text of options.set ?? []) {
    const split = equalsSign(text);
    flags.push({ flag: '--set', key: text.slice(0, split), text: text.slice(split + 1) });
  }
  return { ...loadConfig({ files, env: io.env, flags, cwd: io.cwd }), files };
}

/** The first equals sign outside of quotes: a quoted part of a key may hold one. */
function equalsSign(text: string): number {
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '\\' && quoted) i++;
    else if (text[i] === '"') quoted = !quoted;
    else if (text[i] === '=' && !quoted) return i;
  }
  return text.indexOf('=');
}

/** An option that takes a duration such as 30s or 10m. */
export function durationOption(flags: string, doc: string, parse: (text: string) => number | undefined): Option {
  return new Option(flags, doc).argParser((text: string) => {
    const ms = parse(text);
    if (ms === undefined || ms <= 0)
      throw new InvalidArgumentError('expected a duration with a unit, such as 30s or 10m.');
    return ms;
  });
}
