import type { ReadFailure } from '../task-record.js';

/** What logs and metrics learn of the way of a plugin's creates; all optional, none may throw. */
export interface CreateLaneEvents {
  createsDown?(event: { readonly failure: ReadFailure | undefined }): void;
  createsUp?(event: { readonly downMs: number }): void;
}
