import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { HostError } from '../errors/index.js';

const PACKAGE_NAME = 'webapi-plugin-host';

/** This package's root, found upwards from this file, so that it is right in src, in dist and when installed. */
function packageRoot(): string {
  const start = path.dirname(fileURLToPath(import.meta.url));
  for (let folder = start; ; folder = path.dirname(folder)) {
    const manifest = path.join(folder, 'package.json');
    if (existsSync(manifest) && JSON.parse(readFileSync(manifest, 'utf8')).name === PACKAGE_NAME) return folder;
    if (folder === path.dirname(folder)) {
      throw new HostError(
        'DESCRIPTOR_UNKNOWN',
        `No package.json of ${PACKAGE_NAME} above ${start}; proto/ cannot be found.`,
      );
    }
  }
}

/**
 * Folders that .proto imports are looked up in: our `proto/`, the .proto files that `@flyteorg/flyteidl` ships, and
 * protobufjs's folder for `google/api/*`, which flyteidl imports and does not ship.
 */
export function defaultIncludeDirs(): string[] {
  const require = createRequire(import.meta.url);
  const folderOf = (name: string) => path.dirname(require.resolve(`${name}/package.json`));
  return [
    path.join(packageRoot(), 'proto'),
    path.join(folderOf('@flyteorg/flyteidl'), 'protos'),
    folderOf('protobufjs'),
  ];
}
