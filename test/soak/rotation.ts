import { randomUUID, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import { createClient, PluginHostError } from '../../src/client/index.js';
import { loadPluginHost } from '../../src/idl/load.js';
import { machineMs } from '../../src/lib/clock.js';
import { MountedFolder } from '../access/support.js';
import type { Papers } from '../chaos/daemon.js';
import type { Certificate } from '../support/certificates.js';
import { givenIn, noteKey, suiteSecret } from '../support/suite-secrets.js';
import { Issuer } from './issuer.js';

/** Files are looked at every ten seconds; on a busy machine that takes its time. Milliseconds. */
const TAKEN_UP_MS = 60_000;
/** A call that was sent with what is taken out now has its answer. Milliseconds. */
const UNDER_WAY_MS = 2_000;
const LOOK_AGAIN_MS = 1_000;

type Holder = 'engine' | 'operator';
type Each<T> = Readonly<Record<Holder, T>>;

/** What clients trust and show. */
interface Clients {
  readonly ca: string;
  readonly certificates: Each<Certificate>;
  readonly tokens: Each<string>;
}

type Authorities = readonly [server: Certificate, clients: Certificate];

/** What a rotation begins with. */
interface First {
  readonly authorities: Authorities;
  readonly server: Certificate;
  readonly certificates: Each<Certificate>;
}

/** What the daemon shows, and of whom it takes certificates. */
interface Mounted {
  readonly server: Certificate;
  readonly clientCa: string;
}

/**
 * The certificates and tokens of a daemon and of its clients, in folders as Kubernetes mounts them, all exchanged while both go on:
 * the next is made good beside the one in use, clients go over to it, and the one before is taken out.
 */
export class Rotation {
  readonly #tls: MountedFolder;
  readonly #tokens: MountedFolder;
  readonly #issuer: Issuer;
  readonly #idl = loadPluginHost();
  readonly #listeners = new Set<() => void>();
  #ports = { grpc: 0, admin: 0 };
  /** That of the daemon's certificate, and that of those of clients. */
  #authorities: Authorities;
  #mounted!: Mounted;
  #now: Clients;
  readonly done = { server_certificates: 0, client_certificates: 0, authorities: 0, tokens: 0 };
  /** What was taken up too late, and what was good too long after it had been taken out. */
  readonly wrong: string[] = [];

  private constructor(folder: string, issuer: Issuer, first: First) {
    this.#issuer = issuer;
    this.#tls = new MountedFolder(givenIn(path.join(folder, 'tls')));
    this.#tokens = new MountedFolder(givenIn(path.join(folder, 'tokens')));
    const [server, clients] = first.authorities;
    this.#authorities = first.authorities;
    this.#now = { ca: server.cert, certificates: first.certificates, tokens: newTokens() };
    this.#mount({ server: first.server, clientCa: clients.cert });
    this.#mountTokens([this.#now.tokens]);
  }

  static async prepare(folder: string): Promise<Rotation> {
    const issuer = new Issuer();
    const authorities = await newAuthorities(issuer);
    const [server, clients] = authorities;
    const first = {
      authorities,
      server: await issuer.make({ name: 'daemon', by: server }),
      certificates: await certificatesBy(issuer, clients),
    };
    return new Rotation(folder, issuer, first);
  }

  stop(): Promise<void> {
    return this.#issuer.stop();
  }

  /** Sections of the daemon's configuration. */
  get config() {
    const tls = {
      certFile: this.#tls.file('tls.crt'),
      keyFile: this.#tls.file('tls.key'),
      clientCaFile: this.#tls.file('ca.crt'),
    };
    const tokens = {
      engine: { file: this.#tokens.file('engine'), may: ['read', 'run'] },
      operator: { file: this.#tokens.file('operator'), may: ['read', 'operate'] },
    };
    return {
      grpc: { tls: { ...tls, clientNames: ['CN=engine'] } },
      admin: { tls: { ...tls, clientNames: ['CN=operator'] } },
      tokens,
    };
  }

  /** What a client of the engine is made with; it goes over to whatever is in use. */
  get papers() {
    return {
      tls: {
        current: () => this.of('engine'),
        onChange: (listener: () => void) => void this.#listeners.add(listener),
      },
      token: () => this.of('engine').token,
    };
  }

  /** What is in use now. */
  of(holder: Holder): Papers {
    return papersOf(this.#now, holder);
  }

  /** Exchanges one after the other until it is told to end. */
  async run(ports: { grpc: number; admin: number }, signal: AbortSignal): Promise<void> {
    this.#ports = ports;
    const steps = [this.#nextServer, this.#nextClients, this.#nextTokens, this.#nextAuthorities];
    for (let step = 0; !signal.aborted; step++) {
      await steps[step % steps.length]?.call(this);
      await sleep(UNDER_WAY_MS, undefined, { signal }).catch(() => undefined);
    }
  }

  async #nextServer(): Promise<void> {
    const server = await this.#issuer.make({ name: 'daemon', by: this.#authorities[0] });
    const next = new X509Certificate(server.cert).fingerprint256;
    this.#mount({ ...this.#mounted, server });
    await this.#untilSo('the next certificate is shown', async () => {
      const shown = await shownBy(this.#ports.grpc, this.of('engine'));
      return shown === next ? undefined : shown;
    });
    this.done.server_certificates += 1;
  }

  async #nextClients(): Promise<void> {
    const certificates = await certificatesBy(this.#issuer, this.#authorities[1]);
    this.#goOver({ ...this.#now, certificates });
    this.done.client_certificates += 1;
  }

  async #nextTokens(): Promise<void> {
    const before = this.#now;
    const tokens = newTokens();
    this.#mountTokens([before.tokens, tokens]);
    await this.#until('the next tokens are good', { ...before, tokens }, true);
    this.#now = { ...this.#now, tokens };
    await sleep(UNDER_WAY_MS);
    this.#mountTokens([tokens]);
    await this.#until('the tokens before are refused', before, false);
    this.done.tokens += 1;
  }

  /** Both authorities: the daemon's, whose certificate clients must trust, and that of the clients. */
  async #nextAuthorities(): Promise<void> {
    const before = this.#now;
    const [server, clients] = await newAuthorities(this.#issuer);
    const certificates = await certificatesBy(this.#issuer, clients);
    const daemon = await this.#issuer.make({ name: 'daemon', by: server });
    this.#goOver({ ...before, ca: before.ca + server.cert });
    this.#mount({ server: daemon, clientCa: this.#mounted.clientCa + clients.cert });
    this.#authorities = [server, clients];
    await this.#until('the next authorities are good', { ...before, ca: server.cert, certificates }, true);
    this.#goOver({ ...this.#now, ca: server.cert, certificates });
    await sleep(UNDER_WAY_MS);
    this.#mount({ ...this.#mounted, clientCa: clients.cert });
    await this.#until('the authority before is refused', { ...before, ca: server.cert }, false);
    this.done.authorities += 1;
  }

  /** Asks both ports by connections of their own until both answer, or refuse, as they should from now on. */
  async #until(what: string, clients: Clients, good: boolean): Promise<void> {
    await this.#untilSo(what, async () => {
      const said = await Promise.all([
        this.#askGrpc(papersOf(clients, 'engine')),
        askAdmin(this.#ports.admin, papersOf(clients, 'operator')),
      ]);
      // One that comes too late says neither.
      const refused = (word: string) => word !== 'answered' && !word.startsWith('DEADLINE_EXCEEDED');
      return said.every((word) => (good ? word === 'answered' : refused(word))) ? undefined : said.join(' and ');
    });
  }

  /** `look` answers what is not as it should be. */
  async #untilSo(what: string, look: () => Promise<string | undefined>): Promise<void> {
    const untilMs = machineMs() + TAKEN_UP_MS;
    for (;;) {
      const seen = await look();
      if (seen === undefined) return;
      if (machineMs() > untilMs) {
        this.wrong.push(`${what}: not within ${TAKEN_UP_MS / 1000} s, the last answers: ${seen}`);
        return;
      }
      await sleep(LOOK_AGAIN_MS);
    }
  }

  async #askGrpc({ token, ...tls }: Papers): Promise<string> {
    const client = createClient({ address: `127.0.0.1:${this.#ports.grpc}`, tls, token, idl: this.#idl });
    try {
      await client.listPlugins();
      return 'answered';
    } catch (error) {
      return error instanceof PluginHostError ? `${error.code} ${error.message}` : String(error);
    } finally {
      client.close();
    }
  }

  #goOver(clients: Clients): void {
    this.#now = clients;
    for (const listener of this.#listeners) listener();
  }

  #mount(mounted: Mounted): void {
    this.#mounted = mounted;
    noteKey(mounted.server.key);
    const { server, clientCa } = mounted;
    this.#tls.swap({ 'tls.crt': server.cert, 'tls.key': server.key, 'ca.crt': clientCa });
  }

  #mountTokens(good: readonly Each<string>[]): void {
    const file = (holder: Holder) => good.map((tokens) => `${tokens[holder]}\n`).join('');
    this.#tokens.swap({ engine: file('engine'), operator: file('operator') });
  }
}

async function newAuthorities(issuer: Issuer): Promise<Authorities> {
  const make = () => issuer.make({ name: `authority ${randomUUID()}`, authority: true });
  return [await make(), await make()];
}

async function certificatesBy(issuer: Issuer, by: Certificate): Promise<Each<Certificate>> {
  return { engine: await issuer.make({ name: 'engine', by }), operator: await issuer.make({ name: 'operator', by }) };
}

function newTokens(): Each<string> {
  return { engine: suiteSecret('token', randomUUID()), operator: suiteSecret('token', randomUUID()) };
}

function papersOf({ ca, certificates, tokens }: Clients, holder: Holder): Papers {
  return { ca, ...certificates[holder], token: tokens[holder] };
}

async function askAdmin(port: number, { token, ...tls }: Papers): Promise<string> {
  const headers = { authorization: `Bearer ${token}` };
  const request = https.request(`https://127.0.0.1:${port}/v1/tasks?limit=1`, { agent: false, headers, ...tls });
  request.end();
  try {
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    response.resume();
    return response.statusCode === 200 ? 'answered' : String(response.statusCode);
  } catch (error) {
    return String(error);
  }
}

/** The fingerprint of the certificate that new connections to a port are shown. */
async function shownBy(port: number, { ca, cert, key }: Papers): Promise<string> {
  const socket = tls.connect({ host: '127.0.0.1', port, ca, cert, key, ALPNProtocols: ['h2'] });
  try {
    await once(socket, 'secureConnect');
    return socket.getPeerCertificate().fingerprint256;
  } catch (error) {
    return String(error);
  } finally {
    socket.destroy();
  }
}
