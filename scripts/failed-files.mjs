// A reporter of node:test that tells the files in which something failed, a line each: what `scripts/test.mjs --again`
// runs once more. A file that fails as a whole (it throws, hangs or ends early) is reported by its own path.
import path from 'node:path';

export default async function* failedFiles(source) {
  const told = new Set();
  for await (const { type, data } of source) {
    if (type !== 'test:fail') continue;
    const file = data.file ?? (path.isAbsolute(data.name) ? data.name : undefined);
    if (file === undefined || told.has(file)) continue;
    told.add(file);
    yield `${file}\n`;
  }
}
