import { syncPlugin } from './job-plugin.mjs';

export default syncPlugin({ id: 'interop-sync', taskTypes: ['interop_sync'] });
