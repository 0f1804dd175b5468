import type { Owners } from './owners.js';
import { Peer, type PeerOptions } from './peer.js';
import { Route } from './route.js';

/** A replica that owns nothing any more keeps its connections for so long: parts that move come back. Milliseconds. */
const REST_MS = 30_000;

/** The way to the owner of each part, as it was seen last, with one peer for all that an owner has. */
export class Routes {
  readonly #owners: Owners;
  readonly #options: PeerOptions;
  readonly #routes: (Route | undefined)[];
  readonly #peers = new Map<string, Peer>();

  constructor(owners: Owners, options: PeerOptions) {
    this.#owners = owners;
    this.#options = options;
    this.#routes = new Array<Route | undefined>(owners.parts).fill(undefined);
  }

  /** To who has the part now; undefined where that is this replica, or nobody is seen. */
  of(part: number): Route | undefined {
    const owner = this.#owners.ownerOf(part);
    const epoch = owner === 'here' ? undefined : owner?.epoch;
    if (this.#routes[part]?.peer.epoch !== epoch) this.#follow(part);
    return this.#routes[part];
  }

  /** Whether a replica that calls were passed on to takes none at its address. */
  isClosed(epoch: string): boolean {
    return this.#peers.get(epoch)?.isClosed === true;
  }

  /** Cuts what is under way to whom a part was taken from. */
  follow(): void {
    for (let part = 0; part < this.#owners.parts; part++) this.#follow(part);
  }

  close(): void {
    for (const [part, route] of this.#routes.entries()) {
      route?.cut();
      this.#routes[part] = undefined;
    }
    for (const peer of this.#peers.values()) peer.close();
    this.#peers.clear();
  }

  #follow(part: number): void {
    const owner = this.#owners.ownerOf(part);
    const to = owner === 'here' || owner?.address === undefined ? undefined : owner;
    const route = this.#routes[part];
    if (to?.epoch === route?.peer.epoch) return;
    this.#routes[part] = to?.address === undefined ? undefined : this.#open(to.epoch, to.address);
    if (route === undefined) return;
    route.cut();
    const { peer } = route;
    // With one part, who has it no more is dead, or about to end.
    peer.unuse(this.#owners.parts === 1 ? 0 : REST_MS, () => void this.#peers.delete(peer.epoch));
  }

  #open(epoch: string, address: string): Route {
    const peer = this.#peers.get(epoch) ?? new Peer(epoch, address, this.#options);
    this.#peers.set(epoch, peer);
    peer.use();
    // What the owner may send.
    return new Route(peer, this.#options.maxSendBytes);
  }
}
