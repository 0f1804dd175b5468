// The rooms of src/ and which of them may import which: the one table behind biome.imports.json (made from it by
// gen-import-rules.mjs) and the guard test that walks every import. Change the design document before this table.

/**
 * Room -> the other rooms it may import: what it uses and nothing more, which a test holds it to. Grants run one way; a
 * new one is a decision about the structure, so think before adding a line.
 */
export const allowedRooms = {
  main: ['cli', 'lib'],
  cli: [
    'client',
    'config',
    'daemon',
    'data',
    'errors',
    'host',
    'idl',
    'lib',
    'model',
    'plugin-api',
    'state',
    'telemetry',
  ],
  daemon: [
    'access',
    'admin',
    'calls',
    'cluster',
    'config',
    'data',
    'errors',
    'host',
    'idl',
    'lib',
    'limits',
    'model',
    'plugin-api',
    'rpc',
    'runtime',
    'state',
    'store',
    'tasks',
    'telemetry',
  ],
  rpc: ['access', 'errors', 'idl', 'lib', 'model', 'plugin-api', 'tasks'],
  cluster: ['client', 'errors', 'idl', 'lib', 'model', 'state'],
  access: ['errors', 'lib', 'model'],
  admin: ['access', 'errors', 'lib', 'model', 'plugin-api', 'telemetry'],
  client: ['data', 'errors', 'idl', 'lib', 'model', 'plugin-api'],
  tasks: ['errors', 'host', 'idl', 'lib', 'limits', 'model', 'plugin-api', 'refresh', 'runtime', 'state', 'store'],
  runtime: ['calls', 'errors', 'host', 'lib', 'limits', 'model', 'plugin-api', 'refresh', 'store'],
  refresh: ['errors', 'lib', 'model', 'plugin-api'],
  store: ['errors', 'lib', 'model', 'plugin-api', 'state'],
  state: ['errors', 'lib', 'model', 'plugin-api'],
  calls: ['errors', 'host', 'lib', 'limits', 'model', 'plugin-api'],
  host: ['channel', 'data', 'errors', 'lib', 'model', 'plugin-api'],
  sandbox: ['channel', 'data', 'errors', 'idl', 'lib', 'model', 'plugin-api'],
  channel: ['data', 'errors', 'lib', 'model', 'plugin-api'],
  limits: ['lib', 'model', 'plugin-api'],
  data: ['errors', 'idl', 'lib', 'plugin-api'],
  telemetry: ['errors', 'lib', 'model'],
  idl: ['errors', 'generated', 'lib'],
  config: ['errors', 'lib', 'model'],
  generated: [],
  model: ['errors', 'lib', 'plugin-api'],
  'plugin-api': ['lib'],
  errors: [],
  lib: [],
  // What plugin authors import; the kit for their tests.
  index: ['plugin-api'],
  testing: ['channel', 'data', 'errors', 'host', 'idl', 'lib', 'model', 'plugin-api', 'sandbox'],
};

/** Rooms that are a file `src/<room>.ts`, possibly with a folder `src/<room>/` beside it for its parts. */
export const fileRooms = ['main', 'daemon', 'index'];

/**
 * Vendor library -> the rooms that may import it. A library without a row has no home and may not be imported by src/.
 * A name ending in `/*` stands for a scope.
 */
export const vendorHomes = {
  '@aws-sdk/*': ['data'],
  '@grpc/grpc-js': ['rpc', 'client', 'cluster'],
  '@msgpack/msgpack': ['data'],
  '@standard-schema/spec': ['plugin-api', 'sandbox'],
  acorn: ['sandbox'],
  'classic-level': ['state'],
  'cli-table3': ['cli'],
  commander: ['cli'],
  convict: ['config'],
  'lru-cache': ['store'],
  ora: ['cli'],
  picocolors: ['cli'],
  pg: ['state'],
  pino: ['telemetry'],
  'prom-client': ['telemetry'],
  protobufjs: ['idl'],
  undici: ['plugin-api'],
  yaml: ['config', 'cli'],
  // Plugins validate their settings with it too; the host knows those schemas by @standard-schema/spec.
  zod: ['host'],
};

/** What a plugin under plugins/ may import, besides node's own modules and its own files. */
export const pluginVendors = ['webapi-plugin-host', 'zod'];

/** The one room that may `import()` what it computes at run time: plugins. */
export const dynamicImportHome = 'sandbox';
