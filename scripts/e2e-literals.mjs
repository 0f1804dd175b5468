// Proves that the real flytekit reads what this project writes: values become literals here and Python values there, and what
// flytekit wrote (the committed fixtures) is the same message to it when it was read and written here. (That it is read right is in
// test/data.) Needs Python 3 and PyPI; fails where they are missing. Run by `npm run e2e:literals`, which builds first. Ends with a line `N passed, N failed`.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeLiteralCodec } from '../dist/src/data/literal-codec.js';
import { loadFlyteidlCore } from '../dist/src/idl/load-core.js';
import { literals, PreciseDate } from '../dist/src/plugin-api/literals.js';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const LIMIT_MS = 400_000; // the first run installs from PyPI

const simple = (name) => ({ simple: name });
// flytekit finds the variant of a union by the tag that its own compiler put into the type.
const variant = (name, tag) => ({ simple: name, structure: { tag } });
const optionalInt = { unionType: { variants: [variant('INTEGER', 'int'), variant('NONE', 'none')] } };
const intOrText = { unionType: { variants: [variant('INTEGER', 'int'), variant('STRING', 'str')] } };
const columns = [
  { name: 'age', literalType: simple('INTEGER') },
  { name: 'name', literalType: simple('STRING') },
];
const settings = { name: 's', weights: [0.5, 2.25], big: 2n ** 60n };

/** name, value given here, declared type (or undefined), Python type, Python's repr of what must arrive. */
const CASES = [
  ['a whole number', 5, undefined, 'int', '5'],
  ['the largest integer', 2n ** 63n - 1n, simple('INTEGER'), 'int', String(2n ** 63n - 1n)],
  ['the smallest integer', -(2n ** 63n), undefined, 'int', String(-(2n ** 63n))],
  ['a whole number declared as float', 1, simple('FLOAT'), 'float', '1.0'],
  ['a float without a declared type', 0.1, undefined, 'float', '0.1'],
  ['not a number', Number.NaN, undefined, 'float', 'nan'],
  ['negative zero', -0, undefined, 'float', '-0.0'],
  ['text', 'Grüße 🚀', undefined, 'str', "'Grüße 🚀'"],
  ['false', false, undefined, 'bool', 'False'],
  ['null', null, undefined, 'type(None)', 'None'],
  [
    'a Date with microseconds',
    new PreciseDate(Date.UTC(2024, 1, 29, 1, 2, 3, 4), 5000),
    undefined,
    'datetime',
    'datetime.datetime(2024, 2, 29, 1, 2, 3, 4005, tzinfo=datetime.timezone.utc)',
  ],
  [
    'text declared as datetime, before 1970',
    '1969-07-20T20:17:40.250Z',
    simple('DATETIME'),
    'datetime',
    'datetime.datetime(1969, 7, 20, 20, 17, 40, 250000, tzinfo=datetime.timezone.utc)',
  ],
  ['a duration', literals.duration(1500), undefined, 'timedelta', 'datetime.timedelta(seconds=1, microseconds=500000)'],
  [
    'a negative duration as text',
    '-1.5s',
    simple('DURATION'),
    'timedelta',
    'datetime.timedelta(days=-1, seconds=86398, microseconds=500000)',
  ],
  ['an enum member', 'blue', { enumType: { values: ['red', 'blue'] } }, 'Colour', "<Colour.BLUE: 'blue'>"],
  ['a collection', [1, 2], undefined, 'typing.List[int]', '[1, 2]'],
  ['a map of declared floats', { a: 1 }, { mapValueType: simple('FLOAT') }, 'typing.Dict[str, float]', "{'a': 1.0}"],
  ['nothing of an optional', null, optionalInt, 'typing.Optional[int]', 'None'],
  ['something of an optional', 7, optionalInt, 'typing.Optional[int]', '7'],
  ['an object declared as struct', { a: ['x', null, true] }, simple('STRUCT'), 'dict', "{'a': ['x', None, True]}"],
  [
    'a msgpack dict with integers and floats told apart',
    literals.msgpack({ small: 1, big: 2 ** 40, negative: -(2 ** 40), float: 1.5, list: [null] }),
    undefined,
    'dict',
    "{'small': 1, 'big': 1099511627776, 'negative': -1099511627776, 'float': 1.5, 'list': [None]}",
  ],
  [
    'a dataclass',
    literals.msgpack(settings),
    undefined,
    'Settings',
    `Settings(name='s', weights=[0.5, 2.25], big=${2n ** 60n})`,
  ],
  // The SDK's own compiler gives each variant a tag; without one flytekit tries the variants one after the other.
  ['an integer of a union', 5, intOrText, 'typing.Union[int, str]', '5'],
  ['a text of a union', 'five', intOrText, 'typing.Union[int, str]', "'five'"],
  [
    'a variant that the plugin names',
    literals.union('5', variant('STRING', 'str')),
    undefined,
    'typing.Union[int, str]',
    "'5'",
  ],
  [
    'a variant within a list',
    [literals.union(1, variant('INTEGER', 'int')), literals.union('1', variant('STRING', 'str'))],
    undefined,
    'typing.List[typing.Union[int, str]]',
    "[1, '1']",
  ],
  [
    'a dataset with its columns',
    literals.structuredDataset('s3://b/table', { format: 'parquet', columns }),
    undefined,
    'dataset',
    "('s3://b/table', 'parquet', [('age', 1), ('name', 3)])",
  ],
  [
    'a URI declared as a dataset',
    's3://b/table',
    { structuredDatasetType: { format: 'csv', columns } },
    'dataset',
    "('s3://b/table', 'csv', [('age', 1), ('name', 3)])",
  ],
  ['bytes', Buffer.from([0, 255, 1]), undefined, 'message', "{'scalar': {'binary': {'value': 'AP8B'}}}"],
  [
    'bytes declared as such',
    Buffer.from([7]),
    simple('BINARY'),
    'message',
    "{'scalar': {'binary': {'value': 'Bw=='}}}",
  ],
  [
    'bytes with a tag',
    literals.binary(Buffer.from('x'), 'pickle'),
    undefined,
    'message',
    "{'scalar': {'binary': {'value': 'eA==', 'tag': 'pickle'}}}",
  ],
  [
    'a file',
    literals.blob('s3://b/f.csv', 'csv'),
    undefined,
    'message',
    "{'scalar': {'blob': {'metadata': {'type': {'format': 'csv'}}, 'uri': 's3://b/f.csv'}}}",
  ],
  [
    'a folder',
    literals.multipartBlob('s3://b/dir'),
    undefined,
    'message',
    "{'scalar': {'blob': {'metadata': {'type': {'dimensionality': 'MULTIPART'}}, 'uri': 's3://b/dir'}}}",
  ],
  [
    'a schema',
    literals.schema('s3://b/s', [{ name: 'age', type: 'INTEGER' }]),
    undefined,
    'message',
    "{'scalar': {'schema': {'uri': 's3://b/s', 'type': {'columns': [{'name': 'age'}]}}}}",
  ],
  [
    'an error with a hash',
    literals.error('n0', 'it failed', { hash: 'h' }),
    undefined,
    'message',
    "{'scalar': {'error': {'failedNodeId': 'n0', 'message': 'it failed'}}, 'hash': 'h'}",
  ],
  ['a raw literal of another', undefined, undefined, 'int', '5'],
];

const codec = makeLiteralCodec(loadFlyteidlCore());
const folder = path.join(root, 'test', 'fixtures', 'literals');
const { cases: fixtures } = JSON.parse(readFileSync(path.join(folder, 'cases.json'), 'utf8'));
const input = CASES.map(([name, value, type, pythonType]) => {
  const given = value === undefined ? literals.raw(codec.write(5)) : value;
  return { name, type: pythonType, literal: codec.write(given, type).toString('base64') };
});
for (const { name, type } of fixtures) {
  const original = readFileSync(path.join(folder, `${name}.pb`));
  const literal = codec.write(codec.read(original), codec.readType(Buffer.from(type, 'base64'))).toString('base64');
  CASES.push([`flytekit's ${name}, read and written`, undefined, undefined, undefined, 'True']);
  input.push({ name: `flytekit's ${name}, read and written`, literal, original: original.toString('base64') });
}
const run = spawnSync('python3', [path.join(root, 'scripts', 'fixtures', 'read_back.py')], {
  input: JSON.stringify(input),
  encoding: 'utf8',
  timeout: LIMIT_MS,
  stdio: ['pipe', 'pipe', 'inherit'],
});

let passed = 0;
let failed = 0;
if (run.error !== undefined || run.status !== 0) {
  failed++;
  console.log(`NOT OK  python3 ended with ${run.error?.message ?? `status ${run.status}`}`);
}
const answers = new Map();
for (const line of (run.stdout ?? '').split('\n')) {
  if (!line.startsWith('{')) continue;
  const answer = JSON.parse(line);
  answers.set(answer.name, answer);
}
for (const [name, , , , expected] of CASES) {
  try {
    assert.equal(answers.get(name)?.value, expected, answers.get(name)?.error ?? 'no answer');
    passed++;
    console.log(`ok      ${name}`);
  } catch (error) {
    failed++;
    const seen = answers.get(name);
    console.log(
      `NOT OK  ${name}: expected ${expected}, got ${seen?.value ?? seen?.error ?? 'no answer'} (${error.code})`,
    );
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
