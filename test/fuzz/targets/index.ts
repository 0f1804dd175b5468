import type { Target } from '../target.js';
import { calls } from './calls.js';
import { fromPlugin, toPlugin } from './channel.js';
import { commandLine } from './command-line.js';
import { config } from './config.js';
import { handles } from './handles.js';
import { messages } from './messages.js';
import { PLANTED } from './planted.js';
import { http, http2 } from './ports.js';
import { stateFolders, stateValues } from './state.js';

/** Everything that takes bytes or words from outside. */
export const TARGETS: readonly Target[] = [
  calls,
  http2,
  http,
  messages,
  handles,
  fromPlugin,
  toPlugin,
  stateValues,
  stateFolders,
  config,
  commandLine,
];

/** Throws, with the names that there are. */
export function targetOf(name: string): Target {
  const found = [...TARGETS, ...PLANTED].find((target) => target.name === name);
  if (found === undefined)
    throw new Error(`no target ${name}; there are ${TARGETS.map((target) => target.name).join(', ')}`);
  return found;
}
