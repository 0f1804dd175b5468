import pb from 'protobufjs';
import { CORE_TYPES } from '../generated/core-types.js';
import { type Idl, makeIdl } from './idl.js';

let core: Idl | undefined;

/** Only the core types of flyteidl, for processes that convert literals and serve nothing; some 5 ms the first time. */
export function loadFlyteidlCore(): Idl {
  core ??= makeIdl(pb.Root.fromJSON(JSON.parse(CORE_TYPES)));
  return core;
}
