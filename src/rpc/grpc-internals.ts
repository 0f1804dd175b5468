import type { Http2Server, ServerHttp2Session, ServerHttp2Stream, ServerOptions, Settings } from 'node:http2';
import type { Server } from '@grpc/grpc-js';
import { HostError } from '../errors/index.js';
import { Arrival } from './edge/arrival.js';

/**
 * What grpc-js knows and has no API for. A grpc-js that is built otherwise fails the start of the daemon, in
 * `boundHeaders` and `http2ServerOf`, and the tests of this file.
 */

/** The gRPC of other languages allows 8 to 16 KiB; engines send far less. */
const MAX_HEADER_LIST_BYTES = 32 * 1024;
/** Node's own bound of 128 is met by honest metadata. */
const MAX_HEADER_PAIRS = 256;

/**
 * The HTTP/2 stream of a call: whether an answer left as a whole is seen only there ('cancelled' comes after every call).
 */
export function http2StreamOf(call: unknown): ServerHttp2Stream | undefined {
  const stream = (call as { call?: { stream?: unknown } }).call?.stream;
  return typeof stream === 'object' && stream !== null && 'rstCode' in stream
    ? (stream as ServerHttp2Stream)
    : undefined;
}

/** What the edge knows of a call of grpc-js. Throws DAEMON_STATE for one that did not come by the edge. */
export function arrivalOf(call: unknown): Arrival {
  const arrival = Arrival.of(http2StreamOf(call));
  if (arrival === undefined) throw unknownInside('a call has no stream that came by the edge');
  return arrival;
}

/**
 * Bounds the headers of a request in bytes and in number; for the HTTP/2 servers that are made afterwards. Throws
 * DAEMON_STATE.
 */
export function boundHeaders(server: Server): void {
  const options = (server as unknown as { commonServerOptions?: { settings?: Settings } & ServerOptions })
    .commonServerOptions;
  if (typeof options !== 'object' || options === null) throw unknownInside('it has no commonServerOptions');
  options.maxHeaderListPairs = MAX_HEADER_PAIRS;
  options.settings = { ...options.settings, maxHeaderListSize: MAX_HEADER_LIST_BYTES };
}

/** The one HTTP/2 server below a server with one listener for streams: the edge takes its place. Throws DAEMON_STATE. */
export function http2ServerOf(server: Server): Http2Server {
  const servers = (server as unknown as { http2Servers?: unknown }).http2Servers;
  const [only, ...others] = servers instanceof Map ? (servers.keys() as Iterable<Http2Server>) : [];
  if (only === undefined || others.length > 0) throw unknownInside('it has not one HTTP/2 server');
  const listeners = only.listenerCount('stream');
  if (listeners !== 1) throw unknownInside(`its HTTP/2 server has ${listeners} listeners for streams, and not one`);
  return only;
}

function unknownInside(seen: string): HostError {
  return new HostError('DAEMON_STATE', `@grpc/grpc-js is built otherwise than the edge before it needs: ${seen}`);
}

/** The open sessions of a server: a GOAWAY that still lets calls under way in can be sent only there. */
export function sessionsOf(server: Server): ServerHttp2Session[] {
  const servers = (server as unknown as { http2Servers?: unknown }).http2Servers;
  if (!(servers instanceof Map)) return [];
  const sessions: ServerHttp2Session[] = [];
  for (const { sessions: open } of servers.values() as Iterable<{ sessions?: Iterable<ServerHttp2Session> }>) {
    sessions.push(...(open ?? []));
  }
  return sessions;
}

/** Resolves when the session is gone: its streams have ended, or it was cut. */
export function sessionClosed(session: ServerHttp2Session): Promise<void> {
  if (session.destroyed) return Promise.resolve();
  return new Promise((resolve) => session.once('close', () => resolve()));
}
