export { EmbeddedEngine } from './embedded/engine.js';
export { noState, type Puts, type StateEngine } from './engine.js';
export * from './facts/facts.js';
export { smallOf, wholeState } from './facts/phase-fields.js';
export { inspectState, type StateReport } from './inspect.js';
export {
  type FactSource,
  type StateEvents,
  type StateTrouble,
  StateWriter,
} from './writer.js';
