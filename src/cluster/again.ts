/** Between two tries of a call, or of a connection. Milliseconds. */
export const AGAIN_MS = 100;
