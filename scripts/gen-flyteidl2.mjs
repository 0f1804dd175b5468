// Makes src/generated/flyteidl2.ts: one FileDescriptorSet with flyteidl2's connector services and all they import.
// npm's @flyteorg/flyteidl2 ships generated TypeScript only, with the descriptors inside as base64 and their imports as
// identifiers; Node 20 cannot import it. So the files are read as text and put together with @bufbuild/protobuf.
// Usage: node scripts/gen-flyteidl2.mjs [--check]
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { fileDesc } from '@bufbuild/protobuf/codegenv1';
import {
  FileDescriptorSetSchema,
  file_google_protobuf_any,
  file_google_protobuf_descriptor,
  file_google_protobuf_duration,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
} from '@bufbuild/protobuf/wkt';
import { writeGenerated } from './lib/generated.mjs';

const ENTRY = 'flyteidl2/connector/service_pb.ts';

const WELL_KNOWN = {
  file_google_protobuf_any,
  file_google_protobuf_descriptor,
  file_google_protobuf_duration,
  file_google_protobuf_struct,
  file_google_protobuf_timestamp,
  file_google_protobuf_wrappers,
};

const require = createRequire(import.meta.url);
const packageRoot = path.dirname(require.resolve('@flyteorg/flyteidl2/package.json'));
const { version } = JSON.parse(readFileSync(path.join(packageRoot, 'package.json'), 'utf8'));
const loaded = new Map();

/** The descriptor that a generated file embeds, with its dependencies resolved. */
function load(file) {
  const known = loaded.get(file);
  if (known !== undefined) return known;
  const text = readFileSync(file, 'utf8');
  const match = /fileDesc\("([^"]+)"(?:,\s*\[([^\]]*)\])?\)/.exec(text);
  if (match === null) throw new Error(`${file}: no embedded descriptor found; has the generator's output changed?`);
  const sources = importedDescriptors(text);
  const dependencies = (match[2] ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
    .map((name) => {
      const source = sources.get(name);
      if (source === undefined) throw new Error(`${file}: ${name} is not imported from anywhere`);
      if (source !== '@bufbuild/protobuf/wkt') return load(path.resolve(path.dirname(file), source));
      if (WELL_KNOWN[name] === undefined) throw new Error(`${file}: ${name} is not in WELL_KNOWN; add it`);
      return WELL_KNOWN[name];
    });
  const desc = fileDesc(match[1], dependencies);
  loaded.set(file, desc);
  return desc;
}

function importedDescriptors(text) {
  const sources = new Map();
  for (const [, names, source] of text.matchAll(/^import \{([^}]+)\} from "([^"]+)";$/gm)) {
    for (const name of names.split(',').map((part) => part.trim())) {
      if (name.startsWith('file_')) sources.set(name, source);
    }
  }
  return sources;
}

/** Dependencies before dependents, each once. */
function collect(desc, into = new Map()) {
  if (into.has(desc.proto.name)) return into;
  for (const dependency of desc.dependencies) collect(dependency, into);
  into.set(desc.proto.name, desc.proto);
  return into;
}

const files = [...collect(load(path.join(packageRoot, ENTRY))).values()];
const set = toBinary(FileDescriptorSetSchema, create(FileDescriptorSetSchema, { file: files }));
const source = [
  `// Made by scripts/gen-flyteidl2.mjs from @flyteorg/flyteidl2 ${version}; do not edit, run \`npm run gen\`.`,
  '/** google.protobuf.FileDescriptorSet of flyteidl2.connector and all it imports, in base64. */',
  'export const FLYTEIDL2_DESCRIPTOR_SET =',
  `  '${Buffer.from(set).toString('base64')}';`,
  '',
].join('\n');
writeGenerated('src/generated/flyteidl2.ts', source);
