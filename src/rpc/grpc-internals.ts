import type { Http2Server, ServerHttp2Session, ServerHttp2Stream } from 'node:http2';
import type { Server } from '@grpc/grpc-js';

/**
 * What grpc-js knows and has no API for. All answer "unknown" where a later grpc-js is built otherwise; the tests of
 * Create's delivery, of long deadlines and of the drain fail then.
 */

/**
 * The HTTP/2 stream of a call: whether an answer left as a whole is seen only there ('cancelled' comes after every call).
 */
export function http2StreamOf(call: unknown): ServerHttp2Stream | undefined {
  const stream = (call as { call?: { stream?: unknown } }).call?.stream;
  return typeof stream === 'object' && stream !== null && 'rstCode' in stream
    ? (stream as ServerHttp2Stream)
    : undefined;
}

/** The HTTP/2 servers below a server: a header can be mended before grpc-js reads it only there. */
export function http2ServersOf(server: Server): Http2Server[] {
  const servers = (server as unknown as { http2Servers?: unknown }).http2Servers;
  return servers instanceof Map ? [...(servers.keys() as Iterable<Http2Server>)] : [];
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
