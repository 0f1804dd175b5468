import { type ErrorCode, HostError } from '../errors/index.js';

type ConfigCode = Extract<ErrorCode, `CONFIG_${string}`>;

/** One thing that is wrong with the configuration. */
export interface ConfigProblem {
  readonly code: ConfigCode;
  /** Where it stands: `file x.yaml:12`, `environment variable …`, `flag …`, or empty for the whole. */
  readonly origin: string;
  /** Dotted key; empty for a whole file. */
  readonly key: string;
  /** What was seen and what was expected, in words. */
  readonly message: string;
}

/** All problems of a configuration, reported at once. Its code is that of the gravest. */
export class ConfigError extends HostError {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    const order: ConfigCode[] = [
      'CONFIG_FILE_UNREADABLE',
      'CONFIG_KEY_UNKNOWN',
      'CONFIG_VALUE_INVALID',
      'CONFIG_CONFLICT',
    ];
    const code = order.find((candidate) => problems.some((problem) => problem.code === candidate));
    const lines = problems.map((problem) => `  ${describeProblem(problem)}`);
    super(
      code ?? 'CONFIG_VALUE_INVALID',
      `the configuration has ${problems.length === 1 ? 'a problem' : `${problems.length} problems`}:\n${lines.join('\n')}`,
    );
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

function describeProblem(problem: ConfigProblem): string {
  const where = [problem.origin, problem.key].filter((part) => part !== '').join(': ');
  return `${problem.code} ${where}${where === '' ? '' : ': '}${problem.message}`;
}

/** A path as people write it: dots between keys, quotes around keys that hold anything else than word characters. */
export function keyText(path: readonly string[]): string {
  return path.map((part) => (/^[\w-]+$/.test(part) ? part : JSON.stringify(part))).join('.');
}

/** The kind of a value, for errors about places where secrets may stand. */
export function shapeText(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' ? 'an object' : typeof value === 'string' ? 'a text' : `a ${typeof value}`;
}

/** A value as shown in an error: JSON, cut at 80 characters; of an object only that it is one. */
export function seenText(value: unknown): string {
  if (value === undefined || (typeof value === 'object' && value !== null && !Array.isArray(value))) {
    return shapeText(value);
  }
  let text: string;
  if (typeof value === 'number' || typeof value === 'bigint') text = String(value);
  else text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
