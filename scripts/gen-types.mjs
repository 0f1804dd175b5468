// Makes src/generated/*-types.ts: the types that are decoded and encoded here, read from their .proto files once instead of at
// each start. flyteidl2 ships no such files; its types are of the descriptor set that gen-flyteidl2.mjs made before.
// Usage: node scripts/gen-types.mjs [--check]
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeGenerated } from './lib/generated.mjs';
import { rootOfFiles, rootOfSet, SERVED_FILES, typesOf } from './lib/proto-types.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));

/** What a plugin's process reads and writes, and flyteidl's document of an error. */
const CORE = ['Literal', 'LiteralMap', 'LiteralType', 'TaskTemplate', 'TypedInterface', 'ErrorDocument'].map(
  (name) => `flyteidl.core.${name}`,
);

const files = rootOfFiles(SERVED_FILES);

function flyteidl2() {
  const text = readFileSync(path.join(root, 'src', 'generated', 'flyteidl2.ts'), 'utf8');
  const [, base64] = /'([A-Za-z0-9+/=]{1000,})'/.exec(text) ?? [];
  if (base64 === undefined) throw new Error('src/generated/flyteidl2.ts holds no descriptor set');
  return rootOfSet(Buffer.from(base64, 'base64'));
}

const FLYTE1 = ['AsyncAgentService', 'SyncAgentService', 'AgentMetadataService'].map(
  (name) => `flyteidl.service.${name}`,
);
const OWN = [
  'pluginhost.v1.PluginHost',
  'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
];
const FLYTE2 = ['AsyncConnectorService', 'ConnectorMetadataService'].map((name) => `flyteidl2.connector.${name}`);

/** File, constant, what it holds. */
const GENERATED = [
  ['core-types', 'CORE_TYPES', 'of flyteidl’s literals, task templates and errors', typesOf(files, CORE)],
  [
    'served-types',
    'SERVED_TYPES',
    'of the native API, flyteidl (Flyte 1), health and reflection',
    typesOf(files, [...OWN, ...FLYTE1, ...CORE]),
  ],
  ['flyte2-types', 'FLYTE2_TYPES', 'of flyteidl2’s connector services (Flyte 2)', typesOf(flyteidl2(), FLYTE2)],
];

for (const [file, constant, what, types] of GENERATED) {
  const source = [
    '// Made by scripts/gen-types.mjs; do not edit, run `npm run gen`.',
    `/** Services and messages ${what}, as JSON that protobufjs makes a root of. */`,
    `export const ${constant} =`,
    `  '${JSON.stringify(types).replaceAll("'", "\\'")}';`,
    '',
  ].join('\n');
  writeGenerated(`src/generated/${file}.ts`, source);
}
