// The example plugins against their remotes: real ones from PyPI (Athena as moto plays it). For each twenty tasks that
// succeed, fail, are refused or cancelled, some made while the remote is away; in the end the remote's own book must agree.
import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client, TaskStatus } from '../../src/client/index.js';
import { makeLiteralCodec } from '../../src/data/literal-codec.js';
import { loadFlyteidlCore } from '../../src/idl/load-core.js';
import { configOf, startServe } from '../daemon/support.js';
import { fromRoot } from '../support/paths.js';
import { suiteSecret } from '../support/suite-secrets.js';
import { type Booked, type ExampleRemote, startRemote } from './remote.js';

const BOUND = { timeout: 900_000 };
/** How long anything is waited for: what it takes on a machine that does much else. */
const PATIENCE_MS = 240_000;

type Custom = { readonly [key: string]: unknown };
type Kind = 'sum' | 'fail' | 'refused' | 'endless';

/** What is particular to one remote. */
interface Example {
  readonly settings: (url: string) => Custom;
  readonly env?: Readonly<Record<string, string>>;
  readonly taskType: string;
  readonly output: string;
  readonly custom: (kind: Kind, numbers: readonly number[], given: unknown) => Custom;
  /** Asked of the remote once it is up, for `custom`. */
  readonly ask?: string;
  readonly result: (numbers: readonly number[]) => RegExp;
  readonly failed: { readonly code: string; readonly message: RegExp };
  readonly refused: { readonly code: string; readonly message: RegExp };
  /** The remote's words. */
  readonly words: { readonly sum: string; readonly fail: string; readonly endless: string };
}

const sumOf = (numbers: readonly number[]) => numbers.reduce((sum, one) => sum + one, 0);
const theSum = (numbers: readonly number[]) => new RegExp(`^${sumOf(numbers)}$`);

const EXAMPLES: ReadonlyMap<string, Example> = new Map<string, Example>([
  [
    'athena',
    {
      settings: (endpoint) => ({ endpoint, region: 'us-east-1', maxAttempts: 1 }),
      env: { AWS_ACCESS_KEY_ID: 'key', AWS_SECRET_ACCESS_KEY: suiteSecret('secretVariable') },
      taskType: 'athena',
      output: 'results',
      custom: (kind, numbers) => ({
        QueryString: {
          sum: `SELECT ${numbers.join(' + ')}`,
          fail: 'SELECT * FROM no_such_table',
          endless: 'SELECT endless()',
          refused: 'SELECT 1',
        }[kind],
        ResultConfiguration: { OutputLocation: 's3://results/' },
        ...(kind === 'refused' ? { WorkGroup: 'nobodys' } : {}),
      }),
      result: () => /^s3:\/\/results\/[0-9a-f-]+\.csv$/,
      failed: { code: 'PERMANENT_FAILURE', message: /^TABLE_NOT_FOUND/ },
      refused: { code: 'InvalidRequestException', message: /WorkGroup does not exist/ },
      words: { sum: 'SUCCEEDED', fail: 'FAILED', endless: 'CANCELLED' },
    },
  ],
  [
    'prefect',
    {
      settings: (url) => ({ url }),
      taskType: 'prefect_deployment',
      output: 'result',
      ask: 'deployment',
      custom: (kind, numbers, deployment) => ({
        deployment,
        parameters: { what: kind === 'refused' ? 7 : kind, numbers },
      }),
      result: theSum,
      failed: { code: 'PERMANENT_FAILURE', message: /told to fail/ },
      refused: { code: 'HTTP409', message: /not of type 'string'/ },
      words: { sum: 'COMPLETED', fail: 'FAILED', endless: 'CANCELLED' },
    },
  ],
  [
    'ray',
    {
      settings: (url) => ({ url }),
      taskType: 'ray_job',
      output: 'result',
      custom: (kind, numbers) => ({
        entrypoint: {
          sum: `echo result: $((${numbers.join(' + ')}))`,
          fail: 'exit 3',
          endless: 'sleep 1000',
          refused: 7,
        }[kind],
      }),
      result: theSum,
      failed: { code: 'JOB_ENTRYPOINT_COMMAND_ERROR', message: /exit code 3/ },
      refused: { code: 'HTTP400', message: /entrypoint must be a string/ },
      words: { sum: 'SUCCEEDED', fail: 'FAILED', endless: 'STOPPED' },
    },
  ],
  [
    'dagster',
    {
      settings: (url) => ({ url }),
      taskType: 'dagster_job',
      output: 'result',
      custom: (kind, numbers) => ({
        selector: { repositoryLocationName: 'example', repositoryName: '__repository__', jobName: 'example' },
        runConfigData: { ops: { work: { config: { what: kind === 'refused' ? 7 : kind, numbers } } } },
      }),
      result: theSum,
      failed: { code: 'PERMANENT_FAILURE', message: /FAILURE/ },
      refused: { code: 'RunConfigValidationInvalid', message: /expected type "String"/ },
      words: { sum: 'SUCCESS', fail: 'FAILURE', endless: 'CANCELED' },
    },
  ],
]);

/** Twenty tasks; those of the last row are made while the remote is away. */
const KINDS: readonly Kind[] = [
  ...(['endless', 'endless', 'endless', 'endless'] as const),
  ...(['sum', 'fail', 'sum', 'refused', 'sum', 'fail', 'sum', 'sum', 'fail', 'sum', 'sum', 'fail'] as const),
  ...(['sum', 'sum', 'sum', 'fail'] as const),
];
const BEFORE_OUTAGE = 16;

interface Made {
  readonly kind: Kind;
  readonly numbers: readonly number[];
  readonly handle: Uint8Array;
}

const codec = makeLiteralCodec(loadFlyteidlCore());

async function until(what: string, look: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!(await look())) {
    if (performance.now() > end) throw new Error(`waited ${PATIENCE_MS} ms in vain for ${what}`);
    await sleep(200);
  }
}

async function phaseOf(client: Client, { handle }: Made): Promise<string> {
  return (await client.status(handle)).phaseInfo.phase;
}

async function make(client: Client, example: Example, index: number, given: unknown): Promise<Made> {
  const kind = KINDS[index] as Kind;
  const numbers = [index, 1, 2];
  const type = { simple: 'STRING' };
  const { handle } = await client.create({
    generatedName: `${example.taskType}-${index}`,
    template: {
      type: example.taskType,
      interface: { outputs: { variables: { [example.output]: { type } } } },
      custom: example.custom(kind, numbers, given),
    } as never,
  });
  return { kind, numbers, handle };
}

function assertEnd(example: Example, { kind, numbers }: Made, { phaseInfo }: TaskStatus): void {
  const { phase, error, outputs } = phaseInfo;
  if (kind === 'sum') {
    assert.equal(phase, 'SUCCESS', error?.message);
    assert.ok(outputs.kind === 'inline');
    assert.match(String(codec.readMap(outputs.literalMap)[example.output]), example.result(numbers));
    return;
  }
  const expected = kind === 'refused' ? example.refused : example.failed;
  assert.equal(phase, 'PERMANENT_FAILURE');
  assert.equal(error?.code, expected.code);
  assert.match(error?.message ?? '', expected.message);
}

/** What the remote's book must say: one job for each task that it did not refuse, with its end. */
function assertBooks(example: Example, books: readonly Booked[]): void {
  const keys = new Set(books.map(({ key }) => key));
  assert.equal(keys.size, books.length, 'a job was made twice');
  const count = (kind: Kind) => KINDS.filter((one) => one === kind).length;
  const words = books.map(({ state }) => state).sort();
  const { sum, fail, endless } = example.words;
  const expected = [
    ...Array<string>(count('sum')).fill(sum),
    ...Array<string>(count('fail')).fill(fail),
    ...Array<string>(count('endless')).fill(endless),
  ].sort();
  assert.deepEqual(words, expected);
}

async function play(t: TestContext, name: string, example: Example, remote: ExampleRemote): Promise<void> {
  const limits = { qps: 10, burst: 20 };
  const plugin = {
    source: fromRoot('examples', `${name}.mjs`),
    settings: example.settings(remote.url),
    config: {
      readRateLimiter: limits,
      writeRateLimiter: limits,
      resourceQuotas: { default: 8 },
      caching: { resyncInterval: '5s' },
    },
  };
  const daemon = await startServe(t, configOf({ [name]: plugin }), undefined, example.env);
  const { client } = daemon;
  const given = example.ask === undefined ? undefined : await remote.tell(example.ask);
  const made: Made[] = [];
  for (let index = 0; index < BEFORE_OUTAGE; index++) made.push(await make(client, example, index, given));
  const endless = made.filter(({ kind }) => kind === 'endless');
  await until('the endless jobs to run and another to end', async () => {
    const phases = await Promise.all(made.map((one) => phaseOf(client, one)));
    return endless.every((_, index) => phases[index] === 'RUNNING') && phases.includes('SUCCESS');
  });
  await client.delete(endless[0]!.handle);
  await remote.stop();
  await until('the daemon to see that the remote is away', async () => {
    const { remoteDown, consecutiveFailures, lastError } = await client.status(endless[1]!.handle);
    // What was asked while it went may have failed in other words, and is asked again with the probes alone, which take turns.
    return remoteDown || (consecutiveFailures > 0 && /ECONNREFUSED|ECONNRESET|other side closed/.test(lastError));
  });
  for (let index = made.length; index < KINDS.length; index++) made.push(await make(client, example, index, given));
  await client.delete(endless[1]!.handle).catch(() => undefined);
  await remote.start();
  for (const one of endless.slice(1)) await until('a delete', () => deleted(client, one));
  for (const one of made) {
    if (one.kind === 'endless') continue;
    assertEnd(example, one, await endOf(client, one));
  }
  let books: Booked[] = [];
  await until('the remote to end what was cancelled', async () => {
    books = await remote.books();
    return books.filter(({ state }) => state === example.words.endless).length === endless.length;
  });
  assertBooks(example, books);
}

async function endOf(client: Client, { kind, handle }: Made): Promise<TaskStatus> {
  try {
    return await client.waitForEnd(handle, { timeoutMs: PATIENCE_MS });
  } catch (cause) {
    const last = await client.status(handle);
    throw new Error(`the task ${kind} did not end: ${JSON.stringify(last)}`, { cause });
  }
}

/** Engines repeat a delete that failed. */
async function deleted(client: Client, one: Made): Promise<boolean> {
  try {
    await client.delete(one.handle);
    return true;
  } catch {
    return false;
  }
}

describe('the example plugins, each with twenty tasks against its remote', { concurrency: 2, ...BOUND }, () => {
  for (const [name, example] of EXAMPLES) {
    test(
      `${name}: every task ends as its job did, through an outage, and no job is made twice or left`,
      BOUND,
      async (t) => {
        await play(t, name, example, await startRemote(t, name));
      },
    );
  }
});
