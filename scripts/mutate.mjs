// Plants random bugs, one at a time, in compiled rooms of src/ and runs the tests of that room: how many are noticed?
//   npm run mutate -- [--count 100] [--seed N] [--rooms tasks,refresh,store,calls,limits] [--part 1/5] [--only TEXT]
//                     [--jobs 2] [--keep FOLDER] [--json]
// --part runs that share of the sample alone, so that a long run can be had in pieces, or on several machines. Of a room's
// tests only those run that reach the function with the bug, the quickest first, until one fails; which those are is found
// out first, and with --keep only once for all parts of one build.
// A mutant that the tests pass has survived, unless it stands in test/mutation/equivalent.json with the reason why no test
// can tell it from the original. Exit code 1 where fewer than 95 of 100 are noticed. The last line is one JSON object
// with --json. Works on copies, so that a run that is stopped leaves nothing behind in dist/.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { measuredTests, testsOf } from './mutation/coverage.mjs';
import { isSame, mutationsOf } from './mutation/mutators.mjs';
import { runUntilOneFails } from './mutation/trial.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 1e9)) },
    rooms: { type: 'string', default: 'tasks,refresh,store,calls,limits' },
    only: { type: 'string', default: '' },
    part: { type: 'string', default: '1/1' },
    jobs: { type: 'string', default: '2' },
    keep: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
});
const rooms = values.rooms.split(',');
const random = mulberry32(Number(values.seed));
const equivalents = JSON.parse(readFileSync(path.join(root, 'test', 'mutation', 'equivalent.json'), 'utf8'));

const scratch = mkdtempSync(path.join(tmpdir(), 'plugin-host-mutants.'));
process.on('exit', () => rmSync(scratch, { recursive: true, force: true }));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(130));
const copies = Array.from({ length: Number(values.jobs) }, (_, i) => copyTo(path.join(scratch, String(i))));

const tests = new Map();
for (const room of rooms) {
  const kept = values.keep && path.resolve(values.keep, `${room}.json`);
  const measured = measuredTests(copies[0], filesOf(path.join('dist', 'test', room), '.test.js'), kept);
  tests.set(room, measured);
  console.log(`${room}: ${measured.length} files of tests, ${Math.round(sum(measured.map(({ ms }) => ms)))} ms`);
}

const all = rooms.flatMap(mutantsOfRoom).filter(({ file, source }) => `${file} ${source}`.includes(values.only));
const [part, parts] = values.part.split('/').map(Number);
const sample = pick(all, Number(values.count)).filter((_, i) => i % parts === part - 1);
const result = {
  seed: Number(values.seed),
  mutants: 0,
  killed: 0,
  survived: 0,
  equivalent: 0,
  survivors: [],
  rooms: {},
};
for (const room of rooms) result.rooms[room] = { mutants: 0, killed: 0, equivalent: 0 };
const left = [...sample.entries()];
await Promise.all(
  copies.map(async (copy) => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) await judge(copy, ...next);
  }),
);
const share = result.mutants === 0 ? 1 : result.killed / result.mutants;
console.log(
  `${all.length} mutants are possible; ${result.killed} of ${result.mutants} were noticed (${(100 * share).toFixed(1)} %)`,
);
if (values.json) console.log(JSON.stringify({ ...result, possible: all.length, share }));
process.exitCode = share >= 0.95 ? 0 : 1;

async function judge(copy, i, mutant) {
  const { file, what, line, source, room } = mutant;
  const known = equivalents.find((one) => one.file === file && isSame(one, mutant));
  const { outcome, by } = known === undefined ? await tryOut(copy, mutant) : { outcome: 'equivalent', by: known.why };
  const inRoom = result.rooms[room];
  if (known === undefined) {
    result.mutants += 1;
    inRoom.mutants += 1;
  } else {
    result.equivalent += 1;
    inRoom.equivalent += 1;
  }
  if (outcome === 'killed' || outcome === 'timed out') {
    result.killed += 1;
    inRoom.killed += 1;
  }
  if (outcome === 'SURVIVED') {
    result.survived += 1;
    result.survivors.push({ file, within: mutant.within, what, was: mutant.was });
  }
  console.log(`${i + 1}/${sample.length} ${outcome} ${file}:${line} ${what}: ${source}${by ? ` — ${by}` : ''}`);
}

async function tryOut(copy, { file, room, start, end, text }) {
  const reaching = testsOf(tests.get(room), file, start);
  if (reaching.length === 0) return { outcome: 'SURVIVED', by: 'no test comes here' };
  const target = path.join(copy, 'dist', file);
  const code = readFileSync(target, 'utf8');
  writeFileSync(target, code.slice(0, start) + text + code.slice(end));
  const silenceMs = 10_000 + 4 * Math.max(...reaching.map(({ ms }) => ms));
  const files = reaching.map((test) => test.file);
  const { outcome, by } = await runUntilOneFails(copy, files, silenceMs);
  writeFileSync(target, code);
  return { outcome: outcome === 'passed' ? 'SURVIVED' : outcome, by };
}

function copyTo(folder) {
  for (const entry of readdirSync(root)) {
    if (entry === '.git') continue;
    cpSync(path.join(root, entry), path.join(folder, entry), {
      recursive: true,
      filter: (from) => from !== path.join(root, 'node_modules'),
    });
  }
  symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));
  return folder;
}

function mutantsOfRoom(room) {
  return filesOf(path.join('dist', 'src', room), '.js').flatMap((name) => {
    const file = path.relative('dist', name);
    return mutationsOf(readFileSync(path.join(root, name), 'utf8')).map((m) => ({ ...m, file, room }));
  });
}

/** The files of a folder with this ending, by their path from the root. */
function filesOf(folder, ending) {
  return readdirSync(path.join(root, folder), { recursive: true })
    .map(String)
    .filter((file) => file.endsWith(ending))
    .sort()
    .map((file) => path.join(folder, file));
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

function sum(numbers) {
  return numbers.reduce((a, b) => a + b, 0);
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
