// Which tests run which part of a file: each test file is run once by itself, and V8 says what it ran.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Runs each of the test files alone, within the checkout `root`. Answers what `testsOf` asks, or throws with the output of a
 * test that does not pass without a mutant.
 */
function measureTests(root, files) {
  return files.map((file) => {
    const folder = mkdtempSync(path.join(tmpdir(), 'plugin-host-coverage.'));
    const startMs = performance.now();
    const { status, stdout } = spawnSync(process.execPath, ['--test-reporter=tap', path.join(root, file)], {
      cwd: root,
      env: { ...process.env, NODE_V8_COVERAGE: folder },
      encoding: 'utf8',
      timeout: 300_000,
    });
    const ran = rangesIn(root, folder);
    rmSync(folder, { recursive: true });
    if (status !== 0) throw new Error(`${file} does not pass without a mutant:\n${stdout.slice(-2_000)}`);
    const ms = performance.now() - startMs;
    return { file, ms, ran };
  });
}

/** `measureTests`, or what an earlier call has written into the file. */
export function measuredTests(root, files, kept) {
  if (kept === undefined) return measureTests(root, files);
  if (!existsSync(kept)) {
    const measured = measureTests(root, files);
    writeFileSync(kept, JSON.stringify(measured.map((test) => ({ ...test, ran: [...test.ran] }))));
  }
  return JSON.parse(readFileSync(kept, 'utf8')).map((test) => ({ ...test, ran: new Map(test.ran) }));
}

/**
 * The tests that run the function at this place of a file, those first that ran the very place, and of them the quick ones;
 * tests with random cases may reach another time what they did not reach when they were measured.
 */
export function testsOf(measured, file, place) {
  const near = measured
    .map((test) => ({ ...test, near: nearness(test.ran.get(file), place) }))
    .filter((test) => test.near > 0);
  return near.sort((a, b) => b.near - a.near || a.ms - b.ms);
}

/** 2 where the place itself was run, 1 where its function was, else 0. */
function nearness(functions, place) {
  const around = (functions ?? []).filter(({ start, end }) => start <= place && place < end);
  const innermost = around.sort((a, b) => a.end - a.start - (b.end - b.start))[0];
  if (innermost === undefined || innermost.ranges[0].count === 0) return 0;
  const blocks = innermost.ranges.filter(({ startOffset, endOffset }) => startOffset <= place && place < endOffset);
  const block = blocks.sort((a, b) => a.endOffset - a.startOffset - (b.endOffset - b.startOffset))[0];
  return block.count > 0 ? 2 : 1;
}

/** Of each file below `dist/src`, by its path from `dist`: its functions and how often their blocks ran. */
function rangesIn(root, folder) {
  const found = new Map();
  const sources = `${path.join(root, 'dist', 'src')}${path.sep}`;
  for (const name of readdirSync(folder)) {
    for (const { url, functions } of JSON.parse(readFileSync(path.join(folder, name), 'utf8')).result) {
      if (!url.startsWith('file:') || !fileURLToPath(url).startsWith(sources)) continue;
      const file = path.relative(path.join(root, 'dist'), fileURLToPath(url));
      const more = functions.map(({ ranges }) => ({ start: ranges[0].startOffset, end: ranges[0].endOffset, ranges }));
      found.set(file, [...(found.get(file) ?? []), ...more]);
    }
  }
  return found;
}
