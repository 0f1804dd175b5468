export { copyState } from './copy.js';
export { EmbeddedEngine } from './embedded/engine.js';
export { openFolderForInspection } from './embedded/inspection.js';
export {
  type Guard,
  type NotWritten,
  noState,
  type PartCommit,
  type PartFences,
  type Puts,
  type StateEngine,
} from './engine.js';
export * from './facts/facts.js';
export * from './facts/inbox-bodies.js';
export { isKeyOfPart } from './facts/part-keys.js';
export { smallOf, wholeState } from './facts/phase-fields.js';
export type { Inbox, InboxRow, KeptOfKey, NewInboxRow, WaitingOfPart } from './inbox.js';
export { inspectState, type StateReport } from './inspect.js';
export type { Inspection } from './inspection.js';
export type {
  Joining,
  LastOwner,
  MemberRow,
  MemberSays,
  MembersView,
  MemberTable,
  PartNeeds,
  PartRow,
  Tenure,
} from './members.js';
export { PartedEngine } from './parted-engine.js';
export { PostgresEngine } from './postgres/engine.js';
export { PostgresInbox } from './postgres/inbox.js';
export { openDatabaseForInspection } from './postgres/inspection.js';
export { PostgresMembers } from './postgres/members.js';
export { type PostgresPlace, placeText } from './postgres/place.js';
export {
  type FactSource,
  type StateEvents,
  type StateTrouble,
  StateWriter,
} from './writer.js';
