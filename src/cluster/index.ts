export { advertisedAddress } from './address.js';
export { Comparison, type Difference } from './comparison.js';
export { Forwarder, type ReplicaTls } from './forwarder.js';
export { SEAT_ROLES, Seat, type SeatEvents } from './seat.js';
