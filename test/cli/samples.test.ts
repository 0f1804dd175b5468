import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { createJobService } from '../../plugins/demo/job-service.js';
import { codeBlock, codeBlocks, section } from '../support/markdown.js';
import { compiled, fromRoot } from '../support/paths.js';
import { type RunOptions, run, runNode, start } from '../support/spawn.js';
import { folderWith } from './support.js';

const MAIN = compiled('src/main.ts');
const README = readFileSync(fromRoot('README.md'), 'utf8');
const ANY_PORTS = {
  PLUGIN_HOST_STATE_ENGINE: 'none',
  PLUGIN_HOST_GRPC_PORT: '0',
  PLUGIN_HOST_ADMIN_PORT: '0',
  PLUGIN_HOST_SHUTDOWN_DRAIN_DELAY: '0s',
};

/** The file that a block says it is: `// jobs.mjs` or `# config.yaml` in its first line. */
const fileName = (text: string) => /^(?:\/\/|#) ([\w.-]+)\n/.exec(text)?.[1];

/** Ends a command that the shell was given, and with it what it started. */
async function endGroup(running: ReturnType<typeof start>): Promise<void> {
  running.child.kill('SIGTERM');
  await running.finished;
}

describe('the README', () => {
  it('leads by its own files and commands, pasted in their order, from the service to the result', async (t) => {
    const text = section(README, '## Run your own');
    const files = codeBlocks(text).filter(({ language }) => language !== 'sh');
    const [service = '', daemon = '', task = '', ...rest] = codeBlocks(text)
      .filter(({ language }) => language === 'sh')
      .map((block) => block.text);
    assert.equal(rest.length, 0);
    const [check = '', serve = ''] = daemon.trim().split('\n');
    assert.ok(files.length === 2 && /^npm run /.test(service) && / check /.test(check) && / serve /.test(serve));

    const cwd = checkoutLike(t);
    const paste = (command: string, options: RunOptions = {}) =>
      start(t, 'bash', ['-c', `exec ${command.trim()}`], { cwd, ...options });

    // Neither npm nor npx passes a signal on, and the test must end what it starts: these two are called as they call them.
    const script = /^npm run ([\w-]+)/.exec(service)?.[1] ?? '';
    const { scripts } = JSON.parse(readFileSync(fromRoot('package.json'), 'utf8'));
    // The port is the one fixed thing; something else may have it here.
    const serving = paste(`${scripts[script]} --port 0`);
    const [, url = ''] = await serving.waitFor(/listens on (http:\/\/127\.0\.0\.1:\d+)/);
    for (const { text: content } of files) {
      const name = fileName(content);
      assert.ok(name !== undefined, content);
      writeFileSync(path.join(cwd, name), content.replace('http://127.0.0.1:8080', url));
    }
    const checked = await paste(check).finished;
    assert.equal(checked.code, 0, checked.stdout + checked.stderr);
    assert.match(checked.stdout, /^jobs +SERVING .* job .*5\/s, 20/m);
    const direct = serve.replace('npx --no-install plugin-host', `node ${MAIN}`);
    assert.notEqual(direct, serve);
    const running = paste(direct, { env: ANY_PORTS });
    const [, address] = await running.waitFor(/"event":"daemon\.ready","grpc":"([^"]+)"/);
    const ran = await run(t, 'bash', ['-ec', task], { cwd, env: { PLUGIN_HOST_ADDRESS: address } });
    assert.deepEqual([ran.code, ran.stdout], [0, 'result: 6\n'], ran.stderr);
    await endGroup(running);
    await endGroup(serving);
  });

  it('shows a plugin of 30 lines at most', () => {
    assert.ok(codeBlock(README, '// jobs.mjs').trim().split('\n').length <= 30);
  });
});

/** A folder that stands for a built checkout: what a pasted command writes goes with the test. */
function checkoutLike(t: TestContext): string {
  const cwd = folderWith(t, {});
  for (const name of ['package.json', 'dist', 'node_modules']) symlinkSync(fromRoot(name), path.join(cwd, name));
  return cwd;
}

describe('docs/typescript.md and docs/client.md', () => {
  const typescript = readFileSync(fromRoot('docs/typescript.md'), 'utf8');
  const client = readFileSync(fromRoot('docs/client.md'), 'utf8');

  it('show a plugin and clients that compile as they stand, and run a task', async (t) => {
    const files = [
      codeBlock(typescript, '// jobs.ts'),
      codeBlock(client, '// submit.ts'),
      codeBlock(client, '// watch.ts'),
    ];
    const cwd = folderWith(t, {
      'package.json': '{"type": "module"}',
      'tsconfig.json': codeBlocks(typescript).find(({ language }) => language === 'json')?.text ?? '',
      ...Object.fromEntries(files.map((text) => [fileName(text), text])),
    });
    mkdirSync(path.join(cwd, 'node_modules', '@types'), { recursive: true });
    symlinkSync(fromRoot('.'), path.join(cwd, 'node_modules', 'webapi-plugin-host'));
    for (const name of ['zod', path.join('@types', 'node')]) {
      symlinkSync(fromRoot('node_modules', name), path.join(cwd, 'node_modules', name));
    }
    const tsc = await runNode(t, [fromRoot('node_modules', 'typescript', 'bin', 'tsc'), '-p', '.'], { cwd });
    assert.equal(tsc.code, 0, tsc.stdout + tsc.stderr);

    const service = createJobService();
    await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve));
    t.after(() => service.close());
    const { port } = service.address() as AddressInfo;
    const set = ['plugins.jobs.source=./jobs.js', `plugins.jobs.settings={"url": "http://127.0.0.1:${port}"}`];
    const args = [MAIN, 'serve', ...set.flatMap((one) => ['--set', one])];
    const daemon = start(t, process.execPath, args, { cwd, env: ANY_PORTS });
    const [, address] = await daemon.waitFor(/"event":"daemon\.ready","grpc":"([^"]+)"/);
    const env = { PLUGIN_HOST_ADDRESS: address };
    const watch = start(t, process.execPath, ['watch.js'], { cwd, env });
    const submitted = await runNode(t, ['submit.js'], { cwd, env });
    assert.equal(submitted.code, 0, submitted.stderr);
    assert.match(submitted.stdout, /^RUNNING$[\s\S]*^SUCCESS$\s*\{ result: 42 \}/m);
    await watch.waitFor(/^job SUCCESS/m);
    watch.child.kill('SIGTERM');
    const watched = await watch.finished;
    assert.deepEqual([watched.code, watched.stderr], [0, '']);
    assert.match(watched.stdout, /stopped at a token/);
    daemon.child.kill('SIGTERM');
    assert.equal((await daemon.finished).code, 0);
  });

  it('state the type parameters and their order as the contract has them', () => {
    const sources = ['plugin', 'contexts', 'http/types'].map((name) =>
      readFileSync(fromRoot('src', 'plugin-api', `${name}.ts`), 'utf8'),
    );
    const rows = [...typescript.matchAll(/^\| (`.+?`) +\| `([\w, ]+)` +\|/gm)];
    assert.ok(rows.length >= 5);
    for (const [, names = '', parameters = ''] of rows) {
      for (const [, name] of names.matchAll(/`(\w+)`/g)) {
        const own = parametersOf(name as string, sources.join('\n'));
        assert.deepEqual(own, parameters.split(', '), name);
      }
    }
  });
});

/** The names between the angle brackets of a declaration. */
function parametersOf(name: string, source: string): string[] {
  const start = new RegExp(`(?:interface|function) ${name}<`).exec(source);
  assert.ok(start, name);
  let depth = 1;
  let text = '';
  for (let at = start.index + start[0].length; depth > 0; at++) {
    if (source[at] === '<') depth++;
    else if (source[at] === '>') depth--;
    else if (depth === 1) text += source[at];
  }
  return text.split(',').map((one) => one.trim().split(/[ =]/)[0] ?? '');
}
