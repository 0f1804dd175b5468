import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { tempFolder, writeTree } from '../support/temp.js';
import { BOUND, configOf, logOf, startServe, statusWhere, until, WIDE_LIMITS } from './support.js';

/** Tells in each call which outputs it was told of: as outputs of the phase, or as a log line. */
const plugin = `
import { definePlugin, phases } from 'webapi-plugin-host';
const told = (ctx) => (ctx.outputNames === undefined ? 'unknown' : ctx.outputNames.join());
const answer = (ctx) =>
  phases.success(Object.fromEntries((ctx.outputNames ?? []).map((name, at) => [name, at])), { reason: told(ctx) });
export default (parts) => definePlugin({
  id: parts.id,
  apiVersion: 1,
  taskTypes: [parts.id],
  load: () => ({
    create: async (ctx) => ({ resourceMeta: {}, ...(parts.atOnce ? { resource: {} } : {}) }),
    get: async (ctx) => (parts.status ? {} : parts.runs ? phases.running({ reason: told(ctx), remotePhase: 'seen' }) : answer(ctx)),
    delete: async (ctx) => { ctx.logger.info('deleted with ' + told(ctx)); },
    ...(parts.status ? { status: answer } : {}),
    ...(parts.many ? { getMany: { maxBatch: 10, read: async (all) => all.map((ctx) => ({ status: 'fulfilled', value: answer(ctx) })) } } : {}),
  }),
});
`;
const KINDS = {
  read: {},
  status: { status: true },
  many: { many: true },
  once: { atOnce: true, status: true },
  runs: { runs: true },
};
const INTEGER = { type: { simple: 'INTEGER' } } as const;
const NAMES = ['zeta', 'alpha', '__proto__', 'with space'];

/** The names and no others, in the order of the declaration. */
function templateOf(type: string, names: readonly string[] | undefined) {
  if (names === undefined) return { type };
  const entries = names.map((name): [string, typeof INTEGER] => [name, INTEGER]);
  return { type, interface: { outputs: { variables: Object.fromEntries(entries) } } };
}

test(
  'every call about a job tells the names of the declared outputs, in their order, and that they are not known where they are not',
  BOUND,
  async (t) => {
    const folder = tempFolder(t);
    const files = Object.entries(KINDS).map(([id, parts]): [string, string] => [
      `${id}.mjs`,
      `import make from './told.mjs';\nexport default make(${JSON.stringify({ id, ...parts })});\n`,
    ]);
    writeTree(folder, { 'told.mjs': plugin, ...Object.fromEntries(files) });
    const plugins = Object.fromEntries(
      Object.keys(KINDS).map((id) => [id, { source: path.join(folder, `${id}.mjs`), config: WIDE_LIMITS }]),
    );
    const { client, running } = await startServe(t, configOf(plugins, { state: { engine: 'none' } }));
    for (const id of Object.keys(KINDS)) {
      for (const [name, names] of [
        ['named', NAMES],
        ['none', []],
        ['unsaid', undefined],
      ] as const) {
        const { handle } = await client.create({ generatedName: `${id}-${name}`, template: templateOf(id, names) });
        const told = await statusWhere(
          client,
          handle,
          `${id} ${name} that was read`,
          (seen) => seen.phaseInfo.phase === 'SUCCESS' || seen.phaseInfo.remotePhase === 'seen',
        );
        const { reason, outputs } = told.phaseInfo;
        // An interface without outputs and none at all look alike to a template that is read.
        if (name === 'named') assert.equal(reason, NAMES.join(), id);
        else assert.match(reason, /^(unknown)?$/, `${id} ${name}`);
        if (id !== 'runs') assert.deepEqual(namesOf(outputs), [...(names ?? [])].sort(), `${id} ${name}`);
        else await client.delete(handle);
      }
    }
    await until(
      'the cancelled jobs',
      () => logOf(running).filter(({ line }) => String(line).startsWith('deleted with')).length === 3,
    );
    assert.ok(logOf(running).some(({ line }) => line === `deleted with ${NAMES.join()}`));
  },
);

function namesOf(outputs: { readonly kind: string; readonly names?: readonly string[] }): string[] {
  return [...(outputs.names ?? [])].sort();
}
