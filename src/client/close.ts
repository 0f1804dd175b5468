import { ChannelCredentials } from '@grpc/grpc-js';

type SecureConnector = ReturnType<ChannelCredentials['_createSecureConnector']>;
type Creating = Parameters<ChannelCredentials['_createSecureConnector']>;

/**
 * Credentials that make no further connection once their client is closed. A client of grpc-js (1.14) that is closed while it waits
 * to connect again tries once more, with nobody left who would close what that makes: it stands for as long as the process lives.
 *
 * States: open → `close` → closed, in which each attempt at a connection is refused before it begins.
 */
export class ClosableCredentials extends ChannelCredentials {
  readonly #of: ChannelCredentials;
  #closed = false;

  constructor(of: ChannelCredentials) {
    super();
    this.#of = of;
  }

  close(): void {
    this.#closed = true;
  }

  override _isSecure(): boolean {
    return this.#of._isSecure();
  }

  /** No others’ connections are shared, which others may close. */
  override _equals(other: ChannelCredentials): boolean {
    return other === this;
  }

  override _createSecureConnector(...creating: Creating): SecureConnector {
    const connector = this.#of._createSecureConnector(...creating);
    const whileOpen = <T>(go: () => Promise<T>) =>
      this.#closed ? Promise.reject(new Error('the client is closed')) : go();
    return {
      waitForReady: () => whileOpen(() => connector.waitForReady()),
      connect: (socket) => whileOpen(() => connector.connect(socket)),
      getCallCredentials: () => connector.getCallCredentials(),
      destroy: () => connector.destroy(),
    };
  }
}

/**
 * Closes a client of grpc-js in the next turn of the event loop. One that is closed in the very turn of its first call, at an address
 * that is no name, lets go of its balancer before it begins (1.14), which then tries to connect for as long as the process lives.
 */
export function closeSoon(client: { close(): void }, credentials: ClosableCredentials): void {
  credentials.close();
  setImmediate(() => client.close());
}
