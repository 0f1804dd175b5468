import type { TestContext } from 'node:test';
import type { DemoRemote } from '../../plugins/demo/remote.js';
import { partitionOf, partOf } from '../../src/model/handle.js';
import { type DaemonProcess, DEMO_PLUGIN, freePorts, startDemoRemote, startServe, until } from '../daemon/support.js';
import type { SharedServer } from '../postgres/server.js';
import { tempFolder } from '../support/temp.js';
import { Engines, USUAL, type Work } from './engines.js';
import { Relay } from './relay.js';
import { evenShares, holderOf, type Shares } from './shares.js';
import { LEASE_MS, onRemote, ownerAmong, replicaConfig } from './support.js';

/** A replica whose ways to the database and to the remote can be disturbed, and the way of the others to it. */
export interface Placed {
  readonly replica: DaemonProcess;
  readonly database: Relay;
  readonly remote: Relay;
  readonly peers: Relay;
}

export interface Differently {
  readonly databasePort?: number;
  readonly url?: string;
  /** What it says to the others of where it is. */
  readonly advertise?: string;
  /** Of its gRPC port; any that is free unless given. */
  readonly port?: number;
  /** Into how many the state is divided; as the scene has it unless given. */
  readonly parts?: number;
  /** Whether owners that are away are stood in for; the default unless given. */
  readonly inbox?: boolean;
  /** Whether it has a plugin that runs tasks within the call as well. */
  readonly sync?: boolean;
  /** The root of another build. */
  readonly build?: string;
}

/** A create that was under way when its daemon was killed is repeated once this is over; on a busy machine a call takes seconds. */
const PLUGIN = { config: USUAL.held, callTimeout: '8s', sandbox: { niceness: 0 } };
const SHUTDOWN = { drainDelay: '0ms', grace: '3s', forceAfter: '60s' };

/** Replicas that come and go, and engines that work over those that live. */
export class Scene {
  readonly #t: TestContext;
  readonly #shared: SharedServer;
  readonly schema: string;
  /** Into how many the state is divided. */
  readonly parts: number;
  readonly leaseMs: number;
  readonly remote: DemoRemote;
  /** Those that engines are to ask. */
  readonly living: DaemonProcess[] = [];

  private constructor(t: TestContext, remote: DemoRemote, shared: SharedServer, parts: number, leaseMs: number) {
    this.#t = t;
    this.remote = remote;
    this.#shared = shared;
    this.schema = shared.newSchema();
    this.parts = parts;
    this.leaseMs = leaseMs;
  }

  /** On a schema of its own. */
  static async open(t: TestContext, shared: SharedServer, parts = 1, leaseMs = LEASE_MS): Promise<Scene> {
    return new Scene(t, await startDemoRemote(t), shared, parts, leaseMs);
  }

  /** What a replica is started with. */
  config(differently: Differently = {}) {
    const { url = this.remote.url, advertise = '127.0.0.1', port = 0, parts = this.parts } = differently;
    const { databasePort = this.#shared.server.port, inbox, sync = false } = differently;
    const { demo } = onRemote({ url } as DemoRemote, PLUGIN);
    const within = { source: `${DEMO_PLUGIN}/sync.js`, settings: { url }, sandbox: PLUGIN.sandbox };
    const plugins = { demo, ...(sync && { 'demo-sync': within }) };
    const advertised = { enabled: true, advertise, loopback: 'for-tests-on-one-machine' };
    const cluster = { ...advertised, ...(inbox !== undefined && { inbox }) };
    const own = { grpc: { port }, state: { parts }, shutdown: SHUTDOWN, cluster };
    return replicaConfig(databasePort, this.schema, plugins, own, this.leaseMs);
  }

  async add(differently: Differently = {}): Promise<DaemonProcess> {
    const folder = tempFolder(this.#t);
    const replica = await startServe(this.#t, this.config(differently), folder, {}, differently.build);
    this.living.push(replica);
    return replica;
  }

  async addPlaced(differently: Differently = {}): Promise<Placed> {
    const database = await Relay.start(this.#t, this.#shared.server.port);
    const remote = await Relay.start(this.#t, Number(new URL(this.remote.url).port));
    const [port] = (await freePorts(1)) as [number];
    const peers = await Relay.start(this.#t, port);
    const replica = await this.add({
      ...differently,
      databasePort: database.port,
      url: `http://127.0.0.1:${remote.port}`,
      port,
      advertise: `127.0.0.1:${peers.port}`,
    });
    return { replica, database, remote, peers };
  }

  engines(of: Work = USUAL): Engines {
    return new Engines(this.remote, () => this.living.map(({ client }) => client), of);
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

  /** Of a state that is not divided. */
  owner(): Promise<DaemonProcess> {
    return until('an owner', () => ownerAmong(this.living));
  }

  /** The one that works on the tasks of a node, or of an attempt that has none; waits until the parts lie evenly. */
  async holder(key: string): Promise<DaemonProcess> {
    if (this.parts === 1) return this.owner();
    return holderOf(await this.even(), partOf(partitionOf(key), this.parts));
  }

  /** Once the parts lie evenly with those that live, as each of them and the rows say. */
  even(): Promise<Shares> {
    const { server } = this.#shared;
    return until('parts that lie evenly', () => evenShares(this.living, this.parts, server, this.schema));
  }
}
