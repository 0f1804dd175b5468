import assert from 'node:assert/strict';
import { lstatSync, mkdtempSync, readdirSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Box, buildImage, type Image, removeImage, startBox } from './box.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-image-'));
let image: Image;

before(() => {
  image = buildImage(folder);
});
after(() => removeImage(folder));

/** Every path below a folder of the image, relative to it, without following links. */
function listing(inside: string): string[] {
  return readdirSync(path.join(image.rootfs, inside), { recursive: true }).map(String);
}

/** The image's own health check, as an engine would run it. */
function checkHealth(box: Box): { healthy: boolean; said: string } {
  const [kind, ...command] = image.config.Healthcheck.Test;
  assert.equal(kind, 'CMD');
  const { status, stdout, stderr } = box.exec(command);
  return { healthy: status === 0, said: stdout + stderr };
}

test('the image runs as a numbered user who is not root, in exec form, and tells engines how to check it', () => {
  const { config } = image;
  assert.match(config.User, /^[1-9]\d*:[1-9]\d*$/);
  assert.equal(config.Entrypoint[0], 'node');
  assert.deepEqual(config.Cmd, ['serve']);
  assert.equal(config.Healthcheck.Test[0], 'CMD');
  assert.equal(config.Labels['org.opencontainers.image.licenses'], 'Apache-2.0');
});

test('the image holds what runs, and neither tools, tests, sources nor the configuration of the machine that built it', () => {
  const files = listing('app');
  assert.ok(files.includes('dist/src/index.js') && files.includes('proto/pluginhost/v1/plugin_host.proto'));
  assert.ok(files.some((file) => file.startsWith('node_modules/@grpc/grpc-js/build/')));
  const unwanted =
    /^(dist\/(test|bench)|src|test|scripts)\b|^node_modules\/(typescript|@biomejs|@bufbuild|@types)\b|\.map$|\.d\.ts$|npmrc$/;
  assert.deepEqual(
    files.filter((file) => unwanted.test(file)),
    [],
  );
  assert.deepEqual(
    listing('root').filter((file) => /npm/.test(file)),
    [],
  );
});

test('nothing in the image belongs to the user it runs as', () => {
  const uid = Number(image.config.User.split(':')[0]);
  const files = listing('app');
  assert.ok(files.length > 500);
  assert.deepEqual(
    files.filter((file) => {
      const { uid: owner, mode } = lstatSync(path.join(image.rootfs, 'app', file));
      return owner === uid || ((mode & 0o170000) !== 0o120000 && (mode & 0o002) !== 0);
    }),
    [],
  );
});

test('without a daemon the health check fails and says why', async () => {
  const box = startBox(image, { command: ['sleep', '60'] });
  await sleep(200);
  const { healthy, said } = checkHealth(box);
  assert.equal(healthy, false);
  assert.match(said, /not healthy on port 9090: /);
  process.kill(box.pid(), 'SIGKILL');
  await box.ended;
});
