export { advertisedAddress } from './address.js';
export { Comparison, type Difference } from './comparison.js';
export { coversOf } from './covers.js';
export { Forwarder } from './forwarder.js';
export { ownersOf } from './owners.js';
export type { ReplicaTls } from './peer.js';
export { SEAT_ROLES, Seat, type SeatEvents } from './seat.js';
