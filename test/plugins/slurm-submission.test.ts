import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { type LiteralType, type LiteralValue, literals } from 'webapi-plugin-host';
import { parseCustom } from '../../plugins/slurm/custom.js';
import { buildScript, quote, scriptOfCommand } from '../../plugins/slurm/script.js';
import { settingsSchema } from '../../plugins/slurm/settings.js';
import { buildSubmission, inputText, render } from '../../plugins/slurm/submission.js';
import { scratch, settingsFor, templateFor } from './slurm-support.js';

const SETTINGS = settingsFor('http://127.0.0.1:1', '/srv/jobs');

function submit(
  custom: Parameters<typeof templateFor>[0],
  more: Parameters<typeof templateFor>[1] = {},
  settings = SETTINGS,
) {
  const template = templateFor(custom, more);
  return buildSubmission({
    template,
    custom: parseCustom(template, settings),
    inputs: { n: 5, who: "O'Neill $(rm)" },
    outputPrefix: 'file:///data/out%20put/a',
    engineEnvironment: { FROM_ENGINE: 'yes', PATH: '/engine' },
    idempotencyKey: 'key-1',
    cluster: settings.clusters.main!,
    settings,
  }).body as { script?: string; job: Record<string, unknown> };
}

/** Runs a batch script as Slurm does: as a program of its own, in the environment of the job. */
function execute(dir: string, script: string, env: Record<string, string> = {}) {
  const file = `${dir}/slurm_script`;
  writeFileSync(file, script);
  chmodSync(file, 0o755);
  const base = { PATH: process.env.PATH ?? '', PLUGIN_HOST_OUTPUT_DIR: '', PLUGIN_HOST_OUTPUT_PREFIX: '' };
  return spawnSync(file, [], { env: { ...base, ...env }, encoding: 'utf8', cwd: dir });
}

test('a shell script runs as itself, with its arguments, and leaves its exit code', (t) => {
  const dir = scratch(t);
  const stem = `${dir}/it's here`;
  const script = buildScript({ script: 'echo "$1|$2"; exit 3', args: ["a'b", '$HOME *'], array: false, stem });
  const out = `${dir}/deep/out`;
  const result = execute(dir, script, { PLUGIN_HOST_OUTPUT_DIR: out });
  assert.equal(result.stdout, "a'b|$HOME *\n", result.stderr);
  assert.equal(result.status, 3);
  assert.equal(readFileSync(`${stem}.exit`, 'utf8'), '3\n');
  assert.ok(existsSync(out), 'the output directory is there before the script begins');
});

test('a requeued run does not inherit the exit code of the run before', (t) => {
  const dir = scratch(t);
  const stem = `${dir}/k`;
  writeFileSync(`${stem}.exit`, '143\n');
  const script = buildScript({ script: `test ! -e ${stem}.exit`, args: [], array: false, stem });
  assert.equal(execute(dir, script).status, 0);
  assert.equal(readFileSync(`${stem}.exit`, 'utf8'), '0\n');
});

test('strict shells, a failing command and an exit inside a function keep their exit code', (t) => {
  const dir = scratch(t);
  for (const [line, body, code] of [
    ['#!/bin/bash', 'set -euo pipefail\nfalse\necho not reached', 1],
    ['#!/bin/sh -eu', 'f() { exit 7; }\nf', 7],
    ['#!/usr/bin/env bash', 'exit 200', 200],
    ['#!/bin/sh', 'trap "echo mine" EXIT\nexit 4', 4],
  ] as const) {
    const script = buildScript({ script: `${line}\n${body}\n`, args: [], array: false, stem: `${dir}/k` });
    assert.equal(script.split('\n')[0], line, 'the interpreter line stays the first');
    const result = execute(dir, script);
    assert.equal(result.status, code, `${line}: ${result.stderr}`);
    assert.doesNotMatch(result.stdout, /not reached/);
  }
});

test('a directory that cannot be written fails the exit code file only, not the job', (t) => {
  const dir = scratch(t);
  const script = buildScript({ script: '#!/bin/bash\nset -e\nexit 0\n', args: [], array: false, stem: `${dir}/no/k` });
  assert.equal(execute(dir, script).status, 0);
});

test('a script for another interpreter runs from a file of its own', (t) => {
  const dir = scratch(t);
  const body = `#!/usr/bin/env node\nconsole.log(process.argv.slice(2).join('|'), \`\${'$'}HOME\`);\nprocess.exit(9);`;
  const script = buildScript({ script: body, args: ['x y', "it's"], array: false, stem: `${dir}/k` });
  const result = execute(dir, script, { TMPDIR: dir });
  assert.equal(result.stdout, "x y|it's $HOME\n", result.stderr);
  assert.equal(result.status, 9);
  assert.equal(readFileSync(`${dir}/k.exit`, 'utf8'), '9\n');
});

test('every element of an array has its own output directory, prefix and exit code', (t) => {
  const dir = scratch(t);
  const body = 'echo "$PLUGIN_HOST_OUTPUT_PREFIX"; pwd -P; test -d "$PLUGIN_HOST_OUTPUT_DIR"; exit $?';
  const script = buildScript({ script: body, args: [], array: true, stem: `${dir}/k` });
  const env = { SLURM_ARRAY_TASK_ID: '4', PLUGIN_HOST_OUTPUT_PREFIX: 's3://b/p', PLUGIN_HOST_OUTPUT_DIR: `${dir}/o` };
  const result = execute(dir, script, env);
  assert.match(result.stdout, /^s3:\/\/b\/p\/4\n/);
  assert.equal(result.status, 0);
  assert.ok(existsSync(`${dir}/o/4`));
  assert.equal(readFileSync(`${dir}/k-4.exit`, 'utf8'), '0\n');
});

test('whatever a word contains, the shell gets it as one word', (t) => {
  const dir = scratch(t);
  const text = fc.string({ unit: 'binary' }).filter((word) => !word.includes('\0'));
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 5 }), (words) => {
      const line = `printf '%s\\0' ${words.map(quote).join(' ')}`;
      const result = spawnSync('/bin/sh', ['-c', line], { cwd: dir });
      assert.deepEqual(result.stdout.toString('utf8'), `${words.map((w) => Buffer.from(w).toString()).join('\0')}\0`);
    }),
    { numRuns: 40 },
  );
  assert.equal(scriptOfCommand(['a', 'b c']), "#!/bin/sh\na 'b c'\n");
});

test('names that no variable can have, and output prefixes that are no directory, are the user’s mistake', () => {
  const inputs = (name: string) => ({ inputs: { [name]: 'x' } });
  const wrong: [Parameters<typeof submit>[0], object, RegExp][] = [
    [{ script: 'true\n' }, inputs('a=b'), /"INPUT_a=b" cannot name an environment variable/],
    [{ script: 'true\n' }, inputs('a\nb'), /cannot name an environment variable/],
    [{ script: 'true\n' }, inputs('a\0b'), /cannot name an environment variable/],
    [{ script: 'true\n' }, { engineEnvironment: { '': 'x' } }, /cannot name an environment variable/],
    [{ script: 'true\n' }, { outputPrefix: 'file://data/x' }, /output prefix 'file:\/\/data\/x' names no directory/],
    [{ script: 'true\n' }, { outputPrefix: 'file:///a%2Fb' }, /names no directory/],
  ];
  for (const [custom, parts, message] of wrong) {
    const template = templateFor(custom, {});
    const build = () =>
      buildSubmission({
        template,
        custom: parseCustom(template, SETTINGS),
        inputs: {},
        outputPrefix: '',
        engineEnvironment: {},
        idempotencyKey: 'key-1',
        cluster: SETTINGS.clusters.main!,
        settings: SETTINGS,
        ...parts,
      });
    assert.throws(build, { name: 'PermanentError', faultKind: 'USER', message });
  }
});

test('the submission carries key, paths, resources and environment', () => {
  const { script, job } = submit({
    script: 'run\n',
    partition: 'gpu',
    nodes: 2,
    cpusPerTask: 3,
    memoryMb: 512,
    gpusPerNode: 1,
    timeLimitMinutes: 7,
    exclusive: true,
    environment: { GREETING: 'n={{.inputs.n}}', FROM_ENGINE: 'no' },
  });
  assert.match(script ?? '', /^#!\/bin\/sh\n/);
  const { environment, ...rest } = job;
  assert.deepEqual(rest, {
    name: 'my.task',
    comment: 'key-1',
    current_working_directory: '/srv/jobs',
    standard_output: '/srv/jobs/key-1.out',
    open_mode: 'append',
    partition: 'gpu',
    nodes: [2, 2],
    cpus_per_task: 3,
    memory_per_node: 512,
    gpus_per_node: '1',
    time_limit: 7,
    exclusive: 'exclusive',
  });
  assert.deepEqual(environment, {
    PATH: '/engine',
    FROM_ENGINE: 'no',
    GREETING: 'n=5',
    INPUT_n: '5',
    INPUT_who: "O'Neill $(rm)",
    PLUGIN_HOST_OUTPUT_PREFIX: 'file:///data/out%20put/a',
    PLUGIN_HOST_OUTPUT_DIR: '/data/out put/a',
    PLUGIN_HOST_IDEMPOTENCY_KEY: 'key-1',
  });
});

test("a container's command, resources and the task's time-out serve where custom says nothing", () => {
  const container = {
    image: 'reg/img:1',
    command: ['prog'],
    args: ['--x', '{{.inputs.n}} stays', 'a b'],
    env: { FROM_CONTAINER: '1' },
    resources: { requests: { cpu: '1500m', memory: '1Gi', gpu: '2' }, limits: { cpu: '8' } },
  };
  const { script, job } = submit({}, { container, metadata: { timeoutMs: 90_000 } });
  assert.match(
    script ?? '',
    /\nprog --x '\{\{\.inputs\.n\}\} stays' 'a b'\n$/,
    'rendered by the engine already, not again',
  );
  assert.equal(job.cpus_per_task, 2);
  assert.equal(job.memory_per_node, 1024);
  assert.equal(job.gpus_per_node, '2');
  assert.equal(job.time_limit, 2);
  assert.equal((job.environment as Record<string, string>).FROM_CONTAINER, '1');
  const wrapped = settingsFor('http://127.0.0.1:1', '/srv/jobs', {
    containerCommand: ['apptainer', 'exec', 'docker://{{image}}'],
  });
  assert.match(submit({}, { container }, wrapped).script ?? '', /\napptainer exec docker:\/\/reg\/img:1 prog --x /);
});

test('from v0.0.39 on the script is part of the job, the environment a list and numbers are wrapped', () => {
  const settings = structuredClone(SETTINGS);
  settings.clusters.main!.apiVersion = 'v0.0.40';
  const { script, job } = submit({ script: 'run\n', nodes: 1, memoryMb: 5, gpusPerNode: 'a100:2' }, {}, settings);
  assert.equal(script, undefined);
  assert.match(String(job.script), /^#!\/bin\/sh/);
  assert.ok((job.environment as string[]).includes('INPUT_n=5'));
  assert.deepEqual(job.memory_per_node, { set: true, infinite: false, number: 5 });
  assert.equal(job.nodes, '1');
  assert.equal(job.tres_per_node, 'gres/gpu:a100:2');
  assert.deepEqual(job.open_mode, ['APPEND']);
});

test('inputs become text: structures as JSON, files by URI, times in ISO form', () => {
  const rows: [LiteralValue, string][] = [
    [null, ''],
    [true, 'true'],
    [1.5, '1.5'],
    [12345678901234567890n, '12345678901234567890'],
    [new Date(0), '1970-01-01T00:00:00.000Z'],
    [[1, 'a', { b: 2n, c: literals.blob('s3://b/in') }], '[1,"a",{"b":"2","c":"s3://b/in"}]'],
    [literals.blob('s3://b/k', 'csv'), 's3://b/k'],
    [literals.struct({ a: [1] }), '{"a":[1]}'],
    [literals.duration(1500), '1.5'],
    [literals.float(2), '2'],
    [literals.msgpack({ k: 'v' }), '{"k":"v"}'],
    [literals.union('x', {} as LiteralType), 'x'],
  ];
  for (const [value, text] of rows) assert.equal(inputText(value, 'x'), text);
  for (const value of [new Uint8Array(2), literals.binary(new Uint8Array(2), 'tag')]) {
    assert.throws(() => inputText(value, 'x'), { name: 'PermanentError', message: /'x'/ });
  }
  assert.equal(render('{{ .inputs.a }}-{{.inputs.a}}-{{.other}}', { a: '$x' }), '$x-$x-{{.other}}');
});

test('settings: wrong ones are refused by path', () => {
  const cluster = { url: 'http://h:1', user: 'u', token: { file: '/t' }, workDir: '/w' };
  const parse = (value: unknown) => settingsSchema.safeParse(value);
  assert.ok(parse({ clusters: { main: cluster } }).success);
  const paths = (value: unknown) => parse(value).error?.issues.map((issue) => issue.path.join('.'));
  assert.deepEqual(paths({ clusters: {} }), ['clusters']);
  assert.deepEqual(paths({ clusters: { a: cluster, b: cluster } }), ['defaultCluster']);
  assert.deepEqual(paths({ clusters: { a: cluster }, defaultCluster: 'x' }), ['defaultCluster']);
  assert.deepEqual(paths({ clusters: { a: { ...cluster, workDir: 'relative' } } }), ['clusters.a.workDir']);
  assert.deepEqual(paths({ clusters: { a: { ...cluster, workDir: '/a%b' } } }), ['clusters.a.workDir']);
  assert.deepEqual(paths({ clusters: { a: { ...cluster, url: 'ftp://h' } } }), ['clusters.a.url']);
  assert.deepEqual(paths({ clusters: { a: { ...cluster, url: 'nowhere' } } }), ['clusters.a.url']);
  assert.deepEqual(paths({ clusters: { a: { ...cluster, url: 'http://u:p@h' } } }), ['clusters.a.url']);
  assert.deepEqual(paths({ clusters: { a: { ...cluster, apiVersion: '38' } } }), ['clusters.a.apiVersion']);
  assert.equal(parse({ clusters: { a: { ...cluster, tokn: 1 } } }).success, false);
});
