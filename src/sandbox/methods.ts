import { show } from '../lib/show.js';
import { MAX_BATCH_KEY } from '../model/answer-bounds.js';
import { META_WARN_BYTES } from '../model/handle.js';
import type { PhaseState } from '../model/phase-state.js';
import type { PluginMethod, PluginMethods, PluginOutcome } from '../model/plugin-call.js';
import { methodTraits } from '../model/plugin-methods.js';
import type { StatusContext } from '../plugin-api/contexts.js';
import { isPhaseInfo } from '../plugin-api/phase.js';
import type { AsyncPlugin, LogsPage, ResourceRequirements, SyncPlugin } from '../plugin-api/plugin.js';
import {
  type CallParts,
  createContext,
  deleteContext,
  logsContext,
  metricsContext,
  requirementsContext,
  resourceContext,
} from './contexts.js';
import { toFailure } from './failures.js';
import { InvalidAnswer } from './invalid-answer.js';
import { decodeMeta, encodeMeta } from './meta.js';
import { logsPage, metricSeries, requirements } from './other-answers.js';
import { assertTerminal, toPhaseState } from './phase-answer.js';

/** A loaded plugin; which of the two it is was checked after load(). */
export interface LoadedPlugin {
  readonly plugin: AsyncPlugin<unknown, unknown> & SyncPlugin;
}

type Handler<M extends PluginMethod> = (
  plugin: LoadedPlugin['plugin'],
  args: PluginMethods[M]['args'],
  parts: CallParts,
) => Promise<PluginMethods[M]['answer']>;

/** What the plugin process does for each method. Throws whatever the plugin threw, or InvalidAnswer. */
export const METHODS: { readonly [M in PluginMethod]: Handler<M> } = {
  async resourceRequirements(plugin, args, parts): Promise<ResourceRequirements> {
    return requirements(await plugin.resourceRequirements?.(requirementsContext(args, parts)));
  },

  async create(plugin, args, parts) {
    const { context, written } = createContext(args, parts);
    const result: unknown = await plugin.create(context);
    if (typeof result !== 'object' || result === null || !('resourceMeta' in result)) {
      throw new InvalidAnswer(`create() answered ${show(result)}; expected { resourceMeta, resource? }`);
    }
    const { resourceMeta, resource, existing = false } = result as Record<string, unknown>;
    if (typeof existing !== 'boolean') {
      throw new InvalidAnswer(`create(): existing is ${show(existing)}; expected true or false`);
    }
    const meta = encodeMeta(resourceMeta, plugin.metaCodec);
    warnOfMeta(meta, parts);
    const state =
      resource === undefined
        ? undefined
        : stateOf(
            plugin,
            'create',
            {
              resource,
              resourceMeta,
              outputPrefix: args.outputPrefix,
              outputNames: parts.kit.taskReader(args.template).read().outputNames,
            },
            written(),
            parts,
            args.template,
          );
    return { meta, state, existing };
  },

  async get(plugin, args, parts) {
    const meta = decodeMeta(args.meta, plugin.metaCodec);
    const { context, written } = resourceContext(args, meta, parts);
    const resource: unknown = await plugin.get(context);
    const { outputPrefix, outputNames } = args;
    return stateOf(plugin, 'get', { resource, resourceMeta: meta, outputPrefix, outputNames }, written(), parts);
  },

  async getMany(plugin, args, parts) {
    return readMany(plugin, args.items, parts);
  },

  async delete(plugin, args, parts) {
    await plugin.delete(deleteContext(args, decodeMeta(args.meta, plugin.metaCodec), parts));
    return {};
  },

  async do(plugin, args, parts) {
    const { context, written } = createContext(args, parts);
    const info: unknown = await plugin.do(context);
    return assertTerminal(toPhaseState(info, phaseContext('do', written(), parts, args.template)), 'do');
  },

  async getLogs(plugin, args, parts) {
    const page: LogsPage | undefined = await plugin.getLogs?.(
      logsContext(args, decodeMeta(args.meta, plugin.metaCodec), parts),
    );
    return methodTraits('getLogs').masked(logsPage(page), (text) => parts.redactor.redact(text));
  },

  async getMetrics(plugin, args, parts) {
    const series = await plugin.getMetrics?.(metricsContext(args, decodeMeta(args.meta, plugin.metaCodec), parts));
    return methodTraits('getMetrics').masked(metricSeries(series), (text) => parts.redactor.redact(text));
  },

  async adoptMeta(plugin, args) {
    const meta: unknown = await plugin.adoptMeta?.(args.foreign, args.taskType);
    return { meta: meta === undefined ? undefined : encodeMeta(meta, plugin.metaCodec) };
  },

  async batchKeys(plugin, args) {
    const keys = args.metas.map((meta) => {
      const key: unknown = plugin.getMany?.batchKey?.(decodeMeta(meta, plugin.metaCodec));
      assertAnswersAtOnce('batchKey', key);
      if (typeof key !== 'string') throw new InvalidAnswer(`batchKey() answered ${show(key)}; expected a text`);
      if (key.length > MAX_BATCH_KEY) {
        throw new InvalidAnswer(`batchKey() answered ${key.length} characters; expected at most ${MAX_BATCH_KEY}`);
      }
      return key;
    });
    return { keys };
  },
};

/** One outcome per item; items whose meta does not decode do not reach the plugin. */
async function readMany(
  plugin: LoadedPlugin['plugin'],
  items: PluginMethods['getMany']['args']['items'],
  parts: CallParts,
): Promise<readonly PluginOutcome<PhaseState>[]> {
  const redact = (text: string): string => parts.redactor.redactStart(text);
  const outcomes = new Array<PluginOutcome<PhaseState> | undefined>(items.length);
  const asked: { index: number; meta: unknown; made: ReturnType<typeof resourceContext> }[] = [];
  for (const [index, item] of items.entries()) {
    try {
      const meta = decodeMeta(item.meta, plugin.metaCodec);
      asked.push({ index, meta, made: resourceContext(item, meta, parts) });
    } catch (error) {
      outcomes[index] = { ok: false, failure: toFailure(error, redact) };
    }
  }
  const settled: unknown = asked.length === 0 ? [] : await plugin.getMany?.read(asked.map((item) => item.made.context));
  if (!Array.isArray(settled) || settled.length !== asked.length) {
    throw new InvalidAnswer(
      `getMany.read() answered ${show(settled)}; expected a list of ${asked.length} settled outcomes, one per context in order`,
    );
  }
  for (const [position, { index, meta, made }] of asked.entries()) {
    try {
      const resource = unsettle(settled[position], position);
      const { outputPrefix, outputNames } = items[index]!;
      const read = { resource, resourceMeta: meta, outputPrefix, outputNames };
      const state = stateOf(plugin, 'getMany.read', read, made.written(), parts);
      outcomes[index] = { ok: true, value: state };
    } catch (error) {
      outcomes[index] = { ok: false, failure: toFailure(error, redact) };
    }
  }
  return outcomes as PluginOutcome<PhaseState>[];
}

/** The value of one settled outcome; throws its reason. */
function unsettle(outcome: unknown, position: number): unknown {
  const { status, value, reason } = (outcome ?? {}) as { status?: unknown; value?: unknown; reason?: unknown };
  if (status === 'fulfilled') return value;
  if (status === 'rejected') throw reason;
  throw new InvalidAnswer(
    `getMany.read(): outcome ${position} is ${show(outcome)}; expected { status: 'fulfilled', value } or { status: 'rejected', reason }`,
  );
}

/**
 * What a read answered, as a state: a PhaseInfo as it is, a resource by way of `status`. With a `status` at hand only
 * the constructors' PhaseInfo counts as one, since a resource may have a field `phase` of its own.
 */
function stateOf(
  plugin: LoadedPlugin['plugin'],
  method: string,
  read: StatusContext<unknown, unknown>,
  outputsWritten: boolean,
  parts: CallParts,
  template?: Buffer,
): PhaseState {
  if (isPhaseInfo(read.resource) || plugin.status === undefined) {
    return toPhaseState(read.resource, phaseContext(method, outputsWritten, parts, template));
  }
  const info: unknown = plugin.status(read);
  assertAnswersAtOnce('status', info);
  return toPhaseState(info, phaseContext('status', outputsWritten, parts, template));
}

/** For methods that are not awaited. A rejection that nobody sees would end the process with every read. */
function assertAnswersAtOnce(method: string, answer: unknown): void {
  if (!(answer instanceof Promise)) return;
  answer.catch(() => undefined);
  throw new InvalidAnswer(`${method}() answered a promise; it must be a plain function without I/O, not async`);
}

function phaseContext(
  method: string,
  outputsWritten: boolean,
  parts: CallParts,
  template?: Buffer,
): Parameters<typeof toPhaseState>[1] {
  return {
    method,
    outputsWritten,
    encodeOutputs: (values) => parts.kit.encodeOutputs(values, template),
    redact: (text) => parts.redactor.redact(text),
  };
}

/** Engines keep every meta in their own state, and the handle is answered to callers. */
function warnOfMeta(meta: Buffer, parts: CallParts): void {
  if (meta.length > META_WARN_BYTES) {
    parts.logger.warn('the resource meta is large; engines keep it with every node of the workflow', {
      bytes: meta.length,
      recommendedBytes: META_WARN_BYTES,
    });
  }
  if (parts.redactor.reveals(meta.toString('utf8'))) {
    parts.logger.error('the resource meta holds a secret; engines store and show it: keep secrets out of it');
  }
}
