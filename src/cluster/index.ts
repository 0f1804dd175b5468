export { advertisedAddress } from './address.js';
export { Comparison, type Difference } from './comparison.js';
export { coversOf } from './covers.js';
export { Forwarder } from './forwarder.js';
export { HELD_STATES } from './held-parts.js';
export { LimitsLinks } from './limits-link.js';
export { ownersOf } from './owners.js';
export type { ReplicaTls } from './peer.js';
export { type Holder, SEAT_ROLES, Seat, type SeatEvents } from './seat.js';
