import { readFileSync } from 'node:fs';
import { messageOf } from '../errors/index.js';
import type { AnyLeaf } from '../model/options/leaf.js';
import { CONFIG_SCHEMA, type Config } from '../model/options/schema.js';
import type { Section } from '../model/options/spec.js';
import { expectedOf, readValue } from '../model/options/values.js';
import type { Entry } from './check.js';
import { compileSection, type Effective, mergeLayers, missingOptions, pathKey, walkFixed } from './compile.js';
import { ConfigError, type ConfigProblem, keyText } from './problems.js';
import { conflicts } from './rules.js';
import { type FlagSetting, readConfigFile, readEnvironment, readFlags } from './sources.js';

export interface LoadOptions {
  /** Config files, JSON or YAML, the later the stronger. */
  readonly files?: readonly string[];
  /** The environment; only names that start with PLUGIN_HOST_ are looked at. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly flags?: readonly FlagSetting[];
  /** From where relative paths of files, variables and flags count. */
  readonly cwd: string;
  /** Reads a file as UTF-8 text; throws where it cannot. */
  readonly readText?: (file: string) => string;
  /** The options there are; the daemon's unless given. */
  readonly schema?: typeof CONFIG_SCHEMA;
}

/** A configuration that has passed every check. */
export interface LoadedConfig {
  /** Frozen at every depth; durations in milliseconds (`…Ms`), sizes in bytes (`…Bytes`). */
  readonly config: Config;
  /** What was set, by path, with its origin; what is absent has its default. */
  readonly effective: Effective;
}

/**
 * Loads the configuration: defaults < files in order < environment < flags. Every layer is checked on its own, strictly
 * and at every depth.
 *
 * @throws ConfigError with all problems at once.
 */
export function loadConfig(options: LoadOptions): LoadedConfig {
  const { cwd, readText = (file: string) => readFileSync(file, 'utf8'), schema = CONFIG_SCHEMA } = options;
  const layers = [
    ...(options.files ?? []).map((file) => readConfigFile(schema, file, cwd, readText)),
    readEnvironment(schema, options.env ?? {}, cwd),
    readFlags(schema, options.flags ?? [], cwd),
  ];
  const problems = layers.flatMap((layer) => layer.problems);
  let effective = mergeLayers(layers.map((layer) => layer.entries));
  const secrets = readSecretFiles(schema, effective, readText);
  problems.push(...secrets.problems);
  // A required option may only seem missing where its value was wrong.
  if (layers.every((layer) => layer.problems.length === 0)) problems.push(...missingOptions(schema, effective));
  if (problems.length > 0) throw new ConfigError(problems);
  effective = mergeLayers([[...effective.values()], secrets.entries]);
  const config = compileSection(schema, effective) as Config;
  const contradictions = conflicts(config, effective);
  if (contradictions.length > 0) throw new ConfigError(contradictions);
  return { config, effective };
}

/** `tokenFile` fills `token`, and so on for every sensitive option with such a sibling. */
function readSecretFiles(
  schema: Section,
  effective: Effective,
  readText: (file: string) => string,
): { entries: Entry[]; problems: ConfigProblem[] } {
  const entries: Entry[] = [];
  const problems: ConfigProblem[] = [];
  for (const { secret, leaf, file } of secretPairs(schema)) {
    const source = effective.get(pathKey(file));
    if (source?.value === undefined) continue;
    const key = keyText(file);
    const given = effective.get(pathKey(secret));
    if (given?.value !== undefined) {
      const message = `both ${keyText(secret)} (${given.origin}) and ${key} are set; set one of them`;
      problems.push({ code: 'CONFIG_CONFLICT', origin: source.origin, key, message });
      continue;
    }
    try {
      const parsed = readValue(leaf, readText(source.value as string).trim());
      if (parsed.ok) entries.push({ path: secret, value: parsed.value, origin: `${key} (${source.origin})`, leaf });
      else {
        const message = `the content of ${source.value} is not ${expectedOf(leaf)}`;
        problems.push({ code: 'CONFIG_VALUE_INVALID', origin: source.origin, key, message });
      }
    } catch (error) {
      problems.push({ code: 'CONFIG_FILE_UNREADABLE', origin: source.origin, key, message: messageOf(error) });
    }
  }
  return { entries, problems };
}

function secretPairs(schema: Section): { secret: readonly string[]; leaf: AnyLeaf; file: readonly string[] }[] {
  const leaves = new Map<string, { path: readonly string[]; leaf: AnyLeaf }>();
  walkFixed(schema, [], (node, path) => {
    if (node.node === 'leaf') leaves.set(pathKey(path), { path, leaf: node });
  });
  return [...leaves.values()].flatMap(({ path, leaf }) => {
    const file = [...path.slice(0, -1), `${path.at(-1)}File`];
    return leaf.sensitive && leaves.has(pathKey(file)) ? [{ secret: path, leaf, file }] : [];
  });
}
