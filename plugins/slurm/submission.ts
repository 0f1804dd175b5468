import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { isTaggedLiteral, type LiteralValue, type TaggedLiteral, type TaskTemplate } from 'webapi-plugin-host';
import { invalid, type SlurmCustom } from './custom.js';
import { fileOf } from './meta.js';
import { buildScript, scriptOfCommand } from './script.js';
import type { ClusterSettings, SlurmSettings } from './settings.js';

/** Linux takes at most 128 KiB in one string of an environment (MAX_ARG_STRLEN), name and `=` included. */
const MAX_VARIABLE_BYTES = 131_071;

/** What Slurm can pass on: variables travel as `name=value`, and a batch script's environment is read line by line. */
const VARIABLE_NAME = /^[^=\0\r\n]+$/;

export interface SubmissionInput {
  readonly template: TaskTemplate;
  readonly custom: SlurmCustom;
  readonly inputs: Readonly<Record<string, LiteralValue>>;
  readonly outputPrefix: string;
  /** Variables the engine adds to the task. */
  readonly engineEnvironment: Readonly<Record<string, string>>;
  readonly idempotencyKey: string;
  readonly cluster: ClusterSettings;
  readonly settings: SlurmSettings;
}

/**
 * An input as the text of an environment variable: text as it is, files by their URI, structures as JSON, durations in
 * seconds, an optional value as what it holds.
 * @throws PermanentError USER for bytes and for literals of a kind without a text
 */
export function inputText(value: LiteralValue | undefined, name: string): string {
  if (value === undefined || value === null) return '';
  if (typeof value === 'string') return value;
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array)
    throw invalid(`the input '${name}' is bytes; an environment variable cannot hold them`);
  if (typeof value !== 'object') return String(value);
  if (isTaggedLiteral(value)) return taggedText(value, name);
  return jsonText(value);
}

function taggedText(literal: TaggedLiteral, name: string): string {
  switch (literal.literalKind) {
    case 'integer':
    case 'float':
      return String(literal.value);
    case 'duration':
      return String(literal.seconds + literal.nanos / 1e9);
    case 'struct':
    case 'msgpack':
      return jsonText(literal.value);
    case 'union':
      return inputText(literal.value as LiteralValue, name);
    case 'blob':
    case 'schema':
    case 'structured_dataset':
    case 'offloaded':
      return literal.uri;
    case 'error':
      return literal.message;
    case 'binary':
    case 'raw':
      throw invalid(`the input '${name}' is a ${literal.literalKind} literal; an environment variable cannot hold it`);
    default:
      return literal satisfies never;
  }
}

/** Tagged values inside a structure keep only their value or URI. */
function jsonText(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner === 'bigint') return String(inner);
    if (!isTaggedLiteral(inner)) return inner;
    return 'uri' in inner ? inner.uri : 'value' in inner ? inner.value : taggedText(inner, 'structure');
  });
}

/** Replaces `{{.inputs.name}}`; a name that is no input is an error, since a job with a gap is worse than none. */
export function render(text: string, inputs: Readonly<Record<string, LiteralValue>>): string {
  return text.replace(/\{\{\s*\.inputs\.([A-Za-z_][A-Za-z0-9_]*)\s*\}\}/g, (_match, name: string) => {
    if (!Object.hasOwn(inputs, name)) {
      throw invalid(`'${text.slice(0, 200)}' names the input '${name}', which the task was not given`);
    }
    return inputText(inputs[name], name);
  });
}

/** The directory that an output prefix is on this machine and the nodes; undefined for an object store. */
function directoryOf(prefix: string): string | undefined {
  if (prefix.startsWith('/')) return prefix;
  if (!prefix.startsWith('file://')) return undefined;
  try {
    return fileURLToPath(prefix);
  } catch (error) {
    throw invalid(`the output prefix '${prefix.slice(0, 200)}' names no directory: ${(error as Error).message}`);
  }
}

/** `1500m` → 2 (Slurm gives whole CPUs), `2` → 2. */
function cpusOf(quantity: string | undefined): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(m?)$/.exec(quantity ?? '');
  if (match === null) return undefined;
  const cpus = Math.ceil(Number(match[1]) / (match[2] === 'm' ? 1000 : 1));
  return cpus > 0 ? cpus : undefined;
}

const MEMORY_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
};

/** A Kubernetes quantity in Slurm's megabytes (MiB), rounded up. */
function memoryMbOf(quantity: string | undefined): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(k|M|G|T|Ki|Mi|Gi|Ti)?$/.exec(quantity ?? '');
  if (match === null) return undefined;
  const megabytes = Math.ceil((Number(match[1]) * (MEMORY_UNITS[match[2] ?? ''] ?? 1)) / 2 ** 20);
  return megabytes > 0 ? megabytes : undefined;
}

function resource(template: TaskTemplate, ...names: string[]): string | undefined {
  const { requests = {}, limits = {} } = template.container?.resources ?? {};
  for (const name of names) {
    const found = requests[name] ?? limits[name];
    if (found !== undefined) return found;
  }
  return undefined;
}

function scriptOf({ template, custom, settings, inputs }: SubmissionInput): { script: string; args: string[] } {
  if (custom.script !== undefined)
    return { script: custom.script, args: custom.args.map((arg) => render(arg, inputs)) };
  const container = template.container;
  const words = [...(container?.command ?? []), ...(container?.args ?? [])];
  if (container === undefined || words.length === 0) {
    throw invalid("the task has neither custom.script nor a container's command or args: nothing to run");
  }
  const front = settings.containerCommand.map((word) => word.replaceAll('{{image}}', container.image));
  return { script: scriptOfCommand([...front, ...words]), args: [] };
}

function environmentOf(input: SubmissionInput): Record<string, string> {
  const { template, custom, inputs, cluster, outputPrefix } = input;
  // Later ones go before; names are foreign, so none is a property (`__proto__`).
  const variables = new Map<string, string>([
    ...Object.entries(cluster.environment),
    ...Object.entries(template.container?.env ?? {}),
    ...Object.entries(input.engineEnvironment),
    ...Object.entries(custom.environment).map(([name, value]) => [name, render(value, inputs)] as const),
    ...Object.entries(inputs).map(([name, value]) => [`INPUT_${name}`, inputText(value, name)] as const),
    ['PLUGIN_HOST_OUTPUT_PREFIX', outputPrefix],
    ['PLUGIN_HOST_OUTPUT_DIR', directoryOf(outputPrefix) ?? ''],
    ['PLUGIN_HOST_IDEMPOTENCY_KEY', input.idempotencyKey],
  ]);
  for (const [name, value] of variables) {
    if (!VARIABLE_NAME.test(name)) {
      throw invalid(
        `${JSON.stringify(name.slice(0, 200))} cannot name an environment variable: it is empty, or holds =, a line end or NUL`,
      );
    }
    const bytes = Buffer.byteLength(name) + 1 + Buffer.byteLength(value);
    if (bytes > MAX_VARIABLE_BYTES) {
      throw invalid(
        `the environment variable ${name} has ${bytes} bytes, Linux takes at most ${MAX_VARIABLE_BYTES}; hand large inputs over as a file or blob`,
      );
    }
    if (value.includes('\0')) throw invalid(`the environment variable ${name} contains a NUL byte`);
  }
  return Object.fromEntries(variables);
}

/** Before v0.0.39 the environment is a map, nodes a number or range, GPUs have a key and the script stands apart. */
function isOldDialect(apiVersion: string): boolean {
  return Number(apiVersion.split('.')[2]) < 39;
}

function resourcesOf(input: SubmissionInput, old: boolean): Record<string, unknown> {
  const { template, custom, cluster } = input;
  const gpus = custom.gpusPerNode ?? resource(template, 'gpu', 'nvidia.com/gpu');
  const cpus = custom.cpusPerTask ?? cpusOf(resource(template, 'cpu'));
  const memory =
    custom.memoryPerCpuMb === undefined ? (custom.memoryMb ?? memoryMbOf(resource(template, 'memory'))) : undefined;
  const timeoutMs = template.metadata?.timeoutMs ?? 0;
  const minutes = custom.timeLimitMinutes ?? (timeoutMs > 0 ? Math.ceil(timeoutMs / 60_000) : undefined);
  const number = (value: number | undefined) =>
    value === undefined || old ? value : { set: true, infinite: false, number: value };
  return {
    partition: custom.partition ?? cluster.partition,
    account: custom.account ?? cluster.account,
    qos: custom.qos ?? cluster.qos,
    reservation: custom.reservation,
    constraints: custom.constraints,
    licenses: custom.licenses,
    nodes: custom.nodes === undefined ? undefined : old ? [custom.nodes, custom.nodes] : String(custom.nodes),
    tasks: custom.tasks,
    tasks_per_node: custom.tasksPerNode,
    cpus_per_task: cpus,
    memory_per_node: number(memory),
    memory_per_cpu: number(custom.memoryPerCpuMb),
    ...(old ? { gpus_per_node: gpus } : { tres_per_node: gpus === undefined ? undefined : `gres/gpu:${gpus}` }),
    time_limit: number(minutes),
    nice: custom.nice,
    exclusive: custom.exclusive === true && old ? 'exclusive' : undefined,
    shared: custom.exclusive === true && !old ? ['none'] : undefined,
  };
}

/** The body of `job/submit`. */
export function buildSubmission(input: SubmissionInput): { body: Record<string, unknown>; stem: string } {
  const { template, custom, cluster, idempotencyKey } = input;
  const old = isOldDialect(cluster.apiVersion);
  const stem = path.posix.join(cluster.workDir, idempotencyKey);
  const array = custom.array !== undefined;
  const script = buildScript({ ...scriptOf(input), array, stem });
  const environment = environmentOf(input);
  const job: Record<string, unknown> = {
    name: (custom.name ?? template.id?.name ?? template.type).replace(/[^A-Za-z0-9._-]+/g, '-').slice(0, 100) || 'task',
    // how a repeated create finds the job; see JobLookup
    comment: idempotencyKey,
    current_working_directory: custom.workingDirectory ?? cluster.workDir,
    standard_output: fileOf(stem, array ? '%a' : undefined, 'out'),
    // a requeued job adds to its log
    open_mode: old ? 'append' : ['APPEND'],
    array: custom.array,
    ...resourcesOf(input, old),
    environment: old ? environment : Object.entries(environment).map(([name, value]) => `${name}=${value}`),
  };
  for (const [name, value] of Object.entries(job)) if (value === undefined) delete job[name];
  return { body: old ? { script, job } : { job: { ...job, script } }, stem };
}
