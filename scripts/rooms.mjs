// The rooms of src/ and which of them may import which: the one table behind biome.imports.json (made from it by
// gen-import-rules.mjs) and the guard test that walks every import. Change the design document before this table.

/** Room -> the rooms directly below it. An upper room may import whatever is reachable from it. */
const below = {
  main: ['cli', 'config'],
  cli: ['daemon', 'client', 'config'],
  daemon: ['rpc', 'admin', 'config'],
  rpc: ['tasks', 'data', 'telemetry'],
  admin: ['tasks', 'telemetry'],
  client: ['data', 'telemetry'],
  tasks: ['refresh', 'calls'],
  refresh: ['store'],
  store: ['journal'],
  journal: ['idl'],
  calls: ['host', 'limits'],
  host: ['data', 'telemetry'],
  limits: ['idl'],
  data: ['idl'],
  telemetry: ['idl'],
  idl: ['model', 'generated'],
  config: ['model', 'generated'],
  generated: ['model'],
  model: ['plugin-api'],
  'plugin-api': ['errors'],
  errors: ['lib'],
  lib: [],
  // What plugin authors import; the kit for their tests.
  index: ['plugin-api'],
  testing: ['host'],
};

/** Rooms whose reach is narrower than what is reachable: the author's surface takes its errors through plugin-api. */
const narrowed = { index: ['plugin-api'] };

function reachable(room) {
  const seen = new Set();
  const visit = (name) => {
    for (const next of below[name]) {
      if (!seen.has(next)) {
        seen.add(next);
        visit(next);
      }
    }
  };
  visit(room);
  return [...seen].sort();
}

/** Room -> the other rooms it may import. */
export const allowedRooms = Object.fromEntries(
  Object.keys(below).map((room) => [room, narrowed[room] ?? reachable(room)]),
);

/** Rooms that are a file `src/<room>.ts`, possibly with a folder `src/<room>/` beside it for its parts. */
export const fileRooms = ['main', 'daemon', 'index'];

/**
 * Vendor library -> the rooms that may import it. A library without a row has no home and may not be imported by src/.
 * A name ending in `/*` stands for a scope.
 */
export const vendorHomes = {
  '@aws-sdk/*': ['data'],
  '@flyteorg/flyteidl': ['idl'],
  '@grpc/grpc-js': ['rpc', 'client'],
  '@grpc/proto-loader': ['idl'],
  '@msgpack/msgpack': ['data'],
  '@standard-schema/spec': ['plugin-api', 'host'],
  'classic-level': ['journal'],
  'cli-table3': ['cli'],
  commander: ['cli'],
  convict: ['config'],
  'grpc-health-check': ['rpc'],
  'lru-cache': ['store'],
  ora: ['cli'],
  picocolors: ['cli'],
  pino: ['telemetry'],
  'prom-client': ['telemetry'],
  protobufjs: ['idl'],
  undici: ['plugin-api'],
  yaml: ['config', 'cli'],
  // Only plugins validate with it; the host knows schemas by @standard-schema/spec.
  zod: [],
};

/** What a plugin under plugins/ may import, besides node's own modules and its own files. */
export const pluginVendors = ['webapi-plugin-host', 'zod'];

/** The one room that may `import()` what it computes at run time: plugins. */
export const dynamicImportHome = 'host';
