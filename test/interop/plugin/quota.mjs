// One token for all: the second task waits until the first is over.
import { jobPlugin } from './job-plugin.mjs';

export default jobPlugin({
  id: 'interop-quota',
  taskTypes: ['interop_quota'],
  config: { resourceQuotas: { default: 1 } },
});
