import { readFileSync } from 'node:fs';
import yaml from 'yaml';
import { ConfigError, loadConfig } from '../../../src/config/index.js';
import { handleKeyTexts } from '../../../src/model/handle-keys.js';
import type { Dice } from '../../support/decisions.js';
import { fromRoot } from '../../support/paths.js';
import { below, mutateBytes, oneOf } from '../bytes.js';
import type { Target } from '../target.js';
import { hostileText, mutateValue } from '../values.js';

const DEFAULTS = JSON.parse(readFileSync(fromRoot('config.default.json'), 'utf8'));
const FULL = {
  ...DEFAULTS,
  plugins: {
    slurm: {
      source: './slurm.mjs',
      required: true,
      settings: { url: 'http://127.0.0.1:1', tokens: ['a'] },
      config: { readRateLimiter: { qps: 2.5, burst: 3 }, caching: { size: 10, resyncInterval: '1m30s', workers: 3 } },
    },
  },
};
const NAMES = namesOf(FULL);
const KEYS = `# keys\n${'k'.repeat(40)}\n${'0'.repeat(32)}\n`;

/** Every path of a tree, as flags name it. */
function namesOf(tree: object, prefix = ''): string[] {
  return Object.entries(tree).flatMap(([name, value]) => {
    const path = `${prefix}${name}`;
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? [path, ...namesOf(value, `${path}.`)]
      : [path];
  });
}

/** A file as text: values changed in the tree, or bytes changed in what was written. */
function file(dice: Dice): string {
  const tree = dice.chance(0.7) ? mutateValue(dice, FULL) : FULL;
  const text = dice.chance(0.5) ? JSON.stringify(tree) : yaml.stringify(tree);
  return tree === FULL || dice.chance(0.2) ? mutateBytes(dice, Buffer.from(text ?? '')).toString('utf8') : (text ?? '');
}

const variableOf = (path: string): string =>
  `PLUGIN_HOST_${path
    .replaceAll('.', '_')
    .replace(/([a-z])([A-Z])/g, '$1_$2')
    .toUpperCase()}`;
const some = (dice: Dice): string => (dice.chance(0.8) ? oneOf(dice, NAMES) : hostileText(dice));

export const config: Target = {
  name: 'config',
  summary: 'config files, environment, flags and key files: a configuration, or a ConfigError that says what is wrong',
  open: () => ({
    one(dice) {
      const files = Array.from(
        { length: below(dice, 3) },
        (_, index) => `f${index}.${oneOf(dice, ['json', 'yaml', 'yml', 'x'])}`,
      );
      const env = Object.fromEntries(
        Array.from({ length: below(dice, 3) }, () => [variableOf(some(dice)), hostileText(dice)]),
      );
      const flags = Array.from({ length: below(dice, 3) }, () => ({
        flag: `--${some(dice)}`,
        key: some(dice),
        text: hostileText(dice),
      }));
      try {
        loadConfig({ files, env, flags, cwd: '/', readText: () => file(dice) });
      } catch (error) {
        if (!(error instanceof ConfigError) || error.message === '') throw error;
      }
      handleKeyTexts(mutateBytes(dice, Buffer.from(KEYS)).toString('latin1'));
    },
  }),
};
