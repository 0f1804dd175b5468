// A second plugin with a type of its own, so that routing has something to get wrong.
import { jobPlugin } from './job-plugin.mjs';

export default jobPlugin({ id: 'interop-other', taskTypes: ['interop_other'] });
