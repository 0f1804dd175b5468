import type { Codec } from '../../idl/codec.js';
import type { WatchEvent, WatchFilter } from '../../model/watch.js';
import type { Tasks } from '../../tasks/types.js';
import { assertHandle, assertText, type FieldLimits, fieldInvalid } from '../fields.js';
import type { RpcStream } from '../stream.js';
import type { StatusEncoder } from './status-bytes.js';

export interface WatchOptions {
  readonly tasks: Pick<Tasks, 'watch' | 'watchPart' | 'remoteDown'>;
  readonly request: Codec;
  readonly response: Codec;
  readonly encoder: StatusEncoder;
  readonly limits: FieldLimits;
  /** A stream on which nothing was sent for so long gets a bookmark, in milliseconds. */
  readonly bookmarkIntervalMs: number;
}

export function filterOf(options: WatchOptions, bytes: Buffer): WatchFilter {
  const { limits } = options;
  const request = options.request.decode(bytes);
  for (const name of ['plugins', 'handles'] as const) {
    const count = request[name].length as number;
    if (count > limits.watchEntries) {
      throw fieldInvalid(name, `${count} entries, at most ${limits.watchEntries} are taken; leave it empty for all`);
    }
  }
  return {
    plugins: (request.plugins as string[]).map((id, i) => assertText(`plugins[${i}]`, id, limits.nameBytes)),
    handles: (request.handles as Buffer[]).map((handle, i) => assertHandle(`handles[${i}]`, handle, limits)),
    resumeToken: assertText('resume_token', request.resumeToken, limits.tokenBytes),
    includeCurrent: request.includeCurrent,
  };
}

function encodeEvent(options: WatchOptions, event: WatchEvent): Buffer {
  const { resumeToken } = event;
  switch (event.kind) {
    case 'change': {
      const { handle, task, deleted } = event.change;
      const status = options.encoder.taskStatus(task, options.tasks.remoteDown(task.scope.plugin));
      const { plugin, taskType } = task.scope;
      return options.response.encode({ resumeToken, change: { handle, plugin, taskType, status, deleted } });
    }
    case 'lagged':
      return options.response.encode({ resumeToken, lagged: { dropped: event.dropped } });
    case 'bookmark':
      return options.response.encode({ resumeToken, bookmark: { draining: event.draining } });
    default:
      return event satisfies never;
  }
}

/**
 * A change that cannot be encoded is one task's trouble: its reader is told to read Status instead, and goes on. Else the
 * change would end the stream of everybody, again and again, since each comes back to it.
 */
export function encodeOrSkip(options: WatchOptions, event: WatchEvent, stream: Pick<RpcStream, 'fault'>): Buffer {
  try {
    return encodeEvent(options, event);
  } catch (thrown) {
    if (event.kind !== 'change') throw thrown;
    stream.fault(thrown);
    return encodeEvent(options, { kind: 'lagged', resumeToken: event.resumeToken, dropped: 1 });
  }
}

/** What a stream is made of: its messages, one after the other. */
export interface WatchMessages {
  /** `last`: the stream ends with it. Undefined at the end. */
  next(): Promise<{ readonly message: Buffer; readonly last: boolean } | undefined>;
  /** A sign of life, or the last one of a daemon that stops, with a token in any case. */
  bookmark(draining: boolean): Buffer;
  close(): void;
}

/**
 * One Watch stream. Events are pulled: the next one is asked for when the stream took the one before, so a slow reader
 * costs a position in the ring and nothing else. When the server drains, the last message is a bookmark that says so.
 */
export function serveWatch(options: WatchOptions, request: Buffer, stream: RpcStream): Promise<void> {
  const reader = options.tasks.watch(filterOf(options, request));
  return pumpWatch(options, stream, {
    async next() {
      const event = await reader.next();
      const last = event?.kind === 'bookmark' && event.draining;
      return event && { message: encodeOrSkip(options, event, stream), last };
    },
    bookmark: (draining) => encodeEvent(options, { ...reader.bookmark(), kind: 'bookmark', draining }),
    close: () => reader.close(),
  });
}

/** Sends them for as long as there is somebody who takes them, and closes them. */
export async function pumpWatch(options: WatchOptions, stream: RpcStream, messages: WatchMessages): Promise<void> {
  const { signal } = stream.call;
  const close = () => messages.close();
  signal.addEventListener('abort', close);
  try {
    // The first message carries a token, so that a stream on which nothing happened can be resumed as well.
    if (!(await stream.write(messages.bookmark(false)))) return;
    await pump(options, messages, stream);
  } finally {
    signal.removeEventListener('abort', close);
    messages.close();
  }
}

async function pump(options: WatchOptions, messages: WatchMessages, stream: RpcStream): Promise<void> {
  const { signal } = stream.call;
  let pending = messages.next();
  // It is waited for below unless the stream ends first; then its end is of no interest.
  pending.catch(() => {});
  while (!signal.aborted) {
    const next = await nextOr(pending, options.bookmarkIntervalMs, stream.draining);
    if (next === 'quiet') {
      if (!(await stream.write(messages.bookmark(false)))) return;
      continue;
    }
    if (next === 'draining') {
      await stream.write(messages.bookmark(true));
      return;
    }
    if (next === undefined) return;
    if (!(await stream.write(next.message)) || next.last) return;
    pending = messages.next();
    pending.catch(() => {});
  }
}

/** The message, or what came first instead of it: the drain, or `quietMs` without one. */
async function nextOr<T>(
  pending: Promise<T | undefined>,
  quietMs: number,
  draining: AbortSignal,
): Promise<T | undefined | 'quiet' | 'draining'> {
  if (draining.aborted) return 'draining';
  let timer: NodeJS.Timeout | undefined;
  let onDrain: (() => void) | undefined;
  try {
    return await Promise.race([
      pending,
      new Promise<'quiet' | 'draining'>((resolve) => {
        timer = setTimeout(() => resolve('quiet'), quietMs);
        onDrain = () => resolve('draining');
        draining.addEventListener('abort', onDrain);
      }),
    ]);
  } finally {
    clearTimeout(timer);
    if (onDrain !== undefined) draining.removeEventListener('abort', onDrain);
  }
}
