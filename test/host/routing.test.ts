import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostError } from '../../src/errors/index.js';
import { buildRoutes, type Claims, type Routable } from '../../src/host/load/routing.js';

const claims = (id: string, ...types: readonly (string | [string, number[]])[]): Claims => ({
  id,
  isDefault: false,
  taskTypes: types.map((type) =>
    typeof type === 'string' ? { name: type, versions: undefined } : { name: type[0], versions: type[1] },
  ),
});

const up = (...parts: Parameters<typeof claims>): Routable => ({ ...claims(...parts), defined: true });
/** Failed before it told anything, and served this before. */
const silent = (id: string, before?: Claims): Routable => ({ ...claims(id), defined: false, before });

function who(known: readonly Routable[], given: Record<string, string>, type: string, version = 0): string {
  const { routes, errors } = buildRoutes(known, given);
  assert.deepEqual(errors, []);
  try {
    return routes.lookup(type, version);
  } catch (error) {
    return (error as HostError).code;
  }
}

const ROWS: readonly {
  readonly what: string;
  readonly known: readonly Routable[];
  readonly given?: Record<string, string>;
  readonly asked: Record<string, string>;
}[] = [
  {
    what: 'a plugin that told nothing keeps what it served before, and claims nothing else',
    known: [silent('a', claims('a', 't')), up('b', 'u')],
    asked: { t: 'a', u: 'b', v: 'TASK_TYPE_UNKNOWN' },
  },
  {
    what: 'its task types do not go to the default plugin',
    known: [silent('a', claims('a', 't')), { ...up('b', 'u'), isDefault: true }],
    asked: { t: 'a', v: 'b' },
  },
  {
    what: 'what another plugin claims now is that one’s, version by version',
    known: [silent('a', claims('a', 't', ['v', [1, 2]])), up('b', ['t', [3]], ['v', [2]])],
    asked: { t: 'a', 't@3': 'b', 'v@1': 'a', 'v@2': 'b', 'v@3': 'TASK_TYPE_VERSION_UNKNOWN' },
  },
  {
    what: 'a claim of every version leaves nothing of a type to what served it before',
    known: [silent('a', claims('a', 't', ['v', [1]])), up('b', 't', 'v')],
    asked: { t: 'b', 'v@1': 'b' },
  },
  {
    what: 'what the operator gives to a plugin goes before what another served',
    known: [silent('a', claims('a', 't', 'u')), silent('b'), up('c', 'u')],
    given: { t: 'b', u: 'c' },
    asked: { t: 'b', u: 'c' },
  },
  {
    what: 'two that told nothing are in no conflict: the first keeps what both served',
    known: [silent('a', claims('a', 't')), silent('b', claims('b', 't', 'u'))],
    asked: { t: 'a', u: 'b' },
  },
  {
    what: 'the default plugin of before is asked where there is no other',
    known: [silent('a', { ...claims('a', 't'), isDefault: true }), up('b', 'u')],
    asked: { v: 'a' },
  },
  {
    what: 'the default plugin of now goes before the one of before',
    known: [silent('a', { ...claims('a', 't'), isDefault: true }), { ...up('b', 'u'), isDefault: true }],
    asked: { v: 'b', t: 'a' },
  },
];

for (const { what, known, given = {}, asked } of ROWS) {
  test(`of plugins that failed before they told their task types: ${what}`, () => {
    for (const [type, id] of Object.entries(asked)) {
      const [name = '', version = '0'] = type.split('@');
      assert.equal(who(known, given, name, Number(version)), id, type);
    }
  });
}
