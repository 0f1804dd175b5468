// npm run interop:clients -- [--keep] [--json FILE]
// Real clients that know no .proto file list, describe and call everything on the port by server reflection: grpcurl,
// buf curl and Python's grpcio; and grpc-health-probe asks for health. Needs Go and Python.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { callsOf } from '../../test/interop/clients/calls.mjs';
import { BufCurl, CallError, Grpcurl, PythonClient, run } from '../../test/interop/clients/clients.mjs';
import { onStage } from './stage.mjs';
import { buildGoTool, ensurePython, interop, options, printed, root, summary } from './tools.mjs';

const SERVICES = [
  'flyteidl.service.AgentMetadataService',
  'flyteidl.service.AsyncAgentService',
  'flyteidl.service.SyncAgentService',
  'flyteidl2.connector.AsyncConnectorService',
  'flyteidl2.connector.ConnectorMetadataService',
  'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
  'pluginhost.v1.PluginHost',
];

const wanted = options();
const folderOf = (name) => path.dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
const python = ensurePython('clients');
const grpcurl = buildGoTool('clients', 'github.com/fullstorydev/grpcurl/cmd/grpcurl');
const probe = buildGoTool('clients', 'github.com/grpc-ecosystem/grpc-health-probe');
const results = [];

async function check(name, work) {
  const started = performance.now();
  let result;
  try {
    result = { case: name, ok: true, detail: (await work()) ?? '' };
  } catch (error) {
    result = { case: name, ok: false, detail: error.message.replace(/\s+/g, ' ').slice(0, 500) };
  }
  results.push(printed({ ...result, ms: Math.round(performance.now() - started) }));
}

/** Until it passes, where it may take a moment until the daemon can answer so. */
async function attempt(client, step, kept) {
  for (let tries = 1; ; tries += 1) {
    try {
      const answers = await client.call(step.method, step.request(kept), step.take);
      step.check(answers, kept);
      return;
    } catch (error) {
      if (!step.again || tries === 30) throw error;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

async function callEvery(client, data) {
  const kept = {};
  const called = new Set();
  for (const step of callsOf(client.name, `file://${data}/${client.name}`)) {
    called.add(step.method);
    if (step.code === undefined) {
      await check(`${client.name}: ${step.method}`, () => attempt(client, step, kept));
    } else {
      await check(`${client.name}: ${step.method} is refused as ${step.code}`, () =>
        assert.rejects(client.call(step.method, step.request(kept)), (error) => {
          assert.ok(error instanceof CallError, error.message);
          assert.equal(error.code, step.code, error.message);
          return true;
        }),
      );
    }
  }
  return called;
}

async function listEvery(client) {
  await check(`${client.name}: lists every service`, async () => {
    assert.deepEqual((await client.list()).sort(), SERVICES);
  });
}

/** All methods of all services were called, so that a new one cannot be left out here. */
async function nothingLeftOut(client, called) {
  await check(`${client.name}: every method was called`, async () => {
    const methods = [];
    for (const service of SERVICES) {
      for (const name of await client.methods(service)) methods.push(`${service}/${name}`);
    }
    assert.deepEqual(
      methods.filter((method) => !called.has(method)),
      [],
    );
    assert.ok(methods.length >= 27, `only ${methods.length} methods`);
    return `${methods.length} methods`;
  });
}

async function describeEvery(client, messages) {
  await check(`${client.name}: describes every service and its methods`, async () => {
    for (const service of SERVICES) {
      const text = await client.describe(service);
      assert.match(text, new RegExp(`${service} is a service`));
      for (const method of await client.methods(service)) {
        assert.match(await client.describe(`${service}.${method}`), /is a method/);
      }
    }
  });
  await check(`${client.name}: shows the options of a method, which are extensions`, async () => {
    const text = await client.describe('flyteidl.service.AgentMetadataService');
    assert.match(text, /option \(\.?google\.api\.http\) = \{\s*get: *"/);
  });
  await check(`${client.name}: describes every message`, async () => {
    const waiting = [...messages];
    const worker = async () => {
      for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
        const text = await client.describe(name);
        // A map's entry is no message to grpcurl's users.
        assert.match(text, /is a message|is a map entry|the entry type for a map/, text);
      }
    };
    await Promise.all([worker(), worker()]);
    return `${messages.length} messages`;
  });
}

async function pythonsOwn(client) {
  let messages = [];
  await check('grpcio: resolves every message down to its last field', async () => {
    messages = await client.ask('messages');
    assert.ok(messages.length > 150, `only ${messages.length} messages`);
    return `${messages.length} messages`;
  });
  await check('grpcio: lists the extensions of a message', async () => {
    assert.deepEqual(await client.ask('extensions', { type: 'google.protobuf.MethodOptions' }), [72295728]);
  });
  await check("grpcio-tools: protoc's descriptors of the same files are equal", async () => {
    const { files, differing } = await client.ask('compare', {
      includes: [
        path.join(root, 'proto'),
        path.join(folderOf('@flyteorg/flyteidl'), 'protos'),
        folderOf('protobufjs'),
        path.join(folderOf('@grpc/reflection'), 'build', 'proto'),
      ],
      files: [
        'pluginhost/v1/plugin_host.proto',
        'flyteidl/service/agent.proto',
        'grpc/reflection/v1/reflection.proto',
        'grpc/reflection/v1alpha/reflection.proto',
      ],
    });
    assert.deepEqual(differing, []);
    return `${files} files`;
  });
  await check('grpcio: stock health stubs', async () => {
    assert.equal(await client.ask('health', { service: '' }), 'SERVING');
    assert.equal(await client.ask('health', { service: 'interop' }), 'SERVING');
    await assert.rejects(client.ask('health', { service: 'nobody' }), { code: 'notfound' });
  });
  return messages;
}

async function probeHealth(address) {
  for (const [name, args, ok] of [
    ['the daemon serves', [], true],
    ['a plugin serves', ['-service', 'interop'], true],
    ['a service serves', ['-service', 'flyteidl.service.AsyncAgentService'], true],
    ['what nobody is called is no success', ['-service', 'nobody'], false],
  ]) {
    await check(`grpc-health-probe: ${name}`, async () => {
      const ended = await run(probe, ['-addr', address, ...args]);
      assert.equal(ended.ok, ok, ended.stderr);
      assert.match(ended.stderr + ended.stdout, ok ? /status: SERVING/ : /NotFound/);
    });
  }
}

await onStage('daemon', wanted.keep, async ({ data, service }) => {
  const address = `127.0.0.1:${service.port}`;
  const buf = path.join(folderOf('@bufbuild/buf'), 'bin', 'buf');
  const py = new PythonClient(python, path.join(interop, 'clients', 'reflecting_client.py'), address);
  const curl = new Grpcurl(grpcurl, address);
  try {
    for (const client of [py, curl, new BufCurl(buf, address, 'v1'), new BufCurl(buf, address, 'v1alpha')]) {
      await listEvery(client);
      await nothingLeftOut(client, await callEvery(client, data));
    }
    await describeEvery(curl, await pythonsOwn(py));
    await probeHealth(address);
  } finally {
    py.close();
  }
});

if (typeof wanted.json === 'string') writeFileSync(wanted.json, `${JSON.stringify(results, null, 1)}\n`);
process.exit(summary(results));
