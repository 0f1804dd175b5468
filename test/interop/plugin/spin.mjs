// Spins its CPU in `get` when told so; apart from the others, since it is meant to be useless for a while.
import { jobPlugin } from './job-plugin.mjs';

export default jobPlugin({ id: 'interop-spin', taskTypes: ['interop_spin'] });
