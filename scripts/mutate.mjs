// Plants random bugs, one at a time, in compiled rooms of src/ and runs the tests of that room: how many are noticed?
//   npm run mutate -- [--count 100] [--seed N] [--rooms tasks,refresh,store,calls,limits] [--part 1/5] [--json] [--only TEXT]
// --part runs that share of the sample alone, so that a long run can be had in pieces, or on several machines.
// A mutant that the tests pass has survived, unless it stands in test/mutation/equivalent.json with the reason why no test
// can tell it from the original. Exit code 1 where fewer than 95 of 100 are noticed. The last line is one JSON object
// with --json. Works on a copy, so that a run that is stopped leaves nothing behind in dist/.
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { mutationsOf } from './mutation/mutators.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
    rooms: { type: 'string', default: 'tasks,refresh,store,calls,limits' },
    only: { type: 'string', default: '' },
    part: { type: 'string', default: '1/1' },
    json: { type: 'boolean', default: false },
  },
});
const rooms = values.rooms.split(',');
const random = mulberry32(Number(values.seed));
const equivalents = JSON.parse(readFileSync(path.join(root, 'test', 'mutation', 'equivalent.json'), 'utf8'));

const work = mkdtempSync(path.join(tmpdir(), 'plugin-host-mutants.'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));
for (const entry of readdirSync(root)) {
  if (entry === 'node_modules') symlinkSync(path.join(root, entry), path.join(work, entry));
  else if (entry !== '.git') cpSync(path.join(root, entry), path.join(work, entry), { recursive: true });
}

const baselines = new Map();
for (const room of rooms) {
  const run = await testRoom(room, 300_000);
  if (run.outcome !== 'passed') {
    console.error(`the tests of ${room} do not pass without a mutant:\n${run.text}`);
    process.exit(1);
  }
  baselines.set(room, run.ms);
  console.log(`${room}: its tests pass in ${Math.round(run.ms)} ms`);
}

const all = rooms.flatMap(mutantsOfRoom).filter(({ file, source }) => `${file} ${source}`.includes(values.only));
const [part, parts] = values.part.split('/').map(Number);
const sample = pick(all, Number(values.count)).filter((_, i) => i % parts === part - 1);
const result = { mutants: 0, killed: 0, survived: 0, equivalent: 0, seed: Number(values.seed), survivors: [] };
for (const [i, mutant] of sample.entries()) {
  const { file, what, line, source, room } = mutant;
  const label = `${file}:${line} ${what}: ${source}`;
  const known = equivalents.find((e) => e.file === file && e.source === source && e.what === what);
  if (known !== undefined) {
    result.equivalent += 1;
    console.log(`${i + 1}/${sample.length} equivalent ${label} (${known.why})`);
    continue;
  }
  const target = path.join(work, 'dist', file);
  const code = readFileSync(target, 'utf8');
  writeFileSync(target, code.slice(0, mutant.start) + mutant.text + code.slice(mutant.end));
  const { outcome, by } = await testRoom(room, 3 * baselines.get(room) + 30_000, file);
  writeFileSync(target, code);
  result.mutants += 1;
  if (outcome === 'passed') {
    result.survived += 1;
    result.survivors.push({ file, line, what, source });
  } else result.killed += 1;
  console.log(
    `${i + 1}/${sample.length} ${outcome === 'passed' ? 'SURVIVED' : outcome} ${label}${by ? ` — ${by}` : ''}`,
  );
}
const share = result.mutants === 0 ? 1 : result.killed / result.mutants;
console.log(
  `${all.length} mutants are possible; ${result.killed} of ${result.mutants} were noticed (${(100 * share).toFixed(1)} %)`,
);
if (values.json) console.log(JSON.stringify({ ...result, possible: all.length, share }));
process.exitCode = share >= 0.95 ? 0 : 1;

function mutantsOfRoom(room) {
  const folder = path.join(root, 'dist', 'src', room);
  return readdirSync(folder, { recursive: true })
    .map(String)
    .filter((file) => file.endsWith('.js'))
    .sort()
    .flatMap((name) => {
      const file = path.join('src', room, name);
      return mutationsOf(readFileSync(path.join(root, 'dist', file), 'utf8')).map((m) => ({ ...m, file, room }));
    });
}

/**
 * Runs the room's tests until one fails, in one process, since starting one for each file costs more than most tests; those
 * named after the mutated file come first.
 */
function testRoom(room, timeoutMs, mutated = '') {
  const folder = path.join(work, 'dist', 'test', room);
  const likely = `${path.basename(mutated, '.js')}.test.js`;
  const files = readdirSync(folder, { recursive: true })
    .map(String)
    .filter((file) => file.endsWith('.test.js'))
    .sort((a, b) => Number(path.basename(b) === likely) - Number(path.basename(a) === likely) || (a < b ? -1 : 1));
  const runner = path.join(folder, 'all-tests.mjs');
  writeFileSync(runner, files.map((file) => `import ${JSON.stringify(`./${file}`)};\n`).join(''));
  const startMs = performance.now();
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['--test-reporter=tap', runner], {
      cwd: work,
      detached: true,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let text = '';
    let end = 'killed';
    const stop = (outcome) => {
      end = outcome;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    };
    const timer = setTimeout(() => stop('timed out'), timeoutMs);
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      text = (text + chunk).slice(-200_000);
      if (/^ *not ok /m.test(text)) stop('killed');
    });
    child.on('close', (code) => {
      clearTimeout(timer);
      const by = text.match(/^ *not ok \d+ - (.*)$/m)?.[1];
      resolve({ outcome: code === 0 ? 'passed' : end, by, text: text.slice(-2_000), ms: performance.now() - startMs });
    });
  });
}

/** `count` of them without repetition, in a random order that the seed decides. */
function pick(list, count) {
  const rest = [...list];
  const taken = [];
  while (taken.length < count && rest.length > 0) {
    const at = Math.floor(random() * rest.length);
    taken.push(rest[at]);
    rest[at] = rest.at(-1);
    rest.pop();
  }
  return taken;
}

function mulberry32(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
