export { EmbeddedEngine, type EmbeddedOptions } from './embedded/engine.js';
export { noState, type Puts, type StateEngine } from './engine.js';
export * from './facts/facts.js';
export { type FactVisitor, inspectState, type StateReport } from './inspect.js';
export {
  type FactSource,
  type StateEvents,
  type StateTrouble,
  StateWriter,
  type StateWriterOptions,
} from './writer.js';
