// The real clients behind one interface. Each learns everything by server reflection:
//   list()                          names of the services
//   methods(service)                names of its methods
//   call(method, requests, take)    the answers as JSON; of an endless stream the first `take`. Throws CallError.
import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';

/** A call that was answered with an error; `code` is the status name without case and underscores. */
export class CallError extends Error {
  constructor(message, code) {
    super(message);
    this.code = plainCode(code);
  }
}

const plainCode = (code) => (code ?? '').toLowerCase().replaceAll('_', '');

/** JSON values that stand one after the other, and whether the text ends within one. */
function jsonValues(text) {
  const values = [];
  let depth = 0;
  let start = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i];
    if (quoted) {
      if (char === '\\') i += 1;
      else if (char === '"') quoted = false;
    } else if (char === '"') quoted = true;
    else if (char === '{') {
      if (depth === 0) start = i;
      depth += 1;
    } else if (char === '}') {
      depth -= 1;
      if (depth === 0) values.push(JSON.parse(text.slice(start, i + 1)));
    }
  }
  return values;
}

/** Runs a program; with `take` it is ended once it has printed that many JSON values. */
export function run(command, args, { input = '', take } = {}) {
  return new Promise((resolve, reject) => {
    // A group of its own, since npm's programs are wrappers whose child would live on with the pipes.
    const child = spawn(command, args, { stdio: 'pipe', detached: true });
    const end = (signal) => {
      try {
        process.kill(-child.pid, signal);
      } catch {
        // It has ended by itself.
      }
    };
    let stdout = '';
    let stderr = '';
    let taken = false;
    child.stdout.setEncoding('utf8').on('data', (chunk) => {
      stdout += chunk;
      if (take === undefined || taken || jsonValues(stdout).length < take) return;
      taken = true;
      end('SIGTERM');
    });
    child.stderr.setEncoding('utf8').on('data', (chunk) => {
      stderr += chunk;
    });
    const hard = setTimeout(() => end('SIGKILL'), 60_000);
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(hard);
      resolve({ ok: taken || code === 0, stdout, stderr });
    });
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

const lines = (text) => text.split('\n').filter((line) => line !== '');

async function said(command, args) {
  const { ok, stdout, stderr } = await run(command, args);
  if (!ok) throw new Error(`${path.basename(command)} ${args.join(' ')}: ${stderr}`);
  return stdout;
}

export class Grpcurl {
  name = 'grpcurl';
  #program;
  #address;

  constructor(program, address) {
    this.#program = program;
    this.#address = address;
  }

  async list() {
    return lines(await said(this.#program, ['-plaintext', this.#address, 'list']));
  }

  async methods(service) {
    const found = lines(await said(this.#program, ['-plaintext', this.#address, 'list', service]));
    return found.map((name) => name.slice(service.length + 1));
  }

  /** What grpcurl prints of a symbol; for a message with a template of its JSON form, which resolves its fields. */
  describe(symbol) {
    return said(this.#program, ['-plaintext', '-msg-template', this.#address, 'describe', symbol]);
  }

  async call(method, requests, take) {
    const input = requests.map((request) => JSON.stringify(request)).join('\n');
    const args = ['-plaintext', '-max-time', '20', '-d', '@', this.#address, method];
    const { ok, stdout, stderr } = await run(this.#program, args, { input, take });
    if (!ok) throw new CallError(stderr, /Code: (\w+)/.exec(stderr)?.[1]);
    return jsonValues(stdout);
  }
}

export class BufCurl {
  name;
  #url;
  #options;

  /** `version` of the reflection protocol: v1 or v1alpha. */
  constructor(program, address, version) {
    this.name = `buf-curl-${version}`;
    this.#url = `http://${address}`;
    const protocol = ['--protocol', 'grpc', '--http2-prior-knowledge', '--reflect-protocol', `grpc-${version}`];
    this.#options = [program, 'curl', ...protocol];
  }

  async list() {
    return lines(await said(process.execPath, [...this.#options, '--list-services', this.#url]));
  }

  async methods(service) {
    const found = lines(await said(process.execPath, [...this.#options, '--list-methods', this.#url]));
    return found.filter((name) => name.startsWith(`${service}/`)).map((name) => name.slice(service.length + 1));
  }

  async call(method, requests, take) {
    const input = requests.map((request) => JSON.stringify(request)).join('\n');
    const args = [...this.#options, '--data', '@-', `${this.#url}/${method}`];
    const { ok, stdout, stderr } = await run(process.execPath, args, { input, take });
    if (!ok) throw new CallError(stderr, /"code":\s*"(\w+)"/.exec(stderr)?.[1]);
    return jsonValues(stdout);
  }
}

export class PythonClient {
  name = 'grpcio';
  #child;
  #waiting = [];

  constructor(python, program, address) {
    this.#child = spawn(python, [program, address], { stdio: ['pipe', 'pipe', 'inherit'] });
    createInterface({ input: this.#child.stdout }).on('line', (line) =>
      this.#waiting.shift()?.resolve(JSON.parse(line)),
    );
    this.#child.once('exit', (code) => {
      for (const { reject } of this.#waiting) reject(new Error(`the Python client ended with ${code}`));
    });
  }

  async ask(op, parts = {}) {
    const answer = new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    this.#child.stdin.write(`${JSON.stringify({ op, ...parts })}\n`);
    const { ok, error, code } = await answer;
    if (error !== undefined) throw new CallError(error, code);
    return ok;
  }

  list() {
    return this.ask('list');
  }

  methods(service) {
    return this.ask('methods', { service });
  }

  call(method, requests, take) {
    return this.ask('call', { method, requests, take });
  }

  close() {
    this.#child.stdin.end();
  }
}
