import type { ClientReadableStream } from '@grpc/grpc-js';
import type { Message } from '../idl/codec.js';
import { backoffMs } from '../lib/backoff.js';
import { clientError, type PluginHostError } from './error.js';
import type { TaskStatus, WatchFilter, WatchUpdate } from './types.js';

export interface WatchSource {
  readonly filter: WatchFilter;
  readonly signal: AbortSignal | undefined;
  readonly onUnreachable: ((error: PluginHostError) => void) | undefined;
  readonly open: (request: Message) => ClientReadableStream<Buffer>;
  /** WatchResponse with its change left encoded. */
  readonly decode: (bytes: Buffer) => Message;
  /** TaskChange with its status left encoded. */
  readonly decodeChange: (bytes: Buffer) => Message;
  readonly taskStatus: (bytes: Buffer) => TaskStatus;
  readonly random: () => number;
}

/** Statuses after which coming back with the same token makes sense. */
const RESUMABLE = new Set([
  'UNAVAILABLE',
  'CANCELLED',
  'DEADLINE_EXCEEDED',
  'RESOURCE_EXHAUSTED',
  'INTERNAL',
  'UNKNOWN',
]);
export const BACKOFF = { initialMs: 100, maxMs: 10_000 };

function updateOf(source: WatchSource, message: Message): WatchUpdate | undefined {
  const { resumeToken } = message;
  switch (message.event) {
    case 'change': {
      const { handle, plugin, taskType, status, deleted } = source.decodeChange(message.change);
      const read = source.taskStatus(status ?? Buffer.alloc(0));
      return { kind: 'change', resumeToken, handle, plugin, taskType, status: read, deleted };
    }
    case 'lagged':
      return { kind: 'lagged', resumeToken, dropped: Number(message.lagged.dropped) };
    case 'bookmark':
      return { kind: 'bookmark', resumeToken, draining: message.bookmark.draining };
    default:
      // An event that a later daemon invented.
      return undefined;
  }
}

/** Resolves after the delay, or at once when the signal is aborted. */
export function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    if (signal?.aborted) done();
    else signal?.addEventListener('abort', done);
  });
}

/** Reads one stream after another, each from where the one before ended. */
export async function* watchUpdates(source: WatchSource): AsyncGenerator<WatchUpdate, void, undefined> {
  const { filter, signal } = source;
  let token = filter.resumeToken ?? '';
  let failures = 0;
  while (!signal?.aborted) {
    const stream = source.open({
      plugins: [...(filter.plugins ?? [])],
      handles: [...(filter.handles ?? [])],
      resumeToken: token,
      includeCurrent: filter.includeCurrent ?? false,
    });
    const cancel = () => stream.cancel();
    signal?.addEventListener('abort', cancel);
    let retryAfterMs: number | undefined;
    try {
      for await (const bytes of stream) {
        failures = 0;
        const update = updateOf(source, source.decode(bytes as Buffer));
        if (update === undefined) continue;
        token = update.resumeToken;
        yield update;
      }
    } catch (thrown) {
      const error = clientError(thrown);
      if (signal?.aborted) return;
      // A token that was taken out may have a successor, which is sent with the next one.
      if (!RESUMABLE.has(error.status) && error.code !== 'TOKEN_REVOKED') throw error;
      if (error.status === 'UNAVAILABLE') source.onUnreachable?.(error);
      retryAfterMs = error.retryAfterMs;
    } finally {
      signal?.removeEventListener('abort', cancel);
      // A stream that is left without being cancelled is held open by the daemon; its end is of no interest any more.
      stream.on('error', () => {});
      stream.cancel();
    }
    failures += 1;
    await pause(retryAfterMs ?? backoffMs(failures, BACKOFF, source.random), signal);
  }
}
