import type { TestContext } from 'node:test';
import type { DemoRemote } from '../../plugins/demo/remote.js';
import { type DaemonProcess, startDemoRemote, startServe, until } from '../daemon/support.js';
import { tempFolder } from '../support/temp.js';
import { Engines, USUAL } from './engines.js';
import { Relay } from './relay.js';
import { onRemote, ownerAmong, replicaConfig } from './support.js';

/** A replica whose ways to the database and to the remote can be disturbed. */
export interface Placed {
  readonly replica: DaemonProcess;
  readonly database: Relay;
  readonly remote: Relay;
}

export interface Differently {
  readonly databasePort?: number;
  readonly url?: string;
  /** What it says to the others of where it is. */
  readonly advertise?: string;
  /** The root of another build. */
  readonly build?: string;
}

/** A create that was under way when its daemon was killed is repeated once this is over; on a busy machine a call takes seconds. */
const PLUGIN = { config: USUAL.held, callTimeout: '8s', sandbox: { niceness: 0 } };
const SHUTDOWN = { drainDelay: '0ms', grace: '3s', forceAfter: '60s' };

/** Replicas that come and go, and engines that work over those that live. */
export class Scene {
  readonly #t: TestContext;
  readonly #database: number;
  readonly #schema: string;
  readonly remote: DemoRemote;
  /** Those that engines are to ask. */
  readonly living: DaemonProcess[] = [];

  private constructor(t: TestContext, remote: DemoRemote, database: number, schema: string) {
    this.#t = t;
    this.remote = remote;
    this.#database = database;
    this.#schema = schema;
  }

  /** On a schema of the server at this port. */
  static async open(t: TestContext, database: number, schema: string): Promise<Scene> {
    return new Scene(t, await startDemoRemote(t), database, schema);
  }

  /** What a replica is started with. */
  config({ databasePort = this.#database, url = this.remote.url, advertise = '127.0.0.1' }: Differently = {}) {
    const plugins = onRemote({ url } as DemoRemote, PLUGIN);
    const cluster = { enabled: true, advertise, loopback: 'for-tests-on-one-machine' };
    return replicaConfig(databasePort, this.#schema, plugins, { shutdown: SHUTDOWN, cluster });
  }

  async add(differently: Differently = {}): Promise<DaemonProcess> {
    const folder = tempFolder(this.#t);
    const replica = await startServe(this.#t, this.config(differently), folder, {}, differently.build);
    this.living.push(replica);
    return replica;
  }

  async addPlaced(): Promise<Placed> {
    const database = await Relay.start(this.#t, this.#database);
    const remote = await Relay.start(this.#t, Number(new URL(this.remote.url).port));
    const replica = await this.add({ databasePort: database.port, url: `http://127.0.0.1:${remote.port}` });
    return { replica, database, remote };
  }

  engines(): Engines {
    return new Engines(this.remote, () => this.living.map(({ client }) => client));
  }

  /** Engines ask it no more. */
  leave(replica: DaemonProcess): void {
    const at = this.living.indexOf(replica);
    if (at >= 0) this.living.splice(at, 1);
  }

  /** Answers the exit code; null for one that was killed. */
  async end(replica: DaemonProcess, signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> {
    this.leave(replica);
    replica.running.child.kill(signal);
    return (await replica.running.finished).code;
  }

  owner(): Promise<DaemonProcess> {
    return until('an owner', () => ownerAmong(this.living));
  }
}
