// What the interop scripts need from the machine, each missing thing a plain failure and never a skip.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const root = path.dirname(path.dirname(path.dirname(fileURLToPath(import.meta.url))));
export const interop = path.join(root, 'test', 'interop');
const cache = process.env.INTEROP_CACHE ?? path.join(os.homedir(), '.cache', 'webapi-plugin-host-interop');

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { stdio: 'inherit', ...options });
  if (result.error?.code === 'ENOENT') throw new Error(`${command} is not installed; this suite needs it`);
  if (result.status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${result.status ?? result.signal}`);
}

/** Throws unless the daemon is built. */
export function requireBuild() {
  const main = path.join(root, 'dist', 'src', 'main.js');
  if (!existsSync(main)) throw new Error(`${main} is missing; run npm run build first`);
  return main;
}

/** Compiles a Go module under test/interop and answers the program's path. Go's own cache makes repeats cheap. */
export function buildGo(name) {
  return goBuild(name, '.', path.join(cache, name));
}

/** Compiles somebody's program, in the version that the Go module under test/interop pins. */
export function buildGoTool(module, name) {
  return goBuild(module, name, path.join(cache, path.basename(name)));
}

function goBuild(module, name, program) {
  const found = spawnSync('go', ['version'], { encoding: 'utf8' });
  if (found.status !== 0) throw new Error('Go (1.26.5 or newer) is not installed; this suite compiles Go programs');
  mkdirSync(cache, { recursive: true });
  console.log(`compiling ${name === '.' ? '' : `${name} of `}test/interop/${module} (${found.stdout.trim()})`);
  run('go', ['build', '-o', program, name], { cwd: path.join(interop, module) });
  return program;
}

/**
 * A virtual environment with what `requirements.txt` of a folder under test/interop pins, made anew when that changed;
 * answers its interpreter.
 */
export function ensurePython(folder = 'python') {
  const requirements = path.join(interop, folder, 'requirements.txt');
  const wanted = readFileSync(requirements, 'utf8');
  const home = path.join(cache, `venv-${createHash('sha256').update(wanted).digest('hex').slice(0, 12)}`);
  const python = path.join(home, 'bin', 'python');
  const done = path.join(home, 'complete');
  if (existsSync(done)) return python;
  rmSync(home, { recursive: true, force: true });
  mkdirSync(cache, { recursive: true });
  console.log(`installing the Python SDKs into ${home}`);
  run('python3', ['-m', 'venv', home]);
  run(python, ['-m', 'pip', 'install', '--quiet', '-r', requirements]);
  writeFileSync(done, '');
  return python;
}

export async function freePort() {
  const server = createServer();
  await new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Prints a result's line and answers it. */
export function printed(result) {
  const took = result.ms > 0 ? ` (${(result.ms / 1000).toFixed(1)} s)` : '';
  console.log(`${result.ok ? 'ok  ' : 'FAIL'} ${result.case}${took} ${result.detail}`);
  return result;
}

/** Runs a program that prints one JSON line a case; answers the parsed lines and prints each as it comes. */
export async function runCases(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], ...options });
  const results = [];
  for await (const line of createInterface({ input: child.stdout })) {
    let result;
    try {
      result = JSON.parse(line);
    } catch {
      console.log(line);
      continue;
    }
    results.push(printed(result));
  }
  const code = child.exitCode ?? (await new Promise((resolve) => child.once('exit', resolve)));
  if (code !== 0 && code !== 1)
    results.push({ case: 'the client itself', ok: false, detail: `ended with ${code}`, ms: 0 });
  return results;
}

/** One line that does not change from run to run: no ports, folders, run ids or traces. */
function steady(detail) {
  const [said, trace] = detail.split(/\s+Trace:\s/);
  const message = trace === undefined ? '' : (/Message:\s+(.*)$/s.exec(trace)?.[1] ?? '');
  const line = `${said} ${message}`
    .replace(/\s+/g, ' ')
    .replace(/file:\/\/\/\S+/g, 'file://…')
    .replace(/127\.0\.0\.1:\d+/g, '127.0.0.1')
    .replace(/-[0-9a-f]{11}\b/g, '')
    .replace(/\bjob-\d+/g, 'job')
    .replace(/\b\d+ ms\b/g, '… ms')
    .trim();
  return line.length > 160 ? `${line.slice(0, 157)}…` : line;
}

/** Writes results for docs/compatibility.md, sorted by case. */
export function record(file, results) {
  const kept = results
    .map(({ case: name, ok, detail }) => ({ case: name, ok, detail: steady(detail) }))
    .sort((one, two) => one.case.localeCompare(two.case));
  writeFileSync(path.join(interop, 'results', `${file}.json`), `${JSON.stringify(kept, null, 2)}\n`);
}

/** Prints the sum and answers the exit code. */
export function summary(results) {
  const failed = results.filter((result) => !result.ok);
  for (const result of failed) console.log(`failed: ${result.case}: ${result.detail}`);
  console.log(`${results.length - failed.length} passed, ${failed.length} failed`);
  return results.length > 0 && failed.length === 0 ? 0 : 1;
}

/** `--name value` and `--name` of the command line, as an object. */
export function options(argv = process.argv.slice(2)) {
  const found = {};
  for (let i = 0; i < argv.length; i += 1) {
    if (!argv[i].startsWith('--')) throw new Error(`unexpected argument ${argv[i]}`);
    const next = argv[i + 1];
    found[argv[i].slice(2)] = next === undefined || next.startsWith('--') ? true : argv[++i];
  }
  return found;
}
