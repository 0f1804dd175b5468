import { HostError } from '../../errors/index.js';
import type { Message } from '../../idl/codec.js';
import type { PluginReport } from '../../model/plugin-report.js';
import type { Tasks } from '../../tasks/types.js';
import { assertText, type FieldLimits } from '../fields.js';
import type { RpcServiceModule } from '../methods.js';
import type { Dialect } from './dialect.js';

/** Versions by which a plugin serves a task type; one that takes every version is listed with 0, the usual one. */
function categoriesOf(report: PluginReport): { name: string; version: number }[] {
  return report.taskTypes.flatMap(({ name, versions }) =>
    versions.length === 0 ? [{ name, version: 0 }] : versions.map((version) => ({ name, version })),
  );
}

/**
 * The plugins that engines are told of: all whose task types are known, whatever state they are in. A type that fails to
 * be listed is routed elsewhere by the engine (FIELD 17), while a task for a plugin that is being restarted can wait here.
 */
export function listed(reports: readonly PluginReport[]): readonly PluginReport[] {
  return reports.filter((report) => report.kind !== undefined && report.taskTypes.length > 0);
}

function agentMessage(dialect: Dialect, report: PluginReport): Message {
  const supportedTaskCategories = categoriesOf(report);
  if (dialect.version === 2) return { name: report.id, supportedTaskCategories };
  return {
    name: report.id,
    // Deprecated, and all that older engines read; what stands in the categories overrides it in newer ones.
    supportedTaskTypes: report.taskTypes.map(({ name }) => name),
    isSync: report.kind === 'sync',
    supportedTaskCategories,
  };
}

const WORDS = {
  1: { get: 'GetAgent', list: 'ListAgents', one: 'agent', many: 'agents' },
  2: { get: 'GetConnector', list: 'ListConnectors', one: 'connector', many: 'connectors' },
} as const;

/** AgentMetadataService of Flyte 1, ConnectorMetadataService of Flyte 2: answered from memory, in whatever state we are. */
export function createMetadataService(
  tasks: Pick<Tasks, 'listPlugins'>,
  dialect: Dialect,
  limits: FieldLimits,
): RpcServiceModule {
  const { idl, metadataService } = dialect;
  const words = WORDS[dialect.version];
  const reports = () => listed(tasks.listPlugins());
  const get = (request: Buffer): Buffer => {
    const { name } = dialect.codec(`${words.get}Request`).decode(request);
    const wanted = assertText('name', name, limits.nameBytes);
    const report = reports().find(({ id }) => id === wanted);
    if (report === undefined) {
      throw new HostError(
        'PLUGIN_UNKNOWN',
        `no ${words.one} is called ${JSON.stringify(wanted)}; there are: ${
          reports()
            .map(({ id }) => id)
            .join(', ') || 'none'
        }`,
      );
    }
    return dialect.codec(`${words.get}Response`).encode({ [words.one]: agentMessage(dialect, report) });
  };
  const list = (request: Buffer): Buffer => {
    dialect.codec(`${words.list}Request`).decode(request);
    return dialect.codec(`${words.list}Response`).encode({
      [words.many]: reports().map((report) => agentMessage(dialect, report)),
    });
  };
  return {
    name: metadataService,
    definition: idl.rawService(metadataService),
    handlers: { [words.get]: { kind: 'unary', handle: get }, [words.list]: { kind: 'unary', handle: list } },
  };
}
